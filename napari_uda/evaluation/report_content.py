"""What a report says, in order and without a format: `report_page` makes HTML of it, `report_pdf` pages."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import scipy

from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import both_names, full_name, structure_colour
from napari_uda.core.words import number_of, short_list
from napari_uda.evaluation.calibration import (
    DEFINITIONS,
    Bins,
    Calibration,
    StructureCalibration,
    joined,
)
from napari_uda.evaluation.charts import Curve
from napari_uda.evaluation.score_words import (
    DASH,
    SHOWN,
    STATE_WORDS,
    ScoreColumn,
    counted,
    mean_cell,
    number,
    score_cell,
)
from napari_uda.evaluation.scores import CaseGrid, Row, Scores, package_version
from napari_uda.evaluation.slice_picture import Picture

_VOLUMES = {
    "volume_prediction_ml": ScoreColumn("Prediction mL", 1, ""),
    "volume_reference_ml": ScoreColumn("Reference mL", 1, ""),
}
_MOST_CURVES = 4
_MOST_NAMED = 5
_NOT_A_DEVICE = "Not a medical device: for research, to be read by someone who looks at the images."


@dataclass(frozen=True, eq=False)
class CaseFacts:
    """What is known of one prediction besides its scores.

    Attributes:
        case: its name.
        verdict: whether the model fits the image: fits, doubtful, does not fit, not judged; "" when unknown.
        reasons: a sentence for everything that speaks against it.
        volumes_ml: millilitres by structure.
        entropy: mean entropy over the voxels of structures; NaN when unknown.
        origin: image, model, seed, ...
        grid: of the voxels; None when it is that of the scores.
    """

    case: str
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    entropy: float = float("nan")
    origin: Mapping[str, str] = field(default_factory=dict)
    grid: CaseGrid | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What one prediction, or those of one method, add to the report.

    Attributes:
        name: of the prediction or method.
        scores: of one case or several; all results under the same protocol. None without references.
        calibrations: of `calibrate_structures`, for each case that has an entropy map.
        pictures: slices worth a look.
        origin: where the predictions come from, as far as it is the same for all: run, model hash, edits, ...
        cases: what is known of single cases.
        opening: pictures that stand at the top.
        legend: structures in the opening pictures and their colours.
    """

    name: str
    scores: Scores | None
    calibrations: Sequence[Sequence[StructureCalibration]] = ()
    pictures: Sequence[Picture] = ()
    origin: Mapping[str, str] = field(default_factory=dict)
    cases: Sequence[CaseFacts] = ()
    opening: Sequence[Picture] = ()
    legend: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Heading:
    """A heading of level 1, 2 or 3."""

    text: str
    level: int


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `kind` is `opening`, `plain`, `small` or a verdict."""

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Table:
    """Cells as text; rows whose index is in `strong` are means."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[int] = frozenset()
    words: int = 1
    """So many first columns hold words and are aligned to the left."""


@dataclass(frozen=True, eq=False)
class Curves:
    """A chart of curves over slices."""

    curves: Sequence[Curve]
    x_label: str
    y_label: str
    top: float | None


@dataclass(frozen=True, eq=False)
class Diagram:
    """A reliability diagram."""

    bins: Bins
    title: str


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures in a row; `prefix` stands before every caption."""

    pictures: Sequence[Picture]
    prefix: str = ""
    large: bool = False


@dataclass(frozen=True)
class Legend:
    """Names and their colours."""

    entries: Mapping[str, str]


@dataclass(frozen=True)
class Terms:
    """Terms and what they mean."""

    entries: Mapping[str, str]


@dataclass(frozen=True)
class Fold:
    """What is folded away on a screen, and printed in full."""

    title: str
    blocks: Sequence[Block]


Block: TypeAlias = Heading | Paragraph | Table | Curves | Diagram | Pictures | Legend | Terms | Fold


def report_blocks(title: str, results: Sequence[Result], *, reader: str = "") -> list[Block]:
    """The whole report: one sentence and a picture, then numbers, then definitions in a fold.

    Args:
        title: heading.
        results: at least one.
        reader: name of who reads or signs it; "" leaves it out.

    Raises:
        InputError: without results, or under different protocols.
    """
    _check(results)
    several = len(results) > 1
    by = f" · read by {reader}" if reader else ""
    blocks: list[Block] = [Heading(title, 1)]
    for result in results:
        blocks.append(Paragraph(opening_sentence(result, named=several), "opening"))
    blocks.append(Paragraph(f"{datetime.date.today().isoformat()}{by} · {_NOT_A_DEVICE}", "small"))
    for result in results:
        if result.opening:
            blocks += [Pictures(result.opening, result.name if several else "", large=True)]
            blocks += [Legend(result.legend)] if result.legend else []
    blocks += _section("Structures", [_cohort(result) for result in results], results)
    blocks += _section("Cases", [_cases(result) for result in results], results)
    blocks += _section("Volumes", [_volumes(result) for result in results], results)
    blocks += _section(
        "Does the model fit the image?", [_verdicts(result) for result in results], results
    )
    blocks += _section("Slices", [_curves(result) for result in results])
    blocks += _section("Worst slices", [_pictures(result) for result in results])
    blocks += _section("Calibration", [_calibration(result) for result in results])
    blocks.append(Heading("Origin", 2))
    for result in results:
        blocks += _origin(result)
    blocks.append(Fold("Definitions and versions", [Terms(_definitions(results) | _versions())]))
    return blocks


def opening_sentence(result: Result, *, named: bool = False) -> str:
    """What was scored, how many, the mean Dice with its spread, and what failed."""
    start = f"{result.name}: " if named else ""
    if result.scores is None:
        count = number_of(len(result.cases), "case")
        return (
            f"{start}{count} without reference labels: volumes, entropy and the verdict on the model, but no scores."
            f"{_verdict_words(result.cases)}"
        )
    scores = result.scores
    rules = scores.protocol.name
    return (
        f"{start}{number_of(len(scores.grids), 'case')} scored with the protocol {rules}: {_spread(scores)}."
        f" {_failures(scores)}{_verdict_words(result.cases)}"
    )


def _spread(scores: Scores) -> str:
    """Mean Dice, and how far it spreads over the cases, or over the structures of the only one."""
    if len(scores.grids) == 1:
        values = {full_name(str(row["name"])): float(row["dice"]) for row in scores.rows}
        values = {name: value for name, value in values.items() if np.isfinite(value)}
        unit = "structure"
    else:
        values = case_means(scores)
        unit = "case"
    if not values:
        return "no structure in prediction or reference, so there is no Dice"
    mean = scores.means("dice")["mean"]
    if len(values) == 1:
        return f"Dice {mean:.3f}"
    worst, best = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    sd = "" if unit == "structure" else _deviation(scores)
    return f"mean Dice {mean:.3f}{sd}, from {values[worst]:.3f} ({worst}) to {values[best]:.3f} ({best})"


def _deviation(scores: Scores) -> str:
    dice = scores.summary()[-1]["dice"]
    assert isinstance(dice, dict)
    return f" ± {dice['sd']:.3f}" if np.isfinite(dice["sd"]) else ""


def case_means(scores: Scores) -> dict[str, float]:
    """Mean Dice over the structures of every case that has one."""
    found: dict[str, list[float]] = {}
    for row in scores.rows:
        if np.isfinite(float(row["dice"])):
            found.setdefault(str(row["case"]), []).append(float(row["dice"]))
    return {case: float(np.mean(values)) for case, values in found.items()}


def _failures(scores: Scores) -> str:
    several = len(scores.grids) > 1
    found = []
    for state, words in (("missed", "Missed"), ("invented", "Not in the reference")):
        named = [
            full_name(str(row["name"])) + (f" in {row['case']}" if several else "")
            for row in scores.rows
            if row["state"] == state
        ]
        if named:
            found.append(f"{words}: {short_list(named, _MOST_NAMED)}.")
    return " ".join(found) or "No structure was missed, and none was invented."


def _verdict_words(cases: Sequence[CaseFacts]) -> str:
    found = []
    for verdict, words in (("does not fit", "does not fit"), ("doubtful", "is doubtful for")):
        named = [one.case for one in cases if one.verdict == verdict]
        if named:
            found.append(f" The model {words} {short_list(named, _MOST_NAMED)}.")
    return "".join(found)


def _check(results: Sequence[Result]) -> None:
    if not results:
        raise InputError("there are no scores to report; score a prediction first")
    rules = [result.scores.protocol for result in results if result.scores is not None]
    if any(one != rules[0] for one in rules):
        raise InputError("the scores follow different protocols; score them all with one protocol")


def _section(
    title: str, parts: Sequence[Sequence[Block]], results: Sequence[Result] = ()
) -> list[Block]:
    """A heading and its parts, each below its result's name if results are given; nothing when all are empty."""
    if not any(parts):
        return []
    blocks: list[Block] = [Heading(title, 2)]
    for index, part in enumerate(parts):
        if part and len(results) > 1:
            blocks.append(Heading(results[index].name, 3))
        blocks += part
    return blocks


def _cohort(result: Result) -> list[Block]:
    if result.scores is None:
        return []
    head = ["Structure", *(shown.title for shown in SHOWN.values()), "n", "n missing"]
    rows = []
    for summary in result.scores.summary():
        cells = [mean_cell(summary, key, shown.digits) for key, shown in SHOWN.items()]
        counts = [counted(summary, SHOWN), str(summary["n_missing"])]
        rows.append([both_names(str(summary["name"])), *cells, *counts])
    note = f"mean ± standard deviation (ddof {result.scores.protocol.ddof}) over the cases"
    if any("penalised" in row[-2] for row in rows):
        note += (
            "; penalised: cases in which a structure is missed or is not in the reference, so that no distance can be"
            " measured and the protocol's penalty enters the mean"
        )
    return [Table(head, rows, frozenset({len(rows) - 1})), Paragraph(note, "small")]


def _cases(result: Result) -> list[Block]:
    if result.scores is None:
        return []
    columns = {**SHOWN, **_VOLUMES}
    head = ["Case", "Structure", "State", *(shown.title for shown in columns.values())]
    rows = [
        [str(row["case"]), full_name(str(row["name"])), STATE_WORDS[str(row["state"])]]
        + [score_cell(row, key, shown.digits) for key, shown in columns.items()]
        for row in result.scores.rows
    ]
    return [Table(head, rows, words=3)]


def _volumes(result: Result) -> list[Block]:
    """Volumes of predictions that have no reference; scored ones have them among the cases."""
    if result.scores is not None or not result.cases:
        return []
    names = list(dict.fromkeys(name for case in result.cases for name in case.volumes_ml))
    head = ["Case", *(f"{full_name(name)} mL" for name in names), "Mean entropy", "Model"]
    rows = []
    for case in result.cases:
        cells = [number(case.volumes_ml.get(name, 0.0), 1) for name in names]
        rows.append([case.case, *cells, number(case.entropy, 3), case.verdict or DASH])
    note = "millilitres of the predicted structures; mean entropy over their voxels, 0 sure to 1 unsure"
    return [Table(head, rows), Paragraph(note, "small")]


def _verdicts(result: Result) -> list[Block]:
    blocks: list[Block] = []
    for case in result.cases:
        if case.verdict:
            start = f"{case.case}: " if len(result.cases) > 1 else ""
            reasons = f": {'; '.join(case.reasons)}" if case.reasons else ""
            blocks.append(Paragraph(f"{start}{case.verdict}{reasons}", case.verdict))
    return blocks


def _curves(result: Result) -> list[Block]:
    """Dice over the slices of the coarsest axis, for the first cases."""
    if result.scores is None:
        return []
    blocks: list[Block] = []
    for grid in result.scores.grids[:_MOST_CURVES]:
        axis = coarsest_axis(grid)
        rows = [
            row for row in result.scores.slices if row["case"] == grid.case and row["axis"] == axis
        ]
        if rows:
            title = f"{result.name}, {grid.case}: Dice over the slices along {axis} of the file"
            ends = f"slice ({rows[0]['slice_name']} to {rows[-1]['slice_name']})"
            blocks += [Heading(title, 3), Curves(lines_of(rows), ends, "Dice", 1.0)]
    return blocks


def coarsest_axis(grid: CaseGrid) -> str:
    """The axis of the file with the largest spacing among those scored; the first among equals."""
    steps = dict(zip(("z", "y", "x"), grid.spacing_mm, strict=True))
    return max(grid.axes, key=lambda name: round(steps[name], 3))


def lines_of(rows: Sequence[Row]) -> list[Curve]:
    """Dice over the slices, a curve for each structure, from rows of slices.csv."""
    curves = []
    for label in sorted({int(row["label"]) for row in rows}):
        own = [row for row in rows if row["label"] == label]
        name = str(own[0]["name"])
        curves.append(
            Curve(
                full_name(name),
                structure_colour(name, label),
                np.array([int(row["slice"]) for row in own]),
                np.array([float(row["dice"]) for row in own]),
            )
        )
    return curves


def _pictures(result: Result) -> list[Block]:
    return [Pictures(result.pictures, result.name)] if result.pictures else []


def _calibration(result: Result) -> list[Block]:
    cases = result.calibrations
    if not cases:
        return []
    structures: dict[tuple[int, str], list[StructureCalibration]] = {}
    for one in (one for case in cases for one in case):
        structures.setdefault((one.label, one.name), []).append(one)
    head = ["Structure", "Region", "Voxels", "Wrong"]
    head += ["ECE equal width", "ECE equal mass", "ACE", "MCE", "AUROC"]
    rows = []
    for (_, name), found in structures.items():
        for region in ("band", "whole"):
            parts: list[Calibration] = [getattr(one, region) for one in found]
            counts = (sum(one.voxels for one in parts), sum(one.errors for one in parts))
            numbers = np.array([_calibration_numbers(one) for one in parts])
            known = [column[~np.isnan(column)] for column in numbers.T]
            means = [column.mean() if column.size else np.nan for column in known]
            cells = [f"{count}" for count in counts] + [number(mean, 3) for mean in means]
            rows.append([full_name(name), region, *cells])
    diagrams = [
        Diagram(
            joined([one.band.width for one in found]),
            f"{result.name}, {full_name(name)}, band, equal width",
        )
        for (_, name), found in structures.items()
    ]
    about = f"Errors and AUROC are means of {len(cases)} cases; counts and diagrams are of all their voxels."
    said = [Paragraph(about, "small")] if len(cases) > 1 else []
    return [Heading(result.name, 3), *said, Table(head, rows, words=2), *diagrams]


def _calibration_numbers(found: Calibration) -> tuple[float, ...]:
    width = found.width
    return (width.ece(), found.mass.ece(), width.ace(), width.mce(), found.auroc)


def _definitions(results: Sequence[Result]) -> dict[str, str]:
    shown: dict[str, str] = {}
    scored = next((result.scores for result in results if result.scores is not None), None)
    if scored is not None:
        rules = scored.protocol
        words = rules.definitions()
        shown["protocol"] = rules.describe()
        shown |= {column.title: words[key] for key, column in SHOWN.items()}
        shown["n, n missing"] = (
            "cases, and those among them in which the prediction missed the structure altogether"
        )
        shown["empty structures"] = rules.empty_policy
        shown["slice"] = (
            "number of the slice in the file, from 0, as slices.csv and the docks have it"
        )
    if any(result.calibrations for result in results):
        shown |= DEFINITIONS
    return shown


def _origin(result: Result) -> list[Block]:
    entries = dict(result.origin)
    grids = [] if result.scores is None else list(result.scores.grids)
    grids += [case.grid for case in result.cases if case.grid is not None]
    origins = [case.origin for case in result.cases]
    shared = dict(origins[0]) if origins else {}
    for other in origins[1:]:
        shared = {name: text for name, text in shared.items() if other.get(name) == text}
    entries |= shared  # such as the model: said once
    for case in result.cases:
        start = f"{case.case}, " if len(result.cases) > 1 else ""
        own = {name: text for name, text in case.origin.items() if name not in shared}
        entries |= {f"{start}{name}": text for name, text in own.items()}
    for grid in grids:
        size = " × ".join(str(side) for side in grid.shape)
        steps = " × ".join(f"{step:.4g}" for step in grid.spacing_mm)
        entries[f"geometry of {grid.case}"] = f"{size} voxels of {steps} mm (z, y, x)"
    return [Heading(result.name, 3), Terms(entries)]


def _versions() -> dict[str, str]:
    return {
        "napari_uda": package_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }
