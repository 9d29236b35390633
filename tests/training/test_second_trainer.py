"""A run that somebody else trains: on another machine, in another container, at the same moment."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_cases import events, small_config

from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.core.processes import process_start, this_machine
from napari_uda.run.folder import RunFolder
from napari_uda.run.run import Run
from napari_uda.run.status import (
    Beat,
    RunState,
    read_beat,
    run_status,
)
from napari_uda.training import heartbeat as heartbeat_module
from napari_uda.training.heartbeat import Heartbeat

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
posix = pytest.mark.skipif(os.name != "posix", reason="asks for processes")


@pytest.fixture
def other_process() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


def beaten(folder: Path, *, age: float = 0.0, written: float = 0.0, **changes: Any) -> RunFolder:
    """A folder with a heartbeat that says it is `age` seconds old and was written `written` seconds ago."""
    run = RunFolder(folder)
    content = {
        "count": 3, "time": time.time() - age, "pid": 4711, "host": "elsewhere", "step": 5,
        "device": "cpu", "memory_mib": 1.0, "gpu_memory_mib": 0.0, "gpu_total_mib": 0.0,
        "machine": "elsewhere boot pid:[1]", "started": 77.0,
    }  # fmt: skip
    run.write_beat({**content, **changes})
    moment = time.time() - written
    os.utime(run.heartbeat_file, (moment, moment))
    return run


def test_a_run_of_another_host_is_refused_while_its_heartbeat_is_young(
    two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", small_config("source_only", *two_domains, steps=2))
    beaten(run.path, age=30, written=30)
    with pytest.raises(InputError) as caught:
        next(iterate(run))
    said = str(caught.value)
    assert said.startswith(f"{run.path} is being trained by process 4711 of elsewhere, which was ")
    assert said.endswith(
        "seconds ago; wait until it ends, or 90 seconds if it was killed, or give --force"
    )
    assert 29 <= int(said.partition("heard of ")[2].partition(" ")[0]) <= 45
    assert not run.events_file.exists()
    beat = read_beat(run)
    assert beat is not None
    assert beat.host == "elsewhere"  # the other's heartbeat is left alone
    assert [p.step for p in iterate(run, force=True)] == [1, 2]
    assert events(run) == ["started", "finished"]


def test_a_run_that_somebody_trains_is_not_taken_back(
    two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    """It may have no step yet, and then looks like one that bad input kept from its first."""
    run = Run.create(tmp_path / "run", small_config("source_only", *two_domains, steps=2))
    beaten(run.path)
    with pytest.raises(InputError, match="of elsewhere"):
        next(iterate(run))
    run.take_back()
    assert run.config_file.exists()
    run.heartbeat_file.unlink()
    run.take_back()
    assert not run.path.exists()


@pytest.mark.parametrize(
    ("age", "written", "refused"),
    [
        (89, 89, True),
        (95, 95, False),
        (3600, 10, True),  # the clock of the other machine is an hour behind
        (-3600, 10, True),  # or ahead
        (10, 3600, True),  # the disk's clock is another one
        (3600, 3600, False),
    ],
)
def test_young_by_the_clocks_or_by_the_disk(
    age: float, written: float, refused: bool, tmp_path: Path
) -> None:
    folder = beaten(tmp_path, age=age, written=written)
    if refused:
        with pytest.raises(InputError, match="give --force"), Heartbeat(folder):
            pass
    else:
        with Heartbeat(folder):
            beat = read_beat(folder)
            assert beat is not None
            assert (beat.pid, beat.machine) == (os.getpid(), this_machine())
    assert not list(tmp_path.glob(".*.tmp"))


@posix
def test_two_containers_with_one_host_name_and_one_process_number(tmp_path: Path) -> None:
    """Every container counts its processes from 1, and a cluster may give all of them one host name."""
    same = {"host": platform.node(), "pid": os.getpid()}
    folder = beaten(tmp_path, **same)
    with pytest.raises(InputError, match="give --force"), Heartbeat(folder):
        pass
    beaten(tmp_path, **same, machine=this_machine(), started=process_start(os.getpid()))
    with Heartbeat(folder):  # our own, of an iterator that was thrown away
        pass


@posix
def test_a_living_process_of_this_machine_is_refused_and_force_does_not_help(
    tmp_path: Path, other_process: int
) -> None:
    folder = beaten(
        tmp_path, pid=other_process, machine=this_machine(), started=process_start(other_process)
    )
    for force in (False, True):
        with (
            pytest.raises(InputError, match=r"of this machine, .* wait until it ends, or stop it$"),
            Heartbeat(folder, force=force),
        ):
            pass


@linux
def test_a_process_number_that_was_given_away_again_is_another_process(
    tmp_path: Path, other_process: int
) -> None:
    folder = beaten(
        tmp_path,
        pid=other_process,
        machine=this_machine(),
        started=process_start(other_process) - 1,
    )
    with Heartbeat(folder):
        pass
    folder.config_file.write_text("steps: 1\n")
    beaten(tmp_path, age=10, pid=other_process, machine=this_machine(), started=1.0)
    assert run_status(folder).state is RunState.BROKEN


def test_a_heartbeat_of_an_older_version_is_read(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    old = {
        "count": 1, "time": 5.0, "pid": 3, "host": "here", "step": 2, "device": "cpu",
        "memory_mib": 1.0, "gpu_memory_mib": 0.0, "gpu_total_mib": 0.0,
    }  # fmt: skip
    folder.write_beat(old)
    assert read_beat(folder) == Beat(1, 5.0, 3, "here", 2, "cpu", 1.0, 0.0, 0.0, "", 0.0)


def test_of_two_that_begin_at_once_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes its first heartbeat after we have looked for one."""
    folder = RunFolder(tmp_path)
    look, looks = heartbeat_module.refuse_second_trainer, []

    def slow(run: RunFolder, *, force: bool = False) -> Beat | None:
        found = look(run, force=force)
        if not looks:
            beaten(tmp_path)
        looks.append(1)
        return found

    monkeypatch.setattr(heartbeat_module, "refuse_second_trainer", slow)
    with pytest.raises(InputError, match="of elsewhere"), Heartbeat(folder):
        pass
    beat = read_beat(folder)
    assert beat is not None
    assert beat.host == "elsewhere"


def test_the_first_heartbeat_is_written_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_beat({"count": 1}, first=True)
    with pytest.raises(FileExistsError):
        folder.write_beat({"count": 2}, first=True)
    folder.write_beat({"count": 3})
    assert folder.heartbeat_file.read_text() == '{"count": 3}'
    assert [path.name for path in tmp_path.iterdir()] == ["heartbeat.json"]
