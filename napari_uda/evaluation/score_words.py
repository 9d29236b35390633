"""Scores in words, the same in every table: what was missed is not shown as if it had been measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from napari_uda.evaluation.scores import Row, Statistic


class ScoreColumn(NamedTuple):
    """How tables show a score."""

    title: str
    digits: int
    about: str


SHOWN: Mapping[str, ScoreColumn] = {
    "dice": ScoreColumn("Dice", 3, "2|A∩B| / (|A|+|B|)"),
    "assd_mm": ScoreColumn(
        "ASSD mm", 2, "Average symmetric surface distance, pooled over both surfaces"
    ),
    "masd_mm": ScoreColumn("MASD mm", 2, "Mean of the two directed mean surface distances"),
    "hd95_mm": ScoreColumn("HD95 mm", 2, "95th percentile of the surface distances"),
    "nsd": ScoreColumn("NSD", 3, "Share of both surfaces within the tolerance"),
}
"""The columns of scores.csv that tables, reports and cohorts show, in order."""
DASH = "–"
STATE_WORDS = {
    "both": "both",
    "missed": "missed",
    "invented": "not in the reference",
    "absent": "in neither",
}
"""A state of scores.csv, and how tables call it."""
STATE_TIPS = {
    "both": "in prediction and reference",
    "missed": "only in the reference: the prediction missed it",
    "not in the reference": "only in the prediction: the reference has no such structure",
    "in neither": "neither in the prediction nor in the reference",
}
"""What the words of `STATE_WORDS` mean."""
PENALISED_STATES = ("missed", "invented")
_DISTANCES = ("assd", "masd", "hd95")


def is_distance(column: str) -> bool:
    """Whether a column of scores.csv is a distance, which a missed structure has none of."""
    return column.partition("_")[0] in _DISTANCES


def is_penalty(column: str, state: object, value: float) -> bool:
    """Whether a number was not measured, but entered for a structure that one side lacks."""
    return state in PENALISED_STATES and is_distance(column) and math.isfinite(value)


def number(value: float, digits: int) -> str:
    """A number, or a dash where it is undefined."""
    return f"{value:.{digits}f}" if math.isfinite(value) else DASH


def score_cell(row: Row, column: str, digits: int) -> str:
    """A cell of a table of cases: a number if it was measured, else a word for why it was not."""
    state = row["state"]
    if is_distance(column) and state in PENALISED_STATES:
        return "missed" if state == "missed" else DASH
    return number(float(row[column]), digits)


def penalty_note(row: Row, columns: Sequence[str]) -> str:
    """What enters the mean for a missed or an invented structure, in a sentence; "" where nothing does."""
    values = [float(row[column]) for column in columns]
    marked = zip(columns, values, strict=True)
    found = [value for column, value in marked if is_penalty(column, row["state"], value)]
    if not found:
        return ""
    return (
        f"No distance can be measured: {STATE_WORDS[str(row['state'])]}. "
        f"{max(found):.2f} mm enters the mean as a penalty."
    )


def plus_minus(statistic: Statistic | str | int | None, digits: int) -> str:
    """`mean ± sd`; the mean alone of a single case; a dash where nothing is defined."""
    if not isinstance(statistic, dict):
        return DASH
    mean, sd = number(statistic["mean"], digits), number(statistic["sd"], digits)
    return mean if DASH in (mean, sd) else f"{mean} ± {sd}"


def mean_cell(summary: Mapping[str, Statistic | str | int | None], column: str, digits: int) -> str:
    """`mean ± sd` of a column; a dash where not one of the values of a structure was measured."""
    found = summary[column]
    only_penalties = isinstance(found, dict) and 0 < found["n"] == found["n_penalised"]
    if only_penalties and summary["label"] is not None:
        return DASH
    return plus_minus(found, digits)


def counted(summary: Mapping[str, Statistic | str | int | None], columns: Iterable[str]) -> str:
    """Cases of a summary, with those whose distances are penalties: `5, 2 penalised`."""
    entries = [summary[column] for column in columns]
    penalised = max((one["n_penalised"] for one in entries if isinstance(one, dict)), default=0)
    return _with_penalties(str(summary["n_cases"]), penalised)


def counted_structures(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Structures of a case that enter its mean, with the penalties among them: `n 5, 2 penalised`."""
    entered = [row for row in rows if row["state"] != "absent"]
    penalised = sum(
        any(is_penalty(column, row["state"], float(row[column])) for column in columns)
        for row in entered
    )
    return f"n {_with_penalties(str(len(entered)), penalised)}"


def _with_penalties(count: str, penalised: int) -> str:
    return f"{count}, {penalised} penalised" if penalised else count
