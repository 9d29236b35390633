"""LossCurves: scalars over steps, losses above and shares below, with smoothing and a logarithmic axis.

Importing pyqtgraph takes a fifth of a second: `run_watch` does it in its thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QListView,
    QListWidget,
    QListWidgetItem,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.kit.colormaps import DARK, readable
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.kit.plots import colour_plot
from napari_uda.gui.kit.widgets import swatch
from napari_uda.gui.train.run_history import trailing_mean

_POINTS_SMOOTHED = 10
_LEGEND_ROWS = 3
_ROW_PIXELS = 22


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of the plot.

    Attributes:
        key: what it is; a user's choice to hide it is kept under this key.
        name: how it is called.
        steps: `(N,)`, ascending.
        values: `(N,)`, NaN where there is none.
        colour: `#RRGGBB`.
        share: whether it lies in [0, 1] and is drawn in the lower plot.
        dashed: whether it is the second of two runs.
    """

    key: str
    name: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    colour: str
    share: bool = False
    dashed: bool = False


class LossCurves(QWidget):
    """Draws curves that grow; a check box for each hides it.

    Attributes:
        smoothing: points that are averaged.
        log: whether the axis of the losses is logarithmic.
        legend: the names, checked when drawn.
        losses, shares: the two plots.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("loss_curves")
        self._curves: list[Curve] = []
        self._lines: dict[str, pg.PlotDataItem] = {}
        self._hidden: set[str] = set()
        self._background, self._text = DARK
        self._build()

    def _build(self) -> None:
        self.smoothing = QSpinBox()
        self.smoothing.setObjectName("smoothing")
        self.smoothing.setRange(1, 500)
        self.smoothing.setValue(_POINTS_SMOOTHED)
        self.smoothing.setPrefix("mean of ")
        self.smoothing.setKeyboardTracking(False)
        self.smoothing.setToolTip(
            "Each point is the mean of so many logged values; 1 shows them as they are"
        )
        self.log = QCheckBox("Log scale")
        self.log.setObjectName("log")
        self.log.setToolTip("Logarithmic axis for the losses; values of 0 or less are left out")
        self.legend = QListWidget()
        self.legend.setObjectName("curve_legend")
        self.legend.setFlow(QListView.Flow.LeftToRight)
        self.legend.setWrapping(True)
        self.legend.setResizeMode(QListView.ResizeMode.Adjust)
        self.legend.setSpacing(1)
        self.legend.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        self.legend.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.legend.setToolTip("Uncheck a curve to hide it")
        self.legend.setMaximumHeight(_LEGEND_ROWS * (_ROW_PIXELS + 4))
        self.losses = _plot("loss")
        self.shares = _plot("share, Dice")
        self.shares.setYRange(0, 1, padding=0.05)
        self.shares.setXLink(self.losses)
        self.shares.setVisible(False)
        options = QHBoxLayout()
        options.addWidget(self.smoothing, 1)
        options.addWidget(self.log)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(options)
        layout.addWidget(self.losses, 3)
        layout.addWidget(self.shares, 2)
        layout.addWidget(self.legend)
        self.smoothing.valueChanged.connect(self._on_options_changed)
        self.log.toggled.connect(self._on_options_changed)
        self.legend.itemChanged.connect(self._on_item_changed)

    def set_theme(self, background: str, text: str) -> None:
        """Colours of napari's theme, `#RRGGBB`."""
        self._background, self._text = background, text
        for plot in (self.losses, self.shares):
            colour_plot(plot, background, text)
        self._make_lines()

    def show_curves(self, curves: Sequence[Curve]) -> None:
        """Draw; lines that were there before are only given their new points."""
        same = [(c.key, c.name, c.colour) for c in curves] == [
            (c.key, c.name, c.colour) for c in self._curves
        ]
        self._curves = list(curves)
        if same:
            self._draw()
        else:
            self._make_lines()

    def visible_keys(self) -> list[str]:
        """Keys of the curves that are drawn."""
        return [curve.key for curve in self._curves if curve.key not in self._hidden]

    def _make_lines(self) -> None:
        for plot in (self.losses, self.shares):
            plot.clear()
        self._lines = {}
        self.legend.blockSignals(True)
        self.legend.clear()
        for curve in self._curves:
            colour = readable(curve.colour, self._background)
            style = Qt.PenStyle.DashLine if curve.dashed else Qt.PenStyle.SolidLine
            plot = self.shares if curve.share else self.losses
            self._lines[curve.key] = plot.plot(
                pen=pg.mkPen(colour, width=1.5, style=style), name=curve.key
            )
            item = QListWidgetItem(swatch(colour), curve.name)
            item.setData(Qt.ItemDataRole.UserRole, curve.key)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            shown = curve.key not in self._hidden
            item.setCheckState(Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked)
            width = self.legend.fontMetrics().horizontalAdvance(curve.name) + 56
            item.setSizeHint(QSize(width, _ROW_PIXELS))
            self.legend.addItem(item)
        self.legend.blockSignals(False)
        self.shares.setVisible(any(curve.share for curve in self._curves))
        self._draw()

    def _draw(self) -> None:
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

    @guarded
    def _on_options_changed(self) -> None:
        self._draw()

    @guarded
    def _on_item_changed(self, item: QListWidgetItem) -> None:
        key = item.data(Qt.ItemDataRole.UserRole)
        if item.checkState() == Qt.CheckState.Checked:
            self._hidden.discard(key)
        else:
            self._hidden.add(key)
        self._draw()


def _plot(quantity: str) -> pg.PlotWidget:
    plot = pg.PlotWidget(enableMenu=False)
    plot.setMinimumHeight(140)
    # its own wish is a whole window: it takes what is left instead
    plot.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
    plot.setLabel("left", quantity)
    plot.setLabel("bottom", "step")
    plot.getAxis("left").enableAutoSIPrefix(False)
    plot.getAxis("bottom").enableAutoSIPrefix(False)
    plot.setDownsampling(auto=True, mode="peak")
    plot.setClipToView(True)
    plot.setMouseEnabled(x=True, y=False)
    plot.setToolTip("Drag or scroll to look closer; the button A in the corner shows all again")
    return plot
