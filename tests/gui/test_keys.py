"""Keys stand in napari's own list of shortcuts, and follow what the user chooses there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gui_cases import press_key
from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.key_bindings import coerce_keybinding
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QPushButton, QWidget

from napari_uda.gui.kit.dock import Dock
from napari_uda.gui.kit.keys import KEYS, Key, bind_keys, keys_of
from napari_uda.gui.kit.widgets import button, combo_box

KEY = "I"


@pytest.fixture
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A key in the table, with a name of its own in every test: napari keeps the actions."""
    name = f"{request.node.originalname}"
    monkeypatch.setitem(KEYS, name, Key(KEY, "Do it", ("Data",)))
    yield name
    action_manager.unbind_shortcut(f"napari_uda:{name}")


def keyed(qtbot: QtBot, viewer: ViewerModel, name: str, pressed: list[str]) -> QPushButton:
    owner = QWidget()
    qtbot.addWidget(owner)
    made = button("Do it", "What it does", name=name)
    made.setParent(owner)
    bind_keys(viewer, owner, (made, lambda: pressed.append(name)))
    return made


def test_a_key_is_listed_before_its_dock_is_built(qtbot: QtBot, name: str) -> None:
    assert coerce_keybinding(KEY) not in ViewerModel.class_keymap
    qtbot.addWidget(Dock())  # any
    assert ViewerModel.class_keymap[coerce_keybinding(KEY)].__name__ == f"napari_uda_{name}"
    press_key(ViewerModel(), KEY)  # and nothing happens


def test_another_key_stands_on_the_button_and_works(qtbot: QtBot, name: str) -> None:
    viewer, pressed = ViewerModel(), list[str]()
    made = keyed(qtbot, viewer, name, pressed)
    press_key(viewer, KEY)
    assert (made.text(), pressed) == (f"Do it ({KEY})", [name])
    # what napari's list of shortcuts does
    action_manager.unbind_shortcut(f"napari_uda:{name}")
    assert made.text() == "Do it"
    action_manager.bind_shortcut(f"napari_uda:{name}", "A")
    assert made.text() == "Do it (A)"
    assert keys_of(made.parentWidget()) == [("A", "Do it")]
    press_key(viewer, "A")
    assert pressed == [name, name]
    made.setEnabled(False)
    press_key(viewer, "A")
    assert pressed == [name, name]


def test_a_key_chosen_in_an_earlier_session_counts(
    qtbot: QtBot, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortcuts = get_settings().shortcuts
    chosen = {**shortcuts.shortcuts, f"napari_uda:{name}": ["Y"]}
    monkeypatch.setattr(shortcuts, "shortcuts", chosen)
    viewer, pressed = ViewerModel(), list[str]()
    assert keyed(qtbot, viewer, name, pressed).text() == "Do it (Y)"
    press_key(viewer, "Y")
    assert pressed == [name]


def test_the_dock_of_the_viewer_that_is_in_front_answers(qtbot: QtBot, name: str) -> None:
    viewer, other, pressed = ViewerModel(), ViewerModel(), list[str]()
    behind, front, elsewhere = list[str](), list[str](), list[str]()
    keyed(qtbot, viewer, name, behind)
    made = keyed(qtbot, viewer, name, front)
    keyed(qtbot, other, name, elsewhere)
    owner = made.parentWidget()
    with qtbot.waitExposed(owner):
        owner.show()
    press_key(viewer, KEY)
    assert (behind, front, elsewhere) == ([], [name], [])
    with qtbot.waitSignal(owner.destroyed):
        owner.deleteLater()
    press_key(viewer, KEY)
    assert (behind, front, elsewhere, pressed) == ([name], [name], [], [])


def test_a_widget_without_text_says_its_key_in_the_tooltip(qtbot: QtBot, name: str) -> None:
    viewer, owner = ViewerModel(), QWidget()
    qtbot.addWidget(owner)
    choice = combo_box([("a", 1)], "What", name=name)
    choice.setParent(owner)
    bind_keys(viewer, owner, (choice, lambda: None))
    assert choice.toolTip() == f"What\nKey: {KEY}"
    assert keys_of(owner) == [(KEY, "Do it")]
