"""What napari frees when layers go is freed in the context that draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtWidgets import QOpenGLWidget
from vispy.gloo.context import GLContext

from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.canvas import FreeingInCanvas, free_in_canvas, make_current
from napari_uda.gui.kit.grid import SideBySide


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Viewer], qtbot: QtBot) -> Viewer:
    """A shown viewer with three layers; its window knows `free_in_canvas`."""
    shown = make_napari_viewer(show=True)
    for _ in range(3):
        shown.add_image(np.zeros((4, 4)))
    qtbot.waitUntil(lambda: canvas_of(shown).isValid())
    free_in_canvas(shown)
    return shown


@pytest.fixture
def elsewhere(viewer: Viewer) -> Iterator[Callable[[], None]]:
    """Makes another context current, as Qt does after every drawing."""
    context, surface = QOpenGLContext(), QOffscreenSurface()
    surface.create()
    assert context.create()

    def leave() -> None:
        assert context.makeCurrent(surface)

    yield leave
    context.doneCurrent()


def canvas_of(viewer: Viewer) -> QOpenGLWidget:
    (canvas,) = viewer.window.main_menu.window().findChildren(QOpenGLWidget)
    return canvas


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The contexts that were current when napari sent what it had to say to OpenGL, its deletions as well."""
    found: list[Any] = []
    flush = GLContext.flush_commands

    def noted(self: GLContext, event: Any = None) -> None:
        found.append(QOpenGLContext.currentContext())
        flush(self, event)

    monkeypatch.setattr(GLContext, "flush_commands", noted)
    return found


def test_a_layer_is_freed_where_it_was_drawn(
    viewer: Viewer, elsewhere: Callable[[], None], contexts: list[Any]
) -> None:
    first, *_, viewer.layers.selection.active = viewer.layers
    elsewhere()
    viewer.layers.remove(first)
    assert set(contexts) == {canvas_of(viewer).context()}


def test_a_grid_is_left_where_it_was_drawn(
    viewer: Viewer, elsewhere: Callable[[], None], contexts: list[Any]
) -> None:
    first, *others = viewer.layers
    grid = SideBySide(viewer, first, others)
    for _ in grid.enter():
        pass
    viewer.layers.events.removed.connect(elsewhere)  # as when Qt draws meanwhile
    grid.leave()
    assert set(contexts) == {canvas_of(viewer).context()}


def test_it_is_done_once_for_all_docks_of_a_window(viewer: Viewer) -> None:
    def listeners() -> int:
        return len(viewer.layers.events.removing.callbacks)

    before = listeners()
    free_in_canvas(viewer)
    assert listeners() == before
    window = viewer.window.main_menu.window()
    assert len(window.findChildren(FreeingInCanvas)) == 1


@pytest.mark.parametrize("name", ["Train", "Segment", "Translate", "Score", "View"])
def test_every_dock_asks_for_it(
    name: str, make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    viewer.window.add_plugin_dock_widget("napari_uda", name)
    window = viewer.window.main_menu.window()
    assert window.findChild(FreeingInCanvas) is not None
    qtbot.waitUntil(lambda: not jobs.running(), timeout=60_000)


def test_a_viewer_without_a_window_needs_none() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 4)))
    free_in_canvas(viewer)
    make_current(viewer)
    viewer.layers.pop()
    assert len(viewer.layers) == 0
