"""What commands say in a terminal: one sentence about an error, bars of progress; and Ctrl-C.

tqdm is imported when a bar is drawn, so that `--help` need not wait for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from napari_uda.cli.log_bar import LogBar
from napari_uda.cli.output import beside_bar, in_braces, is_quiet
from napari_uda.core.interrupts import interrupt_came

if TYPE_CHECKING:
    from types import FrameType

    from tqdm import tqdm

_IN_PARTS = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
_FROM_THE_FIRST_STEP = 1e-3  # seconds; nothing before it, so that bad input leaves one sentence


def complain(sentence: str) -> None:
    """Say it once, whatever the number of processes under torchrun."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):  # on a full disk the exit code still says it
            print(f"napari-uda: {sentence}", file=sys.stderr)


def note(sentence: str) -> None:
    """Say something on stderr that is no error, unless quiet is wanted; no bar is broken by it."""
    if not is_quiet() and os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            beside_bar(f"napari-uda: {sentence}", sys.stderr)


def note_files(files: Sequence[Path]) -> None:
    """Say which files were written."""
    note(f"written: {', '.join(in_braces(files))}")


def progress_bar(unit: str, *, title: str = "", **options: Any) -> tqdm[Any] | LogBar:
    """A bar that appears with the first thing done; in a log, a line for each tenth.

    Args:
        unit: what is counted: step, volume, cell.
        title: what stands before the bar.
        options: more of tqdm's own.
    """
    options = {"desc": title or None, "unit": unit, **options}
    if is_quiet():
        options["disable"] = True
    if not (options.get("file") or sys.stderr).isatty():
        return LogBar(**options)
    from tqdm import tqdm

    size = shutil.get_terminal_size()  # never 0, as tqdm takes it of a terminal without one
    options |= {"ncols": size.columns, "nrows": size.lines}
    return tqdm(delay=_FROM_THE_FIRST_STEP, **options)


def step_bar(**options: Any) -> tqdm[Any] | LogBar:
    """A bar of training steps."""
    return progress_bar("step", mininterval=0.5, **options)


@contextmanager
def counted(unit: str, title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that reports how many are done, and of how many."""
    with progress_bar(unit, title=title) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield report


@contextmanager
def counted_in_parts(
    title: str, unit: str = "volume", part: str = "slice"
) -> Iterator[Callable[[int, int, int, int], None]]:
    """A bar for several things that each report how many of their own parts are done.

    Args:
        title: what is done, such as predict.
        unit: what the things are.
        part: what they consist of.

    Yields:
        `report(index, count, done, of)`: of the thing `index` of `count`, counted from 0, so many parts
        are done.
    """
    with progress_bar("", title=title, bar_format=_IN_PARTS) as bar:

        def report(index: int, count: int, done: int, of: int) -> None:
            bar.total = count
            which = f"{unit} {index + 1}/{count}, " if count > 1 else ""
            bar.set_description_str(f"{title}: {which}{part} {done}/{of}", refresh=False)
            bar.update(index + (done / of if of else 1) - bar.n)

        yield report


def unbreakable(stream: TextIO) -> TextIO | Unbreakable:
    """The stream, safe to draw a bar on: a terminal as it is, a file that may be on a full disk."""
    return stream if stream.isatty() else Unbreakable(stream)


class Unbreakable:
    """A stream to a file; where its disk is full, training goes on without a progress bar."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        """Whether somebody looks at it in a terminal."""
        return self._stream.isatty()

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
