"""JobDock: a dock that does one thing at a time in a thread, with progress and Cancel, and shows layers in turns."""

from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QProgressBar, QPushButton, QWidget

from napari_uda.gui.dock import Dock
from napari_uda.gui.worker import Job, Work, guarded, take_steps

CANCELLING = "Cancelling…"


class JobDock(Dock):
    """What Segment and Translate share; a subclass lays the widgets out and says what may be pressed.

    Attributes:
        cancel: button that stops the job.
        bar: progress of the job.
        status: one sentence: the obstacle, the progress or the outcome.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._job: Job | None = None
        self._cancelling = False
        self._showing = False  # layers are still being added
        self._message = ""
        self._part = "Slice"  # what progress counts
        self.cancel = QPushButton("Cancel")
        self.cancel.setObjectName("cancel")
        self.cancel.setToolTip("Stop; nothing is changed")
        self.cancel.clicked.connect(self._on_cancel)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.status = QLabel()
        self.status.setObjectName("status")
        self.status.setWordWrap(True)

    @property
    def is_settled(self) -> bool:
        """Whether no job runs and all layers are there."""
        return not self._showing and self._job is None and super().is_settled

    def _update_buttons(self) -> None:
        """Enable what can be pressed now and show the status."""
        raise NotImplementedError

    def _start(self, title: str, work: Work, on_success: Callable[[Any], None]) -> None:
        self._message, self._cancelling = "", False
        job = Job(title, work, self)
        job.progressed.connect(self._on_progress)
        job.succeeded.connect(on_success)
        job.failed.connect(self._on_failed)
        job.cancelled.connect(self._on_cancelled)
        job.ended.connect(self._on_ended)
        self._job = job
        self.bar.setRange(0, 0)
        self._update_buttons()
        job.start()

    @guarded
    def _on_cancel(self) -> None:
        if self._job is not None:
            self._cancelling = True
            self._update_buttons()
            self._job.cancel()

    @guarded
    def _on_progress(self, done: int, total: int) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        if self.cancel.isEnabled():
            self.status.setText(f"{self._part} {done} of {total}")

    @guarded
    def _on_failed(self, problem: str) -> None:
        self._finish(problem)

    @guarded
    def _on_cancelled(self) -> None:
        self._finish("Cancelled; nothing was changed.")

    @guarded
    def _on_ended(self) -> None:
        if self._job is not None:  # napari withheld the result: it is closing
            self._finish("")

    def _finish(self, message: str) -> None:
        self._job = None
        self._message = message
        self._update_buttons()

    def _in_turns(self, steps: Iterator[None]) -> None:
        """A few steps per turn of the event loop, so that the window stays alive in between."""
        self._showing, more = True, False
        try:
            more = take_steps(steps)
        finally:
            self._showing = more
            self._update_buttons()
        if more:
            QTimer.singleShot(0, lambda: self._continue(steps))

    @guarded
    def _continue(self, steps: Iterator[None]) -> None:
        self._in_turns(steps)
