"""Overlap of two label maps: bounding boxes, voxel counts per slice, Dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Box = tuple[slice, slice, slice]
NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))
"""Holds no voxel."""

# Labels below this are bits of a number; any others are left to SciPy, which takes six times as long.
_BITS = 16


@dataclass(frozen=True, eq=False)
class SliceCounts:
    """Voxels of one structure in every slice along one axis.

    Attributes:
        prediction: `(N,)` voxels of the prediction.
        reference: `(N,)` voxels of the reference.
        both: `(N,)` voxels of their intersection.
    """

    prediction: Counts
    reference: Counts
    both: Counts

    def dice(self, smoothing: float = 0.0) -> Floats:
        """Dice of every slice, see `dice_from_counts`."""
        return dice_from_counts(self.prediction, self.reference, self.both, smoothing)

    def total(self) -> tuple[int, int, int]:
        """Voxels of the prediction, the reference and both in the whole volume."""
        return int(self.prediction.sum()), int(self.reference.sum()), int(self.both.sum())


def dice_from_counts(
    prediction: Counts | int, reference: Counts | int, both: Counts | int, smoothing: float = 0.0
) -> Floats:
    """Dice `(2 |A and B| + s) / (|A| + |B| + s)`.

    Args:
        prediction: `|A|` in voxels, any shape.
        reference: `|B|`, same shape.
        both: `|A and B|`, same shape.
        smoothing: `s`; 0 is the definition, some papers add 1e-5, which scores absent in both as 1.

    Returns:
        Dice in [0, 1], same shape; NaN where both are empty and `s` is 0 (there is nothing to score).
    """
    size = np.asarray(prediction, np.float64) + np.asarray(reference) + smoothing
    overlap = 2.0 * np.asarray(both, np.float64) + smoothing
    result = np.full(size.shape, np.nan)
    np.divide(overlap, size, out=result, where=size > 0)
    return result


def dice(prediction: Mask, reference: Mask) -> float:
    """Dice `2 |A and B| / (|A| + |B|)` of two masks of the same shape; NaN when both are empty."""
    both = prediction & reference
    counts = (int(np.count_nonzero(mask)) for mask in (prediction, reference, both))
    return float(dice_from_counts(*counts))


def label_boxes(prediction: Labels, reference: Labels) -> dict[int, Box]:
    """The smallest box that holds a label in both maps, for every label above 0 that occurs.

    Args:
        prediction: `(Z, Y, X)` uint8.
        reference: `(Z, Y, X)` uint8.

    Returns:
        Label to box, in increasing order of the label.
    """
    outer = _foreground_box(prediction, reference)
    if outer is None:
        return {}
    boxes: dict[int, Box] = {}
    for labels in (prediction, reference):
        for label, box in _boxes(labels[outer]).items():
            boxes[label] = _union(boxes.get(label, box), box)
    return {label: _shifted(boxes[label], outer) for label in sorted(boxes)}


def slice_counts(
    prediction: Mask, reference: Mask, axis: int, start: int, length: int
) -> SliceCounts:
    """Count a structure's voxels slice by slice.

    Args:
        prediction: `(z, y, x)` crop of the mask.
        reference: `(z, y, x)` the same crop.
        axis: the axis the slices are counted along.
        start: index of the crop's first slice in the volume.
        length: `N`, number of slices of the volume.

    Returns:
        Counts of all `N` slices, 0 outside the crop.
    """
    counts = np.zeros((3, length), np.int64)
    window = slice(start, start + prediction.shape[axis])
    for row, mask in zip(counts, (prediction, reference, prediction & reference), strict=True):
        row[window] = [np.count_nonzero(plane) for plane in np.moveaxis(mask, axis, 0)]
    return SliceCounts(*counts)


def _foreground_box(*label_maps: Labels) -> Box | None:
    """Box of the voxels above 0 in any of the maps; None when there is none.

    Two passes at memory speed: the projection along z gives y and x, what is left gives z.
    """
    plane = np.bitwise_or.reduce([np.bitwise_or.reduce(labels, axis=0) for labels in label_maps])
    if not plane.any():
        return None
    y, x = _extent(plane.any(axis=1)), _extent(plane.any(axis=0))
    lines = [np.bitwise_or.reduce(labels[:, y, x], axis=1).any(axis=1) for labels in label_maps]
    return _extent(np.logical_or.reduce(lines)), y, x


def _boxes(labels: Labels) -> dict[int, Box]:
    """Box of every label above 0."""
    top = int(labels.max())
    if top >= _BITS:
        found: Sequence[Any] = ndimage.find_objects(labels)
        return {label: box for label, box in enumerate(found, start=1) if box is not None}
    # a label is a bit: all labels of a row are one number, and NumPy makes dozens of such numbers at once
    number: type[np.uint8 | np.uint16] = np.uint8 if top < 8 else np.uint16
    one, bits = number(1), np.empty(labels.shape[1:], number)
    seen = [np.zeros(size, number) for size in labels.shape]
    for z, plane in enumerate(labels):
        np.left_shift(one, plane, out=bits)
        row = np.bitwise_or.reduce(bits, axis=0)
        seen[0][z] = np.bitwise_or.reduce(row)
        seen[1] |= np.bitwise_or.reduce(bits, axis=1)
        seen[2] |= row
    boxes: dict[int, Box] = {}
    for label in range(1, top + 1):
        occupied = [(line >> label) & one > 0 for line in seen]
        if occupied[0].any():
            boxes[label] = (_extent(occupied[0]), _extent(occupied[1]), _extent(occupied[2]))
    return boxes


def _extent(occupied: Mask) -> slice:
    index = np.flatnonzero(occupied)
    return slice(int(index[0]), int(index[-1]) + 1)


def _union(a: Box, b: Box) -> Box:
    z, y, x = (slice(min(i.start, j.start), max(i.stop, j.stop)) for i, j in zip(a, b, strict=True))
    return z, y, x


def _shifted(box: Box, outer: Box) -> Box:
    z, y, x = (slice(i.start + o.start, i.stop + o.start) for i, o in zip(box, outer, strict=True))
    return z, y, x
