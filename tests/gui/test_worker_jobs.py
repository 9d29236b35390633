"""Work in threads: every error reaches the user, every bar closes."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from napari.utils import cancelable_progress, progress
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject, QThread, QThreadPool, Signal
from qtpy.QtWidgets import QWidget

from napari_uda.core.errors import Cancelled, InputError, sentence
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.jobs import Job, Report
from napari_uda.gui.kit.panel import guarded


class OutOfMemoryError(RuntimeError):
    """As torch.cuda.OutOfMemoryError, which is a RuntimeError too."""


@pytest.fixture
def owner(qtbot: QtBot) -> QWidget:
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[progress]:
    """The progress bars that jobs open, in this order; a closed one is disabled."""
    opened: list[progress] = []

    class Bar(progress):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            opened.append(self)

    class CancelableBar(cancelable_progress):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            opened.append(self)

    monkeypatch.setattr(jobs, "progress", Bar)
    monkeypatch.setattr(jobs, "cancelable_progress", CancelableBar)
    return opened


def finish(qtbot: QtBot, job: Job) -> list[Any]:
    """Start a job, wait for its end, and return what it said."""
    said: list[Any] = []
    job.succeeded.connect(lambda value: said.append(("succeeded", value)))
    job.failed.connect(lambda text: said.append(("failed", text)))
    job.cancelled.connect(lambda: said.append(("cancelled", None)))
    with qtbot.waitSignal(job.ended, timeout=60_000):
        job.start()
    return said


def test_result_and_progress_arrive(qtbot: QtBot, owner: QWidget, bars: list[progress]) -> None:
    main = threading.get_ident()
    seen = []

    def work(report: Report, stop: threading.Event) -> bool:
        report(1, 2)
        report(2, 2)
        return threading.get_ident() != main

    job = Job("count", work, owner)
    job.progressed.connect(lambda done, total: seen.append((done, total, threading.get_ident())))
    assert finish(qtbot, job) == [("succeeded", True)]
    assert seen[-1] == (2, 2, main)
    assert [bar.disable for bar in bars] == [True]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("shapes differ"), "RuntimeError: shapes differ"),
        (OutOfMemoryError("CUDA out of memory. Tried 2 GiB"), "Memory ran out"),
        (InputError("a.nii: is empty; copy it again"), "a.nii: is empty; copy it again"),
        (ValueError(""), "ValueError"),
    ],
)
def test_error_is_one_sentence_and_closes_the_bar(
    error: Exception,
    words: str,
    qtbot: QtBot,
    owner: QWidget,
    notifications: Callable[[], list[str]],
    bars: list[progress],
) -> None:
    def work(report: Report, stop: threading.Event) -> None:
        raise error

    ((kind, text),) = finish(qtbot, Job("fail", work, owner))
    assert kind == "failed"
    assert text.startswith(words)
    assert notifications() == [text]
    assert "\n" not in text
    assert [bar.disable for bar in bars] == [True]


def wait_for_stop(report: Report, stop: threading.Event) -> None:
    report(0, 10)
    assert stop.wait(60)
    raise Cancelled


def test_cancel_from_the_dock(qtbot: QtBot, owner: QWidget, bars: list[progress]) -> None:
    job = Job("wait", wait_for_stop, owner)
    job.progressed.connect(job.cancel)
    assert finish(qtbot, job) == [("cancelled", None)]
    assert [bar.disable for bar in bars] == [True]


def test_cancel_from_the_activity_dock(qtbot: QtBot, owner: QWidget, bars: list[progress]) -> None:
    job = Job("wait", wait_for_stop, owner)
    job.progressed.connect(lambda: bars[0].cancel())
    assert finish(qtbot, job) == [("cancelled", None)]


def test_what_was_done_by_the_time_of_cancel_is_dropped(qtbot: QtBot, owner: QWidget) -> None:
    def heedless(report: Report, stop: threading.Event) -> str:
        report(0, 10)
        assert stop.wait(60)
        return "done"

    job = Job("wait", heedless, owner)
    job.progressed.connect(job.cancel)
    assert finish(qtbot, job) == [("cancelled", None)]


def test_cancel_is_offered_where_it_stops_something_or_is_heard(
    qtbot: QtBot, owner: QWidget, bars: list[progress]
) -> None:
    """Else a file is written, or a list made, of which nobody is told."""
    ended: list[str] = []

    def stoppable(_report: Report, _stop: threading.Event) -> None: ...

    def not_stoppable() -> None: ...

    def end() -> None:
        ended.append("")

    jobs.background(owner, "a", not_stoppable, ended=end)
    jobs.background(owner, "b", stoppable, ended=end)
    jobs.background(owner, "c", not_stoppable, cancelled=lambda: None, ended=end)
    qtbot.waitUntil(lambda: len(ended) == 3)
    assert [isinstance(bar, cancelable_progress) for bar in bars] == [False, True, True]


def test_work_that_cannot_be_cancelled_does_not_offer_it(
    qtbot: QtBot, owner: QWidget, bars: list[progress]
) -> None:
    def work(report: Report, stop: threading.Event) -> int:
        report(1, 1)
        return 7

    job = Job("write", work, owner, can_cancel=False)
    assert finish(qtbot, job) == [("succeeded", 7)]
    assert [isinstance(bar, cancelable_progress) for bar in bars] == [False]


def test_job_of_a_destroyed_widget_stops_and_stays_silent(
    qtbot: QtBot, notifications: Callable[[], list[str]]
) -> None:
    owner = QWidget()
    job = Job("wait", wait_for_stop, owner)
    said = []
    job.cancelled.connect(lambda: said.append("cancelled"))
    with qtbot.waitSignal(job.progressed, timeout=60_000):
        job.start()
    owner.deleteLater()
    qtbot.waitUntil(lambda: not job.is_running, timeout=60_000)
    assert said == []
    assert notifications() == []


def test_guarded_slot_turns_errors_into_notifications(
    notifications: Callable[[], list[str]],
) -> None:
    class Sender(QObject):
        sent = Signal(int, str)

    class Receiver:
        def __init__(self) -> None:
            self.got: list[int] = []

        @guarded
        def slot(self, number: int) -> None:
            self.got.append(number)
            if number == 2:
                raise KeyError("x")

    sender, receiver = Sender(), Receiver()
    sender.sent.connect(receiver.slot)
    sender.sent.emit(1, "dropped")
    sender.sent.emit(2, "dropped")
    assert receiver.got == [1, 2]
    assert notifications() == ["KeyError: 'x'"]


def test_sentence_is_short() -> None:
    assert sentence(RuntimeError("a" * 1000)) == "RuntimeError: " + "a" * 300


@pytest.mark.parametrize("quiet", [False, True])
def test_ended_work_is_forgotten_although_napari_lists_it(
    quiet: bool, make_napari_viewer: Callable[[], Viewer], qtbot: QtBot, owner: QWidget
) -> None:
    make_napari_viewer()

    class Volume:
        """What work holds on to: a layer, say."""

    volume = Volume()
    gone = weakref.ref(volume)
    job = Job("hold", lambda report, stop, held=volume: held is None, owner, quiet=quiet)
    assert finish(qtbot, job) == [("succeeded", False)]
    del job, volume
    gc.collect()
    assert gone() is None


def test_jobs_leave_threads_to_qt_which_needs_them_to_draw(owner: QWidget, qtbot: QtBot) -> None:
    pool, free = QThreadPool.globalInstance(), threading.Event()
    before = pool.maxThreadCount()
    pool.setMaxThreadCount(QThread.idealThreadCount())
    jobs = [
        Job("wait", lambda report, stop: free.wait(60), owner, quiet=True)
        for _ in range(QThread.idealThreadCount() + 1)
    ]
    try:
        for job in jobs:
            job.start()
        qtbot.waitUntil(lambda: pool.activeThreadCount() >= len(jobs), timeout=60_000)
        # not more than are active: Qt may be drawing with those that are left to it
        assert pool.maxThreadCount() >= len(jobs) + QThread.idealThreadCount()
    finally:
        free.set()
        qtbot.waitUntil(lambda: not any(job.is_running for job in jobs), timeout=60_000)
        pool.setMaxThreadCount(before)


@pytest.mark.parametrize("quiet", [True, False])
def test_warnings_are_shown_as_before_once_two_jobs_overlapped(
    owner: QWidget, qtbot: QtBot, quiet: bool
) -> None:
    before, filters = warnings.showwarning, list(warnings.filters)
    began, overlapped, ended = (threading.Event() for _ in range(3))

    def first_work() -> None:
        began.set()
        overlapped.wait(30)

    def second_work() -> None:
        overlapped.set()
        ended.wait(30)

    first = jobs.background(owner, "first", first_work, quiet=quiet)
    qtbot.waitUntil(began.is_set, timeout=30_000)
    second = jobs.background(owner, "second", second_work, quiet=quiet)
    qtbot.waitUntil(lambda: not first.is_running, timeout=30_000)
    ended.set()
    qtbot.waitUntil(lambda: not second.is_running, timeout=30_000)
    assert warnings.showwarning is before
    assert warnings.filters == filters


def test_end_of_the_process_while_a_job_is_at_work() -> None:
    script = """
import threading, time
from qtpy.QtWidgets import QApplication, QWidget
from napari_uda.gui.kit.jobs import background
app, owner, began = QApplication([]), QWidget(), threading.Event()
def work(report, stop):
    while not stop.is_set():
        report(1, 2)
        began.set()
        time.sleep(0.01)
    report(2, 2)
background(owner, "read", work, quiet=True)
assert began.wait(60)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, "deleted" in ended.stderr) == (0, False), ended.stderr
