"""The docks as one bar of tabs: the entry Workbench opens it, and a menu never hides what lies behind a tab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gui_cases import let_events_pass, press_key
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QDockWidget, QMainWindow, QTabBar, QWidget

from napari_uda.gui import workbench
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.place import CANVAS_SHARE
from napari_uda.gui.workbench import DOCKS

ENTRIES = {f"{name} (napari_uda)" for name in ("Workbench", *DOCKS)}


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
    choose(viewer, "View")  # also the one in front: its own buttons close it
    let_events_pass()
    qtbot.waitUntil(lambda: is_seen(view.widget()) and not is_seen(data.widget()))
    view.close()
    let_events_pass()
    assert view.isHidden()
    choose(viewer, "View")
    qtbot.waitUntil(lambda: is_seen(view.widget()))
    data.close()  # means it, also behind a tab
    viewer.window.remove_dock_widget(data)
    let_events_pass()
    assert is_seen(view.widget())
    qtbot.waitUntil(lambda: not jobs.running())


@pytest.mark.parametrize("drawn", [True, False])
def test_a_dock_that_is_chosen_while_the_bar_opens_stays_in_front(
    viewer: Viewer, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, drawn: bool
) -> None:
    tabs = viewer.window.dock_widgets
    if not drawn:  # on a busy machine Data is still seen when the next one comes
        monkeypatch.setattr(workbench, "in_front", lambda viewer: "Data")
    choose(viewer, "Workbench")
    qtbot.waitUntil(lambda: "Train later (napari_uda)" in tabs)
    choose(viewer, "View")
    qtbot.waitUntil(lambda: "Score later (napari_uda)" in tabs and not jobs.running())
    let_events_pass()
    assert is_seen(tabs["View (napari_uda)"])
    assert not is_seen(tabs["Data (napari_uda)"])


def test_the_workbench_is_a_bar_of_tabs_with_short_names(viewer: Viewer, qtbot: QtBot) -> None:
    viewer.window.resize(1280, 720)
    window = viewer.window.main_menu.window()
    assert isinstance(window, QMainWindow)
    choose(viewer, "Workbench")

    def docks() -> list[QDockWidget]:
        found = {one.windowTitle(): one for one in window.findChildren(QDockWidget)}
        return [found[name] for name in DOCKS if name in found]

    def names() -> list[str]:
        bars = [bar for bar in window.findChildren(QTabBar) if bar.parent() is window]
        (bar,) = [bar for bar in bars if bar.count() > 2]
        assert bar.shape() == QTabBar.Shape.RoundedEast
        assert bar.sizeHint().height() <= bar.height()  # every name is there in full
        return [bar.tabText(index) for index in range(bar.count())]

    qtbot.waitUntil(lambda: len(docks()) == len(DOCKS) and not jobs.running())
    let_events_pass()
    first, *others = docks()
    assert set(window.tabifiedDockWidgets(first)) == set(others)
    assert is_seen(first.widget())
    assert names() == list(DOCKS)
    # only what is looked at is built
    assert set(viewer.window.dock_widgets) & ENTRIES == {"Data (napari_uda)"}
    others[DOCKS.index("Score") - 1].raise_()  # a click on its tab
    qtbot.waitUntil(lambda: "Score (napari_uda)" in viewer.window.dock_widgets)
    choose(viewer, "Translate")
    qtbot.waitUntil(lambda: is_seen(viewer.window.dock_widgets["Translate (napari_uda)"]))
    press_key(viewer, "N")  # of a dock that was never looked at
    view = viewer.window.dock_widgets["View (napari_uda)"]
    qtbot.waitUntil(lambda: is_seen(view))
    assert view.neurological.isChecked()
    let_events_pass()
    opened = {f"{name} (napari_uda)" for name in ("Data", "Translate", "Score", "View")}
    assert set(viewer.window.dock_widgets) & ENTRIES == opened
    assert names() == list(DOCKS)
    docks()[-1].close()
    choose(viewer, "Workbench")
    qtbot.waitUntil(lambda: is_seen(docks()[0].widget()) and docks()[-1].isVisible())
    let_events_pass()
    assert names() == list(DOCKS)
    assert set(viewer.window.dock_widgets) & ENTRIES == opened
    viewer.window.resize(1920, 1080)  # with room for more than in a small window
    qtbot.waitUntil(lambda: docks()[0].width() >= 1920 // 5)
    assert window.centralWidget().width() >= CANVAS_SHARE * 1920
    qtbot.waitUntil(lambda: not jobs.running())
