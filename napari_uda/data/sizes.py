"""How large structures are in labelled slices: measured once in training, kept in the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from napari_uda.core.config import Config

if TYPE_CHECKING:
    from numpy.typing import NDArray


class StructureSize(Config):
    """Two numbers per structure, over the training slices of the labelled domain.

    Their product is the structure's mean area over all slices. Source-free adaptation expects such
    areas in target slices, so that no source image and no source label is needed any more.
    """

    area_mm2: float = Field(ge=0)
    """Mean area in square millimetres over the slices that contain it; 0 when none does."""
    slice_share: float = Field(ge=0, le=1)
    """Share of the slices that contain it, from 0 to 1."""


def slice_areas(labels: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    """Pixels of each class in each slice.

    Args:
        labels: `(N, h, w)` classes below `num_classes`, in memory or mapped.
        num_classes: C, background included.

    Returns:
        `(N, C)`.
    """
    counts = np.zeros((len(labels), num_classes), np.int64)
    for index, plane in enumerate(labels):  # slice by slice: labels may be larger than memory
        counts[index] = np.bincount(plane.ravel(), minlength=num_classes)
    return counts


def structure_sizes(
    labels: NDArray[np.uint8], names: Sequence[str], pixel_mm2: float | NDArray[np.float64]
) -> dict[str, StructureSize]:
    """Sizes of the structures 1, 2, ... called `names` in slices of classes `(N, h, w)`.

    `pixel_mm2` is the area of a pixel, one number or one for each slice.
    """
    areas = slice_areas(labels, len(names) + 1) * np.reshape(pixel_mm2, (-1, 1))
    found = {}
    for index, name in enumerate(names, start=1):
        present = areas[:, index] > 0
        area = float(areas[present, index].mean()) if present.any() else 0.0
        share = float(present.mean()) if len(present) else 0.0
        found[name] = StructureSize(area_mm2=area, slice_share=share)
    return found
