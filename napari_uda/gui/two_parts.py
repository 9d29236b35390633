"""TwoParts: controls above what they lead to in a side dock, beside it in a bottom dock."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtWidgets import QBoxLayout, QFrame, QScrollArea, QSizePolicy, QWidget

from napari_uda.gui.longer_side import LongerSide
from napari_uda.gui.worker import guarded

_LEAST_PIXELS = 80  # of controls that scroll


class TwoParts(QWidget):
    """Lays two widgets along its longer side. `turned(bool)` says whether they lie side by side now."""

    turned = Signal(bool)

    def __init__(self, controls: QWidget, results: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        # napari pushes what does not expand to the top of a side dock
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._outer = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self._outer.setContentsMargins(0, 0, 0, 0)
        self._outer.addWidget(Scrolling(controls), 0)
        self._outer.addWidget(results, 1)
        LongerSide(self).turned.connect(self._lay)

    @guarded
    def _lay(self, wide: bool) -> None:
        ways = QBoxLayout.Direction
        self._outer.setDirection(ways.LeftToRight if wide else ways.TopToBottom)
        self.turned.emit(wide)


class Scrolling(QScrollArea):
    """Shows a widget as tall as it is where there is room, and scrolls it where there is not."""

    def __init__(self, content: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)
        content.installEventFilter(self)

    def sizeHint(self) -> QSize:
        """The content's, at the width there is."""
        content = self.widget()
        hint = content.sizeHint()
        if content.hasHeightForWidth():
            height = content.heightForWidth(max(self.viewport().width(), hint.width()))
            # below its minimum the content would scroll by a few pixels
            hint.setHeight(max(height, content.minimumSizeHint().height()))
        frame = 2 * self.frameWidth()
        return hint + QSize(self.verticalScrollBar().sizeHint().width() + frame, frame)

    def minimumSizeHint(self) -> QSize:
        """Wide enough never to scroll sideways."""
        bar = self.verticalScrollBar().sizeHint().width()
        return QSize(self.widget().minimumSizeHint().width() + bar, _LEAST_PIXELS)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask for another height when the content needs one."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return False
