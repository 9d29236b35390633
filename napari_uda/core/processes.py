"""Which process did something, told apart from every other: its machine or container, number and start."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path


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
