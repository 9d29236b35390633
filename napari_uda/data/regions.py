"""What an image shows inside an outline on one of its slices, and how long a line through it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_uda.data.contours import filled

Shape = Literal["rectangle", "ellipse", "polygon"]


@dataclass(frozen=True)
class RegionMeasure:
    """The pixels whose centres lie inside an outline.

    The area is that of the outline itself, so it does not jump by pixels; mean, standard deviation
    (divided by n), smallest and largest value are None where no centre lies inside.
    """

    area_mm2: float
    pixels: int
    mean: float | None = None
    standard_deviation: float | None = None
    smallest: float | None = None
    largest: float | None = None


def measure_region(
    plane: NDArray[np.generic],
    corners: NDArray[np.float64],
    shape: Shape,
    pixel_mm2: float,
) -> RegionMeasure:
    """Measure a slice inside an outline.

    Args:
        plane: `(rows, columns)` of an image.
        corners: `(n, 2)` of the outline as row and column, where the centre of the first pixel is (0, 0); of
            an ellipse the four corners of the box that it fills.
        shape: what the corners are of.
        pixel_mm2: area of a pixel.
    """
    corners = np.asarray(corners, np.float64)
    if shape == "ellipse":
        mask, area = _ellipse(corners, plane.shape)
    else:
        mask = filled([corners[:, ::-1]], (plane.shape[0], plane.shape[1]))
        area = _polygon_area(corners)
    values = np.asarray(plane)[mask].astype(np.float64)
    if not values.size:
        return RegionMeasure(area * pixel_mm2, 0)
    return RegionMeasure(
        area * pixel_mm2,
        int(values.size),
        float(values.mean()),
        float(values.std()),
        float(values.min()),
        float(values.max()),
    )


def length_mm(affine: NDArray[np.float64], first: ArrayLike, last: ArrayLike) -> float:
    """The distance of two places given as voxel indices (x, y, z) of a file with this affine."""
    return float(
        np.linalg.norm(affine[:3, :3] @ (np.asarray(last, float) - np.asarray(first, float)))
    )


def _ellipse(
    corners: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.bool_], float]:
    """Pixels inside an ellipse and its area in pixels, from the box that it fills."""
    middle = corners.mean(axis=0)
    axes = np.column_stack([corners[1] - corners[0], corners[3] - corners[0]]) / 2
    determinant = abs(float(np.linalg.det(axes)))
    if determinant < 1e-12:
        return np.zeros(shape, bool), 0.0
    rows, columns = np.indices(shape)
    offsets = np.stack([rows.ravel() - middle[0], columns.ravel() - middle[1]])
    radii = np.linalg.norm(np.linalg.solve(axes, offsets), axis=0)
    return (radii <= 1 + 1e-9).reshape(shape), np.pi * determinant


def _polygon_area(corners: NDArray[np.float64]) -> float:
    rows, columns = corners.T
    return abs(float(rows @ np.roll(columns, -1) - columns @ np.roll(rows, -1))) / 2
