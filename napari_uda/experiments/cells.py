"""Running a cell: train, segment, score; each part is skipped when its files are there."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.folder import Case, DataFolder
from napari_uda.data.volume import Placement
from napari_uda.evaluation.protocols import METRICS
from napari_uda.experiments.cost import TrainingMeter, of_prediction
from napari_uda.experiments.fingerprints import labels_fingerprint, scored_cases
from napari_uda.experiments.store import Cell, Result, Store, note_failure
from napari_uda.run.folder import RunFolder
from napari_uda.run.run import Run, write_text

if TYPE_CHECKING:
    import threading

    from napari_uda.evaluation.scores import Scores
    from napari_uda.inference.loaded import LoadedRun

OnProgress = Callable[[str, int, int], None]
"""Called with what is done ("train", "predict", "score"), steps or volumes done, and all of them."""


def run_cell(
    store: Store,
    cell: Cell,
    *,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Train unless trained, segment what is not yet segmented, score. Safe to call again after a kill.

    Only one process works on a cell: a second one waits and then finds it finished. A failure is noted
    in the folder and raised.

    Raises:
        Cancelled: when `stop` was set; the run is saved.
        Exception: whatever training, prediction or scoring raise.
    """
    store.job(cell.key).parent.mkdir(parents=True, exist_ok=True)
    with _alone(store.lock(cell.key), stop) as lock:
        if store.result(cell) is not None:
            return
        try:
            _run_cell(store, cell, on_progress or (lambda *_: None), stop, lock)
        except (Cancelled, KeyboardInterrupt):
            raise
        except Exception as error:
            note_failure(store, cell.key, error)
            raise
        store.failure(cell.key).unlink(missing_ok=True)


def _run_cell(
    store: Store,
    cell: Cell,
    on_progress: OnProgress,
    stop: threading.Event | None,
    lock: int,
) -> None:
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.predict import predict

    if cell.scores_start:
        run, folder = Run.open(store.run(cell.start)), store.run(cell.key)
    else:
        run, folder = _open_run(store, cell), store.run(cell.key)
        if not _is_trained(run):
            _train(run, cell, store, on_progress, stop, lock)
    predictions = RunFolder(folder).predictions
    data, began = cell.config.data, time.monotonic()
    cases = scored_cases(cell.score, series=data.series, placement=data.placement)
    load = functools.cache(functools.partial(LoadedRun.load, run, cell.config.device))
    for done, case in enumerate(cases):
        on_progress("predict", done, len(cases))
        # the last file that `save` puts in place
        if not (predictions / f"{case.name}.json").exists():
            found = predict(load(), case.read_image(), reliability=cell.reliability, stop=stop)
            found.save(predictions)
    if hasattr(run.config.method, "translator") and not cell.scores_start:
        _translate(load, cases, translations(run.path), stop)
    spent = time.monotonic() - began
    score(
        store,
        cell.key,
        predictions,
        cell.score,
        cell.protocol,
        out=folder,
        seconds=0.0 if cell.scores_start else run.seconds(),
        predict_seconds=spent,
        cost=_cost(store, cell, load),
        placement=data.placement,
        on_progress=on_progress,
    )


def _cost(store: Store, cell: Cell, load: Callable[[], LoadedRun]) -> dict[str, Any]:
    """What was measured while the cell was trained, and what its prediction needs."""
    if cell.scores_start:
        return {}
    return store.training_cost(cell.key) | of_prediction(load())


def _translate(
    load: Callable[[], LoadedRun], cases: Sequence[Case], out: Path, stop: threading.Event | None
) -> None:
    """Keep what the generators make of the scored volumes, for the pictures."""
    from napari_uda.inference.translate import translate

    for case in cases:
        if not (out / f"{case.name}_cycle.nii.gz").exists():
            translate(load(), case.read_image(), stop=stop).save(out)


def translations(run: Path) -> Path:
    """Folder of translated volumes in a run folder."""
    return run / "translations"


def score(
    store: Store,
    key: str,
    predictions: Path,
    folder: Path,
    protocol: str,
    *,
    out: Path,
    seconds: float = 0.0,
    predict_seconds: float = 0.0,
    cost: dict[str, Any] | None = None,
    placement: Placement = "auto",
    on_progress: OnProgress = lambda *_: None,
) -> Result:
    """Score predictions and write the result of a cell, `scores.*` into `out` as well."""
    from napari_uda.evaluation.report import evaluate_folders

    scores = evaluate_folders(
        predictions,
        DataFolder.open(folder).label_folder,
        protocol=protocol,
        placement=placement,
        on_progress=lambda done, total: on_progress("score", done, total),
    )
    scores.write(out)
    result = _as_result(scores, labels_fingerprint(folder), seconds, predict_seconds, cost or {})
    write_text(store.result_file(key), json.dumps(asdict(result), indent=1, allow_nan=False) + "\n")
    return result


def _as_result(
    scores: Scores, labels: str, seconds: float, predict_seconds: float, cost: dict[str, Any]
) -> Result:
    summary: dict[str, dict[str, float | None]] = {}
    for entry in scores.summary():
        if entry["label"] is None:
            continue
        numbers: dict[str, float | None] = {}
        for column in METRICS:
            statistic = entry[column]
            assert isinstance(statistic, dict)
            numbers[column] = _defined(statistic["mean"])
        missing = entry["n_missing"]
        assert isinstance(missing, int)
        summary[str(entry["name"])] = {**numbers, "n_missing": missing}
    cases = [
        {
            "case": row["case"],
            "name": row["name"],
            "state": row["state"],
            **{column: _defined(float(row[column])) for column in METRICS},
        }
        for row in scores.rows
    ]
    return Result(scores.protocol.name, labels, summary, cases, seconds, predict_seconds, cost)


def _defined(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None


def _open_run(store: Store, cell: Cell) -> Run:
    """The run of a cell, made when there is none; its paths are those of today."""
    path = store.run(cell.key)
    run = Run(path, cell.config)
    if not run.config_file.exists():
        run.delete()  # what is left of one whose removal was cut short
        return Run.create(path, cell.config)
    if Run.open(path).config != cell.config:  # data or benchmark were moved, or another device
        return run.write_config(cell.config)
    return run


def _is_trained(run: Run) -> bool:
    return last_event(run) == "finished"


def last_event(run: Run) -> str:
    """Kind of the newest event of a run; "" before it began."""
    events = run.events()
    return str(events[-1].get("event", "")) if events else ""


def _train(
    run: Run,
    cell: Cell,
    store: Store,
    on_progress: OnProgress,
    stop: threading.Event | None,
    lock: int,
) -> None:
    if cell.ranks > 1:
        _train_under_torchrun(run, cell, on_progress, stop, lock)
        return
    from napari_uda.training.loop import train_run

    meter = TrainingMeter()
    try:
        # the benchmark has said what is odd before its first cell
        for progress in train_run(run, stop=stop, findings="log"):
            meter.after_step(progress.step)
            if progress.step == progress.total:  # before the run is known to be finished
                write_text(store.cost_file(cell.key), json.dumps(meter.measured()) + "\n")
            on_progress("train", progress.step, progress.total)
            if progress.stopped:
                raise Cancelled
    except InputError:
        run.take_back()
        raise


def _train_under_torchrun(
    run: Run, cell: Cell, on_progress: OnProgress, stop: threading.Event | None, lock: int
) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        f"--nproc-per-node={cell.ranks}",
        *("-m", "napari_uda", "train", "--resume", str(run.path)),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        pass_fds=(lock,),  # when this process is killed, torchrun keeps the cell's lock to its end
    )
    printed = ""
    while True:
        try:
            printed = process.communicate(timeout=0.5)[1] or ""
            break
        except subprocess.TimeoutExpired:
            on_progress("train", steps_done(run), cell.config.steps)
            if stop is not None and stop.is_set():
                process.terminate()  # torchrun hands it on, and the ranks save
    if stop is not None and stop.is_set() and not _is_trained(run):
        raise Cancelled
    if process.returncode:
        ours = [line for line in printed.splitlines() if line.startswith("napari-uda: ")]
        reason = ours[0].removeprefix("napari-uda: ") if ours else f"exit code {process.returncode}"
        if ours:
            raise InputError(reason)
        raise RuntimeError(f"torchrun ended with {reason}: {printed.strip()[-300:]}")
    if not _is_trained(run):
        raise RuntimeError(
            "torchrun ended before training was finished; run the command again to go on"
        )


def steps_done(run: Run) -> int:
    """Steps that the run has logged."""
    with suppress(OSError, ValueError):
        return max((int(line["step"]) for line in run.metrics()), default=0)
    return 0


@contextmanager
def _alone(lock: Path, stop: threading.Event | None) -> Iterator[int]:
    """Hold the lock of a cell, yields its descriptor; the system gives it back when the process dies."""
    import fcntl

    with lock.open("a", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop is not None and stop.is_set():
                    raise Cancelled from None
                time.sleep(0.5)
            except OSError:  # a file system without locks
                break
        yield file.fileno()
