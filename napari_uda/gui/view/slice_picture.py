"""A slice of several layers as one picture, in the colours that napari gives them. Knows no widget."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_uda.data.plane import plane_of
from napari_uda.gui.kit.geometry import tag

_LEVELS = 256
_SAME_PLACE = 0.01  # of a voxel, as everywhere where two grids are taken as one


def layers_on_grid(layers: Iterable[Layer], image: Image) -> list[Layer]:
    """The visible 3-D layers that lie voxel on voxel with an image, from the back to the front."""
    corners, side = _corners(image), float(spacing_of(image).min())
    return [
        layer
        for layer in layers
        if isinstance(layer, (Image, Labels))
        and layer.visible
        and layer.ndim == 3
        and not getattr(layer, "rgb", False)
        and not layer.multiscale
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
    for layer in layers:
        plane = plane_of(np.asarray(layer.data), axis, index)
        colours = _labels(layer, plane) if isinstance(layer, Labels) else _image(layer, plane)
        if picture is None:
            picture = np.zeros((*plane.shape, 3), np.float32)
        alpha = colours[..., 3:] * np.float32(layer.opacity)
        picture += alpha * (colours[..., :3] - picture)
    if picture is None:
        return np.zeros((1, 1, 3), np.uint8)
    return np.round(picture * 255).astype(np.uint8)


def spacing_of(layer: Layer) -> NDArray[np.float64]:
    """`(3,)` distance of neighbouring voxels in the viewer's world."""
    matrix = _matrix(layer)
    return np.asarray(np.linalg.norm(matrix[1:] - matrix[0], axis=1))


def _image(layer: Image, plane: NDArray[np.generic]) -> NDArray[np.float32]:
    low, high = layer.contrast_limits
    shown = (plane.astype(np.float32) - low) / (high - low)
    shown = np.clip(np.nan_to_num(shown), 0, 1) ** layer.gamma
    table = np.asarray(layer.colormap.map(np.linspace(0, 1, _LEVELS)), np.float32)
    return table[np.round(shown * (_LEVELS - 1)).astype(np.intp)]


def _labels(layer: Labels, plane: NDArray[np.generic]) -> NDArray[np.float32]:
    if plane.dtype == np.uint8:  # as all of ours: no sorting of every pixel
        values, where = np.flatnonzero(np.bincount(plane.ravel(), minlength=_LEVELS)), plane
        table = np.zeros((_LEVELS, 4), np.float32)
        table[values] = layer.colormap.map(values)
        table[0, 3] = 0
    else:
        values, where = np.unique(plane, return_inverse=True)
        where = where.reshape(plane.shape)
        table = np.asarray(layer.colormap.map(values), np.float32)
        table[values == 0, 3] = 0
    colours = table[where]
    if layer.contour > 0:
        colours[..., 3] *= _border(plane)
    return colours


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
