"""Words at the edges of napari's canvas, colour bars and a cross at a place: part of every screenshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QGuiApplication, QImage, QPainter
from superqt.utils import qimage_to_array

from napari_uda.core.colours import hexadecimal, readable
from napari_uda.gui.kit.canvas import one_in_window, window_of
from napari_uda.gui.kit.canvas_pictures import (
    Box,
    PicturesVisual,
    box_of,
    pictures_over,
    place_in,
)
from napari_uda.gui.kit.panel import Following, Guarded, listen

if TYPE_CHECKING:
    from napari.components import ViewerModel

_PLACES = {
    "top_left": (0.0, 0.0),
    "top_center": (0.5, 0.0),
    "top_right": (1.0, 0.0),
    "middle_left": (0.0, 0.5),
    "middle_right": (1.0, 0.5),
    "bottom_left": (0.0, 1.0),
    "bottom_center": (0.5, 1.0),
    "bottom_right": (1.0, 1.0),
}
ASIDE = "aside"
"""In the empty place of a grid where there is one, else in the upper left corner, below its title."""
_EDGE = 10  # pixels that stay free, as with napari's own
_TITLE = 30  # pixels that the title of a cell takes
_LEAST_CELL = 100  # below its title, for letters at all sides
_PADDING = 5
_PIXELS_PER_POINT = 96 / 72
_OPAQUE = 0.8
_LEAST_CONTRAST = 11.0
SIGNS = "■□▨"
"""Of an area, an outline and stripes: letters for whoever reads them, drawn as a square."""
_CROSS = "cross"
_CROSS_COLOUR = "#3DDC84"
_ARM, _GAP = 14, 4
_MARK_POINTS, _ABOVE = 10.0, 2
_BAR, _MARK = "bar ", "mark "
_BAR_WIDE, _BAR_TALL, _BAR_LETTERS = 10, 70, 10


class Line(NamedTuple):
    """A line; its first letter is one of `SIGNS` in the colour that it explains, unless that is None."""

    text: str
    colour: str | None = None


class Words(NamedTuple):
    """Lines in a box."""

    lines: tuple[Line, ...]
    place: str
    points: float
    in_cells: bool


class Mark(NamedTuple):
    """A word above what it speaks of, seen on the slices that this lies on; `corners` are `(n, 3)` of the world."""

    text: str
    corners: tuple[tuple[float, float, float], ...]


class CanvasWords(Guarded, QObject):
    """Words by name, and one cross: drawn together with the slice, and not once more.

    Attributes:
        words: what is written, by name.
        bars: layers whose colours are explained in their cells of a grid.
        cross: whether there is a cross at the viewer's own point.
        marks: words at places of the world.
    """

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.words: dict[str, Words] = {}
        self.bars: tuple[Image, ...] = ()
        self._colours = Following(self, self._on_background)
        self.cross = False
        self.marks: tuple[Mark, ...] = ()
        self._pictures: dict[str, NDArray[np.uint8]] = {}
        self._shown = pictures_over(window_of(viewer), self._places)
        if self._shown is not None:
            # no method of this object: it may end before the canvas and the docks do
            self._shown.canvas.native.destroyed.connect(lambda: self._forget())
        listen(self, self._on_point, viewer.dims.events.point)
        listen(self, self._on_background, viewer.canvas.events.background_color)
        listen(self, self._on_background, viewer.canvas.events.background_color_override)

    @property
    def texts(self) -> dict[str, str]:
        """What is written, by name, without colours."""
        return {
            name: "\n".join(line.text for line in one.lines) for name, one in self.words.items()
        }

    def write(
        self,
        name: str,
        lines: Sequence[Line],
        place: str,
        points: float = 10.0,
        *,
        in_cells: bool = False,
    ) -> None:
        """Write lines; none take them away.

        Args:
            name: of what is written.
            lines: from top to bottom.
            place: as napari calls it, or `ASIDE`.
            points: size of the letters.
            in_cells: whether they stand in each cell of a grid, and not at the edges of the canvas.
        """
        wanted = Words(tuple(lines), place, points, in_cells) if lines else None
        if self.words.get(name) == wanted:
            return
        self.words.pop(name, None)
        if wanted is not None:
            self.words[name] = wanted
        self._draw(name)

    def show_bars(self, layers: Sequence[Image]) -> None:
        """Draw a colour bar for each of these layers, in its cell of the grid."""
        self.bars = tuple(layers)
        names = ("colormap", "contrast_limits", "gamma")
        self._colours.follow(*(getattr(one.events, name) for one in layers for name in names))
        self._on_background()

    def show_cross(self, wanted: bool) -> None:
        """Show the cross at the viewer's own point, or none."""
        if self.cross != wanted:
            self.cross = wanted
            self._draw(_CROSS)

    def show_marks(self, marks: Sequence[Mark]) -> None:
        """Write words at places of the world, in place of those before."""
        if self.marks != (wanted := tuple(marks)):
            self.marks = wanted
            self._draw(*[name for name in self._pictures if name.startswith(_MARK)])

    def _on_point(self) -> None:
        if self.cross and self._shown is not None:
            self._shown.update()

    def _forget(self) -> None:
        self._shown = None

    def _on_background(self) -> None:
        self._pictures = {}
        self._draw()

    def _draw(self, *changed: str) -> None:
        if self._shown is None:
            return
        for name in changed:
            self._pictures.pop(name, None)
        behind = hexadecimal(self._viewer.canvas.background_color[:3])
        ratio = float(self._shown.canvas.pixel_scale)
        for name, words in self.words.items():
            if name not in self._pictures:
                self._pictures[name] = picture_of(words, behind, ratio)
        for number, layer in enumerate(self.bars):
            if f"{_BAR}{number}" not in self._pictures:
                self._pictures[f"{_BAR}{number}"] = _bar(layer, behind, ratio)
        for number, mark in enumerate(self.marks):
            if f"{_MARK}{number}" not in self._pictures:
                alone = Words((Line(mark.text),), "", _MARK_POINTS, False)
                self._pictures[f"{_MARK}{number}"] = picture_of(alone, behind, ratio)
        if self.cross:
            self._pictures.setdefault(_CROSS, _cross(ratio))
        self._shown.show(self._pictures, ratio)

    def _places(self, canvas: PicturesVisual) -> Mapping[str, list[tuple[float, float]]]:
        """Where everything lies on the canvas that is about to be drawn."""
        grid = self._viewer.canvas.grid
        views = canvas.views(bool(grid.enabled and len(self._viewer.layers)))
        found: dict[str, list[tuple[float, float]]] = {}
        occupied = self._occupied(views)
        in_cells = [name for name, one in self.words.items() if one.in_cells and grid.enabled]
        wanted: list[tuple[str, str, list[Box]]] = []  # what comes first keeps its place
        for name, words in self.words.items():
            box, place = canvas.room, words.place
            if place == ASIDE:
                box, place = self._aside(box, views), "top_left"
            if name not in in_cells:
                wanted.append((name, place, [box]))
        for number, layer in enumerate(self.bars):
            cell = self._cell_of(layer, views)
            wanted.append((f"{_BAR}{number}", "bottom_right", [] if cell is None else [cell]))
        cells = [_below_title(box_of(view)) for view in occupied]
        cells = [cell for cell in cells if cell.height >= _LEAST_CELL]
        wanted += [(name, self.words[name].place, cells) for name in in_cells]
        taken: list[Box] = []
        for name, place, boxes in wanted:
            size = canvas.size_of(name)
            lies = [_beside(Box(*_at(box, place, size), *size), place, taken) for box in boxes]
            taken += lies
            found[name] = [(one.left, one.top) for one in lies]
        for number, mark in enumerate(self.marks):
            name = f"{_MARK}{number}"
            width, height = canvas.size_of(name)
            lies = [
                _beside(Box(left, top - height - _ABOVE, width, height), "bottom", taken)
                for view in occupied
                for left, top in self._above(mark, view)
            ]
            taken += lies
            found[name] = [(one.left, one.top) for one in lies]
        if self.cross:
            dims = self._viewer.dims
            point = tuple(dims.point[axis] for axis in dims.displayed[::-1])
            middle = _ARM + 0.5
            found[_CROSS] = [
                (at[0] - middle, at[1] - middle)
                for view in occupied
                if (at := place_in(view, point)) is not None
            ]
        return found

    def _above(self, mark: Mark, view: Any) -> list[tuple[float, float]]:
        """The upper left corner of what a mark speaks of; none where it is not seen."""
        dims = self._viewer.dims
        world = np.array(mark.corners)
        before = dims.ndim - 3  # axes that the mark has not
        for axis in dims.not_displayed:
            across, half = world[:, axis - before], dims.range[axis].step / 2
            if (
                axis >= before
                and not across.min() - half <= dims.point[axis] <= across.max() + half
            ):
                return []
        if dims.ndisplay == 3 or min(dims.displayed) < before:
            return []
        order = [axis - before for axis in dims.displayed[::-1]]
        drawn = [place_in(view, tuple(corner[order])) for corner in world]
        inside = [at for at in drawn if at is not None]
        return [tuple(np.min(inside, axis=0))] if inside else []

    def _occupied(self, views: Sequence[Any]) -> Sequence[Any]:
        cells = self._viewer.canvas.grid.iter_viewboxes(self._viewer.layers)
        return views[: sum(bool(list(layers)) for _, layers in cells) or 1]

    def _cell_of(self, layer: Layer, views: Sequence[Any]) -> Box | None:
        grid, layers = self._viewer.canvas.grid, self._viewer.layers
        if not grid.enabled or layer not in layers or not layer.visible:
            return None
        row, column = grid.position(layers.index(layer), layers)
        place = row * grid.actual_shape(layers)[1] + column
        return box_of(views[place]) if 0 <= place < len(views) else None

    def _aside(self, whole: Box, views: Sequence[Any]) -> Box:
        """The part of the canvas where words cover no picture; or no title, at least."""
        if not self._viewer.canvas.grid.enabled or not views:
            return whole
        free = views[len(self._occupied(views)) :]
        return box_of(free[-1]) if free else _below_title(box_of(views[0]))


def canvas_words(viewer: ViewerModel) -> CanvasWords:
    """The words on a viewer's canvas, shared by all docks of its window."""
    return one_in_window(viewer, CanvasWords) or CanvasWords(viewer, None)


def picture_of(words: Words, behind: str, ratio: float = 1.0) -> NDArray[np.uint8]:
    """`(H, W, 4)`: lines in a box of the canvas's own colour, through which a little is seen.

    Args:
        words: what is written.
        behind: colour of the canvas.
        ratio: pixels of the picture for each of the canvas.
    """
    font = QFont(QGuiApplication.font())
    font.setPixelSize(round(words.points * _PIXELS_PER_POINT))
    metrics = QFontMetricsF(font)
    step = metrics.height()
    width = max(metrics.horizontalAdvance(line.text) for line in words.lines)
    image = _image(width + 2 * _PADDING, step * len(words.lines) + _PADDING, ratio)
    box = QColor(behind)
    box.setAlphaF(_OPAQUE)
    image.fill(box)
    painter = QPainter(image)
    painter.setFont(font)
    plain = readable(behind, behind, _LEAST_CONTRAST)
    painter.setPen(QColor(plain))
    for number, line in enumerate(words.lines):
        left, top = float(_PADDING), _PADDING / 2 + number * step
        text = line.text
        if line.colour is not None and text[0] in SIGNS:
            side = round(metrics.ascent() * 0.9)
            square = QRectF(round(left), round(top + (step - side) / 2), side, side)
            _sign(painter, text[0], square, (line.colour, plain, behind))
            left, text = left + metrics.horizontalAdvance(text[0]), text[1:]
        area = QRectF(left, top, width + _PADDING, step)
        painter.drawText(area, int(Qt.AlignmentFlag.AlignLeft), text)
    painter.end()
    return np.asarray(qimage_to_array(image), np.uint8)


def _sign(painter: QPainter, sign: str, square: QRectF, colours: tuple[str, str, str]) -> None:
    """A square in a colour, with a thin frame: pale colours are seen on a white canvas, too."""
    colour, plain, behind = (QColor(one) for one in colours)
    painter.fillRect(square, plain)
    square = square.adjusted(1, 1, -1, -1)
    painter.fillRect(square, colour)
    if sign == "□":
        painter.fillRect(square.adjusted(2, 2, -2, -2), behind)
    elif sign == "▨":
        painter.setClipRect(square)
        painter.setPen(QColor("black"))
        for start in np.arange(-square.height(), square.width(), 4):
            foot = square.bottomLeft() + QPointF(start, 0)
            painter.drawLine(foot, foot + QPointF(square.height(), -square.height()))
        painter.setClipping(False)
        painter.setPen(plain)


def _below_title(cell: Box) -> Box:
    return cell._replace(top=cell.top + _TITLE, height=cell.height - _TITLE)


def _beside(box: Box, place: str, taken: Sequence[Box]) -> Box:
    """A box, moved away from its edge, or up or down, from what it would cover."""
    for other in taken:
        across = other.left - box.width < box.left < other.left + other.width
        if across and other.top - box.height < box.top < other.top + other.height:
            middle, that = box.top + box.height / 2, other.top + other.height / 2
            up = place.startswith("bottom") or (place.startswith("middle") and middle < that)
            box = box._replace(top=other.top + (-box.height if up else other.height))
    return box


def _at(box: Box, place: str, size: tuple[float, float]) -> tuple[float, float]:
    """Left and top of what lies at a place in a part of the canvas."""
    across, down = _PLACES[place]
    left = box.left + _EDGE + across * (box.width - 2 * _EDGE - size[0])
    return left, box.top + _EDGE + down * (box.height - 2 * _EDGE - size[1])


def _bar(layer: Image, behind: str, ratio: float) -> NDArray[np.uint8]:
    """The colours of a layer over the canvas, the highest value on top, between its two limits."""
    font = QFont(QGuiApplication.font())
    font.setPixelSize(_BAR_LETTERS)
    metrics = QFontMetricsF(font)
    low, high = (f"{float(limit):.3g}" for limit in layer.contrast_limits)
    width = max(metrics.horizontalAdvance(text) for text in (low, high))
    image = _image(_BAR_WIDE + width + 3 * _PADDING, _BAR_TALL + 2 * _PADDING, ratio)
    box = QColor(behind)
    image.fill(box)
    shares = np.linspace(1, 0, _BAR_TALL) ** layer.gamma
    painter = QPainter(image)
    for row, rgba in enumerate(np.asarray(layer.colormap.map(shares), float)):
        colour = QColor.fromRgbF(*(min(max(float(part), 0.0), 1.0) for part in rgba))
        painter.fillRect(QRectF(_PADDING, _PADDING + row, _BAR_WIDE, 1), colour)
    painter.setFont(font)
    painter.setPen(QColor(readable(behind, behind, _LEAST_CONTRAST)))
    beside = QRectF(_BAR_WIDE + 2 * _PADDING, _PADDING, width + _PADDING, _BAR_TALL)
    painter.drawText(beside, int(Qt.AlignmentFlag.AlignTop), high)
    painter.drawText(beside, int(Qt.AlignmentFlag.AlignBottom), low)
    painter.end()
    return np.asarray(qimage_to_array(image), np.uint8)


def _cross(ratio: float) -> NDArray[np.uint8]:
    image = _image(2 * _ARM + 1, 2 * _ARM + 1, ratio)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    middle = _ARM + 0.5
    for colour, wide in (("black", 5), (_CROSS_COLOUR, 3)):
        for start in (0, middle + _GAP):
            arm = QRectF(start, middle - wide / 2, _ARM + 0.5 - _GAP, wide)
            painter.fillRect(arm, QColor(colour))
            painter.fillRect(QRectF(arm.y(), arm.x(), arm.height(), arm.width()), QColor(colour))
    painter.end()
    return np.asarray(qimage_to_array(image), np.uint8)


def _image(width: float, height: float, ratio: float) -> QImage:
    wide, tall = (round(np.ceil(side) * ratio) for side in (width, height))
    image = QImage(wide, tall, QImage.Format.Format_ARGB32)
    image.setDevicePixelRatio(ratio)
    return image
