"""Where a prediction and its reference differ: voxel by voxel, and as regions, the largest first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_uda.evaluation.overlap import Labels, label_boxes

FALSE_POSITIVE, FALSE_NEGATIVE, OTHER_STRUCTURE = 1, 2, 3
KINDS = {
    FALSE_POSITIVE: "false positive",
    FALSE_NEGATIVE: "false negative",
    OTHER_STRUCTURE: "other structure",
}
"""Values of an error map; the last one only where all structures are looked at together."""
_MOST_REGIONS = 100


@dataclass(frozen=True)
class Region:
    """A connected region (voxels sharing a face) of one kind of error.

    Attributes:
        kind: a key of `KINDS`.
        voxels: how many.
        position: (z, y, x) of a voxel of the region near its middle.
    """

    kind: int
    voxels: int
    position: tuple[int, int, int]


def error_map(prediction: Labels, reference: Labels, label: int) -> NDArray[np.uint8]:
    """Kind of error of every voxel, 0 where there is none.

    Args:
        prediction: any shape.
        reference: same shape.
        label: the structure; 0 takes all, a voxel that belongs to another structure being
            `OTHER_STRUCTURE`.

    Returns:
        Same shape, keys of `KINDS`.
    """
    if label:
        ours, theirs = prediction == label, reference == label
        return np.where(ours & ~theirs, FALSE_POSITIVE, 0).astype(np.uint8) | np.where(
            theirs & ~ours, FALSE_NEGATIVE, 0
        ).astype(np.uint8)
    kinds = np.where(
        reference == 0, FALSE_POSITIVE, np.where(prediction == 0, FALSE_NEGATIVE, OTHER_STRUCTURE)
    )
    return np.where(prediction != reference, kinds, 0).astype(np.uint8)


def disagreements(prediction: Labels, reference: Labels, label: int) -> list[Region]:
    """The largest regions of error, at most 100.

    Args:
        prediction: `(Z, Y, X)` uint8.
        reference: same shape.
        label: the structure; 0 takes all.

    Returns:
        By size, the largest first; equal ones from the first slice on.
    """
    boxes = label_boxes(prediction, reference)
    chosen = [box for value, box in boxes.items() if label in (0, value)]
    if not chosen:
        return []
    crop = tuple(
        slice(min(box[axis].start for box in chosen), max(box[axis].stop for box in chosen))
        for axis in range(3)
    )
    errors = error_map(prediction[crop], reference[crop], label)
    start = [side.start for side in crop]
    found = []
    for kind in KINDS:
        regions, count = ndimage.label(errors == kind)
        if not count:
            continue
        sizes = np.bincount(regions.ravel())[1:]
        places = ndimage.find_objects(regions)
        for index in np.argsort(-sizes, kind="stable")[:_MOST_REGIONS].tolist():
            inside = np.argwhere(regions[places[index]] == index + 1)
            middle = _middle(inside) + [side.start for side in places[index]] + start
            z, y, x = middle.tolist()
            found.append(Region(kind, int(sizes[index]), (z, y, x)))
    return sorted(found, key=lambda region: (-region.voxels, region.position))[:_MOST_REGIONS]


def _middle(voxels: NDArray[np.intp]) -> NDArray[np.intp]:
    """The voxel nearest to the centre of gravity."""
    apart = ((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1)
    nearest: NDArray[np.intp] = voxels[int(apart.argmin())]
    return nearest
