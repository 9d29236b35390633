"""The keyboard's place is framed, follows what is scrolled, and goes when it leaves the dock."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QPushButton, QWidget

from napari_uda.gui.kit.dock import Dock
from napari_uda.gui.kit.focus import FocusFrame
from napari_uda.gui.kit.layout import Scrolling, column
from napari_uda.gui.kit.widgets import button


@pytest.fixture
def dock(qtbot: QtBot) -> Iterator[Dock]:
    """A dock with more buttons than it has room for, in a window with a button beside it."""
    window, holder, dock, content = QMainWindow(), QDockWidget(), Dock(), QWidget()
    qtbot.addWidget(window)
    column(*(button(str(index), name=f"b{index}") for index in range(20)), of=content)
    column(Scrolling(content), of=dock)
    holder.setWidget(dock)
    window.setCentralWidget(button("outside", name="outside"))
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, holder)
    window.resize(300, 200)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    yield dock
    window.close()


def test_the_frame_follows_the_keyboard(dock: Dock, qtbot: QtBot) -> None:
    frame = dock.findChild(FocusFrame)
    window = dock.window()
    first, outside = (window.findChild(QPushButton, name) for name in ("b0", "outside"))

    def around(widget: QWidget) -> bool:
        place = widget.mapTo(dock, QPoint(0, 0))
        return frame.isVisible() and frame.geometry().contains(place)

    first.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.waitUntil(lambda: around(first))
    for _ in range(19):
        qtbot.keyClick(window.focusWidget(), Qt.Key.Key_Tab)
    last = window.focusWidget()
    assert last.objectName() == "b19"  # far down: it was scrolled to
    qtbot.waitUntil(lambda: around(last))
    outside.setFocus()
    assert not frame.isVisible()
    qtbot.mouseClick(outside, Qt.MouseButton.LeftButton)
    assert not frame.isVisible()


@pytest.mark.parametrize("goes", [lambda one: one.setEnabled(False), lambda one: one.hide()])
def test_a_button_that_goes_hands_the_keyboard_to_the_next(
    dock: Dock, goes: Callable[[QWidget], None]
) -> None:
    scrolling = dock.findChild(Scrolling)
    far, following = (dock.findChild(QPushButton, name) for name in ("b12", "b13"))
    scrolling.ensureWidgetVisible(far)
    far.setFocus()
    goes(far)
    assert dock.window().focusWidget().objectName() == "b13"  # and not the first of the dock
    assert not following.visibleRegion().isEmpty()
