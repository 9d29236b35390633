"""RunState: whether a run is training, has ended, and how, from its files alone.

A trainer rewrites `heartbeat.json` every two seconds and removes it when it ends in good order. That works
through a mounted folder of another machine, where no process can be asked. Events say how a run ended; a run
that began, has no fresh heartbeat and did not say how it ended was killed.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from napari_uda.core.errors import refusal
from napari_uda.core.small_files import read_object
from napari_uda.run.folder import RunFolder

BEAT_SECONDS = 2.0
"""Time between two heartbeats."""
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


@dataclass(frozen=True)
class RunStatus:
    """State of a run and what is known besides.

    Attributes:
        state: what it is doing.
        reason: why it failed or broke, else empty.
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
    events = folder.events()
    last: dict[str, Any] = events[-1] if events else {}
    kind = last.get("event")
    if kind == "finished":
        return RunStatus(RunState.FINISHED)
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
    if folder.metrics_file.exists():
        return RunStatus(
            RunState.BROKEN,
            f"{folder.events_file.name} does not say how training ended: it is damaged or missing. Resume "
            "continues from the last checkpoint, if there is one.",
        )
    return RunStatus(RunState.NEW)


def read_beat(folder: RunFolder) -> Beat | None:
    """The last heartbeat; None when there is none or it cannot be read."""
    content = read_object(folder.heartbeat_file)
    if content is None:
        return None
    blank = asdict(Beat())
    try:
        return Beat(**{name: type(value)(content[name]) for name, value in blank.items()})
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def is_alive_here(beat: Beat) -> bool:
    """Whether a process of this machine wrote the heartbeat, is still there and goes on writing."""
    return _is_here(beat) and _exists(beat.pid) and abs(time.time() - beat.time) < _SILENT_SECONDS


def _is_alive(beat: Beat, earlier: Beat | None, now: float) -> bool:
    if earlier is not None and beat != earlier:
        return True
    gone = _is_here(beat) and not _exists(beat.pid)
    # a heartbeat from the future is as old as one from the past: clocks differ
    return abs(now - beat.time) < (_SILENT_SECONDS_HERE if gone else _SILENT_SECONDS)


def _is_here(beat: Beat) -> bool:
    """Whether the heartbeat is of this machine, and its processes can be asked for."""
    return beat.host == platform.node() and os.name == "posix"


def _exists(pid: int) -> bool:
    """Whether this machine has the process; asking does nothing to it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
