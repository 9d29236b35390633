"""Scores: the tables of an evaluation, their summary, and the files they are written to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, TypedDict

import numpy as np

from napari_uda.core.csv_text import csv_text
from napari_uda.core.errors import InputError
from napari_uda.core.notebook import html_table
from napari_uda.core.together import write_together
from napari_uda.core.words import number_of
from napari_uda.evaluation.protocols import METRICS, PROTOCOLS, Protocol
from napari_uda.evaluation.score_words import counted, is_penalty

if TYPE_CHECKING:
    import pandas

SCORE_COLUMNS = (
    "case",
    "label",
    "name",
    "state",
    *METRICS,
    "volume_prediction_ml",
    "volume_reference_ml",
)
"""Columns of scores.csv."""
SLICE_COLUMNS = (
    "case",
    "axis",
    "slice",
    "position_mm",
    "label",
    "name",
    "dice",
    "assd_mm",
    "area_prediction_mm2",
    "area_reference_mm2",
    "mean_entropy",
    "slice_name",
)
"""Columns of slices.csv."""
_MOST_LINES = 20
_NUMBERS = SCORE_COLUMNS[4:]

Cell: TypeAlias = str | int | float
Row: TypeAlias = dict[str, Cell]

_STATES = {
    "both": "prediction and reference have the structure",
    "missed": "only the reference has it",
    "invented": "only the prediction has it",
    "absent": "neither has it",
}


class Statistic(TypedDict):
    """One number over the cases.

    `n` values entered the mean; `n_penalised` of them are distances that were not measured but entered for
    a structure that one side lacks. In `n_missing` cases the structure was missed altogether.
    """

    mean: float
    sd: float
    n: int
    n_missing: int
    n_penalised: int


Summary: TypeAlias = dict[str, Statistic | str | int | None]


def sides(shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape (z, y, x) of a volume, of which a type checker knows no length."""
    depth, height, width = shape
    return depth, height, width


@dataclass(frozen=True)
class CaseGrid:
    """The grid one case was scored on.

    Attributes:
        case: name of the case.
        shape: voxels (z, y, x).
        spacing_mm: voxel size (z, y, x).
        axes: the axes slices were scored along.
        prediction_sha256: checksum of the predicted file; "" where there was none.
    """

    case: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    axes: tuple[str, ...]
    prediction_sha256: str = ""


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one or more cases under one protocol.

    Attributes:
        rows: one per case and structure, the columns of scores.csv; an undefined number is NaN.
        slices: one per case, axis, slice and structure, the columns of slices.csv.
        protocol: the rules.
        grids: the grid of every case.
        samples: what the summary averages: `rows`, or one entry per slice when the protocol's scope is
            the slice.
    """

    rows: list[Row]
    slices: list[Row]
    protocol: Protocol
    grids: list[CaseGrid]
    samples: list[Row]

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Several cases as one table; all parts under the same protocol."""
        return cls(
            rows=[row for part in parts for row in part.rows],
            slices=[row for part in parts for row in part.slices],
            protocol=parts[0].protocol,
            grids=[grid for part in parts for grid in part.grids],
            samples=[row for part in parts for row in part.samples],
        )

    def only(self, case: str) -> Self:
        """The scores of one case alone."""
        return replace(
            self,
            rows=[row for row in self.rows if row["case"] == case],
            slices=[row for row in self.slices if row["case"] == case],
            grids=[grid for grid in self.grids if grid.case == case],
            samples=[row for row in self.samples if row["case"] == case],
        )

    def summary(self) -> list[Summary]:
        """Mean and standard deviation per structure, then over the structures.

        Returns:
            One mapping per structure with `label`, `name`, `n_cases`, `n_missing`, `n_invented`,
            `n_absent`, and for every numeric column of scores.csv a mapping `mean`, `sd` (the protocol's
            ddof), `n`, `n_missing`, `n_penalised`. The last one, `name` "mean" and `label` None, holds the mean of the
            structures' means and the standard deviation over cases of each case's mean over structures.
        """
        labels = sorted({int(row["label"]) for row in self.rows})
        structures = [self._structure(label) for label in labels]
        return [*structures, self._overall(structures)]

    def means(self, column: str) -> dict[str, float]:
        """Mean of one numeric column by structure name, then, as "mean", over the structures."""
        found = {}
        for summary in self.summary():
            entry = summary[column]
            assert isinstance(entry, dict), f"{column} is not a numeric column"
            found[str(summary["name"])] = entry["mean"]
        return found

    def table(self) -> str:
        """The headline columns as text: mean and standard deviation per structure."""
        columns = self.protocol.headline
        lines = [["structure", *columns, "n", "missed"]]
        for summary in self.summary():
            cells = [_plus_minus(summary[column]) for column in columns]
            counts = [counted(summary, columns), str(summary["n_missing"])]
            lines.append([str(summary["name"]), *cells, *counts])
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )

    def to_dataframe(self, table: Literal["rows", "slices"] = "rows") -> pandas.DataFrame:
        """The rows of scores.csv, or those of slices.csv, as a table of pandas.

        Args:
            table: rows or slices.

        Raises:
            InputError: without pandas, which nothing else needs, or for another table.
        """
        if table not in ("rows", "slices"):
            raise InputError(f"scores have no table {table!r}; choose rows or slices")
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise InputError("to_dataframe needs pandas; install it: pip install pandas") from error
        columns = SCORE_COLUMNS if table == "rows" else SLICE_COLUMNS
        return pandas.DataFrame(getattr(self, table), columns=list(columns))

    def __repr__(self) -> str:
        return f"<{self._title()}, {len(self.rows)} rows>"

    def __str__(self) -> str:
        lines = self.table().splitlines()
        others = len(lines) - 2 - _MOST_LINES  # besides the heading and the mean
        if others > 0:
            lines[1 + _MOST_LINES : -1] = [f"... {others} more structures"]
        return "\n".join([self._title(), *lines])

    def _repr_html_(self) -> str:
        columns = self.protocol.headline
        rows = [
            (
                str(summary["name"]),
                *(_plus_minus(summary[column]) for column in columns),
                counted(summary, columns),
                str(summary["n_missing"]),
            )
            for summary in self.summary()
        ]
        facts = [f"mean ± standard deviation (ddof {self.protocol.ddof})"]
        return html_table(self._title(), facts, ("structure", *columns, "n", "missed"), rows)

    def _title(self) -> str:
        count = len(self.grids)
        return f"Scores of {number_of(count, 'case')}, protocol {self.protocol.name}"

    def write(self, out: str | Path) -> list[Path]:
        """Write `scores.csv`, `slices.csv` and `scores.json` into the folder `out`.

        Numbers are written so that they read back exactly; undefined ones are empty cells (CSV) or null
        (JSON). All three files appear together or not at all, and so does what stood there before.
        A text that a spreadsheet program would take for a formula has an apostrophe in front in CSV.

        Returns:
            The three paths.

        Raises:
            InputError: if the folder cannot be written.
        """
        texts = {
            "scores.csv": csv_text(SCORE_COLUMNS, _cells(SCORE_COLUMNS, self.rows)),
            "slices.csv": csv_text(SLICE_COLUMNS, _cells(SLICE_COLUMNS, self.slices)),
            "scores.json": json.dumps(_plain(self.document()), indent=2, allow_nan=False) + "\n",
        }
        files = {
            name: partial(Path.write_bytes, data=text.encode()) for name, text in texts.items()
        }
        return write_together(Path(out), "the scores", files)

    def document(self) -> dict[str, object]:
        """What scores.json holds: the rules in words and as data, the rows and the summary."""
        rules = self.protocol
        return {
            "tool": "napari_uda",
            "version": package_version(),
            "protocol": rules.name,
            "description": rules.describe(),
            "settings": rules.model_dump(mode="json"),
            "customised": PROTOCOLS.get(rules.name) != rules,
            "ddof": rules.ddof,
            "empty_policy": rules.empty_policy,
            "rewards_missing": rules.rewards_missing,
            "definitions": {
                "state": _STATES,
                **rules.definitions(),
                "volume_prediction_ml": "voxels of the prediction times the voxel's volume, millilitres",
                "volume_reference_ml": "voxels of the reference times the voxel's volume, millilitres",
                "summary": (
                    f"mean and standard deviation (ddof {rules.ddof}) of the n defined values; n_missing:"
                    " cases in which the structure was missed; n_penalised: values that were entered for a"
                    " missed or invented structure, not measured; row 'mean': mean of the structures' means,"
                    " standard deviation over cases of each case's mean over its structures"
                ),
                "slices": _slice_definitions(rules),
            },
            "cases": [asdict(grid) for grid in self.grids],
            "rows": self.rows,
            "summary": self.summary(),
        }

    def _structure(self, label: int) -> Summary:
        rows = [row for row in self.rows if row["label"] == label]
        samples = [row for row in self.samples if row["label"] == label]
        states = [row["state"] for row in rows]
        missing = states.count("missed")
        result: Summary = {
            "label": label,
            "name": str(rows[0]["name"]),
            "n_cases": len(rows),
            "n_missing": missing,
            "n_invented": states.count("invented"),
            "n_absent": states.count("absent"),
        }
        for column in _NUMBERS:
            source = samples if column in METRICS else rows
            penalised = sum(is_penalty(column, row["state"], float(row[column])) for row in source)
            result[column] = self._statistic((row[column] for row in source), missing, penalised)
        return result

    def _overall(self, structures: list[Summary]) -> Summary:
        states = [row["state"] for row in self.rows]
        missing = states.count("missed")
        result: Summary = {
            "label": None,
            "name": "mean",
            "n_cases": len({row["case"] for row in self.rows}),
            "n_missing": missing,
            "n_invented": states.count("invented"),
            "n_absent": states.count("absent"),
        }
        for column in _NUMBERS:
            means = [_mean_of(structure[column]) for structure in structures]
            per_case: dict[Cell, list[float]] = {}
            penalised = set()
            for row in self.rows:
                value = float(row[column])
                per_case.setdefault(row["case"], []).append(value)
                if is_penalty(column, row["state"], value):
                    penalised.add(row["case"])
            values = [_mean(found) for found in per_case.values()]
            statistic = self._statistic(values, missing, len(penalised))
            result[column] = {**statistic, "mean": _mean(means)}
        return result

    def _statistic(self, cells: Iterable[Cell], missing: int, penalised: int) -> Statistic:
        values = np.array([float(cell) for cell in cells], np.float64)
        values = values[np.isfinite(values)]
        ddof = self.protocol.ddof
        sd = float(values.std(ddof=ddof)) if values.size > ddof else math.nan
        return {
            "mean": _mean(values),
            "sd": sd,
            "n": int(values.size),
            "n_missing": missing,
            "n_penalised": penalised,
        }


def _mean(values: Iterable[float]) -> float:
    """Mean of the defined values; NaN when there is none."""
    defined = [value for value in values if math.isfinite(value)]
    return float(np.mean(defined)) if defined else math.nan


def _mean_of(statistic: Statistic | str | int | None) -> float:
    return statistic["mean"] if isinstance(statistic, dict) else math.nan


def _plus_minus(statistic: Statistic | str | int | None) -> str:
    if not isinstance(statistic, dict) or math.isnan(statistic["mean"]):
        return "-"
    sd = "" if math.isnan(statistic["sd"]) else f" ± {statistic['sd']:.3f}"
    return f"{statistic['mean']:.3f}{sd}"


def _slice_definitions(rules: Protocol) -> dict[str, str]:
    rule = "pooled over both outlines" if rules.assd_rule == "pooled" else "prediction to reference"
    return {
        "position_mm": (
            "position of the slice along its normal, in the patient's right-anterior-superior"
            " millimetres (arrays without an affine: index times spacing)"
        ),
        "dice": "of the slice; empty where neither has the structure"
        + (f" (smoothing {rules.dice_smoothing:g}: 1 there)" if rules.dice_smoothing else ""),
        "assd_mm": f"2-D distance between the outlines in the slice, {rule}; empty unless both have it",
        "area_prediction_mm2": "pixels of the prediction times the pixel's area",
        "area_reference_mm2": "pixels of the reference times the pixel's area",
        "mean_entropy": "mean entropy over the pixels of prediction or reference; empty without them",
        "slice_name": (
            "the slice as the docks call it: its plane, its index in the file, and where its middle lies"
            " along the patient's axis, with the side instead of a sign"
        ),
    }


def _cells(columns: Sequence[str], rows: Iterable[Row]) -> list[list[Cell]]:
    return [[row[column] for column in columns] for row in rows]


def _plain(value: object) -> object:
    """The value with NaN and infinity as None, for strict JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def package_version() -> str:
    """Version of this package, "unknown" when it is not installed."""
    try:
        return version("napari_uda")
    except PackageNotFoundError:
        return "unknown"
