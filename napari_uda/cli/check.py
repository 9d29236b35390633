"""What `napari-uda check` answers: one domain or two, as a table and as plain values."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.cli.arguments import Placement
from napari_uda.core.errors import InputError

if TYPE_CHECKING:
    from napari_uda.data.check import OnProgress
    from napari_uda.data.findings import DomainReport, Problem


def check_quietly(
    folder: Path,
    target: Path | None,
    series: str,
    placement: Placement,
    on_progress: OnProgress,
    stop: threading.Event,
) -> dict[str, DomainReport]:
    """Check the folders; what reading warns of is in the reports and not said beside them.

    Labels of the first folder are read where there are any.
    """
    from napari_uda.data.check import check_folders
    from napari_uda.data.folder import DataFolder

    try:
        cases = DataFolder.open(folder, series=series, placement=placement).cases
        labelled = target is not None or any(case.label is not None for case in cases)
    except InputError:
        labelled = True  # the check says what it is
    logger = logging.getLogger("napari_uda.data")
    before, logger.propagate = logger.propagate, False
    try:
        return check_folders(
            folder,
            target,
            labelled=labelled,
            series=series,
            placement=placement,
            on_progress=on_progress,
            stop=stop,
        )
    finally:
        logger.propagate = before


def as_table(reports: Mapping[str, DomainReport]) -> str:
    """The reports by side, for readers."""
    blocks = [
        "\n".join(_domain(report.name if len(reports) == 1 else f"{side}: {report.name}", report))
        for side, report in reports.items()
    ]
    return "\n\n".join(blocks)


def as_values(reports: Mapping[str, DomainReport]) -> dict[str, dict[str, Any]]:
    """The same for programs."""
    return {side: _values(report) for side, report in reports.items()}


def verdict(reports: Mapping[str, DomainReport], *, strict: bool) -> str:
    """Why training would not begin; "" where it would."""
    problems = [problem for report in reports.values() for problem in report.problems]
    errors = sum(problem.fatal for problem in problems)
    if errors:
        return f"training would refuse this data ({_number(errors, 'error')} above); mend it first"
    if problems and strict:
        said = _number(len(problems), "warning")
        return f"--strict takes {said} above for errors; mend the data, or leave --strict out"
    return ""


def _number(count: int, what: str) -> str:
    return f"the {what}" if count == 1 else f"the {count} {what}s"


def _domain(title: str, report: DomainReport) -> Iterator[str]:
    yield title
    labels = f"{report.label_count} with labels"
    if report.label_count and not report.structures:
        labels += " (not read)"
    facts = [
        ("cases", f"{report.case_count}, {labels}"),
        ("modality", report.modality or "unknown"),
    ]
    if report.cases:
        z, y, x = zip(*(case.shape for case in report.cases), strict=True)
        dz, dy, dx = zip(*(case.spacing_mm for case in report.cases), strict=True)
        low, high = zip(*(case.intensity_range for case in report.cases), strict=True)
        orientations = report.orientations()
        facts += [
            ("voxels (z, y, x)", " x ".join(_span(side, "d") for side in (z, y, x))),
            ("spacing in mm", " x ".join(_span(side, ".4g") for side in (dz, dy, dx))),
            ("stored as", ", ".join(f"{code} ({count})" for code, count in orientations.items())),
            ("grey values", f"{min(low):g} to {max(high):g}"),
        ]
    width = max(len(name) for name, _ in facts)
    yield from (f"  {name:<{width}}  {text}" for name, text in facts)
    rows = [("structure", "label", "voxels", "cases")] + [
        (one.name or "(no name)", str(one.value), str(one.voxels), str(one.cases))
        for one in report.structures
    ]
    if len(rows) > 1:
        yield from _columns(rows)
    if not report.problems:
        yield "  nothing odd was found"
    for problem in report.problems:
        yield f"  {_kind(problem):<7}  {problem.sentence}"


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield "  " + "  ".join([f"{first:<{widths[0]}}", *cells])


def _span(values: Sequence[float], form: str) -> str:
    ends = dict.fromkeys(f"{end:{form}}" for end in (min(values), max(values)))
    return " to ".join(ends)


def _kind(problem: Problem) -> str:
    return "error" if problem.fatal else "warning"


def _values(report: DomainReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "modality": report.modality,
        "cases": report.case_count,
        "cases_with_labels": report.label_count,
        "images": [
            {
                "case": case.name,
                "shape": case.shape,
                "spacing_mm": case.spacing_mm,
                "orientation": case.orientation,
                "intensity_range": case.intensity_range,
                "structures_mm": case.structures_mm,
                "content": case.image_digest,
            }
            for case in report.cases
        ],
        "structures": [
            {"name": one.name, "label": one.value, "voxels": one.voxels, "cases": one.cases}
            for one in report.structures
        ],
        "problems": [
            {"kind": _kind(one), "file": one.file, "sentence": one.sentence}
            for one in report.problems
        ],
    }
