"""Panel: the base of every widget of the docks. An error in one of its slots becomes a notification.

PyQt5 ends the process on an exception in a slot unless napari's own loop runs. Methods whose name begins
with `_on_` are therefore guarded, with nothing to be written at the method itself.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

from napari_uda.core.errors import InputError, sentence

logger = logging.getLogger(__name__)
_TRIES = 20


class Guarded:
    """Guards the `_on_` methods of a subclass; mix it into a QObject that is no widget."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for name, member in list(vars(cls).items()):
            if name.startswith("_on_") and inspect.isfunction(member):
                setattr(cls, name, guarded(member))


class Panel(Guarded, QWidget):
    """A widget whose `_on_` methods can be connected to any signal.

    They return nothing, they may take fewer arguments than the signal sends, and what they raise is
    shown to the user in one sentence.
    """


def guarded(function: Callable[..., Any]) -> Callable[..., None]:
    """A function safe to connect; for a lambda or a local function, `Panel` guards methods itself.

    Arguments that the function does not take are dropped.
    """
    count = most_arguments(function)

    @functools.wraps(function)
    def safe(*arguments: Any) -> None:
        try:
            function(*arguments[:count])
        except Exception as error:
            if not isinstance(error, InputError):
                logger.exception("%s failed", getattr(function, "__qualname__", function))
            show_error(sentence(error))

    return safe


def listen(owner: QObject, slot: Callable[..., None], *events: Any) -> None:
    """Connect events of napari to a slot until `owner` is destroyed: none reaches a dead widget."""
    Following(owner, slot).follow(*events)


class Following:
    """Connects events of napari to a slot, others from time to time, none once `owner` is destroyed."""

    def __init__(self, owner: QObject, slot: Callable[..., None]) -> None:
        self._slot = slot
        self._events: tuple[Any, ...] = ()
        owner.destroyed.connect(lambda: self.follow())

    def follow(self, *events: Any) -> None:
        """Listen to these events and no more to those before."""
        before, self._events = self._events, events
        for event in before:
            if event not in events:
                event.disconnect(self._slot)
        for event in events:
            if event in before:  # connecting is slow
                continue
            _connect(event, self._slot)


def _connect(event: Any, slot: Callable[..., None]) -> None:
    """Connect to an event of napari, whose thread for the status bar connects to layers at any time, too.

    Where the two meet, napari miscounts and has connected nothing (findings/napari-status-thread-connects.sh).
    """
    for _ in range(_TRIES - 1):
        with suppress(RuntimeError):
            event.connect(slot)
            return
    event.connect(slot)


def delay(owner: QObject, milliseconds: int, slot: Callable[..., None]) -> QTimer:
    """A timer that calls a slot once, so long after it was last started."""
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(slot)
    return timer


def most_arguments(function: Callable[..., Any]) -> int | None:
    """How many positional arguments a function takes at most; None when all are to be handed on."""
    code = getattr(function, "__code__", None)
    if code is not None and not hasattr(function, "__wrapped__"):  # signatures are slow
        several = code.co_flags & inspect.CO_VARARGS
        return None if several else code.co_argcount - inspect.ismethod(function)
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # methods of Qt do not say
        return None
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    return sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)
