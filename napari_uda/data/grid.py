"""What a voxel grid must be before its voxels are read, and the lengths, areas and volumes on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError

MAX_SIDE = 4096
"""Largest number of voxels along one axis."""
MAX_BYTES = 2**31
"""Largest size of the voxels of one volume in bytes (1024 x 1024 x 1024 of int16)."""
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
"""Factors on x, y and z that lead from the axes of DICOM and ITK to those of NIfTI, and back."""
DIRECTIONS = ("from foot to head", "from back to front", "from left to right")
"""Along the axes z, y and x of a volume in canonical orientation."""
SPACING_RANGE_MM = (0.005, 50.0)
"""Smallest and largest distance of neighbouring voxels: micro-CT, and no metres taken for millimetres."""

_ROUNDED_COSINE = 1e-5  # cosines of right angles in headers with five or more digits

Affine = NDArray[np.float64]


def spacing_mm(affine: Affine) -> tuple[float, float, float]:
    """Distance of neighbouring voxels in millimetres, (z, y, x)."""
    x, y, z = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return z, y, x


@dataclass(frozen=True)
class Lattice:
    """How voxels lie to each other, angles included: distances, areas and volumes follow from it alone.

    The spacing is not enough: where the axes are not at right angles (a tilted gantry, a sheared sform), a
    voxel is smaller than the product of its sides.
    """

    steps: tuple[tuple[float, ...], ...]
    """The step along every array axis (z, y, x) as a vector in millimetres, in a frame that is turned with
    the grid: a lower triangle, and on a right-angled grid the spacing on its diagonal."""

    @classmethod
    def of(cls, affine: Affine) -> Self:
        """The lattice of an affine; angles that rounding alone can explain are right angles."""
        steps = np.asarray(affine, np.float64)[:3, :3].T[::-1]
        products = steps @ steps.T
        lengths = np.asarray(spacing_mm(affine))
        cosines = products / np.outer(lengths, lengths)
        if np.abs(cosines - np.diag(np.diag(cosines))).max() <= _ROUNDED_COSINE:
            return cls.right_angled(lengths.tolist())
        return cls(_rows(np.linalg.cholesky(products)))

    @classmethod
    def right_angled(cls, spacing: Sequence[float]) -> Self:
        """The lattice of axes at right angles, two or three of them."""
        return cls(_rows(np.diag([float(step) for step in spacing])))

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """The steps as an array: `index @ matrix` is a place in millimetres."""
        return np.array(self.steps, np.float64)

    @cached_property
    def is_right_angled(self) -> bool:
        """Whether all axes are at right angles."""
        return bool((self.matrix == np.diag(np.diag(self.matrix))).all())

    @cached_property
    def spacing_mm(self) -> tuple[float, ...]:
        """Distance of neighbouring voxels along every axis."""
        if self.is_right_angled:
            return tuple(float(step) for step in np.diag(self.matrix))
        return tuple(float(length) for length in np.linalg.norm(self.matrix, axis=1))

    @cached_property
    def gaps_mm(self) -> tuple[float, ...]:
        """Distance of neighbouring slices across every axis: at most the spacing."""
        if self.is_right_angled:
            return self.spacing_mm
        normals = np.linalg.norm(np.linalg.inv(self.matrix), axis=0)
        return tuple(float(1 / length) for length in normals)

    @property
    def cell(self) -> float:
        """Volume of a voxel (mm³) of a lattice with three axes, area of a pixel (mm²) with two."""
        return math.prod(row[axis] for axis, row in enumerate(self.steps))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return self.cell / 1000

    def places(self, index: NDArray[np.integer]) -> NDArray[np.float64]:
        """Where voxels `(n, D)` lie, in millimetres from the first one, in the lattice's own frame."""
        if self.is_right_angled:
            return np.asarray(index * np.array(self.spacing_mm), np.float64)
        return np.asarray(index @ self.matrix, np.float64)

    def slice_across(self, axis: int) -> Lattice:
        """The lattice of the pixels of a slice across an axis."""
        if self.is_right_angled:
            kept = [step for other, step in enumerate(self.spacing_mm) if other != axis]
            return Lattice.right_angled(kept)
        steps = np.delete(self.matrix, axis, axis=0)
        return Lattice(_rows(np.linalg.cholesky(steps @ steps.T)))

    def diagonal_mm(self, shape: Sequence[int]) -> float:
        """Longest diagonal of an array of this shape, from outer edge to outer edge."""
        signs = np.array(list(product((1, -1), repeat=len(shape))), np.float64)
        return float(np.linalg.norm(signs * np.array(shape) @ self.matrix, axis=1).max())


def _rows(matrix: NDArray[np.floating]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in matrix)


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
        InputError: not finite, another last row than (0, 0, 0, 1), singular, or a spacing outside `SPACING_RANGE_MM`.
    """
    if not np.isfinite(affine).all():
        raise InputError(
            f"{name}: its affine holds NaN or infinite values; correct the header's geometry (sform, qform)"
        )
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        raise InputError(
            f"{name}: the last row of its affine is {numbers_text(affine[3])} and not (0, 0, 0, 1); give the matrix that "
            "takes columns (x, y, z, 1) to millimetres, perhaps its transpose"
        )
    spacing = spacing_mm(affine)
    if 0 in spacing or abs(np.linalg.det(affine[:3, :3] / spacing[::-1])) < 1e-6:
        raise InputError(
            f"{name}: its affine is singular (rows {affine[:3, :3].tolist()}), so voxels have no place in space; "
            "correct the header's geometry (sform, qform)"
        )
    if not is_usual_spacing(spacing):
        low, high = SPACING_RANGE_MM
        raise InputError(
            f"{name}: its spacing (z, y, x) is {numbers_text(spacing)} mm, outside {low} to {high:g} mm; "
            "correct the header (lengths must be in millimetres)"
        )


def is_usual_spacing(spacing: Sequence[float]) -> bool:
    """Whether all distances (mm) lie within `SPACING_RANGE_MM`."""
    low, high = SPACING_RANGE_MM
    return all(low <= step <= high for step in spacing)


def numbers_text(values: Iterable[float]) -> str:
    """Numbers in one text, `(4, 1.5, 0.75)`."""
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
