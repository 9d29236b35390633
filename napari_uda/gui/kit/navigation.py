"""Go to a slice of a layer, and know which one is shown."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer

from napari_uda.gui.kit.geometry import placement

AXIS_NAMES = ("z · axial", "y · coronal", "x · sagittal")
"""Cuts across the axes of a layer as `geometry.displayed` lays them out."""

_LOOKS = (
    ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)),
    ((0.0, 0.0, -1.0), (-1.0, 0.0, 0.0)),
)
"""Ahead and up of the camera for each cut; the viewer's axes run to the feet, the back and the left."""


def go_to_slice(viewer: ViewerModel, layer: Layer, axis: int, index: int) -> None:
    """Show slice `index` across `axis` of a 3-D layer, turning the view when it lies along that axis.

    Args:
        viewer: the viewer.
        layer: the layer whose slice is meant.
        axis: 0, 1 or 2 of the layer.
        index: the slice.
    """
    dims = viewer.dims
    position = np.zeros(3)
    position[axis] = index
    target = _viewer_axis(viewer, axis)
    if dims.ndisplay != 2:
        dims.ndisplay = 2
    if target in dims.displayed:
        volume = [_viewer_axis(viewer, other) for other in range(3)]
        extra = [other for other in dims.order if other not in volume]
        dims.order = (*extra, target, *(other for other in volume if other != target))
    dims.set_point(target, float(layer.data_to_world(position)[axis]))


def look_across(viewer: ViewerModel, axis: int, *, neurological: bool = False) -> None:
    """Turn the camera of the 3-D view so that one looks at what slices across an axis show, the same side up.

    Args:
        viewer: shows three dimensions.
        axis: 0, 1 or 2 of a volume; seen from the feet, from the front, and from the left.
        neurological: whether the patient's right is on the right: seen from the head, and from behind.
    """
    ahead, up = _LOOKS[axis]
    other_side = neurological and axis < 2
    viewer.scene.camera.set_view_direction(
        view_direction=tuple(-part if other_side else part for part in ahead), up_direction=up
    )


def go_to_voxel(
    viewer: ViewerModel, layer: Layer, axis: int, position: tuple[int, int, int]
) -> None:
    """Show the slice across `axis` that holds a voxel, the cursor of all axes on it.

    Args:
        viewer: the viewer.
        layer: the layer whose voxel is meant.
        axis: 0, 1 or 2 of the layer.
        position: indices of the voxel in the layer.
    """
    go_to_slice(viewer, layer, axis, position[axis])
    world = layer.data_to_world(position)
    for other in range(3):
        viewer.dims.set_point(_viewer_axis(viewer, other), float(world[other]))


def current_slice(viewer: ViewerModel, layer: Layer, axis: int) -> int | None:
    """The slice of a 3-D layer that is shown; None when the view lies along `axis` or beside the layer."""
    if _viewer_axis(viewer, axis) in viewer.dims.displayed:
        return None
    index = round(float(layer.world_to_data(viewer.dims.point[-3:])[axis]))
    return index if 0 <= index < layer.data.shape[axis] else None


def slice_title(layer: Layer, axis: int, index: int) -> str:
    """What a slice is called wherever it is named: `axial slice 12, S 34.5 mm`.

    The number is that of the file, from 0, as in `slices.csv` and in the voxel under the cursor; the
    layer's own one is another where the file is stored the other way round.

    Args:
        layer: 3-D.
        axis: 0, 1 or 2 of the layer.
        index: the slice in the layer.

    Raises:
        InputError: see `geometry.placement`.
    """
    return placement(layer).slice_title(axis, index, layer.data.shape)


def _viewer_axis(viewer: ViewerModel, axis: int) -> int:
    """A viewer may have more axes than a volume; the volume's are the last ones."""
    ndim: int = viewer.dims.ndim
    return ndim - 3 + axis
