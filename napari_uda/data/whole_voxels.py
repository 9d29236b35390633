"""Blocks of voxels on the grid of an image: where a cropped segmentation or one of its slices belongs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.data.grid import Affine, numbers_text, spacing_mm
from napari_uda.data.same_grid import ROUNDING_MM, TOLERANCE
from napari_uda.data.volume import Orientation, Volume

_SAME_STEP = 0.02
"""How far one step of a block may differ from one of the grid, in voxels, to be told as a shift."""


@dataclass(frozen=True)
class Place:
    """Where a block of voxels lies on a grid."""

    order: Orientation
    """How its axes are put in the order of the grid's."""
    start: tuple[int, int, int]
    """The grid's voxel (z, y, x) at the first one of the ordered block; may lie outside the grid."""


def place_of(
    affine: Affine, shape: Sequence[int], grid: Volume, name: str, warn: Callable[[str], object]
) -> Place:
    """Where a block lies whose voxels are voxels of the grid.

    Args:
        affine: (4, 4) of the block to RAS+ millimetres.
        shape: of the block, (z, y, x).
        grid: whose grid it is.
        name: the block's file, for messages.
        warn: is told when the two are apart by more than rounding.

    Raises:
        InputError: voxels of another size or direction, or off by more than 1 % of a voxel.
    """
    moves = np.linalg.solve(grid.affine, affine)
    signs = np.rint(moves[:3, :3])
    image = grid.name or "the image"
    is_order = (np.abs(signs).sum(0) == 1).all() and (np.abs(signs).sum(1) == 1).all()
    if not is_order or np.abs(moves[:3, :3] - signs).max() > _SAME_STEP:
        raise InputError(_other_voxels(affine, grid.affine, name, image))
    first = np.rint(moves[:3, 3])
    corners = np.array(list(product(*((0, size - 1) for size in reversed(shape)))), float)
    expected = corners @ signs.T + first
    off = (corners @ moves[:3, :3].T + moves[:3, 3] - expected) @ grid.affine[:3, :3].T
    apart, side = float(np.linalg.norm(off, axis=1).max()), min(grid.spacing_mm)
    if apart > TOLERANCE * side:
        raise InputError(
            f"{name} does not lie on the voxels of {image}: it is off by {apart:.3g} mm, {apart / side:.0%} of a "
            "voxel; give the image that it was drawn on, or resample it onto this one"
        )
    if apart > ROUNDING_MM:
        warn(
            f"{image} and {name} lie up to {apart:.3g} mm apart, {apart / side:.1%} of a voxel; they are taken to "
            "lie on one grid"
        )
    places = [2 - int(np.abs(signs[2 - axis]).argmax()) for axis in range(3)]
    flips = [bool(signs[2 - axis].sum() < 0) for axis in range(3)]
    low = expected.min(0).astype(int)
    return Place(
        Orientation((places[0], places[1], places[2]), (flips[0], flips[1], flips[2])),
        (int(low[2]), int(low[1]), int(low[0])),
    )


def _other_voxels(affine: Affine, grid: Affine, name: str, image: str) -> str:
    sizes = spacing_mm(affine), spacing_mm(grid)
    same_size = np.allclose(sorted(sizes[0]), sorted(sizes[1]), rtol=_SAME_STEP, atol=0)
    detail = (
        f"its axes ({''.join(nib.aff2axcodes(affine))}) are turned against those of the image"
        if same_size
        else f"its voxels are {numbers_text(sizes[0])} mm (z, y, x) and those of the image "
        f"{numbers_text(sizes[1])} mm"
    )
    return (
        f"{name} does not lie on the voxels of {image}: {detail}; give the image that it was drawn on, or "
        "resample it onto this one"
    )


def on_common_grid(
    first: Volume, second: Volume, warn: Callable[[str], object]
) -> tuple[Volume, Volume]:
    """Two label maps on the smallest grid that holds both, background around them.

    Args:
        first: its axes are those of the grid.
        second: with the same voxels, wherever it begins and ends.
        warn: is told when the two are apart by more than rounding.

    Raises:
        InputError: other voxels, as `place_of`.
    """
    place = place_of(second.affine, second.array.shape, first, second.name, warn)
    ordered = place.order.apply(second.array)
    low = np.minimum(0, place.start)
    high = np.maximum(first.array.shape, np.add(place.start, ordered.shape))
    affine = np.array(first.affine)
    affine[:3, 3] += affine[:3, :3] @ low[::-1]

    def padded(array: NDArray[np.generic], start: NDArray[np.int_]) -> NDArray[np.generic]:
        whole = np.zeros(high - low, array.dtype)
        z, y, x = (
            slice(int(at), int(at) + side) for at, side in zip(start, array.shape, strict=True)
        )
        whole[z, y, x] = array
        return whole

    return (
        replace(first, array=padded(first.array, -low), affine=affine),
        replace(second, array=padded(ordered, np.subtract(place.start, low)), affine=affine),
    )


class Canvas:
    """A label map on a grid that segments are drawn onto, one value to a voxel."""

    def __init__(self, grid: Volume, name: str, names: dict[int, str]) -> None:
        """Begin with background alone.

        Args:
            grid: the grid.
            name: the file that is drawn, for messages.
            names: of the label values, for messages.
        """
        self._grid, self._name, self._names = grid, name, names
        self._sides: tuple[int, ...] = grid.array.shape
        self._labels = np.zeros(self._sides, np.uint8)
        self._fractions: NDArray[np.float32] | None = None
        self._shared: dict[tuple[int, int], int] = {}
        self._outside: dict[int, int] = {}

    def draw(self, value: int, block: NDArray[np.bool_], start: Sequence[int]) -> None:
        """Give a value to the voxels of a block that lies in the grid's order, from `start` on."""
        inside, target = self._clipped(value, block, start)
        if inside is None:
            return
        drawn = self._labels[target]
        self._count_shared(value, drawn, inside)
        drawn[inside] = value

    def draw_fractions(
        self, value: int, fractions: NDArray[np.float32], start: Sequence[int]
    ) -> None:
        """The same for parts of voxels: who has half of it or more has it, the larger part before the smaller."""
        inside, target = self._clipped(value, fractions >= 0.5, start)
        if inside is None:
            return
        if self._fractions is None:
            self._fractions = np.zeros(self._labels.shape, np.float32)
        drawn, known = self._labels[target], self._fractions[target]
        here = fractions[self._window(fractions.shape, start)]
        self._count_shared(value, drawn, inside & (here > 0.5) & (known > 0.5))
        wins = inside & (here > known)
        drawn[wins], known[wins] = value, here[wins]

    def labels(self) -> NDArray[np.uint8]:
        """The label map, (Z, Y, X).

        Raises:
            InputError: segments that share voxels or reach beyond the grid.
        """
        if self._outside:
            value, count = max(self._outside.items(), key=lambda item: item[1])
            raise InputError(
                f"{self._name}: {self._names[value]} reaches beyond {self._grid.name or 'the image'}, {count} of its "
                "voxels lie outside; give the whole image that it was drawn on"
            )
        if self._shared:
            (first, second), count = max(self._shared.items(), key=lambda item: item[1])
            more = len(self._shared) - 1
            also = ("", " (and so does another pair)", f" (and so do {more} other pairs)")[
                min(more, 2)
            ]
            raise InputError(
                f"{self._name}: {self._names[first]} and {self._names[second]} overlap in {count} voxels{also}, and a "
                "label map holds one structure per voxel; name only structures that do not overlap in the labels of "
                'dataset.json, such as {"labels": {"liver": 1}}, and the others are left out'
            )
        return self._labels

    def _window(self, shape: Sequence[int], start: Sequence[int]) -> tuple[slice, slice, slice]:
        z, y, x = (
            slice(max(0, -first), max(0, min(size, side - first)))
            for size, first, side in zip(shape, start, self._sides, strict=True)
        )
        return z, y, x

    def _clipped(
        self, value: int, block: NDArray[np.bool_], start: Sequence[int]
    ) -> tuple[NDArray[np.bool_] | None, tuple[slice, slice, slice]]:
        """What of a block lies on the grid, None for nothing, and where; what does not is counted."""
        window = self._window(block.shape, start)
        inside = block[window]
        count = int(np.count_nonzero(inside))
        outside = int(np.count_nonzero(block)) - count if inside.size < block.size else 0
        if outside:
            self._outside[value] = self._outside.get(value, 0) + outside
        z, y, x = (
            slice(part.start + first, part.stop + first)
            for part, first in zip(window, start, strict=True)
        )
        return (inside if count else None), (z, y, x)

    def _count_shared(self, value: int, drawn: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        before = drawn[mask]
        others = before[(before != 0) & (before != value)]
        for other, count in zip(*np.unique(others, return_counts=True), strict=True):
            pair = int(other), value
            self._shared[pair] = self._shared.get(pair, 0) + int(count)
