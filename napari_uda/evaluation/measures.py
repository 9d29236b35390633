"""How large structures are and what the image shows in them: volume, diameters, mean and standard deviation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.data.grid import Lattice
from napari_uda.data.intensity_unit import intensity_unit
from napari_uda.data.labels import to_whole
from napari_uda.data.same_grid import on_grid_of
from napari_uda.data.segmentation import read_segmentation
from napari_uda.data.slice_position import PLANES, patient_axis
from napari_uda.data.volume import Volume, as_volume
from napari_uda.evaluation.inputs import PredictionLike, names_beside

_ROWS = 512  # of a table of distances at once


@dataclass(frozen=True)
class StructureMeasure:
    """One structure of a label map.

    Diameters go from outer corner to outer corner of voxels, so that a single voxel is as long as its
    diagonal; the centres of the voxels lie up to that much closer.
    """

    label: int
    name: str
    voxels: int
    volume_ml: float
    largest_diameter_mm: float
    """Between any two corners (the largest Feret diameter in 3-D)."""
    in_plane_diameter_mm: float
    """The same among the corners of one slice, over all slices across one axis of the file."""
    plane: str
    """Across which: sagittal, coronal or axial."""
    slice: int
    """The file's number of the slice that has it."""
    mean: float | None = None
    """Of the image inside; None without an image."""
    standard_deviation: float | None = None
    """Of the voxels inside, divided by their number."""
    unit: str = ""
    """HU where the image is a CT by its source, else "grey value"; "" without an image."""


def measure(
    labels: PredictionLike | Volume | str | os.PathLike[str],
    image: Volume | str | os.PathLike[str] | None = None,
    *,
    names: Mapping[int, str] | None = None,
) -> list[StructureMeasure]:
    """Measure every structure of a segmentation.

    Args:
        labels: a `Prediction`, a volume, or a file of labels.
        image: on the same grid; default that of the prediction, else none.
        names: label to structure name; default those of the prediction or of the file, or of the `<case>.json`
            that `predict` writes beside it.

    Returns:
        One entry for each label that occurs, in the order of their values.

    Raises:
        InputError: unreadable input, values that are no labels, or an image on another grid.
    """
    grey = None if image is None else as_volume(image)
    if isinstance(labels, PredictionLike):
        given = labels.volume.with_array(labels.labels)
        return measure_structures(given, grey or labels.volume, names or labels.names)
    if isinstance(labels, Volume):
        return measure_structures(labels.with_array(_whole(labels)), grey, names or {})
    found = read_segmentation(labels, grid=grey)
    return measure_structures(
        found.labels, grey, names or found.names or names_beside(Path(labels))
    )


def _whole(labels: Volume) -> NDArray[np.generic]:
    """The values of a volume from memory, which may be anything."""
    name, kind = labels.name or "volume", labels.array.dtype.kind
    if kind not in "biuf":
        raise InputError(
            f"{name}: holds values of type {labels.array.dtype}, which are no labels; give whole numbers from 0 on"
        )
    whole, wrong = to_whole(labels.array, labels.value_step)
    if wrong is None and whole.min() < 0:
        wrong = float(whole.min())
    if wrong is not None:
        raise InputError(f"{name}: value {wrong:g} is not a label; give whole numbers from 0 on")
    return whole


def measure_structures(
    labels: Volume, image: Volume | None = None, names: Mapping[int, str] | None = None
) -> list[StructureMeasure]:
    """`measure` of volumes in memory.

    Raises:
        InputError: labels and image lie on different grids, with the difference in numbers.
    """
    from scipy.ndimage import find_objects

    values = np.ascontiguousarray(labels.array)
    grey = None if image is None else on_grid_of(image, labels).array
    unit = "" if image is None else intensity_unit(image)
    axis = _slice_axis(labels)
    plane = PLANES[patient_axis(labels.affine, 2 - axis)]
    present = np.unique(values)
    present = present[present != 0]
    found = []
    # few large labels would make a long list of boxes: they are numbered anew
    small = np.searchsorted(present, values).astype(np.int32) + 1
    small[values == 0] = 0
    for number, box in enumerate(find_objects(small, len(present)), start=1):
        value = int(present[number - 1])
        mask = small[box] == number
        voxels = int(mask.sum())
        whole, flat, index = _diameters(np.moveaxis(mask, axis, 0), labels.lattice, axis)
        inside = None if grey is None else grey[box][mask].astype(np.float64)
        found.append(
            StructureMeasure(
                label=value,
                name=(names or {}).get(value, f"label {value}"),
                voxels=voxels,
                volume_ml=voxels * labels.lattice.voxel_ml,
                largest_diameter_mm=whole,
                in_plane_diameter_mm=flat,
                plane=plane,
                slice=int(box[axis].start) + index,
                mean=None if inside is None else float(inside.mean()),
                standard_deviation=None if inside is None else float(inside.std()),
                unit=unit,
            )
        )
    return found


def _slice_axis(volume: Volume) -> int:
    """The axis (z, y, x) with the thickest slices; among equals that from head to foot."""
    sides = np.round(volume.spacing_mm, 3)
    thickest = [axis for axis in range(3) if sides[axis] == sides.max()]
    axial = [axis for axis in thickest if patient_axis(volume.affine, 2 - axis) == 2]
    return (axial or thickest)[0]


def _diameters(mask: NDArray[np.bool_], lattice: Lattice, axis: int) -> tuple[float, float, int]:
    """Largest distance of corners in mm, the same within one slice, and that slice.

    The most distant corners are among those of the convex hulls of the slices. What is convex in indices is
    so in millimetres.

    Args:
        mask: `(slices, rows, columns)` of one structure in its box.
        lattice: of the volume (z, y, x).
        axis: of the volume that the slices of `mask` are cut across.
    """
    order = [axis, *(other for other in range(3) if other != axis)]
    steps = lattice.matrix[order]
    flat, where, corners = 0.0, 0, []
    for index, outline in _outlines(mask):
        widest = _largest_distance(outline @ steps[1:])
        if widest > flat:
            flat, where = widest, index
        for face in (index, index + 1):
            corners.append(np.column_stack([np.full(len(outline), face), outline]))
    return _largest_distance(_hull(np.concatenate(corners)) @ steps), flat, where


def _outlines(mask: NDArray[np.bool_]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Every slice that holds something, and the corners `(n, 2)` of its convex hull."""
    for index, plane in enumerate(mask):
        rows = np.flatnonzero(plane.any(axis=1))
        if rows.size:
            first = plane[rows].argmax(axis=1)
            last = plane.shape[1] - plane[rows, ::-1].argmax(axis=1)
            corners = [
                np.column_stack([row, column])
                for row in (rows, rows + 1)
                for column in (first, last)
            ]
            yield index, _hull(np.concatenate(corners))


def _hull(points: NDArray[np.integer]) -> NDArray[np.float64]:
    from scipy.spatial import ConvexHull

    unique = np.unique(points, axis=0).astype(np.float64)
    return np.asarray(unique[ConvexHull(unique).vertices])


def _largest_distance(points: NDArray[np.float64]) -> float:
    from scipy.spatial import distance

    starts = range(0, len(points), _ROWS)
    return max(float(distance.cdist(points[at : at + _ROWS], points).max()) for at in starts)
