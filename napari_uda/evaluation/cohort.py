"""Cohort: the scores of many cases by method, and the table of their means."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_uda.core.csv_text import csv_text
from napari_uda.core.files import atomic_file
from napari_uda.evaluation.score_words import SHOWN

if TYPE_CHECKING:
    from napari_uda.evaluation.scores import Scores, Summary


class Cohort:
    """Scores by method and case; a case that is scored again replaces itself."""

    def __init__(self) -> None:
        self._scores: dict[tuple[str, str], dict[str, Scores]] = {}

    def add(self, method: str, scores: Scores) -> None:
        """Take in the scores of one case or several."""
        for grid in scores.grids:
            cases = self._scores.setdefault((scores.protocol.name, method), {})
            cases[grid.case] = scores.only(grid.case)

    def clear(self) -> None:
        """Forget everything."""
        self._scores.clear()

    def methods(self, protocol: str) -> dict[str, Scores]:
        """The cases of every method under one protocol, as one table each."""
        return {
            method: next(iter(cases.values())).join([cases[case] for case in sorted(cases)])
            for (name, method), cases in self._scores.items()
            if name == protocol
        }


def write_cohort(path: Path, methods: Iterable[tuple[str, Scores]]) -> None:
    """Write mean, standard deviation, n and n_missing of every method and structure as CSV.

    `n_penalised` counts the distances that were entered for a missed or invented structure.

    Raises:
        InputError: if the folder cannot be written.
    """
    numbers = [f"{column}_{part}" for column in SHOWN for part in ("mean", "sd", "n")]
    columns = ["method", "protocol", "structure", "n_cases", "n_missing", *numbers, "n_penalised"]
    rows: list[list[object]] = []
    for method, scores in methods:
        for summary in scores.summary():
            head = [summary["name"], summary["n_cases"], summary["n_missing"]]
            penalised = max(
                (one["n_penalised"] for one in summary.values() if isinstance(one, dict)), default=0
            )
            rows.append([method, scores.protocol.name, *head, *_numbers(summary), penalised])
    with atomic_file(path) as file:
        file.write(csv_text(columns, rows).encode())


def _numbers(summary: Summary) -> list[float | int | str]:
    """Mean, standard deviation and n of every column; empty where undefined."""
    found: list[float | int | str] = []
    for column in SHOWN:
        entry = summary[column]
        if isinstance(entry, dict):
            values = (entry["mean"], entry["sd"])
            found += ["" if math.isnan(value) else value for value in values]
            found.append(entry["n"])
    return found
