"""What is odd in the data of a benchmark, said once before its first cell and not by every cell again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from napari_uda.data.check import check_folder, check_folders
from napari_uda.experiments.store import Cell, Store
from napari_uda.training.findings import tell

if TYPE_CHECKING:
    import threading


def check_data(
    cells: Iterable[Cell], store: Store, *, strict: bool, stop: threading.Event | None = None
) -> None:
    """Check every data set that a cell is still to be trained on, and log what is odd.

    What training would refuse is left to the cells, whose tables name it.

    Args:
        cells: of the benchmark.
        store: knows which of them are finished.
        strict: whether to refuse data in which anything is odd.
        stop: ends the check.

    Raises:
        InputError: with `strict`, if anything is odd.
        Cancelled: when `stop` was set.
    """
    waiting = (cell for cell in cells if not cell.scores_start and store.result(cell) is None)
    for cell in _one_of_each(waiting):
        data = cell.config.data
        if data.source is not None:
            reports = check_folders(
                data.source,
                data.target,
                names=data.labels,
                series=data.series,
                placement=data.placement,
                stop=stop,
            )
        elif data.target is not None:
            report = check_folder(
                data.target,
                labelled=False,
                series=data.series,
                placement=data.placement,
                stop=stop,
            )
            reports = {"target": report}
        else:
            continue
        if data.corrected is not None and cell.config.method.corrected_weight:
            reports["corrected"] = check_folder(
                data.corrected,
                labelled=True,
                names=data.labels,
                series=data.series,
                placement=data.placement,
                stop=stop,
            )
        named = {f"{cell.data}, {side}": report for side, report in reports.items()}
        tell(named, findings="refuse" if strict else "warn")


def _one_of_each(cells: Iterable[Cell]) -> list[Cell]:
    """A cell of each data set, one with a source where there is one."""
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.data not in found or found[cell.data].config.data.source is None:
            found[cell.data] = cell
    return list(found.values())
