"""Whether a widget stands or lies: told while it is seen, by shapes that last."""

from __future__ import annotations

from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QTabWidget, QWidget

from napari_uda.gui.kit.layout import LongerSide


def test_each_turn_is_told_once(qtbot: QtBot) -> None:
    widget, told = QWidget(), []
    qtbot.addWidget(widget)
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
        qtbot.wait(20)
        assert told == expected


def test_a_shape_of_a_moment_is_not_told(qtbot: QtBot) -> None:
    widget, told = QWidget(), []
    qtbot.addWidget(widget)
    LongerSide(widget).turned.connect(told.append)
    widget.resize(300, 600)
    widget.show()
    qtbot.wait(20)
    widget.resize(900, 100)
    widget.resize(300, 600)
    qtbot.wait(20)
    assert told == []


def test_a_shape_behind_a_tab_is_told_when_it_is_seen(qtbot: QtBot) -> None:
    tabs, first, second, told = QTabWidget(), QWidget(), QWidget(), []
    qtbot.addWidget(tabs)
    tabs.addTab(first, "first")
    tabs.addTab(second, "second")
    LongerSide(second).turned.connect(told.append)
    tabs.resize(300, 600)
    tabs.show()
    qtbot.waitExposed(tabs)
    second.resize(900, 100)
    qtbot.wait(20)
    assert told == []
    tabs.resize(900, 300)
    qtbot.wait(20)
    assert told == []
    tabs.setCurrentWidget(second)
    qtbot.waitUntil(lambda: told == [True])
