"""The docks as one bar of tabs: the entry Workbench opens it, and a menu never hides what lies behind a tab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gui_cases import let_events_pass
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QDockWidget, QMainWindow, QTabBar, QWidget

from napari_uda.gui.kit import jobs
from napari_uda.gui.workbench import DOCKS


def choose(viewer: Viewer, title: str) -> None:
    """Plugins > napari_uda > title, as a user would."""
    menu: Any = viewer.window.plugins_menu
    menu.aboutToShow.emit()
    for name in ("napari_uda", title):
        action = next(one for one in menu.actions() if one.text().startswith(name))
        menu = action.menu() or action
    menu.trigger()


def is_seen(widget: QWidget) -> bool:
    return not widget.visibleRegion().isEmpty()


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Viewer]) -> Viewer:
    return make_napari_viewer(show=True)


def test_a_dock_behind_a_tab_comes_to_the_front_when_it_is_chosen(
    viewer: Viewer, qtbot: QtBot
) -> None:
    window = viewer.window.main_menu.window()
    for name in ("View", "Data"):
        choose(viewer, name)
    view, data = (
        window.findChild(QDockWidget, f"{name} (napari_uda)") for name in ("View", "Data")
    )
    qtbot.waitUntil(lambda: is_seen(data.widget()) and not is_seen(view.widget()))
    choose(viewer, "View")
    qtbot.waitUntil(lambda: is_seen(view.widget()) and not is_seen(data.widget()))
    assert data in window.tabifiedDockWidgets(view)  # it kept its place
    choose(viewer, "View")  # the one in front is switched off, as the mark at its entry says
    qtbot.waitUntil(lambda: view.isHidden() and is_seen(data.widget()))
    let_events_pass()
    assert view.isHidden()
    choose(viewer, "View")
    qtbot.waitUntil(lambda: is_seen(view.widget()))
    data.close()  # means it, also behind a tab
    viewer.window.remove_dock_widget(data)
    let_events_pass()
    assert is_seen(view.widget())
    qtbot.waitUntil(lambda: not jobs.running())


def test_the_workbench_is_a_bar_of_tabs_with_short_names(viewer: Viewer, qtbot: QtBot) -> None:
    viewer.window.resize(1280, 720)
    window = viewer.window.main_menu.window()
    assert isinstance(window, QMainWindow)
    choose(viewer, "Workbench")

    def docks() -> list[QDockWidget]:
        found = (window.findChild(QDockWidget, f"{name} (napari_uda)") for name in DOCKS)
        return [one for one in found if one is not None]

    qtbot.waitUntil(lambda: len(docks()) == len(DOCKS) and not jobs.running())
    let_events_pass()
    first, *others = docks()
    assert set(window.tabifiedDockWidgets(first)) == set(others)
    assert is_seen(first.widget())
    bars = [bar for bar in window.findChildren(QTabBar) if bar.parent() is window]
    (bar,) = [bar for bar in bars if bar.count() > 2]
    assert [bar.tabText(i) for i in range(bar.count())] == list(DOCKS)
    assert bar.shape() == QTabBar.Shape.RoundedEast
    assert bar.sizeHint().height() <= bar.height()  # every name is there in full
    assert "Workbench (napari_uda)" not in viewer.window.dock_widgets  # it shows nothing itself
    choose(viewer, "Score")
    others[-1].close()
    qtbot.waitUntil(lambda: not is_seen(first.widget()))
    choose(viewer, "Workbench")
    qtbot.waitUntil(lambda: is_seen(first.widget()) and others[-1].isVisible())
    assert len(docks()) == len(window.tabifiedDockWidgets(first)) + 1 == len(DOCKS)
    qtbot.waitUntil(lambda: not jobs.running())
