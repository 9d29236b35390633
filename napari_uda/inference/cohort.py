"""Several volumes, one after the other: their maps as files, a table of what came out, and no volume that stops the others."""

from __future__ import annotations

import csv
import io
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_uda.core.csv_text import text_cell
from napari_uda.core.errors import Cancelled, InputError, sentence
from napari_uda.core.files import atomic_file
from napari_uda.data.folder import find_cases
from napari_uda.data.volume import Volume
from napari_uda.inference.fit import Fit

if TYPE_CHECKING:
    from napari_uda.inference.backend import Backend
    from napari_uda.inference.predict import Prediction

logger = logging.getLogger(__name__)

SUMMARY = "summary.csv"


@dataclass(frozen=True)
class Item:
    """A volume to segment: its case, and how to get it."""

    case: str
    read: Callable[[], Volume]
    image: Path | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """What came out for one volume.

    Attributes:
        case: name of the volume.
        image: its file, if it came from one.
        names: label value to structure name; empty if it failed.
        volumes_ml: structure name to millilitres.
        mean_entropy: over the voxels of all structures; NaN without any.
        unreliable: share of all voxels; NaN when it was not asked for.
        unreliable_structures: share of the voxels of the structures found; NaN without any, too.
        fit: whether the run fits the image.
        seconds: how long it took.
        problem: one sentence if it failed.
        prediction: kept unless it was written to files.
    """

    case: str
    image: Path | None = None
    names: dict[int, str] = field(default_factory=dict)
    volumes_ml: dict[str, float] = field(default_factory=dict)
    mean_entropy: float = math.nan
    unreliable: float = math.nan
    unreliable_structures: float = math.nan
    fit: Fit = field(default_factory=Fit)
    seconds: float = math.nan
    problem: str = ""
    prediction: Prediction | None = None


def files_of(folder: Path) -> list[Item]:
    """The volumes of a folder, or of its `images`.

    Raises:
        InputError: if there are none, or two would be written to the same files.
    """
    found = find_cases([folder])[0].cases
    cases = [case.name for case in found]
    twice = next((case for case in cases if cases.count(case) > 1), None)
    if twice is not None:
        raise InputError(f"{folder.name} holds {twice} twice; keep one of the two files")
    return [Item(case.name, case.read_image, case.image) for case in found]


def segment_several(
    model: Path,
    items: Sequence[Item],
    out: Path | None,
    vote: bool,
    rows: list[Row],
    report: Callable[[int, int], None],
    stop: threading.Event,
    backend: Backend = "auto",
) -> None:
    """Segment volume by volume; one that fails does not keep the others from theirs.

    Args:
        model: run folder.
        items: the volumes.
        out: folder for the maps of every case and `summary.csv`; None keeps the predictions in `rows`.
        vote: whether to make the reliability map.
        rows: gets a row as soon as a volume is done; another thread may read it meanwhile.
        report: progress in volumes.
        stop: when set, the volume at work is given up. The ones before keep their rows and files.
        backend: what computes, as for `predict`.

    Raises:
        InputError: if the model cannot be used or `out` cannot be written.
        Cancelled: when `stop` was set.
    """
    # here, so that a window or a command that only knows the names starts without torch
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.predict import predict
    from napari_uda.inference.results import check_place

    if out is not None:
        check_place(out)
    run = LoadedRun.load(model).for_prediction(backend)
    structures = list(run.run.facts.names().values())
    try:
        for index, item in enumerate(items):
            report(index, len(items))
            start = time.perf_counter()
            try:
                prediction = predict(run, item.read(), reliability=vote, stop=stop)
                if out is not None:
                    prediction.save(out)
            except Cancelled:
                raise
            except Exception as error:
                if not isinstance(error, InputError):
                    logger.exception("%s failed", item.case)
                rows.append(Row(item.case, item.image, problem=sentence(error)))
                continue
            rows.append(_row(item, prediction, time.perf_counter() - start, out is None))
    finally:
        if out is not None and rows:
            write_summary(out / SUMMARY, rows, structures)
    report(len(items), len(items))


def write_summary(file: Path, rows: Sequence[Row], structures: Sequence[str]) -> None:
    """Write the table as CSV, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    volumes = [f"volume_{name}_ml" for name in structures]
    columns = ["case", *volumes, "mean_entropy", "unreliable", "seconds", "problem"]
    writer.writerow([*columns, "unreliable_structures", "fit", "fit_reasons"])
    for row in rows:
        numbers = [*(row.volumes_ml.get(name, math.nan) for name in structures)]
        numbers += [row.mean_entropy, row.unreliable, row.seconds]
        cells = ["" if math.isnan(number) else f"{number:.6g}" for number in numbers]
        share = row.unreliable_structures
        reasons = "; ".join(filter(None, [*row.fit.reasons, row.fit.note]))
        fit = ["" if row.problem else row.fit.verdict, text_cell(reasons)]
        cells += [text_cell(row.problem), "" if math.isnan(share) else f"{share:.6g}", *fit]
        writer.writerow([text_cell(row.case), *cells])
    with atomic_file(file) as stream:
        stream.write(text.getvalue().encode())


def _row(item: Item, prediction: Prediction, seconds: float, keep: bool) -> Row:
    inside = prediction.labels > 0
    return Row(
        case=item.case,
        image=item.image,
        names=prediction.names,
        volumes_ml=prediction.volumes_ml(),
        mean_entropy=float(prediction.entropy[inside].mean()) if inside.any() else math.nan,
        unreliable=prediction.unreliable_share,
        unreliable_structures=prediction.unreliable_structures,
        fit=prediction.fit,
        seconds=seconds,
        prediction=prediction if keep else None,
    )
