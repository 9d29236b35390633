"""What killed processes leave: files and folders that say by their names whose they are, and how they go.

A hidden name of this program is `.napari_uda-<machine>-<pid>-<start>-<random>` with the ending `.tmp`, or
`.swap` for a folder whose files are all written and on the way to their places. Files of a living process
are never touched. Whether a process of another machine or container lives nobody can say from here, so its
files go only when nothing of them has changed for a day.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from napari_uda.core.processes import process_exists, process_start, this_machine
from napari_uda.core.small_files import read_object

SWAP = ".swap"
"""Ending of a folder whose files are on the way to their places."""
PLACES = ".places.json"
"""File in such a folder: name to the stamps of the old file and of the new one."""
_HOURS_OF_OTHERS = 24
_NAME = re.compile(
    r"\.napari_uda-(?P<machine>[0-9a-f]{16})-(?P<pid>\d{1,10})-(?P<start>\d{1,20})-[0-9a-f]{12}\.(?:tmp|swap)"
)
_NAME_OF_0_1 = re.compile(r"\.[0-9a-f]{32}\.tmp")  # says nothing of its owner
_LOCK_SECONDS = 10.0  # a swap takes milliseconds

Stamp = tuple[int, int]
"""Size and time of the last change (ns) of a file: another content has another stamp."""


@dataclass(frozen=True)
class Leftover:
    """A file or folder with a hidden name of this program.

    Attributes:
        path: where it is.
        kept: why it must stay; empty when its process is gone.
    """

    path: Path
    kept: str = ""


def own_name(ending: str = ".tmp") -> str:
    """A hidden name that nothing has yet, and that says whose it is."""
    pid = os.getpid()
    owner = f"{_machine()}-{pid}-{process_start(pid):.0f}"
    return f".napari_uda-{owner}-{uuid.uuid4().hex[:12]}{ending}"


def is_own_name(name: str) -> bool:
    """Whether a name is one of those that `own_name` gives, or of version 0.1."""
    return bool(_NAME.fullmatch(name) or _NAME_OF_0_1.fullmatch(name))


def find_leftovers(folder: Path) -> list[Leftover]:
    """What lies directly in a folder under a hidden name of this program, in order of names.

    Raises:
        OSError: if the folder cannot be read.
    """
    names = sorted(entry.name for entry in os.scandir(folder) if is_own_name(entry.name))
    return [Leftover(folder / name, _why_kept(folder / name)) for name in names]


def remove_leftovers(*folders: Path) -> list[Path]:
    """Remove what killed processes left directly in folders; what cannot be read or removed stays.

    Files that were on the way to their places are brought there.

    Returns:
        What was removed.
    """
    gone = []
    for folder in folders:
        with suppress(OSError):
            gone += [
                found.path
                for found in find_leftovers(folder)
                if not found.kept and _remove(found.path)
            ]
    return gone


def stamp(file: Path) -> Stamp | None:
    """The stamp of a plain file; None for anything else."""
    with suppress(OSError):
        found = file.lstat()
        if S_ISREG(found.st_mode):
            return found.st_size, found.st_mtime_ns
    return None


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let no other process of this machine bring files to their places in a folder meanwhile.

    The system gives the lock back when a process dies. Where there are no locks it goes on without one.
    """
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        end = time.monotonic() + _LOCK_SECONDS
        while time.monotonic() < end:  # one that was suspended must not hold up all others
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(descriptor)


def _machine() -> str:
    return hashlib.sha256(this_machine().encode()).hexdigest()[:16]


def _why_kept(path: Path) -> str:
    """Why a leftover must stay; "" when its process is certainly gone."""
    found = _NAME.fullmatch(path.name)
    if found is not None:
        pid, start = int(found["pid"]), int(found["start"])
        here = found["machine"] == _machine()
        if here and (pid, start) == (os.getpid(), process_start(os.getpid())):
            return "this process is writing it"
        if here and os.name == "posix":
            return f"process {pid} is writing it" if process_exists(pid, float(start)) else ""
    hours = (time.time() - _last_change(path)) / 3600
    if abs(hours) >= _HOURS_OF_OTHERS:
        return ""
    whose = "a process of another machine or container" if found else "an earlier version"
    return f"{whose} wrote it less than {_HOURS_OF_OTHERS} hours ago"


def _last_change(path: Path) -> float:
    """When something of a file, or of a folder and what is in it, was last changed; now if nobody can say."""
    try:
        found = path.lstat()
        times = [found.st_mtime]
        if S_ISDIR(found.st_mode):
            for parent, folders, files in os.walk(path):
                times += [Path(parent, name).lstat().st_mtime for name in (*folders, *files)]
    except OSError:
        return time.time()
    return max(times)


def _remove(path: Path) -> bool:
    """Remove a leftover, links not followed; whether it is gone."""
    if path.suffix == SWAP and path.is_dir() and not path.is_symlink():
        return _finish_swap(path)
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)


def _finish_swap(swap: Path) -> bool:
    """Bring the files of a killed process to their places, unless somebody has written there since."""
    mine = swap.with_name(own_name(SWAP))
    with alone_in(swap.parent):
        try:
            swap.rename(mine)  # of two that clean up, one has it
        except FileNotFoundError:
            return True
        for name in _unfinished(mine):
            (mine / name).replace(mine.parent / name)
    return discard_swap(mine)


def _unfinished(swap: Path) -> list[str]:
    """Files of a swap that are not yet in their places; none when a file there is neither old nor new."""
    waiting = []
    for name, stamps in (read_object(swap / PLACES) or {}).items():
        old, new = (_as_stamp(part) for part in stamps) if _is_pair(stamps) else (None, None)
        if new is None or Path(name).name != name or name in ("", ".", ".."):
            return []
        place = swap.parent / name
        there = stamp(place)
        if stamp(swap / name) == new:
            if os.path.lexists(place) and (there != old or S_ISDIR(place.lstat().st_mode)):
                return []
            waiting.append(name)
        elif there != new:
            return []
    return waiting


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def _as_stamp(value: object) -> Stamp | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    size, changed = value
    return (size, changed) if isinstance(size, int) and isinstance(changed, int) else None


def discard_swap(swap: Path) -> bool:
    """Remove a swap that is done with; a kill in between leaves nothing that would be finished."""
    aside = swap.with_name(own_name())
    swap.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
    return not aside.exists()
