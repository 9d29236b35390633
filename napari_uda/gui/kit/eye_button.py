"""EyeButton: shows or hides what it stands beside."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRectF
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QToolButton


class EyeButton(QToolButton):
    """An open eye while it is pressed, a crossed one otherwise, drawn in the theme's text colour."""

    def paintEvent(self, event: QPaintEvent) -> None:
        """The eye, and the frame that says where the keyboard is."""
        painter = QPainter(self)
        if self.hasFocus():
            painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Highlight), 2))
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))
        colour = self.palette().color(QPalette.ColorRole.WindowText)
        middle = QPointF(self.width() / 2, self.height() / 2)
        draw_eye(painter, middle, colour, opened=self.isChecked())
        painter.end()


def draw_eye(painter: QPainter, middle: QPointF, colour: QColor, *, opened: bool) -> None:
    """Draw an open eye, or a pale one that is crossed out."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    colour = QColor(colour)
    if not opened:
        colour.setAlphaF(0.4)
    painter.setPen(QPen(colour, 1.4))
    painter.drawEllipse(QRectF(middle.x() - 7, middle.y() - 4, 14, 8))
    if opened:
        painter.setBrush(colour)
        painter.drawEllipse(middle, 2.2, 2.2)
    else:
        painter.drawLine(middle + QPointF(-6, 6), middle + QPointF(6, -6))
