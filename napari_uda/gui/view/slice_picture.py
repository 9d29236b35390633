"""A slice of several layers as one picture, in the colours that napari gives them. Knows no widget."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_uda.gui.kit.geometry import is_one_volume, tag

_LEVELS = 256
Table = NDArray[np.float32]
"""`(N, 4)` colours."""
_SAME_PLACE = 0.01  # of a voxel, as everywhere where two grids are taken as one


def layers_on_grid(layers: Iterable[Layer], image: Image) -> list[Layer]:
    """The visible 3-D layers that lie voxel on voxel with an image, from the back to the front."""
    corners, side = _corners(image), float(spacing_of(image).min())
    return [
        layer
        for layer in layers
        if isinstance(layer, (Image, Labels))
        and layer.visible
        and is_one_volume(layer)
        and layer.data.shape == image.data.shape
        and np.abs(_corners(layer) - corners).max() <= _SAME_PLACE * side
        and tag(layer).get("role") != "background"  # a copy of the image for napari's grid
    ]


def slice_picture(layers: Iterable[Layer], axis: int, index: int) -> NDArray[np.uint8]:
    """Draw one slice.

    Args:
        layers: from the back to the front, all of one shape.
        axis: 0, 1 or 2 of the layers.
        index: the slice.

    Returns:
        `(H, W, 3)` on black; the lower of the two remaining axes runs downwards.
    """
    picture: NDArray[np.float32] | None = None
    shape = (1, 1)
    for layer in layers:
        # a cut across the last axis is strewn over all of the volume
        plane = np.ascontiguousarray(layer.data[(slice(None),) * axis + (index,)])
        table, where = _labels(layer, plane) if isinstance(layer, Labels) else _image(layer, plane)
        if picture is None:
            shape = plane.shape
            picture = np.zeros((3, plane.size), np.float32)  # red, green and blue
        _lay_over(picture, table, where.ravel().astype(np.intp), layer.opacity)
    if picture is None:
        picture = np.zeros((3, 1), np.float32)
    colours = np.rint(picture * 255).astype(np.uint8).reshape(3, *shape)
    return np.stack(list(colours), axis=-1)


def spacing_of(layer: Layer) -> NDArray[np.float64]:
    """`(3,)` distance of neighbouring voxels in the viewer's world."""
    matrix = _matrix(layer)
    return np.asarray(np.linalg.norm(matrix[1:] - matrix[0], axis=1))


def _lay_over(
    picture: NDArray[np.float32], table: Table, where: NDArray[np.intp], opacity: float
) -> None:
    """Draw over a picture `(3, N)` with the entries of a colour table, where they are not clear."""
    alpha = table[:, 3] * np.float32(opacity)
    shade = alpha.take(where)
    seen = np.flatnonzero(shade)
    part: slice | NDArray[np.intp] = slice(None)
    if 2 * seen.size < where.size:  # as with labels, most of which are background
        part, where, shade = seen, where[seen], shade[seen]
    through = 1 - shade
    for colour, own in zip(picture, table.T[:3] * alpha, strict=True):
        colour[part] = colour[part] * through + own.take(where)


def _image(layer: Image, plane: NDArray[np.generic]) -> tuple[Table, NDArray[Any]]:
    """Colours, and which of them each pixel has."""
    low, high = layer.contrast_limits
    shown = (plane.astype(np.float32) - low) / (high - low)
    shown = np.clip(np.nan_to_num(shown) if plane.dtype.kind == "f" else shown, 0, 1)
    if layer.gamma != 1:
        shown **= layer.gamma
    table = np.asarray(layer.colormap.map(np.linspace(0, 1, _LEVELS)), np.float32)
    return table, np.rint(shown * (_LEVELS - 1)).astype(np.uint8)


def _labels(layer: Labels, plane: NDArray[np.generic]) -> tuple[Table, NDArray[Any]]:
    """Colours, the first one clear, and which of them each pixel has."""
    if plane.dtype == np.uint8:  # as all of ours: no sorting of every pixel
        values, where = np.flatnonzero(np.bincount(plane.ravel(), minlength=_LEVELS)), plane
        table = np.zeros((_LEVELS, 4), np.float32)
        table[values] = layer.colormap.map(values)
        table[0, 3] = 0
    else:
        values, where = np.unique(plane, return_inverse=True)
        where = where.reshape(plane.shape) + 1
        table = np.zeros((len(values) + 1, 4), np.float32)
        table[1:] = layer.colormap.map(values)
        table[1:][values == 0, 3] = 0
    if layer.contour > 0:
        where = np.where(_border(plane), where, 0)
    return table, where


def _border(plane: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Pixels with a neighbour, above, below or beside, of another value."""
    border = np.zeros(plane.shape, bool)
    down, across = plane[1:] != plane[:-1], plane[:, 1:] != plane[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= across
    border[:, :-1] |= across
    return border


def _corners(layer: Layer) -> NDArray[np.float64]:
    """`(8, 3)`: where the layer puts its corner voxels."""
    origin, *steps = _matrix(layer)
    ends = (np.array(steps) - origin) * (np.array(layer.data.shape) - 1)[:, None]
    return np.asarray(origin + np.array(list(product((0, 1), repeat=3))) @ ends, np.float64)


def _matrix(layer: Layer) -> NDArray[np.float64]:
    """`(4, 3)`: where the layer puts its origin and its three first steps."""
    points = np.vstack([np.zeros(3), np.eye(3)])
    return np.array([layer.data_to_world(point) for point in points], float)
