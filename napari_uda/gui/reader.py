"""Open medical volumes: images, structures, and this package's own results, each as what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_uda.core.errors import InputError
from napari_uda.core.files import VOLUME_SUFFIXES, is_folder, volume_suffix
from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import Volume, read_volume
from napari_uda.gui import layers
from napari_uda.gui.colours import RELIABILITY_NAMES, unnamed
from napari_uda.gui.geometry import METADATA, displayed

LayerData = tuple[Any, dict[str, Any], str]

_RESULT_SUFFIXES = {"_labels": "prediction", "_entropy": "entropy", "_reliability": "reliability"}
_LABEL_FOLDERS = ("labels", "labelsTr", "labelsTs")
_LABEL_SUFFIXES = ("_label", "_seg", "_mask", "_gt", "-label", "-labels")
_MOST_LABELS = 32
_SAMPLE = 4


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """npe2 reader: a function that opens `path`, or None when it is no volume of ours."""
    paths = [path] if isinstance(path, str) else path
    return _read if all(_is_volume(Path(one)) for one in paths) else None


def read_layers(path: Path, role: str = "", names: Mapping[int, str] | None = None) -> LayerData:
    """Read one volume as layer data.

    Args:
        path: NIfTI, NRRD, MHA file or folder of a DICOM series.
        role: image, reference, prediction, entropy or reliability; empty decides by the file's name,
            its folder and its values.
        names: label value to structure name; None looks into the data folder's dataset.json.

    Raises:
        InputError: if the file cannot be read.
    """
    volume = read_volume(path)
    role = role or _role_by_name(path) or ("reference" if _looks_like_labels(volume) else "image")
    if role == "reliability":
        names = RELIABILITY_NAMES
    elif names is None and role in ("reference", "prediction"):
        names = _names_beside(path)
    return layer_data(volume, role, names or {})


def layer_data(volume: Volume, role: str, names: Mapping[int, str]) -> LayerData:
    """A volume as napari's layer data, with geometry, colours and names of its role."""
    array, arguments = displayed(volume)
    own = arguments["metadata"][METADATA]
    own["role"] = role
    case, kind = volume.name, "labels"
    for suffix, result in _RESULT_SUFFIXES.items():
        if role == result:
            own["case"] = case.removesuffix(suffix)
    if role in ("image", "entropy"):
        kind = "image"
        make = layers.image_arguments if role == "image" else layers.entropy_arguments
        return array, {**make(case), **arguments}, kind
    if role == "reliability":
        own["names"] = dict(RELIABILITY_NAMES)
        return array, {**layers.reliability_arguments(case), **arguments}, kind
    array = _as_labels(array)
    own["names"] = dict(names) or unnamed(np.unique(array))
    title = f"{case} {role}" if role == "reference" else case
    return array, {**layers.labels_arguments(title, own["names"]), **arguments}, kind


def _read(path: str | list[str]) -> list[LayerData]:
    paths = [path] if isinstance(path, str) else path
    return [read_layers(Path(one)) for one in paths]


def _is_volume(path: Path) -> bool:
    if not is_folder(path):
        return volume_suffix(path) in VOLUME_SUFFIXES
    try:
        return any(_is_dicom(file) for file in sorted(path.iterdir())[:5] if file.is_file())
    except OSError:  # what cannot be looked into is not claimed
        return False


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _role_by_name(path: Path) -> str:
    stem = path.name[: len(path.name) - len(volume_suffix(path))].lower()
    if path.parent.name in _LABEL_FOLDERS:
        return "reference"
    if path.parent.name in ("images", "imagesTr", "imagesTs"):
        return "image"
    for suffix, role in _RESULT_SUFFIXES.items():
        if stem.endswith(suffix):
            return role
    return "reference" if stem.endswith(_LABEL_SUFFIXES) else ""


def _looks_like_labels(volume: Volume) -> bool:
    """Whether a sparse sample of the voxels holds only a few values, whole and not negative."""
    sample = np.unique(volume.array[::_SAMPLE, ::_SAMPLE, ::_SAMPLE])
    return bool(
        sample.size <= _MOST_LABELS
        and sample[0] == 0
        and sample[-1] <= 255
        and np.array_equal(sample, np.round(sample))
    )


def _as_labels(array: np.ndarray) -> np.ndarray:
    """Values as the smallest unsigned integers that hold them: napari refuses float labels."""
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if low < 0 or high > np.iinfo(np.uint32).max or not np.array_equal(array, np.round(array)):
        raise InputError(
            f"labels must be whole numbers from 0 on, found {low} to {high}; open the file as an image"
        )
    return array.astype(np.min_scalar_type(int(high)), copy=False)


def _names_beside(path: Path) -> dict[int, str]:
    """Structure names of the run or data folder the file lies in; empty when it lies in none."""
    folder = path.parent.parent
    try:
        labels = _run_labels(folder) if path.parent.name == "predictions" else {}
        labels = labels or DataFolder.open(folder).labels
    except InputError:
        return {}
    return {value: name for name, value in labels.items()}


def _run_labels(folder: Path) -> dict[str, int]:
    """Structures of a run; empty when the folder is none."""
    from napari_uda.run.run import Run

    return Run.open(folder).labels if folder in Run.list(folder.parent) else {}
