"""The way of Tab through a dock: as it is read, by row and from top to bottom, whatever was made first."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QApplication, QDockWidget, QWidget


def step(dock: QWidget, forward: bool) -> bool:
    """Take the keyboard to the next or previous stop of a dock, or out of it; False where there is none."""
    stops = tab_stops(dock)
    now = QApplication.focusWidget() or dock.focusWidget()
    if now is not None and not now.isVisible():
        return False  # it has just been hidden: Qt knows its place
    while now is not None and now not in stops and now is not dock:
        now = now.parentWidget()
    place = stops.index(now) if now in stops else -1  # also of a button that has just been disabled
    following = stops[place + 1 :] if forward else stops[: max(place, 0)][::-1]
    target = next((one for one in following if one.isEnabled()), None) or _outside(dock, forward)
    if target is None:
        return False
    reasons = Qt.FocusReason
    target.setFocus(reasons.TabFocusReason if forward else reasons.BacktabFocusReason)
    return True


def tab_stops(widget: QWidget) -> list[QWidget]:
    """The visible parts that Tab goes to, in reading order."""
    return [
        one
        for one in in_reading_order(widget)
        if one.focusPolicy() & Qt.FocusPolicy.TabFocus and one.focusProxy() is None
    ]


def in_reading_order(widget: QWidget) -> list[QWidget]:
    """The visible parts of a widget, by row and from top to bottom, each followed by its own parts."""
    parts = [one for one in widget.children() if isinstance(one, QWidget) and one.isVisible()]
    parts = [one for one in parts if not one.isWindow()]
    parts.sort(key=lambda one: one.geometry().center().y())
    rows: list[list[QWidget]] = []
    for part in parts:
        if rows and part.geometry().center().y() <= rows[-1][0].geometry().bottom():
            rows[-1].append(part)
        else:
            rows.append([part])
    found = []
    for row in rows:
        for part in sorted(row, key=lambda one: one.x()):
            found += [part, *in_reading_order(part)]
    return found


def _outside(dock: QWidget, forward: bool) -> QWidget | None:
    """The next widget of the window that is no part of the dock."""
    one = dock
    while True:
        one = one.nextInFocusChain() if forward else one.previousInFocusChain()
        if one is dock or one is None:
            return None
        wanted = one.isVisible() and one.isEnabled() and not dock.isAncestorOf(one)
        if wanted and one.focusPolicy() & Qt.FocusPolicy.TabFocus:
            return one


def lets_tab_leave(widget: QWidget) -> None:
    """Let Tab go on from a widget in a cell, which it has by now; a table would take it for the end of an edit."""
    widget.installEventFilter(_Leaving(widget))


class _Leaving(QObject):
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return False
        forward, back = Qt.Key.Key_Tab, Qt.Key.Key_Backtab
        if event.key() not in (forward, back) or not isinstance(watched, QWidget):
            return False
        return step(_all_of_dock(watched), event.key() == forward)


def _all_of_dock(widget: QWidget) -> QWidget:
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        widget, parent = parent, parent.parentWidget()
    return widget
