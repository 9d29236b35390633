"""The report page: one HTML file with scores, curves, pictures, definitions and where they come from."""

from __future__ import annotations

import base64
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
import scipy

from napari_uda.core.errors import InputError
from napari_uda.core.files import atomic_file
from napari_uda.core.structure_colours import structure_colour
from napari_uda.evaluation.calibration import DEFINITIONS, StructureCalibration
from napari_uda.evaluation.charts import Curve, draw_curves, draw_reliability
from napari_uda.evaluation.scores import Row, Scores, Statistic, package_version
from napari_uda.evaluation.slice_picture import Picture

_COLUMNS = {
    "dice": ("Dice", 3),
    "assd_mm": ("ASSD mm", 2),
    "masd_mm": ("MASD mm", 2),
    "hd95_mm": ("HD95 mm", 2),
    "nsd": ("NSD", 3),
}
_VOLUMES = {
    "volume_prediction_ml": ("Prediction mL", 1),
    "volume_reference_ml": ("Reference mL", 1),
}
_MOST_CURVES = 4
_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } h3 { font-size: 1rem; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
tr.mean td { font-weight: 600; }
figure { display: inline-block; margin: .4rem .8rem .4rem 0; vertical-align: top; max-width: 20rem; }
figcaption, small { font-size: .85rem; opacity: .85; }
img, svg { max-width: 100%; height: auto; border-radius: 4px; }
i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em; }
.key { margin-right: 1rem; } dt { font-weight: 600; } dd { margin: 0 0 .3rem 1rem; }
"""


@dataclass(frozen=True, eq=False)
class Result:
    """What one prediction adds to the page.

    Attributes:
        name: of the prediction or method.
        scores: of one case or several; all results under the same protocol.
        calibrations: of `calibrate_structures`; empty without an entropy map.
        pictures: slices worth a look.
        origin: where the prediction comes from: run, model hash, affine, edits, ...
    """

    name: str
    scores: Scores
    calibrations: Sequence[StructureCalibration] = ()
    pictures: Sequence[Picture] = ()
    origin: Mapping[str, str] = field(default_factory=dict)


def write_report_page(path: str | Path, title: str, results: Sequence[Result]) -> Path:
    """Write the page; it appears whole or not at all, and needs no other file.

    Args:
        path: of the HTML file.
        title: heading.
        results: at least one.

    Raises:
        InputError: without results, under different protocols, or if the folder cannot be written.
    """
    text = report_page(title, results)
    with atomic_file(path) as stream:
        stream.write(text.encode())
    return Path(path)


def report_page(title: str, results: Sequence[Result]) -> str:
    """The page as text, see `write_report_page`."""
    if not results:
        raise InputError("there are no scores to report; score a prediction first")
    rules = results[0].scores.protocol
    if any(result.scores.protocol != rules for result in results):
        raise InputError("the scores follow different protocols; score them all with one protocol")
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(rules.describe())}</p>",
        "<h2>Structures</h2>",
        *(_cohort(result, len(results) > 1) for result in results),
        "<h2>Cases</h2>",
        *(_cases(result, len(results) > 1) for result in results),
        *_section("Slices", [_curves(result) for result in results]),
        *_section("Worst slices", [_pictures(result) for result in results]),
        *_section("Calibration", [_calibration(result) for result in results]),
        "<h2>Definitions</h2>",
        _definitions(results),
        "<h2>Origin</h2>",
        *(_origin(result) for result in results),
        _list(_versions()),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{_lines(body)}\n</body></html>\n'


def _section(title: str, parts: Iterable[str]) -> list[str]:
    """A heading and its parts; nothing when all of them are empty."""
    filled = [part for part in parts if part]
    return [f"<h2>{title}</h2>", *filled] if filled else []


def _cohort(result: Result, named: bool) -> str:
    head = ["Structure", *(title for title, _ in _COLUMNS.values()), "n", "n missing"]
    rows, mean = [], 0
    for index, summary in enumerate(result.scores.summary()):
        cells = [_plus_minus(summary[key], digits) for key, (_, digits) in _COLUMNS.items()]
        counts = [str(summary["n_cases"]), str(summary["n_missing"])]
        rows.append([str(summary["name"]), *cells, *counts])
        mean = index
    note = f"<small>mean ± standard deviation (ddof {result.scores.protocol.ddof}) over the cases</small>"
    return _heading(result, named) + _table(head, rows, {mean}) + note


def _cases(result: Result, named: bool) -> str:
    columns = {**_COLUMNS, **_VOLUMES}
    head = ["Case", "Structure", "State", *(title for title, _ in columns.values())]
    rows = [
        [str(row["case"]), str(row["name"]), str(row["state"])]
        + [_number(float(row[key]), digits) for key, (_, digits) in columns.items()]
        for row in result.scores.rows
    ]
    return _heading(result, named) + _table(head, rows)


def _curves(result: Result) -> str:
    """Dice over the slices of the coarsest axis, for the first cases."""
    parts = []
    for grid in result.scores.grids[:_MOST_CURVES]:
        steps = dict(zip(("z", "y", "x"), grid.spacing_mm, strict=True))
        axis = max(grid.axes, key=lambda name: round(steps[name], 3))
        rows = [
            row for row in result.scores.slices if row["case"] == grid.case and row["axis"] == axis
        ]
        if rows:
            title = f"{result.name}, {grid.case}: Dice over the slices along {axis} of the file"
            parts.append(
                f"<h3>{escape(title)}</h3>{draw_curves(_lines_of(rows), 'slice', 'Dice', 1.0)}"
            )
    return "".join(parts)


def _lines_of(rows: Sequence[Row]) -> list[Curve]:
    curves = []
    for label in sorted({int(row["label"]) for row in rows}):
        own = [row for row in rows if row["label"] == label]
        name = str(own[0]["name"])
        curves.append(
            Curve(
                name,
                structure_colour(name, label),
                np.array([int(row["slice"]) for row in own]),
                np.array([float(row["dice"]) for row in own]),
            )
        )
    return curves


def _pictures(result: Result) -> str:
    return "".join(
        f'<figure><img alt="{escape(picture.caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(picture.png()).decode()}"><figcaption>{escape(result.name)}: '
        f"{escape(picture.caption)}</figcaption></figure>"
        for picture in result.pictures
    )


def _calibration(result: Result) -> str:
    if not result.calibrations:
        return ""
    head = ["Structure", "Region", "Voxels", "Wrong"]
    head += ["ECE equal width", "ECE equal mass", "ACE", "MCE", "AUROC"]
    rows = []
    for one in result.calibrations:
        for region, found in (("band", one.band), ("whole", one.whole)):
            numbers = (found.width.ece(), found.mass.ece(), found.width.ace(), found.width.mce())
            rows.append(
                [one.name, region, f"{found.voxels}", f"{found.errors}"]
                + [_number(value, 3) for value in (*numbers, found.auroc)]
            )
    diagrams = "".join(
        draw_reliability(one.band.width, f"{result.name}, {one.name}, band, equal width")
        for one in result.calibrations
    )
    return _heading(result, True) + _table(head, rows) + diagrams


def _definitions(results: Sequence[Result]) -> str:
    words = results[0].scores.protocol.definitions()
    shown = {title: words[key] for key, (title, _) in _COLUMNS.items()}
    shown["n, n missing"] = (
        "cases, and those among them in which the prediction missed the structure altogether"
    )
    shown["empty structures"] = results[0].scores.protocol.empty_policy
    if any(result.calibrations for result in results):
        shown |= DEFINITIONS
    return _list(shown)


def _origin(result: Result) -> str:
    entries = dict(result.origin)
    for grid in result.scores.grids:
        size = " × ".join(str(side) for side in grid.shape)
        steps = " × ".join(f"{step:.4g}" for step in grid.spacing_mm)
        entries[f"geometry of {grid.case}"] = f"{size} voxels of {steps} mm (z, y, x)"
    return f"<h3>{escape(result.name)}</h3>{_list(entries)}"


def _versions() -> dict[str, str]:
    return {
        "napari_uda": package_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _heading(result: Result, named: bool) -> str:
    return f"<h3>{escape(result.name)}</h3>" if named else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], strong: Iterable[int] = ()) -> str:
    bold = set(strong)
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = [
        ('<tr class="mean">' if index in bold else "<tr>")
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for index, row in enumerate(rows)
    ]
    return f"<table><tr>{titles}</tr>{''.join(lines)}</table>"


def _list(entries: Mapping[str, str]) -> str:
    terms = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries.items()
    )
    return f"<dl>{terms}</dl>"


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(parts)


def _plus_minus(statistic: Statistic | str | int | None, digits: int) -> str:
    if not isinstance(statistic, dict):
        return "–"
    sd = _number(statistic["sd"], digits)
    mean = _number(statistic["mean"], digits)
    return mean if sd == "–" else f"{mean} ± {sd}"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"
