"""Calibration: whether the certainty of a prediction says how often it is right, and where it errs.

The maps of a prediction hold its entropy, not the probability of the chosen class. Wherever this package
computes calibration from such a map, the confidence is `1 - entropy` (entropy divided by ln C), and is
called so; `calibrate` takes any confidence, so the ECE of papers follows from stored probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.data.grid import Lattice
from napari_uda.evaluation.overlap import Box, Labels, Mask, label_boxes
from napari_uda.evaluation.surface import as_lattice, border, within

Floats = NDArray[np.float64]

BINS = 15
"""Bins of a reliability diagram, as in Guo et al. 2017 and the released code of SE-ASA."""
BAND_MM = 5.0
"""Reach of the band around the borders, millimetres."""

_MEANS = ("confidence", "accuracy")
DEFINITIONS = {
    "confidence": "1 - entropy, entropy divided by ln C; not the probability of the chosen class",
    "ece": "expected calibration error: sum over the bins of n_bin / n |accuracy - mean confidence|",
    "ace": "average calibration error: mean of |accuracy - mean confidence| over the filled bins",
    "mce": "maximum calibration error: largest |accuracy - mean confidence| of a filled bin",
    "equal width": f"{BINS} bins of equal width on [0, 1], the left edge belonging to the bin",
    "equal mass": f"{BINS} bins between the quantiles of the confidence, ties in one bin",
    "auroc": (
        "probability that a wrong voxel has a higher entropy than a right one, ties counting half;"
        " 0.5 is chance, empty without both kinds"
    ),
    "wrong": "a voxel that belongs to the structure in one of prediction and reference only",
    "band": f"voxels within {BAND_MM:g} mm of a border voxel of prediction or reference",
}
"""What the numbers of this module are, in words."""


@dataclass(frozen=True, eq=False)
class Bins:
    """A reliability diagram.

    Attributes:
        edges: `(n + 1,)` of confidence.
        counts: `(n,)` voxels per bin.
        confidence: `(n,)` mean confidence; NaN in an empty bin.
        accuracy: `(n,)` share of right voxels; NaN in an empty bin.
    """

    edges: Floats
    counts: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    def ece(self) -> float:
        """Expected calibration error in [0, 1]; NaN without voxels."""
        total = int(self.counts.sum())
        return float(np.nansum(self.gaps() * self.counts) / total) if total else np.nan

    def ace(self) -> float:
        """Average calibration error in [0, 1]; NaN without voxels."""
        return float(np.nanmean(self.gaps())) if self.counts.any() else np.nan

    def mce(self) -> float:
        """Maximum calibration error in [0, 1]; NaN without voxels."""
        return float(np.nanmax(self.gaps())) if self.counts.any() else np.nan

    def gaps(self) -> Floats:
        """`(n,)` |accuracy - confidence|; NaN in an empty bin."""
        return np.abs(self.accuracy - self.confidence)


@dataclass(frozen=True, eq=False)
class Calibration:
    """How certainty and errors go together in one region.

    Attributes:
        voxels: in the region.
        errors: wrong ones among them.
        width: bins of equal width.
        mass: bins of equal mass.
        auroc: see `error_auroc`.
    """

    voxels: int
    errors: int
    width: Bins
    mass: Bins
    auroc: float


@dataclass(frozen=True, eq=False)
class StructureCalibration:
    """Calibration of one structure; label 0, name "all", counts every voxel of a different label.

    Attributes:
        label: label value.
        name: name of the structure.
        band: within `BAND_MM` of the borders of prediction and reference.
        whole: in the whole volume, which easy background dominates.
    """

    label: int
    name: str
    band: Calibration
    whole: Calibration


def calibrate(
    confidence: NDArray[np.floating], wrong: NDArray[np.bool_], bins: int = BINS
) -> Calibration:
    """Compare confidence and correctness.

    Args:
        confidence: any shape, in [0, 1].
        wrong: same shape; whether the prediction errs there.
        bins: number of bins.

    Raises:
        InputError: if the shapes differ or a confidence lies outside [0, 1].
    """
    if confidence.shape != wrong.shape:
        raise InputError(
            f"confidence has shape {confidence.shape} and wrong {wrong.shape}; give one value of each per voxel"
        )
    if confidence.size and not (confidence.min() >= 0 and confidence.max() <= 1):
        raise InputError(
            f"confidence reaches from {confidence.min():g} to {confidence.max():g}; "
            "give values between 0 and 1"
        )
    return _Region(confidence.ravel(), bins).calibration(confidence[wrong])


def joined(several: Sequence[Bins]) -> Bins:
    """The reliability diagram of all voxels of several cases.

    Args:
        several: with the same edges, as bins of equal width have.
    """
    counts = np.array([one.counts for one in several])
    total = counts.sum(axis=0)

    def mean(values: Sequence[Floats]) -> Floats:
        sums = np.nansum(counts * np.array(values), axis=0)
        found: Floats = np.full(total.size, np.nan)
        np.divide(sums, total, out=found, where=total > 0)
        return found

    confidence, accuracy = ([getattr(one, key) for one in several] for key in _MEANS)
    return Bins(several[0].edges, total, mean(confidence), mean(accuracy))


def error_auroc(entropy: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    """Probability that a wrong voxel has a higher entropy than a right one, ties counting half.

    Args:
        entropy: any shape.
        wrong: same shape.

    Returns:
        In [0, 1], 0.5 by chance; NaN unless there are right and wrong voxels.
    """
    return _auroc(np.sort(entropy.ravel()), entropy[wrong])


def calibrate_structures(
    prediction: Labels,
    reference: Labels,
    entropy: NDArray[np.floating],
    spacing_mm: Lattice | Sequence[float],
    names: Mapping[int, str],
    band_mm: float = BAND_MM,
) -> list[StructureCalibration]:
    """Calibration of all structures together and of each one, with confidence `1 - entropy`.

    Args:
        prediction: `(Z, Y, X)` uint8.
        reference: `(Z, Y, X)` uint8.
        entropy: `(Z, Y, X)` in [0, 1].
        spacing_mm: voxel size (z, y, x), or the lattice where axes are not at right angles.
        names: label to name; labels that occur without one are called `label_<value>`.
        band_mm: reach of the band, millimetres.

    Returns:
        First label 0, "all"; then one entry per label in `names` or either map, in order.

    Raises:
        InputError: if shapes differ or the entropy lies outside [0, 1].
    """
    if not prediction.shape == reference.shape == entropy.shape:
        raise InputError(
            f"prediction {prediction.shape}, reference {reference.shape} and entropy {entropy.shape} "
            "differ in shape; give maps on one grid"
        )
    low, high = float(np.min(entropy, initial=0)), float(np.max(entropy, initial=0))
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"entropy reaches from {low:g} to {high:g}; give it divided by ln C, between 0 and 1"
        )
    lattice = as_lattice(spacing_mm)
    confidence = (1 - entropy).astype(np.float32, copy=False)
    whole = _Region(confidence.ravel(), BINS)
    boxes = label_boxes(prediction, reference)
    near = np.zeros(prediction.shape, bool)
    structures = []
    for label in sorted(boxes.keys() | names.keys()):
        box = _grown(boxes.get(label), band_mm, lattice, prediction.shape)
        ours, theirs = prediction[box] == label, reference[box] == label
        band = _band(ours, theirs, band_mm, lattice)
        near[box] |= band
        wrong, inside = ours != theirs, confidence[box]
        structures.append(
            StructureCalibration(
                label,
                names.get(label, f"label_{label}"),
                _Region(inside[band], BINS).calibration(inside[band & wrong]),
                whole.calibration(inside[wrong]),
            )
        )
    wrong = prediction != reference
    everything = StructureCalibration(
        0,
        "all",
        _Region(confidence[near], BINS).calibration(confidence[near & wrong]),
        whole.calibration(confidence[wrong]),
    )
    return [everything, *structures]


class _Region:
    """The confidences of a region, sorted once; which of them are wrong is asked several times."""

    def __init__(self, confidence: NDArray[np.floating], bins: int) -> None:
        self._ordered = np.sort(confidence)
        self._width = np.linspace(0.0, 1.0, bins + 1)
        size = self._ordered.size
        ranks = np.linspace(0, max(size - 1, 0), bins + 1).round().astype(int)
        self._mass = self._ordered[ranks].astype(np.float64) if size else self._width

    def calibration(self, wrong: NDArray[np.floating]) -> Calibration:
        """Calibration, given the confidences of the wrong voxels."""
        ordered = np.sort(wrong)
        return Calibration(
            voxels=int(self._ordered.size),
            errors=int(wrong.size),
            width=self._bins(self._width, ordered),
            mass=self._bins(self._mass, ordered),
            auroc=1.0 - _auroc(self._ordered, wrong),
        )

    def _bins(self, edges: Floats, wrong: NDArray[np.floating]) -> Bins:
        starts, errors = (_starts(values, edges) for values in (self._ordered, wrong))
        counts, failed = np.diff(starts), np.diff(errors)
        sums = np.array([self._ordered[a:b].sum(dtype=np.float64) for a, b in pairwise(starts)])
        mean, accuracy = (np.full(counts.size, np.nan) for _ in range(2))
        np.divide(sums, counts, out=mean, where=counts > 0)
        np.divide(counts - failed, counts, out=accuracy, where=counts > 0)
        return Bins(edges, counts.astype(np.int64), mean, accuracy)


def _starts(ordered: NDArray[np.floating], edges: Floats) -> NDArray[np.intp]:
    """Where each bin begins in sorted values, and after the last one their number."""
    inner = np.searchsorted(ordered, edges[1:-1].astype(ordered.dtype), side="left")
    return np.concatenate(([0], inner, [ordered.size]))


def _auroc(ordered: NDArray[np.floating], wrong: NDArray[np.floating]) -> float:
    """Probability that a wrong value is above a right one, from all values sorted.

    The wrong values' ranks among all, less their ranks among themselves, are their ranks among the
    right ones; so the right ones need not be known one by one.
    """
    errors, rights = wrong.size, ordered.size - wrong.size
    if not errors or not rights:
        return np.nan
    ranks = np.searchsorted(ordered, wrong, "left") + np.searchsorted(ordered, wrong, "right")
    above = ranks.sum(dtype=np.float64) / 2 - errors**2 / 2
    return float(above / errors / rights)


def _grown(box: Box | None, reach_mm: float, lattice: Lattice, shape: Sequence[int]) -> Box:
    if box is None:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    steps = [int(np.ceil(reach_mm / gap)) for gap in lattice.gaps_mm]
    z, y, x = (
        slice(max(0, side.start - step), min(size, side.stop + step))
        for side, step, size in zip(box, steps, shape, strict=True)
    )
    return z, y, x


def _band(ours: Mask, theirs: Mask, reach_mm: float, lattice: Lattice) -> Mask:
    """Voxels of the crop within reach of a border voxel of either mask."""
    return within(border(ours) | border(theirs), reach_mm, lattice)
