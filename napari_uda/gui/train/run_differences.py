"""What two runs have in common and where they differ: curves, settings, scores. No Qt, no torch."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_uda.gui.train.run_history import RunHistory
from napari_uda.gui.train.run_reader import RunReader
from napari_uda.run.folder import RunFolder

_ABSENT = "–"
_SCORES = (("dice", "Dice", 3), ("assd_mm", "ASSD (mm)", 2), ("hd95_mm", "HD95 (mm)", 2))


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
    reader, history = RunReader(path), RunHistory()
    update = reader.look()
    history.add(update.lines)
    more = update.more
    while more:
        following = reader.look()
        history.add(following.lines)
        more = following.more
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


def different_settings(first: RunRecord, second: RunRecord) -> list[tuple[str, str, str]]:
    """Name and both values, as text, of each setting that differs; – where a run does not have it."""
    names = dict.fromkeys([*first.settings, *second.settings])
    rows = []
    for name in names:
        values = [
            str(record.settings[name]) if name in record.settings else _ABSENT
            for record in (first, second)
        ]
        if values[0] != values[1]:
            rows.append((name, values[0], values[1]))
    return rows


def side_by_side(first: RunRecord, second: RunRecord) -> list[tuple[str, str, str]]:
    """Name and both values of each score in `scores.csv`; – where a run has none."""
    rows = []
    for name in dict.fromkeys([*first.scores, *second.scores]):
        decimals = 3 if name.endswith("Dice") else 2
        values = [_number(record.scores.get(name), decimals) for record in (first, second)]
        rows.append((name, values[0], values[1]))
    return rows


def read_scores(folder: RunFolder) -> dict[str, float]:
    """Means over cases of `scores.csv`, by structure and measure; empty when there is no readable one."""
    try:
        with folder.scores_file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error):
        return {}
    means: dict[str, float] = {}
    for column, measure, _ in _SCORES:
        by_name: dict[str, list[float]] = {}
        for row in rows:
            value = _float(row.get(column))
            if value is not None and row.get("name"):
                by_name.setdefault(str(row["name"]), []).append(value)
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


def _number(value: float | None, decimals: int) -> str:
    return _ABSENT if value is None else f"{value:.{decimals}f}"
