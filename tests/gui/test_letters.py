"""Letters: what is seen has one, nobody has two, none is napari's, and Python never sees the sign that underlines."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from gui_cases import let_events_pass
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QAbstractButton, QLabel, QLineEdit, QMainWindow, QWidget

from napari_uda.gui.kit import letters
from napari_uda.gui.kit.layout import column, form
from napari_uda.gui.kit.letters import digits_of, match
from napari_uda.gui.kit.widgets import Foldable, button, check_box, tool_button


@pytest.fixture
def window(qtbot: QtBot) -> QMainWindow:
    window = QMainWindow()
    qtbot.addWidget(window)
    window.menuBar().addMenu("&File")
    window.setCentralWidget(QWidget())
    return window


def show(window: QMainWindow, *parts: QWidget) -> None:
    column(*parts, of=window.centralWidget())
    window.show()
    window.activateWindow()
    let_events_pass()


def key(one: QAbstractButton) -> str:
    return str(one.shortcut().toString())


def test_as_many_as_can_have_a_letter_have_one() -> None:
    # by hand: the first must let go of A, and the second of B
    assert match([["A", "B"], ["B", "C"], ["A"]]) == ["B", "C", "A"]
    assert match([["A"], ["A"], []]) == ["A", "", ""]
    assert match([]) == []


def test_the_words_stay_as_they_are(window: QMainWindow) -> None:
    one, other = button("Fine & good"), check_box("Fine too")
    show(window, one, other)
    assert (one.text(), other.text()) == ("Fine & good", "Fine too")
    assert (key(one), key(other)) == ("Alt+G", "Alt+I")  # F is that of the menu, T napari's
    assert QAbstractButton.text(one).count("&") == 3  # two of them are the word
    one.setText("Export (X)")  # a key of its own
    let_events_pass()
    assert (one.text(), key(one)) == ("Export (X)", "")


def test_a_letter_presses_what_is_seen(window: QMainWindow, qtbot: QtBot) -> None:
    pressed = list[str]()
    hidden = button("Apply", "", lambda: pressed.append("hidden"))
    shown = button("Apply", "", lambda: pressed.append("shown"))
    show(window, hidden, shown)
    assert key(hidden) != key(shown)
    hidden.hide()
    shown.setText("Adopt")
    let_events_pass()
    letter = key(shown).rpartition("+")[2]
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClick(window, getattr(Qt.Key, f"Key_{letter}"), Qt.KeyboardModifier.AltModifier)
    qtbot.waitUntil(lambda: pressed == ["shown"])


def test_titles_and_groups_have_letters_and_lead_to_their_fields(
    window: QMainWindow, qtbot: QtBot
) -> None:
    field, place = QLineEdit(), QWidget()
    form(("Learning rate", field), of=place)
    fold = Foldable("More", QWidget())
    show(window, fold, place)
    (title,) = (one for one in place.findChildren(QLabel) if one.buddy() is field)
    letter = QKeySequence.mnemonic(QLabel.text(title)).toString().rpartition("+")[2]
    assert (title.text(), fold.text()) == ("Learning rate", "More")
    assert key(fold.toggleButton()) not in ("", f"Alt+{letter}")
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClick(window, getattr(Qt.Key, f"Key_{letter}"), Qt.KeyboardModifier.AltModifier)
    assert window.focusWidget() is field


def test_what_is_left_without_a_letter_has_a_digit(window: QMainWindow) -> None:
    buttons = [button("Aa"), button("Aa"), tool_button("?"), button("Aa (X)")]
    show(window, *buttons)
    assert [key(one) for one in buttons] == ["Alt+A", "Alt+1", "", ""]
    assert digits_of(window) == [("Alt+1", "Aa")]


def test_a_title_goes_before_what_can_have_a_digit(window: QMainWindow) -> None:
    """A field that no letter leads to would be left to Tab; a button has a digit."""
    opens, section, field, place = button("Aa"), tool_button("Aa"), QLineEdit(), QWidget()
    opens.setObjectName("open_something")
    form(("Aa", field), of=place)
    show(window, opens, section, place)
    (title,) = (one for one in place.findChildren(QLabel) if one.buddy() is field)
    assert QKeySequence.mnemonic(QLabel.text(title)).toString() == "Alt+A"
    assert {key(opens), key(section)} == {"Alt+1", "Alt+2"}


def test_letters_are_given_without_a_search_and_only_for_another_text(
    window: QMainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, gone = button("Apply"), button("Away")
    show(window, one, gone)
    search, look = Mock(wraps=window.findChildren), Mock(wraps=letters.look_again)
    window.findChildren = search  # type: ignore[method-assign]
    monkeypatch.setattr(letters, "look_again", look)
    one.setText("Apply")
    look.assert_not_called()
    gone.setParent(None)
    gone.deleteLater()
    let_events_pass()
    one.setText("Move")
    let_events_pass()
    look.assert_called_once_with(one)
    assert key(one) == "Alt+M"
    direct = Qt.FindChildOption.FindDirectChildrenOnly
    assert [call.kwargs["options"] for call in search.call_args_list] == [direct]
