"""Surface distances: ASSD, MASD, HD95 and NSD from border voxels.

A border voxel belongs to the mask and has a neighbour outside it; what lies beyond the array is outside.
With face neighbours, the default, this is the surface of medpy, MONAI and MetricsReloaded. Distances run between border voxel centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_uda.data.grid import Lattice
from napari_uda.evaluation.nearest import REACH, Border, nearest_distances

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
HD95Rule = Literal["pooled", "max"]
Connectivity = Literal[1, 2, 3]

_STRIP = 1 << 17
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
        borders: of the two masks, prediction first; their arrays have the same shape.
        slice_axis: None for surfaces in 3-D (or 2-D for 2-D masks); else every slice along this axis
            is an image of its own, and distances stay inside it.
    """

    borders: tuple[Border, Border]
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
        first, second = (
            _padded_border(mask, slice_axis, connectivity, REACH)
            for mask in (prediction, reference)
        )
        return cls(
            (Border(first, np.flatnonzero(first)), Border(second, np.flatnonzero(second))),
            slice_axis,
        )

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
        border = self.borders[which]
        stride = int(np.prod(border.mask.shape[axis + 1 :]))
        return np.asarray(border.index // stride % border.mask.shape[axis])

    def _directed(self, source: int, target: int, lattice: Lattice) -> Floats:
        """Distance of every border voxel of `source`, NaN where `target` has none to go to."""
        index, other = self.borders[source].index, self.borders[target]
        result = np.full(index.size, np.nan)
        # Which voxels have somewhere to go: in 3-D all or none of them, slice by slice those in whose
        # slice the other mask has a border.
        if self.slice_axis is None:
            reachable = np.arange(index.size if other.index.size else 0)
        else:
            reachable = np.flatnonzero(np.isin(self._slice_of(source), self._slice_of(target)))
        if reachable.size:
            result[reachable] = nearest_distances(index[reachable], other, lattice, self.slice_axis)
        return result


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
    inside = tuple(slice(size) for size in mask.shape)
    return _padded_border(mask, slice_axis, connectivity, 1)[inside]


def _padded_border(
    mask: Mask, slice_axis: int | None, connectivity: Connectivity, padding: int
) -> Mask:
    """The border, padded at the end of all axes but the slice's.

    One voxel before the start of a row is then the padding of the row before, so neighbours along an axis are
    neighbours in the flat array.
    """
    sizes = [size + (0 if axis == slice_axis else padding) for axis, size in enumerate(mask.shape)]
    padded = np.zeros(sizes, bool)
    padded[tuple(slice(size) for size in mask.shape)] = mask
    if connectivity > 1:
        element = ndimage.generate_binary_structure(mask.ndim, connectivity)
        if slice_axis is not None:
            np.moveaxis(element, slice_axis, 0)[[0, 2]] = False
        eroded: Mask = ndimage.binary_erosion(padded, element)
        return padded ^ eroded
    flat, result = padded.reshape(-1), np.empty_like(padded)
    steps = [int(np.prod(sizes[axis + 1 :])) for axis in range(mask.ndim) if axis != slice_axis]
    for start in range(0, flat.size, _STRIP):  # a strip stays in the processor's cache
        stop = min(start + _STRIP, flat.size)
        inside = flat[start:stop].copy()
        for step in steps:
            outside = min(
                max(step - start, 0), inside.size
            )  # of the first row: nothing lies before
            inside[:outside] = False
            inside[outside:] &= flat[start + outside - step : stop - step]
            after = flat[start + step : stop + step]
            inside[: after.size] &= after
        np.bitwise_xor(flat[start:stop], inside, out=result.reshape(-1)[start:stop])
    return result


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
