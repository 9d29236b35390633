"""LongerSide: tells a widget when it begins to lie, as in a bottom dock, or to stand, as in a side dock."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_uda.gui.worker import guarded

_LYING = 1.3  # width over height from which a widget lies
_CHANGES = (QEvent.Type.Resize, QEvent.Type.Show, QEvent.Type.Paint)


class LongerSide(QObject):
    """Watches the shape of a widget while it is seen. `turned(bool)` says that it lies from now on, or stands.

    A widget stands until it is told otherwise. The shapes of one that is hidden mean nothing: napari
    squeezes the docks of a side when one more joins them, and behind a tab they keep that shape; laid out
    for it, they would hold the whole side as wide as a bottom dock.
    """

    turned = Signal(bool)

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._lies = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._look)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Look at the shape once what changes it has come to rest."""
        if event is not None and event.type() in _CHANGES and self._is_lying() != self._lies:
            self._timer.start(0)
        return False

    def _is_lying(self) -> bool:
        return self._widget.width() > _LYING * self._widget.height()

    @guarded
    def _look(self) -> None:
        lies = self._is_lying()
        if lies != self._lies and not self._widget.visibleRegion().isEmpty():
            self._lies = lies
            self.turned.emit(lies)
