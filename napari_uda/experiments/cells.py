"""Cells: one run per row, data set and seed, in a folder named by the hash of what its numbers depend on.

The hash covers the resolved settings, the content of the data, the runs it starts from and the volumes
to segment. It leaves out where files lie, the device and how often is logged, so that a benchmark that
was moved or interrupted finds its cells again. The protocol and the labels to score on are not in it
either: when they change, the predictions that are there are scored again, and nothing is trained.
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from napari_uda import api
from napari_uda.core.config import merged
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.folder import Case, DataFolder
from napari_uda.evaluation.protocols import METRICS
from napari_uda.experiments.spec import DataSet, Row, Spec
from napari_uda.run.run import Run, dump_config, parse_config, with_absolute_paths, write_text

if TYPE_CHECKING:
    import threading

    from napari_uda.evaluation.scores import Scores
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.run.config import RunConfig

_NOT_IDENTITY = (
    "device", "save_every", "log_every", "preview_every", "data.cache_gib",
)  # fmt: skip
_HASH_LETTERS = 16


@dataclass(frozen=True)
class Cell:
    """One number of the table before it is known.

    Attributes:
        row: name of the row.
        data: name of the data set.
        seed: seed of the run.
        key: hash that names the run folder; cells of equal key are one run.
        config: settings of the run, with absolute paths.
        score: data folder to score on.
        protocol: name of the protocol.
        reliability: whether prediction votes on reliability.
        ranks: processes that train together.
        start: key of the cell whose run this one starts from; "" when it starts anew.
    """

    row: str
    data: str
    seed: int
    key: str
    config: RunConfig
    score: Path
    protocol: str
    reliability: bool = False
    ranks: int = 1
    start: str = ""

    @property
    def title(self) -> str:
        """The cell in words."""
        return f"{self.row}, {self.data}, seed {self.seed}"


@dataclass(frozen=True)
class Result:
    """Scores of one finished cell.

    Attributes:
        protocol: name of the protocol.
        labels: fingerprint of the labels that it was scored on.
        summary: mean of every column by structure, in order of label values: `{"MYO": {"dice": 0.8}}`;
            `n_missing` among them counts the volumes in which the structure was missed.
        cases: one mapping per volume and structure: `case`, `name`, `state` and the score columns; an
            undefined number is None.
        seconds: training time.
        predict_seconds: time to segment the volumes that were not yet segmented.
    """

    protocol: str
    labels: str
    summary: dict[str, dict[str, float | None]]
    cases: list[dict[str, Any]]
    seconds: float = 0.0
    predict_seconds: float = 0.0


@dataclass(frozen=True)
class Store:
    """The files of a benchmark folder by the key of a cell."""

    out: Path

    def run(self, key: str) -> Path:
        """Run folder."""
        return self.out / "runs" / key

    def job(self, key: str) -> Path:
        """What another process needs to run the cell."""
        return self.out / "cells" / f"{key}.json"

    def log(self, key: str) -> Path:
        """What the cell's process printed, when it had one of its own."""
        return self.out / "cells" / f"{key}.log"

    def lock(self, key: str) -> Path:
        """Held by the process that works on the cell."""
        return self.out / "cells" / f"{key}.lock"

    def failure(self, key: str) -> Path:
        """Why the cell failed, until it succeeds."""
        return self.out / "cells" / f"{key}.failed.json"

    def result_file(self, key: str) -> Path:
        """Scores of the cell."""
        return self.out / "results" / f"{key}.json"

    def result(self, cell: Cell) -> Result | None:
        """The scores, when the cell is finished: same protocol, same labels."""
        found = read_result(self.result_file(cell.key))
        if found is None or found.protocol != cell.protocol:
            return None
        return found if found.labels == labels_fingerprint(cell.score) else None

    def reason(self, key: str) -> str:
        """Why the cell failed; "" when it did not."""
        try:
            return str(json.loads(self.failure(key).read_text(encoding="utf-8"))["reason"])
        except (OSError, ValueError, KeyError):
            return ""


OnProgress = Callable[[str, int, int], None]
"""Called with what is done ("train", "predict", "score"), steps or volumes done, and all of them."""


# --- the plan -------------------------------------------------------------------------------------


def plan(spec: Spec, out: Path, *, ranks: int = 1) -> list[Cell]:
    """Every cell of a spec, each after those it starts from.

    Args:
        spec: the benchmark, with absolute folders.
        out: folder of the benchmark.
        ranks: processes that train one cell together (`torchrun`).

    Raises:
        InputError: for settings or folders that cannot be used; nothing has been trained then.
    """
    store = Store(out.absolute())
    for data in spec.data:
        _check_data(data, spec.structures)
    _check_pictures(spec)
    known: dict[tuple[str, str, int], Cell] = {}
    for row in spec.in_order():
        for data in spec.data:
            if row.data and data.name not in row.data:
                continue
            for seed in spec.seeds_of(row):
                start = _start(row, data, seed, known)
                cell = _cell(spec, row, data, seed, start, store, ranks)
                known[row.name, data.name, seed] = cell
    return list(known.values())


def _check_data(data: DataSet, structures: tuple[str, ...]) -> None:
    assert data.score is not None
    for folder in (data.source, data.target):
        DataFolder.open(folder)
    scored_cases(data.score)
    names = data.names().values()
    unknown = [name for name in structures if names and name not in names]
    if unknown:
        raise InputError(
            f"structure {unknown[0]!r} is not labelled in {data.score}; choose among {', '.join(names)}"
        )


def _check_pictures(spec: Spec) -> None:
    scored = {case.name for data in spec.data if data.score for case in scored_cases(data.score)}
    unknown = [name for name in spec.pictures.cases if name not in scored]
    if unknown:
        raise InputError(
            f"pictures: case {unknown[0]!r} is not scored; choose among {', '.join(sorted(scored))}"
        )


def _start(
    row: Row, data: DataSet, seed: int, known: Mapping[tuple[str, str, int], Cell]
) -> Cell | None:
    """The cell whose run this row starts from."""
    if not row.init:
        return None
    cell = known.get((row.init, data.name, seed))
    if cell is None:
        raise InputError(
            f"row {row.name!r} starts from {row.init!r}, which has no seed {seed} on {data.name!r}; "
            "give that row the same seeds and data"
        )
    return cell


def _cell(
    spec: Spec,
    row: Row,
    data: DataSet,
    seed: int,
    start: Cell | None,
    store: Store,
    ranks: int,
) -> Cell:
    assert data.score is not None
    config = cell_config(spec, row, data, seed, None if start is None else store.run(start.key))
    folders, target_labels = config.data, "target_labels" in _needs(config)
    fingerprints = {
        "data.source": data_fingerprint(folders.source, True) if folders.source else "",
        "data.target": data_fingerprint(data.target, target_labels),
        **({"init": start.key} if start is not None else {}),
    }
    identity = {
        "settings": _identity(config.model_dump(), fingerprints),
        "segmented": data_fingerprint(data.score, False),
        "reliability": spec.reliability,
        **({"ranks": ranks} if ranks > 1 else {}),
    }
    key = _digest(json.dumps(identity, sort_keys=True, default=str).encode())
    return Cell(
        row=row.name,
        data=data.name,
        seed=seed,
        key=key,
        config=config,
        score=data.score,
        protocol=spec.protocol,
        reliability=spec.reliability,
        ranks=ranks,
        start=start.key if start is not None else "",
    )


def cell_config(
    spec: Spec, row: Row, data: DataSet, seed: int, start: Path | None = None
) -> RunConfig:
    """Settings of one run: recipes of the spec, the row and the data, then their settings.

    Args:
        spec: the benchmark.
        row: one of its rows.
        data: one of its data sets; a method that needs no source is not told where it lies.
        seed: the run's seed.
        start: run folder to start from.

    Raises:
        InputError: naming the row and what cannot be used.
    """
    recipe = ",".join(part for part in (spec.recipe, row.recipe, data.recipe) if part) or None
    settings: dict[str, Any] = {"seed": seed, "device": spec.device}
    if spec.steps:
        settings["steps"] = spec.steps
    for layer in (spec.settings, data.settings, row.settings):
        settings = merged(settings, layer)
    if start is not None:
        settings["init"] = str(start)
    try:
        needs = _needs(api.build_config(row.method, recipe=recipe, **settings))
        folders = {"target": str(data.target)}
        if "source" in needs:
            folders["source"] = str(data.source)
        settings = merged(settings, {"data": folders})
        return with_absolute_paths(api.build_config(row.method, recipe=recipe, **settings))
    except InputError as error:
        raise InputError(f"row {row.name!r}: {error}") from error


def _needs(config: RunConfig) -> frozenset[str]:
    from napari_uda.methods.base import method_class

    return method_class(config.method.name).needs


def _identity(tree: Mapping[str, Any], fingerprints: Mapping[str, str], at: str = "") -> Any:
    """The settings with paths replaced by what they lead to, without what changes no number."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        where = f"{at}{name}"
        if where in _NOT_IDENTITY:
            continue
        if where in fingerprints:
            found[name] = fingerprints[where]
        elif isinstance(value, Mapping):
            found[name] = _identity(value, fingerprints, f"{where}.")
        else:
            found[name] = content_hash(value) if isinstance(value, Path) else value
    return found


# --- what data are the same -----------------------------------------------------------------------


def scored_cases(folder: Path) -> list[Case]:
    """The labelled cases of a data folder.

    Raises:
        InputError: if there is none.
    """
    cases = [case for case in DataFolder.open(folder).cases if case.label is not None]
    if not cases:
        raise InputError(f"{folder} has no labels to score on; add labels/ or name another folder")
    return cases


def data_fingerprint(folder: Path, labels: bool) -> str:
    """Hash of names and content of a data folder's images, and of its labels when asked for."""
    opened = DataFolder.open(folder)
    parts = [f"{opened.modality}"]
    if labels:
        parts.append(json.dumps(opened.labels))
    for case in opened.cases:
        parts.append(f"{case.name}:{content_hash(case.image)}")
        if labels and case.label is not None:
            parts.append(content_hash(case.label))
    return _digest("\n".join(parts).encode())


def labels_fingerprint(folder: Path) -> str:
    """Hash of the labels that are scored on, and of their names."""
    parts = [json.dumps(DataFolder.open(folder).labels)]
    for case in scored_cases(folder):
        assert case.label is not None
        parts.append(f"{case.name}:{content_hash(case.label)}")
    return _digest("\n".join(parts).encode())


def split_fingerprint(data: DataSet) -> str:
    """Hash of which cases train and which are scored, by content: the split of a table's caption."""
    assert data.score is not None
    parts = [
        data_fingerprint(data.source, True),
        data_fingerprint(data.target, False),
        data_fingerprint(data.score, False),
        labels_fingerprint(data.score),
    ]
    return _digest("\n".join(parts).encode())[:8]


_CONTENT: dict[tuple[str, int, int], str] = {}
"""Hashes of files by path, size and time of change: a benchmark asks for the same ones again and again."""


def content_hash(path: Path) -> str:
    """Hash of a file, or of all files of a folder with their names."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        named = [f"{file.relative_to(path).as_posix()}:{content_hash(file)}" for file in files]
        return _digest("\n".join(named).encode())
    try:
        status = path.stat()
        known = (str(path), status.st_size, status.st_mtime_ns)
        if known not in _CONTENT:
            with path.open("rb") as file:
                _CONTENT[known] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    return _CONTENT[known]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_HASH_LETTERS]


# --- running a cell -------------------------------------------------------------------------------


def write_job(store: Store, cell: Cell) -> Path:
    """Write what another process needs to run the cell."""
    content = {**asdict(cell), "config": dump_config(cell.config), "score": str(cell.score)}
    write_text(store.job(cell.key), json.dumps(content, indent=2) + "\n")
    return store.job(cell.key)


def read_job(file: Path) -> tuple[Store, Cell]:
    """The cell of a job file, and the folder it belongs to."""
    from napari_uda.run.config import RunConfig

    content = json.loads(file.read_text(encoding="utf-8"))
    content["config"] = parse_config(yaml.safe_load(content["config"]), RunConfig, str(file))
    content["score"] = Path(content["score"])
    return Store(file.absolute().parent.parent), Cell(**content)


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


def note_failure(store: Store, key: str, error: Exception | str) -> None:
    """Write down why a cell failed, in one line."""
    text = str(error) or type(error).__name__
    if isinstance(error, Exception) and not isinstance(error, InputError):
        text = f"{type(error).__name__}: {text}"
    content = {"reason": " ".join(text.split()), "input": isinstance(error, InputError)}
    with suppress(InputError):  # on a full disk the caller still says it
        write_text(store.failure(key), json.dumps(content) + "\n")


def is_input_failure(store: Store, key: str) -> bool:
    """Whether a cell failed because of what it was given, not because of the program."""
    try:
        return bool(json.loads(store.failure(key).read_text(encoding="utf-8"))["input"])
    except (OSError, ValueError, KeyError):
        return False


def _run_cell(
    store: Store,
    cell: Cell,
    on_progress: OnProgress,
    stop: threading.Event | None,
    lock: int,
) -> None:
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.predict import predict

    run = _open_run(store, cell)
    if not _is_trained(run):
        _train(run, cell, on_progress, stop, lock)
    cases, began = scored_cases(cell.score), time.monotonic()
    load = functools.cache(functools.partial(LoadedRun.load, run, cell.config.device))
    for done, case in enumerate(cases):
        on_progress("predict", done, len(cases))
        if not (run.predictions / f"{case.name}_reliability.nii.gz").exists():
            # the last one of the three that `save` puts in place
            found = predict(load(), case.image, reliability=cell.reliability, stop=stop)
            found.save(run.predictions)
    if hasattr(run.config.method, "translator"):
        _translate(load, cases, translations(run.path), stop)
    spent = time.monotonic() - began
    score(
        store,
        cell.key,
        run.predictions,
        cell.score,
        cell.protocol,
        out=run.path,
        seconds=run.seconds(),
        predict_seconds=spent,
        on_progress=on_progress,
    )


def _translate(
    load: Callable[[], LoadedRun], cases: Sequence[Case], out: Path, stop: threading.Event | None
) -> None:
    """Keep what the generators make of the scored volumes, for the pictures."""
    from napari_uda.inference.translate import translate

    for case in cases:
        if not (out / f"{case.name}_cycle.nii.gz").exists():
            translate(load(), case.image, stop=stop).save(out)


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
    on_progress: OnProgress = lambda *_: None,
) -> Result:
    """Score predictions and write the result of a cell, `scores.*` into `out` as well."""
    from napari_uda.evaluation.report import evaluate_folders

    cases = scored_cases(folder)
    assert cases[0].label is not None
    scores = evaluate_folders(
        predictions,
        cases[0].label.parent,
        protocol=protocol,
        on_progress=lambda done, total: on_progress("score", done, total),
    )
    scores.write(out)
    result = _as_result(scores, labels_fingerprint(folder), seconds, predict_seconds)
    write_text(store.result_file(key), json.dumps(asdict(result), indent=1, allow_nan=False) + "\n")
    return result


def _as_result(scores: Scores, labels: str, seconds: float, predict_seconds: float) -> Result:
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
    return Result(scores.protocol.name, labels, summary, cases, seconds, predict_seconds)


def _defined(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None


def read_result(file: Path) -> Result | None:
    """A result file; None when there is none or another version wrote it."""
    try:
        return Result(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _open_run(store: Store, cell: Cell) -> Run:
    """The run of a cell, made when there is none; its paths are those of today."""
    path = store.run(cell.key)
    run = Run(path, cell.config)
    if not run.config_file.exists():
        run.delete()  # what is left of one whose removal was cut short
        return Run.create(path, cell.config)
    if Run.open(path).config != cell.config:  # data or benchmark were moved, or another device
        write_text(run.config_file, dump_config(cell.config))
    return run


def _is_trained(run: Run) -> bool:
    return last_event(run) == "finished"


def last_event(run: Run) -> str:
    """Kind of the newest event of a run; "" before it began."""
    events = run.events()
    return str(events[-1].get("event", "")) if events else ""


def _train(
    run: Run, cell: Cell, on_progress: OnProgress, stop: threading.Event | None, lock: int
) -> None:
    if cell.ranks > 1:
        _train_under_torchrun(run, cell, on_progress, stop, lock)
        return
    try:
        for progress in api.iterate(run, stop=stop):
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
    said = ""
    while True:
        try:
            said = process.communicate(timeout=0.5)[1] or ""
            break
        except subprocess.TimeoutExpired:
            on_progress("train", steps_done(run), cell.config.steps)
            if stop is not None and stop.is_set():
                process.terminate()  # torchrun hands it on, and the ranks save
    if stop is not None and stop.is_set() and not _is_trained(run):
        raise Cancelled
    if process.returncode:
        ours = [line for line in said.splitlines() if line.startswith("napari-uda: ")]
        reason = ours[0].removeprefix("napari-uda: ") if ours else f"exit code {process.returncode}"
        if ours:
            raise InputError(reason)
        raise RuntimeError(f"torchrun ended with {reason}: {said.strip()[-300:]}")
    if not _is_trained(run):
        raise RuntimeError("torchrun ended before training was finished")


def steps_done(run: Run) -> int:
    """Steps that the run has logged."""
    with suppress(OSError, ValueError):
        return max((int(line["step"]) for line in run.metrics()), default=0)
    return 0


@contextmanager
def _alone(lock: Path, stop: threading.Event | None) -> Iterator[int]:
    """Hold the lock of a cell, yields its descriptor; the system gives it back when the process dies."""
    import fcntl

    with lock.open("a") as file:
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


__all__ = ["Cell", "Result", "Store", "plan", "run_cell"]
