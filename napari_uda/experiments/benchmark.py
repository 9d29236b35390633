"""A whole benchmark: run the cells of a spec that are not finished, then write tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.core.csv_text import csv_text
from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.core.small_files import dump_yaml
from napari_uda.experiments import pictures, tables
from napari_uda.experiments.cells import score
from napari_uda.experiments.data_check import check_data
from napari_uda.experiments.executors import (
    ExecutorName,
    Progress,
    choose_backend,
    most_at_once,
    run_elsewhere,
    run_here,
)
from napari_uda.experiments.plan import plan
from napari_uda.experiments.position_prior import predict_positions
from napari_uda.experiments.results import collect, position_key, position_result, reading_of
from napari_uda.experiments.spec import Spec
from napari_uda.experiments.store import Cell, Store, is_input_failure
from napari_uda.run.run import write_text

if TYPE_CHECKING:
    import threading


@dataclass(frozen=True)
class Outcome:
    """The result of a benchmark.

    Attributes:
        markdown: the tables as text.
        failed: failed cells in words, to why.
        of_input: whether every failure is one of the input.
        files: what was written beside the cells.
        rows: of `table.csv`, values by column.
    """

    markdown: str
    failed: dict[str, str] = field(default_factory=dict)
    of_input: bool = True
    files: list[Path] = field(default_factory=list)
    rows: list[dict[str, object]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The same for programs: the rows of `table.csv`, what failed, and the files."""
        return {"rows": self.rows, "failed": self.failed, "files": self.files}


def run_benchmark(
    spec: Spec,
    out: Path,
    *,
    executor: ExecutorName = "local",
    jobs: int = 0,
    ranks: int = 1,
    cluster: Mapping[str, Any] | None = None,
    with_pictures: bool = True,
    strict: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Run what is not finished and write `table.md`, `table.csv`, `table.tex` and `tests.csv`, `cost.md`, `cost.csv`, `cells.csv`.

    The tables are written again after every cell, so they are there whatever happens.

    Args:
        spec: the benchmark, with absolute folders.
        out: its folder; one that holds a benchmark is gone on with.
        executor: local, slurm, or submitit_local (submitit on this machine, to try it).
        jobs: cells at once; 0 is one locally and all on a cluster.
        ranks: processes that train one cell together.
        cluster: parameters of submitit, such as `timeout_min` and `slurm_partition`.
        with_pictures: draw `pictures/*.png` at the end.
        strict: refuse to begin if the check of the data finds anything; otherwise it is logged as a warning.
        on_progress: called while cells run.
        stop: when set, running cells save and stop.

    Returns:
        The tables and what failed.

    Raises:
        InputError: for a spec that cannot be run; nothing has been trained then.
        Cancelled: when `stop` was set.
    """
    store = Store(out.absolute())
    if out.exists() and not out.is_dir():
        raise InputError(f"{shown(out)} is a file; choose a folder for the benchmark")
    for name, value, least in (("jobs", jobs, 0), ("ranks", ranks, 1)):
        if value < least:
            raise InputError(f"--{name} is {value}; give {least} or more")
    if with_pictures:
        pictures.check_matplotlib()
    most = most_at_once(executor, jobs)
    backend = choose_backend(executor, most, store.out / "jobs", cluster or {})
    cells = plan(spec, store.out, ranks=ranks)
    check_data(cells, store, strict=strict, stop=stop)
    write_text(
        store.out / "spec.yaml",
        dump_yaml(spec.model_dump(mode="json")),
    )
    if spec.position_prior:
        _score_positions(spec, cells, store)
    before = -1

    def report(progress: Progress) -> None:
        nonlocal before
        if progress.finished not in (before, progress.total):  # the last ones are written below
            before = progress.finished
            write_tables(spec, cells, store)
        if on_progress is not None:
            on_progress(progress)

    if backend is None:
        run_here(store, cells, on_progress=report, stop=stop)
    else:
        run_elsewhere(store, cells, backend, jobs=most, on_progress=report, stop=stop)
    files, text = write_tables(spec, cells, store)
    if with_pictures:
        files += pictures.draw_all(
            collect(spec, cells, store),
            spec.pictures,
            store.out / "pictures",
            chosen=bool(spec.tested_pairs()),
        )
    failed = {cell.title: store.reason(cell.key) for cell in cells if store.result(cell) is None}
    of_input = all(
        is_input_failure(store, cell.key) for cell in cells if store.result(cell) is None
    )
    rows = tables.score_rows(collect(spec, cells, store))
    return Outcome(text, failed, of_input, files, rows)


def write_tables(spec: Spec, cells: Sequence[Cell], store: Store) -> tuple[list[Path], str]:
    """Write the tables from the results that are there by now; the files and the Markdown."""
    results = collect(spec, cells, store)
    texts = {
        "table.md": tables.markdown(spec, results),
        "table.csv": tables.scores_csv(results),
        "table.tex": tables.latex(spec, results),
        "tests.csv": tables.pvalues_csv(results),
        "cost.md": tables.cost_table(spec, results).markdown(),
        "cost.csv": tables.cost_csv(results),
        "cells.csv": _cells_csv(cells, store),
    }
    for name, text in texts.items():
        write_text(store.out / name, text)
    return [store.out / name for name in texts], texts["table.md"]


def _score_positions(spec: Spec, cells: Sequence[Cell], store: Store) -> None:
    for data in spec.data:
        assert data.score is not None
        key = position_key(data)
        if position_result(store, data, spec.protocol) is None:
            folder = store.run(key)
            series, placement = reading_of(cells, data)
            predict_positions(data.source, data.score, folder, series=series, placement=placement)
            score(store, key, folder, data.score, spec.protocol, out=folder, placement=placement)


def _cells_csv(cells: Sequence[Cell], store: Store) -> str:
    """Which run folder belongs to which row, data set and seed, and how it stands."""
    columns = ("row", "data", "seed", "run", "status", "train_seconds", "predict_seconds", "reason")
    rows: list[list[object]] = []
    for cell in cells:
        result, reason = store.result(cell), store.reason(cell.key)
        status = "finished" if result else "failed" if reason else "waiting"
        times: list[object] = ["", ""]
        if result:
            times = [round(result.seconds, 1), round(result.predict_seconds, 1)]
        rows.append(
            [
                cell.row,
                cell.data,
                cell.seed,
                f"runs/{cell.key}",
                status,
                *times,
                reason if not result else "",
            ]
        )
    return csv_text(columns, rows)
