"""RTSTRUCT: contours of structures, filled on the slices of the image they were drawn on.

A voxel belongs to a structure when its centre lies inside the contour (`contours` says what holds on the
contour itself). Contours of one structure on one slice exclude each other where they overlap, so a contour
inside another one is a hole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.data.contours import filled
from napari_uda.data.dicom_headers import DICOM_ERRORS, one_line, quiet_pydicom
from napari_uda.data.dicom_seg import frame_of_reference
from napari_uda.data.grid import LPS_TO_RAS
from napari_uda.data.segments import Segment, chosen_values
from napari_uda.data.volume import Volume
from napari_uda.data.whole_voxels import Canvas

_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
_ROUNDED_MM = 0.05
"""How far rounding in a file moves a corner: some programs write tenths of a millimetre."""
_MOST_OFF = 0.1
"""How far contours may lie off the middle of their slice, in slices."""
_FEWEST_SLICES = 3

Contour = NDArray[np.float64]


def read_rtstruct(
    file: Path,
    grid: Volume | None,
    names: Mapping[str, int],
    warn: Callable[[str], object],
) -> tuple[Volume, dict[int, Segment]]:
    """Fill the contours of radiotherapy structures on an image's grid.

    Args:
        file: an RTSTRUCT.
        grid: of the image that the contours were drawn on; they lie in its slices, whichever axis these
            are stored along.
        names: as for `chosen_values`.
        warn: is told what is left out, or lies off the slices by more than rounding.

    Returns:
        The label map, uint8; and for each of its values the structure.

    Raises:
        InputError: damaged, no grid, another frame of reference, contours beside the slices or beyond the
            image, structures that overlap or are not there.
        OSError: it cannot be read.
    """
    name = shown(file)
    if grid is None:
        raise InputError(
            f"{name}: holds contours (RTSTRUCT), which become voxels on the grid of their image only; give the "
            "image, too"
        )
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(file, force=True)
            segments = structures_of(dataset)
            frames = {
                str(roi.get("ReferencedFrameOfReferenceUID") or "")
                for roi in dataset.StructureSetROISequence
            }
            contours = _contours(dataset)
            holds_contours = any(
                roi.get("ContourSequence") for roi in dataset.get("ROIContourSequence") or []
            )
    except DICOM_ERRORS as error:
        raise InputError(f"{name}: is a damaged RTSTRUCT; export it again") from error
    stated = frames.pop() if len(frames) == 1 else ""
    reference = frame_of_reference(stated, grid, file, warn)
    drawn = [segment for segment in segments if contours.get(segment.value)]
    if not drawn and holds_contours:
        raise InputError(
            f"{name}: holds no closed contour; draw structures in it, or export it again"
        )
    if not drawn:
        warn(f"{name}: names structures and holds no contour of any, so all of it is background")
        drawn = segments
    taken = chosen_values(drawn, names, name, warn)
    kept = {value: drawn[index] for index, value in taken.items()}
    canvas = Canvas(grid, name, {value: segment.name for value, segment in kept.items()})
    to_voxels = np.linalg.inv(grid.affine)
    placed = {
        value: [
            points * LPS_TO_RAS @ to_voxels[:3, :3].T + to_voxels[:3, 3]
            for points in contours.get(drawn[index].value, [])
        ]
        for index, value in taken.items()
    }
    placed = {value: each for value, each in placed.items() if each}
    every = [points for each in placed.values() for points in each]
    axis = _slice_axis(every, grid, name) if every else 0
    off = 0.0
    for value, each in placed.items():
        slices, furthest = _by_slice(each, axis, grid, f"{name}: {kept[value].name}")
        off = max(off, furthest)
        for index, flat in slices.items():
            _draw(canvas, value, flat, index, axis)
    if off > 0.01:
        warn(
            f"{name}: its contours lie up to {off:.1%} of a slice beside the slices of {grid.name or 'the image'}; "
            "they are taken to lie on them"
        )
    return Volume(canvas.labels(), grid.affine, frame_of_reference=reference), kept


def structures_of(dataset: Any) -> list[Segment]:
    """The structures that an RTSTRUCT declares, by their numbers."""
    colours = {}
    for roi in dataset.get("ROIContourSequence") or []:
        colour = roi.get("ROIDisplayColor")
        if colour is not None and len(colour) == 3:
            shades = [min(255, max(0, int(shade))) for shade in colour]
            colours[int(roi.ReferencedROINumber)] = "#{:02X}{:02X}{:02X}".format(*shades)
    return [
        Segment(
            int(roi.ROINumber),
            one_line(roi.get("ROIName")),
            colours.get(int(roi.ROINumber), ""),
        )
        for roi in dataset.StructureSetROISequence
    ]


def _contours(dataset: Any) -> dict[int, list[Contour]]:
    """The closed contours of each structure by its number, corners `(n, 3)` in LPS+; doubled ones once."""
    found: dict[int, list[Contour]] = {}
    for roi in dataset.get("ROIContourSequence") or []:
        own = found.setdefault(int(roi.ReferencedROINumber), [])
        seen = set()
        for contour in roi.get("ContourSequence") or []:
            if str(contour.get("ContourGeometricType") or "") not in _CLOSED:
                continue
            points = np.array([float(part) for part in contour.get("ContourData") or []]).reshape(
                -1, 3
            )
            if not np.isfinite(points).all():
                raise ValueError("a corner that is no number")
            if len(points) > 2 and points.tobytes() not in seen:
                seen.add(points.tobytes())
                own.append(points)
    return found


def _slice_axis(contours: Sequence[Contour], grid: Volume, name: str) -> int:
    """The grid's axis (x, y or z) that no contour runs along."""
    spread = np.max([np.ptp(points, axis=0) for points in contours], axis=0)
    spread_mm = spread * grid.spacing_mm[::-1]
    axis = int(spread_mm.argmin())
    if spread[axis] > _MOST_OFF and spread_mm[axis] > _ROUNDED_MM:
        raise InputError(
            f"{name}: its contours do not lie in the slices of {grid.name or 'the image'}; give the image that "
            "they were drawn on"
        )
    return axis


def _by_slice(
    contours: Sequence[Contour], axis: int, grid: Volume, what: str
) -> tuple[dict[int, list[Contour]], float]:
    """The contours by the slice they lie on, corners as (column, row); and how far they are beside it."""
    image = grid.name or "the image"
    _check_within(contours, axis, grid, what)
    inside = [other for other in range(3) if other != axis]
    found: dict[int, list[Contour]] = defaultdict(list)
    furthest = 0.0
    for points in contours:
        place = float(points[:, axis].mean())
        index = round(place)
        furthest = max(furthest, abs(place - index))
        found[index].append(points[:, inside])
    if furthest > _MOST_OFF:
        raise InputError(
            f"{what} has contours between the slices of {image}, up to {furthest:.0%} of a slice beside one; give the "
            "image that they were drawn on"
        )
    gaps = np.diff(sorted(found))
    if len(found) >= _FEWEST_SLICES and gaps.min() > 1:
        raise InputError(
            f"{what} has contours on one of {int(gaps.min())} slices of {image} only; fill the slices between in the "
            "program that drew them, or give the image that they were drawn on"
        )
    return found, furthest


def _check_within(contours: Sequence[Contour], axis: int, grid: Volume, what: str) -> None:
    """Refuse contours that hold centres of voxels which the image does not have."""
    sizes = np.array(grid.array.shape[::-1])
    low = np.min([points.min(0) for points in contours], axis=0)
    high = np.max([points.max(0) for points in contours], axis=0)
    allowed = np.where(
        np.arange(3) == axis, _MOST_OFF, 1.0
    )  # a voxel beyond the last one has its centre there
    beyond = np.maximum(-low, high - (sizes - 1)) - allowed
    if beyond.max() > 0:
        beyond_mm = float((np.maximum(-low, high - (sizes - 1)) * grid.spacing_mm[::-1]).max())
        raise InputError(
            f"{what} reaches {beyond_mm:.3g} mm beyond the outermost voxels of {grid.name or 'the image'}; give the "
            "whole image that it was drawn on"
        )


def _draw(canvas: Canvas, value: int, contours: Sequence[Contour], index: int, axis: int) -> None:
    """Fill the contours of one slice, in the box around them."""
    corners = np.concatenate(contours)
    low = np.floor(corners.min(0)).astype(int)
    columns, rows = np.ceil(corners.max(0)).astype(int) - low + 1
    start = [int(low[1]), int(low[0])]
    plane = filled(contours, (int(rows), int(columns)), (start[0], start[1]))
    start.insert(2 - axis, index)
    canvas.draw(value, np.expand_dims(plane, 2 - axis), start)
