"""What napari calls to open, save and show volumes: the reader, the writers and the samples of the manifest.

A file is opened as what it is: image, structures, or a result of this package. A layer is saved on the
grid of the file it came from, with nothing else in the header.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_uda.core.errors import InputError
from napari_uda.core.files import is_folder, volume_suffix
from napari_uda.data.folder import DataFolder
from napari_uda.data.labels import to_whole
from napari_uda.data.nifti import Placement, TwoPlacements
from napari_uda.data.segmentation import kind_of
from napari_uda.data.volume import Volume, write_volume
from napari_uda.evaluation.learnt import learnt_from
from napari_uda.gui.kit import layers
from napari_uda.gui.kit.colormaps import RELIABILITY_NAMES, unnamed
from napari_uda.gui.kit.geometry import METADATA, displayed, layer_volume
from napari_uda.gui.kit.placement_question import ask_placement, window_in_use
from napari_uda.run.roles import RESULT_SUFFIXES, names_beside, read_shown, role_of

LayerData = tuple[Any, dict[str, Any], str]

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample_data"
"""Folder of the shipped volumes and the shipped model."""
MODEL = SAMPLES / "model"


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """npe2 reader: a function that opens `path`, or None when it is no volume of ours."""
    paths = [path] if isinstance(path, str) else path
    return _read if all(_is_volume(Path(one)) for one in paths) else None


def read_layers(
    path: Path,
    role: str = "",
    names: Mapping[int, str] | None = None,
    placement: Placement = "auto",
) -> LayerData:
    """Read one volume as layer data.

    Args:
        path: any volume file, a DICOM SEG, or the folder of a DICOM series.
        role: image, reference, prediction, entropy or reliability; empty decides by name and values.
        names: label value to structure name; None looks into the data folder's dataset.json.
        placement: which of sform and qform is trusted where a NIfTI file has both.

    Raises:
        InputError: if the file cannot be read.
    """
    volume, own = read_shown(path, placement)
    role = role or role_of(path, volume)
    corrected = learnt_from(path) if role == "prediction" else ""
    if role == "reliability":
        names = RELIABILITY_NAMES
    elif names is None and role in ("reference", "prediction"):
        names = own or names_beside(path)
    data = layer_data(volume, role, names or {})
    if corrected:  # the Score dock leaves it out
        data[1]["metadata"][METADATA]["corrected"] = corrected
    return data


def layer_data(volume: Volume, role: str, names: Mapping[int, str]) -> LayerData:
    """A volume as napari's layer data, with geometry, colours and names of its role."""
    array, arguments = displayed(volume)
    own = arguments["metadata"][METADATA]
    own["role"] = role
    case, kind = volume.name, "labels"
    for suffix, result in RESULT_SUFFIXES.items():
        if role == result:
            own["case"] = case.removesuffix(suffix)
    if role in ("image", "entropy"):
        kind = "image"
        make = layers.image_arguments if role == "image" else layers.entropy_arguments
        return array, {**make(case), **arguments}, kind
    if role == "reliability":
        own["names"] = dict(RELIABILITY_NAMES)
        return array, {**layers.reliability_arguments(case), **arguments}, kind
    array = _as_labels(array, volume.value_step)
    own["names"] = dict(names) or unnamed(np.unique(array))
    title = f"{case} {role}" if role == "reference" else case
    return array, {**layers.labels_arguments(title, own["names"]), **arguments}, kind


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """npe2 writer of one image layer; returns the written path."""
    return write_layer(path, _rebuilt(Image, data, meta))


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """npe2 writer of one labels layer; returns the written path."""
    return write_layer(path, _rebuilt(Labels, data, meta))


def write_layer(path: str | Path, layer: Layer) -> list[str]:
    """Write a layer onto its file's own grid.

    The array has the axes of the file it was read from, and its affine bit for bit; names, dates and
    every other text of that file are left behind. Labels up to 255 are stored as uint8.

    Args:
        path: ends in `.nii.gz` or `.nii`; `.nii.gz` is added when it does not.
        layer: image or labels.

    Returns:
        The written path, as npe2 wants it.

    Raises:
        InputError: if the layer is no 3-D volume or the folder cannot be written.
    """
    target = Path(path)
    if not target.name.endswith((".nii", ".nii.gz")):
        target = target.with_name(target.name + ".nii.gz")
    volume = layer_volume(layer)
    if isinstance(layer, Labels):
        volume = volume.with_array(_smallest(volume))
    write_volume(target, volume)
    return [str(target)]


def ct_labelled() -> list[LayerData]:
    """The first CT with its labels."""
    return _sample_case("ct", labelled=True)


def mr() -> list[LayerData]:
    """The first MR, as a new patient comes: without labels."""
    return _sample_case("mr", labelled=False)


def mr_labelled() -> list[LayerData]:
    """The first MR with the labels that a prediction can be scored against."""
    return _sample_case("mr", labelled=True)


def _read(path: str | list[str]) -> list[LayerData]:
    paths = [path] if isinstance(path, str) else path
    return [_read_one(Path(one)) for one in paths]


def _read_one(path: Path) -> LayerData:
    """Read a file; the user is asked where it says twice, and differently, where it lies."""
    try:
        return read_layers(path)
    except TwoPlacements as found:
        window = window_in_use()
        chosen = ask_placement(found, window) if window else None
        if chosen is None:
            raise
        return read_layers(path, placement=chosen)


def _is_volume(path: Path) -> bool:
    try:
        if not is_folder(path):
            return bool(volume_suffix(path)) or kind_of(path) == "dicom-seg"
        return any(_is_dicom(file) for file in sorted(path.iterdir())[:5] if file.is_file())
    except OSError:  # what cannot be looked into is not claimed
        return False


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _as_labels(array: np.ndarray, value_step: float) -> np.ndarray:
    """Values as the smallest unsigned integers that hold them: napari refuses float labels."""
    array, wrong = to_whole(array, value_step)
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if low < 0 or high > np.iinfo(np.uint32).max or wrong is not None:
        raise InputError(
            f"labels must be whole numbers from 0 on, found {low} to {high}; open the file as an image"
        )
    return array.astype(np.min_scalar_type(int(high)), copy=False)


def _smallest(volume: Volume) -> np.ndarray:
    high = int(volume.array.max(initial=0))
    if high > np.iinfo(np.uint32).max or volume.array.min(initial=0) < 0:
        raise InputError(f"label {high} of '{volume.name}' cannot be stored; renumber the labels")
    return volume.array.astype(np.min_scalar_type(high), copy=False)


def _rebuilt(kind: type[Layer], data: Any, meta: dict[str, Any]) -> Layer:
    """The layer that npe2 took apart, with what decides its place."""
    keys = ("name", "scale", "translate", "rotate", "shear", "affine", "units", "metadata")
    return kind(data, **{key: meta[key] for key in keys if meta.get(key) is not None})


def _sample_case(modality: str, *, labelled: bool) -> list[LayerData]:
    folder = DataFolder.open(SAMPLES / modality)
    case = folder.cases[0]
    names = {value: name for name, value in folder.labels.items()}
    found = [read_layers(case.image, "image")]
    if labelled and case.label is not None:
        found.append(read_layers(case.label, "reference", names))
    return found
