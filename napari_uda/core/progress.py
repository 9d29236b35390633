"""How far slow reading has come: readers tell, whoever asked for the file listens, and may stop them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
