"""EntropyPanel: a threshold on entropy, what it keeps, what is drawn of it, and the way to uncertain slices."""

from __future__ import annotations

import math

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.segment.entropy_histogram import EntropyHistogram
from napari_uda.gui.segment.uncertainty import STEPS, Uncertainty

_FIRST_STEP = 50
UNCERTAIN_KEY = "U"


class EntropyPanel(QWidget):
    """Knows no viewer: it shows an `Uncertainty` and emits what is asked for.

    Signals: `step_changed(int)`, the threshold in hundredths; `drawing_changed()`, whenever one of the
    three boxes `map`, `map_above` and `contours` or the threshold changed; `next_requested()`.
    """

    step_changed = Signal(int)
    drawing_changed = Signal()
    next_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._uncertainty: Uncertainty | None = None
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setObjectName("threshold")
        self.slider.setRange(1, STEPS)
        self.slider.setValue(_FIRST_STEP)
        self.slider.setToolTip("Voxels with an entropy below the threshold count as certain")
        self.value = QLabel()
        self.value.setObjectName("threshold_value")
        self.histogram = EntropyHistogram(STEPS)
        self.map = QCheckBox("Map")
        self.map.setObjectName("map")
        self.map.setToolTip("Show the entropy map over the image")
        self.map_above = QCheckBox("only above")
        self.map_above.setObjectName("map_above")
        self.map_above.setToolTip("Leave the map out where entropy is below the threshold")
        self.contours = QCheckBox("Contours")
        self.contours.setObjectName("contours")
        self.contours.setToolTip(
            "Draw lines of equal entropy: at the threshold, and at 0.25, 0.5 and 0.75 above it"
        )
        self.kept = QLabel()
        self.kept.setObjectName("kept")
        self.kept.setWordWrap(True)
        self.kept.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.next = QPushButton(f"Next uncertain slice ({UNCERTAIN_KEY})")
        self.next.setObjectName("next_uncertain")
        self.rank = QLabel()
        self.rank.setObjectName("rank")
        self.rank.setWordWrap(True)
        self._lay_out()
        self.slider.valueChanged.connect(self._on_slider)
        self.histogram.step_chosen.connect(self.slider.setValue)
        for box in (self.map, self.map_above, self.contours):
            box.toggled.connect(self._on_drawing)
        self.next.clicked.connect(self._on_next)
        self.show_uncertainty(None)

    def _lay_out(self) -> None:
        threshold = QHBoxLayout()
        threshold.addWidget(QLabel("Threshold"))
        threshold.addWidget(self.slider, 1)
        threshold.addWidget(self.value)
        boxes = QHBoxLayout()
        for box in (self.map, self.map_above, self.contours):
            boxes.addWidget(box)
        boxes.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.histogram)
        layout.addLayout(threshold)
        layout.addLayout(boxes)
        layout.addWidget(self.kept)
        layout.addWidget(self.next)
        layout.addWidget(self.rank)
        layout.addStretch(1)

    @property
    def step(self) -> int:
        """The threshold, in hundredths."""
        return int(self.slider.value())

    def show_uncertainty(self, uncertainty: Uncertainty | None) -> None:
        """Show counts, or that there are none; the threshold stays."""
        self._uncertainty = uncertainty
        for widget in (
            *(self.slider, self.histogram),
            *(self.map, self.map_above, self.contours),
        ):
            widget.setEnabled(uncertainty is not None)
        if uncertainty is not None:
            self.histogram.show_counts(uncertainty.of_structures)
        ranked = uncertainty is not None and bool(uncertainty.ranking())
        self.next.setEnabled(ranked)
        self.next.setToolTip(
            "Slices by mean entropy of their predicted pixels, the most uncertain first"
            if ranked
            else "No slice with a predicted structure and an entropy map"
        )
        self.rank.setText("")
        self._describe()

    def show_slice(self, index: int | None) -> None:
        """Say what place the slice on screen has in the ranking."""
        uncertainty = self._uncertainty
        if uncertainty is None or index is None:
            self.rank.setText("")
            return
        ranking = uncertainty.ranking()
        if index in ranking:
            place = f"number {ranking.index(index) + 1} of {len(ranking)} by mean entropy"
            self.rank.setText(f"Slice {index}: {place}, {uncertainty.slices[index]:.3f}")
        else:
            self.rank.setText(f"Slice {index}: no structure predicted")

    def _describe(self) -> None:
        step, uncertainty = self.step, self._uncertainty
        self.value.setText(f"{step / STEPS:.2f}")
        self.histogram.set_step(step)
        if uncertainty is None:
            self.kept.setText("No entropy map belongs to this result.")
            return
        structures, volume = uncertainty.kept_of_structures(step), uncertainty.kept(step)
        lines = [
            f"Kept: {_percent(structures)} of the structures, {_percent(volume)} of the volume"
        ]
        if uncertainty.has_reference:
            below, above = (uncertainty.dice(step, below=side) for side in (True, False))
            lines.append(f"Mean Dice: {_mean(below)} below the threshold, {_mean(above)} above it")
            self.kept.setToolTip(
                "Dice below and above the threshold\n"
                + "\n".join(f"{name}: {_two(below[name])}, {_two(above[name])}" for name in below)
            )
        else:
            lines.append("Open the reference of this case to see Dice on both sides.")
            self.kept.setToolTip("")
        self.kept.setText("\n".join(lines))

    @guarded
    def _on_slider(self, step: int) -> None:
        self._describe()
        self.step_changed.emit(step)
        self.drawing_changed.emit()

    @guarded
    def _on_drawing(self) -> None:
        self.drawing_changed.emit()

    @guarded
    def _on_next(self) -> None:
        self.next_requested.emit()


def _percent(share: float) -> str:
    return "none" if math.isnan(share) else f"{share:.1%}"


def _mean(dice: dict[str, float]) -> str:
    known = [value for value in dice.values() if not math.isnan(value)]
    return f"{sum(known) / len(known):.3f}" if known else "none"


def _two(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.3f}"
