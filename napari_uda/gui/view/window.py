"""Window and level of an image: presets of CT, percentiles for MR, numbers, and dragging in the viewer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QWidget
from superqt.utils import signals_blocked

from napari_uda.gui.kit.dock import bind_keys
from napari_uda.gui.kit.layout import column, row
from napari_uda.gui.kit.panel import Following, Panel
from napari_uda.gui.kit.widgets import button, combo_box, named

DRAG_KEY = "G"
_LARGEST = 1e9
_SAMPLE = 200_000  # voxels that percentiles are taken from
_CT_AIR = -500  # Hounsfield units: nothing but CT reaches far below zero
_PIXELS_OF_RANGE = 600  # a drag of so many pixels crosses the whole range of the data
_LEAST_SHARE = 1e-4  # of the range: the narrowest window a drag gives


@dataclass(frozen=True)
class Window:
    """A window in the image's own units: `level` is its middle, `width` what lies between black and white."""

    width: float
    level: float

    @classmethod
    def of(cls, layer: Image) -> Window:
        """The window an image is shown with."""
        low, high = (float(limit) for limit in layer.contrast_limits)
        return cls(high - low, (low + high) / 2)

    @property
    def limits(self) -> tuple[float, float]:
        """Intensities that are black and white."""
        return self.level - self.width / 2, self.level + self.width / 2

    @property
    def decimals(self) -> int:
        """Digits after the point that its numbers need."""
        return 0 if self.width >= 50 else 2 if self.width >= 0.5 else 5

    def __str__(self) -> str:
        """`W 400  L 40`, with as many digits as the width needs."""
        level = self.level + math.copysign(1e-9, self.level)  # a half away from zero, as Qt rounds
        return f"W {self.width:.{self.decimals}f}  L {level:.{self.decimals}f}"

    def apply(self, layer: Image) -> None:
        """Show an image with this window, on all slices."""
        if layer.auto_contrast:  # napari would take the window back at the next slice
            layer.auto_contrast = False
        if tuple(layer.contrast_limits) != self.limits:
            layer.contrast_limits = self.limits

    def dragged(self, right: float, down: float, data_range: float) -> Window:
        """The window after a drag: to the right wider, downwards darker (a higher level).

        Args:
            right: pixels to the right.
            down: pixels downwards.
            data_range: largest minus smallest intensity of the image.
        """
        per_pixel = data_range / _PIXELS_OF_RANGE
        width = max(self.width + right * per_pixel, data_range * _LEAST_SHARE)
        return Window(width, self.level + down * per_pixel)


CT_PRESETS = {
    "soft tissue": Window(400, 40),
    "liver": Window(150, 90),
    "mediastinum": Window(350, 50),
    "lung": Window(1500, -600),
    "bone": Window(2500, 480),
    "brain": Window(80, 40),
}
"""Windows in Hounsfield units, by the organ they are for."""
PERCENTILES = ((1.0, 99.0), (0.5, 99.5), (5.0, 95.0), (0.0, 100.0))
"""Percentiles between which an image without a scale, such as MR, is shown."""


def percentile_window(layer: Image, low: float, high: float) -> Window:
    """The window between two percentiles of an image, from at most 200 000 of its voxels."""
    first, last = (float(limit) for limit in np.percentile(_sample(layer), (low, high)))
    return Window(last - first or 1.0, (first + last) / 2)


def data_range(layer: Image) -> float:
    """Largest minus smallest intensity, from a sample; 1 for a constant image."""
    sample = _sample(layer)
    return float(sample.max() - sample.min()) or 1.0


def usual_window(layer: Image) -> Window:
    """Soft tissue for what looks like CT, because some of it is air; else the 1st to 99th percentile."""
    if float(_sample(layer).min()) <= _CT_AIR:
        return CT_PRESETS["soft tissue"]
    return percentile_window(layer, *PERCENTILES[0])


def _sample(layer: Image) -> np.ndarray:
    """Voxels spread evenly over the volume, as floats; a single 0 for an empty one."""
    data = np.asarray(layer.data)
    step = math.ceil((data.size / _SAMPLE) ** (1 / 3)) or 1
    sample = data[::step, ::step, ::step].astype(np.float64).ravel()
    sample = sample[np.isfinite(sample)]
    return sample if sample.size else np.zeros(1)


class WindowPanel(Panel):
    """Presets, width and level of one image, and the button that lets a drag in the viewer change them.

    `changed()` is emitted when another image or another window is shown.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._image: Image | None = None
        self._contrast = Following(self, self._on_contrast)
        self._dragging = WindowDrag(viewer, lambda: self._image)
        self.destroyed.connect(self._dragging.leave)
        self.presets = combo_box(
            [
                ("Preset…", None),
                *((f"MR · {low:g} to {high:g} %", (low, high)) for low, high in PERCENTILES),
                *((_preset_text(name, one), one) for name, one in CT_PRESETS.items()),
            ],
            "MR: black and white are percentiles of the volume.\n"
            "CT: width and level in Hounsfield units.",
            name="presets",
        )
        self.presets.activated.connect(self._on_preset)
        self.width_box = self._number(
            0, "window_width", "Width: how many intensities lie between black and white"
        )
        self.level_box = self._number(
            -_LARGEST, "window_level", "Level: the intensity in the middle, a medium grey"
        )
        self.drag = button(
            f"Drag in the image ({DRAG_KEY})",
            "While pressed, dragging with the left button changes the window instead of moving the\n"
            "image: to the right wider, downwards darker",
            name="window_drag",
        )
        self.drag.setCheckable(True)
        self.drag.toggled.connect(self._on_drag)
        numbers = row(QLabel("W"), (self.width_box, 1), QLabel("L"), (self.level_box, 1))
        column(self.presets, numbers, self.drag, of=self, margin=0)
        bind_keys(viewer, self, {DRAG_KEY: (self.drag, self.drag.toggle)})
        self.show_image(None)

    def _number(self, least: float, name: str, tooltip: str) -> QDoubleSpinBox:
        box = named(QDoubleSpinBox(), name, tooltip)
        box.setRange(least, _LARGEST)
        box.setKeyboardTracking(False)  # a number counts once it is typed to its end
        box.valueChanged.connect(self._on_numbers)
        return box

    @property
    def shown(self) -> Window | None:
        """The window of the image; None without one."""
        return None if self._image is None else Window.of(self._image)

    def show_image(self, image: Image | None) -> None:
        """Show the window of an image and change it from now on; None disables all."""
        self._image = image
        self._contrast.follow(*(() if image is None else (image.events.contrast_limits,)))
        for widget in (self.presets, self.width_box, self.level_box, self.drag):
            widget.setEnabled(image is not None)
        self._on_contrast()

    def _on_contrast(self) -> None:
        window = self.shown
        if window is not None:
            for box, value in ((self.width_box, window.width), (self.level_box, window.level)):
                if box.hasFocus() and box.value() == round(value, box.decimals()):
                    continue  # what is being typed stays as it is
                with signals_blocked(box):
                    box.setDecimals(window.decimals)
                    box.setSingleStep(max(window.width / 50, 10.0**-window.decimals))
                    box.setValue(value)
        self.changed.emit()

    def _on_preset(self, index: int) -> None:
        chosen = self.presets.itemData(index)
        if self._image is None or chosen is None:
            return
        window = chosen if isinstance(chosen, Window) else percentile_window(self._image, *chosen)
        window.apply(self._image)

    def _on_numbers(self) -> None:
        if self._image is not None and self.width_box.value() > 0:
            Window(self.width_box.value(), self.level_box.value()).apply(self._image)

    def _on_drag(self, wanted: bool) -> None:
        self._dragging.active = wanted


def _preset_text(name: str, window: Window) -> str:
    return f"CT · {name} ({window.width:g} / {window.level:g})"


class WindowDrag:
    """While `active`, a drag changes width (to the right) and level (downwards) instead of panning."""

    def __init__(self, viewer: ViewerModel, image: Callable[[], Image | None]) -> None:
        """Attach to a viewer; `image` says whose window is meant."""
        self._viewer, self._image = viewer, image
        self._active = False
        self._callback = self._drag  # one object, to be found again
        viewer.mouse_drag_callbacks.append(self._callback)

    @property
    def active(self) -> bool:
        """Whether dragging changes the window."""
        return self._active

    @active.setter
    def active(self, wanted: bool) -> None:
        self._active = wanted
        layer = self._viewer.layers.selection.active  # one that is painted on does not pan either
        pans = layer is None or layer.mouse_pan
        self._viewer.scene.camera.mouse_pan = pans and not wanted

    def leave(self) -> None:
        """Detach from the viewer."""
        if self._active:
            self.active = False
        if self._callback in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._callback)

    def _drag(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        image = self._image()
        if not self._active or image is None or event.button != 1 or _is_edited(viewer):
            return
        if "Alt" in event.modifiers:  # napari draws a box to zoom into
            return
        viewer.scene.camera.mouse_pan = False  # another active layer may have set it
        start, (x, y), whole = Window.of(image), event.pos, data_range(image)
        yield
        while event.type == "mouse_move":
            start.dragged(event.pos[0] - x, event.pos[1] - y, whole).apply(image)
            yield


def _is_edited(viewer: ViewerModel) -> bool:
    """Whether the mouse paints: then it does nothing else."""
    active = viewer.layers.selection.active
    return isinstance(active, Labels) and str(active.mode) not in ("pan_zoom", "transform")
