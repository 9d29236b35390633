"""Shape of the labelled structures over the source's cases, and whether a predicted one is like them.

The idea is SHAPE's (CVPR 2026), which leaves out pseudo-labels of implausible anatomy; numbers are ours (MT-D4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from napari_uda.core.config import Config
from napari_uda.data.structure_statistics import centres

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.data.slices import SliceGrid, SliceStore

FEATURES = ("log_share", "centre_0_mm", "centre_1_mm", "centre_2_mm", "log_roundness", "parts")
"""Share of the voxels, centre from that of the image along the slices, rows and columns, roundness and parts."""
_LEAST_SPREAD = np.array([0.2, 5.0, 5.0, 5.0, 0.2, 1.0])
"""A handful of cases may agree by chance: no spread is taken for less."""
_LEAST_CASES = 3
_LARGEST_Z = 3.0
_LEAST_PART = 0.01


class CaseShapes(Config):
    """What is measured of one structure, over the cases that contain it; in the order of `FEATURES`."""

    cases: int = Field(ge=0)
    """Cases that contain it."""
    mean: tuple[float, ...] = ()
    """Means over these cases."""
    spread: tuple[float, ...] = ()
    """Standard deviations over them."""


def shape_features(
    classes: NDArray[Any], count: int, spacing_mm: Sequence[float]
) -> NDArray[np.float64]:
    """Measure the structures of one case.

    Roundness is the isoperimetric ratio `36 pi V^2 / S^3` of a structure's volume and the area of its voxels'
    outer faces; a cube of voxels has 0.52. Parts of less than a hundredth of the structure are not counted.

    Args:
        classes: `(N, h, w)`, slices of whole numbers below `count`.
        count: C, background included.
        spacing_mm: distance of slices, rows and columns.

    Returns:
        `(C, 6)` in the order of `FEATURES`; NaN for background and what is not there.
    """
    # 0.1 s that prediction, which reads shapes and measures none, need not wait
    from scipy import ndimage

    found = np.full((count, len(FEATURES)), np.nan)
    voxels, indices = centres(classes, count)
    spacing = np.asarray(spacing_mm, float)
    where = (indices - (np.array(classes.shape) - 1) / 2) * spacing
    for index, box in enumerate(ndimage.find_objects(classes, count - 1), start=1):
        if box is None:
            continue
        mask = np.pad(classes[box] == index, 1)
        faces = [np.count_nonzero(np.diff(mask, axis=axis)) for axis in range(3)]
        surface = float(np.dot(faces, spacing.prod() / spacing))
        volume = float(voxels[index] * spacing.prod())
        parts, _ = ndimage.label(mask)
        sizes = np.bincount(parts.ravel())[1:]
        found[index] = [
            math.log(voxels[index] / classes.size),
            *where[index],
            math.log(36 * math.pi * volume**2 / surface**3),
            np.count_nonzero(sizes >= _LEAST_PART * voxels[index]),
        ]
    return found


def case_shapes(store: SliceStore, grid: SliceGrid, names: Sequence[str]) -> dict[str, CaseShapes]:
    """Shapes of the structures 1, 2, ... called `names` in labelled training slices.

    Raises:
        ValueError: for a store without labels.
    """
    if store.labels is None:
        raise ValueError("this domain was loaded without labels")
    found = np.array(
        [
            shape_features(store.labels[rows], len(names) + 1, spacing)
            for rows, spacing in cases_of(store, grid)
        ]
    )
    shapes = {}
    for index, name in enumerate(names, start=1):
        values = found[:, index]
        values = values[~np.isnan(values[:, 0])]
        if not len(values):
            shapes[name] = CaseShapes(cases=0)
            continue
        mean, spread = (tuple(float(f"{v:.4g}") for v in row) for row in _moments(values))
        shapes[name] = CaseShapes(cases=len(values), mean=mean, spread=spread)
    return shapes


def cases_of(store: SliceStore, grid: SliceGrid) -> list[tuple[slice, tuple[float, float, float]]]:
    """Rows of each case of a store, and the distance of its slices, rows and columns in millimetres."""
    first = np.searchsorted(store.case_of, np.arange(len(store.cases) + 1))
    return [
        (slice(int(first[case]), int(first[case + 1])), (slice_mm, grid.pixel_mm, grid.pixel_mm))
        for case, slice_mm in enumerate(store.slice_mm)
    ]


def is_plausible(features: NDArray[np.float64], shapes: Sequence[CaseShapes]) -> NDArray[np.bool_]:
    """Whether the structures of a case are like those of the source, no feature being 3 deviations away.

    Args:
        features: `(C, 6)` of `shape_features`.
        shapes: of the structures 1, 2, ...

    Returns:
        `(C,)`; True for background, for what is not there, and for structures of fewer than 3 source cases.
    """
    plausible = np.ones(len(features), bool)
    for index, known in enumerate(shapes, start=1):
        if known.cases >= _LEAST_CASES and not np.isnan(features[index, 0]):
            spread = np.maximum(known.spread, _LEAST_SPREAD)
            z = np.abs(features[index] - known.mean) / spread
            plausible[index] = bool((z <= _LARGEST_Z).all())
    return plausible


def _moments(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return values.mean(0), values.std(0)
