"""What commands say in a terminal: one sentence about an error, bars of progress; and Ctrl-C.

tqdm is imported when a bar is drawn, so that `--help` need not wait for it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from napari_uda.core.interrupts import interrupt_came

if TYPE_CHECKING:
    from types import FrameType

    from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0  # of a progress bar that goes to a file
_FROM_THE_FIRST_STEP = 1e-3  # seconds; nothing before it, so that bad input leaves one sentence


def complain(sentence: str) -> None:
    """Say it once, whatever the number of processes under torchrun."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):  # on a full disk the exit code still says it
            print(f"napari-uda: {sentence}", file=sys.stderr)


def progress_bar(unit: str, *, title: str = "", **options: Any) -> tqdm[Any]:
    """A bar that appears with the first thing done.

    Args:
        unit: what is counted: step, volume, cell.
        title: what stands before the bar.
        options: more of tqdm's own.
    """
    from tqdm import tqdm

    return tqdm(desc=title or None, unit=unit, delay=_FROM_THE_FIRST_STEP, **options)


def step_bar(**options: Any) -> tqdm[Any]:
    """A bar of training steps, which in a file takes a line every ten seconds."""
    seconds = 0.5 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES
    return progress_bar("step", mininterval=seconds, **options)


@contextmanager
def counted(unit: str, title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that reports how many are done, and of how many."""
    with progress_bar(unit, title=title) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield report


def say_beside_bar(text: str) -> None:
    """A line on stdout that does not break the bar on stderr."""
    from tqdm import tqdm

    tqdm.write(text)


def unbreakable(stream: TextIO) -> TextIO | Unbreakable:
    """The stream, safe to draw a bar on: a terminal as it is, a file that may be on a full disk."""
    return stream if stream.isatty() else Unbreakable(stream)


class Unbreakable:
    """A stream to a file; where its disk is full, training goes on without a progress bar."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write the text, if that is possible."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream, if that is possible."""
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second SIGINT stops at once."""
    stop = threading.Event()
    if interrupt_came():  # an import has swallowed it
        stop.set()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
