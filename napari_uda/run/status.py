"""RunState: whether a run is training, has ended, and how, from its files alone.

A trainer rewrites `heartbeat.json` every two seconds and removes it when it ends in good order. That works
through a mounted folder of another machine, where no process can be asked. Events say how a run ended; a run
that began, has no fresh heartbeat and did not say how it ended was killed.

Whose heartbeat it is, is said by more than host name and process number: two containers may have both in
common.
"""

from __future__ import annotations

import os
import platform
import stat
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from napari_uda.core.errors import InputError, refusal
from napari_uda.core.files import temporary_path
from napari_uda.core.processes import process_exists, this_machine
from napari_uda.core.small_files import read_object
from napari_uda.run.folder import RunFolder

BEAT_SECONDS = 2.0
"""Time between two heartbeats."""
_OUTSIDE_OF_SESSIONS = ("skipped", "changed")
"""Events of what was decided before a run goes on; they do not say how it ended."""
_MIB_IN_GIB = 1024
_SILENT_SECONDS = 90.0  # network file systems may show a file as it was a minute ago
_SILENT_SECONDS_HERE = 3 * BEAT_SECONDS  # of a process that has ended on this machine


class RunState(StrEnum):
    """What a run is doing."""

    NEW = "new"
    """Settings are written; no training has begun."""
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    """Saved on request; it can be resumed."""
    FAILED = "failed"
    """Ended by an error, which `RunStatus.reason` tells."""
    BROKEN = "broken"
    """Its process ended without saying why: it was killed, or its machine was switched off."""


@dataclass(frozen=True)
class Beat:
    """One heartbeat: what a training process last said of itself.

    Attributes:
        count: heartbeats so far.
        time: seconds since 1970 by the trainer's clock.
        pid: its process.
        host: its machine.
        step: steps done.
        device: where it computes, as a person would say it.
        memory_mib: memory of the process.
        gpu_memory_mib: memory taken on the GPU; 0 without one.
        gpu_total_mib: memory that the GPU has.
        machine: what tells its machine, or its container, from every other; empty in older ones.
        started: when its process began, in the machine's own count; 0 where the system does not say.
    """

    count: int = 0
    time: float = 0.0
    pid: int = 0
    host: str = ""
    step: int = 0
    device: str = ""
    memory_mib: float = 0.0
    gpu_memory_mib: float = 0.0
    gpu_total_mib: float = 0.0
    machine: str = ""
    started: float = 0.0


@dataclass(frozen=True)
class RunStatus:
    """State of a run and what is known besides.

    Attributes:
        state: what it is doing.
        reason: why it failed or broke, or why it predicts with the weights that it started from; else empty.
        beat: its last heartbeat; None when it has none.
        step: steps done when it was stopped, which may be more than its last line of numbers says.
    """

    state: RunState
    reason: str = ""
    beat: Beat | None = None
    step: int = 0


def run_status(
    folder: RunFolder, *, earlier: Beat | None = None, now: float | None = None
) -> RunStatus:
    """The state of a run.

    Args:
        folder: the run.
        earlier: the heartbeat that was there before. One that has changed since shows a living process,
            whatever the clocks of the two machines say.
        now: seconds since 1970; None takes the clock's.
    """
    try:
        is_run = folder.config_file.is_file()
    except OSError as error:
        return RunStatus(RunState.BROKEN, refusal(error))
    if not is_run:
        return RunStatus(RunState.BROKEN, f"{folder.path} has no config.yaml; choose a run folder")
    beat = read_beat(folder)
    if beat is not None and _is_alive(beat, earlier, time.time() if now is None else now):
        return RunStatus(RunState.RUNNING, beat=beat)
    events = [e for e in folder.events() if e.get("event") not in _OUTSIDE_OF_SESSIONS]
    last: dict[str, Any] = events[-1] if events else {}
    kind = last.get("event")
    if kind == "finished":
        no_change = str(last.get("no_change") or "")
        return RunStatus(RunState.FINISHED, f"no change, {no_change}" if no_change else "")
    if kind == "stopped":
        step = last.get("step")
        return RunStatus(RunState.STOPPED, step=step if isinstance(step, int) else 0)
    if kind == "discarded":
        return RunStatus(
            RunState.STOPPED, "Cancelled: the steps after the last checkpoint are lost."
        )
    if kind == "failed":
        return RunStatus(RunState.FAILED, str(last.get("reason", "")))
    if kind in ("started", "resumed") or beat is not None:
        return RunStatus(
            RunState.BROKEN,
            "The training process ended without saying why: it was killed, or its machine was switched "
            "off. Resume continues from the last checkpoint.",
            beat,
        )
    if any(folder.checkpoints.glob("*.safetensors")):  # a model that was handed on
        return RunStatus(RunState.FINISHED)
    if not events and _holds_something(folder.events_file):
        return RunStatus(
            RunState.BROKEN,
            f"{folder.events_file.name} is damaged and does not say how training ended. Resume continues "
            "from the last checkpoint, if there is one.",
        )
    return RunStatus(RunState.NEW)


def _holds_something(file: Path) -> bool:
    """Whether there is more than an empty file."""
    try:
        found = file.stat()
    except OSError:
        return False
    return found.st_size > 0 or not stat.S_ISREG(found.st_mode)


def read_beat(folder: RunFolder) -> Beat | None:
    """The last heartbeat; None when there is none or it cannot be read."""
    content = read_object(folder.heartbeat_file)
    if content is None:
        return None
    blank = asdict(Beat())
    later = {name: blank[name] for name in ("machine", "started")}  # than the first heartbeats
    try:
        found = {**later, **content}
        return Beat(**{name: type(value)(found[name]) for name, value in blank.items()})
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def refuse_second_trainer(folder: RunFolder, *, force: bool = False) -> Beat | None:
    """Two processes would write over each other's checkpoints.

    Whether one on another machine is alive cannot be known at once: a killed one leaves its last heartbeat.

    Args:
        folder: the run.
        force: whether to train it all the same, unless the other one is certainly alive.

    Returns:
        The heartbeat that may be replaced; None without one.

    Raises:
        InputError: if another process trains the run.
    """
    beat = read_beat(folder)
    if beat is None:
        return None
    here = _is_here(beat)
    if here and (not process_exists(beat.pid, beat.started) or beat.pid == os.getpid()):
        return beat
    seconds = _silence(folder, beat)
    if seconds >= _SILENT_SECONDS or (force and not here):
        return beat
    where = "this machine" if here else beat.host or "another machine"
    remedy = ", or stop it"
    if not here:
        remedy = f", or {_SILENT_SECONDS:.0f} seconds if it was killed, or give --force"
    raise InputError(
        f"{folder.path} is being trained by process {beat.pid} of {where}, which was heard of "
        f"{seconds:.0f} seconds ago; wait until it ends{remedy}"
    )


def _silence(folder: RunFolder, beat: Beat) -> float:
    """Seconds since a heartbeat, by the clocks or, where those differ, by the disk that both write to."""
    seconds = [abs(time.time() - beat.time)]
    with suppress(OSError):
        probe = temporary_path(folder.path)
        probe.touch()
        try:
            written = folder.heartbeat_file.stat().st_mtime
            seconds.append(abs(probe.stat().st_mtime - written))
        finally:
            probe.unlink(missing_ok=True)
    return min(seconds)


def _is_alive(beat: Beat, earlier: Beat | None, now: float) -> bool:
    if earlier is not None and beat != earlier:
        return True
    gone = _is_here(beat) and not process_exists(beat.pid, beat.started)
    # a heartbeat from the future is as old as one from the past: clocks differ
    return abs(now - beat.time) < (_SILENT_SECONDS_HERE if gone else _SILENT_SECONDS)


def _is_here(beat: Beat) -> bool:
    """Whether the heartbeat is of this machine, and its processes can be asked for."""
    if os.name != "posix":
        return False
    return beat.machine == this_machine() if beat.machine else beat.host == platform.node()


def machine_text(beat: Beat | None) -> str:
    """Device and memory in use; empty while the run does not beat."""
    if beat is None or not beat.device:
        return ""
    parts = [beat.device]
    if beat.gpu_total_mib:
        taken, total = beat.gpu_memory_mib / _MIB_IN_GIB, beat.gpu_total_mib / _MIB_IN_GIB
        parts.append(f"{taken:.1f} of {total:.0f} GiB on the GPU")
    parts.append(f"{beat.memory_mib / _MIB_IN_GIB:.1f} GiB of memory")
    if beat.host:
        parts.append(f"on {beat.host}")
    return " · ".join(parts)
