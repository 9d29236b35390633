"""EntropyHistogram: voxels by entropy as bars, with a threshold that can be dragged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_uda.core.structure_colours import RELIABLE_COLOUR, UNRELIABLE_COLOUR

_HEIGHT_PIXELS = 84
_AXIS_PIXELS = 14


class EntropyHistogram(QWidget):
    """Bars on a logarithmic scale, blue below the threshold and orange from it on.

    `step_chosen(int)` is emitted when the user clicks or drags; it does not move the threshold itself.
    """

    step_chosen = Signal(int)

    def __init__(self, steps: int, parent: QWidget | None = None) -> None:
        """Build.

        Args:
            steps: number of bins over [0, 1].
            parent: owner.
        """
        super().__init__(parent)
        self.setObjectName("entropy_histogram")
        self.setMinimumHeight(_HEIGHT_PIXELS)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.SizeHorCursor)
        self.setToolTip(
            "Voxels of the structures by entropy, on a logarithmic scale; drag to set the threshold"
        )
        self._steps = steps
        self._heights = np.zeros(steps)
        self._step = steps

    def show_counts(self, counts: NDArray[np.int64]) -> None:
        """Draw anew; `counts` has one entry per bin."""
        heights = np.log1p(counts.astype(np.float64))
        self._heights = heights / max(float(heights.max()), 1.0)
        self.update()

    def set_step(self, step: int) -> None:
        """Move the threshold."""
        self._step = step
        self.update()

    def step_at(self, x: float) -> int:
        """The threshold under a horizontal position in pixels: 1 to the number of bins."""
        return int(np.clip(round(x / max(self.width(), 1) * self._steps), 1, self._steps))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Take the threshold under the mouse."""
        self._choose(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Take the threshold under the mouse."""
        self._choose(event)

    def _choose(self, event: QMouseEvent | None) -> None:
        if event is not None:
            self.step_chosen.emit(self.step_at(event.position().x()))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Bars, threshold and the two ends of the axis."""
        painter = QPainter(self)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        bottom = self.height() - _AXIS_PIXELS
        width = self.width() / self._steps
        painter.setPen(Qt.PenStyle.NoPen)
        for index, height in enumerate(self._heights):
            colour = RELIABLE_COLOUR if index < self._step else UNRELIABLE_COLOUR
            painter.setBrush(QColor(colour))
            tall = height * (bottom - 2)
            painter.drawRect(QRectF(index * width, bottom - tall, width + 0.5, tall))
        painter.setPen(QPen(text, 1))
        painter.drawLine(0, bottom, self.width(), bottom)
        x = min(round(self._step * width), self.width() - 1)
        painter.setPen(QPen(text, 2))
        painter.drawLine(x, 0, x, bottom)
        painter.setPen(text)
        font = self.font()
        font.setPixelSize(10)
        painter.setFont(font)
        axis = QRectF(0, bottom, self.width(), _AXIS_PIXELS)
        painter.drawText(axis, int(Qt.AlignmentFlag.AlignLeft), "0")
        painter.drawText(axis, int(Qt.AlignmentFlag.AlignHCenter), "entropy")
        painter.drawText(axis, int(Qt.AlignmentFlag.AlignRight), "1")
        painter.end()
