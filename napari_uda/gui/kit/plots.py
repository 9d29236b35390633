"""Plots of the docks: in napari's colours, not to be moved or zoomed with the mouse.

Imports pyqtgraph, which takes a while: what uses it is imported in a worker thread first.
"""

from __future__ import annotations

import pyqtgraph as pg


def still_plot(bottom: str, left: str = "", *, height: int) -> pg.PlotWidget:
    """A plot without menu, buttons and dragging.

    Args:
        bottom: name of the axis of places.
        left: name of the axis of values.
        height: least height in pixels.
    """
    plot = pg.PlotWidget(enableMenu=False)  # one that is hidden costs time, too
    plot.setMinimumHeight(height)
    plot.hideButtons()
    plot.setMouseEnabled(x=False, y=False)
    plot.setLabel("bottom", bottom)
    if left:
        plot.setLabel("left", left)
    return plot


def colour_plot(plot: pg.PlotWidget, background: str, text: str) -> None:
    """Give a plot colours of napari's theme, `#RRGGBB`, and faint lines at its values."""
    plot.setBackground(background)
    for side in ("left", "bottom"):
        axis = plot.getAxis(side)
        axis.setPen(text)
        axis.setTextPen(text)
    plot.showGrid(x=False, y=True, alpha=0.2)
