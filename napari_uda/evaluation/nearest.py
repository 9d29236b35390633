"""Exact distances from the border voxels of one mask to those of another: near ones by look-ups, far ones by a tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_uda.data.grid import Lattice

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Bytes = NDArray[np.uint8]

REACH = 16
"""Look-ups go this many voxels far along an axis; border masks are padded by it at the end of every axis, so
none leaves them: one before the start of a row is in the padding of the row before."""

# Below this many voxels a k-d tree alone is faster than anything that has to look at the whole mask first.
_FEW_POINTS = 2000
# From this many on, threads pay for themselves.
_MANY_POINTS = 20000
# What costs as much as one look-up of one voxel, about 3 ns: calls of NumPy, queries, building a tree.
_CALL, _QUERY, _BUILD = 1500, 150, 30
# Where masks agree, nearly all voxels are found by as many look-ups; only then is it worth asking which are far away.
_FIRST_LOOKS = 9
# Voxels without a border voxel in their own or a neighbouring block of this side are far away.
_BLOCK = 8
_NOWHERE = 255


@dataclass(frozen=True, eq=False)
class Border:
    """The border voxels of a mask.

    Attributes:
        mask: padded at the end of every axis by `REACH`, 0 along an axis that nothing is measured along.
        index: flat indices of the border voxels in `mask`, in scan order.
    """

    mask: Mask
    index: Indices
    _lines: dict[int, Bytes] = field(default_factory=dict)

    def lines(self, axis: int) -> Bytes:
        """Distance of every voxel to the nearest border voxel in its line along an axis; 255 where there is none that near."""
        if axis not in self._lines:
            found = self.mask.view(np.uint8) - np.uint8(1)
            rows = np.moveaxis(found, axis, 0)
            further = np.empty(rows.shape[1:], np.uint8)
            for row, before in (
                *((here, here - 1) for here in range(1, len(rows))),
                *((here, here + 1) for here in range(len(rows) - 2, -1, -1)),
            ):
                np.minimum(rows[before], _NOWHERE - 1, out=further)
                further += 1
                np.minimum(rows[row], further, out=rows[row])
            self._lines[axis] = found
        return self._lines[axis]

    def coordinates(self, index: Indices) -> NDArray[np.int64]:
        """`(n, D)` indices along the axes."""
        return np.stack(np.unravel_index(index, self.mask.shape), axis=1)


def nearest_distances(
    index: Indices, target: Border, lattice: Lattice, slice_axis: int | None
) -> Floats:
    """Distance of voxels to the nearest voxel of a border.

    Args:
        index: `(n,)` flat indices into `target.mask`.
        target: the border, not empty; with `slice_axis`, not empty in any slice of these voxels.
        lattice: of the mask.
        slice_axis: an axis across which distances stay inside the slice.

    Returns:
        `(n,)` in the unit of the lattice.
    """
    result = np.empty(index.size)
    rest = np.arange(index.size)
    # a line and what lies beside it make a right angle: the squares add up
    if index.size >= _FEW_POINTS and lattice.is_right_angled:
        rest = _look_up(index, target, lattice, slice_axis, result)
    if rest.size:
        result[rest] = _ask_tree(index[rest], target, lattice, slice_axis)
    return result


def _look_up(
    index: Indices, target: Border, lattice: Lattice, slice_axis: int | None, result: Floats
) -> Indices:
    """Write the distances of near voxels; return where the others are.

    The nearest border voxel of every line along one axis is known, so only the lines around a voxel are tried,
    the nearest ones first, until those that are left lie further away than what was found.
    """
    shape = target.mask.shape
    axes = [axis for axis in range(len(shape)) if axis != slice_axis]
    axis = min(axes[:-1], key=lambda one: (lattice.spacing_mm[one], -one))
    beside = [other for other in axes if other != axis]
    strides = [int(np.prod(shape[other + 1 :])) for other in beside]
    squares = (np.arange(_NOWHERE + 1) * lattice.spacing_mm[axis]) ** 2
    squares[_NOWHERE] = np.inf
    lines = target.lines(axis).reshape(-1)
    in_space = slice_axis is None and len(shape) == 3
    rest, left = np.arange(index.size), np.empty(0, np.intp)
    build = _BUILD * target.index.size
    near, best, tried = index, np.full(rest.size, np.inf), 0
    for square, offsets, limit in _rings(tuple(lattice.spacing_mm[other] for other in beside)):
        if in_space and tried >= _FIRST_LOOKS and rest.size >= _FEW_POINTS:
            far, in_space = _far_away(near, target), False
            if far.any():
                left, build = rest[far], 0
                near, rest, best = near[~far], rest[~far], best[~far]
        if not rest.size or tried * (rest.size + _CALL) > build + _QUERY * rest.size:
            break
        steps = (offsets @ strides).tolist()
        tried += len(steps)
        along = lines.take(near + steps[0])
        for step in steps[1:]:
            np.minimum(along, lines.take(near + step), out=along)
        np.minimum(best, squares.take(along) + square, out=best)
        found = best <= limit
        result[rest[found]] = np.sqrt(best[found])
        keep = np.flatnonzero(~found)
        near, rest, best = near[keep], rest[keep], best[keep]
    return np.concatenate((left, rest))


def _far_away(index: Indices, target: Border) -> Mask:
    """Whether a voxel is more than `_BLOCK` voxels away along some axis from all of the border."""
    blocks = np.zeros([-(-size // _BLOCK) for size in target.mask.shape], bool)
    blocks.reshape(-1)[_blocks(target.index, target.mask.shape, blocks.shape)] = True
    near = ndimage.binary_dilation(blocks, np.ones((3, 3, 3), bool))
    return np.asarray(~near.reshape(-1)[_blocks(index, target.mask.shape, blocks.shape)])


def _blocks(index: Indices, shape: tuple[int, ...], blocks: tuple[int, ...]) -> Indices:
    rows, x = np.divmod(index, shape[2])
    z, y = np.divmod(rows, shape[1])
    return np.asarray((z // _BLOCK * blocks[1] + y // _BLOCK) * blocks[2] + x // _BLOCK)


@lru_cache(maxsize=32)
def _rings(spacing: tuple[float, ...]) -> list[tuple[float, NDArray[np.int64], float]]:
    """Offsets along one or two axes by their length, shortest first.

    Returns:
        The squared length, the `(k, len(spacing))` offsets of that length, and the squared length of the next
        ones; all up to the `REACH` along the axis of the shortest steps.
    """
    reach = np.arange(-REACH, REACH + 1)
    offsets = np.stack(np.meshgrid(*(reach for _ in spacing), indexing="ij"), axis=-1)
    offsets = offsets.reshape(-1, len(spacing))
    lengths = ((offsets * np.array(spacing)) ** 2).sum(axis=1)
    end = ((REACH + 1) * min(spacing)) ** 2
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] < end]
    distinct, starts = np.unique(lengths[order], return_index=True)
    groups = np.split(offsets[order], starts[1:])
    limits = [*distinct[1:].tolist(), end]
    return list(zip(distinct.tolist(), groups, limits, strict=True))


def _ask_tree(index: Indices, target: Border, lattice: Lattice, slice_axis: int | None) -> Floats:
    """The distances by a k-d tree."""
    borders, points = (
        _places(target.coordinates(voxels), target.mask.shape, lattice, slice_axis)
        for voxels in (target.index, index)
    )
    # tight boxes around the points of every node, SciPy's default, make far queries three times slower
    tree = cKDTree(borders, leafsize=32, balanced_tree=False, compact_nodes=False)
    distance: Floats = tree.query(points, workers=-1 if len(points) >= _MANY_POINTS else 1)[0]
    return distance


def _places(
    voxels: NDArray[np.int64], shape: tuple[int, ...], lattice: Lattice, slice_axis: int | None
) -> Floats:
    """`(n, D)` positions in the unit of the lattice; slices lie further apart than they are wide.

    The nearest point of a tree is then always one of the same slice.
    """
    if slice_axis is None:
        return lattice.places(voxels)
    apart = 2 * float(np.dot(shape, lattice.spacing_mm))
    inside = lattice.slice_across(slice_axis).places(np.delete(voxels, slice_axis, axis=1))
    return np.column_stack((inside, voxels[:, slice_axis] * apart))
