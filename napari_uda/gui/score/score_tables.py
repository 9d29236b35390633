"""The tables of scores: one case, structure by structure, and the cohort of all cases, method by method."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QPoint, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_uda.evaluation.figures import TableText
from napari_uda.evaluation.score_words import (
    SHOWN,
    STATE_TIPS,
    STATE_WORDS,
    counted,
    counted_structures,
    is_distance,
    mean_cell,
    number,
    penalty_note,
    score_cell,
)
from napari_uda.gui.kit.layout import column, row
from napari_uda.gui.kit.panel import Guarded, Panel, delay
from napari_uda.gui.kit.renaming import ask_name
from napari_uda.gui.kit.structure_items import structure_cell
from napari_uda.gui.kit.tables import NAME_PIXELS, ShortTexts, TablePlace, TextsInLines
from napari_uda.gui.kit.widgets import SHORT, button, label, named, right_aligned

if TYPE_CHECKING:
    from napari_uda.evaluation.scores import Row, Scores

# column of scores.csv, header, decimals, explanation
_NUMBERS = tuple(
    (key, shown.title.replace(" ", "\n"), shown.digits, shown.about) for key, shown in SHOWN.items()
)
_VOLUMES = (
    ("volume_prediction_ml", "Pred.\nmL", 1, "Volume in the prediction"),
    ("volume_reference_ml", "Ref.\nmL", 1, "Volume in the reference"),
)
_KEYS = tuple(SHOWN)
BY_IMPORTANCE = (0, 1, 2, 3, 5, 6, 4, 7, 8)
"""Columns of the table of a case: what a narrow dock shows first, where a state says more than "both"."""
_ALL_FOUND = (0, 2, 3, 5, 6, 4, 7, 8, 1)
_OF_COHORT = (0, 1, 4, 2, 6, 5, 3, 7)
_HINT = (
    "Mean ± standard deviation over cases. Every case that is scored joins; Add folders… scores a whole "
    "folder of predictions."
)
_ROW_PIXELS, _LEAST_ROWS = 22, 6
_LEAST_PIXELS = 236  # of names in two lines; more would push the curve out of a low window
_SPARE_PIXELS = 8  # what napari's style adds to scroll bars
_RANK = SHORT + 1
_SHORTER = (
    (r"^n \d+, (?=\d+ penalised)", ""),
    ("penalised", "pen."),
    ("not in the reference", "extra"),
)
"""What a narrow dock makes of states, of which the tooltip tells all."""


class _Table(Guarded, QTableWidget):
    """Rows to read and to choose; a heading goes across all columns."""

    def __init__(self, headers: Sequence[tuple[str, str]]) -> None:
        """Build with the text and the tooltip of every column."""
        super().__init__(0, len(headers))
        for index, (text, tip) in enumerate(headers):
            header = QTableWidgetItem(text)
            header.setToolTip(tip)
            self.setHorizontalHeaderItem(index, header)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)  # Tab leaves a table, the arrows walk in it
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(_ROW_PIXELS)
        widths = self.horizontalHeader()
        widths.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        widths.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)  # long names give way
        self.setItemDelegate(ShortTexts(self))
        TextsInLines(self)

    def picture(self) -> TableText | None:
        """The table as text, for a picture or a paper; None while it is empty."""
        count = self.columnCount()
        if not self.rowCount():
            return None
        rows, strong = [], set()
        for place in range(self.rowCount()):
            cells = [self.item(place, index) for index in range(count)]
            rows.append([cell.text() if cell is not None else "" for cell in cells])
            if cells[0] is not None and cells[0].font().bold():
                strong.add(place)
        heads = (self.horizontalHeaderItem(index) for index in range(count))
        head = [cell.text() if cell is not None else "" for cell in heads]
        return TableText(head, rows, frozenset(strong))

    def clear_rows(self) -> None:
        """Remove all rows."""
        self.clearSpans()
        self.setRowCount(0)

    def add_row(
        self, first: QTableWidgetItem, texts: Sequence[str] = (), *, bold: bool = False
    ) -> None:
        """Add a row; without texts, `first` is a heading."""
        place = self.rowCount()
        self.insertRow(place)
        blank = [""] * (self.columnCount() - 1)
        cells = [first, *(right_aligned(text) for text in texts or blank)]
        for index, cell in enumerate(cells):
            short = cell.text()
            for long, less in _SHORTER:
                short = re.sub(long, less, short)
            if short != cell.text() and index:
                cell.setData(SHORT, short)
                cell.setToolTip(cell.text())
            font = cell.font()
            font.setBold(bold)
            cell.setFont(font)
            self.setItem(place, index, cell)
        if not texts:
            first.setToolTip(first.text())
            self.setSpan(place, 0, 1, self.columnCount())


class ScoreTable(_Table):
    """A row per structure and their mean, for one prediction or several.

    Emits `structure_chosen(prediction, label)` when a row is clicked; label 0 stands for the mean.
    `renamed(prediction, label, name)` when the user gave a structure another name: right-click, double-click or F2.

    Attributes:
        by_importance: its columns, what a narrow dock shows first; the state comes last where both have all.
    """

    structure_chosen = Signal(int, int)
    renamed = Signal(int, int, str)

    def __init__(self) -> None:
        # the state comes first: in a narrow dock it must not be the column that is scrolled away
        columns = [("state", "State", 0, "Who has the structure"), *_NUMBERS, *_VOLUMES]
        first = ("Structure", "Click a row to see its worst slice, right-click renames")
        super().__init__([first, *((text, tip) for _, text, _, tip in columns)])
        named(self, "score_table")
        self.by_importance = BY_IMPORTANCE
        self._fit = delay(self, 0, self._on_row_height)
        self.verticalHeader().sectionResized.connect(self._fit.start)
        self.model().rowsInserted.connect(self._fit.start)
        self.cellClicked.connect(self._on_cell_clicked)
        self.cellDoubleClicked.connect(self._on_double_clicked)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu)

    def show_scores(
        self, predictions: Sequence[tuple[str, Scores]], *, named: bool = False
    ) -> None:
        """Fill in.

        Args:
            predictions: name and scores of each; the names stand above their rows when there are
                several.
            named: also above the rows of a single one.
        """
        self.clear_rows()
        states = {row["state"] for _, scores in predictions for row in scores.rows}
        self.by_importance = _ALL_FOUND if states == {"both"} else BY_IMPORTANCE
        for rank, (name, scores) in enumerate(predictions):
            if named or len(predictions) > 1:
                self.add_row(_first(rank, 0, name), bold=True)
            for values in scores.rows:
                self.add_row(
                    _first(rank, int(values["label"]), str(values["name"])), _texts(values)
                )
                self._explain(values)
            means = scores.summary()[-1]
            texts = [counted_structures(scores.rows, _KEYS)]
            for key, _, decimals, _ in (*_NUMBERS, *_VOLUMES):
                found = means[key]
                assert isinstance(found, dict)
                texts.append(number(found["mean"], decimals))
            self.add_row(_first(rank, 0, "mean"), texts, bold=True)

    def _on_row_height(self) -> None:
        self.setMinimumHeight(min(self.height_of_rows(_LEAST_ROWS), _LEAST_PIXELS))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """F2 renames the structure of the row."""
        if event.key() == Qt.Key.Key_F2:
            self._on_rename(self.currentRow())
        else:
            super().keyPressEvent(event)

    def _on_menu(self, place: QPoint) -> None:
        self._on_rename(self.rowAt(place.y()))

    def _on_double_clicked(self, place: int, column: int) -> None:
        if column == 0:
            self._on_rename(place)

    def _on_rename(self, place: int) -> None:
        first = self.item(place, 0)
        if first is None or not first.data(Qt.ItemDataRole.UserRole):
            return
        rank, value = first.data(_RANK), first.data(Qt.ItemDataRole.UserRole)
        name = ask_name(self, first.data(SHORT), value)
        if name:
            self.renamed.emit(int(rank), int(value), name)

    def _explain(self, values: Row) -> None:
        """Say in the last row what its state means, and what enters the mean where nothing was measured."""
        place = self.rowCount() - 1
        first, state = self.item(place, 0), self.item(place, 1)
        if first is not None:  # a narrow dock leaves columns out
            heads = (head for _, head, *_ in (*_NUMBERS, *_VOLUMES))
            values_of_row = zip(heads, _texts(values)[1:], strict=True)
            listed = ", ".join(f"{' '.join(head.split())} {text}" for head, text in values_of_row)
            first.setToolTip(f"{first.toolTip()}\n{listed}")
        if state is not None:
            state.setToolTip(STATE_TIPS[state.text()])
        note = penalty_note(values, _KEYS)
        for place_in_row, key in enumerate(_KEYS, start=2):
            cell = self.item(place, place_in_row)
            if note and cell is not None and is_distance(key):
                cell.setToolTip(note)

    def height_of_rows(self, most: int | None = None) -> int:
        """Pixels that show every row without scrolling, or `most` of them."""
        count = self.rowCount() if most is None else min(most, self.rowCount())
        header = self.horizontalHeader()
        units = (
            2 * header.fontMetrics().lineSpacing()
        )  # in a second line, once such a column is shown
        head = max(header.height(), header.sizeHint().height(), units)
        rows = sum(map(self.rowHeight, range(count)))
        return int(head + rows + 2 * self.frameWidth() + _SPARE_PIXELS)

    def _on_cell_clicked(self, place: int) -> None:
        first = self.item(place, 0)
        if first is not None:
            rank, value = first.data(_RANK), first.data(Qt.ItemDataRole.UserRole)
            self.structure_chosen.emit(int(rank), int(value))


class CohortPanel(Panel):
    """Scores by method as mean ± standard deviation, and the buttons that add to them and clear them."""

    def __init__(self) -> None:
        super().__init__()
        counts = (
            (
                "n",
                "Cases; penalised are those whose distances were entered for a missing structure",
            ),
            ("n\nmissing", "Cases in which the prediction missed the structure altogether"),
        )
        columns = ((text, tip) for _, text, _, tip in _NUMBERS)
        self.table = named(_Table([("Structure", ""), *columns, *counts]), "cohort_table")
        tip = "Score a folder of predictions against a folder of labels"
        self.folders = button("Add folders…", tip, name="folders")
        tip = "Forget the cases listed here; no file is touched"
        self.clear = button("Clear", tip, name="clear_cohort")
        self.clear.setEnabled(False)
        buttons = row((self.folders, 1), self.clear)
        place = TablePlace(self.table, "Cohort", _OF_COHORT, NAME_PIXELS)
        column(label(_HINT), (place, 1), buttons, of=self).setContentsMargins(0, 4, 0, 0)

    def show_methods(self, methods: Mapping[str, Scores]) -> None:
        """Fill in.

        Args:
            methods: the cases of every method as one table.
        """
        self.clear.setEnabled(bool(methods))
        self.table.clear_rows()
        for method, scores in methods.items():
            self.table.add_row(QTableWidgetItem(method), bold=True)
            for summary in scores.summary():
                cells = [mean_cell(summary, key, digits) for key, _, digits, _ in _NUMBERS]
                cells += [counted(summary, _KEYS), str(summary["n_missing"])]
                value = summary["label"]
                first = _first(0, value if isinstance(value, int) else 0, str(summary["name"]))
                self.table.add_row(first, cells, bold=value is None)


def _first(rank: int, value: int, name: str) -> QTableWidgetItem:
    """The cell that names a structure, or several when its label is 0, and knows which are meant."""
    renames = "; double-click or F2 renames"
    cell = structure_cell(name, value, renames) if value else QTableWidgetItem(name)
    cell.setData(Qt.ItemDataRole.UserRole, value)
    cell.setData(_RANK, rank)
    return cell


def _texts(values: Row) -> list[str]:
    numbers = [score_cell(values, key, decimals) for key, _, decimals, _ in _NUMBERS]
    volumes = [number(float(values[key]), decimals) for key, _, decimals, _ in _VOLUMES]
    return [STATE_WORDS[str(values["state"])], *numbers, *volumes]
