"""Which side of the patient is where on the screen: letters from the affine. Knows no widget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from napari_uda.data.slice_position import SIDES
from napari_uda.data.volume import Orientation
from napari_uda.gui.kit.geometry import placement, tag

_OBLIQUE = 0.4  # share of a second direction from which it is named as well (about 24 degrees)


@dataclass(frozen=True)
class Sides:
    """What the four edges of a slice are turned to."""

    left: str
    right: str
    top: str
    bottom: str


def patient_directions(layer: Layer) -> NDArray[np.float64]:
    """`(3, 3)`: row `k` is the direction of the viewer's axis `k` in the patient, RAS+, length 1.

    Raises:
        InputError: if the layer is no single 3-D volume or its transform cannot be inverted.
    """
    if "directions" in tag(layer):  # slices of several volumes
        return np.asarray(tag(layer)["directions"], float)
    lies = placement(layer)
    origin = np.asarray(layer.world_to_data((0, 0, 0)), float)
    directions = np.zeros((3, 3))
    for axis in range(3):
        step = np.asarray(layer.world_to_data(np.eye(3)[axis]), float) - origin
        directions[axis] = lies.affine[:3, :3] @ file_index(step, lies.orientation, (1, 1, 1))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def directions_across(axis: int) -> NDArray[np.float64]:
    """The same of slices across one of the canonical axes (z, y, x), the other two running back and down or left."""
    inside = [other for other in range(3) if other != axis]
    return -np.eye(3)[::-1][[axis, *inside]]


def file_index(
    layer_index: NDArray[np.float64], orientation: Orientation, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """`(x, y, z)` voxel index in the file of an index (Z, Y, X) of the layer with this shape."""
    last = np.asarray(shape, float) - 1
    turned = np.where(orientation.flips, last - layer_index, layer_index)
    index = np.zeros(3)
    for layer_axis, file_axis in enumerate(orientation.permutation):
        index[2 - file_axis] = turned[layer_axis]
    return index


def sides(
    directions: NDArray[np.float64], rows: int, columns: int, *, mirrored: bool = False
) -> Sides:
    """Letters of a slice whose rows run downwards and whose columns run to the right.

    Args:
        directions: what `patient_directions` gave.
        rows: the viewer's axis that runs downwards.
        columns: the viewer's axis that runs to the right, or to the left when `mirrored`.
        mirrored: whether left and right of the screen are exchanged.
    """
    down, across = directions[rows], directions[columns] * (-1 if mirrored else 1)
    return Sides(letters(-across), letters(across), letters(-down), letters(down))


def letters(direction: NDArray[np.float64]) -> str:
    """The side of the patient a direction (RAS+) points to; two letters when it is oblique."""
    order = np.argsort(-np.abs(direction), kind="stable")
    named = [order[0], *(axis for axis in order[1:2] if abs(direction[axis]) >= _OBLIQUE)]
    return "".join(SIDES[axis][0 if direction[axis] > 0 else 1] for axis in named)


def is_left_to_right(directions: NDArray[np.float64], axis: int) -> bool:
    """Whether an axis of the viewer runs mainly between the patient's left and right."""
    return int(np.abs(directions[axis]).argmax()) == 0
