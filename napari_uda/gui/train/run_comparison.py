"""RunComparison: two runs beside each other: one scalar of both over steps, settings that differ, scores."""

from __future__ import annotations

import csv
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QTabWidget, QWidget

from napari_uda.core.structure_colours import PALETTE
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layout import column, row
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import button, combo_box, label, text_table
from napari_uda.gui.train.loss_curves import LossCurves
from napari_uda.gui.train.run_history import Curve, RunHistory, is_share, title
from napari_uda.gui.train.run_reader import RunReader
from napari_uda.run.folder import RunFolder

_COLOURS = (PALETTE[0], PALETTE[1])
_ABSENT = "–"
_SCORES = (("dice", "Dice"), ("assd_mm", "ASSD (mm)"), ("hd95_mm", "HD95 (mm)"))

Row = tuple[str, str, str]
"""What is compared, and how it is in each of the two runs."""


class RunComparison(Panel):
    """Reads two runs once and shows how they differ.

    Attributes:
        back: the button; what it does is up to the dock.
        scalars: which scalar the curves show.
        curves: that scalar of both.
        settings, scores: tables with a column per run.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
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
        self.no_scores.setText(
            f"There is no scores.csv in {' and '.join(missing)}; napari-uda evaluate PREDICTIONS LABELS "
            "--out RUN writes it."
        )
        self.no_scores.setVisible(bool(missing))
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


# -- what two runs have in common and where they differ: no Qt ------------------------------------


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run as it is compared.

    Attributes:
        path: its folder.
        history: its scalars.
        settings: dotted name to value, as in `config.yaml`.
        scores: structure and measure, such as `LVC · Dice`, to the mean over cases; empty without scores.csv.
    """

    path: Path
    history: RunHistory = field(default_factory=RunHistory)
    settings: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)


def read_record(path: Path) -> RunRecord:
    """Everything that is compared; for a worker thread."""
    reader, history, more = RunReader(path), RunHistory(), True
    while more:
        update = reader.look()
        history.add(update.lines)
        more = update.more
    return RunRecord(path, history, flat(update.settings), read_scores(RunFolder(path)))


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def different_settings(first: RunRecord, second: RunRecord) -> list[Row]:
    """Name and both values, as text, of each setting that differs; – where a run does not have it."""
    rows = []
    for name in dict.fromkeys([*first.settings, *second.settings]):
        one, other = (str(record.settings.get(name, _ABSENT)) for record in (first, second))
        if one != other:
            rows.append((name, one, other))
    return rows


def side_by_side(first: RunRecord, second: RunRecord) -> list[Row]:
    """Name and both values of each score in `scores.csv`; – where a run has none."""
    return [
        (name, _number(name, first.scores.get(name)), _number(name, second.scores.get(name)))
        for name in dict.fromkeys([*first.scores, *second.scores])
    ]


def read_scores(folder: RunFolder) -> dict[str, float]:
    """Means over cases of `scores.csv`, by structure and measure; empty when there is no readable one."""
    try:
        with folder.scores_file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error):
        return {}
    means: dict[str, float] = {}
    for field_name, measure in _SCORES:
        by_name: dict[str, list[float]] = {}
        for one in rows:
            value = _float(one.get(field_name))
            if value is not None and one.get("name"):
                by_name.setdefault(str(one["name"]), []).append(value)
        for name, values in by_name.items():
            means[f"{name} · {measure}"] = sum(values) / len(values)
        if by_name:
            of_structures = [sum(v) / len(v) for v in by_name.values()]
            means[f"mean · {measure}"] = sum(of_structures) / len(of_structures)
    return means


def common_scalars(first: RunRecord, second: RunRecord) -> list[str]:
    """Scalars of both runs, then those of one."""
    names = dict.fromkeys([*first.history.names(), *second.history.names()])
    both = set(first.history.names()) & set(second.history.names())
    return sorted(names, key=lambda name: name not in both)


def _float(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _number(name: str, value: float | None) -> str:
    decimals = 3 if name.endswith("Dice") else 2
    return _ABSENT if value is None else f"{value:.{decimals}f}"
