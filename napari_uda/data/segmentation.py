"""Segmentations of any kind as label maps: the one way in which every door reads a reference.

A label map of any volume format, a DICOM SEG, an RTSTRUCT, a `.seg.nrrd`, or a folder of masks; with names and
colours of the structures where the file, or a description beside it, has them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np

from napari_uda.core.errors import InputError, reason
from napari_uda.core.files import (
    DICOM_SUFFIXES,
    SEG_NRRD_SUFFIX,
    as_path,
    begins_as_dicom,
    case_name,
    is_file,
    is_folder,
    shown,
    volume_suffix,
)
from napari_uda.core.structure_colours import plain_name
from napari_uda.data import volume as volumes
from napari_uda.data.label_descriptions import (
    descriptions_beside,
    descriptions_in,
    own_description,
)
from napari_uda.data.labels import LARGEST, small_labels
from napari_uda.data.segments import Segment, small_values
from napari_uda.data.volume import Placement, Volume

__all__ = ["Segmentation", "read_segmentation", "structures_in", "found_structures", "kind_of"]

Kind = Literal["", "seg-nrrd", "dicom-seg", "rtstruct", "masks"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A label map and what its values are called."""

    labels: Volume
    """uint8 voxels; 0 is background."""
    names: dict[int, str]
    """Label value to structure name; {} where nothing names them."""
    colours: dict[int, str]
    """Label value to `#RRGGBB`, for those that the file colours."""


def read_segmentation(
    path: str | os.PathLike[str],
    *,
    grid: Volume | None = None,
    names: Mapping[str, int] | None = None,
    placement: Placement = "auto",
    numbered: bool = False,
) -> Segmentation:
    """Read a segmentation of any kind.

    Args:
        path: a volume file, a DICOM SEG or RTSTRUCT, or a folder with one of them, with a DICOM series, or with
            masks, each of them named as its structure.
        grid: of the image. Segmentations that may store less than the whole grid are put on it: DICOM SEG, RTSTRUCT
            (which cannot be read without), `.seg.nrrd` and masks. Label maps keep their own.
        names: structure name to the value that it has in the files, of any size; values above 255 become
            small ones (`small_values`). Of files that name their segments those are taken that have one of
            these names, whatever their numbers there. Empty takes the file's own names and values.
        placement: which of sform and qform is trusted in NIfTI files that have both.
        numbered: values up to 255 of a label map are the small ones already, as in a prediction.

    Raises:
        InputError: unreadable, values that are no labels, segments that overlap or do not fit the grid.
    """
    given = as_path(path, "give a file, or a folder of DICOM or of masks")
    _check_names(names or {})
    found = _read(given, grid, dict(names or {}), placement, numbered)
    if not isinstance(found, Segmentation):
        return _named(*found)
    return found


def _check_names(names: Mapping[str, int]) -> None:
    """Refuse what a script gives as names and are none."""
    example = "names say the value of each structure, such as {'liver': 1}, and"
    if not isinstance(names, Mapping):
        raise InputError(f"{example} a {type(names).__name__} does not; give a dict")
    known: dict[int, str] = {}
    for name, value in names.items():
        if not isinstance(name, str):
            raise InputError(f"{example} {name!r} is no name; turn them round")
        if not isinstance(value, (int, np.integer)) or value < 0:
            raise InputError(f"{example} {value!r} of {name} is no whole number from 0 on")
        other = known.setdefault(int(value), name)
        if value and other != name:
            raise InputError(f"{example} {other} and {name} have the same one; make each unique")


def read_label_volume(
    path: str | os.PathLike[str],
    grid: Volume | None,
    names: Mapping[str, int] | None,
    placement: Placement,
    *,
    numbered: bool = False,
) -> Volume:
    """The label map of `read_segmentation` alone, without a search for what would name and colour it."""
    found = _read(Path(path), grid, dict(names or {}), placement, numbered)
    return found.labels if isinstance(found, Segmentation) else found[1]


def _read(
    path: Path, grid: Volume | None, names: dict[str, int], placement: Placement, numbered: bool
) -> Segmentation | tuple[Path, Volume, dict[str, int]]:
    """A segmentation; or of a label map the file, its labels and what was named in it."""
    try:
        file = _segmentation_in(path)
        kind = kind_of(file)
        if kind:
            return _read_segments(file, kind, grid, names, placement)
        volume = volumes.read_volume(file, placement=placement)
        if not names and volume.array.max(initial=0) > LARGEST:
            present = set(np.unique(volume.array).tolist())
            named = {segment.name: segment.value for segment in descriptions_beside(file)}
            names = {name: value for name, value in named.items() if value in present}
    except OSError as error:
        raise _unreadable(path, error) from error
    array = small_labels(
        volume.array,
        shown(file),
        volume.value_step,
        names,
        small_values(names),
        numbered=numbered,
    )
    return file, volume.with_array(array), names


def _named(file: Path, labels: Volume, names: dict[str, int]) -> Segmentation:
    """A label map with its names, those of a description without others, and the description's colours."""
    small = small_values(names)
    try:
        described = descriptions_beside(file)
    except OSError:
        described = []
    except InputError:
        if not names:
            raise
        described = []  # the names are known, and colours are not worth a refusal
    if not names:
        present = set(np.unique(labels.array).tolist())
        small = {one.name: one.value for one in described if one.value in present}
    called = {plain_name(name): value for name, value in small.items()}
    return Segmentation(
        labels,
        {value: name for name, value in small.items()},
        {
            called[plain_name(one.name)]: one.colour
            for one in described
            if one.colour and plain_name(one.name) in called
        },
    )


def needs_image(path: Path) -> bool:
    """Whether a segmentation may store less than the grid of its image.

    Raises:
        InputError: a folder with several segmentations.
    """
    try:
        return bool(kind_of(_segmentation_in(path)))
    except OSError:
        return False  # which is told when it is read


def structures_in(path: Path) -> list[Segment]:
    """The structures that a file names, or a description beside it; no voxels are read, [] for none.

    Raises:
        InputError: two descriptions that differ.
        OSError: it cannot be read.
    """
    file = _segmentation_in(path)
    own = _own_structures(file)
    return descriptions_beside(file) if own is None else own


def _own_structures(file: Path) -> list[Segment] | None:
    """The segments of a file, None for a label map, which has none."""
    kind = kind_of(file)
    if kind == "seg-nrrd":
        from napari_uda.data.seg_nrrd import declared_segments

        return declared_segments(file)
    if kind == "masks":
        from napari_uda.data.mask_folder import declared_masks

        return declared_masks(file)
    if kind:
        from napari_uda.data.dicom_structures import declared_structures

        return declared_structures(file, kind)
    return None


def found_structures(paths: Iterable[Path], *, renumber: bool) -> dict[str, int]:
    """The names of structures in several files, each with one value for all of them.

    Args:
        paths: segmentations.
        renumber: number the names anew where files that store segments by name number them differently; without,
            that is refused, as it always is of label maps, whose numbers stay as they are.

    Returns:
        Structure name to value as `read_segmentation` takes it; {} when no file names any.

    Raises:
        InputError: files that number differently, or a description that cannot be told.
    """
    names: dict[str, str] = {}
    values: dict[str, set[int]] = {}
    of_label_maps: dict[str, set[int]] = {}
    unnamed_label_map = masks = False
    described: dict[Path, list[Segment]] = {}  # of a folder, which is looked through once
    for path in paths:
        try:
            file = _segmentation_in(path)
            masks |= kind_of(file) == "masks"
            own = _own_structures(file)
            structures = own_description(file) if own is None else own
            if not structures and volume_suffix(file):
                if file.parent not in described:
                    described[file.parent] = descriptions_in(file.parent)
                structures = described[file.parent]
        except OSError as error:
            raise _unreadable(path, error) from error
        unnamed_label_map |= own is None and not structures
        for segment in structures:
            if segment.name:
                key = plain_name(segment.name)
                names.setdefault(key, segment.name)
                values.setdefault(key, set()).add(segment.value)
                if own is None:
                    of_label_maps.setdefault(key, set()).add(segment.value)
    by_number = not renumber or unnamed_label_map
    if masks and by_number:
        raise nameless(names.values(), "label maps" if renumber else "predictions")
    if _one_number_each(values):
        found = {names[key]: next(iter(numbers)) for key, numbers in values.items()}
        if len(found) > LARGEST:  # a table of all that there is
            found = {name: value for name, value in found.items() if value <= LARGEST}
        return found
    if not _one_number_each(of_label_maps):
        raise InputError(
            f"the label maps and the descriptions beside them number their structures differently "
            f"({names[_in_doubt(of_label_maps)]} among them), and a value has one meaning for all cases; give every "
            "structure the same value in all of them"
        )
    if by_number:
        some = names[_in_doubt(values)]
        raise InputError(
            f"the segmentations number their structures differently ({some} among them), so it is open which value of "
            f"a {'label map' if renumber else 'prediction'} is which; say so in dataset.json beside their folder: "
            f'{{"labels": {{"{some}": 1}}}}'
        )
    free = (number for number in count(1) if {number} not in of_label_maps.values())
    return {name: next(iter(of_label_maps.get(key) or {next(free)})) for key, name in names.items()}


def nameless(masks: Iterable[str], others: str) -> InputError:
    """That structures without numbers face some without names.

    Args:
        masks: names of structures.
        others: what has numbers only, in the plural.
    """
    some = next(iter(masks))
    return InputError(
        f"masks have names and no numbers, and the {others} have no names, so it is open which value is which; say so in "
        f'dataset.json beside their folder, {{"labels": {{"{some}": 1}}}}, or in Python by names={{1: {some!r}}}'
    )


def _one_number_each(values: Mapping[str, set[int]]) -> bool:
    """Whether every name has one number, and no two have the same."""
    numbers = [number for several in values.values() for number in several]
    return len(set(numbers)) == len(numbers) == len(values)


def _in_doubt(values: Mapping[str, set[int]]) -> str:
    """A name that has several numbers, or else one that shares its number."""
    several = (name for name, numbers in values.items() if len(numbers) > 1)
    return next(several, next(iter(values)))


def kind_of(path: Path) -> Kind:
    """What kind of segmentation a file or a folder is, "" for a label map or an image.

    Raises:
        OSError: it cannot be read.
    """
    if is_folder(path):
        from napari_uda.data.mask_folder import is_mask_folder

        return "masks" if is_mask_folder(path) else ""
    name = path.name.lower()
    if name.endswith((".nrrd", ".nhdr")) and is_file(path):
        from napari_uda.data.seg_nrrd import is_seg_nrrd

        return "seg-nrrd" if name.endswith(SEG_NRRD_SUFFIX) or is_seg_nrrd(path) else ""
    if volume_suffix(path) or not is_file(path):
        return ""
    if path.suffix.lower() in DICOM_SUFFIXES or begins_as_dicom(path):
        from napari_uda.data.dicom_structures import dicom_kind

        return dicom_kind(path)
    return ""


def _segmentation_in(path: Path) -> Path:
    """The one segmentation in a folder of DICOM; the path itself where there is none."""
    if not path.is_dir():
        return path
    files = sorted(entry for entry in path.iterdir() if entry.is_file() and entry.name[0] != ".")
    found = [file for file in files if kind_of(file) in ("dicom-seg", "rtstruct")]
    if len(found) > 1:
        raise InputError(
            f"{shown(path)}: holds {len(found)} segmentations ({', '.join(map(shown, found[:3]))}); name one of the files"
        )
    return found[0] if found else path


def _read_segments(
    file: Path, kind: Kind, grid: Volume | None, names: dict[str, int], placement: Placement
) -> Segmentation:
    if kind == "seg-nrrd":
        from napari_uda.data.seg_nrrd import read_seg_nrrd as read
    elif kind == "dicom-seg":
        from napari_uda.data.dicom_seg import read_dicom_seg as read
    elif kind == "masks":
        from napari_uda.data.mask_folder import read_mask_folder

        read = partial(read_mask_folder, placement=placement)
    else:
        from napari_uda.data.rtstruct import read_rtstruct as read
    volume, kept = read(file, grid, names, _Once())
    called = {plain_name(name): name for name in names}
    small = {value: name for name, value in small_values(names).items()}
    return Segmentation(
        replace(volume, name=case_name(file)),
        {
            value: called.get(plain_name(segment.name))
            or small.get(value)
            or segment.name
            or f"label_{value}"
            for value, segment in kept.items()
        },
        {value: segment.colour for value, segment in kept.items() if segment.colour},
    )


def _unreadable(path: Path, error: OSError) -> InputError:
    if error.errno is None:  # pydicom's word for a file that ends within a sequence
        return InputError(f"{shown(path)}: is damaged or cut off; export it again")
    return InputError(f"{shown(path)}: cannot be read ({reason(error)}); check the path")


class _Once:
    """Warns of everything once, since frames repeat each other."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            _logger.warning("%s", sentence)
