"""SlicePane: one slice as a picture with a cross at the cursor; clicks and the wheel move the cursor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QWheelEvent,
)
from qtpy.QtWidgets import QSizePolicy

from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.sides import Sides

_CROSS = "#3DDC84"
_GAP_PIXELS = 8  # the cross leaves the point itself free
_NOTCH = 120  # of a mouse wheel, in eighths of a degree


class SlicePane(Panel):
    """Knows no viewer.

    Signals: `pointed(float, float)`, row and column of a click or drag in pixels of the slice;
    `hovered(float, float)`, the same under the mouse; `scrolled(int)`, slices to go on.

    Attributes:
        pixels: `(H, W, 3)` of the slice.
        cross: row and column of the cross; None for no cross.
        sides: letters at the edges; None for none.
        mirrored: whether the columns run to the left.
        title: what is written in the upper left corner.
        note: what is written in the middle, or below the slice.
    """

    pointed = Signal(float, float)
    hovered = Signal(float, float)
    scrolled = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._image = QImage()
        self.pixels = np.zeros((0, 0, 3), np.uint8)  # QImage does not own them
        self._spacing = (1.0, 1.0)
        self.cross: tuple[float, float] | None = None
        self.sides: Sides | None = None
        self.mirrored = False
        self.title = self.note = ""
        self._turned = 0
        self._drawn: QPixmap | None = (
            None  # the slice without cross and text, in the size of the widget
        )
        self.setMinimumSize(100, 100)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMouseTracking(True)
        self.setToolTip("Click or drag to move the cursor, turn the wheel for other slices")

    def show_slice(
        self,
        pixels: NDArray[np.uint8],
        spacing: tuple[float, float],
        *,
        mirrored: bool = False,
        sides: Sides | None = None,
        title: str = "",
        note: str = "",
    ) -> None:
        """Show a slice.

        Args:
            pixels: `(H, W, 3)`.
            spacing: height and width of a pixel in any one unit.
            mirrored: whether the columns run to the left.
            sides: letters at the edges, as they are on the screen.
            title: what is written in the upper left corner.
            note: a sentence below the slice.
        """
        self.pixels = np.ascontiguousarray(pixels)
        height, width, _ = self.pixels.shape
        data = self.pixels.data  # PyQt takes any buffer
        self._image = QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888)  # type: ignore[call-overload]
        self._drawn = None
        self._spacing, self.mirrored = spacing, mirrored
        self.sides, self.title, self.note = sides, title, note
        self.update()

    def clear(self, why: str = "") -> None:
        """Show no slice, and the sentence that says why."""
        self._image, self._drawn = QImage(), None
        self.pixels = np.zeros((0, 0, 3), np.uint8)
        self.sides, self.cross, self.title, self.note = None, None, "", why
        self.update()

    def set_cross(self, row: float, column: float) -> None:
        """Move the cross; row and column in pixels of the slice, the middle of a pixel is whole."""
        self.cross = row, column
        self.update()

    def hide_cross(self) -> None:
        """Draw no cross: it lies elsewhere."""
        self.cross = None
        self.update()

    def point_of(self, x: float, y: float) -> tuple[float, float] | None:
        """Row and column under a point of the widget; None outside the slice."""
        area = self._area()
        if self._image.isNull() or not area.contains(QPointF(x, y)):
            return None
        across = (x - area.left()) / area.width()
        across = 1 - across if self.mirrored else across
        down = (y - area.top()) / area.height()
        return down * self._image.height() - 0.5, across * self._image.width() - 0.5

    def _area(self) -> QRectF:
        """Where the slice is drawn: as large as fits, pixels in their true proportion."""
        height = max(self._image.height() * self._spacing[0], 1e-9)
        width = max(self._image.width() * self._spacing[1], 1e-9)
        scale = min(self.height() / height, self.width() / width)
        tall, wide = height * scale, width * scale
        return QRectF((self.width() - wide) / 2, (self.height() - tall) / 2, wide, tall)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Move the cursor there."""
        self._tell(event, self.pointed.emit)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drag the cursor, or say what is under the mouse."""
        pressed = bool(event.buttons() & Qt.MouseButton.LeftButton)
        self._tell(event, self.pointed.emit if pressed else self.hovered.emit)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """One slice per notch; a touch pad's small turns add up."""
        self._turned += event.angleDelta().y()
        notches = int(self._turned / _NOTCH)
        self._turned -= notches * _NOTCH
        if notches:
            self.scrolled.emit(-notches)
        event.accept()

    def _tell(self, event: QMouseEvent, tell: Callable[[float, float], None]) -> None:
        where = event.pos()
        point = self.point_of(where.x(), where.y())
        if point is not None:
            tell(*point)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Slice, cross, letters and title on black."""
        ratio = self.devicePixelRatioF()
        if self._drawn is None or self._drawn.size() != self.size() * ratio:
            self._drawn = self._draw_slice(ratio)
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._drawn)
        if not self._image.isNull():
            self._draw_cross(painter, self._area())
        self._draw_text(painter)
        painter.end()

    def _draw_slice(self, ratio: float) -> QPixmap:
        """To be kept: scaling it takes longer than all else, and the cross moves more often."""
        drawn = QPixmap(self.size() * ratio)
        drawn.setDevicePixelRatio(ratio)
        drawn.fill(QColor("black"))
        if not self._image.isNull():
            image = self._image.mirrored(True, False) if self.mirrored else self._image
            painter = QPainter(drawn)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(self._area(), image)
            painter.end()
        return drawn

    def _draw_cross(self, painter: QPainter, area: QRectF) -> None:
        if self.cross is None:
            return
        row, column = self.cross
        across = (column + 0.5) / self._image.width()
        x = area.left() + (1 - across if self.mirrored else across) * area.width()
        y = area.top() + (row + 0.5) / self._image.height() * area.height()
        painter.setPen(QPen(QColor(_CROSS), 1))
        painter.drawLine(QPointF(area.left(), y), QPointF(x - _GAP_PIXELS, y))
        painter.drawLine(QPointF(x + _GAP_PIXELS, y), QPointF(area.right(), y))
        painter.drawLine(QPointF(x, area.top()), QPointF(x, y - _GAP_PIXELS))
        painter.drawLine(QPointF(x, y + _GAP_PIXELS), QPointF(x, area.bottom()))

    def _draw_text(self, painter: QPainter) -> None:
        font = self.font()
        font.setPixelSize(13)
        painter.setFont(font)
        whole = QRectF(self.rect()).adjusted(4, 2, -4, -2)
        inside = QRectF(whole)  # for the letters
        flags, middle = Qt.AlignmentFlag, Qt.AlignmentFlag.AlignVCenter
        wrapped = Qt.TextFlag.TextWordWrap
        below = flags.AlignBottom if not self._image.isNull() else flags.AlignVCenter
        texts = [(self.title, int(flags.AlignLeft | flags.AlignTop))]
        if self.note:
            texts.append((self.note, int(flags.AlignHCenter | below) | int(wrapped)))
        if self.sides is not None:
            if self.title:
                inside.setTop(
                    inside.top() + painter.fontMetrics().height()
                )  # the title may be long
            texts += [
                (self.sides.left, int(flags.AlignLeft | middle)),
                (self.sides.right, int(flags.AlignRight | middle)),
                (self.sides.top, int(flags.AlignHCenter | flags.AlignTop)),
                (self.sides.bottom, int(flags.AlignHCenter | flags.AlignBottom)),
            ]
        for text, where in texts:
            area = whole if text in (self.title, self.note) else inside
            painter.setPen(QColor("black"))
            painter.drawText(area.translated(1, 1), where, text)
            painter.setPen(QColor("white"))
            painter.drawText(area, where, text)
