"""How far slow reading has come: readers tell, whoever asked for the file listens, and may stop them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

Listener = Callable[[int, int], None]
"""Takes how much is done, and of how much. What it raises stops the reader."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def told(listener: Listener) -> Iterator[None]:
    """Let what is read in this thread tell `listener` how far it is."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def tell(done: int, total: int) -> None:
    """Say how far a reader is; cheap, and nothing happens where nobody listens."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total)


_LOOK_SECONDS = 0.1
_OPEN_FILES = Path("/proc/self/fdinfo")


def watched(files: Sequence[Path], read: Callable[[], T]) -> T:
    """Let a library read that tells nothing and cannot be stopped, and tell in bytes how far it is.

    It reads in a thread of its own. That one is left alone, and its result is nobody's, when the listener stops
    the reading. Linux says how far open files have been read; elsewhere, 0 of 0 is told.

    Args:
        files: what is read, in this order.
        read: reads them.
    """
    if _listener.get() is None:
        return read()
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(read())
        except BaseException as error:  # noqa: BLE001 - handed on to whoever waits
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    sizes = [file.stat().st_size for file in files]
    while True:
        with suppress(TimeoutError):
            done.exception(_LOOK_SECONDS)
        if done.done():
            break
        place = _place_in(files, sizes)
        tell(place or 0, sum(sizes) if place is not None else 0)
    result = done.result()
    tell(sum(sizes), sum(sizes))
    return result


def _place_in(files: Sequence[Path], sizes: Sequence[int]) -> int | None:
    """Bytes of the files up to the place in the last one that is open; None where that is not known."""
    wanted = {os.path.realpath(file): sum(sizes[:number]) for number, file in enumerate(files)}
    found: list[int] = []
    with suppress(OSError):
        for entry in _OPEN_FILES.iterdir():
            with suppress(OSError, ValueError):
                opened = Path("/proc/self/fd", entry.name).readlink()
                before = wanted.get(str(opened))
                if before is not None:
                    found.append(before + int(entry.read_text().split()[1]))
    return max(found, default=None)
