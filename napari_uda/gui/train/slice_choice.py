"""SliceChoice: which slices of the training data the user wants to see while a run trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QListWidget,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.kit.panel import guarded
from napari_uda.run.folder import SlicePlace

_ROWS = 3
_MOST = 12


class SliceChoice(QWidget):
    """A list of slices that grows and shrinks.

    `changed()` says that the user chose others, `slice_chosen(int)` that one of the list was clicked.

    Attributes:
        cases: volume to take a slice of.
        number: the slice.
        add, remove: buttons.
        chosen: the list.
    """

    changed = Signal()
    slice_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._places: list[SlicePlace] = []
        self._choices: dict[str, dict[str, int]] = {}
        self._by_user = False
        self.cases = QComboBox()
        self.cases.setObjectName("preview_cases")
        self.cases.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.cases.setMinimumContentsLength(6)
        self.cases.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.cases.setToolTip("Training volume to take a slice of")
        self.number = QSpinBox()
        self.number.setObjectName("preview_slice")
        self.number.setPrefix("slice ")
        self.number.setToolTip("Slice of the volume, from foot, back or left")
        self.add = QToolButton()
        self.add.setText("+")
        self.add.setObjectName("add_slice")
        self.remove = QToolButton()
        self.remove.setText("−")
        self.remove.setObjectName("remove_slice")
        self.remove.setToolTip("Take the marked slice out of the list")
        self.chosen = QListWidget()
        self.chosen.setObjectName("chosen_slices")
        self.chosen.setToolTip(
            "Slices of the live previews; a click shows one of them in the viewer"
        )
        self.chosen.setFixedHeight(_ROWS * 20 + 6)
        row = QHBoxLayout()
        row.addWidget(self.cases, 1)
        row.addWidget(self.number)
        row.addWidget(self.add)
        row.addWidget(self.remove)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.chosen)
        self.cases.currentIndexChanged.connect(self._on_case_changed)
        self.add.clicked.connect(self._on_add)
        self.remove.clicked.connect(self._on_remove)
        self.chosen.currentRowChanged.connect(self._on_row_changed)
        self._update_buttons()

    @property
    def places(self) -> tuple[SlicePlace, ...]:
        """What the user chose; empty as long as the trainer may choose."""
        return tuple(self._places) if self._by_user else ()

    def clear(self) -> None:
        """Forget a run."""
        self._by_user = False
        self.set_choices({})
        self._show([])

    def set_choices(self, choices: Mapping[str, Mapping[str, int]]) -> None:
        """Offer volumes.

        Args:
            choices: domain to case to number of slices.
        """
        new = {domain: dict(cases) for domain, cases in choices.items()}
        if new == self._choices:
            return
        self._choices = new
        self.cases.clear()
        for domain, cases in new.items():
            for case, count in cases.items():
                self.cases.addItem(f"{domain} · {case}", (domain, case, count))
        self._update_buttons()

    def set_places(self, places: Sequence[SlicePlace], *, by_user: bool = False) -> None:
        """Show what a preview holds, unless the user chose otherwise since; or what was chosen before."""
        if by_user or not self._by_user:
            self._by_user = by_user
            self._show(list(places))

    def _show(self, places: list[SlicePlace]) -> None:
        if places == self._places:
            return
        row = self.chosen.currentRow()
        self._places = places
        self.chosen.blockSignals(True)
        self.chosen.clear()
        for place in places:
            self.chosen.addItem(f"{place.domain} · {place.case} · {place.index}")
        self.chosen.setCurrentRow(min(row, len(places) - 1))
        self.chosen.blockSignals(False)
        self._update_buttons()

    def _update_buttons(self) -> None:
        offered = self.cases.count() > 0
        for widget in (self.cases, self.number):
            widget.setEnabled(offered)
        full = len(self._places) >= _MOST
        self.add.setEnabled(offered and not full)
        self.add.setToolTip(
            f"{_MOST} slices are the most"
            if full
            else "Show this slice while the run trains"
            if offered
            else "Known with the first preview of a run"
        )
        self.remove.setEnabled(len(self._places) > 1 and self.chosen.currentRow() >= 0)

    @guarded
    def _on_case_changed(self) -> None:
        entry = self.cases.currentData()
        if entry is not None:
            _, _, count = entry
            self.number.setRange(0, count - 1)
            self.number.setValue(count // 2)

    @guarded
    def _on_add(self) -> None:
        domain, case, _ = self.cases.currentData()
        place = SlicePlace(domain, case, self.number.value())
        if place not in self._places:
            self._by_user = True
            self._show([*self._places, place])
            self.changed.emit()

    @guarded
    def _on_remove(self) -> None:
        row = self.chosen.currentRow()
        if row >= 0:
            self._by_user = True
            self._show([p for i, p in enumerate(self._places) if i != row])
            self.changed.emit()

    @guarded
    def _on_row_changed(self, row: int) -> None:
        self._update_buttons()
        if row >= 0:
            self.slice_chosen.emit(row)
