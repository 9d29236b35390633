"""The tables of scores: one case, structure by structure, and the cohort of all cases, method by method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_uda.core.structure_colours import structure_colour
from napari_uda.gui.kit.layout import column, row
from napari_uda.gui.kit.panel import Guarded, Panel
from napari_uda.gui.kit.tables import TablePlace
from napari_uda.gui.kit.widgets import button, label, named, right_aligned, swatch

if TYPE_CHECKING:
    from napari_uda.evaluation.scores import Scores, Statistic

# column of scores.csv, header, decimals, explanation
_NUMBERS = (
    ("dice", "Dice", 3, "2|A∩B| / (|A|+|B|)"),
    ("assd_mm", "ASSD\nmm", 2, "Average symmetric surface distance, pooled over both surfaces"),
    ("masd_mm", "MASD\nmm", 2, "Mean of the two directed mean surface distances"),
    ("hd95_mm", "HD95\nmm", 2, "95th percentile of the surface distances"),
    ("nsd", "NSD", 3, "Share of both surfaces within the tolerance"),
)
_VOLUMES = (
    ("volume_prediction_ml", "Pred.\nmL", 1, "Volume in the prediction"),
    ("volume_reference_ml", "Ref.\nmL", 1, "Volume in the reference"),
)
BY_IMPORTANCE = (0, 1, 4, 2, 6, 5, 3, 7, 8)
"""Columns of the table of a case: what a narrow dock shows first."""
_OF_COHORT = (0, 1, 4, 2, 6, 5, 3, 7)
_STATE_TIPS = {
    "both": "in prediction and reference",
    "missed": "only in the reference: the prediction missed it",
    "invented": "only in the prediction",
    "absent": "in neither",
}
_HINT = (
    "Mean ± standard deviation over cases. Every case that is scored joins; Add folders… scores a whole "
    "folder of predictions."
)
_DASH = "–"
_SPARE_PIXELS = 8  # what napari's style adds to scroll bars
_RANK = Qt.ItemDataRole.UserRole + 1


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
        self.verticalHeader().setDefaultSectionSize(24)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)

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
            font = cell.font()
            font.setBold(bold)
            cell.setFont(font)
            self.setItem(place, index, cell)
            if cell.text() in _STATE_TIPS:
                cell.setToolTip(_STATE_TIPS[cell.text()])
        if not texts:
            first.setToolTip(first.text())
            self.setSpan(place, 0, 1, self.columnCount())


class ScoreTable(_Table):
    """A row per structure and their mean, for one prediction or several.

    Emits `structure_chosen(prediction, label)` when a row is clicked; label 0 stands for the mean.
    """

    structure_chosen = Signal(int, int)

    def __init__(self) -> None:
        columns = [*_NUMBERS, ("state", "State", 0, "Who has the structure"), *_VOLUMES]
        first = ("Structure", "Click a row to see its worst slice")
        super().__init__([first, *((text, tip) for _, text, _, tip in columns)])
        named(self, "score_table")
        self.cellClicked.connect(self._on_cell_clicked)

    def show_scores(self, predictions: Sequence[tuple[str, Scores]]) -> None:
        """Fill in.

        Args:
            predictions: name and scores of each; the names stand above their rows when there are
                several.
        """
        self.clear_rows()
        for rank, (name, scores) in enumerate(predictions):
            if len(predictions) > 1:
                self.add_row(_first(rank, 0, name), bold=True)
            for values in scores.rows:
                self.add_row(
                    _first(rank, int(values["label"]), str(values["name"])), _texts(values)
                )
            mean = {key: _mean_of(value) for key, value in scores.summary()[-1].items()}
            self.add_row(_first(rank, 0, "mean"), _texts({**mean, "state": ""}), bold=True)

    def height_of_rows(self) -> int:
        """Pixels that show every row without scrolling."""
        scroll = self.horizontalScrollBar().sizeHint().height()
        rows = self.rowCount() * self.verticalHeader().defaultSectionSize()
        header = self.horizontalHeader()
        head = max(header.height(), header.sizeHint().height())
        return int(head + rows + scroll + 2 * self.frameWidth() + _SPARE_PIXELS)

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
            ("n", "Cases"),
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
        place = TablePlace(self.table, "Cohort", _OF_COHORT)
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
                cells = [_plus_minus(summary[key], digits) for key, _, digits, _ in _NUMBERS]
                cells += [str(summary["n_cases"]), str(summary["n_missing"])]
                value = summary["label"]
                first = _first(0, value if isinstance(value, int) else 0, str(summary["name"]))
                self.table.add_row(first, cells, bold=value is None)


def _first(rank: int, value: int, name: str) -> QTableWidgetItem:
    """The cell that names a structure, or several when its label is 0, and knows which are meant."""
    cell = QTableWidgetItem(name)
    if value:
        cell.setIcon(swatch(structure_colour(name, value)))
    cell.setData(Qt.ItemDataRole.UserRole, value)
    cell.setData(_RANK, rank)
    return cell


def _texts(values: Mapping[str, Any]) -> list[str]:
    numbers = [_text(values[key], decimals) for key, _, decimals, _ in _NUMBERS]
    volumes = [_text(values[key], decimals) for key, _, decimals, _ in _VOLUMES]
    return [*numbers, str(values["state"]), *volumes]


def _mean_of(value: Any) -> Any:
    return value["mean"] if isinstance(value, dict) else value


def _text(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else _DASH


def _plus_minus(statistic: Statistic | str | int | None, digits: int) -> str:
    """`mean ± sd`; the mean alone of a single case; a dash where nothing is defined."""
    if not isinstance(statistic, dict) or math.isnan(statistic["mean"]):
        return _DASH
    sd = "" if math.isnan(statistic["sd"]) else f" ± {statistic['sd']:.{digits}f}"
    return f"{statistic['mean']:.{digits}f}{sd}"
