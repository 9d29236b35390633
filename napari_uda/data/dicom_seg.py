"""DICOM SEG: segments of one bit, of fractions or as a label map, frame by frame onto the image's grid."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import iter_pixels

from napari_uda.core.colours import hexadecimal
from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.data.dicom import find_stack
from napari_uda.data.dicom_headers import (
    DICOM_ERRORS,
    Frame,
    Unplaced,
    frames_of,
    inside,
    one_line,
    quiet_pydicom,
    read_header,
    transfer_syntax,
)
from napari_uda.data.dicom_structures import referenced_series
from napari_uda.data.grid import LPS_TO_RAS, Affine, check_affine, three_sides
from napari_uda.data.provenance import PROGRAM
from napari_uda.data.segments import Segment, chosen_values
from napari_uda.data.volume import Volume
from napari_uda.data.whole_voxels import Canvas, place_of

_LABEL_VALUE = re.compile(r"label value (\d{1,3})")
_SAME_STEP = 0.02  # of a slice distance
_SAME_DIRECTION = 1e-4
_ROUNDED_MM = 1e-3
_ON_STEP = 0.1
"""How far a slice may lie off its place in a row of even steps, in steps."""

Drawn = tuple[Volume, dict[int, Segment]]


def read_dicom_seg(
    file: Path,
    grid: Volume | None,
    names: Mapping[str, int],
    warn: Callable[[str], object],
) -> Drawn:
    """Read a segmentation; its frames may stand in any order, and empty ones may be missing.

    Args:
        file: a DICOM SEG.
        grid: the image's grid that it is put on; without one, it lies on the smallest grid that holds its
            frames, in the direction of their slices.
        names: as for `chosen_values`.
        warn: is told what is left out, or off the grid by more than rounding.

    Returns:
        The label map, uint8; and for each of its values the segment.

    Raises:
        InputError: damaged, another grid or frame of reference, segments that overlap or are not there.
        OSError: it cannot be read.
    """
    name = shown(file)
    try:
        header = read_header(file)
        with quiet_pydicom():
            dataset = pydicom.dcmread(file, force=True)
            if header is None or "SegmentSequence" not in dataset:
                raise ValueError("no segmentation")
            segments = segments_of(dataset)
            frames = frames_of(header, dataset)
            numbers = _numbers(dataset, len(frames))
            _check_directions(frames)
            step = _step_mm(frames, dataset)
    except Unplaced as unplaced:
        raise InputError(f"{name}: {unplaced}; segmentations of slices are read here") from unplaced
    except DICOM_ERRORS as error:
        raise InputError(f"{name}: is a damaged DICOM SEG; export it again") from error
    reference = frame_of_reference(header.frame_of_reference, grid, file, warn)
    on = grid if grid is not None else _own_grid(frames, step, name)
    taken = chosen_values(segments, names, name, warn)
    values = {_segment_numbers(dataset)[index]: value for index, value in taken.items()}
    kept = {value: segments[index] for index, value in taken.items()}
    canvas = Canvas(on, name, {value: segment.name for value, segment in kept.items()})
    _check_steps(frames, step, on, name)
    planes = _planes(dataset, len(frames), header.shape, name)
    try:
        for frame, number, plane in zip(frames, numbers, planes, strict=True):
            affine = _frame_affine(frame, on)
            place = place_of(affine, (1, *plane.shape), on, name, warn)
            for value, block in _blocks(dataset, plane, number, values):
                ordered = place.order.apply(block[None])
                if ordered.dtype == bool:
                    canvas.draw(value, ordered, place.start)
                else:
                    canvas.draw_fractions(value, ordered, place.start)
    except DICOM_ERRORS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name}: its frames cannot be decoded, so it is damaged, truncated or of an unknown kind; export it "
            "again, uncompressed"
        ) from error
    return Volume(canvas.labels(), on.affine, frame_of_reference=reference), kept


def segments_of(dataset: Any) -> list[Segment]:
    """The segments that a DICOM SEG declares, without the background of a label map.

    The numbers of segments have no gaps, so a file that was made here says beside them which label each had.
    """
    return [
        Segment(
            _label_value(item, dataset),
            one_line(item.get("SegmentLabel")),
            _colour(item.get("RecommendedDisplayCIELabValue")),
        )
        for item in dataset.SegmentSequence
        if int(item.get("SegmentNumber"))
    ]


def _segment_numbers(dataset: Any) -> list[int]:
    """The numbers by which frames speak of the segments of `segments_of`."""
    numbers = (int(item.get("SegmentNumber")) for item in dataset.SegmentSequence)
    return [number for number in numbers if number]


def _label_value(item: Any, dataset: Any) -> int:
    said = _LABEL_VALUE.fullmatch(str(item.get("SegmentDescription") or ""))
    if said is not None and dataset.get("Manufacturer") == PROGRAM:
        return int(said.group(1))
    return int(item.get("SegmentNumber"))


def frame_of_reference(
    own: str, grid: Volume | None, file: Path, warn: Callable[[str], object]
) -> str:
    """UID of the coordinates that a segmentation lies in: what it states, or those of the image that it refers to.

    Some programs state coordinates that they make up, and refer to the series of the image all the same.

    Args:
        own: what it states, "" for nothing.
        grid: of the image.
        file: of the segmentation.
        warn: is told where the two differ and the reference counts.

    Raises:
        InputError: other coordinates than those of the image, to whose series it does not refer.
        OSError: it cannot be read.
    """
    if grid is None or not own or grid.frame_of_reference in ("", own):
        return own
    name, image = shown(file), grid.name or "the image"
    if not _series_of(grid) & referenced_series(file):
        raise InputError(
            f"{name}: is drawn in another frame of reference than {image} (0020,0052), so it "
            "belongs to another examination; give the image that it was drawn on"
        )
    warn(
        f"{name}: states another frame of reference than {image} (0020,0052), but refers to its series; it is taken "
        "to be drawn on it"
    )
    return grid.frame_of_reference


def _series_of(grid: Volume) -> set[str]:
    """UID of the DICOM series that a volume was read from; none for a volume from elsewhere."""
    source = grid.source
    if source is None or not source.is_dicom:
        return set()
    return {frame.header.series for frame in find_stack(source.path, source.series).frames} - {""}


def _numbers(dataset: Any, count: int) -> list[int]:
    """The segment of each frame; 0 for a label map, whose frames hold all."""
    if dataset.get("SegmentationType") == "LABELMAP":
        return [0] * count
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    path = ("SegmentIdentificationSequence", "ReferencedSegmentNumber")
    groups = dataset.PerFrameFunctionalGroupsSequence
    return [int(inside(group, path) or inside(shared, path)) for group in groups]


def _blocks(
    dataset: Any, plane: NDArray[Any], number: int, values: Mapping[int, int]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """What one frame draws: value and mask, or value and fractions."""
    kind = dataset.get("SegmentationType")
    if kind == "LABELMAP":
        for stored in np.unique(plane).tolist():
            if stored in values:
                yield values[stored], plane == stored
    elif number in values:
        if kind == "FRACTIONAL":
            whole = float(dataset.get("MaximumFractionalValue") or 255)
            yield values[number], (plane / whole).astype(np.float32)
        else:
            yield values[number], plane.astype(bool)


def _planes(
    dataset: Any, count: int, shape: tuple[int, int], name: str
) -> Iterator[NDArray[np.generic]]:
    """The frames as they are stored, one at a time."""
    with quiet_pydicom():
        syntax = transfer_syntax(dataset)
        dataset.file_meta.TransferSyntaxUID = syntax
    bits = int(dataset.BitsAllocated)
    three_sides((shape[1], shape[0], 1), max(1, bits // 8), name)
    if bits != 1 or (syntax.is_compressed and not syntax.is_deflated):
        frames = iter_pixels(dataset, raw=True)
        for _ in range(count):
            with quiet_pydicom():
                plane = next(frames)
            if plane.shape != shape:
                raise ValueError("frames of another size")
            yield plane
        return
    size = shape[0] * shape[1]
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    if stored.size * 8 < size * count:
        raise ValueError("truncated")
    for index in range(
        count
    ):  # frames follow each other without a gap, in the middle of a byte, too
        first, last = index * size, (index + 1) * size
        part = np.unpackbits(stored[first // 8 : -(-last // 8)], bitorder="little")
        yield part[first % 8 :][:size].reshape(shape)


def _frame_affine(frame: Frame, grid: Volume) -> Affine:
    """Where a frame lies; across it one step of the grid, whichever of its axes is left."""
    row, column = np.array(frame.orientation).reshape(2, 3) * LPS_TO_RAS
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * frame.spacing[1], column * frame.spacing[0]
    affine[:3, 3] = np.array(frame.position) * LPS_TO_RAS
    along = np.abs(np.stack([row, column]) @ _directions(grid)).max(0)
    affine[:3, 2] = grid.affine[:3, int(along.argmin())]
    return affine


def _directions(grid: Volume) -> NDArray[np.float64]:
    """(3, 3) unit vectors of the grid's axes, one in each column."""
    columns = grid.affine[:3, :3]
    directions: NDArray[np.float64] = columns / np.linalg.norm(columns, axis=0)
    return directions


def _check_directions(frames: tuple[Frame, ...]) -> None:
    """Refuse rows and columns that are no directions at right angles, and pixels without a size."""
    for spacing, orientation in {(frame.spacing, frame.orientation) for frame in frames}:
        directions = np.array(orientation).reshape(2, 3)
        if min(spacing) <= 0 or np.abs(directions @ directions.T - np.eye(2)).max() > 0.01:
            raise ValueError("frames without a direction")


def _step_mm(frames: tuple[Frame, ...], dataset: Any) -> float:
    """Distance of slices: as stated, else the smallest between two frames, else their thickness."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    first = dataset.PerFrameFunctionalGroupsSequence[0]
    path = ("PixelMeasuresSequence", "SpacingBetweenSlices")
    stated = abs(float(inside(first, path) or inside(shared, path) or 0))
    gaps = np.diff(_heights(frames))
    gaps = gaps[gaps > _SAME_STEP * (stated or frames[0].thickness or 1)]
    return stated or (float(gaps.min()) if gaps.size else frames[0].thickness)


def _heights(frames: tuple[Frame, ...]) -> NDArray[np.float64]:
    row, column = np.array(frames[0].orientation).reshape(2, 3)
    positions = np.array([frame.position for frame in frames])
    return np.sort(positions @ np.cross(row, column))


def _check_steps(frames: tuple[Frame, ...], step: float, grid: Volume, name: str) -> None:
    """Slices of another distance would leave every other slice of the image empty.

    Frames that are turned against the image have no distance of its slices; `place_of` refuses them.
    """
    affine = _frame_affine(frames[0], grid)
    in_plane = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    if np.abs(in_plane.T @ _directions(grid)).max(1).min() < 1 - _SAME_STEP:
        return
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    across = abs(float(affine[:3, 2] @ normal) / float(np.linalg.norm(normal)))
    if step and abs(step - across) > _SAME_STEP * across:
        raise InputError(
            f"{name}: its slices are {step:.4g} mm apart and those of {grid.name or 'the image'} {across:.4g} mm; "
            "give the image that it was drawn on, or resample it onto this one"
        )


def _own_grid(frames: tuple[Frame, ...], step: float, name: str) -> Volume:
    """The smallest grid that holds all frames, missing ones between them included."""
    first = frames[0]
    for frame in frames:
        if not (
            np.allclose(frame.orientation, first.orientation, rtol=0, atol=_SAME_DIRECTION)
            and np.allclose(frame.spacing, first.spacing, rtol=1e-4, atol=0)
        ):
            raise InputError(
                f"{name}: its frames lie in different directions; give the image that it was drawn on"
            )
    row, column = np.array(first.orientation).reshape(2, 3)
    normal = np.cross(row, column)
    positions = np.array([frame.position for frame in frames])
    heights = positions @ normal
    if not step:
        raise InputError(
            f"{name}: does not state how far its slices are apart; give the image that it was drawn on"
        )
    places = (heights - heights.min()) / step
    if np.abs(places - np.rint(places)).max() > _ON_STEP:
        raise InputError(
            f"{name}: its slices are unevenly spaced; give the image that it was drawn on"
        )
    across = normal * step
    if places.max() > 0.5:  # slices of a tilted gantry shift along their planes
        most = positions[int(heights.argmax())] - positions[int(heights.argmin())]
        shift = (most - normal * (most @ normal)) / np.rint(places.max())
        across = across + shift * (np.linalg.norm(shift) > _ROUNDED_MM)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row * first.spacing[1], column * first.spacing[0], across], axis=1)
    affine[:3, 3] = positions[int(heights.argmin())]
    affine[:3] *= LPS_TO_RAS[:, None]
    check_affine(affine, name)
    rows, columns = first.header.shape
    count = int(np.rint(places.max())) + 1
    three_sides((columns, rows, count), 1, name)
    return Volume(np.broadcast_to(np.uint8(0), (count, rows, columns)), affine, name)


def _colour(lab: Any) -> str:
    """`#RRGGBB` of a colour in CIELab as DICOM stores it.

    The standard means the white point D50; the programs that write segmentations take D65, and so do we.
    """
    try:
        stored = np.array([float(part) for part in lab])
    except (TypeError, ValueError):
        return ""
    if stored.shape != (3,):
        return ""
    lightness, a, b = stored / 65535 * (100, 255, 255) - (0, 128, 128)
    y = (lightness + 16) / 116
    cubes = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(cubes > 6 / 29, cubes**3, 3 * (6 / 29) ** 2 * (cubes - 4 / 29))
    linear = np.clip(_D65_TO_SRGB @ (xyz * (0.95047, 1.0, 1.08883)), 0, 1)
    shades = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return hexadecimal(shades)


_D65_TO_SRGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
