"""Where cells run: in this process, in processes of this machine, or as jobs of a SLURM cluster.

All of them call `run_cell` in the end and speak through the files of the benchmark's folder, so one may
be interrupted and another go on.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.small_files import parse_yaml
from napari_uda.experiments.cell_process import NEEDS_GPU
from napari_uda.experiments.cells import run_cell, steps_done
from napari_uda.experiments.store import Cell, Store, note_failure, write_job
from napari_uda.run.run import Run

if TYPE_CHECKING:
    import threading

ExecutorName = Literal["local", "slurm", "submitit_local"]

_STARTS = 3
"""Times a cell is started whose process ends and leaves no reason (memory, preemption, a lost node)."""
_MOST_JOBS = 10_000
_LAST_SECONDS = 120.0  # for a job to save and end


@dataclass(frozen=True)
class Progress:
    """State of a benchmark.

    Attributes:
        finished: cells that need no more work, failed ones among them.
        total: all cells.
        title: cells at work in words; "" when one has just ended.
        phase: train, predict or score.
        done: steps or volumes done of the cells at work.
        of: all their steps or volumes.
    """

    finished: int
    total: int
    title: str = ""
    phase: str = ""
    done: int = 0
    of: int = 0


OnProgress = Callable[[Progress], None]


class Job(Protocol):
    """A cell at work elsewhere."""

    def done(self) -> bool:
        """Whether it has ended, in whatever way."""

    def stop(self) -> None:
        """Ask it to save and end."""


class Backend(Protocol):
    """What starts jobs."""

    def start(self, file: Path, log: Path) -> Job:
        """Start the cell of a job file."""


def run_here(
    store: Store,
    cells: Iterable[Cell],
    *,
    on_progress: OnProgress,
    stop: threading.Event | None = None,
) -> None:
    """Run cells one after another in this process; those that failed are noted and the rest goes on.

    Raises:
        Cancelled: when `stop` was set; the run is saved.
    """
    cells = unique(cells)
    for index, cell in enumerate(cells):
        if store.result(cell) is not None:
            continue
        if not _blocked(store, cell):

            def inside(
                phase: str, done: int, of: int, cell: Cell = cell, index: int = index
            ) -> None:
                on_progress(Progress(index, len(cells), cell.title, phase, done, of))

            try:
                run_cell(store, cell, on_progress=inside, stop=stop)
            except Cancelled:
                raise
            except Exception:  # noqa: BLE001 - noted by run_cell, named in the table
                pass
        on_progress(Progress(index + 1, len(cells)))
        if stop is not None and stop.is_set() and index + 1 < len(cells):
            raise Cancelled
    on_progress(Progress(len(cells), len(cells)))


def run_elsewhere(
    store: Store,
    cells: Iterable[Cell],
    backend: Backend,
    *,
    jobs: int,
    on_progress: OnProgress,
    stop: threading.Event | None = None,
    wait_seconds: float = 0.5,
) -> None:
    """Run cells as jobs, `jobs` at once, each as soon as those that it starts from are finished.

    Raises:
        Cancelled: when `stop` was set; the jobs were asked to save and have ended.
    """
    cells = unique(cells)
    waiting = [cell for cell in cells if store.result(cell) is None]
    running: dict[str, tuple[Cell, Job]] = {}
    starts: dict[str, int] = {}
    try:
        while waiting or running:
            if stop is not None and stop.is_set():
                raise Cancelled
            at_work = {*running, *(cell.key for cell in waiting)}
            for cell in list(waiting):
                if len(running) >= jobs or cell.start in at_work:
                    continue
                waiting.remove(cell)
                if _blocked(store, cell):
                    continue
                store.failure(cell.key).unlink(missing_ok=True)
                starts[cell.key] = starts.get(cell.key, 0) + 1
                job = backend.start(write_job(store, cell), store.log(cell.key))
                running[cell.key] = cell, job
            for key, (cell, job) in list(running.items()):
                if job.done():
                    del running[key]
                    if store.result(cell) is None and not store.reason(key):
                        if starts[key] < _STARTS:
                            waiting.insert(0, cell)
                        else:
                            note_failure(store, key, _without_reason(store, key))
            finished = len(cells) - len(waiting) - len(running)
            on_progress(
                _together(store, [cell for cell, _ in running.values()], finished, len(cells))
            )
            if running:
                time.sleep(wait_seconds)
    finally:
        for _, job in running.values():
            job.stop()
        for _, job in running.values():
            _wait(job)


def unique(cells: Iterable[Cell]) -> list[Cell]:
    """Cells of different keys: equal settings are one run."""
    found: dict[str, Cell] = {}
    for cell in cells:
        found.setdefault(cell.key, cell)
    return list(found.values())


def _blocked(store: Store, cell: Cell) -> bool:
    """Whether the cell that this one starts from has failed; noted as a failure of this one."""
    failed = bool(cell.start) and not store.result_file(cell.start).exists()
    if failed:
        reason = f"the run it starts from ({cell.start}) has failed; correct that row first"
        note_failure(store, cell.key, InputError(reason))
    return failed


def _without_reason(store: Store, key: str) -> str:
    return f"its process ended {_STARTS} times without saying why; read {store.log(key).name} in the folder cells"


def _together(store: Store, running: list[Cell], finished: int, total: int) -> Progress:
    done = sum(steps_done(Run(store.run(cell.key), cell.config)) for cell in running)
    steps = sum(cell.config.steps for cell in running)
    titles = "; ".join(cell.title for cell in running)
    return Progress(finished, total, titles, "train" if running else "", done, steps)


def _wait(job: Job) -> None:
    began = time.monotonic()
    while not job.done() and time.monotonic() - began < _LAST_SECONDS:
        time.sleep(0.1)


# --- processes of this machine --------------------------------------------------------------------


def cell_command(file: Path, *, needs_gpu: bool = False) -> list[str]:
    """The command line that runs the cell of a job file; with `needs_gpu` it fails where there is none."""
    command = [sys.executable, "-P", "-m", "napari_uda.experiments.cell_process", str(file)]
    return [*command, NEEDS_GPU] if needs_gpu else command


@dataclass(frozen=True, eq=False)
class _ProcessJob:
    process: subprocess.Popen[bytes]

    def done(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        self.process.terminate()


class Processes:
    """Cells as processes of this machine: one that dies takes no other with it."""

    def start(self, file: Path, log: Path) -> Job:
        """Start the cell of a job file; what it prints goes to `log`."""
        with log.open("ab") as out:
            return _ProcessJob(
                subprocess.Popen(cell_command(file), stdout=out, stderr=out, start_new_session=True)
            )


# --- a cluster ------------------------------------------------------------------------------------


class CellTask:
    """What submitit runs: the cell as a child process, which saves when the job is about to end.

    submitit carries this object to the job by its own means (cloudpickle); it holds two paths and whether
    a GPU was asked for, and all else is read from the benchmark's folder.
    """

    def __init__(self, file: str, log: str, *, needs_gpu: bool = False) -> None:
        self.file, self.log, self.needs_gpu = file, log, needs_gpu
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        command = cell_command(Path(self.file), needs_gpu=self.needs_gpu)
        with Path(self.log).open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            while (
                self._process.poll() is None
            ):  # `wait` would hold the lock that `checkpoint` needs
                time.sleep(0.2)
            return self._process.returncode
        except KeyboardInterrupt:  # the job is cancelled
            self._process.terminate()
            raise

    def checkpoint(self) -> Any:
        """Called by submitit before preemption or timeout: save the run, then queue the cell again."""
        import submitit

        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=60)
            except subprocess.TimeoutExpired:  # goes on from the last checkpoint instead
                self._process.kill()
        return submitit.helpers.DelayedSubmission(
            CellTask(self.file, self.log, needs_gpu=self.needs_gpu)
        )


@dataclass(frozen=True, eq=False)
class _ClusterJob:
    job: Any

    def done(self) -> bool:
        return bool(self.job.done())

    def stop(self) -> None:
        self.job.cancel(check=False)


class Submitit:
    """Cells as jobs through submitit: of a SLURM cluster, or of this machine to try the same path."""

    def __init__(
        self, folder: Path, cluster: Literal["slurm", "local"], parameters: Mapping[str, Any]
    ) -> None:
        """Prepare the executor.

        Args:
            folder: where submitit keeps its files; seen by all nodes.
            cluster: slurm, or local for processes of this machine.
            parameters: submitit's, such as `timeout_min`, `gpus_per_node`, `slurm_partition`.

        Raises:
            InputError: without submitit or SLURM, or for a parameter that submitit does not know.
        """
        try:
            import submitit
        except ImportError as error:
            raise InputError(
                "running on a cluster needs submitit; install napari_uda[cluster]"
            ) from error
        given = {"timeout_min": 24 * 60, "name": "napari_uda", **parameters}
        self._needs_gpu = _asks_for_gpu(parameters)
        try:
            self._executor = submitit.AutoExecutor(folder=str(folder), cluster=cluster)
            self._executor.update_parameters(**given)
        except RuntimeError as error:
            raise InputError(
                f"the cluster cannot be used ({error}); run it on a machine that has sbatch, or choose --executor local"
            ) from error
        except (NameError, TypeError, ValueError) as error:
            raise InputError(f"--slurm: {' '.join(str(error).split())}; correct it") from error

    def start(self, file: Path, log: Path) -> Job:
        """Submit the cell of a job file."""
        task = CellTask(str(file), str(log), needs_gpu=self._needs_gpu)
        return _ClusterJob(self._executor.submit(task))


def _asks_for_gpu(parameters: Mapping[str, Any]) -> bool:
    """Whether jobs with these parameters are given a GPU: by number, or as a resource such as `gpu:1`."""
    counted = any("gpus_per" in name and bool(value) for name, value in parameters.items())
    return counted or "gpu" in str(parameters.get("slurm_gres", ""))


def choose_backend(
    name: ExecutorName, jobs: int, folder: Path, parameters: Mapping[str, Any]
) -> Backend | None:
    """The backend of a name; None is this process.

    Raises:
        InputError: when it cannot be used here.
    """
    if name == "local":
        if parameters:
            raise InputError(
                "--slurm has no meaning for --executor local; leave it out, or choose --executor slurm"
            )
        return Processes() if jobs > 1 else None
    return Submitit(folder, "slurm" if name == "slurm" else "local", parameters)


def read_parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """Parameters of jobs from `NAME=VALUE` texts; a value is read as YAML, so 60 is a number.

    Raises:
        InputError: for a text that is none.
    """
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise InputError(f"--slurm {pair!r} is not a parameter; write NAME=VALUE")
        try:
            found[name] = parse_yaml(value, "the value")
        except InputError as error:
            raise InputError(
                f"--slurm {pair!r} has a value that cannot be read; correct it"
            ) from error
    return found


def most_at_once(name: ExecutorName, jobs: int) -> int:
    """Jobs at once: as asked, or all of them where a cluster keeps the queue."""
    return jobs if jobs > 0 else (1 if name == "local" else _MOST_JOBS)


__all__ = ["Backend", "Job", "Processes", "Progress", "Submitit", "run_elsewhere", "run_here"]
