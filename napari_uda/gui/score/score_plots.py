"""The plots of the dock: curves over slices, and the calibration of a prediction.

Importing pyqtgraph takes a fifth of a second: the dock does it in its worker thread, before it needs these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtWidgets import QToolTip

from napari_uda.core.colours import readable
from napari_uda.core.structure_colours import full_name
from napari_uda.evaluation.calibration import (
    BAND_MM,
    DEFINITIONS,
    Bins,
    Calibration,
    StructureCalibration,
)
from napari_uda.evaluation.figures import BarPlot, CurvePlot, Series
from napari_uda.gui.kit.colormaps import DARK
from napari_uda.gui.kit.layout import column, form
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.plots import colour_plot, still_plot
from napari_uda.gui.kit.widgets import combo_box, label
from napari_uda.gui.score.scoring import Line

_POINT_PIXELS = 5
_PENS = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashDotLine)
_BARS, _IDEAL = "#56B4E9", "#E69F00"
_REGIONS = (
    (f"{BAND_MM:g} mm at borders", "band", DEFINITIONS["band"]),
    ("whole volume", "whole", "Every voxel; easy background dominates"),
)
_BINS = (
    ("bins of equal width", "width", DEFINITIONS["equal width"]),
    ("bins of equal mass", "mass", DEFINITIONS["equal mass"]),
)


class SliceCurve(Panel):
    """Draws curves over the file's slice numbers; emits `slice_chosen(int)`, the layer's, on a click."""

    slice_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("slice_curve")
        self._lines: list[Line] = []
        self._title_of: Callable[[int], str] = str
        self._chosen: int | None = None
        self._quantity = ""
        self._top: float | None = None
        self._background, self._text = DARK
        self.plot = still_plot("slice", height=140)
        self.plot.setToolTip("Click a slice to show it")
        self.marker = pg.InfiniteLine(angle=90, movable=False)
        self.plot.scene().sigMouseClicked.connect(self._on_clicked)
        self.plot.scene().sigMouseMoved.connect(self._on_moved)
        column(self.plot, of=self, margin=0)

    def set_theme(self, background: str, text: str) -> None:
        """Colours of napari's theme, `#RRGGBB`."""
        self._background, self._text = background, text
        self._draw()

    def show_curves(
        self,
        lines: Sequence[Line],
        quantity: str,
        top: float | None,
        label: int | None = None,
        title_of: Callable[[int], str] = str,
    ) -> None:
        """Draw anew.

        Args:
            lines: one per structure and prediction; a NaN leaves a gap.
            quantity: what the values are, with its unit.
            top: upper end of the value axis; None fits the values.
            label: the structure to draw strongly; None draws all alike.
            title_of: what a slice of the layer is called.
        """
        self._lines, self._chosen, self._title_of = list(lines), label, title_of
        self._quantity, self._top = quantity, top
        self.plot.setLabel("left", quantity)
        self.plot.clear()  # a curve is worked out anew at every change of the range
        ends = [float(np.nanmax(one.values)) for one in lines if np.isfinite(one.values).any()]
        self.plot.setYRange(0, top or max(ends, default=1.0), padding=0.08)
        numbers = np.concatenate([line.numbers for line in lines] or [np.arange(2)])
        self.plot.setXRange(int(numbers.min()), int(numbers.max()), padding=0.02)
        self._draw()

    def picture(self) -> CurvePlot | None:
        """What is drawn, as a picture for paper; None without a curve."""
        if not self._lines:
            return None
        several = len({line.rank for line in self._lines}) > 1
        series = [
            Series(
                f"{full_name(line.name)} ({line.rank + 1})" if several else full_name(line.name),
                line.colour,
                line.numbers,
                line.values,
                dashed=line.rank > 0,
                points=True,
            )
            for line in self._lines
            if self._chosen in (None, line.label)
        ]
        return CurvePlot(series, "slice", self._quantity, self._top)

    def mark(self, number: int | None) -> None:
        """Mark the slice on screen by the file's number; None hides the mark."""
        self.marker.setVisible(number is not None)
        if number is not None:
            self.marker.setValue(number)

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
                line.numbers,
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
                name=full_name(line.name),
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
        lines = [self._title_of(index)]
        several = len({line.rank for line in self._lines}) > 1
        for line in self._lines:
            at = np.flatnonzero(line.slices == index)
            if at.size and np.isfinite(line.values[at[0]]):
                which = f" ({line.rank + 1})" if several else ""
                lines.append(f"{full_name(line.name)}{which} {line.values[at[0]]:.3g}")
        view = self.plot.viewport()
        QToolTip.showText(
            self.plot.mapToGlobal(self.plot.mapFromScene(position)), "\n".join(lines), view
        )

    def _slice_at(self, position: QPointF) -> int | None:
        """The layer's slice under a position of the scene; None outside the curves."""
        box = self.plot.plotItem.vb
        if not self._lines or not self.plot.plotItem.sceneBoundingRect().contains(position):
            return None
        number = box.mapSceneToView(position).x()
        slices = np.concatenate([line.slices for line in self._lines])
        numbers = np.concatenate([line.numbers for line in self._lines])
        return int(slices[np.abs(numbers - number).argmin()])


class CalibrationPanel(Panel):
    """Draws what `calibrate_structures` found."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[StructureCalibration] = []
        self._background, self._text = DARK
        self.structures = combo_box(slot=self._on_choice, name="calibration_structures")
        self.regions = combo_box(_REGIONS, slot=self._on_choice, name="calibration_regions")
        self.bins = combo_box(_BINS, slot=self._on_choice, name="calibration_bins")
        self.plot = still_plot("confidence (1 - entropy)", "share of right voxels", height=150)
        self.plot.setRange(xRange=(0, 1), yRange=(0, 1), padding=0.02)
        self.plot.setToolTip(
            "Bars: how often voxels of that confidence are right. "
            "They end on the dashed line where confidence and correctness agree.\n"
            "Point at a bar to see its numbers."
        )
        self.plot.scene().sigMouseMoved.connect(self._on_moved)
        words = ("confidence", "ece", "mce", "auroc")
        tip = "\n".join(f"{key}: {DEFINITIONS[key]}" for key in words)
        self.numbers = label(name="calibration_numbers", tooltip=tip)
        self.numbers.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        choices = form(
            ("Structure", self.structures), ("Voxels", self.regions), ("Bins", self.bins)
        )
        column(choices, (self.plot, 1), self.numbers, of=self).setContentsMargins(0, 4, 0, 0)

    def picture(self) -> BarPlot | None:
        """What is drawn, as a picture for paper; None before a calibration is known."""
        found = self._chosen()
        if found is None:
            return None
        bins = self._bins_of(found)
        region = self.regions.currentText()
        note = f"{self.structures.currentText()}, {region}: ECE {_number(bins.ece())}"
        labels = "confidence (1 - entropy)", "share of right voxels"
        return BarPlot(bins.edges, bins.accuracy, [_BARS], *labels, 1.0, True, note)

    def show_calibrations(self, found: Sequence[StructureCalibration]) -> None:
        """Draw; the chosen structure stays when it is still there."""
        before = self.structures.currentText()
        self._found = list(found)
        self.structures.blockSignals(True)
        self.structures.clear()
        self.structures.addItems([full_name(one.name) for one in found])
        self.structures.setCurrentIndex(max(0, self.structures.findText(before)))
        self.structures.blockSignals(False)
        self._draw()

    def set_theme(self, background: str, text: str) -> None:
        """Colours of napari's theme, `#RRGGBB`."""
        self._background, self._text = background, text
        self._draw()

    def _on_choice(self) -> None:
        self._draw()

    def _chosen(self) -> Calibration | None:
        index = self.structures.currentIndex()
        if not 0 <= index < len(self._found):
            return None
        found = self._found[index]
        return found.band if self.regions.currentData() == "band" else found.whole

    def _bins_of(self, found: Calibration) -> Bins:
        return found.width if self.bins.currentData() == "width" else found.mass

    def _draw(self) -> None:
        self.plot.clear()
        colour_plot(self.plot, self._background, self._text)
        found = self._chosen()
        if found is not None:
            self._draw_bars(found)
        ideal = pg.mkPen(readable(_IDEAL, self._background), width=1.5, style=Qt.PenStyle.DashLine)
        self.plot.plot([0, 1], [0, 1], pen=ideal)
        nothing = "No entropy map was scored with this prediction."
        self.numbers.setText(nothing if found is None else self._words(found))

    def text_at(self, confidence: float) -> str:
        """The bin of a confidence in numbers; "" where there is none."""
        found = self._chosen()
        bins = None if found is None else self._bins_of(found)
        if bins is None or not bins.edges[0] <= confidence <= bins.edges[-1]:
            return ""
        at = min(int(np.searchsorted(bins.edges, confidence, side="right")), len(bins.counts)) - 1
        ends = f"confidence {bins.edges[at]:.3g} to {bins.edges[at + 1]:.3g}"
        number = int(bins.counts[at])
        count = f"{number:,} voxel{'s' * (number != 1)}".replace(",", " ")
        return f"{ends}: {count}" + (f", {bins.accuracy[at]:.1%} right" if number else "")

    def _on_moved(self, position: QPointF) -> None:
        item = self.plot.plotItem
        if item.sceneBoundingRect().contains(position):
            words = self.text_at(item.vb.mapSceneToView(position).x())
            where = self.plot.mapToGlobal(self.plot.mapFromScene(position))
            QToolTip.showText(where, words, self.plot.viewport())

    def _draw_bars(self, found: Calibration) -> None:
        bins = self._bins_of(found)
        filled = bins.counts > 0
        bars = pg.BarGraphItem(
            x0=bins.edges[:-1][filled],
            x1=bins.edges[1:][filled],
            y0=0,
            y1=bins.accuracy[filled],
            brush=pg.mkBrush(readable(_BARS, self._background)),
            pen=pg.mkPen(self._background),
        )
        self.plot.addItem(bars)

    def _words(self, found: Calibration) -> str:
        bins = self._bins_of(found)
        parts = [
            f"ECE {_number(bins.ece())}",
            f"ACE {_number(bins.ace())}",
            f"MCE {_number(bins.mce())}",
            f"AUROC of entropy for errors {_number(found.auroc)}",
        ]
        return f"{' · '.join(parts)}\n{found.errors} of {found.voxels} voxels wrong"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
