"""Swatch: the small square that shows a colour beside a name."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap

_SWATCH_PIXELS = 14


def swatch(colour: str) -> QIcon:
    """A filled square with rounded corners."""
    pixmap = QPixmap(_SWATCH_PIXELS, _SWATCH_PIXELS)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(colour))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.drawRoundedRect(0, 0, _SWATCH_PIXELS, _SWATCH_PIXELS, 3, 3)
    painter.end()
    return QIcon(pixmap)
