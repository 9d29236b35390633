"""Window and level of an image: presets of CT, percentiles for MR, numbers, and dragging in the viewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QWidget
from superqt.utils import signals_blocked

from napari_uda.data.window import (
    CT_PRESETS,
    PERCENTILES,
    Window,
    data_range,
    looks_like_ct,
    percentile_window,
)
from napari_uda.gui.kit.dock import bind_keys
from napari_uda.gui.kit.layout import column, row, wrapped
from napari_uda.gui.kit.panel import Following, Panel
from napari_uda.gui.kit.seen import shown_window
from napari_uda.gui.kit.widgets import button, combo_box, named

_LARGEST = 1e9


def apply_window(window: Window, layer: Image) -> None:
    """Show an image with a window, on all slices."""
    if layer.auto_contrast:  # napari would take the window back at the next slice
        layer.auto_contrast = False
    if tuple(layer.contrast_limits) != window.limits:
        layer.contrast_limits = window.limits


class WindowPanel(Panel):
    """Presets, width and level of one image, and the button that lets a drag in the viewer change them.

    `changed()` is emitted when another image or another window is shown.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
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
            "Drag in the image",
            "While pressed, dragging with the left button changes the window instead of moving the\n"
            "image: to the right wider, downwards darker",
            name="window_drag",
        )
        self.drag.setCheckable(True)
        self.drag.toggled.connect(self._on_drag)
        numbers = wrapped(
            *((one, 1) for one in (_beside("W", self.width_box), _beside("L", self.level_box)))
        )
        column(self.presets, numbers, self.drag, of=self, margin=0)
        bind_keys(viewer, self, (self.drag, self.drag.toggle), (self.presets, self._on_next_preset))
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
        return None if self._image is None else shown_window(self._image)

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
        window = (
            chosen if isinstance(chosen, Window) else percentile_window(self._image.data, *chosen)
        )
        apply_window(window, self._image)

    def _on_next_preset(self) -> None:
        """The next one for such an image, CT or not, that is not what is seen already; the first entry is none."""
        before = self.shown
        if self._image is None or before is None:
            return
        is_ct, here = looks_like_ct(self._image.data), self.presets.currentIndex()
        known = [(index, self.presets.itemData(index)) for index in range(1, self.presets.count())]
        fitting = [index for index, one in known if isinstance(one, Window) == is_ct]
        for index in sorted(fitting, key=lambda index: (index <= here, index)):
            self.presets.setCurrentIndex(index)
            self._on_preset(index)
            if not np.allclose(shown_window(self._image).limits, before.limits):
                return

    def _on_numbers(self) -> None:
        if self._image is not None and self.width_box.value() > 0:
            apply_window(Window(self.width_box.value(), self.level_box.value()), self._image)

    def _on_drag(self, wanted: bool) -> None:
        self._dragging.active = wanted


def _beside(text: str, box: QWidget) -> QWidget:
    made = QWidget()
    row(QLabel(text), (box, 1), of=made, margin=0)
    return made


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
        start, (x, y), whole = shown_window(image), event.pos, data_range(image.data)
        yield
        while event.type == "mouse_move":
            apply_window(start.dragged(event.pos[0] - x, event.pos[1] - y, whole), image)
            yield


def _is_edited(viewer: ViewerModel) -> bool:
    """Whether the mouse paints: then it does nothing else."""
    active = viewer.layers.selection.active
    return isinstance(active, Labels) and str(active.mode) not in ("pan_zoom", "transform")
