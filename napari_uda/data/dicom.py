"""DICOM: the volumes of a folder or a file of many frames, placed by the position of every frame.

Geometry, scaling and what tells images apart are read from the headers by pydicom. SimpleITK decodes
compressed pixels alone: by itself it takes the first frame for all.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import begins_as_dicom, shown
from napari_uda.core.progress import tell
from napari_uda.core.words import short_list
from napari_uda.data.dicom_headers import DICOM_ERRORS, Header, read_header
from napari_uda.data.dicom_pixels import read_frames, value_type
from napari_uda.data.dicom_stacks import (
    Stack,
    check_one_grid,
    chosen_stack,
    order_of,
    stack_affine,
    stacks_of,
)
from napari_uda.data.grid import Affine, three_sides
from napari_uda.data.window import Window

logger = logging.getLogger(__name__)

_MOST_NAMED = 3


def read_dicom(
    path: Path, series: str = ""
) -> tuple[NDArray[np.generic], Affine, str, Window | None]:
    """Read the one volume of a DICOM folder or file, or the one that is asked for.

    Every slice is placed by its own position and scaled by its own slope and intercept, and must have
    the size, orientation and pixel spacing of the others. The slice axis of the affine goes from the
    first to the last position, so a tilted gantry gives the true, sheared affine.

    Args:
        path: the folder, without its subfolders, or a file of many frames.
        series: which volume, where there are several: its number, UID or a part of its description.

    Returns:
        Voxels (Z, Y, X), whole numbers, or float32 when scaling makes fractions; affine (4, 4) to RAS+
        millimetres; UID of the frame of reference, or ""; the window that the middle slice is to be
        looked at with, None where it says none.

    Raises:
        InputError: no volume or several, missing or doubled slices, unreadable or colour images.
        OSError: the folder cannot be read.
    """
    stack = find_stack(path, series)
    middle = stack.frames[len(stack.frames) // 2]
    array, affine = read_stack(stack, shown(path))
    return array, affine, middle.header.frame_of_reference, middle.window


def find_stack(path: Path, series: str = "") -> Stack:
    """The frames of the one volume of a DICOM folder or file; see `read_dicom`."""
    name = shown(path)
    files = _files(path)
    headers, damaged = _headers(files)
    stacks = stacks_of(headers)
    if not stacks:
        raise InputError(_nothing(headers, damaged, name, path.is_dir()))
    if damaged:
        raise InputError(
            f"{name}: {_listed(damaged)} cannot be read as DICOM, so a slice may be missing; "
            "copy the folder again or take the damaged file out of it"
        )
    stack = chosen_stack(stacks, series, name)
    if path.is_file() and len(stack.frames) == 1:
        raise InputError(
            f"{name}: is a single slice of a DICOM series; give the folder that holds its slices"
        )
    if stack.problems:
        first = stack.problems[0]
        raise InputError(
            f"{name}: {len(stack.problems)} of the DICOM files of its series cannot be used: {shown(first.file)} "
            f"{first.problem}; export the series again or take these files out"
        )
    others = [header for header in headers if header.no_image]
    if others:
        kinds = ", ".join(sorted({header.no_image for header in others}))
        logger.info("%s: %s is passed over: %s", name, _listed([o.file for o in others]), kinds)
    return stack


def dicom_volumes(folder: Path) -> list[Stack]:
    """The volumes that lie in a folder, subfolders left out; [] where there are none.

    Raises:
        OSError: it cannot be read.
    """
    return stacks_of(_headers(_files(folder))[0])


def read_stack(stack: Stack, name: str) -> tuple[NDArray[np.generic], Affine]:
    """Read one volume out of those that `dicom_volumes` found.

    Args:
        stack: the volume.
        name: what it is called in messages.

    Returns:
        Voxels and affine as `read_dicom`.

    Raises:
        InputError: slices are missing, share a position, do not lie in line or cannot be decoded.
    """
    frames = stack.frames
    rows, columns = frames[0].header.shape
    three_sides((columns, rows, len(frames)), value_type(frames).itemsize, name)
    affine = stack_affine(frames, name)
    inverted = {frame.header.inverted for frame in frames}
    if len(inverted) > 1:
        raise InputError(
            f"{name}: some of its DICOM slices show high values dark (MONOCHROME1) and some bright; "
            "export the series again"
        )
    if True in inverted:
        logger.warning(
            "%s: its pixels are MONOCHROME1, so viewers show high values dark; the values are read as they are "
            "stored; turn them over if the images you train on show them bright",
            name,
        )
    return read_frames(frames, name), affine


def read_dicom_files(
    files: Sequence[Path], name: str
) -> tuple[NDArray[np.generic], Affine, list[int]]:
    """Read DICOM slices as one volume, whatever series they say they belong to.

    Args:
        files: one slice each, in any order.
        name: what the volume is called in messages.

    Returns:
        Voxels and affine as `read_dicom`, and the places of the slices among `files`.

    Raises:
        InputError: missing or doubled slices, unreadable or colour images, or slices that differ in size,
            orientation or pixel spacing.
    """
    headers, _ = _headers(files)
    odd = [file for file in files if file not in {header.file for header in headers}]
    unusable = [header for header in headers if len(header.frames) != 1]
    if odd or unusable:
        file, why = (odd[0], "is damaged or no DICOM") if odd else _said_of(unusable[0])
        raise InputError(
            f"{name}: {shown(file)} {why}, so it cannot be used as a DICOM slice; unpack or export it again"
        )
    frames = [header.frames[0] for header in headers]
    check_one_grid(frames, name)
    order = order_of(frames)
    stack = Stack("", tuple(frames[place] for place in order), "")
    return (*read_stack(stack, name), order)


def _said_of(header: Header) -> tuple[Path, str]:
    several = f"holds {len(header.frames)} frames"
    return header.file, header.problem or (f"is {header.no_image}" if header.no_image else several)


def _files(path: Path) -> list[Path]:
    """The files that may be DICOM: without hidden ones and those in subfolders."""
    if not path.is_dir():
        return [path]
    return sorted(
        entry for entry in path.iterdir() if not entry.name.startswith(".") and entry.is_file()
    )


def _headers(files: Sequence[Path]) -> tuple[list[Header], list[Path]]:
    """The headers of those files that are DICOM, and the files that only begin as if they were."""
    headers, damaged = [], []
    for number, file in enumerate(files):
        tell(number, len(files))
        if not begins_as_dicom(file):
            continue
        try:
            header = read_header(file)
        except DICOM_ERRORS:
            damaged.append(file)
            continue
        if header is not None:
            headers.append(header)
    return headers, damaged


def _nothing(headers: Sequence[Header], damaged: Sequence[Path], name: str, folder: bool) -> str:
    """Why there is no volume: one sentence."""
    reasons = []
    if damaged:
        reasons.append(f"{_listed(damaged)} {'is' if len(damaged) == 1 else 'are'} damaged")
    for header in headers[: _MOST_NAMED + 1]:
        file, why = _said_of(header)
        reasons.append(f"{shown(file)} {why}")
    what = "is a folder without a DICOM series" if folder else "holds no DICOM image"
    because = f" that can be read ({', '.join(reasons[:_MOST_NAMED])})" if reasons else ""
    return f"{name}: {what}{because}; give a volume file (.nii.gz) or the folder of a series"


def _listed(files: Sequence[Path]) -> str:
    return short_list((shown(file) for file in files), _MOST_NAMED)
