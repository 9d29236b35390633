"""BatchPanel: segment all open images or a folder, with a table of what came out."""

from __future__ import annotations

import math
from collections.abc import Sequence

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

from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.segment.batch import Row

_DASH = "–"


class BatchPanel(QWidget):
    """Knows no viewer. Signals: `layers_requested()`, `folder_requested()`, `row_chosen(int)`."""

    layers_requested = Signal()
    folder_requested = Signal()
    row_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: list[Row] = []
        self.layers = QPushButton("Open images")
        self.layers.setObjectName("batch_layers")
        self.folder = QPushButton("Folder…")
        self.folder.setObjectName("batch_folder")
        self.table = QTableWidget(0, 0)
        self.table.setObjectName("batch_table")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setShowGrid(False)
        self.table.verticalHeader().setVisible(False)
        self.table.verticalHeader().setDefaultSectionSize(24)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.setToolTip("Double-click a row to see its result")
        self.about = QLabel()
        self.about.setObjectName("batch_about")
        self.about.setWordWrap(True)
        buttons = QHBoxLayout()
        buttons.addWidget(QLabel("Segment"))
        buttons.addWidget(self.layers, 1)
        buttons.addWidget(self.folder, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.about)
        self.layers.clicked.connect(self._on_layers)
        self.folder.clicked.connect(self._on_folder)
        self.table.cellDoubleClicked.connect(self._on_row)
        self.show_rows([])

    def set_obstacle(self, obstacle: str, images: int) -> None:
        """Enable the buttons, or say why not.

        Args:
            obstacle: one sentence; empty when a model can be run.
            images: number of open images that would be segmented.
        """
        self.folder.setEnabled(not obstacle)
        self.folder.setToolTip(
            obstacle
            or "Segment every volume of a folder; maps and summary.csv go to another folder"
        )
        self.layers.setEnabled(not obstacle and images > 0)
        self.layers.setText(f"Open images ({images})")
        self.layers.setToolTip(
            obstacle
            or ("No 3-D image is open" if not images else "")
            or "Segment the images selected in the layer list; all of them unless several are selected"
        )

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show the volumes that are done."""
        self._rows = list(rows)
        names = list(dict.fromkeys(name for row in rows for name in row.volumes_ml))
        headers = [
            "Case",
            *(f"{name}\nmL" for name in names),
            "Mean\nentropy",
            "Unreli-\nable",
            "s",
        ]
        self.table.setColumnCount(len(headers) if rows else 0)
        self.table.setHorizontalHeaderLabels(headers if rows else [])
        self.table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            cells = [
                *(_number(row.volumes_ml.get(name, math.nan), ".1f") for name in names),
                _number(row.mean_entropy, ".3f"),
                _number(row.unreliable, ".1%"),
                _number(row.seconds, ".1f"),
            ]
            self.table.setItem(index, 0, QTableWidgetItem(row.case))
            for column, text in enumerate(cells, start=1):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(index, column, item)
            if row.problem:
                for column in range(len(headers)):
                    self.table.item(index, column).setToolTip(row.problem)
                self.table.item(index, 0).setText(f"⚠ {row.case}")
        failed = [row for row in rows if row.problem]
        self.about.setText(f"{len(failed)} failed: {failed[0].problem}" if failed else "")
        self.about.setVisible(bool(failed))

    @guarded
    def _on_layers(self) -> None:
        self.layers_requested.emit()

    @guarded
    def _on_folder(self) -> None:
        self.folder_requested.emit()

    @guarded
    def _on_row(self, row: int) -> None:
        self.row_chosen.emit(row)


def _number(value: float, form: str) -> str:
    return _DASH if math.isnan(value) else format(value, form)
