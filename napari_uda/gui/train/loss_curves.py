"""LossCurves: scalars over steps, losses above and shares below, with smoothing and a logarithmic axis.

The plots are made with the first curve, and pyqtgraph is imported only then: that takes a fifth of a second.
Whoever reads the values imports it in that thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QPen
from qtpy.QtWidgets import (
    QListView,
    QListWidget,
    QListWidgetItem,
    QSizePolicy,
    QWidget,
)

from napari_uda.core.colours import readable
from napari_uda.evaluation.figures import CurvePlot, Series
from napari_uda.gui.kit.colormaps import DARK
from napari_uda.gui.kit.export_picture import picture_button
from napari_uda.gui.kit.layout import column, wrapped
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import SpinBox, check_box, label, named, swatch
from napari_uda.run.history import Curve, trailing_mean

_POINTS_SMOOTHED = 10
_LEGEND_ROWS = 3
_ROW_PIXELS = 22


class LossCurves(Panel):
    """Draws curves that grow; a check box for each hides it.

    Attributes:
        smoothing: points that are averaged.
        log: whether the axis of the losses is logarithmic.
        legend: the names, checked when drawn.
        losses, shares: the two plots; None before the first curve.
    """

    def __init__(self, nothing: str = "") -> None:
        """Build.

        Args:
            nothing: what is said as long as there has been no curve.
        """
        super().__init__()
        self.setObjectName("loss_curves")
        self._curves: list[Curve] = []
        self._lines: dict[str, Any] = {}
        self._hidden: set[str] = set()
        self._background, self._text = DARK
        self.losses: Any = None
        self.shares: Any = None
        self._build(nothing)

    def _build(self, nothing: str) -> None:
        self.smoothing = named(
            SpinBox(),
            "smoothing",
            "Each point is the mean of so many logged values; 1 shows them as they are",
        )
        self.smoothing.setRange(1, 500)
        self.smoothing.setValue(_POINTS_SMOOTHED)
        self.smoothing.setPrefix("mean of ")
        self.smoothing.setKeyboardTracking(False)
        self.smoothing.valueChanged.connect(self._on_options_changed)
        self.log = check_box(
            "Log scale",
            "Logarithmic axis for the losses; values of 0 or less are left out",
            self._on_options_changed,
            "log",
        )
        self.legend = named(QListWidget(), "curve_legend", "Uncheck a curve to hide it")
        self.legend.setFlow(QListView.Flow.LeftToRight)
        self.legend.setWrapping(True)
        self.legend.setResizeMode(QListView.ResizeMode.Adjust)
        self.legend.setSpacing(1)
        self.legend.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        self.legend.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.legend.setMaximumHeight(_LEGEND_ROWS * (_ROW_PIXELS + 4))
        self.legend.itemChanged.connect(self._on_item_changed)
        self._nothing = label(nothing, "no_curves")
        self._nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._drawing = QWidget()
        self._parts = column(
            wrapped(
                (self.smoothing, 1),
                self.log,
                picture_button(self.picture, "these curves", "curves", "export_curves", short=True),
            ),
            self.legend,
            of=self._drawing,
            margin=0,
        )
        self._drawing.setVisible(False)
        column(self._nothing, (self._drawing, 1), of=self, margin=0)

    @property
    def is_drawn(self) -> bool:
        """Whether there has been a curve."""
        return self.losses is not None

    def set_theme(self, background: str, text: str) -> None:
        """Colours of napari's theme, `#RRGGBB`."""
        self._background, self._text = background, text
        if self.is_drawn:
            self._colour()
            self._make_lines()

    def show_curves(self, curves: Sequence[Curve]) -> None:
        """Draw; lines that were there before are only given their new points."""
        same = [(c.key, c.name, c.colour) for c in curves] == [
            (c.key, c.name, c.colour) for c in self._curves
        ]
        self._curves = list(curves)
        if curves and not self.is_drawn:
            self._make_plots()
        if same:
            self._draw()
        elif self.is_drawn:
            self._make_lines()

    def picture(self) -> list[CurvePlot] | None:
        """What is drawn, as a picture for paper; None before the first curve."""
        drawn = [curve for curve in self._curves if curve.key not in self._hidden]
        plots = []
        for share, quantity in ((False, "loss"), (True, "share, Dice")):
            series = [
                Series(
                    curve.name,
                    curve.colour,
                    curve.steps,
                    trailing_mean(curve.values, self.smoothing.value()),
                    curve.dashed,
                )
                for curve in drawn
                if curve.share == share
            ]
            if series:
                log = self.log.isChecked() and not share
                plots.append(CurvePlot(series, "step", quantity, 1.0 if share else None, log))
        return plots or None

    def _make_plots(self) -> None:
        self.losses, self.shares = _plot("loss"), _plot("share, Dice")
        self.shares.setYRange(0, 1, padding=0.05)
        self.shares.setXLink(self.losses)
        self._parts.insertWidget(1, self.losses, 3)
        self._parts.insertWidget(2, self.shares, 2)
        self._colour()
        self._nothing.setVisible(False)
        self._drawing.setVisible(True)

    def _colour(self) -> None:
        from napari_uda.gui.kit.plots import colour_plot  # it imports pyqtgraph

        for plot in (self.losses, self.shares):
            colour_plot(plot, self._background, self._text)

    def _make_lines(self) -> None:
        for plot in (self.losses, self.shares):
            plot.clear()
        self.legend.blockSignals(True)
        self.legend.clear()
        self._lines = {}
        for curve in self._curves:
            style = Qt.PenStyle.DashLine if curve.dashed else Qt.PenStyle.SolidLine
            pen = QPen(QColor(readable(curve.colour, self._background)), 1.5, style)
            pen.setCosmetic(True)  # its width is in pixels
            plot = self.shares if curve.share else self.losses
            self._lines[curve.key] = plot.plot(pen=pen, name=curve.key)
            self.legend.addItem(self._entry(curve, pen.color()))
        self.legend.blockSignals(False)
        self.shares.setVisible(any(curve.share for curve in self._curves))
        self._draw()

    def _entry(self, curve: Curve, colour: QColor) -> QListWidgetItem:
        entry = QListWidgetItem(swatch(colour.name()), curve.name)
        entry.setData(Qt.ItemDataRole.UserRole, curve.key)
        entry.setFlags(entry.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        states = Qt.CheckState
        entry.setCheckState(states.Unchecked if curve.key in self._hidden else states.Checked)
        width = self.legend.fontMetrics().horizontalAdvance(curve.name) + 56
        entry.setSizeHint(QSize(width, _ROW_PIXELS))
        return entry

    def _draw(self) -> None:
        if not self.is_drawn:
            return
        self.losses.setLogMode(y=self.log.isChecked())
        for curve in self._curves:
            line = self._lines[curve.key]
            line.setVisible(curve.key not in self._hidden)
            values = trailing_mean(curve.values, self.smoothing.value())
            if self.log.isChecked() and not curve.share:
                values = np.where(values > 0, values, np.nan)
            few = len(values) == 1  # a line of one point cannot be seen
            line.setData(
                curve.steps,
                values,
                connect="finite",
                symbol="o" if few else None,
                symbolSize=5,
                symbolPen=None,
                symbolBrush=line.opts["pen"].color(),
            )

    def _on_options_changed(self) -> None:
        self._draw()

    def _on_item_changed(self, item: QListWidgetItem) -> None:
        key = item.data(Qt.ItemDataRole.UserRole)
        if item.checkState() == Qt.CheckState.Checked:
            self._hidden.discard(key)
        else:
            self._hidden.add(key)
        self._draw()


def _plot(quantity: str) -> Any:
    import pyqtgraph as pg

    plot = pg.PlotWidget(enableMenu=False)
    plot.setMinimumHeight(140)
    # its own wish is a whole window: it takes what is left instead
    plot.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
    for side, text in (("left", quantity), ("bottom", "step")):
        plot.setLabel(side, text)
        plot.getAxis(side).enableAutoSIPrefix(False)
    plot.setDownsampling(auto=True, mode="peak")
    plot.setClipToView(True)
    plot.setMouseEnabled(x=True, y=False)
    plot.setToolTip("Drag or scroll to look closer; the button A in the corner shows all again")
    return plot
