"""RunComparison: two runs beside each other: one scalar of both over steps, settings that differ, scores."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QTabWidget, QWidget

from napari_uda.core.structure_colours import PALETTE
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layout import column, row
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import button, combo_box, label, text_table
from napari_uda.gui.train.loss_curves import LossCurves
from napari_uda.run.comparison import (
    Row,
    RunRecord,
    common_scalars,
    different_settings,
    read_record,
    side_by_side,
)
from napari_uda.run.history import Curve, is_share, title

_COLOURS = (PALETTE[0], PALETTE[1])


class RunComparison(Panel):
    """Reads two runs once and shows how they differ.

    Attributes:
        back: the button; what it does is up to the dock.
        scalars: which scalar the curves show.
        curves: that scalar of both.
        settings, scores: tables with a column per run.
    """

    def __init__(self) -> None:
        super().__init__()
        self._records: tuple[RunRecord, RunRecord] | None = None
        self._wanted: tuple[Path, Path] | None = None
        self.back = button("← Runs", "Back to the list of runs", name="back_to_runs")
        self.heading = label(name="comparison_heading")
        self.scalars = combo_box((), "What the curves show", self._on_scalar, "scalars")
        self.curves = LossCurves()
        self.settings = _table("different_settings", "Setting")
        self.scores = _table("compared_scores", "Score")
        self.no_scores = label()
        curves_page, scores_page = QWidget(), QWidget()
        column(self.scalars, (self.curves, 1), of=curves_page)
        column(self.no_scores, (self.scores, 1), of=scores_page)
        self.pages = QTabWidget()
        self.pages.addTab(curves_page, "Curves")
        self.pages.addTab(self.settings, "Settings")
        self.pages.addTab(scores_page, "Scores")
        column(row(self.back, (self.heading, 1)), (self.pages, 1), of=self, margin=0)

    def compare(self, first: Path, second: Path) -> None:
        """Read two runs in a thread and show them."""
        self._records, self._wanted = None, (first, second)
        self.heading.setText("Reading the runs…")
        self.scalars.clear()
        for table in (self.settings, self.scores):
            table.setRowCount(0)
        background(
            self,
            "Compare runs",
            partial(_read, first, second),
            self._on_read,
            failed=self.heading.setText,
            quiet=True,
        )

    def _on_read(self, records: tuple[RunRecord, RunRecord]) -> None:
        if tuple(record.path for record in records) != self._wanted:
            return  # others were asked for meanwhile
        self._records = records
        names = [record.path.name for record in records]
        if names[0] == names[1]:
            names = [f"{record.path.parent.name}/{record.path.name}" for record in records]
        self.heading.setText(f"{names[0]} (line) and {names[1]} (dashes)")
        self.scalars.blockSignals(True)
        for name in common_scalars(*records):
            self.scalars.addItem(title(name), name)
        self.scalars.blockSignals(False)
        self._on_scalar()
        _fill(self.settings, different_settings(*records), names)
        rows = side_by_side(*records)
        _fill(self.scores, rows, names)
        missing = [name for name, record in zip(names, records, strict=True) if not record.scores]
        old = [name for name, record in zip(names, records, strict=True) if record.outdated]
        said = []
        if missing:
            said.append(
                f"There is no scores.csv in {' and '.join(missing)}; napari-uda evaluate PREDICTIONS LABELS "
                "--out RUN writes it."
            )
        if old:
            said.append(
                f"Cases of {' and '.join(old)} were predicted anew since they were scored; napari-uda evaluate "
                "scores them again."
            )
        self.no_scores.setText(" ".join(said))
        self.no_scores.setVisible(bool(said))
        self.scores.setVisible(bool(rows))

    def _on_scalar(self) -> None:
        name = self.scalars.currentData()
        if self._records is None or name is None:
            return
        self.curves.show_curves(
            [
                Curve(
                    str(number),
                    record.path.name,
                    *record.history.series(name),
                    _COLOURS[number],
                    share=is_share(name),
                    dashed=number == 1,
                )
                for number, record in enumerate(self._records)
            ]
        )


def _read(first: Path, second: Path) -> tuple[RunRecord, RunRecord]:
    """In the thread."""
    importlib.import_module("pyqtgraph")  # the curves need not wait for it then
    return read_record(first), read_record(second)


def _table(name: str, first: str) -> QTableWidget:
    table = text_table((first, "", ""), name, wide=(1, 2))
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    return table


def _fill(table: QTableWidget, rows: Sequence[Row], names: Sequence[str]) -> None:
    for index, name in enumerate(names, 1):
        table.setHorizontalHeaderItem(index, QTableWidgetItem(name))
    table.setRowCount(len(rows))
    for row_number, cells in enumerate(rows):
        for index, text in enumerate(cells):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            table.setItem(row_number, index, item)
