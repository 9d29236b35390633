"""CasesPanel: the cases of a folder as a list; the chosen one is shown alone, and the next is one key away."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QLineEdit,
    QTableWidgetItem,
)
from superqt.utils import signals_blocked

from napari_uda.core.errors import sentence
from napari_uda.core.files import shown
from napari_uda.core.words import number_of
from napari_uda.data.volume import Placement
from napari_uda.evaluation.outdated import OUTDATED
from napari_uda.gui.data.case_layers import CaseContent, CaseLayers, read_case, read_maps
from napari_uda.gui.kit.files import LayerData
from napari_uda.gui.kit.jobs import Job, Turns, background, running
from napari_uda.gui.kit.keys import bind_keys, keys_of
from napari_uda.gui.kit.layers import preload
from napari_uda.gui.kit.layout import column, row, wrapped
from napari_uda.gui.kit.panel import Panel, delay
from napari_uda.gui.kit.tables import TablePlace
from napari_uda.gui.kit.widgets import button, label, named, right_aligned, text_table, tool_button
from napari_uda.inference.cases import CaseFiles, CaseList, list_cases

_CASE, _IMAGE, _LABELS, _PREDICTION, _DICE = range(5)
_HEADERS = ("Case", "Image", "Labels", "Pred.", "Dice")
_BY_IMPORTANCE = (_CASE, _DICE, _LABELS, _PREDICTION, _IMAGE)
_TOOLTIPS = (
    "A click sorts by name",
    "Whether its image is there; a click puts those without first",
    "Whether it has labels; a click puts those without first",
    "Whether it has a prediction; a click puts those without first",
    "Mean Dice over the structures, from scores.csv; a click puts the worst first",
)
_YES, _NO, _LOST = "✓", "–", "missing"
_CHOICE_MS = 120  # keys that repeat pass over cases without reading them
_EMPTY = (
    "Choose a folder: a data folder (images, labels), predictions, a run, or patients as DICOM. "
    "Its cases are listed here."
)


class CasesPanel(Panel):
    """A list of cases; choosing one shows it alone.

    Attributes:
        current: the case that was chosen last; None before.
        found: the list; None before.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self.current: CaseFiles | None = None
        self.found: CaseList | None = None
        self._placement: Placement = "auto"
        self._layers = CaseLayers(viewer)
        self._listed: list[CaseFiles] = []  # as the table has them
        self._sorted_by, self._turned = _CASE, False
        self._job: Job | None = None
        self._turns = Turns(self)
        self._choice = delay(self, _CHOICE_MS, self._on_rest)
        self.folder = button(
            "Folder…",
            "A data folder, predictions, a run, or a tree of patients (DICOM, too)",
            self._on_folder,
            "cases_folder",
        )
        self.predictions = button(
            "Predictions…",
            "A folder of predictions, or a run, for the cases of this list",
            self._on_predictions,
            "cases_predictions",
        )
        self.about = label(_EMPTY, name="cases_about")
        self.filter = named(
            QLineEdit(), "cases_filter", "List only cases whose name has every word typed here"
        )
        self.filter.setPlaceholderText("Filter")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._on_filter)
        self.previous = tool_button("◀", "Previous case", self._on_previous, "case_previous")
        self.next = tool_button("▶", "Next case", self._on_next, "case_next")
        self.table = text_table(_HEADERS, "cases", wide=(_CASE,))
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setAccessibleName("Cases")
        headers = self.table.horizontalHeader()
        headers.setSectionsClickable(True)
        headers.sectionClicked.connect(self._on_header)
        self._headers = [QTableWidgetItem(words) for words in _HEADERS]
        for place, header in enumerate(self._headers):
            header.setToolTip(_TOOLTIPS[place])
            self.table.setHorizontalHeaderItem(place, header)
        self.table.currentCellChanged.connect(self._on_row)
        self.table.cellClicked.connect(self._on_clicked)
        self.table.installEventFilter(self)
        self._place = TablePlace(self.table, "Cases", _BY_IMPORTANCE)
        self.status = label(name="case_status")
        column(
            wrapped((self.folder, 1), (self.predictions, 1)),
            self.about,
            row((self.filter, 1), self.previous, self.next),
            (self._place, 1),
            self.status,
            of=self,
            margin=4,
        ).addStretch(0)  # takes the room of the table while there is none
        bind_keys(viewer, self, (self.previous, self._on_previous), (self.next, self._on_next))
        self._update()

    @property
    def is_settled(self) -> bool:
        """Whether what was chosen is shown."""
        return not (running(self) or self._turns.is_busy or self._choice.isActive())

    def open_folder(
        self,
        folder: Path,
        predictions: Path | None = None,
        placement: Placement = "auto",
        *,
        on_screen: str | None = None,
    ) -> None:
        """List a folder in a thread, then show its first case.

        Args:
            folder: as for `list_cases`.
            predictions: as for `list_cases`.
            placement: as for `list_cases`.
            on_screen: the case that is shown already, such as by a session; none is read then.
        """
        self._placement = placement
        self.status.setText(f"Listing {shown(folder)}…")

        def work() -> CaseList:
            preload()
            return list_cases(folder, predictions=predictions, placement=placement)

        background(
            self,
            f"List {shown(folder)}",
            work,
            lambda found: self.open_list(found, on_screen=on_screen),
            failed=self._on_failed,
        )

    def open_list(self, found: CaseList, *, on_screen: str | None = None) -> None:
        """List these cases, the worst first where they are scored, and show the first one.

        Args:
            found: the list.
            on_screen: as for `open_folder`.
        """
        self.found = found
        self._sorted_by, self._turned = (_DICE if found.is_scored else _CASE), False
        self.status.setText("")
        with signals_blocked(self.filter):
            self.filter.clear()
        if on_screen is not None:
            there = (case for case in found.cases if case.name == on_screen)
            self.current = next(there, None)
            self._layers.case = on_screen
            self._fill()
            return
        self._fill()
        first = found.first if not found.is_scored else next(iter(self._listed), None)
        if first is not None:
            self.choose(first.name)

    def choose(self, name: str) -> None:
        """Show a case of the list by its name."""
        for place, case in enumerate(self._listed):
            if case.name == name:
                self.table.setCurrentCell(place, _CASE)
                self._choice.stop()
                self._on_rest()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The keys of the panel work in the table, too, which would scroll by a page."""
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            bound = [key for keys, _ in keys_of(self) for key in keys.split(" or ")]
            for pressed, key, step in (
                (Qt.Key.Key_PageUp, "PageUp", self._on_previous),
                (Qt.Key.Key_PageDown, "PageDown", self._on_next),
            ):
                if event.key() == pressed and key in bound:  # else the user has other keys
                    step()
                    return True
        return False

    def _on_folder(self) -> None:
        start = "" if self.found is None else str(self.found.path.parent)
        chosen = QFileDialog.getExistingDirectory(self, "A folder of cases", start)
        if chosen:
            self.open_folder(Path(chosen))

    def _on_predictions(self) -> None:
        if self.found is None:
            return
        chosen = QFileDialog.getExistingDirectory(
            self, "A folder of predictions", str(self.found.path.parent)
        )
        if chosen:
            self.open_folder(self.found.path, Path(chosen), self._placement)

    def _on_failed(self, message: str) -> None:
        self.status.setText(message)

    def _on_filter(self) -> None:
        self._fill()

    def _on_header(self, place: int) -> None:
        self._turned = not self._turned if place == self._sorted_by else False
        self._sorted_by = place
        self._fill()

    def _on_previous(self) -> None:
        self._step(-1)

    def _on_next(self) -> None:
        self._step(1)

    def _step(self, by: int) -> None:
        place = self.table.currentRow() + by
        if self._listed and 0 <= place < len(self._listed):
            self.table.setCurrentCell(place, _CASE)

    def _on_row(self, place: int) -> None:
        self._update()
        if 0 <= place < len(self._listed) and self._listed[place] is not self.current:
            self._choice.start()

    def _on_clicked(self, place: int) -> None:
        """Back to the case that the list stands on, when something else is looked at meanwhile."""
        case = self._listed[place] if 0 <= place < len(self._listed) else None
        if case is not None and case is self.current and not self._layers.is_seen:
            self._choice.start()

    def _on_rest(self) -> None:
        """Read the case that the list stands on, and no other any more."""
        place = self.table.currentRow()
        if not 0 <= place < len(self._listed):
            return
        case = self._listed[place]
        if self._job is not None:
            self._job.cancel()
        self.current = case
        self.status.setText(f"Reading {case.name}…")
        self._job = background(
            self,
            f"Read {case.name}",
            lambda: read_case(case),
            lambda content: self._on_read(case, content),
            failed=lambda message: self._on_unreadable(case, message),
            quiet=True,
        )
        self._update()

    def _on_unreadable(self, case: CaseFiles, message: str) -> None:
        if case is self.current:
            still = " The case before is still shown." if self._layers.are_seen else ""
            self.status.setText(message + still)

    def _on_read(self, case: CaseFiles, content: CaseContent) -> None:
        if case is self.current:
            self.status.setText(content.problem)
            self._turns.take(self._told(self._swap(content)))

    def _swap(self, content: CaseContent) -> Iterator[None]:
        yield from self._layers.swap(content)
        case = content.case
        if case is self.current and case.maps:
            self._job = background(
                self,
                f"Read the maps of {case.name}",
                lambda: read_maps(case),
                lambda maps: self._on_maps(case, maps),
                failed=lambda message: self._on_no_maps(case, message),
                quiet=True,
            )

    def _on_maps(self, case: CaseFiles, maps: list[LayerData]) -> None:
        if case is self.current:
            self._turns.take(self._told(self._layers.add(maps)))

    def _on_no_maps(self, case: CaseFiles, message: str) -> None:
        if case is self.current:
            self.status.setText(message)

    def _told(self, steps: Iterator[None]) -> Iterator[None]:
        try:
            yield from steps
        except Exception as error:
            self.status.setText(sentence(error))
            raise

    def _fill(self) -> None:
        """The table anew, in its order, with the current case chosen if it is in it."""
        words = self.filter.text().lower().split()
        every = () if self.found is None else self.found.cases
        kept = [case for case in every if all(word in case.name.lower() for word in words)]
        kept.sort(key=self._rank, reverse=self._turned)
        if self._sorted_by == _DICE:  # those without come last, whichever way
            kept.sort(key=lambda case: math.isnan(case.dice))
        self._listed = kept
        with signals_blocked(self.table):
            self.table.setRowCount(0)
            self.table.setRowCount(len(kept))
            for place, case in enumerate(kept):
                for number, cell in enumerate(_cells(case)):
                    self.table.setItem(place, number, cell)
            if self.current in kept:
                self.table.setCurrentCell(kept.index(self.current), _CASE)
        self._update()

    def _rank(self, case: CaseFiles) -> tuple[float, str]:
        there = (0.0, case.image, case.labels, case.prediction, case.dice)[self._sorted_by]
        number = there if isinstance(there, float) else float(there is not None)
        return (0.0 if math.isnan(number) else number), case.name.lower()

    def _update(self) -> None:
        found, place = self.found, self.table.currentRow()
        self.predictions.setEnabled(found is not None)
        self.previous.setEnabled(bool(self._listed) and place > 0)
        self.next.setEnabled(place < len(self._listed) - 1)
        for widget in (self.filter, self._place, self.previous, self.next):
            widget.setVisible(found is not None)
        for number, words in enumerate(_HEADERS):
            arrow = ("↓" if self._turned else "↑") if number == self._sorted_by else ""
            self._headers[number].setText(f"{words} {arrow}".strip())
        self.about.setText(_EMPTY if found is None else _about(found, len(self._listed)))


def _cells(case: CaseFiles) -> list[QTableWidgetItem]:
    lost = _LOST if case.missing else _NO
    marks = (
        (case.image, lost, f"{case.missing} is missing" if case.missing else "no image"),
        (case.labels, _NO, "no labels"),
        (case.prediction, _NO, "no prediction"),
    )
    cells = [QTableWidgetItem(case.name)]
    cells[0].setToolTip(case.name)
    for path, no, words in marks:
        cell = QTableWidgetItem(_YES if path is not None else no)
        cell.setTextAlignment(int(Qt.AlignmentFlag.AlignCenter))
        cell.setToolTip(words if path is None else str(path))
        cells.append(cell)
    scored = not math.isnan(case.dice)
    cells.append(right_aligned(f"{case.dice:.3f}" if scored else _NO))
    why = OUTDATED if case.outdated else "not scored; napari-uda evaluate writes scores.csv"
    cells[-1].setToolTip("" if scored else why)
    return cells


def _about(found: CaseList, listed: int) -> str:
    """What the list holds, in one line, and what was passed over in another."""
    cases = found.cases
    parts = [number_of(len(cases), "case")]
    for words, number in (
        ("with labels", sum(case.labels is not None for case in cases)),
        ("predicted", sum(case.prediction is not None for case in cases)),
    ):
        parts += [f"{number} {words}"] if number else []
    dice = [case.dice for case in cases if not math.isnan(case.dice)]
    parts += [f"mean Dice {sum(dice) / len(dice):.3f}"] if dice else []
    old = sum(case.outdated for case in cases)
    parts += [f"{old} scored before {'its prediction' if old == 1 else 'their predictions'}"] * (
        old > 0
    )
    parts += [f"{listed} listed"] if listed != len(cases) else []
    lines = [f"{shown(found.path)}: {', '.join(parts)}", found.note]
    return "\n".join(filter(None, lines))
