"""Docks of napari_uda stand in one place as tabs, until the user puts them elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gui_cases import let_events_pass
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget

from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.place import CANVAS_SHARE


def test_a_second_dock_joins_the_first(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    view, view_widget = viewer.window.add_plugin_dock_widget("napari_uda", "View")
    score, _ = viewer.window.add_plugin_dock_widget("napari_uda", "Score")
    window = view.parentWidget()
    assert isinstance(window, QMainWindow)
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(score) == [view])
    qtbot.waitUntil(lambda: view_widget.visibleRegion().isEmpty())  # the newest is in front
    # where it goes later is the user's
    window.addDockWidget(window.dockWidgetArea(view), view)
    view.hide()
    view.show()
    let_events_pass()
    assert window.tabifiedDockWidgets(score) == []
    qtbot.waitUntil(lambda: not jobs.running(), timeout=60_000)


def test_the_side_becomes_no_wider_than_its_widest_dock_asks_for(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1500, 900)
    docks, widgets = zip(
        *(
            viewer.window.add_plugin_dock_widget("napari_uda", name)
            for name in ("View", "Segment", "Score", "Translate")
        ),
        strict=True,
    )
    qtbot.waitUntil(lambda: not jobs.running(), timeout=60_000)
    let_events_pass()  # for the layout
    # squeezed below each other for a moment, they are wider than tall; it must not change them
    assert docks[-1].width() <= max(420, *(widget.minimumWidth() for widget in widgets))
    window = docks[0].parentWidget()
    window.resizeDocks([docks[-1]], [700], Qt.Orientation.Horizontal)
    window.resizeDocks([docks[-1]], [300], Qt.Orientation.Horizontal)
    qtbot.waitUntil(lambda: docks[-1].width() == 300)  # the user can have it as narrow again
    window.resize(1280, 720)  # the canvas keeps its share
    share = CANVAS_SHARE * 1280
    qtbot.waitUntil(lambda: window.centralWidget().width() >= share)
    let_events_pass(10)
    asked = docks[-1].width()
    assert asked > 250
    # the user draws the line beside it
    monkeypatch.setattr(QApplication, "mouseButtons", lambda: Qt.MouseButton.LeftButton)
    window.resizeDocks([docks[-1]], [asked - 30], Qt.Orientation.Horizontal)
    qtbot.waitUntil(lambda: docks[-1].width() <= asked - 30)  # the tabs beside it count
    drawn = docks[-1].width()
    monkeypatch.setattr(QApplication, "mouseButtons", lambda: Qt.MouseButton.NoButton)
    let_events_pass(10)
    assert docks[-1].width() == drawn


def test_a_dock_of_somebody_else_is_left_alone(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    other = viewer.window.add_dock_widget(QWidget(), name="somebody's", area="right")
    score, widget = viewer.window.add_plugin_dock_widget("napari_uda", "Score")
    qtbot.waitUntil(widget.isVisible)
    let_events_pass()
    assert score.parentWidget().tabifiedDockWidgets(score) == []
    qtbot.waitUntil(lambda: not other.visibleRegion().isEmpty())
