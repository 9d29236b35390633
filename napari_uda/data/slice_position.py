"""How a slice is called wherever it is named: its plane, its index in the file, and where it lies in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PLANES = ("sagittal", "coronal", "axial")
"""Cuts across the axes of the patient: left to right, front to back, head to foot."""
SIDES = (("R", "L"), ("A", "P"), ("S", "I"))
"""The sides of the patient towards + and - of x, y and z."""


def patient_axis(affine: NDArray[np.float64], axis: int) -> int:
    """The axis of the patient (0 right, 1 anterior, 2 superior) that an axis of the array runs along most.

    Args:
        affine: `(4, 4)`, voxel index (x, y, z, 1) to RAS+ millimetres.
        axis: of the file, 0 is x.
    """
    return int(_orientation(np.asarray(affine, np.float64).tobytes())[axis, 0])


@lru_cache(maxsize=32)
def _orientation(affine: bytes) -> NDArray[np.float64]:
    """nibabel's, kept: slices that are scrolled through are named one after the other."""
    from nibabel.orientations import io_orientation

    return np.asarray(io_orientation(np.frombuffer(affine).reshape(4, 4)))


def millimetres(position_mm: float, axis: int) -> str:
    """A position along an axis of the patient with its side instead of a sign: `S 34.5 mm`."""
    plus, minus = SIDES[axis]
    return f"{plus if position_mm >= 0 else minus} {abs(position_mm):.1f} mm"


def slice_name(affine: NDArray[np.float64], shape: Sequence[int], axis: int, index: int) -> str:
    """A slice in words: `axial slice 12, S 34.5 mm`.

    The number is the index in the file, from 0, as `slices.csv` and the voxel under the cursor have it.

    Args:
        affine: `(4, 4)`, voxel index (x, y, z, 1) to RAS+ millimetres.
        shape: voxels of the file along x, y, z.
        axis: across which the slice is cut: 0 is x, 2 is z.
        index: of the slice along that axis.
    """
    (name,) = slice_names(affine, shape, axis, [index])
    return name


def slice_names(
    affine: NDArray[np.float64], shape: Sequence[int], axis: int, indices: Sequence[int]
) -> list[str]:
    """Several slices in words, each as `slice_name` has it: what the axis needs is computed once."""
    across = patient_axis(affine, axis)
    middle = (np.asarray(shape, float) - 1) / 2
    middle[axis] = 0
    start = float((affine @ np.append(middle, 1.0))[across])
    step = float(affine[across, axis])
    return [
        f"{PLANES[across]} slice {index}, {millimetres(start + step * index, across)}"
        for index in indices
    ]
