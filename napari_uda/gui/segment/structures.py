"""Structures of a result: a legend with an eye and a solo button for each, outlines and opacity for all."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from qtpy.QtCore import QPoint, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSlider,
    QTableWidget,
    QToolButton,
)
from superqt.utils import signals_blocked

from napari_uda.core.structure_colours import full_name
from napari_uda.data.volume_change import change_text
from napari_uda.gui.kit.eye_button import EyeButton
from napari_uda.gui.kit.layout import column, wrapped
from napari_uda.gui.kit.panel import Guarded, Panel
from napari_uda.gui.kit.renaming import ask_name
from napari_uda.gui.kit.structure_items import structure_cell
from napari_uda.gui.kit.tables import TextsInLines
from napari_uda.gui.kit.widgets import check_box, label, named, right_aligned, tool_button

_FIRST_OPACITY = 55
_BUTTON_PIXELS = 24
_NAME, _VOLUME, _EYE, _SOLO = range(4)


class StructurePanel(Panel):
    """Knows no viewer. `look_changed()` says that what is hidden, outlines or opacity changed."""

    look_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._opacity_chosen = False
        self.legend = Legend()
        self.legend.hidden_changed.connect(self.look_changed)
        self.outlines = check_box(
            "Outlines",
            "Draw predictions as outlines, so that the image inside is seen",
            name="outlines",
        )
        self.outlines.toggled.connect(self.look_changed)
        self.previous = tool_button(
            "◀", "Previous structure", lambda: self.legend.step(-1), "previous_structure"
        )
        self.next = tool_button(
            "▶", "Next structure", lambda: self.legend.step(1), "next_structure"
        )
        self.opacity = named(
            QSlider(Qt.Orientation.Horizontal),
            "opacity",
            "Opacity of all predictions and references, in percent",
        )
        self.opacity.setRange(0, 100)
        self.opacity.setValue(_FIRST_OPACITY)
        self.opacity.valueChanged.connect(self._on_opacity)
        looks = wrapped(
            self.previous, self.next, self.outlines, label("Opacity", wrap=False), (self.opacity, 1)
        )
        column((self.legend, 1), looks, of=self).setContentsMargins(0, 4, 0, 0)

    @property
    def chosen_opacity(self) -> float | None:
        """Opacity in [0, 1]; None until the user chose one: layers keep their own."""
        return self.opacity.value() / 100 if self._opacity_chosen else None

    def show_look(self, outlined: bool, hidden: Collection[int]) -> None:
        """What a layer that is shown for the first time says of itself stays as it is."""
        with signals_blocked(self):
            self.legend.hide_structures(hidden)
            if outlined:
                self.outlines.setChecked(True)

    def _on_opacity(self) -> None:
        self._opacity_chosen = True
        self.look_changed.emit()


class Legend(Guarded, QTableWidget):
    """A small table: structure (with its colour), volume in millilitres, eye, solo.

    `hidden_changed()` is emitted when the user hides, shows or singles out a structure;
    `structure_chosen(int)` with a label value when a row is double-clicked; `renamed(int, str)` with a
    label value and its new name when the user gave it one (right-click).
    """

    hidden_changed = Signal()
    structure_chosen = Signal(int)
    renamed = Signal(int, str)

    def __init__(self) -> None:
        super().__init__(0, 4)
        self._names: dict[int, str] = {}
        self._eyes: dict[int, EyeButton] = {}
        self._solos: dict[int, QToolButton] = {}
        named(self, "legend")
        self.setHorizontalHeaderLabels(["Structure", "mL", "", ""])
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTabKeyNavigation(False)  # Tab leads on to the eyes, the arrows from row to row
        self.setShowGrid(False)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        rows.setVisible(False)
        rows.setDefaultSectionSize(_BUTTON_PIXELS)
        columns.setMinimumSectionSize(_BUTTON_PIXELS)
        columns.setHighlightSections(False)  # bold titles take the room of others
        columns.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        columns.setSectionResizeMode(_VOLUME, QHeaderView.ResizeMode.ResizeToContents)
        for number in (_EYE, _SOLO):
            columns.setSectionResizeMode(number, QHeaderView.ResizeMode.Fixed)
            columns.resizeSection(number, _BUTTON_PIXELS)
        self.setToolTip(
            "Structures of the result, in the colours of its layer; double-click shows the largest slice,\n"
            "right-click renames"
        )
        TextsInLines(self, _NAME)
        self.cellDoubleClicked.connect(self._on_double_clicked)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu)

    @property
    def hidden(self) -> frozenset[int]:
        """Label values that are not to be seen."""
        alone = {value for value, button in self._solos.items() if button.isChecked()}
        if alone:
            return frozenset(self._names) - alone
        return frozenset(value for value, eye in self._eyes.items() if not eye.isChecked())

    def hide_structures(self, values: Collection[int]) -> None:
        """Close the eyes of these, as the user would."""
        for value in values:
            self._eyes[value].setChecked(False)

    def show_structures(
        self,
        names: Mapping[int, str],
        volumes_ml: Mapping[int, float],
        before_ml: Mapping[int, float] | None = None,
    ) -> None:
        """Fill in; what was hidden stays hidden as long as the structures are the same.

        Args:
            names: label value to structure name.
            volumes_ml: label value to volume in millilitres; one that is left out is still counted.
            before_ml: volumes before a change, told as the change since; the tooltip has both.
        """
        if dict(names) != self._names:
            self._make_rows(names)
        for number, value in enumerate(names):
            text, about = f"{volumes_ml[value]:.1f}" if value in volumes_ml else "…", ""
            if before_ml is not None and value in volumes_ml:
                was, now = before_ml.get(value, 0.0), volumes_ml.get(value, 0.0)
                about = f"{was:.1f} mL before the adaptation, {text} mL after it"
                text = f"{text} ({change_text(was, now)})"  # both would squeeze the names out
            volume = right_aligned(text)
            volume.setToolTip(about)
            self.setItem(number, _VOLUME, volume)

    def _make_rows(self, names: Mapping[int, str]) -> None:
        self._names = dict(names)
        self._eyes, self._solos = {}, {}
        self.setRowCount(0)
        self.setRowCount(len(names))
        for number, (value, name) in enumerate(names.items()):
            eye = named(EyeButton(), f"eye_{value}", f"Show or hide {full_name(name)}")
            about = f"Solo: show only {full_name(name)}, and others with their S pressed"
            solo = tool_button("S", about, name=f"solo_{value}")
            for button in (eye, solo):
                button.setCheckable(True)
                button.setChecked(button is eye)
                button.setAutoRaise(True)
                button.setFixedWidth(_BUTTON_PIXELS)  # as high as its row
                button.toggled.connect(self.hidden_changed)
            self._eyes[value], self._solos[value] = eye, solo
            self.setItem(number, _NAME, structure_cell(name, value))
            self.setCellWidget(number, _EYE, eye)
            self.setCellWidget(number, _SOLO, solo)

    def step(self, by: int) -> None:
        """Go to the structure `by` rows further, beginning anew at the end."""
        if self.rowCount():
            row = (self.currentRow() + by) % self.rowCount() if self.currentRow() >= 0 else 0
            self.setCurrentCell(row, _NAME)
            self._on_double_clicked(row)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Return does what a double-click does."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._on_double_clicked(self.currentRow())
        else:
            super().keyPressEvent(event)

    def _on_double_clicked(self, number: int) -> None:
        structure = self.item(number, _NAME)
        if structure is not None:
            self.structure_chosen.emit(int(structure.data(Qt.ItemDataRole.UserRole)))

    def _on_menu(self, place: QPoint) -> None:
        structure = self.item(self.rowAt(place.y()), _NAME)
        if structure is None:
            return
        value = int(structure.data(Qt.ItemDataRole.UserRole))
        name = ask_name(self, self._names[value], value)
        if name:
            self.renamed.emit(value, name)
