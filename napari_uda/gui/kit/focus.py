"""FocusFrame: shows where the keyboard is, which napari's themes do not."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QApplication, QDockWidget, QWidget

from napari_uda.gui.kit.panel import Panel

_MOVES = (QEvent.Type.Move, QEvent.Type.Resize, QEvent.Type.Show, QEvent.Type.Hide)
_AROUND, _PEN = 2, 2


class FocusFrame(Panel):
    """A frame around the widget of a dock that the keyboard has come to; clicks draw none."""

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self.setObjectName("focus_frame")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hide()
        self._dock = dock
        self._followed: list[QWidget] = []  # the widget, and what it moves with
        application = QApplication.instance()
        if isinstance(application, QApplication):
            application.focusChanged.connect(self._on_focus)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the widget, also when it is scrolled."""
        if event.type() in _MOVES:
            self._fit()
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        """The frame, in the theme's text colour."""
        painter = QPainter(self)
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.WindowText), _PEN))
        painter.drawRect(self.rect().adjusted(1, 1, -1, -1))
        painter.end()

    def _on_focus(self, _: QWidget | None, now: QWidget | None) -> None:
        for one in self._followed:
            one.removeEventFilter(self)
        self._followed = []
        clicked = bool(QApplication.mouseButtons() & Qt.MouseButton.LeftButton)
        docked = isinstance(self._dock.parentWidget(), QDockWidget)  # parts leave it to the whole
        if now is None or clicked or not docked or not self._dock.isAncestorOf(now):
            self.hide()
            return
        while now is not None and now is not self._dock:
            now.installEventFilter(self)
            self._followed.append(now)
            now = now.parentWidget()
        self._fit()

    def _fit(self) -> None:
        target = self._followed[0] if self._followed else None
        seen = None if target is None else target.visibleRegion().boundingRect()
        if target is None or seen is None or seen.isEmpty():
            self.hide()
            return
        seen.moveTopLeft(target.mapTo(self._dock, seen.topLeft()))
        self.setGeometry(seen.adjusted(-_AROUND, -_AROUND, _AROUND, _AROUND))
        self.raise_()
        self.show()
