"""The slices of a scored case: which curve, of which structure and prediction, and the way to the bad ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox

from napari_uda.gui.kit.choices import LATER
from napari_uda.gui.kit.export_picture import picture_button
from napari_uda.gui.kit.layout import column, wrapped
from napari_uda.gui.kit.navigation import AXIS_NAMES
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.structure_items import add_structure
from napari_uda.gui.kit.widgets import button, check_box, combo_box, label, tool_button
from napari_uda.gui.score.scoring import QUANTITIES, LayerScores, Line

if TYPE_CHECKING:
    from napari_uda.gui.score.score_plots import SliceCurve

ALL = -1
"""Every prediction."""


class SlicePanel(Panel):
    """Draws the curve of what was chosen; knows no viewer.

    Signals: `slice_chosen(index)` along `axis`; `choice_changed()` when structure, prediction or axis
    changed.

    Attributes:
        worst: button that leads to the next worst slice.
        disagreement: button that leads to the next error.
        errors: box that shows the layer of errors.
    """

    slice_chosen = Signal(int)
    choice_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.curve: SliceCurve | None = None
        self._results: list[LayerScores] = []
        self._theme = ("", "")
        quantities = (
            (title[:1].upper() + title[1:], key) for key, (title, _) in QUANTITIES.items()
        )
        axes = ((name, axis) for axis, name in enumerate(AXIS_NAMES))
        self.quantities = self._combo("quantities", "What the curve shows", quantities)
        self.axes = self._combo("axes", "Cut whose slices the curve shows", axes)
        self.axes.activated.connect(self._on_axis_chosen)
        self._axis_chosen = False
        tip = "whose slices and errors are meant"
        self.structures = self._combo("structures", f"Structure {tip}")
        self.methods = self._combo("methods", f"Prediction {tip}")
        self.previous = tool_button(
            "◀", "Previous structure", lambda: self._step(-1), "previous_structure"
        )
        self.next = tool_button("▶", "Next structure", lambda: self._step(1), "next_structure")
        self.worst = button(
            "Next worst slice",
            "From the lowest Dice of the chosen structure upwards; a click on a row begins anew",
            name="worst",
        )
        self.disagreement = button(
            "Next error",
            "Connected region where prediction and reference differ, the largest first",
            name="disagreement",
        )
        self.errors = check_box(
            "Errors",
            "Layer of errors: false positives in salmon, false negatives in light blue under stripes;\n"
            "for all structures together, voxels of another structure in white",
            name="errors",
        )
        self.export = picture_button(
            lambda: None if self.curve is None else self.curve.picture(),
            "this curve",
            "slices",
            "export_curve",
            short=True,
        )
        self._hint = label("The curve of every structure over the slices appears here.")
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._hint.setMinimumHeight(3 * self.fontMetrics().lineSpacing())  # in a narrow dock
        self._lay_out()
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

    def make_curve(self) -> None:
        """Put an empty plot where the hint is, if there is none yet."""
        from napari_uda.gui.score.score_plots import SliceCurve

        if self.curve is None:
            self.curve = SliceCurve()
            self.curve.slice_chosen.connect(self.slice_chosen)
            self._column.replaceWidget(self._hint, self.curve)
            self._column.setStretchFactor(self.curve, 1)
            self._hint.deleteLater()
            if self._theme[0]:
                self.curve.set_theme(*self._theme)

    def show_results(self, results: Sequence[LayerScores], *, again: bool = False) -> None:
        """Draw the scores of one prediction or several.

        Args:
            results: at least one; the first is the one that can be edited.
            again: they follow an edit, so that all choices stay.
        """
        self._results = list(results)
        if not again:
            _list(self.methods, [(one.name, rank) for rank, one in enumerate(results)])
            if len(results) > 1:
                self.methods.addItem("all predictions", ALL)
            if not self._axis_chosen:
                with QSignalBlocker(self.axes):
                    self.axes.setCurrentIndex(results[0].coarsest_axis)
        self._list_structures(results[0])
        self.methods.setVisible(len(results) > 1)
        self.make_curve()
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
            if index is not None and self._results:
                index = self._results[0].slice_number(self.axis, index)
            self.curve.mark(index)

    def set_theme(self, background: str, text: str) -> None:
        """Colours of napari's theme, `#RRGGBB`."""
        self._theme = background, text
        if self.curve is not None:
            self.curve.set_theme(background, text)

    def _combo(self, name: str, tip: str, items: Iterable[tuple[str, object]] = ()) -> QComboBox:
        return combo_box(items, tip, self._on_choice, name, least_letters=4)

    def _lay_out(self) -> None:
        choices = wrapped(
            (self.quantities, 4),
            (self.axes, 4),
            (self.structures, 5),
            self.previous,
            self.next,
            (self.methods, 5),
            self.export,
        )
        self.methods.hide()
        buttons = wrapped((self.worst, 1), (self.disagreement, 1), self.errors)
        self._column = column(buttons, choices, (self._hint, 1), of=self, margin=0)

    def _list_structures(self, result: LayerScores) -> None:
        """List the structures anew, and keep the chosen one if it is still there."""
        before = self.label
        lines = result.lines(self.axis, "dice")
        _list(self.structures, [("all structures", 0)])
        with QSignalBlocker(self.structures):
            for line in lines:
                add_structure(self.structures, line.name, line.label, line.label)
        later = self.structures.property(LATER)  # of a session
        self.structures.setProperty(LATER, None)
        wanted = max(self.structures.findText(str(later)), self.structures.findData(before), 0)
        with QSignalBlocker(self.structures):
            self.structures.setCurrentIndex(wanted)

    def _step(self, by: int) -> None:
        """To the structure `by` items further, beginning anew at the end."""
        if self.structures.count():
            place = (self.structures.currentIndex() + by) % self.structures.count()
            self.structures.setCurrentIndex(place)

    def _method(self) -> int:
        data = self.methods.currentData()
        return 0 if data is None else int(data)

    def _enable(self) -> None:
        scored = bool(self._results)
        for widget in (self.worst, self.disagreement, self.errors, self.previous, self.next):
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
        title_of = partial(self._results[0].slice_title, self.axis)
        self.curve.show_curves(lines, title, top, self.label or None, title_of)

    def _on_axis_chosen(self) -> None:
        self._axis_chosen = True

    def _on_choice(self) -> None:
        self._draw()
        self.choice_changed.emit()


def _list(combo: QComboBox, entries: Sequence[tuple[str, int]]) -> None:
    """Put other entries into a combo box, without a signal."""
    with QSignalBlocker(combo):
        combo.clear()
        for text, data in entries:
            combo.addItem(text, data)
