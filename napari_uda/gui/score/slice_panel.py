"""The slices of a scored case: which curve, of which structure and prediction, and the way to the bad ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.kit.navigation import AXIS_NAMES
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.kit.widgets import swatch
from napari_uda.gui.score.scoring import QUANTITIES, LayerScores, Line

if TYPE_CHECKING:
    from napari_uda.gui.score.slice_curve import SliceCurve

WORST_KEY, DISAGREEMENT_KEY = "W", "D"
"""Free in napari's own viewer, image and labels layers."""
ALL = -1
"""Every prediction."""


class SlicePanel(QWidget):
    """Draws the curve of what was chosen; knows no viewer.

    Signals: `slice_chosen(index)` along `axis`; `worst_pressed()`; `disagreement_pressed()`;
    `errors_toggled(bool)`; `choice_changed()` when structure, prediction or axis changed.
    """

    slice_chosen = Signal(int)
    worst_pressed = Signal()
    disagreement_pressed = Signal()
    errors_toggled = Signal(bool)
    choice_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.curve: SliceCurve | None = None
        self._results: list[LayerScores] = []
        self._theme = ("", "")
        self.quantities = _combo("quantities", "What the curve shows")
        for column, (title, _) in QUANTITIES.items():
            self.quantities.addItem(title[:1].upper() + title[1:], column)
        self.axes = _combo("axes", "Cut whose slices the curve shows")
        self.axes.addItems(AXIS_NAMES)
        self.structures = _combo("structures", "Structure whose slices and errors are meant")
        self.methods = _combo("methods", "Prediction whose slices and errors are meant")
        self.worst = QPushButton(f"Next worst slice ({WORST_KEY})")
        self.worst.setObjectName("worst")
        self.worst.setToolTip(
            "From the lowest Dice of the chosen structure upwards; a click on a row begins anew"
        )
        self.disagreement = QPushButton(f"Next error ({DISAGREEMENT_KEY})")
        self.disagreement.setObjectName("disagreement")
        self.disagreement.setToolTip(
            "Connected region where prediction and reference differ, the largest first"
        )
        self.errors = QCheckBox("Errors")
        self.errors.setObjectName("errors")
        self.errors.setToolTip(
            "Layer of errors: false positives in magenta, false negatives in cyan;\n"
            "for all structures together, voxels of another structure in white"
        )
        self._hint = QLabel("The curve of every structure over the slices appears here.")
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._hint.setWordWrap(True)
        self._lay_out()
        self.quantities.currentIndexChanged.connect(self._on_choice)
        for combo in (self.axes, self.structures, self.methods):
            combo.currentIndexChanged.connect(self._on_choice)
        self.worst.clicked.connect(self._on_worst)
        self.disagreement.clicked.connect(self._on_disagreement)
        self.errors.toggled.connect(self._on_errors)
        self._enable()

    @property
    def axis(self) -> int:
        """Axis of the layer."""
        return self.axes.currentIndex()

    @property
    def label(self) -> int:
        """The chosen structure; 0 is all."""
        return int(self.structures.currentData() or 0)

    @property
    def rank(self) -> int:
        """Index of the chosen prediction; the first one when all are shown."""
        return max(0, self._method())

    def show_results(self, results: Sequence[LayerScores], *, again: bool = False) -> None:
        """Draw the scores of one prediction or several.

        Args:
            results: at least one; the first is the one that can be edited.
            again: they follow an edit, so that all choices stay.
        """
        from napari_uda.gui.score.slice_curve import SliceCurve

        self._results = list(results)
        if not again:
            self._list(self.methods, [(one.name, rank) for rank, one in enumerate(results)])
            if len(results) > 1:
                self.methods.addItem("all predictions", ALL)
            self.axes.blockSignals(True)
            self.axes.setCurrentIndex(results[0].coarsest_axis)
            self.axes.blockSignals(False)
        self._list_structures(results[0])
        self.methods.setVisible(len(results) > 1)
        if self.curve is None:
            self.curve = SliceCurve()
            self.curve.slice_chosen.connect(self.slice_chosen)
            self._column.replaceWidget(self._hint, self.curve)
            self._column.setStretchFactor(self.curve, 1)
            self._hint.deleteLater()
            if self._theme[0]:
                self.curve.set_theme(*self._theme)
        self._enable()
        self._draw()

    def choose(self, rank: int, label: int) -> None:
        """Choose prediction and structure as a user would; all predictions stay shown."""
        if self._method() != ALL:
            self.methods.setCurrentIndex(rank)
        self.structures.setCurrentIndex(max(0, self.structures.findData(label)))

    def mark(self, index: int | None) -> None:
        """Mark the slice on screen."""
        if self.curve is not None:
            self.curve.mark(index)

    def set_theme(self, background: str, text: str) -> None:
        """Colours of napari's theme, `#RRGGBB`."""
        self._theme = background, text
        if self.curve is not None:
            self.curve.set_theme(background, text)

    def _lay_out(self) -> None:
        choices = QGridLayout()
        choices.addWidget(self.quantities, 0, 0)
        choices.addWidget(self.axes, 0, 1)
        choices.addWidget(self.structures, 0, 2)
        choices.addWidget(self.methods, 1, 0, 1, 3)
        for column, share in enumerate((4, 4, 5)):
            choices.setColumnStretch(column, share)
        self.methods.hide()
        buttons = QHBoxLayout()
        buttons.addWidget(self.worst, 1)
        buttons.addWidget(self.disagreement, 1)
        buttons.addWidget(self.errors)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addLayout(choices)
        self._column.addWidget(self._hint, 1)
        self._column.addLayout(buttons)

    def _list(self, combo: QComboBox, entries: Sequence[tuple[str, int]]) -> None:
        combo.blockSignals(True)
        combo.clear()
        for text, data in entries:
            combo.addItem(text, data)
        combo.blockSignals(False)

    def _list_structures(self, result: LayerScores) -> None:
        """List the structures anew, and keep the chosen one if it is still there."""
        before = self.label
        lines = result.lines(self.axis, "dice")
        self._list(
            self.structures,
            [("all structures", 0), *((line.name, line.label) for line in lines)],
        )
        for index, line in enumerate(lines, start=1):
            self.structures.setItemIcon(index, swatch(line.colour))
        self.structures.blockSignals(True)
        self.structures.setCurrentIndex(max(0, self.structures.findData(before)))
        self.structures.blockSignals(False)

    def _method(self) -> int:
        data = self.methods.currentData()
        return 0 if data is None else int(data)

    def _enable(self) -> None:
        scored = bool(self._results)
        for widget in (self.worst, self.disagreement, self.errors):
            widget.setEnabled(scored)

    def _draw(self) -> None:
        if self.curve is None or not self._results:
            return
        quantity = self.quantities.currentData()
        title, top = QUANTITIES[quantity]
        chosen = self._method()
        lines: list[Line] = []
        for rank, result in enumerate(self._results):
            if chosen in (ALL, rank):
                lines += result.lines(self.axis, quantity, rank)
        self.curve.show_curves(lines, title, top, self.label or None)

    @guarded
    def _on_choice(self) -> None:
        self._draw()
        self.choice_changed.emit()

    @guarded
    def _on_worst(self) -> None:
        self.worst_pressed.emit()

    @guarded
    def _on_disagreement(self) -> None:
        self.disagreement_pressed.emit()

    @guarded
    def _on_errors(self, wanted: bool) -> None:
        self.errors_toggled.emit(wanted)


def _combo(name: str, tip: str) -> QComboBox:
    combo = QComboBox()
    combo.setObjectName(name)
    combo.setToolTip(tip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo
