"""Which structure is compared with which: a table in a tab, remembered for the folder of the reference."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from napari.layers import Labels, Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractItemView, QComboBox, QTableWidgetItem

from napari_uda.core.small_files import parse_object
from napari_uda.core.structure_colours import full_name
from napari_uda.evaluation.matching import NONE, Match, is_unnamed, match_structures
from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.geometry import file_of
from napari_uda.gui.kit.layers import structure_names
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.panel import Following, Panel, delay, guarded
from napari_uda.gui.kit.structure_items import add_structure, structure_cell
from napari_uda.gui.kit.tab_order import lets_tab_leave
from napari_uda.gui.kit.tables import NAME_PIXELS, TablePlace, TextsInLines
from napari_uda.gui.kit.widgets import ignore_wheel, label, make_narrow, text_table

_ROW_PIXELS = 26
_NOTHING = "(missed)"
_WORDS = {
    "name": "same name",
    "number": "same number",
    "chosen": "your choice",
    "none": "no such structure",
}


class StructureMatches(Panel):
    """Structures of the reference, and for each the one of the prediction.

    Emits `changed()` when the user chooses, and `shown()` when other structures are listed.
    """

    changed = Signal()
    shown = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._predicted: dict[int, str] = {}
        self._referenced: dict[int, str] = {}
        self._key = ""
        self._layers: tuple[Layer | None, Layer | None] = (None, None)
        # layers are renamed one after the other: in between their names do not agree
        self._settle = delay(self, 0, self._on_renamed)
        self._renaming = Following(self, self._on_names)
        self._chosen: dict[str, str] = {}
        self._combos: dict[int, QComboBox] = {}  # by label of the reference, row by row
        self.table = text_table(
            ("Reference", "Prediction", "By"),
            "structure_matches",
            row_pixels=_ROW_PIXELS,
            wide=(0, 1),
        )
        self.table.setToolTip(
            "Which structure of the prediction is compared with which one of the reference.\n"
            "Choices are remembered for the folder of the reference, in your settings; no file is touched."
        )
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.extra = label(name="unmatched")
        TextsInLines(self.table)
        place = TablePlace(self.table, "Names", (0, 1, 2), NAME_PIXELS)
        column((place, 1), self.extra, of=self).setContentsMargins(0, 4, 0, 0)

    @property
    def chosen(self) -> dict[str, str]:
        """Name in the reference to name in the prediction, as far as the user chose; "" is none."""
        return dict(self._chosen)

    def chosen_for(self, layer: Labels) -> dict[str, str]:
        """The choices that another prediction can follow: those whose structures it has."""
        names = {NONE, *structure_names(layer).values()}
        return {one: other for one, other in self._chosen.items() if other in names}

    def set_layers(self, prediction: Layer | None, reference: Layer | None) -> None:
        """Show the structures of these two, and follow their names."""
        self._layers = prediction, reference
        given = (one for one in self._layers if one is not None)
        self._renaming.follow(*(one.events.metadata for one in given))
        predicted = structure_names(prediction) if isinstance(prediction, Labels) else {}
        referenced = structure_names(reference) if isinstance(reference, Labels) else {}
        key = _key(reference, referenced) if isinstance(reference, Labels) else ""
        if (predicted, referenced, key) == (self._predicted, self._referenced, self._key):
            return
        self._predicted, self._referenced, self._key = predicted, referenced, key
        self._chosen = {}
        for one, other in _remembered(key).items():
            known = other == NONE or (
                other in predicted.values() and other not in self._chosen.values()
            )
            if known and one in referenced.values():
                self._chosen[one] = other
        self._fill()
        self.shown.emit()

    def rename(self, names: Mapping[str, str]) -> None:
        """Let the choices follow structures that have other names now; `set_layers` shows them."""
        before = _remembered(self._key)
        after = {names.get(one, one): names.get(other, other) for one, other in before.items()}
        if after != before:
            preferences.settings().setValue(self._key, json.dumps(after))

    def _on_names(self) -> None:
        self._settle.start()

    def _on_renamed(self) -> None:
        self.set_layers(*self._layers)

    def _matches(self) -> list[Match]:
        return match_structures(self._predicted, self._referenced, self._chosen)

    @property
    def is_needed(self) -> bool:
        """Whether both sides have names."""
        return bool(self._predicted and self._referenced)

    @property
    def unsure(self) -> int:
        """Structures whose names do not agree or are missing on one side, and of which the user has not said a word."""
        return sum(map(_is_unsure, self._matches())) if self.is_needed else 0

    def _left_over(self) -> list[str]:
        used = {one.predicted for one in self._matches()}
        return [name for value, name in self._predicted.items() if value not in used]

    def _fill(self) -> None:
        matches = sorted(self._matches(), key=lambda one: (not _is_unsure(one), one.value))
        self.table.setRowCount(len(matches))
        self._combos = {one.value: self._combo(one) for one in matches}
        for place, one in enumerate(matches):
            self.table.setItem(place, 0, structure_cell(one.reference, one.value))
            self.table.setCellWidget(place, 1, self._combos[one.value])
            lets_tab_leave(self._combos[one.value])
            self.table.setItem(place, 2, QTableWidgetItem())
        self._describe()

    def _describe(self) -> None:
        """Say what is compared with what now; the rows stay where they are."""
        found = {one.value: one for one in self._matches()}
        for place, (value, combo) in enumerate(self._combos.items()):
            combo.setCurrentIndex(max(0, combo.findData(found[value].prediction)))
            how = self.table.item(place, 2)
            if how is not None:
                how.setText(_WORDS[found[value].how])
        left = list(map(full_name, self._left_over()))
        self.extra.setText(f"Not in the reference: {', '.join(left)}" if left else "")
        self.extra.setVisible(bool(left))

    def _combo(self, match: Match) -> QComboBox:
        combo = ignore_wheel(make_narrow(QComboBox(), 4, asks=False))
        combo.setObjectName(f"match_{match.value}")
        combo.addItem(_NOTHING, NONE)
        for value, name in sorted(self._predicted.items()):
            add_structure(combo, name, value, name)
        combo.setAccessibleName(f"Structure compared with {full_name(match.reference)}")
        # `activated` comes from a user alone, and not from the choices set here
        combo.activated.connect(guarded(lambda: self._choose(match.reference, combo.currentData())))
        return combo

    def _choose(self, reference: str, prediction: str) -> None:
        if prediction:  # what is compared elsewhere moves here
            freed = [one for one, other in self._chosen.items() if other == prediction]
            for one in freed:
                del self._chosen[one]
        self._chosen[reference] = prediction
        others = {
            one: other
            for one, other in _remembered(self._key).items()
            if one not in self._referenced.values()
        }
        preferences.settings().setValue(self._key, json.dumps({**others, **self._chosen}))
        self._describe()
        self.changed.emit()


def _is_unsure(one: Match) -> bool:
    """Whether a user has to say what is meant: a number is no name, as long as the other side has one."""
    numbers = [is_unnamed(name) for name in (one.reference, one.prediction)]
    return not one.is_sure or (one.how == "number" and any(numbers) and not all(numbers))


def _key(reference: Labels, names: Mapping[int, str]) -> str:
    """Of the folder that the reference was read from; without one, of its structures."""
    path = file_of(reference)
    folder = str(path.resolve().parent) if path else json.dumps(sorted(names.values()))
    return f"score/matches/{hashlib.sha256(folder.encode()).hexdigest()[:16]}"


def _remembered(key: str) -> dict[str, str]:
    found = parse_object(str(preferences.settings().value(key, "{}"))) if key else None
    if found is None:
        return {}
    return {str(one): str(other) for one, other in found.items()}
