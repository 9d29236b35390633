"""Calibration of a scored prediction: reliability diagram, ECE, and whether entropy finds the errors.

Imports pyqtgraph: `score_dock` imports it in a worker thread first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_uda.evaluation.calibration import (
    BAND_MM,
    DEFINITIONS,
    Calibration,
    StructureCalibration,
)
from napari_uda.gui.kit.colormaps import DARK, readable
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.kit.plots import colour_plot, still_plot

_BARS, _IDEAL = "#56B4E9", "#E69F00"
_REGIONS = (
    (f"within {BAND_MM:g} mm of the borders", "band", DEFINITIONS["band"]),
    ("whole volume", "whole", "Every voxel; easy background dominates"),
)
_BINS = (
    ("bins of equal width", "width", DEFINITIONS["equal width"]),
    ("bins of equal mass", "mass", DEFINITIONS["equal mass"]),
)


class CalibrationPanel(QWidget):
    """Draws what `calibrate_structures` found."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._found: list[StructureCalibration] = []
        self._background, self._text = DARK
        self.structures = QComboBox()
        self.structures.setObjectName("calibration_structures")
        self.regions = _choices("calibration_regions", _REGIONS)
        self.bins = _choices("calibration_bins", _BINS)
        self.plot = still_plot("confidence (1 - entropy)", "share of right voxels", height=150)
        self.plot.setRange(xRange=(0, 1), yRange=(0, 1), padding=0.02)
        self.plot.setToolTip(
            "Bars: how often voxels of that confidence are right. On the dashed line confidence keeps its word."
        )
        self.numbers = QLabel()
        self.numbers.setObjectName("calibration_numbers")
        self.numbers.setWordWrap(True)
        self.numbers.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.numbers.setToolTip(
            "\n".join(f"{key}: {DEFINITIONS[key]}" for key in ("confidence", "ece", "mce", "auroc"))
        )
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Structure", self.structures)
        form.addRow("Voxels", self.regions)
        form.addRow("Bins", self.bins)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 4, 0, 0)
        outer.addLayout(form)
        outer.addWidget(self.plot, 1)
        outer.addWidget(self.numbers)
        for combo in (self.structures, self.regions, self.bins):
            combo.currentIndexChanged.connect(self._on_choice)

    def show_calibrations(self, found: Sequence[StructureCalibration]) -> None:
        """Draw; the chosen structure stays when it is still there."""
        before = self.structures.currentText()
        self._found = list(found)
        self.structures.blockSignals(True)
        self.structures.clear()
        self.structures.addItems([one.name for one in found])
        self.structures.setCurrentIndex(max(0, self.structures.findText(before)))
        self.structures.blockSignals(False)
        self._draw()

    def set_theme(self, background: str, text: str) -> None:
        """Colours of napari's theme, `#RRGGBB`."""
        self._background, self._text = background, text
        self._draw()

    @guarded
    def _on_choice(self) -> None:
        self._draw()

    def _chosen(self) -> Calibration | None:
        index = self.structures.currentIndex()
        if not 0 <= index < len(self._found):
            return None
        found = self._found[index]
        return found.band if self.regions.currentData() == "band" else found.whole

    def _draw(self) -> None:
        self.plot.clear()
        colour_plot(self.plot, self._background, self._text)
        found = self._chosen()
        if found is not None:
            self._draw_bars(found)
        ideal = pg.mkPen(readable(_IDEAL, self._background), width=1.5, style=Qt.PenStyle.DashLine)
        self.plot.plot([0, 1], [0, 1], pen=ideal)
        self.numbers.setText("" if found is None else self._words(found))

    def _draw_bars(self, found: Calibration) -> None:
        bins = found.width if self.bins.currentData() == "width" else found.mass
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
        bins = found.width if self.bins.currentData() == "width" else found.mass
        parts = [
            f"ECE {_number(bins.ece())}",
            f"ACE {_number(bins.ace())}",
            f"MCE {_number(bins.mce())}",
            f"AUROC of entropy for errors {_number(found.auroc)}",
        ]
        return f"{' · '.join(parts)}\n{found.errors} of {found.voxels} voxels wrong"


def _choices(name: str, entries: Sequence[tuple[str, str, str]]) -> QComboBox:
    combo = QComboBox()
    combo.setObjectName(name)
    for index, (title, data, tip) in enumerate(entries):
        combo.addItem(title, data)
        combo.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)
    return combo


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
