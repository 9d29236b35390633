"""How large the labelled structures are and where they lie: from source labels alone, compared with predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from napari_uda.core.config import Config

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.data.slices import SliceGrid, SliceStore

Three = tuple[float, float, float]


class StructureStatistics(Config):
    """One structure over the labelled training volumes, inside of the training window."""

    case_share: float = Field(ge=0, le=1)
    """Share of the volumes that contain it, from 0 to 1."""
    volume_ml: tuple[float, float] = (0.0, 0.0)
    """Smallest and largest volume in millilitres, over the volumes that contain it."""
    centre_mm: Three = (0.0, 0.0, 0.0)
    """Mean place of its centre from that of the image: to the head, the front, the patient's right."""
    centre_spread_mm: Three = (0.0, 0.0, 0.0)
    """Standard deviation of that place over the volumes."""


def centres(classes: NDArray[Any], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Voxels of each class and the mean of their indices.

    Args:
        classes: `(Z, Y, X)` whole numbers below `count`.
        count: C, background included.

    Returns:
        `(C,)` voxels and `(C, 3)` indices, NaN for a class without voxels.
    """
    voxels = np.zeros(count, np.int64)
    sums = np.zeros((count, 3))
    _, height, width = classes.shape
    by_row, by_column = (np.zeros((size, count), np.int64) for size in (height, width))
    # a class and its row or column are one whole number: counting those takes half of the time of adding up rows
    first_of_row, first_of_column = count * np.arange(height)[:, None], count * np.arange(width)
    for index, plane in enumerate(classes):
        rows, columns = (
            np.bincount((plane + first).ravel(), minlength=found.size).reshape(found.shape)
            for first, found in ((first_of_row, by_row), (first_of_column, by_column))
        )
        by_row += rows
        by_column += columns
        here = rows.sum(axis=0)
        voxels += here
        sums[:, 0] += index * here
    sums[:, 1], sums[:, 2] = np.arange(height) @ by_row, np.arange(width) @ by_column
    with np.errstate(invalid="ignore"):
        return voxels, sums / voxels[:, None]


def structure_statistics(
    store: SliceStore, grid: SliceGrid, names: Sequence[str]
) -> dict[str, StructureStatistics]:
    """Measure the structures 1, 2, ... called `names` in labelled training slices.

    Args:
        store: slices with labels.
        grid: how volumes became slices.
        names: of the structures, in the order of their classes.

    Raises:
        ValueError: for a store without labels.
    """
    if store.labels is None:
        raise ValueError("this domain was loaded without labels")
    count = len(names) + 1
    millilitres, places = [], []
    for case, (slice_mm, pixel_mm2) in enumerate(zip(store.slice_mm, store.pixel_mm2, strict=True)):
        # canonical again: the axis of the slices goes back to where it was
        classes = grid.stack(store.labels[store.case_of == case])
        sides = [grid.pixel_mm] * 3
        sides[grid.axis] = slice_mm
        voxels, indices = centres(classes, count)
        millilitres.append(voxels * pixel_mm2 * slice_mm / 1000)
        places.append((indices - (np.array(classes.shape) - 1) / 2) * sides)
    volumes, where = np.array(millilitres), np.array(places)
    return {
        name: _statistics(volumes[:, index], where[:, index])
        for index, name in enumerate(names, start=1)
    }


def _statistics(
    volumes_ml: NDArray[np.float64], centres_mm: NDArray[np.float64]
) -> StructureStatistics:
    present = volumes_ml > 0
    if not present.any():
        return StructureStatistics(case_share=0)
    volumes, where = volumes_ml[present], centres_mm[present]
    return StructureStatistics(
        case_share=float(present.mean()),
        volume_ml=(_rounded(volumes.min()), _rounded(volumes.max())),
        centre_mm=_three(where.mean(0)),
        centre_spread_mm=_three(where.std(0)),
    )


def _three(values: NDArray[np.float64]) -> Three:
    z, y, x = (_rounded(value) for value in values)
    return z, y, x


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
