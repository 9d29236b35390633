"""SIGTERM as Ctrl-C: what batch systems, containers and `kill` send ends a command as its user would.

Without heavy imports: a command says this first, and imports the others afterwards.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_came = threading.Event()


class Interrupt(KeyboardInterrupt):
    """KeyboardInterrupt, but for Python's rule for the class itself.

    Where that one leaves an `exec` of text, which makes dataclasses while modules are imported, Python ends by
    a signal of its own in the end, whatever exit code it was given.
    """


def interrupt_came() -> bool:
    """Whether a signal has interrupted this command, also where a library has swallowed the interrupt."""
    return _came.is_set()


@contextmanager
def sigterm_as_interrupt(*, process_ends: bool = False) -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in the main thread, as SIGINT does; without effect elsewhere.

    A signal that is ignored stays so. Whoever changes what SIGINT does changes it for both.

    Args:
        process_ends: whether the process does nothing afterwards but end. Its work is done and its exit code
            known, so both signals are ignored then instead of doing what they did before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _came.clear()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if before[signal.SIGTERM] is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        for number, previous in before.items():
            handler = signal.SIG_IGN if process_ends else previous
            if handler is not None:  # one that Python did not set cannot be set by it
                signal.signal(number, handler)


def let_sigterm_end_windows() -> None:
    """Where SIGINT is ignored, as in a script's background jobs, let SIGTERM end the process at once.

    An event loop runs no handler of Python's then.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _came.set()
    raise Interrupt


def _terminate(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):  # napari's, while its window is open
        handler(signal.SIGINT, frame)
    else:
        _interrupt(number, frame)
