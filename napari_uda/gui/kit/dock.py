"""Docks: they share one place in the window, end with it, and do one thing at a time in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QProgressBar, QWidget

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.focus import FocusFrame
from napari_uda.gui.kit.jobs import Job, Work, background, running, take_steps
from napari_uda.gui.kit.keys import bind_keys as bind_keys
from napari_uda.gui.kit.panel import Guarded, Panel, delay
from napari_uda.gui.kit.widgets import button, label

CANCELLING = "Cancelling…"
CANVAS_SHARE = 0.55
"""Of the window's width; a dock that opens takes no more than is left beside napari's own."""
AROUND = (4, 8, 4, 4)
"""Pixels around what a dock holds: left, top, right, bottom; napari's title bar reaches below its own place."""
_LEAST_WIDTH, _SMALLEST, _ANY = 200, 50, 1
_NEXT_TURN_MS = 1  # not at once: a click is answered and painted before
_FRAME = 10  # between the canvas and the room it is in
T = TypeVar("T")
_NAME_END = "(napari_uda)"
_leaving: set[Dock] = set()  # Python must not free them before Qt has told their listeners


class Dock(Panel):
    """Deletes itself once napari has taken it out of the window; its keys and listeners go with it.

    napari only lets go of a dock that the user closes. Whoever takes it out to put it elsewhere does so
    before the event loop turns again.
    """

    least_height = 0
    """Pixels, once it has its place; 0 for what its content needs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        FocusFrame(self)

    @property
    def is_settled(self) -> bool:
        """Whether nothing that was asked of the dock is still on its way."""
        return not running(self)

    def changeEvent(self, event: QEvent) -> None:
        """Notice that the window lets go."""
        super().changeEvent(event)
        if event.type() != QEvent.Type.ParentChange or self.parent() is not None:
            return
        if self not in _leaving:
            _leaving.add(self)
            self.destroyed.connect(lambda: _leaving.discard(self))
            QTimer.singleShot(0, self._on_let_go)

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

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._job: Job | None = None
        self._cancelling = False
        self._showing = False  # layers are still being added
        self._message = ""
        self._part = "Slice"  # what progress counts
        self.cancel = button("Cancel", "Stop; nothing is changed", self._on_cancel, "cancel")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.status = label(name="status")

    @property
    def is_settled(self) -> bool:
        """Whether no job runs and all layers are there."""
        return not self._showing and self._job is None and super().is_settled

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
        self._message = message
        self._update_buttons()

    def _in_turns(self, steps: Iterator[None]) -> None:
        """A few steps per turn of the event loop, so that the window stays alive in between."""
        self._showing = True
        self._update_buttons()
        QTimer.singleShot(_NEXT_TURN_MS, lambda: self._on_turn(steps))

    def _on_turn(self, steps: Iterator[None]) -> None:
        more = False
        try:
            more = take_steps(steps)
        finally:
            self._showing = more
            self._update_buttons()
        if more:
            QTimer.singleShot(_NEXT_TURN_MS, lambda: self._on_turn(steps))


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


def share_place(widget: QWidget) -> None:
    """Let a dock join the others of napari_uda when it is first shown; where it goes later is the user's.

    From then on its tab has a short name, and an entry of a menu that would hide it while it lies behind
    another tab brings it to the front instead.
    """
    _Place(widget)


def bring_to_front(widget: QWidget) -> None:
    """Show the dock that holds a widget, in front of the tabs beside it."""
    dock = _dock_of(widget)
    if dock is not None:
        dock.show()
        dock.raise_()


class _Place(Guarded, QObject):
    """Joins at the first show of a widget, before anything is drawn, and then watches over its dock.

    napari's menus turn around whether a dock is visible. Qt calls one behind another tab visible, so they
    would hide what the user asks for.
    """

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._dock: QDockWidget | None = None
        self._is_behind = False  # another tab
        self._asked = 0  # width in pixels, which its content may not have allowed yet
        self._squeezed: QTimer | None = None
        # napari stacks a new dock below the others first, and Qt would make a low window higher for good
        widget.setMinimumHeight(_ANY)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kinds = QEvent.Type
        if watched is not self._widget and watched is not self._dock:
            if event.type() == kinds.Resize and self._squeezed is not None:
                self._squeezed.start()
        elif watched is self._widget:
            if event.type() == kinds.Show:
                self._widget.removeEventFilter(self)
                self._on_first_show()
                least = self._widget.least_height if isinstance(self._widget, Dock) else 0
                self._widget.setMinimumHeight(least)
        elif event.type() == kinds.LayoutRequest and self._dock is not None:
            self._let_shrink(self._dock)
        elif event.type() == kinds.Close:
            self._is_behind = False  # who closes it means it
        elif event.type() == kinds.Hide and self._is_behind and self._is_hidden():
            QTimer.singleShot(0, self._on_wanted)
        elif event.type() == kinds.ShowToParent and self._dock is not None:
            self._dock.raise_()  # else a tab that was hidden comes back behind the others
        return False

    def _is_hidden(self) -> bool:
        """Whether the dock itself was hidden, and not the window around it."""
        return self._dock is not None and self._dock.isHidden()

    def _on_first_show(self) -> None:
        dock = _dock_of(self._widget)
        window = None if dock is None else dock.parentWidget()
        if dock is None or not isinstance(window, QMainWindow):
            return
        self._dock = dock
        dock.setWindowTitle(dock.windowTitle().removesuffix(f" {_NAME_END}"))
        for words in dock.titleBarWidget().findChildren(QLabel):
            words.setText(words.text().removesuffix(f" {_NAME_END}"))
        dock.visibilityChanged.connect(self._on_visibility)
        dock.installEventFilter(self)
        if dock.isFloating():
            return
        area = window.dockWidgetArea(dock)
        others = [
            other
            for other in window.findChildren(QDockWidget)
            if other is not dock
            and other.objectName().endswith(_NAME_END)
            and other.isVisible()
            and not other.isFloating()
            and window.dockWidgetArea(other) == area
        ]
        if others and dock.objectName().endswith(_NAME_END):
            window.tabifyDockWidget(others[-1], dock)
            dock.raise_()
        window.centralWidget().installEventFilter(self)
        self._squeezed = delay(self, 0, self._on_squeezed)
        QTimer.singleShot(0, self._on_placed)

    def _on_squeezed(self) -> None:
        """The window or napari's own docks changed: keep the share, unless the user widened the dock."""
        dock = _dock_of(self._widget)
        if dock is not None and dock.width() <= self._asked:
            self._on_placed()

    def _on_placed(self) -> None:
        """Leave the canvas its share of the window; the user may give the dock more."""
        dock = _dock_of(self._widget)
        window = None if dock is None else dock.parentWidget()
        if dock is None or not isinstance(window, QMainWindow) or dock.isFloating():
            return
        sides = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea
        self._asked = dock.width()
        missing = round(CANVAS_SHARE * window.width()) + _FRAME - window.centralWidget().width()
        if window.dockWidgetArea(dock) in sides and missing > 0:
            self._asked = max(_LEAST_WIDTH, dock.width() - missing)
            window.resizeDocks([dock], [self._asked], Qt.Orientation.Horizontal)

    def _let_shrink(self, dock: QDockWidget) -> None:
        """Forget what the content needed before.

        napari gives its docks a least size, and what Qt adds to it for the content then stays for good.
        """
        content, before = self._widget.minimumSizeHint(), dock.minimumSize()
        frame = dock.titleBarWidget().height() + 2
        if before.width() > max(content.width(), _SMALLEST):
            dock.setMinimumWidth(_SMALLEST)
            if self._asked < dock.width() == before.width():
                QTimer.singleShot(0, self._on_placed)
        if before.height() > max(content.height() + frame, _SMALLEST):
            dock.setMinimumHeight(_SMALLEST)

    def _on_visibility(self, visible: bool) -> None:
        self._is_behind = not visible and not self._is_hidden()

    def _on_wanted(self) -> None:
        if self._dock is not None and _dock_of(self._widget) is self._dock:  # not taken out
            bring_to_front(self._widget)


def _dock_of(widget: QWidget) -> QDockWidget | None:
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent
