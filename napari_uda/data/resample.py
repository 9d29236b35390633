"""A volume on the grid of another one, by interpolation. Only for looking: scores and files keep their own grid."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import Cancelled
from napari_uda.data.volume import Volume

_SLAB_VOXELS = 2**21
"""Voxels between two looks at the stop event."""


def resampled(
    volume: Volume, grid: Volume, *, labels: bool, stop: threading.Event | None = None
) -> Volume:
    """The values of a volume at the voxels of another one.

    Args:
        volume: what is resampled.
        grid: whose voxels; its values do not matter.
        labels: take the nearest voxel instead of interpolating linearly.
        stop: when set, the work ends with `Cancelled`.

    Returns:
        `volume` on the grid, in its own voxel type; outside of it 0 for labels, else its smallest value.

    Raises:
        Cancelled: `stop` was set.
    """
    from scipy.ndimage import affine_transform

    kind = np.dtype(np.uint8) if volume.array.dtype.kind == "b" else volume.array.dtype
    source = volume.array.astype(kind.newbyteorder("="), copy=False)
    way = np.linalg.solve(
        volume.affine, grid.affine
    )  # voxels (x, y, z) of the grid to the volume's
    matrix, offset = way[2::-1, 2::-1], way[2::-1, 3]
    outside = 0.0 if labels else float(source.min())
    made = np.empty(grid.array.shape, source.dtype)
    depth = max(1, _SLAB_VOXELS // max(1, made[0].size))
    for first in range(0, len(made), depth):
        if stop is not None and stop.is_set():
            raise Cancelled
        part = made[first : first + depth]
        found = affine_transform(
            source,
            matrix,
            offset + matrix[:, 0] * first,
            part.shape,
            output=source.dtype if labels else np.float32,
            order=0 if labels else 1,
            cval=outside,
        )
        part[...] = found if labels else _in_type(found, source.dtype)
    return replace(grid, array=made, name=volume.name, value_step=0.0, source=None)


def _in_type(values: NDArray[np.float32], kind: np.dtype[np.generic]) -> NDArray[np.generic]:
    return np.rint(values).astype(kind) if kind.kind in "iu" else values.astype(kind)
