"""WindowDrag: changes an image's window by dragging in the viewer with the left button."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_uda.gui.view.window_level import Window, data_range


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
