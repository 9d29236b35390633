"""Which process did something, told apart from every other by machine, number and start; and the most memory it held."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

_MIB = 2**20


def this_machine() -> str:
    """What tells this machine from others, and a container on it from its other containers."""
    parts = [platform.node()]
    with suppress(OSError):  # there on Linux only
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(Path("/proc/self/ns/pid").readlink().name)
    return " ".join(parts)


def process_start(pid: int) -> float:
    """When a process of this machine began, in clock ticks since its start; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return float(text.rpartition(")")[2].split()[19])
    return 0.0


def process_exists(pid: int, started: float) -> bool:
    """Whether this machine still has a process; asking does nothing to it.

    Args:
        pid: its number.
        started: what `process_start` said of it; 0 where that was not known.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    now = process_start(pid) if started else 0.0
    return not now or now == started  # else the number was given to another process


def forget_peak_memory() -> None:
    """Let the peak of this process's memory begin anew, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mib() -> float:
    """The most memory this process has held since `forget_peak_memory`, or ever where that cannot be told; 0 on Windows."""
    with suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return float(status.partition("VmHWM:")[2].split()[0]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MIB if platform.system() == "Darwin" else 1024)
