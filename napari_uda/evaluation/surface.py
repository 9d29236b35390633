"""Surface distances: ASSD, MASD, HD95 and NSD from border voxels.

A border voxel belongs to the mask and has a neighbour outside it; what lies beyond the array is outside.
With face neighbours, the default, this is the surface of medpy, MONAI and MetricsReloaded. Distances run between border voxel centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_uda.data.grid import Lattice

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
HD95Rule = Literal["pooled", "max"]
Connectivity = Literal[1, 2, 3]

# Below this many border voxels a k-d tree alone is faster than trying the near offsets first.
_FEW_POINTS = 2000
# About as many look-ups per voxel as one k-d tree query costs, so a poor match loses little.
_NEAR_OFFSETS = 500
# Reach of the near offsets in voxels; border masks are padded by it, so no look-up leaves them.
_PADDING = 8
# From this many on, threads pay for themselves.
_MANY_POINTS = 20000
# A distance counts as within a tolerance it exceeds by rounding only.
_TIE = 1e-9


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances from every border voxel of one mask to the nearest border voxel of the other.

    Attributes:
        forward: `(n,)` prediction to reference; NaN when the reference is empty.
        backward: `(m,)` reference to prediction; NaN when the prediction is empty.
    """

    forward: Floats
    backward: Floats

    @property
    def defined(self) -> bool:
        """Whether both masks have a border; without, every distance below is NaN."""
        return self.forward.size > 0 and self.backward.size > 0

    def directed(self) -> float:
        """Mean distance from the prediction's border to the reference's (medpy `asd`)."""
        return float(self.forward.mean()) if self.defined else np.nan

    def assd(self) -> float:
        """ASSD: mean over the border voxels of both masks, pooled (medpy from 0.5.2, Heimann 2009)."""
        if not self.defined:
            return np.nan
        total = self.forward.sum() + self.backward.sum()
        return float(total / (self.forward.size + self.backward.size))

    def masd(self) -> float:
        """MASD: mean of the two directed means (the `assd` of medpy up to 0.4.0)."""
        return float(self.forward.mean() + self.backward.mean()) / 2 if self.defined else np.nan

    def hd95(self, rule: HD95Rule = "pooled") -> float:
        """95th percentile of the distances, linear between ranks.

        Args:
            rule: `pooled` takes it over the joined distances (medpy); `max` takes the larger of the two
                directed percentiles (MONAI, MetricsReloaded).
        """
        if not self.defined:
            return np.nan
        if rule == "pooled":
            return float(np.percentile(np.concatenate((self.forward, self.backward)), 95))
        return float(max(np.percentile(self.forward, 95), np.percentile(self.backward, 95)))

    def hausdorff(self) -> float:
        """Largest distance in either direction."""
        return float(max(self.forward.max(), self.backward.max())) if self.defined else np.nan

    def nsd(self, tolerance: float) -> float:
        """NSD: share of the border voxels of both masks within `tolerance` of the other border.

        Args:
            tolerance: in the unit of the distances; exactly at the tolerance counts as within.

        Returns:
            A share in [0, 1]; 0 when one mask is empty, NaN when both are.
        """
        size = self.forward.size + self.backward.size
        limit = tolerance * (1 + _TIE)
        within = np.count_nonzero(self.forward <= limit) + np.count_nonzero(self.backward <= limit)
        return within / size if size else np.nan


@dataclass(frozen=True, eq=False)
class Surfaces:
    """The border voxels of two masks, from which distances in any unit follow.

    Attributes:
        shape: of the padded crop all flat indices refer to.
        borders: the two padded border masks, prediction first.
        indices: flat indices of their border voxels, in scan order.
        slice_axis: None for surfaces in 3-D (or 2-D for 2-D masks); else every slice along this axis
            is an image of its own, and distances stay inside it.
    """

    shape: tuple[int, ...]
    borders: tuple[Mask, Mask]
    indices: tuple[Indices, Indices]
    slice_axis: int | None

    @classmethod
    def of(
        cls,
        prediction: Mask,
        reference: Mask,
        slice_axis: int | None = None,
        connectivity: Connectivity = 1,
    ) -> Self:
        """Find the borders of two masks of the same shape (2-D or 3-D), see `border`."""
        borders = (
            np.pad(border(prediction, slice_axis, connectivity), _PADDING),
            np.pad(border(reference, slice_axis, connectivity), _PADDING),
        )
        indices = (np.flatnonzero(borders[0]), np.flatnonzero(borders[1]))
        return cls(borders[0].shape, borders, indices, slice_axis)

    def distances(self, spacing: Lattice | tuple[float, ...]) -> SurfaceDistances:
        """Distances in the unit of `spacing` (one number per axis, all 1 for voxels; or a lattice)."""
        lattice = as_lattice(spacing)
        return SurfaceDistances(self._directed(0, 1, lattice), self._directed(1, 0, lattice))

    def by_slice(
        self, distances: SurfaceDistances, start: int, length: int
    ) -> list[SurfaceDistances]:
        """Sort distances measured inside slices by their slice.

        Args:
            distances: what `distances` returned for these surfaces, `slice_axis` given.
            start: index in the volume of the first slice of the masks.
            length: number of slices in the volume.

        Returns:
            One entry per slice of the volume.
        """
        forward = self._split(0, distances.forward, start, length)
        backward = self._split(1, distances.backward, start, length)
        return [SurfaceDistances(a, b) for a, b in zip(forward, backward, strict=True)]

    def _split(self, which: int, values: Floats, start: int, length: int) -> list[Floats]:
        slices = self._slice_of(which) + start
        order = np.argsort(slices, kind="stable")
        ends = np.cumsum(np.bincount(slices, minlength=length))
        return np.split(values[order], ends[:-1])

    def _slice_of(self, which: int) -> Indices:
        axis = self.slice_axis
        if axis is None:
            raise ValueError("these surfaces were not found slice by slice; give slice_axis")
        stride = int(np.prod(self.shape[axis + 1 :]))
        return self.indices[which] // stride % self.shape[axis] - _PADDING

    def _directed(self, source: int, target: int, lattice: Lattice) -> Floats:
        """Distance of every border voxel of `source`, NaN where `target` has none to go to."""
        index = self.indices[source]
        result = np.full(index.size, np.nan)
        # Which voxels have somewhere to go: in 3-D all or none of them, slice by slice those in whose
        # slice the other mask has a border.
        if self.slice_axis is None:
            reachable = np.arange(index.size if self.indices[target].size else 0)
        else:
            reachable = np.flatnonzero(np.isin(self._slice_of(source), self._slice_of(target)))
        if reachable.size >= _FEW_POINTS:  # the near ones first; the tree is left with the far ones
            reachable = self._search_near(reachable, source, target, lattice, result)
        if reachable.size:
            tree = cKDTree(
                self._coordinates(self.indices[target], lattice),
                balanced_tree=False,
                compact_nodes=False,
            )
            points = self._coordinates(index[reachable], lattice)
            workers = -1 if len(points) >= _MANY_POINTS else 1
            result[reachable] = tree.query(points, workers=workers)[0]
        return result

    def _search_near(
        self,
        rest: Indices,
        source: int,
        target: int,
        lattice: Lattice,
        result: Floats,
    ) -> Indices:
        """Try offsets in order of their length and write the first hit; return who is left.

        Masks worth scoring mostly agree to a few voxels: a look-up in the border mask is about ten
        times faster than a k-d tree query, and exact, because the offsets are sorted.
        """
        occupied = self.borders[target].reshape(-1)
        strides = np.array(
            [int(np.prod(self.shape[axis + 1 :])) for axis in range(len(self.shape))]
        )
        index = self.indices[source][rest]
        # Masks are padded by the longest step, so index + step never leaves the array.
        for length, steps in _near_offsets(lattice, self.slice_axis):
            hit = np.zeros(index.size, bool)
            for step in (steps @ strides).tolist():
                hit |= occupied.take(index + step)
            result[rest[hit]] = length
            keep = np.flatnonzero(~hit)
            index, rest = index[keep], rest[keep]
            if not rest.size:
                break
        return rest

    def _coordinates(self, index: Indices, lattice: Lattice) -> Floats:
        """`(n, D)` positions in the unit of the lattice; slices lie further apart than they are wide.

        The nearest point of a tree is then always one of the same slice.
        """
        coordinates = np.stack(np.unravel_index(index, self.shape), axis=1)
        axis = self.slice_axis
        if axis is None:
            return lattice.places(coordinates)
        apart = 2 * float(np.dot(self.shape, lattice.spacing_mm))
        inside = lattice.slice_across(axis).places(np.delete(coordinates, axis, axis=1))
        return np.column_stack((inside, coordinates[:, axis] * apart))


def as_lattice(spacing: Lattice | Sequence[float]) -> Lattice:
    """A lattice as it is; the spacing of axes at right angles as one."""
    return spacing if isinstance(spacing, Lattice) else Lattice.right_angled(spacing)


def border(mask: Mask, slice_axis: int | None = None, connectivity: Connectivity = 1) -> Mask:
    """Border voxels of a mask: inside, with a neighbour outside; the array's edge is outside.

    Args:
        mask: bool, any number of axes.
        slice_axis: an axis along which neighbours do not count, so that every slice has its own outline.
        connectivity: which neighbours count: 1 those that share a face (the rule of medpy, MONAI and
            MetricsReloaded), 2 also an edge, 3 also a corner (thicker borders, smaller means).

    Returns:
        Bool, same shape.
    """
    if connectivity > 1:
        element = ndimage.generate_binary_structure(mask.ndim, connectivity)
        if slice_axis is not None:
            np.moveaxis(element, slice_axis, 0)[[0, 2]] = False
        eroded: Mask = ndimage.binary_erosion(mask, element)
        return mask ^ eroded
    inside = mask.copy()
    for axis in range(mask.ndim):
        if axis == slice_axis:
            continue
        here, there = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] &= there[:-1]
        here[:-1] &= there[1:]
        here[:1] = False
        here[-1:] = False
    return mask ^ inside


def surface_distances(
    prediction: Mask,
    reference: Mask,
    spacing: Lattice | tuple[float, ...],
    slice_axis: int | None = None,
    connectivity: Connectivity = 1,
) -> SurfaceDistances:
    """Distances between the borders of two masks.

    Args:
        prediction: bool, 2-D or 3-D.
        reference: bool, same shape.
        spacing: size of a voxel along every axis, in the unit the distances shall have; a lattice where
            the axes are not at right angles.
        slice_axis: measure inside every slice along this axis; None measures in all axes.
        connectivity: which voxels form the border, see `border`.

    Returns:
        The distances in both directions; empty or NaN for empty masks.

    Raises:
        ValueError: if shapes and spacing do not fit together.
    """
    lattice = as_lattice(spacing)
    if prediction.shape != reference.shape or len(lattice.steps) != prediction.ndim:
        raise ValueError(
            f"shapes {prediction.shape} and {reference.shape} and spacing {spacing} do not fit together"
        )
    return Surfaces.of(prediction, reference, slice_axis, connectivity).distances(lattice)


def within(borders: Mask, reach: float, spacing: Lattice | Sequence[float]) -> Mask:
    """Which voxels lie within reach of a border voxel, exactly at the reach included.

    Args:
        borders: bool.
        reach: in the unit of `spacing`.
        spacing: as for `surface_distances`.
    """
    lattice, limit = as_lattice(spacing), reach * (1 + _TIE)
    if not borders.any():
        return np.zeros(borders.shape, bool)
    if lattice.is_right_angled:
        distance = ndimage.distance_transform_edt(~borders, sampling=lattice.spacing_mm)
        return np.asarray(distance <= limit)
    tree = cKDTree(lattice.places(np.argwhere(borders)))
    points = lattice.places(np.indices(borders.shape).reshape(borders.ndim, -1).T)
    found = tree.query(points, distance_upper_bound=limit * (1 + _TIE), workers=-1)[0] <= limit
    return np.asarray(found.reshape(borders.shape))


@lru_cache(maxsize=32)
def _near_offsets(
    lattice: Lattice, slice_axis: int | None
) -> list[tuple[float, NDArray[np.int64]]]:
    """Index offsets grouped by their length, shortest first: every offset up to some radius.

    Returns:
        Pairs of length (unit of the lattice) and the `(k, D)` offsets of that length, no component
        above the padding of the border masks.
    """
    axes = [axis for axis in range(len(lattice.steps)) if axis != slice_axis]
    used = lattice if slice_axis is None else lattice.slice_across(slice_axis)
    ball = {1: 2.0, 2: np.pi, 3: 4 * np.pi / 3}[len(axes)]
    # the ball that holds about this many voxels, but nothing beyond the padding
    radius = float(_NEAR_OFFSETS * used.cell / ball) ** (1 / len(axes))
    radius = min(radius, (_PADDING + 0.5) * min(used.gaps_mm))
    reach = [int(radius // gap) for gap in used.gaps_mm]
    grid = np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij")
    inside = np.stack(grid, axis=-1).reshape(-1, len(axes))
    offsets = np.zeros((len(inside), len(lattice.steps)), np.int64)
    offsets[:, axes] = inside
    lengths = np.sqrt((used.places(inside) ** 2).sum(axis=1))
    near = np.flatnonzero(lengths <= radius)
    order = near[np.argsort(lengths[near], kind="stable")]
    distinct, starts = np.unique(lengths[order], return_index=True)
    return list(zip(distinct.tolist(), np.split(offsets[order], starts[1:]), strict=True))
