"""What napari calls to open, save and show volumes: the reader, the writers and the samples of the manifest.

A file is opened as what it is: image, structures, or a result of this package. A layer is saved on the
grid of the file it came from, with nothing else in the header.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_uda.core.errors import InputError
from napari_uda.core.files import case_name, is_folder, volume_suffix
from napari_uda.data.folder import DataFolder
from napari_uda.data.labels import to_whole
from napari_uda.data.nifti import Placement
from napari_uda.data.volume import Volume, write_volume
from napari_uda.data.window import usual_window
from napari_uda.evaluation.learnt import learnt_from
from napari_uda.gui.kit import layers
from napari_uda.gui.kit.colormaps import RELIABILITY_NAMES, unnamed
from napari_uda.gui.kit.geometry import METADATA, displayed, layer_volume, tag
from napari_uda.gui.kit.layer_order import layer_name
from napari_uda.inference.results import read_origin
from napari_uda.run.roles import RESULT_SUFFIXES, Shown, case_of_labels, read_shown

_MOST_FILES, _MOST_FOLDERS = 20, 5
"""Looked at to tell whether a folder holds volumes."""

LayerData = tuple[Any, dict[str, Any], str]

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample_data"
"""Folder of the shipped volumes and the shipped models."""
MODEL = SAMPLES / "model"
TRANSLATOR = SAMPLES / "translator"


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """npe2 reader: a function that opens `path`, or None when it is no volume of ours."""
    paths = [path] if isinstance(path, str) else path
    return _read if all(is_ours(Path(one)) for one in paths) else None


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
    return shown_data(read_shown(path, role, names, placement))


def shown_data(shown: Shown) -> LayerData:
    """What `read_shown` gave, as layer data."""
    return layer_data(shown.volume, shown.role, shown.names, shown.colours)


def layer_data(
    volume: Volume,
    role: str,
    names: Mapping[int, str],
    colours: Mapping[int, str] = MappingProxyType({}),
) -> LayerData:
    """A volume as napari's layer data, with geometry, window, colours and names of its role.

    Args:
        volume: on its file's grid.
        role: image, reference, prediction, entropy or reliability.
        names: label value to structure name.
        colours: label value to `#RRGGBB`, for those that a file colours.
    """
    array, arguments = displayed(volume)
    own = arguments["metadata"][METADATA]
    own["role"] = role
    case, kind = volume.name, "labels"
    source, origin, fit = volume.source, None, None
    if role == "reference" and source is not None and case == case_name(source.path):
        own["case"] = case = case_of_labels(source.path)
    for suffix, result in RESULT_SUFFIXES.items():
        if role == result:
            own["case"] = case = case.removesuffix(suffix)
            if source is not None:
                origin, fit = read_origin(source.path.parent, case)
                if role == "prediction" and (corrected := learnt_from(source.path)):
                    own["corrected"] = corrected  # the Score dock leaves it out
    if origin is not None:
        own |= {"run": origin.title, "model": asdict(origin)} | ({"fit": fit} if fit else {})
    name = layer_name(case, *([role] if role != "image" else []), origin.title if origin else "")
    if role in ("image", "entropy"):
        kind = "image"
        make = layers.image_arguments if role == "image" else layers.entropy_arguments
        if role == "image":
            # from a sample: napari would look at every voxel, in the GUI thread
            arguments["contrast_limits"] = (volume.window or usual_window(array)).limits
        return array, {**make(name), **arguments}, kind
    if role == "reliability":
        own["names"] = dict(RELIABILITY_NAMES)
        return array, {**layers.reliability_arguments(name), **arguments}, kind
    array = _as_labels(array, volume.value_step)
    own["names"] = dict(names) or unnamed(np.unique(array))
    own["colours"] = dict(colours)
    looks = layers.labels_arguments(name, own["names"], colours)
    return array, {**looks, **arguments}, kind


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
    if tag(layer).get("role") == layers.DISPLAY:
        raise InputError(
            f"'{layer.name}' was resampled to be looked at; save the layer that it was made from"
        )
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
    from napari_uda.gui.kit.reader import read  # it builds on this module

    return read([Path(one) for one in ([path] if isinstance(path, str) else path)])


def is_ours(path: Path) -> bool:
    """Whether a file or folder holds what this package reads, as far as a quick look tells.

    Of a folder its first files are looked at, and those of its first folders.
    """
    try:
        if not is_folder(path):
            return bool(volume_suffix(path)) or _is_dicom(path)
        below = sorted(entry for entry in path.iterdir() if entry.is_dir())
        files = [
            file
            for folder in (path, *below[:_MOST_FOLDERS])
            for file in sorted(entry for entry in folder.iterdir() if entry.is_file())[:_MOST_FILES]
        ]
        return any(volume_suffix(file) or _is_dicom(file) for file in files)
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
