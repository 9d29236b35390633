"""Docks of napari_uda stand in one place as tabs, until the user puts them elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_uda.gui import worker


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
    qtbot.wait(50)
    assert window.tabifiedDockWidgets(score) == []
    qtbot.waitUntil(lambda: not worker._running, timeout=60_000)


def test_a_dock_of_somebody_else_is_left_alone(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    other = viewer.window.add_dock_widget(QWidget(), name="somebody's", area="right")
    score, widget = viewer.window.add_plugin_dock_widget("napari_uda", "Score")
    qtbot.waitUntil(widget.isVisible)
    qtbot.wait(50)
    assert score.parentWidget().tabifiedDockWidgets(score) == []
    assert not other.visibleRegion().isEmpty()
