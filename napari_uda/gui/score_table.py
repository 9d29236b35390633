"""The table of scores: a row per structure and their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_uda.colours import structure_colour
from napari_uda.gui.legend import swatch

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
    """Emits `structure_chosen(label)` when a row is clicked; 0 stands for the mean."""

    structure_chosen = Signal(int)

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

    def show_rows(self, rows: Sequence[Mapping[str, Any]], mean: Mapping[str, Any]) -> None:
        """Fill in.

        Args:
            rows: one mapping per structure, the columns of scores.csv.
            mean: the last entry of `Scores.summary()`.
        """
        self.setRowCount(len(rows) + 1)
        for index, row in enumerate(rows):
            label, name = int(row["label"]), str(row["name"])
            first = QTableWidgetItem(swatch(structure_colour(name, label)), name)
            first.setData(Qt.ItemDataRole.UserRole, label)
            self.setItem(index, 0, first)
            self._fill(index, row, str(row["state"]))
        last = QTableWidgetItem("mean")
        last.setData(Qt.ItemDataRole.UserRole, 0)
        self.setItem(len(rows), 0, last)
        self._fill(len(rows), {key: _mean_of(value) for key, value in mean.items()}, "")
        for column in range(self.columnCount()):
            item = self.item(len(rows), column)
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

    def _on_cell_clicked(self, row: int, column: int) -> None:
        self.structure_chosen.emit(int(self.item(row, 0).data(Qt.ItemDataRole.UserRole)))


def _mean_of(value: Any) -> Any:
    return value["mean"] if isinstance(value, dict) else value


def _text(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else _DASH
