"""Exact distances from the border voxels of one mask to those of another: near ones by look-ups, far ones by planes or a tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
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
# What costs as much as one look-up of one voxel, about 3 ns: calls of NumPy, queries of near and of far voxels, building
# a tree, making a voxel of a plane, and searching it one step further.
_CALL, _QUERY, _FAR_QUERY, _BUILD, _MAKE, _STEP = 1500, 150, 600, 30, 0.5, 0.05
# Where masks agree, so many look-ups find nearly all voxels; where they leave most of them, the masks lie apart.
_FIRST_LOOKS = 9
_NOWHERE = 255
# Voxels of planes that are worked on at once: they and a copy of them stay in the processor's cache.
_BLOCK = 1 << 16

Axes = tuple[int, int, int]
"""Of planes: what they lie across, and the axes of their lines and of their rows."""
_PLANES: tuple[Axes, ...] = ((0, 1, 2), (2, 1, 0), (1, 0, 2))


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
    _planes: dict[Axes, _Planes] = field(default_factory=dict)

    def lines(self, axis: int) -> Bytes:
        """Distance of every voxel to the nearest border voxel in its line along an axis; 255 where there is none that near."""
        if axis not in self._lines:
            rows = np.array(np.moveaxis(self.mask, axis, 0), np.uint8, order="C")
            rows -= np.uint8(1)
            # an array of one number: NumPy takes twelve times as long for the minimum with a number
            limit, further = np.full_like(rows[0], _NOWHERE - 1), np.empty_like(rows[0])
            for row, before in (
                *((here, here - 1) for here in range(1, len(rows))),
                *((here, here + 1) for here in range(len(rows) - 2, -1, -1)),
            ):
                np.minimum(rows[before], limit, out=further)
                further += 1
                np.minimum(rows[row], further, out=rows[row])
            self._lines[axis] = np.ascontiguousarray(np.moveaxis(rows, 0, axis))
        return self._lines[axis]

    def planes(self, axes: Axes) -> _Planes:
        """Its planes, which remember how far they were searched."""
        if axes not in self._planes:
            self._planes[axes] = _Planes.of(self, axes)
        return self._planes[axes]

    def coordinates(self, index: Indices) -> NDArray[np.int64]:
        """`(n, D)` indices along the axes."""
        return np.stack(np.unravel_index(index, self.mask.shape), axis=1)


@dataclass(eq=False)
class _Planes:
    """Squared steps from every voxel to the nearest border voxel of its plane; lines and rows are spaced alike.

    Attributes:
        squares: `(planes, lines, rows)`, from the plane before the first one with a border voxel to the last one; the
            square of `_NOWHERE` where none is within reach, such as at either end of the array.
        first: index of the first plane in the mask, -1 if it lies before it.
        reach: `(planes * lines,)` how many steps along it every row was searched.
    """

    squares: NDArray[np.uint16]
    first: int
    reach: Bytes

    @classmethod
    def of(cls, border: Border, axes: Axes) -> Self:
        """Look along the lines."""
        planes = np.unravel_index(border.index, border.mask.shape)[axes[0]]
        first, last = int(planes.min()), int(planes.max()) + 1
        lines = border.lines(axes[1]).transpose(axes)[first:last, :-REACH]
        squares = np.empty((len(lines) + 1, *lines.shape[1:]), np.uint16)
        squares[0] = _NOWHERE**2
        np.multiply(lines, lines, out=squares[1:], dtype=np.uint16)
        return cls(squares, first - 1, np.zeros(squares.shape[0] * squares.shape[1], np.uint8))

    def rows_beside(self, near: Indices, plane: Indices, beside: int) -> Indices:
        """The rows that voxels lie in, and those of the same line in so many planes on either side.

        Args:
            near: `(n,)` flat indices in `squares`.
            plane: `(n,)` the planes they are in, which may lie before the first or after the last.
            beside: planes on either side.

        Returns:
            Indices as in `reach`, in increasing order.
        """
        planes, lines, length = self.squares.shape
        line = near // length - plane * lines
        starts, ends = (
            np.bincount(
                np.clip(plane + step, 0, planes) * lines + line, minlength=(planes + 1) * lines
            )
            for step in (-beside, beside + 1)
        )
        return np.flatnonzero((starts - ends).reshape(-1, lines).cumsum(axis=0))

    def grow(self, rows: Indices, reach: int) -> None:
        """Search these rows further, by multiples of `REACH`."""
        table = self.squares.reshape(len(self.reach), -1)
        size = max(1, _BLOCK // table.shape[1])
        for done in range(0, reach, REACH):
            due = rows[self.reach[rows] == done]
            for start in range(0, due.size, size):
                some = due[start : start + size]
                table[some] = _searched(table[some], done)
            self.reach[due] = done + REACH

    def look_across(self, near: Indices, steps: list[float]) -> Floats:
        """The squared distance to the nearest border voxel in the planes around.

        Args:
            near: `(n,)` flat indices in `squares`; those of planes before the first or after the last go beyond.
            steps: from a plane to itself, to the next one on either side, and so on.

        Returns:
            `(n,)` in squared steps.
        """
        flat, size = self.squares.reshape(-1), self.squares[0].size
        best = flat.take(near, mode="clip").astype(np.float64)
        for beside, step in enumerate(steps[1:], start=1):
            before, after = (
                flat.take(near + there * size, mode="clip") for there in (-beside, beside)
            )
            np.minimum(best, np.minimum(before, after, out=before) + step**2, out=best)
        return best


def _searched(rows: NDArray[np.uint16], done: int) -> NDArray[np.uint16]:
    """Rows of planes, overwritten, `REACH` steps further than `done`.

    The first step from voxel to voxel costs 1, the next 3, then 5: `k` of them cost `k²` if they are the first ones,
    and more if not.
    """
    flat = rows.reshape(-1)
    before, here, after = flat[:-2], flat[1:-1], flat[2:]
    nearest = np.empty_like(here)
    for cost in range(2 * done + 1, 2 * (done + REACH), 2):
        corner = min(int(flat[0]), int(flat[1]) + cost)  # it has no neighbour before it
        np.minimum(before, after, out=nearest)
        nearest += np.uint16(cost)
        np.minimum(here, nearest, out=here)
        flat[0] = corner
    rows[:, -REACH:] = _NOWHERE**2  # the next row has come as far as the padding goes
    return rows


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
        if rest.size >= _FEW_POINTS and slice_axis is None and target.mask.ndim == 3:
            result[rest] = _ask_planes(index[rest], target, lattice.spacing_mm)
            rest = rest[np.isnan(result[rest])]
    if rest.size:
        result[rest] = _ask_tree(index[rest], target, lattice, slice_axis)
    return result


def _look_up(
    index: Indices, target: Border, lattice: Lattice, slice_axis: int | None, result: Floats
) -> Indices:
    """Write the distances of near voxels, and upper bounds for others; return where the others are.

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
    build = _BUILD * target.index.size
    rest, near, best, tried = np.arange(index.size), index, np.full(index.size, np.inf), 0
    for square, offsets, limit in _rings(tuple(lattice.spacing_mm[other] for other in beside)):
        apart = slice_axis is None and tried >= _FIRST_LOOKS and 2 * rest.size > index.size
        if apart or not rest.size or tried * (rest.size + _CALL) > build + _QUERY * rest.size:
            break
        steps = (offsets @ strides).tolist()
        tried += len(steps)
        along = lines.take(near + steps[0])
        for step in steps[1:]:
            np.minimum(along, lines.take(near + step), out=along)
        np.minimum(best, (squares + square).take(along), out=best)
        result[rest] = best  # a square, right for those that are found now
        keep = np.flatnonzero(best > limit)
        near, rest, best = near.take(keep), rest.take(keep), best.take(keep)
    np.sqrt(result, out=result)
    return rest


def _ask_planes(index: Indices, target: Border, spacing: tuple[float, ...]) -> Floats:
    """The distances by planes in which steps are whole numbers; NaN for voxels that a tree finds sooner.

    Planes are searched further and further: what was not seen yet lies beyond their reach.
    """
    result = np.full(index.size, np.nan)
    axes = next((axes for axes in _PLANES if spacing[axes[1]] == spacing[axes[2]]), None)
    build = _BUILD * target.index.size
    if axes is None or _MAKE * target.mask.size > build + _FAR_QUERY * index.size:
        return result
    across, side = spacing[axes[0]], spacing[axes[1]]
    planes = target.planes(axes)
    places = np.unravel_index(index, target.mask.shape)
    rest = np.arange(index.size)
    plane, line, row = (places[axis] for axis in axes)
    plane -= planes.first
    _, lines, rows = planes.squares.shape
    near = (plane * lines + line) * rows + row
    for reach in range(REACH, _NOWHERE, REACH):
        beside = int((reach + 1) * side / across)
        around = planes.rows_beside(near, plane, beside)
        steps = np.maximum(reach - planes.reach[around].astype(int), 0).sum()
        cost = _STEP * steps * rows + (2 * beside + 1) * rest.size
        if not rest.size or cost > build + _FAR_QUERY * rest.size:
            break
        planes.grow(around, reach)
        best = planes.look_across(near, [n * across / side for n in range(beside + 1)])
        found = best < (reach + 1) ** 2
        result[rest[found]] = np.sqrt(best[found]) * side
        keep = np.flatnonzero(~found)
        rest, plane, near = rest[keep], plane[keep], near[keep]
    return result


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
