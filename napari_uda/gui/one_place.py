"""The docks of napari_uda share one place as tabs: napari would pile them up, each too low to be read."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_uda.gui.worker import guarded

_NAME_END = "(napari_uda)"


def share_place(widget: QWidget) -> None:
    """Let a dock join the others of napari_uda when it is first shown; where it goes later is the user's."""
    _Joining(widget)


class _Joining(QObject):
    """Waits for the first show of a widget; its dock is in the window by then, and nothing was drawn yet."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Show:
            self._widget.removeEventFilter(self)
            self._join()
        return False

    @guarded
    def _join(self) -> None:
        dock = _dock_of(self._widget)
        window = None if dock is None else dock.parentWidget()
        if dock is None or not isinstance(window, QMainWindow) or dock.isFloating():
            return
        area = window.dockWidgetArea(dock)
        others = [
            other
            for other in window.findChildren(QDockWidget)
            if other is not dock
            and other.objectName().endswith(_NAME_END)
            and other.isVisible()
            and not other.isFloating()
            and window.dockWidgetArea(other) == area
        ]
        if others and dock.objectName().endswith(_NAME_END):
            window.tabifyDockWidget(others[-1], dock)
            dock.raise_()


def _dock_of(widget: QWidget) -> QDockWidget | None:
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent
