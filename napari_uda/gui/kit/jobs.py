"""Work off the main thread: progress and Cancel in the activity dock, every error as one sentence.

`background` starts a piece of work and names what is called with its result. `Looking` looks at something again
and again, such as a folder in which another process writes. `Turns` does in the main thread what cannot be done
elsewhere, a little at a time.

Work runs in napari's *function* worker: its generator worker swallows `RuntimeError`, and most errors
of torch are one. Nothing but this module's signals crosses the threads.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from napari.qt.threading import FunctionWorker, create_worker
from napari.utils import cancelable_progress, progress
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, QThread, QThreadPool, QTimer, Signal

from napari_uda.core.errors import Cancelled, InputError, sentence
from napari_uda.core.openmp import let_idle_threads_sleep
from napari_uda.gui.kit.panel import Guarded, delay, guarded, most_arguments

logger = logging.getLogger(__name__)

T = TypeVar("T")
Report = Callable[[int, int], None]
Work = Callable[[Report, threading.Event], T]

_POLL_MS = 100
_SECONDS_BETWEEN_REPORTS = 0.1
_SECONDS_PER_TURN = 0.02
_NEXT_TURN_MS = 1  # not at once: a click is answered and painted before
_SECONDS_AFTER_AN_ERROR = 0.5
_COLLECT_MS = 200
_running: set[Job] = set()  # keeps signal objects alive until their thread has ended


def reporting(report: Report, stop: threading.Event) -> Report:
    """What the engine tells its progress to: it hands that on, and raises `Cancelled` when work is to stop."""

    def listen(done: int, total: int) -> None:
        report(done, total)
        if stop.is_set():
            raise Cancelled

    return listen


def background(
    owner: QObject,
    title: str,
    work: Work[T] | Callable[[], T],
    then: Callable[[T], object] | None = None,
    *,
    failed: Callable[[str], object] | None = None,
    cancelled: Callable[[], object] | None = None,
    ended: Callable[[], object] | None = None,
    progressed: Callable[[int, int], object] | None = None,
    quiet: bool = False,
    can_cancel: bool = True,
) -> Job:
    """Start work in a thread, and hear of it in the main thread as long as `owner` lives.

    Exactly one of `then`, `failed` and `cancelled` is called, and `ended` after it; `ended` alone when
    napari closes. An error in any of them becomes a notification.

    Args:
        owner: the widget that asks; once it is destroyed the work is abandoned.
        title: what the activity dock shows.
        work: called in the thread, with nothing or with a progress callback `(done, total)` and the stop
            event. It must touch no widget and no layer list.
        then: takes what the work returned.
        failed: takes the error as a sentence.
        cancelled: called when the work was stopped.
        ended: called last.
        progressed: takes how much is done, and of how much.
        quiet: no progress bar, and a notification of an error only if nothing takes it (`failed`).
        can_cancel: whether the progress bar offers to cancel. It never does where that would stop nothing: the
            work takes no stop event, and nobody says what becomes of it (`cancelled`).

    Returns:
        The job, which has begun, to `cancel` it.
    """
    count = most_arguments(work)
    offered = can_cancel and (count != 0 or cancelled is not None)
    job = Job(title, lambda *given: work(*given[:count]), owner, quiet=quiet, can_cancel=offered)
    for signal, listener in (
        (job.progressed, progressed),
        (job.succeeded, then),
        (job.failed, failed or (show_error if quiet else None)),
        (job.cancelled, cancelled),
        (job.ended, ended),
    ):
        if listener is not None:
            signal.connect(guarded(listener))
    job.start()
    return job


def running(owner: QObject | None = None) -> list[Job]:
    """The jobs at work: all, or those of a widget and the widgets in it."""
    return [job for job in _running if owner is None or job.belongs_to(owner)]


@dataclass(frozen=True)
class _Outcome:
    value: Any = None
    error: str = ""
    cancelled: bool = False


class _Task:
    """What a worker calls, once: napari keeps every worker until it closes, and must not keep the work."""

    def __init__(self, title: str, run: Callable[[], _Outcome]) -> None:
        self._title = title
        self._run = [run]

    def __call__(self) -> _Outcome:
        return self._run.pop()()

    def __str__(self) -> str:
        return self._title  # in napari's question about running work


class _Worker(FunctionWorker):
    """napari's worker, but for the warnings of what it calls: they are shown as all others are.

    superqt's own turns the process's way of showing warnings to itself while it runs. Of two at a time the later one
    gives it back to the earlier one, which has ended by then: a warning at the end of the process was an error.
    """

    def run(self) -> None:
        """In the thread; a `_Task` raises nothing."""
        self.started.emit()
        self._running = True
        outcome = self.work()
        if not self.abort_requested:
            self.returned.emit(outcome)
        self._running = False
        self.finished.emit()
        self._finished.emit(self)


class Job(QObject):
    """One piece of work in a thread, started once.

    Signals, all in the main thread: `progressed(done, total)`; then exactly one of `succeeded(value)`,
    `failed(sentence)`, `cancelled()`; and `ended()` last, also when napari closed meanwhile.
    """

    progressed = Signal(int, int)
    succeeded = Signal(object)
    failed = Signal(str)
    cancelled = Signal()
    ended = Signal()

    def __init__(
        self,
        title: str,
        work: Work[Any],
        owner: QObject,
        *,
        quiet: bool = False,
        can_cancel: bool = True,
    ) -> None:
        """Prepare.

        Args:
            title: what the activity dock shows.
            work: called in the thread with a progress callback `(done, total)` and the stop event. It
                must touch no widget and no layer list.
            owner: the widget that listens; when it is destroyed the work is abandoned.
            quiet: no progress bar, and no notification of errors.
            can_cancel: whether the progress bar offers to.
        """
        super().__init__()
        self._title, self._quiet, self._can_cancel = title, quiet, can_cancel
        self._work = work
        self._owner = owner
        self._stop = threading.Event()
        self._bar: progress[Any] | None = None
        self._worker: FunctionWorker | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self._poll)
        self._last_report = 0.0
        self._abandoned = False
        self.progressed.connect(self._move_bar)
        owner.destroyed.connect(self.abandon)

    def belongs_to(self, widget: QObject) -> bool:
        """Whether a widget, or one in it, listens."""
        if self._abandoned:
            return False
        part: QObject | None = self._owner
        while part is not None and part is not widget:
            part = part.parent()
        return part is widget

    @property
    def is_running(self) -> bool:
        """Whether the thread is at work."""
        return self in _running

    def start(self) -> None:
        """Begin; returns at once."""
        _running.add(self)
        _leave_threads_to_qt()
        if not self._quiet:
            kind = cancelable_progress if self._can_cancel else progress
            self._bar = kind(desc=self._title, total=0)
        task = _Task(self._title, self._run)
        # napari remembers what `create_worker` made, to name it when it closes; small work is not named
        self._worker = _Worker(task) if self._quiet else create_worker(task, _worker_class=_Worker)
        self._worker.returned.connect(self._on_returned)
        self._worker.finished.connect(self._on_finished)
        self._timer.start()
        self._worker.start()

    def abandon(self) -> None:
        """Stop, and tell nobody any more: whoever listened is gone."""
        self._stop.set()
        self._abandoned = True

    def cancel(self) -> None:
        """Ask the work to end; `cancelled` follows when it has, also if it was done by then."""
        self._stop.set()

    def _run(self) -> _Outcome:
        """In the thread: the work, with whatever it raises turned into a sentence."""
        try:
            return _Outcome(self._work(self._report, self._stop))
        except Cancelled:
            return _Outcome(cancelled=True)
        except Exception as error:
            if not isinstance(error, InputError):
                logger.exception("%s failed", self._title)
            return _Outcome(error=sentence(error))

    def _report(self, done: int, total: int) -> None:
        """In the thread: tell the main thread, ten times a second at most, and nothing once it is to stop."""
        if self._stop.is_set():  # who listened may be gone
            return
        if self._worker is not None and self._worker.abort_requested:  # napari is closing
            self._stop.set()
        now = time.monotonic()
        if done >= total or now - self._last_report >= _SECONDS_BETWEEN_REPORTS:
            self._last_report = now
            self.progressed.emit(done, total)

    def _poll(self) -> None:
        closing = self._worker is not None and self._worker.abort_requested
        if closing or (isinstance(self._bar, cancelable_progress) and self._bar.is_canceled):
            self.cancel()

    def _move_bar(self, done: int, total: int) -> None:
        if self._bar is not None and not self._abandoned:
            if self._bar.total != total:
                self._bar.total = total
            self._bar.update(done - self._bar.n)

    def _on_returned(self, outcome: _Outcome) -> None:
        self._close_bar()
        if self._abandoned:
            return
        if outcome.error:
            if not self._quiet:
                show_error(outcome.error)
            self.failed.emit(outcome.error)
        elif outcome.cancelled or self._stop.is_set():
            self.cancelled.emit()
        else:
            self.succeeded.emit(outcome.value)

    def _on_finished(self) -> None:
        self._timer.stop()
        self._close_bar()
        _running.discard(self)
        self._worker = None
        if not self._abandoned:
            self.ended.emit()

    def _close_bar(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            try:
                bar.close()
            except RuntimeError:  # the window and its activity dock are gone
                logger.debug("progress bar of a closed window")


class Looking(Guarded, QObject):
    """Looks at one thing at a time, again and again, in a thread; tells in the main thread what it found.

    The thread is a plain daemon, no worker of napari: napari waits for its workers when it closes, and a folder
    on a lost network mount can keep a read waiting for minutes. Its findings stand in a queue that the main
    thread empties, so that none ever reaches a widget that is gone.
    """

    def __init__(self, owner: QObject, name: str, found: Callable[[Any], object]) -> None:
        """Prepare.

        Args:
            owner: the widget that listens; looking ends with it.
            name: of the thread.
            found: takes what a look found.
        """
        super().__init__(owner)
        self._name = name
        self._tell = guarded(found)
        self._looks: _Looks | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_COLLECT_MS)
        self._timer.timeout.connect(self._on_collect)

    def start(self, look: Callable[[], tuple[Any, float | None]]) -> None:
        """Look at something from now on, and at nothing else any more.

        Args:
            look: called in the thread; returns what it found, and the seconds until the next look, None
                when there is to be none before `again`. It must touch no widget and no layer list.
        """
        self.stop()
        self._looks = looks = _Looks(look)
        self.destroyed.connect(looks.end)
        threading.Thread(target=looks.go_on, name=self._name, daemon=True).start()
        self._timer.start()

    def again(self) -> None:
        """Look at once; when a look is on its way, after it."""
        if self._looks is not None:
            self._looks.wake.set()

    def stop(self) -> None:
        """Look no more."""
        if self._looks is not None:
            self._looks.end()
        self._looks = None
        self._timer.stop()

    def _on_collect(self) -> None:
        looks = self._looks
        while looks is not None and looks is self._looks and not looks.found.empty():
            self._tell(looks.found.get())


class _Looks:
    """What the thread of `Looking` holds: nothing of Qt."""

    def __init__(self, look: Callable[[], tuple[Any, float | None]]) -> None:
        self.found: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.wake = threading.Event()
        self._look = look
        self._ended = False

    def end(self) -> None:
        self._ended = True
        self.wake.set()

    def go_on(self) -> None:
        """In the thread."""
        while True:
            self.wake.clear()
            if self._ended:
                return
            try:
                found, pause = self._look()
            except Exception:
                logger.exception("a look failed")
                pause = _SECONDS_AFTER_AN_ERROR
            else:
                self.found.put(found)
            self.wake.wait(pause)


def _end_all() -> None:
    """Let every job end before Qt deletes what its thread speaks through, as napari does when its event loop ends.

    A script that shows a viewer and closes it has no event loop that would end.
    """
    for job in list(_running):
        job.abandon()
    QThreadPool.globalInstance().waitForDone()


atexit.register(_end_all)  # after Qt has registered its own, and so called before it


def _leave_threads_to_qt() -> None:
    """Let Qt's pool, which runs the jobs, have as many threads besides them as it would have alone.

    Qt scales pictures in that pool while the main thread waits and holds Python's lock; napari does so
    when it shows that something is running. With every thread taken by a job that wants the lock, the
    window would freeze for good.
    """
    pool = QThreadPool.globalInstance()
    wanted = pool.activeThreadCount() + 1 + QThread.idealThreadCount()
    pool.setMaxThreadCount(max(pool.maxThreadCount(), wanted))


class Turns(Guarded, QObject):
    """Takes steps of work in the main thread, a few per turn of the event loop, as long as its owner lives.

    `rested()` says that all are taken; what one of them raises becomes a notification, and ends its row.
    """

    rested = Signal()

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self._rows: deque[Iterator[None]] = deque()
        self._next = delay(self, _NEXT_TURN_MS, self._on_turn)

    @property
    def is_busy(self) -> bool:
        """Whether there are steps to be taken."""
        return bool(self._rows)

    def take(self, steps: Iterator[None]) -> None:
        """Take a row of steps, of some milliseconds each, after those that were given before."""
        self._rows.append(steps)
        self._next.start()

    def drop(self) -> None:
        """Take none of those that are left."""
        self._rows.clear()

    def _on_turn(self) -> None:
        end, steps = time.monotonic() + _SECONDS_PER_TURN, self._first
        more = False
        try:
            more = any(time.monotonic() >= end or steps is not self._first for _ in steps)
        finally:
            if not more and steps is self._first and self._rows:
                self._rows.popleft()
            if self._rows:
                self._next.start()
            else:
                self.rested.emit()

    @property
    def _first(self) -> Iterator[None] | tuple[()]:
        return self._rows[0] if self._rows else ()


def load_torch() -> None:
    """Import torch from a worker thread without freezing the window.

    Importing maps several hundred megabytes of libraries while Python's lock is held: the window stood
    still for 0.2 to 1.3 s. Mapping them first through a foreign call, which releases the lock, leaves
    gaps of about 75 ms.
    """
    if "torch" not in sys.modules:  # it reads the variable once
        let_idle_threads_sleep(os.environ)
    spec = find_spec("torch")
    if spec is not None and spec.origin is not None:
        _map_libraries(Path(spec.origin).parent / "lib")
    import torch  # noqa: F401


def _map_libraries(folder: Path) -> None:
    try:
        load = ctypes.CDLL(None).dlopen
    except (AttributeError, OSError, TypeError):  # Windows: no dlopen
        return
    load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    now = 2
    for name in ("libtorch_global_deps", "libtorch_python"):
        for path in folder.glob(f"{name}.*"):
            load(str(path).encode(), now)
