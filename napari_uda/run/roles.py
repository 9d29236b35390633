"""What a volume file is by its name, its folder and its values, and what its structures are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_uda.core.errors import InputError
from napari_uda.core.files import SEG_NRRD_SUFFIX, case_name, is_file, is_folder, volume_suffix
from napari_uda.core.small_files import read_object
from napari_uda.core.structure_colours import plain_name
from napari_uda.data.label_descriptions import own_description
from napari_uda.data.labels import to_whole
from napari_uda.data.patients import is_own_result
from napari_uda.data.segmentation import kind_of, needs_image, read_segmentation, structures_in
from napari_uda.data.volume import Placement, Volume, read_volume
from napari_uda.evaluation.inputs import predicted_names, stored_values
from napari_uda.run.run import Run

RESULT_SUFFIXES = {"_labels": "prediction", "_entropy": "entropy", "_reliability": "reliability"}
"""What the maps of a prediction are named by, behind the case, and their roles."""
_LABEL_FOLDERS = ("labels", "labelsTr", "labelsTs")
_LABEL_SUFFIXES = ("_label", "_seg", "_mask", "_gt", "-label", "-labels")
_EDITED = "_labels_edited"
_MOST_LABELS = 32
_SAMPLE = 4


@dataclass(frozen=True, eq=False)
class Shown:
    """A volume as it is stored, and what there is to know about it when it is shown."""

    volume: Volume
    role: str
    """image, reference, prediction, entropy or reliability."""
    names: dict[int, str]
    """Label value to structure name, {} where nothing names them."""
    colours: dict[int, str]
    """Label value to `#RRGGBB`, for those that a file colours."""


def read_shown(
    path: Path,
    role: str = "",
    names: Mapping[int, str] | None = None,
    placement: Placement = "auto",
    *,
    series: str = "",
    grid: Volume | None = None,
) -> Shown:
    """Read a volume of any kind, as what it is.

    Args:
        path: a volume file, a DICOM SEG or RTSTRUCT, or the folder of a DICOM series.
        role: what it is; empty decides by name and values.
        names: label value to structure name; None takes those of the file, or of what lies beside it.
        placement: which of sform and qform is trusted where a NIfTI file has both.
        series: which of several DICOM volumes.
        grid: of the image, for segmentations that store a part of it.

    Raises:
        InputError: as `read_volume` and `read_segmentation`.
    """
    own: dict[int, str] = {}
    colours: dict[int, str] = {}
    if not (needs_image(path) if path.is_file() else kind_of(path)):
        volume = read_volume(path, series=series, placement=placement)
    else:
        wanted = {name: value for value, name in (names or {}).items()}
        found = read_segmentation(path, grid=grid, names=wanted, placement=placement)
        volume, own, colours = found.labels, found.names, found.colours
    role = role or role_of(path, volume)
    if role not in ("reference", "prediction"):
        return Shown(volume, role, dict(names or {}), {})
    if names is None:
        names = own or names_beside(path)
    return Shown(volume, role, dict(names), colours or colours_beside(path, names))


def role_of(path: Path, volume: Volume) -> str:
    """image, reference, prediction, entropy or reliability: by name and folder, else by the values."""
    return role_by_name(path) or ("reference" if _looks_like_labels(volume) else "image")


def names_beside(path: Path) -> dict[int, str]:
    """Structure names from what lies beside a label map: {} where nothing names them.

    A description of the file's own name goes first, then a prediction's `<case>.json`, its run or data folder, and
    another description.
    """
    folder = path.parent.parent
    described = own_description(path)  # also what a user renamed
    if described:
        return {segment.value: segment.name for segment in described}
    stem = case_name(path)
    if stem.endswith("_labels"):  # a prediction names its structures itself
        record = read_object(path.with_name(f"{stem.removesuffix('_labels')}.json"))
        if predicted := predicted_names(record or {}):
            return predicted
    try:
        labels = _run_labels(folder) if path.parent.name == "predictions" else {}
        if not labels and any(is_folder(folder / name) for name in ("images", "imagesTr")):
            labels = stored_values(folder / "dataset.json")
        if not labels:
            return {segment.value: segment.name for segment in structures_in(path)}
    except (InputError, OSError):
        return {}
    return {value: name for name, value in labels.items()}


def colours_beside(path: Path, names: Mapping[int, str]) -> dict[int, str]:
    """Label value to `#RRGGBB` as a description beside a label map has it for these names; {} without."""
    try:
        found = {plain_name(one.name): one.colour for one in structures_in(path) if one.colour}
    except (InputError, OSError):
        return {}
    keys = {value: plain_name(name) for value, name in names.items()}
    return {value: found[key] for value, key in keys.items() if key in found}


def _run_labels(folder: Path) -> dict[str, int]:
    """Structures of a run; empty when the folder is none."""
    return Run.open(folder).labels if folder in Run.list(folder.parent) else {}


def role_by_name(path: Path) -> str:
    """What a file is by its name and its folder, "" where these say nothing."""
    if volume_suffix(path) == SEG_NRRD_SUFFIX or not volume_suffix(path):
        return "reference" if needs_image(path) else ""
    stem = path.name[: len(path.name) - len(volume_suffix(path))].lower()
    if path.parent.name in _LABEL_FOLDERS:
        return "reference"
    if path.parent.name in ("images", "imagesTr", "imagesTs"):
        return "image"
    for suffix, role in RESULT_SUFFIXES.items():
        if stem.endswith(suffix):
            return role if role != "prediction" or _is_result(path) else "reference"
    return "reference" if stem.endswith(_LABEL_SUFFIXES) else ""


def case_of_labels(path: Path) -> str:
    """The case of a label map by its name: `t2` of `t2_seg.nii.gz`; in a folder of labels the whole name."""
    name = case_name(path)
    ends = () if path.parent.name in _LABEL_FOLDERS else (_EDITED, "_labels", *_LABEL_SUFFIXES)
    found = (name[: -len(end)] for end in ends if name.lower().endswith(end))
    return next(found, "") or name


def _is_result(labels: Path) -> bool:
    """Whether what a prediction writes beside its `<case>_labels` is there: people call their labels like that, too."""
    case = case_name(labels)[: -len("_labels")]
    maps = (f"{case}{end}{volume_suffix(labels)}" for end in ("_entropy", "_reliability"))
    return (
        labels.parent.name == "predictions"
        or is_own_result(labels)
        or any(is_file(labels.with_name(name)) for name in maps)
    )


def _looks_like_labels(volume: Volume) -> bool:
    """Whether a sparse sample of the voxels holds only a few values, whole and not negative."""
    sample = np.unique(volume.array[::_SAMPLE, ::_SAMPLE, ::_SAMPLE])
    return bool(
        sample.size <= _MOST_LABELS
        and sample[0] == 0
        and sample[-1] <= 255
        and to_whole(sample, volume.value_step)[1] is None
    )
