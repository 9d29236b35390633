"""Benchmarks that are killed, requeued and spread over processes end with the same table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_cases import (
    SETTINGS,
    events_of_runs,
    merge,
    run_tiny,
    tiny_content,
    tiny_spec,
    write_spec,
)

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.experiments import cell_process, cells, executors
from napari_uda.experiments.cells import last_event, run_cell, steps_done
from napari_uda.experiments.executors import Job, Progress, Submitit, read_parameters
from napari_uda.experiments.executors import run_elsewhere as elsewhere
from napari_uda.experiments.plan import plan
from napari_uda.experiments.store import Cell, Store, is_input_failure, read_job, write_job
from napari_uda.run.run import Run

pytestmark = pytest.mark.slow

Domains = tuple[Path, Path]
ROW = {"name": "source_only", "method": "source_only"}
LONGER = {"steps": 40, "save_every": 20, "log_every": 5}


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until a file of a child process shows something; the child has no signal to wait for."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "nothing happened for a minute"
        assert process is None or process.poll() is None, "the process has ended by itself"
        time.sleep(0.02)


def running(out: Path, cell: Cell) -> bool:
    return last_event(Run(Store(out).run(cell.key), cell.config)) in ("started", "resumed")


def steps_of(out: Path, cell: Cell) -> int:
    return steps_done(Run(Store(out).run(cell.key), cell.config))


def test_killed_benchmark_ends_with_the_same_table(
    two_domains: Domains,
    tmp_path: Path,
    held_at: Callable[[int], Path],
) -> None:
    content = tiny_content(
        two_domains,
        rows=[ROW, {"name": "tuned", "method": "source_only", "init": "source_only"}],
        settings=merge(SETTINGS, LONGER),
        steps=0,
    )
    file, out = write_spec(tmp_path / "spec.yaml", content), tmp_path / "out"
    held_at(40 + 30)  # in the second run
    command = [sys.executable, "-m", "napari_uda", "benchmark", file, "--out", out, "--no-pictures"]
    spec = tiny_spec(two_domains, tmp_path, **content)
    first, second = plan(spec, out)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: steps_of(out, second) >= 25, process)
    process.kill()
    process.wait()
    assert Store(out).result(first) is not None
    assert Store(out).result(second) is None

    again = run_tiny(spec, out)
    assert again.markdown == run_tiny(spec, tmp_path / "whole").markdown
    events = events_of_runs(out)
    assert events[first.key] == ["started", "finished"]
    assert events[second.key] == ["started", "resumed", "finished"]


class Ended:
    """A job that is over."""

    def done(self) -> bool:
        return True

    def stop(self) -> None: ...


class Inline:
    """A backend that runs a cell while it is started, and notes the order."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def start(self, file: Path, log: Path) -> Job:
        store, cell = read_job(file)
        self.order.append(cell.row)
        with suppress(InputError):
            run_cell(store, cell)
        return Ended()


def test_jobs_come_after_those_they_start_from(two_domains: Domains, tmp_path: Path) -> None:
    odd = {"name": "odd", "method": "source_only", "settings": {"data": {"size": 33}}}
    rows = [
        {"name": "after odd", "method": "source_only", "init": "odd"},
        {"name": "tuned", "method": "source_only", "init": "source_only"},
        odd,
        ROW,
    ]
    spec = tiny_spec(two_domains, tmp_path, rows=rows)
    store, backend, seen = Store(tmp_path / "out"), Inline(), list[Progress]()
    cells = plan(spec, store.out)
    elsewhere(store, cells, backend, jobs=9, on_progress=seen.append, wait_seconds=0)
    assert backend.order == ["odd", "source_only", "tuned"]
    reasons = {cell.row: store.reason(cell.key) for cell in cells}
    assert "33" in reasons["odd"]
    assert "has failed" in reasons["after odd"]
    assert reasons["tuned"] == reasons["source_only"] == ""
    assert seen[-1] == Progress(4, 4)
    assert run_tiny(spec, store.out).markdown == run_tiny(spec, tmp_path / "here").markdown


def test_stopped_processes_save_and_go_on(
    two_domains: Domains, tmp_path: Path, held_at: Callable[[int], Path]
) -> None:
    settings = merge(SETTINGS, {**LONGER, "save_every": 1000})
    spec = tiny_spec(two_domains, tmp_path, rows=[ROW], settings=settings, steps=0)
    out, stop = tmp_path / "out", threading.Event()
    (cell,) = plan(spec, out)
    held_at(30)

    def stop_early(progress: Progress) -> None:
        if progress.done >= 5:
            stop.set()

    with pytest.raises(Cancelled):
        run_tiny(spec, out, jobs=2, on_progress=stop_early, stop=stop)
    assert events_of_runs(out)[cell.key] == ["started", "stopped"]
    assert run_tiny(spec, out).failed == {}  # whoever goes on
    assert events_of_runs(out)[cell.key] == ["started", "stopped", "resumed", "finished"]


def test_cell_whose_process_dies_is_started_again_and_then_given_up(
    two_domains: Domains, tmp_path: Path
) -> None:
    starts = 0

    class Dying:
        def start(self, file: Path, log: Path) -> Job:
            nonlocal starts
            starts += 1
            return Ended()

    store = Store(tmp_path / "out")
    (cell,) = plan(tiny_spec(two_domains, tmp_path, rows=[ROW]), store.out)
    elsewhere(store, [cell], Dying(), jobs=1, on_progress=lambda _: None, wait_seconds=0)
    assert starts == 3
    assert "ended 3 times" in store.reason(cell.key)


class Watched(Submitit):
    """Submitit whose jobs a test can find."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.controllers: list[int] = []

    def start(self, file: Path, log: Path) -> Job:
        job = super().start(file, log)
        self.controllers.append(int(job.job.job_id))  # type: ignore[attr-defined]
        return job


def child_of(process: int) -> int:
    """The one child of a process."""
    return int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])


def test_preempted_and_killed_cell_is_requeued(
    two_domains: Domains, tmp_path: Path, held_at: Callable[[int], Path]
) -> None:
    """Through submitit: a preemption saves and queues again, a kill starts from the last checkpoint."""
    settings = merge(SETTINGS, {**LONGER, "steps": 60})
    spec = tiny_spec(two_domains, tmp_path, rows=[ROW], settings=settings, steps=0)
    store = Store(tmp_path / "out")
    (cell,) = plan(spec, store.out)
    backend = Watched(store.out / "jobs", "local", {"timeout_min": 5})
    harm = [(20, signal.SIGUSR2), (40, signal.SIGKILL)]
    held = held_at(25)  # steps of each process

    def disturb(progress: Progress) -> None:
        if harm and steps_of(store.out, cell) >= harm[0][0] and running(store.out, cell):
            task = child_of(backend.controllers[0])
            _, number = harm.pop(0)
            if not harm:
                held.unlink()  # the last process is left in peace
            os.kill(task if number == signal.SIGUSR2 else child_of(task), number)

    elsewhere(store, [cell], backend, jobs=1, on_progress=disturb, wait_seconds=0.1)
    assert not harm
    assert len(backend.controllers) == 2  # submitit queued it again, then the benchmark did
    assert store.result(cell) is not None
    happened = events_of_runs(store.out)[cell.key]
    assert happened == ["started", "stopped", "resumed", "resumed", "finished"]


def test_gpus_are_passed_on_to_jobs(tmp_path: Path) -> None:
    """Without `gpus_per_node` submitit hides every GPU from jobs on this machine."""
    backend = Submitit(tmp_path, "local", {"gpus_per_node": 1, "timeout_min": 5})
    assert backend._needs_gpu
    job = backend._executor.submit(os.getenv, "CUDA_VISIBLE_DEVICES")
    assert job.result() == "0"


@pytest.mark.parametrize(
    ("parameters", "asks"),
    [
        ({"gpus_per_node": 1}, True),
        ({"slurm_gpus_per_task": 1}, True),
        ({"slurm_gres": "gpu:a100:1"}, True),
        ({"gpus_per_node": 0}, False),
        ({"slurm_partition": "gpu", "slurm_gres": "tmp:10G"}, False),
        ({}, False),
    ],
)
def test_what_asks_for_a_gpu(parameters: dict[str, Any], asks: bool) -> None:
    assert executors._asks_for_gpu(parameters) is asks
    task = executors.CellTask("job.json", "log", needs_gpu=asks)
    command = executors.cell_command(Path(task.file), needs_gpu=task.needs_gpu)
    assert (command[-1] == cell_process.NEEDS_GPU) is asks


@pytest.mark.parametrize(
    ("device", "options", "fails"),
    [("auto", ["--needs-gpu"], 1), ("cuda", [], 1), ("cpu", ["--needs-gpu"], 0), ("auto", [], 0)],
)
def test_cell_that_asked_for_a_gpu_and_sees_none(
    two_domains: Domains,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    options: list[str],
    fails: int,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    trained: list[str] = []
    monkeypatch.setattr(cells, "run_cell", lambda store, cell, stop: trained.append(cell.key))
    store = Store(tmp_path / "out")
    (cell,) = plan(tiny_spec(two_domains, tmp_path, rows=[ROW], device=device), store.out)
    assert cell_process.main(str(write_job(store, cell)), *options) == fails
    assert trained == ([] if fails else [cell.key])
    said = "the cell asked for a GPU and PyTorch sees none" if fails else ""
    assert store.reason(cell.key).startswith(said)
    assert is_input_failure(store, cell.key) is bool(fails)


def test_cell_under_torchrun(two_domains: Domains, tmp_path: Path) -> None:
    spec = tiny_spec(two_domains, tmp_path, rows=[ROW])
    outcome = run_tiny(spec, tmp_path / "out", ranks=2)
    assert outcome.failed == {}
    assert "2 processes per run" in outcome.markdown
    (one,) = plan(spec, tmp_path / "out")
    (two,) = plan(spec, tmp_path / "out", ranks=2)
    assert one.key != two.key  # another batch size in all
    assert list(events_of_runs(tmp_path / "out")) == [two.key]


def test_parameters_of_jobs() -> None:
    given = ["timeout_min=60", "slurm_partition=gpu", "slurm_exclusive=true"]
    expected = {"timeout_min": 60, "slurm_partition": "gpu", "slurm_exclusive": True}
    assert read_parameters(given) == expected
    with pytest.raises(InputError, match="NAME=VALUE"):
        read_parameters(["gpu"])


def test_what_cannot_be_used_is_said(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec(two_domains, tmp_path)
    with pytest.raises(InputError, match="--slurm has no meaning for --executor local"):
        run_tiny(spec, tmp_path / "out", cluster={"timeout_min": 1})
    with pytest.raises(InputError, match="--jobs is -1"):
        run_tiny(spec, tmp_path / "out", jobs=-1)
    with pytest.raises(InputError, match="--ranks is 0"):
        run_tiny(spec, tmp_path / "out", ranks=0)
    with pytest.raises(InputError, match="--slurm"):
        run_tiny(spec, tmp_path / "out", executor="submitit_local", cluster={"nonsense": 1})
    monkeypatch.setenv("PATH", str(tmp_path))  # no sbatch, no srun
    with pytest.raises(InputError, match="cluster"):
        run_tiny(spec, tmp_path / "out", executor="slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"napari_uda\[cluster\]"):
        run_tiny(spec, tmp_path / "out", executor="slurm")
    assert not (tmp_path / "out" / "runs").exists()


def test_all_jobs_go_to_a_cluster_at_once() -> None:
    assert executors.most_at_once("local", 0) == 1
    assert executors.most_at_once("slurm", 0) > 1000
    assert executors.most_at_once("slurm", 4) == 4
