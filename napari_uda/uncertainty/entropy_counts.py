"""How entropy is spread: share of voxels below a threshold, Dice on both sides of it, slices by entropy.

Everything a slider needs is counted once, by steps of entropy, so that a threshold costs only a sum.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.plane import plane_of

STEPS = 100
"""Steps of the threshold: entropy is counted in bins of 1/100."""
_VALUES = 256


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Voxels of a segmentation counted by their entropy.

    Attributes:
        names: label value to structure name.
        voxels: `(STEPS,)` all voxels of the volume by entropy; bin `k` holds `k / STEPS` up to below
            `(k + 1) / STEPS`, the last one 1 as well.
        predicted: label value to `(STEPS,)` voxels predicted as that structure.
        expected: the same for the reference; empty without one.
        common: the same for voxels where both agree on the structure; empty without a reference.
        slices: `(N,)` mean entropy over the predicted pixels of each slice; NaN where there are none.
        axis: the axis of the layer that the slices lie across.
    """

    names: dict[int, str]
    voxels: NDArray[np.int64]
    predicted: dict[int, NDArray[np.int64]]
    expected: dict[int, NDArray[np.int64]]
    common: dict[int, NDArray[np.int64]]
    slices: NDArray[np.float64]
    axis: int

    @property
    def has_reference(self) -> bool:
        """Whether Dice can be given."""
        return bool(self.expected)

    @property
    def of_structures(self) -> NDArray[np.int64]:
        """`(STEPS,)` voxels predicted as any structure, by entropy."""
        return sum(self.predicted.values(), np.zeros(STEPS, np.int64))

    def kept(self, step: int) -> float:
        """Share of all voxels with an entropy below `step / STEPS`; NaN without any voxel."""
        return _share(self.voxels, step)

    def kept_of_structures(self, step: int) -> float:
        """The same of the voxels predicted as a structure; NaN without any."""
        return _share(self.of_structures, step)

    def dice(self, step: int, *, below: bool) -> dict[str, float]:
        """Dice of each structure on the voxels on one side of the threshold.

        Args:
            step: the threshold is `step / STEPS`.
            below: on voxels with an entropy below it; otherwise on the others.

        Returns:
            By name; NaN where neither prediction nor reference has a voxel there.
        """
        side = slice(0, step) if below else slice(step, None)
        found = {}
        for value, expected in self.expected.items():
            size = int(self.predicted[value][side].sum() + expected[side].sum())
            both = int(self.common[value][side].sum())
            found[self.names[value]] = 2 * both / size if size else float("nan")
        return found

    def ranking(self) -> list[int]:
        """Slices with a predicted pixel, the one with the highest mean entropy first."""
        known = np.flatnonzero(np.isfinite(self.slices))
        order = np.argsort(-self.slices[known], kind="stable")
        return [int(index) for index in known[order]]

    def after(self, index: int | None) -> int | None:
        """The slice that follows `index` in the ranking; the first one after the last and after None.

        None when no slice is ranked.
        """
        ranking = self.ranking()
        if not ranking:
            return None
        place = ranking.index(index) + 1 if index in ranking else 0
        return ranking[place % len(ranking)]


def count_uncertainty(
    labels: NDArray[np.integer],
    entropy: NDArray[np.floating],
    names: Mapping[int, str],
    *,
    axis: int,
    reference: NDArray[np.integer] | None = None,
    stop: threading.Event | None = None,
) -> Uncertainty:
    """Count the voxels of a segmentation by entropy; for a worker thread.

    Args:
        labels: `(Z, Y, X)` predicted label values.
        entropy: `(Z, Y, X)` in [0, 1]; values outside count as the nearer end.
        names: label value to structure name; the structures that are counted.
        axis: slices are taken across this axis.
        reference: `(Z, Y, X)` true label values.
        stop: when set, `Cancelled` is raised before the next slice.

    Raises:
        InputError: if the arrays differ in shape.
        Cancelled: when `stop` was set.
    """
    for what, array in (("entropy map", entropy), ("reference", reference)):
        if array is not None and array.shape != labels.shape:
            raise InputError(
                f"the {what} has shape {array.shape} and the prediction {labels.shape}; "
                "choose layers of one volume"
            )
    voxels = np.zeros((3, _VALUES, STEPS), np.int64)  # predicted, expected, common
    means = np.full(labels.shape[axis], np.nan)
    values = [value for value in names if 0 < value < _VALUES]
    for index in range(labels.shape[axis]):  # slice by slice: no second volume in memory
        if stop is not None and stop.is_set():
            raise Cancelled
        steps = _steps(plane_of(entropy, axis, index))
        here = plane_of(labels, axis, index)
        voxels[0] += _count(here, steps)
        inside = np.isin(here, values)
        if inside.any():
            means[index] = float(plane_of(entropy, axis, index)[inside].mean(dtype=np.float64))
        if reference is not None:
            true = plane_of(reference, axis, index)
            voxels[1] += _count(true, steps)
            same = true == here
            voxels[2] += _count(here[same], steps[same])
    tables = [{value: part[value] for value in values} for part in voxels]
    return Uncertainty(
        names={value: names[value] for value in values},
        voxels=voxels[0].sum(axis=0),
        predicted=tables[0],
        expected=tables[1] if reference is not None else {},
        common=tables[2] if reference is not None else {},
        slices=means,
        axis=axis,
    )


def contour_levels(entropy: NDArray[np.floating], step: int) -> NDArray[np.uint8]:
    """How many of the levels of `levels` each voxel reaches: their borders are the iso-contours.

    Args:
        entropy: any shape, in [0, 1].
        step: the lowest level is `step / STEPS`.
    """
    reached = np.zeros(entropy.shape, np.uint8)
    for level in levels(step):
        reached += entropy >= level
    return reached


def levels(step: int) -> list[float]:
    """Entropies that iso-contours are drawn at: the threshold, and the quarters above it."""
    return [step / STEPS, *(level for level in (0.25, 0.5, 0.75) if level > step / STEPS)]


def _steps(entropy: NDArray[np.floating]) -> NDArray[np.int64]:
    # 0.29 * 100 is just below 29: half of float32's own step keeps a value in its own bin
    return np.clip((entropy * np.float32(STEPS) + 1e-4).astype(np.int64), 0, STEPS - 1)


def _count(labels: NDArray[np.integer], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """`(_VALUES, STEPS)` voxels by label value and entropy; label values outside count as 0."""
    known = np.where((labels >= 0) & (labels < _VALUES), labels, 0).astype(np.int64)
    counts = np.bincount((known * STEPS + steps).ravel(), minlength=_VALUES * STEPS)
    return counts.reshape(_VALUES, STEPS)


def _share(counts: NDArray[np.int64], step: int) -> float:
    total = int(counts.sum())
    return int(counts[:step].sum()) / total if total else float("nan")
