"""One slice of a volume."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.scratch import each_plane

Kind = TypeVar("Kind", bound=np.generic)
_FEW = 16
"""Values up to which looking for one after the other takes less time than numpy's count of all at once."""


def plane_of(array: NDArray[Kind], axis: int, index: int) -> NDArray[Kind]:
    """A slice as a view; `np.take` copies the whole volume first when its axes are turned or reversed.

    Args:
        array: of any number of axes.
        axis: the axis that the slice lies across.
        index: the slice.
    """
    where: tuple[Any, ...] = (*(slice(None),) * axis, index)
    plane: NDArray[Kind] = array[where]
    return plane


def count_values(labels: NDArray[np.integer[Any]], least: int = 0) -> NDArray[np.int64]:
    """Voxels of each label value from 0 on, slice by slice: no wider copy of the volume is made.

    Args:
        labels: `(Z, Y, X)`, none negative.
        least: number of values that are counted at least.
    """
    counts = np.zeros(least, np.int64)
    for plane in each_plane(labels):
        most = int(plane.max(initial=0))
        if most < _FEW:
            here = np.array([np.count_nonzero(plane == value) for value in range(most + 1)])
        else:
            here = np.bincount(plane.ravel())
        counts = np.pad(counts, (0, max(0, here.size - counts.size)))
        counts[: here.size] += here
    return counts
