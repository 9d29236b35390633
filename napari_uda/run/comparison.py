"""What two runs have in common and where they differ: scalars, settings, scores."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_uda.core.csv_text import read_csv
from napari_uda.core.setting_paths import by_path
from napari_uda.core.small_files import read_small
from napari_uda.evaluation.outdated import MOST_BYTES, outdated_cases
from napari_uda.run.folder import RunFolder
from napari_uda.run.history import RunHistory
from napari_uda.run.reader import RunReader

_ABSENT = "–"
_SCORES = (("dice", "Dice"), ("assd_mm", "ASSD (mm)"), ("hd95_mm", "HD95 (mm)"))

Row = tuple[str, str, str]
"""What is compared, and how it is in each of the two runs."""


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run as it is compared.

    Attributes:
        path: its folder.
        history: its scalars.
        settings: dotted name to value, as in `config.yaml`.
        scores: structure and measure, such as `LVC · Dice`, to the mean over cases; empty without scores.csv.
        outdated: how many cases were scored before their prediction in the run was made.
    """

    path: Path
    history: RunHistory = field(default_factory=RunHistory)
    settings: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    outdated: int = 0


def read_record(path: Path) -> RunRecord:
    """Read everything that is compared; takes long for a long run."""
    reader, history, more = RunReader(path), RunHistory(), True
    while more:
        update = reader.look()
        history.add(update.lines, update.damaged)
        more = update.more
    folder = RunFolder(path)
    old = outdated_cases(folder.scores_file, folder.predictions)
    return RunRecord(path, history, by_path(update.settings), read_scores(folder), len(old))


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
        text = read_small(folder.scores_file, most_bytes=MOST_BYTES)
        rows = read_csv(text)
    except (OSError, ValueError, csv.Error):  # an InputError is a ValueError
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
