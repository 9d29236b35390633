"""The cohort in a table: structure by Dice, ASSD, MASD, HD95, NSD as mean ± sd, per method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_uda.core.structure_colours import structure_colour
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.kit.widgets import swatch

if TYPE_CHECKING:
    from napari_uda.evaluation.scores import Scores, Statistic

_COLUMNS = (
    ("dice", "Dice", 3),
    ("assd_mm", "ASSD\nmm", 2),
    ("masd_mm", "MASD\nmm", 2),
    ("hd95_mm", "HD95\nmm", 2),
    ("nsd", "NSD", 3),
)
_HINT = (
    "Mean ± standard deviation over cases. Every case that is scored joins; Add folders… scores a whole "
    "folder of predictions."
)


class CohortPanel(QWidget):
    """Shows scores by method; emits `folders_pressed()` and `clear_pressed()`."""

    folders_pressed = Signal()
    clear_pressed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = QTableWidget(0, len(_COLUMNS) + 3)
        self.table.setObjectName("cohort_table")
        self.table.setHorizontalHeaderLabels(
            ["Structure", *(title for _, title, _ in _COLUMNS), "n", "n\nmissing"]
        )
        self.table.horizontalHeaderItem(len(_COLUMNS) + 1).setToolTip("Cases")
        self.table.horizontalHeaderItem(len(_COLUMNS) + 2).setToolTip(
            "Cases in which the prediction missed the structure altogether"
        )
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setShowGrid(False)
        self.table.verticalHeader().setVisible(False)
        self.table.verticalHeader().setDefaultSectionSize(24)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.folders = QPushButton("Add folders…")
        self.folders.setObjectName("folders")
        self.folders.setToolTip("Score a folder of predictions against a folder of labels")
        self.clear = QPushButton("Clear")
        self.clear.setObjectName("clear_cohort")
        self.clear.setToolTip("Forget the cases listed here; no file is touched")
        self.clear.setEnabled(False)
        note = QLabel(_HINT)
        note.setWordWrap(True)
        buttons = QHBoxLayout()
        buttons.addWidget(self.folders, 1)
        buttons.addWidget(self.clear)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 4, 0, 0)
        outer.addWidget(note)
        outer.addWidget(self.table, 1)
        outer.addLayout(buttons)
        self.folders.clicked.connect(self._on_folders)
        self.clear.clicked.connect(self._on_clear)

    def show_methods(self, methods: Mapping[str, Scores]) -> None:
        """Fill in.

        Args:
            methods: the cases of every method as one table.
        """
        self.clear.setEnabled(bool(methods))
        self.table.clearSpans()
        self.table.setRowCount(0)
        for method, scores in methods.items():
            self._add_heading(method)
            for summary in scores.summary():
                name, label = str(summary["name"]), summary["label"]
                first = QTableWidgetItem(name)
                if isinstance(label, int):
                    first.setIcon(swatch(structure_colour(name, label)))
                cells = [_plus_minus(summary[key], digits) for key, _, digits in _COLUMNS]
                cells += [str(summary["n_cases"]), str(summary["n_missing"])]
                self._add_row(first, cells, bold=label is None)

    def _add_heading(self, text: str) -> None:
        first = QTableWidgetItem(text)
        first.setToolTip(text)
        self._add_row(first, [""] * (self.table.columnCount() - 1), bold=True)
        self.table.setSpan(self.table.rowCount() - 1, 0, 1, self.table.columnCount())

    def _add_row(self, first: QTableWidgetItem, cells: list[str], *, bold: bool) -> None:
        row = self.table.rowCount()
        self.table.insertRow(row)
        items = [first, *(QTableWidgetItem(cell) for cell in cells)]
        for column, item in enumerate(items):
            if column:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            font = item.font()
            font.setBold(bold)
            item.setFont(font)
            self.table.setItem(row, column, item)

    @guarded
    def _on_folders(self) -> None:
        self.folders_pressed.emit()

    @guarded
    def _on_clear(self) -> None:
        self.clear_pressed.emit()


def _plus_minus(statistic: Statistic | str | int | None, digits: int) -> str:
    """`mean ± sd`; the mean alone of a single case; a dash where nothing is defined."""
    if not isinstance(statistic, dict) or math.isnan(statistic["mean"]):
        return "–"
    sd = "" if math.isnan(statistic["sd"]) else f" ± {statistic['sd']:.{digits}f}"
    return f"{statistic['mean']:.{digits}f}{sd}"
