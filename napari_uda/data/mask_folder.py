"""Folders of masks, one file for each structure and named after it, as TotalSegmentator writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import (
    SEG_NRRD_SUFFIX,
    begins_as_dicom,
    case_name,
    check_is_text,
    shown,
    volume_suffix,
)
from napari_uda.core.structure_colours import plain_name
from napari_uda.data.labels import check_labels
from napari_uda.data.patients import LABEL_FOLDERS
from napari_uda.data.segments import Segment, chosen_values
from napari_uda.data.volume import Placement, Volume, read_volume
from napari_uda.data.whole_voxels import Canvas, place_of


def is_mask_folder(path: Path) -> bool:
    """Whether a path is a folder of volume files, none of them DICOM.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_dir() or not _mask_files(path):
        return False
    others = (file for file in path.iterdir() if file.is_file() and not volume_suffix(file))
    return not any(begins_as_dicom(file) for file in others)


def declared_masks(folder: Path) -> list[Segment]:
    """The structures by the names of their files, in the order of the alphabet, which gives them their numbers.

    Raises:
        InputError: two files of one structure.
        OSError: the folder cannot be read.
    """
    files = _mask_files(folder)
    known: dict[str, Path] = {}
    for file in files:
        check_is_text(file)
        other = known.setdefault(plain_name(case_name(file)), file)
        if other != file:
            raise InputError(
                f"{_shown(folder)}: {shown(other)} and {shown(file)} are both {case_name(file)}; keep one of them"
            )
    return [Segment(number, shown(case_name(file))) for number, file in enumerate(files, start=1)]


def read_mask_folder(
    folder: Path,
    grid: Volume | None,
    names: Mapping[str, int],
    warn: Callable[[str], object],
    placement: Placement = "auto",
) -> tuple[Volume, dict[int, Segment]]:
    """Read the masks of a folder as one label map; only those files are read whose structures are taken.

    Args:
        folder: a folder of masks.
        grid: of the image, that they are put on; without one they lie on the grid of the first of them.
        names: as for `chosen_values`, but for numbers, which masks do not have.
        warn: is told what is off the grid by more than rounding; what is left out has not been looked at.
        placement: which of sform and qform is trusted in NIfTI files that have both.

    Returns:
        The label map, uint8; and for each of its values the structure.

    Raises:
        InputError: no mask, another grid, masks that overlap, or none of the names.
        OSError: a file cannot be read.
    """
    name, files = _shown(folder), _mask_files(folder)
    segments = [replace(one, value=0) for one in declared_masks(folder)]
    taken = chosen_values(segments, names, name, lambda _: None)
    canvas: Canvas | None = None
    for index, value in taken.items():
        mask = read_volume(files[index], placement=placement)
        voxels = _voxels(mask, f"{name}/{shown(files[index])}")
        if grid is None:
            grid = Volume(np.broadcast_to(np.uint8(0), voxels.shape), mask.affine, name)
        if canvas is None:
            canvas = Canvas(
                grid, name, {number: segments[one].name for one, number in taken.items()}
            )
        place = place_of(mask.affine, voxels.shape, grid, f"{name}/{shown(files[index])}", warn)
        canvas.draw(value, place.order.apply(voxels), place.start)
    assert grid is not None
    assert canvas is not None  # `chosen_values` takes one at least
    kept = {value: segments[index] for index, value in taken.items()}
    return Volume(canvas.labels(), grid.affine), kept


def _shown(folder: Path) -> str:
    """The folder as it stands in messages: `segmentations` alone says nothing of its patient."""
    within = folder.name.lower() in LABEL_FOLDERS and folder.parent.name
    return f"{shown(folder.parent)}/{shown(folder)}" if within else shown(folder)


def _mask_files(folder: Path) -> list[Path]:
    """Volume files by name, hidden ones left out."""
    files = [
        file
        for file in folder.iterdir()
        if volume_suffix(file) not in ("", SEG_NRRD_SUFFIX)
        and file.name[0] != "."
        and file.is_file()
    ]
    return sorted(files, key=lambda file: (plain_name(case_name(file)), file.name))


def _voxels(mask: Volume, name: str) -> NDArray[np.bool_]:
    """The voxels of a structure: those of the one value that is not 0, whatever it is."""
    labels = check_labels(mask.array, name, mask.value_step)
    most = labels.max()
    voxels: NDArray[np.bool_] = labels == most if most else np.zeros(labels.shape, bool)
    if np.count_nonzero(labels) != np.count_nonzero(voxels):
        values = ", ".join(map(str, np.unique(labels)[:8]))
        raise InputError(
            f"{name}: holds the values {values}, and a mask of one structure among others holds 0 and one other; keep "
            "either masks or one label map in a folder"
        )
    return voxels
