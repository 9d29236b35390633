"""Save layers as NIfTI on the grid of the file they came from, with nothing else in the header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume, write_volume
from napari_uda.gui.geometry import layer_volume


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


def _smallest(volume: Volume) -> np.ndarray:
    high = int(volume.array.max(initial=0))
    if high > np.iinfo(np.uint32).max or volume.array.min(initial=0) < 0:
        raise InputError(f"label {high} of '{volume.name}' cannot be stored; renumber the labels")
    return volume.array.astype(np.min_scalar_type(high), copy=False)


def _rebuilt(kind: type[Layer], data: Any, meta: dict[str, Any]) -> Layer:
    """The layer that npe2 took apart, with what decides its place."""
    keys = ("name", "scale", "translate", "rotate", "shear", "affine", "units", "metadata")
    return kind(data, **{key: meta[key] for key in keys if meta.get(key) is not None})
