"""The table of scores: a row per structure and their mean, for one prediction or several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_uda.core.structure_colours import structure_colour
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.kit.widgets import swatch

if TYPE_CHECKING:
    from napari_uda.evaluation.scores import Scores

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
_STATE_TIPS = {
    "both": "in prediction and reference",
    "missed": "only in the reference: the prediction missed it",
    "invented": "only in the prediction",
    "absent": "in neither",
}
_DASH = "–"
_SPARE_PIXELS = 8  # what napari's style adds to scroll bars


class ScoreTable(QTableWidget):
    """Emits `structure_chosen(prediction, label)` when a row is clicked; label 0 stands for the mean."""

    structure_chosen = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 0, parent)
        self.setObjectName("score_table")
        columns = [*_NUMBERS, ("state", "State", 0, "Who has the structure"), *_VOLUMES]
        headers = [
            ("Structure", "Click a row to see its worst slice"),
            *((c[1], c[3]) for c in columns),
        ]
        self.setColumnCount(len(headers))
        for index, (text, tip) in enumerate(headers):
            header = QTableWidgetItem(text)
            header.setToolTip(tip)
            self.setHorizontalHeaderItem(index, header)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setAlternatingRowColors(False)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(24)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.cellClicked.connect(self._on_cell_clicked)

    def show_scores(self, predictions: Sequence[tuple[str, Scores]]) -> None:
        """Fill in.

        Args:
            predictions: name and scores of each; the names stand above their rows when there are
                several.
        """
        several = len(predictions) > 1
        self.clearSpans()
        self.setRowCount(sum(len(scores.rows) + 1 + several for _, scores in predictions))
        row = 0
        for rank, (name, scores) in enumerate(predictions):
            if several:
                self._put_name(row, rank, name)
                row += 1
            for values in scores.rows:
                self._put_structure(row, rank, values)
                row += 1
            self._put_mean(row, rank, scores)
            row += 1

    def _put_name(self, row: int, rank: int, name: str) -> None:
        self._put_first(row, rank, 0, QTableWidgetItem(name))
        self.item(row, 0).setToolTip(name)
        for column in range(1, self.columnCount()):
            self.setItem(row, column, QTableWidgetItem())
        self.setSpan(row, 0, 1, self.columnCount())
        self._embolden(row)

    def _put_structure(self, row: int, rank: int, values: Mapping[str, Any]) -> None:
        label, name = int(values["label"]), str(values["name"])
        item = QTableWidgetItem(swatch(structure_colour(name, label)), name)
        self._put_first(row, rank, label, item)
        self._fill(row, values, str(values["state"]))

    def _put_mean(self, row: int, rank: int, scores: Scores) -> None:
        mean = scores.summary()[-1]
        self._put_first(row, rank, 0, QTableWidgetItem("mean"))
        self._fill(row, {key: _mean_of(value) for key, value in mean.items()}, "")
        self._embolden(row)

    def _put_first(self, row: int, rank: int, label: int, item: QTableWidgetItem) -> None:
        item.setData(Qt.ItemDataRole.UserRole, label)
        item.setData(Qt.ItemDataRole.UserRole + 1, rank)
        self.setItem(row, 0, item)

    def _embolden(self, row: int) -> None:
        for column in range(self.columnCount()):
            item = self.item(row, column)
            font = item.font()
            font.setBold(True)
            item.setFont(font)

    def height_of_rows(self) -> int:
        """Pixels that show every row without scrolling."""
        scroll = self.horizontalScrollBar().sizeHint().height()
        rows = self.rowCount() * self.verticalHeader().defaultSectionSize()
        header = self.horizontalHeader()
        head = max(header.height(), header.sizeHint().height())
        return int(head + rows + scroll + 2 * self.frameWidth() + _SPARE_PIXELS)

    def _fill(self, index: int, row: Mapping[str, Any], state: str) -> None:
        cells = [_text(row[key], decimals) for key, _, decimals, _ in _NUMBERS]
        cells += [state, *(_text(row[key], decimals) for key, _, decimals, _ in _VOLUMES)]
        for column, text in enumerate(cells, start=1):
            item = QTableWidgetItem(text)
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            if text in _STATE_TIPS:
                item.setToolTip(_STATE_TIPS[text])
            self.setItem(index, column, item)

    @guarded
    def _on_cell_clicked(self, row: int) -> None:
        first = self.item(row, 0)
        label = int(first.data(Qt.ItemDataRole.UserRole))
        self.structure_chosen.emit(int(first.data(Qt.ItemDataRole.UserRole + 1)), label)


def _mean_of(value: Any) -> Any:
    return value["mean"] if isinstance(value, dict) else value


def _text(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else _DASH
