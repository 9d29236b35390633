"""What is said about a run in words: its state, its progress, where it computes. No Qt."""

from __future__ import annotations

from napari_uda.run.status import Beat, RunState, RunStatus

_STATES = {
    RunState.NEW: "not started",
    RunState.RUNNING: "training",
    RunState.FINISHED: "finished",
    RunState.STOPPED: "stopped, can be resumed",
    RunState.FAILED: "failed",
    RunState.BROKEN: "broken off",
}
_GIB = 1024


def state_text(status: RunStatus) -> str:
    """The state in words, with the reason when there is one."""
    words = _STATES[status.state]
    return f"{words}: {status.reason}" if status.reason else words


def duration(seconds: float) -> str:
    """Two units at most: 45 s, 12 min, 3 h 5 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def time_text(seconds: float, left: float | None) -> str:
    """How long a run has trained and will train."""
    gone = f"{duration(seconds)} so far"
    return gone if left is None else f"{gone}, about {duration(left)} left"


def machine_text(beat: Beat | None) -> str:
    """Device and memory in use; empty while the run does not beat."""
    if beat is None or not beat.device:
        return ""
    parts = [beat.device]
    if beat.gpu_total_mib:
        taken, total = beat.gpu_memory_mib / _GIB, beat.gpu_total_mib / _GIB
        parts.append(f"{taken:.1f} of {total:.0f} GiB on the GPU")
    parts.append(f"{beat.memory_mib / _GIB:.1f} GiB of memory")
    if beat.host:
        parts.append(f"on {beat.host}")
    return " · ".join(parts)
