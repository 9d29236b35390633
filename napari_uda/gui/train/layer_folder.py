"""Layers of the viewer as a data folder, so that training reads them like any other data."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.files import cannot_write
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import Volume, write_volume
from napari_uda.gui.kit.geometry import layer_volume
from napari_uda.gui.kit.layers import structure_names

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_uda.gui.train.domain_chooser import LayerDomain


def domain_volumes(domain: LayerDomain) -> tuple[Volume, Volume | None]:
    """Image and labels as volumes on their files' grids, the labels as uint8, both under one case name.

    Raises:
        InputError: if a layer is no single volume, or a label value is above 255.
    """
    image = layer_volume(domain.image)
    case = re.sub(r"[^\w.-]+", "_", image.name).strip("._") or "case"
    image = Volume(image.array, image.affine, case)
    if domain.labels is None:
        return image, None
    labels = layer_volume(domain.labels)
    top = int(labels.array.max(initial=0))
    if top > 255 or int(labels.array.min(initial=0)) < 0:
        raise InputError(
            f"layer '{domain.labels.name}' holds label {top}; remap its labels to 0 to 255"
        )
    return image, Volume(labels.array.astype(np.uint8), labels.affine, case)


def domain_names(layer: Labels, values: np.ndarray) -> dict[str, int]:
    """Structure names of a labels layer by name; `label_<value>` for values without one."""
    names = structure_names(layer)
    return {names.get(value, f"label_{value}"): value for value in map(int, values) if value}


def write_folder(
    folder: Path, domains: Mapping[str, LayerDomain], stop: threading.Event
) -> dict[str, Path]:
    """Write each domain into `folder/<domain>` as a data folder: all of them or nothing.

    Args:
        folder: a folder of its own; what it held is replaced.
        domains: name (source, target) to its layers.
        stop: when set, nothing is written.

    Returns:
        The data folder of each domain.

    Raises:
        Cancelled: if `stop` was set.
        InputError: see `domain_volumes`; or the folder cannot be written.
    """
    aside = folder.parent / f".{folder.name}.{os.getpid()}.tmp"  # in the same file system
    try:
        for name, domain in domains.items():
            image, labels = domain_volumes(domain)
            write_volume(aside / name / "images" / f"{image.name}.nii.gz", image)
            structures: dict[str, int] = {}
            if labels is not None and domain.labels is not None:
                write_volume(aside / name / "labels" / f"{image.name}.nii.gz", labels)
                structures = domain_names(domain.labels, np.unique(labels.array))
            write_dataset_json(aside / name, structures, domain.modality)
        if stop.is_set():
            raise Cancelled
        shutil.rmtree(folder, ignore_errors=True)
        aside.replace(folder)
    except InputError as error:
        if isinstance(error.__cause__, OSError):  # nobody knows the folder aside
            said = cannot_write(folder.name, folder.parent, error.__cause__)
            raise InputError(said) from error
        raise
    except OSError as error:
        raise InputError(cannot_write(folder.name, folder.parent, error)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return {name: folder / name for name in domains}
