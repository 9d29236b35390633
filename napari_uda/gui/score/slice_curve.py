"""The per-slice curve: one line per structure, the slice on screen marked, a click goes there.

Importing pyqtgraph takes a fifth of a second: `score_dock` does it in its worker thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtWidgets import QToolTip, QVBoxLayout, QWidget

from napari_uda.gui.kit.colormaps import DARK, readable
from napari_uda.gui.kit.plots import colour_plot, still_plot
from napari_uda.gui.score.scoring import Line

_POINT_PIXELS = 5
_PENS = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashDotLine)


class SliceCurve(QWidget):
    """Draws curves over slice numbers; emits `slice_chosen(int)` on a click."""

    slice_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("slice_curve")
        self._lines: list[Line] = []
        self._chosen: int | None = None
        self._background, self._text = DARK
        self.plot = still_plot("slice", height=140)
        self.plot.setToolTip("Click a slice to show it")
        self.marker = pg.InfiniteLine(angle=90, movable=False)
        self.plot.scene().sigMouseClicked.connect(self._on_clicked)
        self.plot.scene().sigMouseMoved.connect(self._on_moved)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plot)

    def set_theme(self, background: str, text: str) -> None:
        """Colours of napari's theme, `#RRGGBB`."""
        self._background, self._text = background, text
        self._draw()

    def show_curves(
        self, lines: Sequence[Line], quantity: str, top: float | None, label: int | None = None
    ) -> None:
        """Draw anew.

        Args:
            lines: one per structure and prediction; a NaN leaves a gap.
            quantity: what the values are, with its unit.
            top: upper end of the value axis; None fits the values.
            label: the structure to draw strongly; None draws all alike.
        """
        self._lines, self._chosen = list(lines), label
        self.plot.setLabel("left", quantity)
        self._draw()
        ends = [float(np.nanmax(one.values)) for one in lines if np.isfinite(one.values).any()]
        self.plot.setYRange(0, top or max(ends, default=1.0), padding=0.08)
        numbers = np.concatenate([line.slices for line in lines] or [np.arange(2)])
        self.plot.setXRange(int(numbers.min()), int(numbers.max()), padding=0.02)

    def mark(self, index: int | None) -> None:
        """Mark the slice on screen; None hides the mark."""
        self.marker.setVisible(index is not None)
        if index is not None:
            self.marker.setValue(index)

    def _draw(self) -> None:
        self.plot.clear()
        colour_plot(self.plot, self._background, self._text)
        self.marker.setPen(pg.mkPen(self._text, width=1, style=Qt.PenStyle.DashLine))
        self.plot.addItem(self.marker)
        for line in self._lines:
            colour = pg.mkColor(readable(line.colour, self._background))
            faded = self._chosen is not None and line.label != self._chosen
            colour.setAlphaF(0.3 if faded else 1.0)
            self.plot.plot(
                line.slices,
                line.values,
                pen=pg.mkPen(
                    colour,
                    width=3 if line.label == self._chosen else 1.5,
                    style=_PENS[line.rank % len(_PENS)],
                ),
                symbol="o",
                symbolSize=_POINT_PIXELS,
                symbolBrush=colour,
                symbolPen=None,
                connect="finite",
                name=line.name,
            )

    def _on_clicked(self, event: object) -> None:
        position = event.scenePos()  # type: ignore[attr-defined]
        index = self._slice_at(position)
        if index is not None:
            self.slice_chosen.emit(index)

    def _on_moved(self, position: QPointF) -> None:
        index = self._slice_at(position)
        if index is None:
            return
        lines = [f"slice {index}"]
        several = len({line.rank for line in self._lines}) > 1
        for line in self._lines:
            at = np.flatnonzero(line.slices == index)
            if at.size and np.isfinite(line.values[at[0]]):
                which = f" ({line.rank + 1})" if several else ""
                lines.append(f"{line.name}{which} {line.values[at[0]]:.3g}")
        view = self.plot.viewport()
        QToolTip.showText(
            self.plot.mapToGlobal(self.plot.mapFromScene(position)), "\n".join(lines), view
        )

    def _slice_at(self, position: QPointF) -> int | None:
        """The slice under a position of the scene; None outside the curves."""
        box = self.plot.plotItem.vb
        if not self._lines or not self.plot.plotItem.sceneBoundingRect().contains(position):
            return None
        number = box.mapSceneToView(position).x()
        known = np.unique(np.concatenate([line.slices for line in self._lines]))
        return int(known[np.abs(known - number).argmin()])
