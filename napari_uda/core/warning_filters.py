"""Warnings that are silenced for a while: their filters belong to the whole process, not to a thread."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TURN = threading.RLock()


@contextmanager
def own_warning_filters() -> Iterator[None]:
    """Let one thread at a time change the filters of warnings, which are as before afterwards.

    Of two threads that each use `warnings.catch_warnings`, the one that ends first would undo what the other
    silenced, and the one that ends last would leave the other's filters behind.
    """
    with _TURN, warnings.catch_warnings():
        yield
