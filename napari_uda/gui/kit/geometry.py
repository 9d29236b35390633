"""How a volume of a file lies in the viewer, and how a layer becomes that volume again.

napari draws the last two axes, rows downwards. A volume is therefore shown with its array axes in
the order head to foot, front to back, patient's right to left: an axial slice appears as
radiologists expect it, and the two other cuts stand upright. Only the order of the axes changes:
no voxel is resampled. The world of the viewer is in millimetres along those axes; the file's own
affine, oblique or not, stays in the layer's metadata and is used again on every way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.data.slice_position import slice_name
from napari_uda.data.volume import Orientation, Volume

METADATA = "napari_uda"
AXIS_LABELS = ("z", "y", "x")
UNITS = ("mm", "mm", "mm")
_UNCHANGED = Orientation((0, 1, 2), (False, False, False))
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Placement:
    """How the array of a layer lies on the grid of its file.

    Attributes:
        affine: `(4, 4)`, voxel index (x, y, z, 1) of the file to RAS+ millimetres.
        orientation: takes an array on the file's grid to the layer's order of axes.
    """

    affine: NDArray[np.float64]
    orientation: Orientation

    def to_layer(self, array: NDArray[Any]) -> NDArray[Any]:
        """File grid to layer; a view."""
        return self.orientation.apply(array)

    def to_file(self, array: NDArray[Any]) -> NDArray[Any]:
        """Layer to file grid; a view, the exact inverse of `to_layer`."""
        return self.orientation.invert(array)

    def to_layer_slice(self, axis: int, index: int, shape: tuple[int, ...]) -> tuple[int, int]:
        """Axis and index of a file's slice in the layer; `shape` is the layer's."""
        layer_axis = self.orientation.permutation.index(axis)
        backwards = self.orientation.flips[layer_axis]
        return layer_axis, shape[layer_axis] - 1 - index if backwards else index

    def to_file_slice(self, axis: int, index: int, shape: tuple[int, ...]) -> tuple[int, int]:
        """Axis (of the array z, y, x) and index in the file of a layer's slice; `shape` is the layer's."""
        backwards = self.orientation.flips[axis]
        return self.orientation.permutation[axis], shape[axis] - 1 - index if backwards else index

    def slice_title(self, axis: int, index: int, shape: tuple[int, ...]) -> str:
        """A layer's slice as it is called everywhere: `axial slice 12, S 34.5 mm`, 12 being the file's number."""
        file_axis, number = self.to_file_slice(axis, index, shape)
        sizes = [0, 0, 0]  # of the file, x, y, z
        for layer_axis, size in enumerate(shape):
            sizes[2 - self.orientation.permutation[layer_axis]] = size
        return slice_name(self.affine, sizes, 2 - file_axis, number)


def displayed(volume: Volume) -> tuple[NDArray[Any], dict[str, Any]]:
    """A volume as napari shows it.

    Args:
        volume: on its file's grid.

    Returns:
        The array (Z, Y, X), head first, front first, patient's right first, as a view; and the
        layer arguments `scale`, `translate` (mm), `units`, `axis_labels` and `metadata`.
    """
    placement = Placement(volume.affine, _head_first(volume.orientation))
    array = placement.to_layer(volume.array)
    scale, translate = _display_transform(volume.affine, array.shape)
    return array, {
        "scale": scale,
        "translate": translate,
        "units": UNITS,
        "axis_labels": AXIS_LABELS,
        "metadata": {
            METADATA: {
                "case": volume.name,
                "affine": volume.affine,
                "forms": volume.forms,
                "file": volume.source,
                "orientation": placement.orientation,
                "shape": array.shape,
                "frame": volume.frame_of_reference,
                "folder": None if volume.source is None else volume.source.path.parent,
            }
        },
    }


def file_of(layer: Layer) -> Path | None:
    """File or folder that a layer was read from, by whichever reader; None where nobody knows."""
    file = tag(layer).get("file")
    path = layer.source.path if file is None else file.path
    return Path(path) if path else None


def tag(layer: Layer) -> dict[str, Any]:
    """The entry of this package in a layer's metadata; empty for layers of others."""
    found = layer.metadata.get(METADATA)
    return found if isinstance(found, dict) else {}


def in_different_frames(first: Layer, second: Layer) -> bool:
    """Whether DICOM says that two layers are of different frames of reference."""
    frames = {tag(layer).get("frame") for layer in (first, second)} - {None, ""}
    return len(frames) > 1


def placement(layer: Layer) -> Placement:
    """How a layer lies on its file's grid, ours or not.

    A layer of ours keeps its file's affine bit for bit; if it was moved in the viewer since, the
    move is applied to the affine. A layer of others is its own grid: its scale, translate,
    rotation, shear and affine together are read as millimetres towards foot, back and left.

    Raises:
        InputError: if the layer is no single 3-D volume or its transform cannot be inverted.
    """
    _check_volume(layer)
    own = tag(layer)
    world = _world_matrix(layer)
    if "affine" not in own or own.get("shape") != tuple(layer.data.shape):
        return Placement(_ras_from_world(world), _UNCHANGED)
    orientation: Orientation = own["orientation"]
    affine: NDArray[np.float64] = own["affine"]
    expected = _diagonal(*_display_transform(affine, layer.data.shape))
    if np.allclose(world, expected, rtol=0, atol=_TOLERANCE):
        return Placement(affine, orientation)
    return Placement(affine @ _file_motion(expected, world, orientation, layer), orientation)


def layer_volume(layer: Layer) -> Volume:
    """A layer as the volume it shows: array on its file's grid, affine, case name, and its file.

    One that was moved in the viewer has no file: that lies elsewhere.

    Raises:
        InputError: see `placement`.
    """
    lies, own = placement(layer), tag(layer)
    array, name = lies.to_file(np.asarray(layer.data)), str(own.get("case") or layer.name)
    source = own.get("file") if lies.affine is own.get("affine") else None
    return Volume(array, lies.affine, name, forms=own.get("forms"), source=source)


def labels_volume(layer: Layer) -> Volume:
    """The same of labels, as uint8.

    Raises:
        InputError: see `placement`; or a label is not in 0 to 255.
    """
    volume = layer_volume(layer)
    low, high = int(volume.array.min(initial=0)), int(volume.array.max(initial=0))
    if low < 0 or high > 255:
        wrong = low if low < 0 else high
        raise InputError(f"layer '{layer.name}' holds label {wrong}; remap its labels to 0 to 255")
    return volume.with_array(volume.array.astype(np.uint8))


def copied_geometry(layer: Layer) -> dict[str, Any]:
    """Layer arguments that put a new layer exactly where `layer` lies."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def is_one_volume(layer: Layer) -> bool:
    """Whether a layer holds one 3-D volume: no colours, and not several resolutions."""
    plain = not getattr(layer, "rgb", False) and not getattr(layer, "multiscale", False)
    return plain and bool(layer.ndim == 3)


def _check_volume(layer: Layer) -> None:
    if getattr(layer, "multiscale", False) or getattr(layer, "rgb", False):
        raise InputError(
            f"layer '{layer.name}' is multiscale or coloured; choose a layer with one grey 3-D volume"
        )
    if layer.ndim != 3:
        raise InputError(f"layer '{layer.name}' has {layer.ndim} axes; choose a 3-D volume")


def _head_first(canonical: Orientation) -> Orientation:
    """The order of the viewer: that of the closest canonical one, every axis reversed."""
    first, second, third = canonical.flips
    return Orientation(canonical.permutation, (not first, not second, not third))


def _display_transform(
    affine: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and translate of the viewer, (z, y, x) mm; the volume's centre is where it truly is."""
    return _display_transform_of(np.asarray(affine, np.float64).tobytes(), shape)


@lru_cache(maxsize=64)  # layers are asked where they lie several times per click
def _display_transform_of(
    affine_bytes: bytes, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    affine = np.frombuffer(affine_bytes).reshape(4, 4)
    on_file = Orientation.of(affine).invert(np.broadcast_to(np.uint8(0), shape))
    canonical = Volume(on_file, affine).canonical()
    extent = np.asarray(shape, float) - 1
    middle = canonical.affine @ np.append(extent[::-1] / 2, 1.0)
    scale = np.asarray(canonical.spacing_mm, float)
    translate = -middle[2::-1] - scale * extent / 2
    for shared in (scale, translate):
        shared.setflags(write=False)
    return scale, translate


def _diagonal(scale: NDArray[np.float64], translate: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.diag(np.append(scale, 1.0))
    matrix[:3, 3] = translate
    return matrix


def _world_matrix(layer: Layer) -> NDArray[np.float64]:
    """`(4, 4)`, layer index (z, y, x, 1) to world (z, y, x) mm, every transform of the layer in it."""
    millimetres = np.array([_millimetres(unit) for unit in layer.units])
    origin = np.asarray(layer.data_to_world((0, 0, 0)), float)
    matrix = np.eye(4)
    for axis in range(3):
        matrix[:3, axis] = np.asarray(layer.data_to_world(np.eye(3)[axis]), float) - origin
    matrix[:3, 3] = origin
    matrix[:3] *= millimetres[:, None]
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
        raise InputError(f"the transform of layer '{layer.name}' is singular; set a positive scale")
    return matrix


@cache
def _millimetres(unit: Any) -> float:
    """Length of a layer's unit; a pixel counts as one millimetre."""
    try:
        return float((1 * unit).to("mm").magnitude)
    except Exception:  # noqa: BLE001 - pint raises its own errors for units that are no lengths
        return 1.0


def _ras_from_world(world: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine of a layer's own grid: index (x, y, z) to RAS+ mm."""
    affine = np.eye(4)
    affine[:3, :3] = -world[2::-1, 2::-1]
    affine[:3, 3] = -world[2::-1, 3]
    return affine + 0.0  # no negative zeros


def _file_motion(
    before: NDArray[np.float64],
    now: NDArray[np.float64],
    orientation: Orientation,
    layer: Layer,
) -> NDArray[np.float64]:
    """The move of a layer in the viewer, as a matrix on the file's voxel indices (x, y, z, 1)."""
    to_layer = np.eye(4)
    lies = Placement(np.eye(4), orientation)
    for axis in range(3):
        layer_axis, start = lies.to_layer_slice(axis, 0, layer.data.shape)
        _, following = lies.to_layer_slice(axis, 1, layer.data.shape)
        column = 2 - axis
        to_layer[:3, column] = 0
        to_layer[layer_axis, column] = following - start
        to_layer[layer_axis, 3] = start
    return np.linalg.inv(to_layer) @ np.linalg.inv(before) @ now @ to_layer
