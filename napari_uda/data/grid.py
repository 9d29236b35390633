"""What a voxel grid must be before its voxels are read: sizes, affine, spacing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError

MAX_SIDE = 4096
"""Largest number of voxels along one axis."""
MAX_BYTES = 2**31
"""Largest size of the voxels of one volume in bytes (1024 x 1024 x 1024 of int16)."""
SPACING_RANGE_MM = (0.05, 50.0)
"""Smallest and largest distance of neighbouring voxels."""

Affine = NDArray[np.float64]


def spacing_mm(affine: Affine) -> tuple[float, float, float]:
    """Distance of neighbouring voxels in millimetres, (z, y, x)."""
    x, y, z = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return z, y, x


def corners_mm(affine: Affine, shape: Sequence[int]) -> NDArray[np.float64]:
    """Positions (8, 3) of the corner voxels of a (Z, Y, X) grid in millimetres."""
    last = [size - 1 for size in reversed(shape)]
    corners = np.array([(*corner, 1) for corner in product(*((0, end) for end in last))])
    return np.asarray(corners @ affine.T, np.float64)[:, :3]


def three_sides(sizes: Sequence[int], item_bytes: int, name: str) -> tuple[int, int, int]:
    """Check the sizes a header declares and drop trailing axes of length 1.

    Args:
        sizes: voxels along the file's axes (x, y, z, ...), as declared.
        item_bytes: bytes of one voxel.
        name: the file, for messages.

    Returns:
        The sizes (x, y, z).

    Raises:
        InputError: not three axes, a size outside 1 to `MAX_SIDE`, or over `MAX_BYTES` in all.
    """
    text = " x ".join(str(size) for size in sizes)
    if any(size == 0 for size in sizes):
        raise InputError(f"{name}: holds no voxels (size {text}); give a volume with at least one")
    for size in sizes:
        if not 1 <= size <= MAX_SIDE:
            raise InputError(
                f"{name}: its header declares the size {text}, and {size} lies outside 1 to {MAX_SIDE}; "
                "export the file again or crop the volume"
            )
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if len(sizes) != 3:
        raise InputError(
            f"{name}: is {len(sizes)}-D (size {text}) where a 3-D volume is needed; "
            + ("extract one frame" if len(sizes) > 3 else "stack its slices into a volume")
        )
    x, y, z = sizes
    total = x * y * z * item_bytes
    if total > MAX_BYTES:
        raise InputError(
            f"{name}: its header declares {total / 2**30:.1f} GiB of voxels (size {text}), more than "
            f"{MAX_BYTES / 2**30:.0f} GiB; crop or resample the volume"
        )
    return x, y, z


def check_affine(affine: Affine, name: str) -> None:
    """Check that an affine can place voxels in space.

    Raises:
        InputError: not finite, singular, or a spacing outside `SPACING_RANGE_MM`.
    """
    if not np.isfinite(affine).all():
        raise InputError(
            f"{name}: its affine holds NaN or infinite values; correct the header's geometry (sform, qform)"
        )
    spacing = spacing_mm(affine)
    if 0 in spacing or abs(np.linalg.det(affine[:3, :3] / spacing[::-1])) < 1e-6:
        raise InputError(
            f"{name}: its affine is singular (rows {affine[:3, :3].tolist()}), so voxels have no place in space; "
            "correct the header's geometry (sform, qform)"
        )
    low, high = SPACING_RANGE_MM
    if not all(low <= step <= high for step in spacing):
        raise InputError(
            f"{name}: its spacing (z, y, x) is {_numbers(spacing)} mm, outside {low} to {high:g} mm; "
            "correct the header (lengths must be in millimetres)"
        )


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
