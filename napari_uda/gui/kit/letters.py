"""Letters: Alt and the underlined letter press a button or go to a field.

They are given to what is seen, here and nowhere else: none twice in the window, and none that napari has. What is
left without gets Alt and a digit, which the help of the dock lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeySequence, QShowEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QDockWidget,
    QLabel,
    QMenuBar,
    QPushButton,
    QToolButton,
    QWidget,
)

from napari_uda.gui.kit.panel import Guarded, delay

_NAME = "napari_uda_letters"
_SIGN = "&"
_DIGITS = "1234567890"
_takers: WeakKeyDictionary[QWidget, None] = WeakKeyDictionary()
"""What takes letters, the oldest first: a look through everything in the window takes longer than the rest."""


class _Lettered:
    """Mixes into a widget with a text: Python reads and writes it without the sign that underlines."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        _takers[self] = None  # type: ignore[index]
        self.setText(text)

    def text(self) -> str:
        """As it is read."""
        return plain(super().text())  # type: ignore[misc]

    def setText(self, text: str | None) -> None:
        """Another text; it keeps the letter where it has it."""
        if text == self.text():
            return
        letter = _letter(super().text())  # type: ignore[misc]
        super().setText(_marked(text or "", letter))  # type: ignore[misc]
        look_again(self)

    def showEvent(self, event: QShowEvent) -> None:
        """It is seen, perhaps for the first time."""
        super().showEvent(event)  # type: ignore[misc]
        look_again(self)


class Button(_Lettered, QPushButton):
    """A button with a letter."""


class ToolButton(_Lettered, QToolButton):
    """A small button with a letter."""


class CheckBox(_Lettered, QCheckBox):
    """A box to tick with a letter."""


class Title(_Lettered, QLabel):
    """The title of a field, with the letter that leads to it."""


def adopt(button: QAbstractButton) -> None:
    """Give letters to a button of another library as well; its text has the sign that underlines."""
    _takers[button] = None


def plain(text: str) -> str:
    """A text without the sign that underlines."""
    return text.replace(_SIGN * 2, "\0").replace(_SIGN, "").replace("\0", _SIGN)


def look_again(widget: Any) -> None:
    """Give letters anew in the window of a widget, once it has come to rest."""
    window = widget.window()
    found = window.findChild(_Letters, _NAME, Qt.FindChildOption.FindDirectChildrenOnly)
    if widget.isVisible():
        (found or _Letters(window)).wait.start()


class _Letters(Guarded, QObject):
    """One for each window."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setObjectName(_NAME)
        self._window = window
        self.wait = delay(self, 0, self._on_rest)

    def _on_rest(self) -> None:
        found = list(_takers_in(self._window))
        seen = [one for one in found if _is_seen(one)]
        known = taken(self._window)
        free = [letter for letter in map(chr, range(65, 91)) if letter not in known]
        seen.sort(key=_rank)
        given = dict(zip(map(id, seen), match([_wanted(one, free) for one in seen]), strict=True))
        wrong = [one for one in found if _letter(_raw(one)) != given.get(id(one), "")]
        for letters in ({}, given):  # none is there twice in between
            for one in wrong:
                _write(one, _marked(plain(_raw(one)), letters.get(id(one), "")))
        buttons = [one for one in found if isinstance(one, QAbstractButton)]
        bare = [one for one in buttons if one in seen and not given[id(one)] and _needs_a_key(one)]
        digits = dict(zip(map(id, bare), _DIGITS, strict=False))
        for one in buttons:
            if not given.get(id(one)):
                digit = digits.get(id(one), "")
                one.setShortcut(QKeySequence(f"Alt+{digit}" if digit else ""))


def _takers_in(window: QWidget) -> Iterator[Any]:
    """What takes letters in a window, seen or not."""
    for one in list(_takers):
        with suppress(RuntimeError):  # Qt has deleted it, and Python still holds it
            if one.window() is window:
                yield one


def taken(window: QWidget) -> set[str]:
    """The letters that the menu bar has, and those of actions with Alt."""
    bars = window.findChildren(QMenuBar, options=Qt.FindChildOption.FindDirectChildrenOnly)
    texts = [a.text() for bar in bars for a in bar.actions()]
    keys = [QKeySequence.mnemonic(text).toString() for text in texts]
    return {key.rpartition("+")[2] for key in keys if key} | set(_NAPARIS)


_NAPARIS = "SCT"
"""Alt with these takes a screenshot, copies one, and shows how long napari takes."""


def match(wanted: Sequence[Sequence[str]]) -> list[str]:
    """Letters for as many as there are letters: the first that each wants where nobody else needs it more.

    Args:
        wanted: for each, the letters that it may have, the best first.

    Returns:
        A letter for each, "" for those that go without.
    """
    holder: dict[str, int] = {}

    def seat(index: int, tried: set[str]) -> bool:
        for letter in wanted[index]:
            if letter not in holder:
                holder[letter] = index
                return True
        for letter in wanted[index]:
            if letter not in tried:
                tried.add(letter)
                if seat(holder[letter], tried):
                    holder[letter] = index
                    return True
        return False

    for index in range(len(wanted)):
        seat(index, set())
    owned = {index: letter for letter, index in holder.items()}
    return [owned.get(index, "") for index in range(len(wanted))]


def _wanted(one: Any, free: Iterable[str]) -> list[str]:
    """Its letters that are free: the one it has, those that begin a word, the others."""
    text = plain(_raw(one)).upper()
    if not _needs_a_key(one):
        return []
    letters = [_letter(_raw(one)), *(word[:1] for word in text.split()), *text]
    known = set(free)
    return [letter for letter in dict.fromkeys(letters) if letter in known]


def digits_of(dock: QWidget) -> list[tuple[str, str]]:
    """The keys with digits of a dock, and the texts of their buttons."""
    buttons = [one for one in dock.findChildren(QAbstractButton) if one in _takers]
    keys = [(one.shortcut().toString(), plain(_raw(one)).strip()) for one in buttons]
    return sorted((key, text) for key, text in keys if key[-1:].isdigit())


def _needs_a_key(one: QWidget) -> bool:
    """Whether it has words, and no key of its own, which then stands behind them in brackets."""
    text = plain(_raw(one))
    return any(map(str.isalpha, text)) and not (text.endswith(")") and text[-3:-2] == "(")


def _rank(one: QWidget) -> int:
    """Who chooses first: what a dock is for, then titles, which cannot have digits; last what it opens files with."""
    if isinstance(one, QLabel):
        return 1
    if one.objectName().startswith("open_"):
        return 3
    return 0 if isinstance(one, Button) else 2


def _is_seen(one: QWidget) -> bool:
    """Whether it is on a page in front, in sight or scrolled away, in a dock that no other tab covers."""
    if not one.isVisible():
        return False
    dock = _dock_of(one)
    return dock is None or not dock.visibleRegion().isEmpty()


def _dock_of(one: QWidget) -> QWidget | None:
    parent = one.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return None if parent is None else parent.widget()


def _kind(one: Any) -> Any:
    """The class of Qt."""
    kinds = (QPushButton, QToolButton, QCheckBox, QLabel)
    return next(kind for kind in kinds if isinstance(one, kind))


def _raw(one: Any) -> str:
    return str(_kind(one).text(one))


def _write(one: Any, text: str) -> None:
    _kind(one).setText(one, text)


def _letter(raw: str) -> str:
    """The underlined letter of a text, or ""."""
    return QKeySequence.mnemonic(raw).toString().rpartition("+")[2]


def _marked(text: str, letter: str) -> str:
    """A text with the sign before a letter: where a word begins with it, else at its first place."""
    upper = text.upper()
    starts = [0, *(at + 1 for at, sign in enumerate(upper) if sign == " ")]
    places = [at for at in starts if letter and upper[at : at + 1] == letter]
    place = places[0] if places else upper.find(letter) if letter else -1
    parts = [text] if place < 0 else [text[:place], text[place:]]
    return _SIGN.join(part.replace(_SIGN, _SIGN * 2) for part in parts)
