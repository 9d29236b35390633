"""What a person does in a napari window: clicks, keys, menus, looking. For the scripts of this folder.

Everything goes to the real widgets as events. A widget that is hidden, disabled, cut off or covered cannot
be clicked: `Stuck` says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.layers import Layer
from qtpy.QtCore import QEvent, QEventLoop, QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QApplication,
    QComboBox,
    QFileDialog,
    QLineEdit,
    QMainWindow,
    QMenu,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QTabWidget,
    QWidget,
)

from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.launch import WINDOW

_LEFT = Qt.MouseButton.LeftButton
_NONE = Qt.MouseButton.NoButton
_PLAIN = Qt.KeyboardModifier.NoModifier
_STROKE_STEPS = 8
_TICK_MS = 10


class Stuck(Exception):
    """The window did not do what a person would expect of it; one sentence."""


# -- waiting --------------------------------------------------------------------------------------


def wait(seconds: float) -> None:
    """Let the window live for a while."""
    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()


def wait_until(ready: Callable[[], Any], what: str, seconds: float = 120.0) -> None:
    """Let the window live until something is true.

    Args:
        ready: whether it is.
        what: what is waited for, to follow "waited for".
        seconds: how long at most.
    """
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise Stuck(f"waited {seconds:.0f} s for {what}")
        wait(0.05)


class Heartbeat:
    """A timer that should tick every 10 ms: how long the window was away.

    Attributes:
        longest_ms: the longest time between two ticks since `begin`.
    """

    def __init__(self) -> None:
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._last = 0.0
        self.begin()
        self._timer.start(_TICK_MS)

    def begin(self) -> None:
        """Count anew."""
        self.longest_ms, self._last = 0.0, time.perf_counter()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest_ms = max(self.longest_ms, 1000 * (now - self._last))
        self._last = now

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what the script itself does in the window's thread."""
        self._tick()
        yield
        self._last = time.perf_counter()


# -- clicks and keys ------------------------------------------------------------------------------


def click(widget: QWidget, place: QPoint | None = None) -> None:
    """Click a widget as soon as it can be clicked, scrolled into sight first.

    Args:
        widget: what.
        place: where on it, its middle otherwise.
    """
    name = widget.objectName() or type(widget).__name__
    wait_until(widget.isEnabled, f"'{name}' to be enabled, which says: {widget.toolTip()!r}")
    scroll_to(widget)
    middle = place or widget.rect().center()
    if not widget.isVisible() or widget.visibleRegion().isEmpty():
        raise Stuck(f"'{name}' cannot be seen, so it cannot be clicked")
    if place is None and not widget.visibleRegion().contains(middle):
        middle = widget.visibleRegion().boundingRect().center()
    window = widget.window()
    hit = window.childAt(widget.mapTo(window, middle))
    if hit is not widget and not (hit is not None and widget.isAncestorOf(hit)):
        raise Stuck(f"'{name}' is covered by {type(hit).__name__}")
    QTest.mouseClick(widget, _LEFT, _PLAIN, middle)


def check(box: QWidget, wanted: bool = True) -> None:
    """Click a check box where its mark is, if it is not as wanted."""
    if box.isChecked() != wanted:
        click(box, QPoint(10, box.height() // 2))
    if box.isChecked() != wanted:
        raise Stuck(f"a click did not change '{box.text()}'")


def press(dock: QWidget, name: str) -> None:
    """Click the button of this object name."""
    button = dock.findChild(QAbstractButton, name)
    if button is None:
        raise Stuck(f"there is no button '{name}'")
    click(button)


def type_into(line: QLineEdit, text: str) -> None:
    """Replace the text of a line."""
    click(line)
    QTest.keyClick(line, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(line, text)
    QTest.keyClick(line, Qt.Key.Key_Return)
    if line.text() != text:
        raise Stuck(f"'{text}' was typed, and the line holds '{line.text()}'")


def pick(box: QComboBox, text: str) -> None:
    """Choose the entry that begins with this text, by the arrow keys."""
    scroll_to(box)
    index = next((i for i in range(box.count()) if box.itemText(i).startswith(text)), -1)
    if index < 0:
        offered = ", ".join(box.itemText(i) for i in range(box.count()))
        raise Stuck(f"'{text}' is not offered; there are: {offered}")
    box.setFocus()
    for _ in range(box.count()):
        if box.currentIndex() == index:
            break
        down = box.currentIndex() < index
        QTest.keyClick(box, Qt.Key.Key_Down if down else Qt.Key.Key_Up)
    if box.currentIndex() != index:
        raise Stuck(f"the arrow keys do not lead to '{text}'")


def click_row(view: QAbstractItemView, row: int) -> None:
    """Click the first cell of a row."""
    index = view.model().index(row, 0)
    scroll_to(view)
    view.scrollTo(index)
    wait(0.1)
    click(view.viewport(), view.visualRect(index).center())


def show_tab(tabs: QTabWidget, title: str) -> None:
    """Click a tab."""
    index = next((i for i in range(tabs.count()) if tabs.tabText(i) == title), -1)
    if index < 0:
        raise Stuck(f"there is no tab '{title}'")
    click(tabs.tabBar(), tabs.tabBar().tabRect(index).center())
    if tabs.currentIndex() != index:
        raise Stuck(f"a click did not open the tab '{title}'")


def scroll_to(widget: QWidget) -> None:
    """Bring a widget into sight where it is scrolled."""
    wait(0.05)  # what was pressed before may still move it
    parent = widget.parentWidget()
    while parent is not None:
        if isinstance(parent, QScrollArea):
            parent.ensureWidgetVisible(widget)
            wait(0.05)
        parent = parent.parentWidget()


# -- menus and dialogs ----------------------------------------------------------------------------


def choose(menu: QMenu, *titles: str) -> None:
    """Choose an entry of napari's menus, such as Plugins, then "napari_uda", "Train"."""
    menu.aboutToShow.emit()
    for action in menu.actions():
        if action.text().replace("&", "").removesuffix(" (napari_uda)") != titles[0]:
            continue
        if len(titles) > 1:
            choose(action.menu(), *titles[1:])
        elif action.isEnabled():
            action.trigger()
        else:
            raise Stuck(f"the entry '{titles[0]}' is disabled")
        return
    entries = ", ".join(action.text() for action in menu.actions())
    raise Stuck(f"the menu '{menu.title()}' has no entry '{titles[0]}', only {entries}")


def dock_of(window: QWidget, kind: type[QWidget]) -> Any:
    """The widget of this class in the window."""
    found = window.findChildren(kind)
    if len(found) != 1:
        raise Stuck(f"{len(found)} docks of the kind {kind.__name__} are open")
    return found[0]


@contextmanager
def answering(
    *buttons: str,
    text: str = "",
    mark: str = "",
    look: Callable[[str], None] = lambda text: None,
) -> Iterator[list[str]]:
    """Click these buttons in the dialogs that open meanwhile, one in each.

    Args:
        buttons: their texts, in the order of the dialogs.
        text: typed into the line of each dialog before; nothing when empty.
        mark: the choice of each dialog that is marked before; none when empty.
        look: called with the title of each dialog before it is answered.

    Yields:
        The buttons that were clicked.
    """
    waiting, clicked = list(buttons), list[str]()
    timer = QTimer()

    def on_time() -> None:
        dialog = QApplication.activeModalWidget()
        if dialog is None or not waiting:
            return
        texts = {one.text().replace("&", ""): one for one in dialog.findChildren(QPushButton)}
        if waiting[0] in texts:
            button = waiting.pop(0)
            for line in dialog.findChildren(QLineEdit)[: bool(text)]:
                line.selectAll()
                QTest.keyClicks(line, text)
            for choice in dialog.findChildren(QRadioButton):
                if choice.text() == mark:
                    click(choice, QPoint(10, choice.height() // 2))
            look(dialog.windowTitle())
            clicked.append(button)
            QTest.mouseClick(texts[button], _LEFT)

    timer.timeout.connect(on_time)
    timer.start(300)
    try:
        yield clicked
    finally:
        timer.stop()


@contextmanager
def opening_menu(
    button: QPushButton, entry: str, look: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Press a button with a menu, look at it, and choose the entry that begins with this text by its keys."""

    def on_time() -> None:
        menu = QApplication.activePopupWidget()
        if menu is None:
            raise Stuck(f"'{button.text()}' opened no menu")
        look(f"menu {button.text()}")
        for action in menu.actions():
            QTest.keyClick(menu, Qt.Key.Key_Down)
            if action.text().startswith(entry):
                QTest.keyClick(menu, Qt.Key.Key_Return)
                return
        menu.close()

    QTimer.singleShot(500, on_time)
    click(button)  # returns when the menu is closed
    yield


@contextmanager
def naming(**answers: Any) -> Iterator[None]:
    """Give the answers of static file dialogs, which a person would type.

    Args:
        answers: function of QFileDialog to what it returns; of a list one after the other.
    """
    before: dict[str, Callable[..., Any]] = {name: getattr(QFileDialog, name) for name in answers}
    for name, answer in answers.items():
        given = iter(answer) if isinstance(answer, list) else repeat(answer)
        setattr(QFileDialog, name, staticmethod(lambda *_, given=given, **__: next(given)))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(QFileDialog, name, function)


# -- canvas ---------------------------------------------------------------------------------------


def own_settings(home: Path) -> dict[str, str]:
    """The environment, with settings, journals and caches in a folder of its own."""
    folders = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE")}
    return os.environ | folders | {"NAPARI_CONFIG": str(home / "napari.yaml")}


def open_napari(size: tuple[int, int] = WINDOW) -> tuple[napari.Viewer, QMainWindow, QWidget]:
    """A viewer, its window in the corner of the screen, and its canvas."""
    viewer = napari.Viewer(title="napari_uda")
    viewer.window.resize(*size)
    windows = (one for one in QApplication.topLevelWidgets() if isinstance(one, QMainWindow))
    window = next(one for one in windows if one.isVisible())
    window.move(0, 0)
    return viewer, window, canvas_of(window)


def canvas_of(window: QWidget) -> QWidget:
    """The widget that napari draws its layers on."""
    found = [one for one in window.findChildren(QWidget) if type(one).__name__.startswith("Canvas")]
    main = [one for one in found if one.isVisible() and one.width() > 300]
    if not main:
        raise Stuck("the window has no canvas")
    return max(main, key=lambda one: one.width() * one.height())


def place_of(viewer: napari.Viewer, canvas: QWidget, layer: Layer, voxel: Any) -> QPoint:
    """Where a voxel of the shown slice lies on the canvas, without a grid."""
    world = np.asarray(layer.data_to_world(voxel))[list(viewer.dims.displayed)]
    camera = viewer.scene.camera
    down, right = (world - np.asarray(camera.center)[-2:]) * camera.zoom
    return QPoint(round(canvas.width() / 2 + right), round(canvas.height() / 2 + down))


def stroke(canvas: QWidget, *places: QPoint) -> None:
    """Press the left button, draw from place to place, let go; at one place a click."""
    here = places[0]
    _mouse(canvas, QEvent.Type.MouseMove, here, _NONE, _NONE)
    _mouse(canvas, QEvent.Type.MouseButtonPress, here, _LEFT, _LEFT)
    for there in places[1:]:
        for step in range(1, _STROKE_STEPS + 1):
            share = step / _STROKE_STEPS
            place = here + (there - here) * share
            _mouse(canvas, QEvent.Type.MouseMove, place, _NONE, _LEFT)
            wait(0.02)
        here = there
    _mouse(canvas, QEvent.Type.MouseButtonRelease, here, _LEFT, _NONE)


def _mouse(canvas: QWidget, kind: QEvent.Type, place: QPoint, button: Any, buttons: Any) -> None:
    local, everywhere = QPointF(place), QPointF(canvas.mapToGlobal(place))
    QApplication.sendEvent(canvas, QMouseEvent(kind, local, everywhere, button, buttons, _PLAIN))


def drop(widget: QWidget, *paths: Path) -> None:
    """Drop files and folders onto the middle of a widget."""
    files, place = QMimeData(), widget.rect().center()
    files.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    copy = Qt.DropAction.CopyAction
    QApplication.sendEvent(widget, QDragEnterEvent(place, copy, files, _LEFT, _PLAIN))
    QApplication.sendEvent(widget, QDropEvent(QPointF(place), copy, files, _LEFT, _PLAIN))


def key(canvas: QWidget, text: str) -> None:
    """Type a key of the viewer."""
    QTest.keyClicks(canvas, text)


# -- looking --------------------------------------------------------------------------------------


def layers_of(viewer: napari.Viewer, role: str) -> list[Layer]:
    """The layers of this role, from bottom to top."""
    return [layer for layer in viewer.layers if tag(layer).get("role") == role]


def layer_of(viewer: napari.Viewer, role: str) -> Any:
    """The first layer of this role, or None."""
    return next(iter(layers_of(viewer, role)), None)


def photograph(window: QWidget, file: Path) -> None:
    """Save what stands on the screen where the window is, dialogs over it included."""
    frame = window.frameGeometry()
    screen = QApplication.primaryScreen()
    shot = screen.grabWindow(0, frame.x(), frame.y(), frame.width(), frame.height())
    if not shot.save(str(file)):
        raise Stuck(f"the screenshot {file} could not be written")
