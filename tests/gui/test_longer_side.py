"""Whether a widget stands or lies: told while it is seen, by shapes that last."""

from __future__ import annotations

import pytest
from gui_cases import let_events_pass
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QTabWidget, QWidget

from napari_uda.gui.kit.layout import LongerSide


@pytest.fixture
def window(qtbot: QtBot) -> QWidget:
    """A window that is seen: the shapes of widgets in it are no business of the window system."""
    window = QWidget()
    qtbot.addWidget(window)
    window.resize(1200, 800)
    with qtbot.waitExposed(window):
        window.show()
    return window


def test_each_turn_is_told_once(window: QWidget, qtbot: QtBot) -> None:
    widget, told = QWidget(window), []
    LongerSide(widget).turned.connect(told.append)
    for width, height, expected in (
        (300, 600, []),
        (600, 600, []),
        (900, 600, [True]),
        (1000, 600, [True]),
        (600, 600, [True, False]),
    ):
        widget.resize(width, height)
        widget.show()
        qtbot.waitUntil(lambda expected=expected: told == expected)
        let_events_pass()
        assert told == expected


def test_a_shape_of_a_moment_is_not_told(window: QWidget) -> None:
    widget, told = QWidget(window), []
    LongerSide(widget).turned.connect(told.append)
    widget.resize(300, 600)
    widget.show()
    let_events_pass()
    widget.resize(900, 100)
    widget.resize(300, 600)
    let_events_pass()
    assert told == []


def test_a_shape_behind_a_tab_is_told_when_it_is_seen(window: QWidget, qtbot: QtBot) -> None:
    tabs, first, second, told = QTabWidget(window), QWidget(), QWidget(), []
    tabs.addTab(first, "first")
    tabs.addTab(second, "second")
    LongerSide(second).turned.connect(told.append)
    tabs.resize(300, 600)
    tabs.show()
    let_events_pass()
    second.resize(900, 100)
    let_events_pass()
    assert told == []
    tabs.resize(900, 300)
    let_events_pass()
    assert told == []
    tabs.setCurrentWidget(second)
    qtbot.waitUntil(lambda: told == [True])
