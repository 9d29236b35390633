"""Docks: they end with the window, and do one thing at a time in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import (
    QProgressBar,
)

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.canvas_marks import prepare_canvas
from napari_uda.gui.kit.focus import FocusFrame
from napari_uda.gui.kit.help import help_button
from napari_uda.gui.kit.jobs import Job, Turns, Work, background, running
from napari_uda.gui.kit.keys import bind_keys as bind_keys
from napari_uda.gui.kit.keys import list_keys
from napari_uda.gui.kit.open_bar import CANCELLING as CANCELLING
from napari_uda.gui.kit.open_bar import OpenBar
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.place import share_place
from napari_uda.gui.kit.tab_order import step
from napari_uda.gui.kit.widgets import TallLabel, button, named

AROUND = (4, 8, 4, 4)
"""Pixels around what a dock holds: left, top, right, bottom; napari's title bar reaches below its own place."""
T = TypeVar("T")
_leaving: set[Dock] = set()  # Python must not free them before Qt has told their listeners


class Dock(Panel):
    """Deletes itself once napari has taken it out of the window; its keys and listeners go with it.

    napari only lets go of a dock that the user closes. Whoever takes it out to put it elsewhere does so
    before the event loop turns again.

    One of a viewer has a place among the others, words on the canvas (`marks`), and for its layout the row that
    opens files (`open_bar`) and the ? (`help`).
    """

    manual: tuple[str, Sequence[str]] = ("", ())
    """Behind the ?: the dock's name, and what it does."""
    least_height = 0
    """Pixels, once it has its place; 0 for what its content needs."""
    kept: tuple[str, ...] = ()
    """Names of the widgets whose choices belong to a session, in the order in which they are made."""

    def __init__(self, viewer: Any = None) -> None:
        super().__init__()
        list_keys()
        FocusFrame(self)
        if viewer is not None:
            self.viewer = viewer
            share_place(self)
            self.marks = prepare_canvas(viewer, self)
            self.open_bar = OpenBar(viewer, self)
            self.help = help_button(self, *self.manual)

    @property
    def is_settled(self) -> bool:
        """Whether nothing that was asked of the dock is still on its way."""
        return not running(self)

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Tab goes through the dock as it is read."""
        return step(self, forward) or super().focusNextPrevChild(forward)

    def changeEvent(self, event: QEvent) -> None:
        """Notice that the window lets go."""
        super().changeEvent(event)
        if event.type() != QEvent.Type.ParentChange or self.parent() is not None:
            return
        if self not in _leaving:
            _leaving.add(self)
            self.destroyed.connect(lambda: _leaving.discard(self))
            QTimer.singleShot(0, self._on_let_go)

    def _aside(
        self,
        title: str,
        work: Work[T] | Callable[[], T],
        then: Callable[[T], object] | None = None,
    ) -> None:
        """Work in a thread of which the user sees its result alone, or in one sentence why there is none."""
        background(self, title, work, then, failed=self._on_problem, quiet=True)

    def _on_problem(self, problem: str) -> None:
        raise NotImplementedError

    def put_back(self) -> None:
        """What a subclass has changed in the viewer and nobody could undo without the dock."""

    def _on_let_go(self) -> None:
        if self.parent() is None:
            self.deleteLater()
            self.put_back()
        else:
            _leaving.discard(self)


class JobDock(Dock):
    """A dock or form with one job at a time, its progress and Cancel, that shows layers in turns.

    A subclass lays the widgets out and says in `_update_buttons` what may be pressed.

    Attributes:
        cancel: button that stops the job.
        bar: progress of the job.
        status: one sentence: the obstacle, the progress or the outcome.
    """

    def __init__(self, viewer: Any = None) -> None:
        super().__init__(viewer)
        self._job: Job | None = None
        self._cancelling = False
        self._turns = Turns(self)  # in which layers are added
        self._turns.rested.connect(self._on_rested)
        self._message = ""
        self._part = "Slice"  # what progress counts
        self.cancel = button("Cancel", "Stop; nothing is changed", self._on_cancel, "cancel")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.status = named(TallLabel(), "status")

    @property
    def is_settled(self) -> bool:
        """Whether no job runs and all layers are there."""
        return not self._turns.is_busy and self._job is None and super().is_settled

    def _update_buttons(self) -> None:
        """Enable what can be pressed now and show the status."""
        raise NotImplementedError

    def _start(self, title: str, work: Work[T], then: Callable[[T], object]) -> None:
        """Run the one job of the dock."""
        self._message, self._cancelling = "", False
        self.bar.setRange(0, 0)
        self._job = job = background(
            self,
            title,
            work,
            then,
            failed=self._finish,
            cancelled=self._on_cancelled,
            ended=lambda: self._on_ended(job),
            progressed=self._on_progress,
        )
        self._update_buttons()

    def _on_cancel(self) -> None:
        if self._job is not None:
            self._cancelling = True
            self._update_buttons()
            self._job.cancel()

    def _on_progress(self, done: int, total: int) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        if self.cancel.isEnabled():
            self.status.setText(f"{self._part} {done} of {total}")

    def _on_cancelled(self) -> None:
        self._finish("Cancelled; nothing was changed.")

    def _on_ended(self, job: Job) -> None:
        if self._job is job:  # napari withheld the result: it is closing
            self._finish("")

    def _finish(self, message: str) -> None:
        self._job = None
        self._say(message)

    def _say(self, message: str) -> None:
        """Show a sentence where the status has room for it, or none."""
        self._message = message
        self._update_buttons()

    def _on_problem(self, problem: str) -> None:
        self._say(problem)

    def _in_turns(self, steps: Iterator[None]) -> None:
        """A few steps per turn of the event loop, so that the window stays alive in between."""
        self._turns.take(steps)
        self._update_buttons()

    def _on_rested(self) -> None:
        self._update_buttons()


def open_dock(viewer: ViewerModel, name: str) -> Any:
    """The dock of this package with that name, opened where it is not, and in front of the others.

    Docks do not import each other: one that hands something over calls a public method of what this returns.
    """
    window = getattr(viewer, "window", None)
    if window is None:
        raise InputError(f"the dock {name} needs napari's window; open it from the Plugins menu")
    bar, widget = window.add_plugin_dock_widget("napari_uda", name)
    bar.show()
    bar.raise_()
    return widget
