"""A threshold on entropy: what it keeps, what is drawn of it, and the way to uncertain slices."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QSlider, QWidget

from napari_uda.core.structure_colours import RELIABLE_COLOUR, UNRELIABLE_COLOUR, full_name
from napari_uda.evaluation.figures import BarPlot
from napari_uda.gui.kit.export_picture import picture_button
from napari_uda.gui.kit.layout import column, row, wrapped
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import button, check_box, label, named
from napari_uda.uncertainty.entropy_counts import STEPS, Uncertainty

NO_RESULT = "No result yet: segment an image, or open a prediction and its entropy map."
NO_MAP = "No entropy map belongs to this result; segment the image, or open the map."
COUNTING = "Counting the voxels of this result…"
_FIRST_STEP = 50
_HEIGHT_PIXELS = 84
_AXIS_PIXELS = 14


class EntropyPanel(Panel):
    """Shows an `Uncertainty`; knows no viewer.

    `drawing_changed()` says that the threshold or one of the boxes `map`, `map_above` and `contours`
    changed. Who knows the slices listens to the button `next`.
    """

    drawing_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._uncertainty: Uncertainty | None = None
        self._why_none = NO_RESULT
        self.slider = named(
            QSlider(Qt.Orientation.Horizontal),
            "threshold",
            "Voxels with an entropy below the threshold count as certain",
        )
        self.slider.setRange(1, STEPS)
        self.slider.setValue(_FIRST_STEP)
        self.slider.valueChanged.connect(self._on_slider)
        self.value = label(name="threshold_value", wrap=False)
        self.histogram = EntropyHistogram(STEPS)
        self.histogram.step_chosen.connect(self.slider.setValue)
        self.map = check_box("Map", "Show the entropy map over the image", name="map")
        self.map_above = check_box(
            "only above", "Leave the map out where entropy is below the threshold", name="map_above"
        )
        self.contours = check_box(
            "Contours",
            "Draw lines of equal entropy: at the threshold, and at 0.25, 0.5 and 0.75 above it",
            name="contours",
        )
        for box in (self.map, self.map_above, self.contours):
            box.toggled.connect(self.drawing_changed)
        self.kept = label(name="kept")
        self.kept.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.next = button("Next uncertain slice", name="next_uncertain")
        self.rank = label(name="rank")
        export = picture_button(
            self.picture, "this histogram", "entropy", "export_entropy", short=True
        )
        column(
            self.histogram,
            row(label("Threshold", wrap=False), (self.slider, 1), self.value),
            wrapped(self.map, self.map_above, self.contours, export),
            self.kept,
            self.next,
            self.rank,
            ...,
            of=self,
        ).setContentsMargins(0, 4, 0, 0)
        self.show_uncertainty(None)

    @property
    def step(self) -> int:
        """The threshold, in hundredths."""
        return int(self.slider.value())

    def picture(self) -> BarPlot | None:
        """The histogram as a picture for paper; None without counts."""
        if self._uncertainty is None:
            return None
        edges = np.linspace(0, 1, STEPS + 1)
        counts = np.log1p(self._uncertainty.of_structures.astype(float))
        colours = [
            RELIABLE_COLOUR if index < self.step else UNRELIABLE_COLOUR for index in range(STEPS)
        ]
        below = f"threshold {self.step / STEPS:.2f}"
        return BarPlot(edges, counts, colours, "entropy", "log(1 + voxels)", note=below)

    def show_uncertainty(self, uncertainty: Uncertainty | None, why_none: str = NO_RESULT) -> None:
        """Show counts, or why there are none; the threshold stays."""
        self._uncertainty, self._why_none = uncertainty, why_none
        boxes = (self.map, self.map_above, self.contours)
        for widget in (self.slider, self.histogram, *boxes):
            widget.setEnabled(uncertainty is not None)
        if uncertainty is not None:
            self.histogram.show_counts(uncertainty.of_structures)
        ranked = uncertainty is not None and bool(uncertainty.ranking())
        self.next.setEnabled(ranked)
        self.next.setToolTip(
            "Slices by mean entropy of their predicted pixels, the most uncertain first"
            if ranked
            else why_none
            if uncertainty is None
            else "No structure was found, so that there is no slice to go to."
        )
        self.rank.setText("")
        self._describe()

    def show_slice(self, index: int | None, title: str = "") -> None:
        """Say what place the slice on screen, called `title`, has in the ranking."""
        uncertainty = self._uncertainty
        if uncertainty is None or index is None:
            self.rank.setText("")
            return
        ranking = uncertainty.ranking()
        title = title[:1].upper() + title[1:]
        if index in ranking:
            place = f"number {ranking.index(index) + 1} of {len(ranking)} by mean entropy"
            self.rank.setText(f"{title}: {place}, {uncertainty.slices[index]:.3f}")
        else:
            self.rank.setText(f"{title}: no structure predicted")

    def _describe(self) -> None:
        step, uncertainty = self.step, self._uncertainty
        self.value.setText(f"{step / STEPS:.2f}")
        self.histogram.set_step(step)
        if uncertainty is None:
            self.kept.setText(self._why_none)
            return
        structures, volume = uncertainty.kept_of_structures(step), uncertainty.kept(step)
        lines = [
            f"Kept: {_percent(structures)} of the structures, {_percent(volume)} of the volume"
        ]
        if uncertainty.has_reference:
            below, above = (uncertainty.dice(step, below=side) for side in (True, False))
            lines.append(f"Mean Dice: {_mean(below)} below the threshold, {_mean(above)} above it")
            self.kept.setToolTip(
                "Dice below and above the threshold\n"
                + "\n".join(
                    f"{full_name(name)}: {_number(below[name])}, {_number(above[name])}"
                    for name in below
                )
            )
        else:
            lines.append("Open the reference of this case to see Dice on both sides.")
            self.kept.setToolTip("")
        self.kept.setText("\n".join(lines))

    def _on_slider(self) -> None:
        self._describe()
        self.drawing_changed.emit()


def _percent(share: float) -> str:
    return "none" if math.isnan(share) else f"{share:.1%}"


def _mean(dice: Mapping[str, float]) -> str:
    known = [value for value in dice.values() if not math.isnan(value)]
    return _number(sum(known) / len(known) if known else math.nan)


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.3f}"


class EntropyHistogram(QWidget):
    """Bars on a logarithmic scale, blue below the threshold and yellow from it on.

    `step_chosen(int)` is emitted when the user clicks or drags; it does not move the threshold itself.
    """

    step_chosen = Signal(int)

    def __init__(self, steps: int) -> None:
        """Build.

        Args:
            steps: number of bins over [0, 1].
        """
        super().__init__()
        self.setMinimumHeight(_HEIGHT_PIXELS)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.SizeHorCursor)
        named(
            self,
            "entropy_histogram",
            "Voxels of the structures by entropy, on a logarithmic scale; drag to set the threshold",
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

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take the threshold under the mouse."""
        self._choose(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Take the threshold under the mouse."""
        self._choose(event)

    def _choose(self, event: QMouseEvent) -> None:
        self.step_chosen.emit(self.step_at(event.pos().x()))

    def paintEvent(self, event: QPaintEvent) -> None:
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
