"""RunComparison: two runs beside each other: one scalar of both over steps, settings that differ, scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_uda.core.structure_colours import PALETTE
from napari_uda.gui.kit.colormaps import DARK
from napari_uda.gui.kit.jobs import Job
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.run_differences import (
    RunRecord,
    common_scalars,
    different_settings,
    read_record,
    side_by_side,
)
from napari_uda.gui.train.run_history import is_share, title

if TYPE_CHECKING:
    from napari_uda.gui.train.loss_curves import LossCurves

_COLOURS = (PALETTE[0], PALETTE[1])


class RunComparison(QWidget):
    """Reads two runs once and shows how they differ; `closed()` when the user goes back.

    Attributes:
        back: the button.
        scalars: which scalar the curves show.
        settings, scores: tables with a column per run.
    """

    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._records: tuple[RunRecord, RunRecord] | None = None
        self._wanted: tuple[Path, Path] | None = None
        self._colours = DARK
        self.curves: LossCurves | None = None
        self.back = QPushButton("← Runs")
        self.back.setObjectName("back_to_runs")
        self.back.setToolTip("Back to the list of runs")
        self.heading = QLabel()
        self.heading.setObjectName("comparison_heading")
        self.heading.setWordWrap(True)
        self.scalars = QComboBox()
        self.scalars.setObjectName("scalars")
        self.scalars.setToolTip("What the curves show")
        self.settings = _table("different_settings", "Setting")
        self.scores = _table("compared_scores", "Score")
        self.no_scores = QLabel()
        self.no_scores.setWordWrap(True)
        curves_page, scores_page = QWidget(), QWidget()
        self._plots = QVBoxLayout(curves_page)
        self._plots.addWidget(self.scalars)
        self._plots.addStretch(1)
        scores_layout = QVBoxLayout(scores_page)
        scores_layout.addWidget(self.no_scores)
        scores_layout.addWidget(self.scores, 1)
        self.pages = QTabWidget()
        self.pages.addTab(curves_page, "Curves")
        self.pages.addTab(self.settings, "Settings")
        self.pages.addTab(scores_page, "Scores")
        top = QHBoxLayout()
        top.addWidget(self.back)
        top.addWidget(self.heading, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addWidget(self.pages, 1)
        self.back.clicked.connect(self._on_back)
        self.scalars.currentIndexChanged.connect(self._on_scalar)

    def set_theme(self, background: str, text: str) -> None:
        """Colours of napari's theme, `#RRGGBB`."""
        self._colours = (background, text)
        if self.curves is not None:
            self.curves.set_theme(background, text)

    def compare(self, first: Path, second: Path) -> None:
        """Read two runs in a thread and show them."""
        self._wanted = (first, second)
        self.heading.setText("Reading the runs…")
        self.scalars.clear()
        for table in (self.settings, self.scores):
            table.setRowCount(0)
        job = Job("Compare runs", lambda report, stop: _read(first, second), self, quiet=True)
        job.succeeded.connect(self._on_read)
        job.failed.connect(self._on_failed)
        job.start()

    @guarded
    def _on_failed(self, problem: str) -> None:
        self.heading.setText(problem)

    @guarded
    def _on_read(self, records: tuple[RunRecord, RunRecord]) -> None:
        if tuple(record.path for record in records) != self._wanted:
            return  # others were asked for meanwhile
        self._records = records
        first, second = records
        names = [record.path.name for record in records]
        if names[0] == names[1]:
            names = [f"{record.path.parent.name}/{record.path.name}" for record in records]
        self.heading.setText(f"{names[0]} (line) and {names[1]} (dashes)")
        self.scalars.blockSignals(True)
        for name in common_scalars(first, second):
            self.scalars.addItem(title(name), name)
        self.scalars.blockSignals(False)
        self._draw()
        _fill(self.settings, different_settings(first, second), names)
        rows = side_by_side(first, second)
        _fill(self.scores, rows, names)
        missing = [name for name, record in zip(names, records, strict=True) if not record.scores]
        self.no_scores.setText(
            f"No scores.csv in {' and '.join(missing)}; napari-uda evaluate PREDICTIONS LABELS --out RUN "
            "writes it."
        )
        self.no_scores.setVisible(bool(missing))
        self.scores.setVisible(bool(rows))

    def _draw(self) -> None:
        name = self.scalars.currentData()
        if self._records is None or name is None:
            return
        from napari_uda.gui.train.loss_curves import Curve, LossCurves

        if self.curves is None:
            self.curves = LossCurves()
            self.curves.set_theme(*self._colours)
            self._plots.insertWidget(1, self.curves, 100)
        curves = []
        for number, (record, colour) in enumerate(zip(self._records, _COLOURS, strict=True)):
            steps, values = record.history.series(name)
            curves.append(
                Curve(
                    str(number),
                    record.path.name,
                    *(steps, values, colour),
                    share=is_share(name),
                    dashed=number == 1,
                )
            )
        self.curves.show_curves(curves)

    @guarded
    def _on_scalar(self) -> None:
        self._draw()

    @guarded
    def _on_back(self) -> None:
        self.closed.emit()


def _read(first: Path, second: Path) -> tuple[RunRecord, RunRecord]:
    """In the thread."""
    import pyqtgraph  # noqa: F401 - the curves need not wait for it then

    return read_record(first), read_record(second)


def _table(name: str, first: str) -> QTableWidget:
    table = QTableWidget(0, 3)
    table.setObjectName(name)
    table.setHorizontalHeaderLabels([first, "", ""])
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(22)
    header = table.horizontalHeader()
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
    for column in (1, 2):
        header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
    return table


def _fill(table: QTableWidget, rows: Sequence[tuple[str, str, str]], names: Sequence[str]) -> None:
    table.setHorizontalHeaderLabels([table.horizontalHeaderItem(0).text(), *names])
    table.setRowCount(len(rows))
    for row, cells in enumerate(rows):
        for column, text in enumerate(cells):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            table.setItem(row, column, item)
