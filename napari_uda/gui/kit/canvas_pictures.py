"""Small pictures over napari's canvas, all of them drawn at once, so that a screenshot holds them as well.

napari's own text overlays are two drawings each, and a text that changes makes napari draw the canvas twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QOpenGLWidget, QWidget
from vispy.gloo import Texture2D, VertexBuffer
from vispy.gloo.context import canvasses
from vispy.scene import Grid, ViewBox
from vispy.scene.visuals import create_visual_node
from vispy.visuals import Visual

_ABOVE_ALL = 10**7
_VERTEX = """
attribute vec2 a_position;
attribute vec2 a_texcoord;
varying vec2 v_texcoord;
void main() {
    v_texcoord = a_texcoord;
    gl_Position = $transform(vec4(a_position, 0.0, 1.0));
}
"""
_FRAGMENT = """
uniform sampler2D u_texture;
varying vec2 v_texcoord;
void main() {
    gl_FragColor = texture2D(u_texture, v_texcoord);
}
"""
_QUAD = np.array([(0, 0), (1, 0), (1, 1), (0, 0), (1, 1), (0, 1)], np.float32)


class Box(NamedTuple):
    """A part of the canvas, in its pixels."""

    left: float
    top: float
    width: float
    height: float


Places = Callable[["PicturesVisual"], Mapping[str, list[tuple[float, float]]]]
"""Asked when they are about to be drawn; gives the places (left, top) of each picture by name."""


def box_of(view: ViewBox) -> Box:
    """Where a view lies on the canvas."""
    left, top = view.transform.translate[:2]
    return Box(float(left), float(top), float(view.rect.width), float(view.rect.height))


def place_in(view: ViewBox, point: tuple[float, ...]) -> tuple[float, float] | None:
    """Where on the canvas a point `(x, y)` or `(x, y, z)` of a view's scene is drawn; None outside of the view."""
    x, y, _, w = (view.transform * view.scene.transform).map([*point, *(0, 1)[len(point) - 2 :]])
    box = box_of(view)
    if w == 0 or not (0 <= x / w - box.left < box.width and 0 <= y / w - box.top < box.height):
        return None
    return float(x / w), float(y / w)


class PicturesVisual(Visual):
    """Pictures in one texture, each at any number of places."""

    def __init__(self, places: Places) -> None:
        super().__init__(_VERTEX, _FRAGMENT)
        self._places = places
        self._scale = 1.0
        self._texture = Texture2D(np.zeros((1, 1, 4), np.uint8), interpolation="nearest")
        self._parts: dict[str, Box] = {}  # of the texture
        self._drawn: list[tuple[str, int, int]] = []
        self._corners = VertexBuffer(np.zeros((6, 2), np.float32))
        self._texels = VertexBuffer(np.zeros((6, 2), np.float32))
        self.shared_program["u_texture"] = self._texture
        self.shared_program["a_position"] = self._corners
        self.shared_program["a_texcoord"] = self._texels
        self._draw_mode = "triangles"
        blend = ("src_alpha", "one_minus_src_alpha", "one", "one_minus_src_alpha")
        self.set_gl_state(depth_test=False, cull_face=False, blend=True, blend_func=blend)

    def show(self, pictures: Mapping[str, NDArray[np.uint8]], scale: float) -> None:
        """Show pictures from the next drawing on.

        Args:
            pictures: `(H, W, 4)` each, by name.
            scale: pixels of a picture for each of the canvas.
        """
        height = sum(len(one) for one in pictures.values()) or 1
        width = max((one.shape[1] for one in pictures.values()), default=1)
        whole = np.zeros((height, width, 4), np.uint8)
        self._scale, self._parts, top = scale, {}, 0
        for name, picture in pictures.items():
            tall, wide = picture.shape[:2]
            whole[top : top + tall, :wide] = picture
            self._parts[name] = Box(0, top, wide, tall)
            top += tall
        self._texture.set_data(whole)
        self._drawn = []  # its parts have moved
        self.update()

    @property
    def room(self) -> Box:
        """The whole canvas."""
        width, height = self.canvas.size
        return Box(0, 0, float(width), float(height))

    def views(self, in_grid: bool) -> list[ViewBox]:
        """The canvas's one view, or those of its grid row by row."""
        return [
            one
            for one in _descendants(self.canvas.central_widget)
            if isinstance(one, ViewBox) and isinstance(one.parent, Grid) == in_grid
        ]

    def size_of(self, name: str) -> tuple[float, float]:
        """Width and height of a picture on the canvas."""
        part = self._parts[name]
        return part.width / self._scale, part.height / self._scale

    def _prepare_transforms(self, view: Any) -> None:
        view.view_program.vert["transform"] = view.get_transform()

    def _prepare_draw(self, view: Any) -> bool | None:
        found = self._places(self)
        wanted = [
            (name, round(left), round(top))
            for name in self._parts
            for left, top in found.get(name, ())
        ]
        if not wanted:
            return False
        if wanted != self._drawn:
            self._drawn = wanted
            self._lay_out()
        return None

    def _lay_out(self) -> None:
        height, width = self._texture.shape[:2]
        corners, texels = [], []
        for name, left, top in self._drawn:
            part = self._parts[name]
            size = np.array((part.width, part.height), np.float32)
            corners.append((left, top) + _QUAD * size / self._scale)
            texels.append((np.array((part.left, part.top)) + _QUAD * size) / (width, height))
        self._corners.set_data(np.concatenate(corners).astype(np.float32))
        self._texels.set_data(np.concatenate(texels).astype(np.float32))

    def _compute_bounds(self, axis: int, view: Any) -> None:
        return None


Pictures: Any = create_visual_node(PicturesVisual)


def pictures_over(window: QWidget | None, places: Places) -> Any | None:
    """Pictures over a window's canvas; None where nothing is drawn.

    Args:
        window: napari's.
        places: asked at every drawing, so it has to be quick.
    """
    widgets = [] if window is None else window.findChildren(QOpenGLWidget)
    for reference in canvasses:
        canvas = reference()
        if canvas is not None and any(canvas.native is one for one in widgets):
            made = Pictures(places, parent=canvas.scene)
            made.order = _ABOVE_ALL
            return made
    return None


def _descendants(node: Any) -> Iterator[Any]:
    for child in node.children:
        yield child
        if not isinstance(child, ViewBox):  # no view lies in another one
            yield from _descendants(child)
