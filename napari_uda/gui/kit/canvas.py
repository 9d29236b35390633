"""What removed layers drew with is freed in the canvas's own OpenGL context, else a later drawing may crash.

napari 0.9 frees buffers and textures right after a removal, in the context that happens to be current: after a
drawing that is Qt's, which puts the window together. The canvas's context then still points to the buffers, and
some drivers crash when it draws the next time.
"""

from __future__ import annotations

from typing import TypeVar

from napari.components import ViewerModel
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QOpenGLWidget, QWidget

from napari_uda.gui.kit.panel import Guarded, listen

T = TypeVar("T", bound=QObject)


def free_in_canvas(viewer: ViewerModel) -> None:
    """From now on, make the canvas's context current before a layer leaves `viewer`; once for a window."""
    one_in_window(viewer, FreeingInCanvas)


def one_in_window(viewer: ViewerModel, kind: type[T]) -> T | None:
    """The one object of a class that a viewer's window holds, made when there is none; None without a window.

    Args:
        viewer: whose window.
        kind: made by `kind(viewer, window)`, which is its parent.
    """
    window = window_of(viewer)
    if window is None:
        return None
    known = window.findChild(kind)
    if known is None:
        known = kind(viewer, window)  # type: ignore[call-arg] # a QObject's own takes a parent alone
    return known


def make_current(viewer: ViewerModel) -> None:
    """Make the canvas's context current, as the last thing in a batch that removes layers."""
    window = window_of(viewer)
    for canvas in window.findChildren(QOpenGLWidget) if window is not None else ():
        canvas.makeCurrent()


def window_of(viewer: ViewerModel) -> QWidget | None:
    """The window of a viewer; a bare model has none, and a closed viewer none any more."""
    window = getattr(viewer, "window", None)
    try:
        return None if window is None else window.main_menu.window()
    except RuntimeError:  # Qt has deleted it
        return None


def canvas_is_gone(viewer: ViewerModel) -> bool:
    """Whether Qt has deleted the canvas of a window that ends; a bare model has none to lose."""
    if getattr(viewer, "window", None) is None:
        return False
    window = window_of(viewer)
    return window is None or not window.findChildren(QOpenGLWidget)


class FreeingInCanvas(Guarded, QObject):
    """Stays with the window, also after the docks are gone: their layers may still be there."""

    def __init__(self, viewer: ViewerModel, window: QWidget) -> None:
        super().__init__(window)
        self._viewer = viewer
        # napari's own listeners to `removed` come before all others, and free
        listen(self, self._on_removing, viewer.layers.events.removing)

    def _on_removing(self) -> None:
        make_current(self._viewer)
