"""MM-WHS as PnP-AdaNet and SIFA released it: TFRecords of coronal training slices, `.npz` test volumes.

Dou et al., IJCAI 2018; Chen et al., TMI 2020. A record holds three neighbouring slices (256, 256, 3) of z-scores
and their labels; the middle one is used. Records carry no subject, so every one becomes a case of a
single slice. A test volume has its slices along the last axis and is turned by half (axes 0 and 1) to lie
as the training slices do.

The release has no geometry. What is written is nominal: coronal slices, rows from head to feet, columns
from the patient's right to left, pixels of 1 mm and slices 2 mm apart (so that `axis: auto` cuts them
as released). Distances in millimetres mean nothing here: score in voxels.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_uda.convert.files import nothing_found, walk
from napari_uda.convert.layout import FoundCase
from napari_uda.convert.npz import read_npz_volume
from napari_uda.convert.tfrecord import read_example, record_places
from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.data.volume import Placement, Volume

_SUFFIXES = (".tfrecords", ".tfrecord", ".npz")
_MODALITY = re.compile(r"(?<![a-z])(ct|mr)(?![a-z])")
_PART = re.compile(r"(?<![a-z])(train|val|test)(?![a-z])")
_AFFINE = np.array([[-1.0, 0, 0, 0], [0, 0, -2, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def find_cases(source: Path) -> list[FoundCase]:
    """Slices and volumes below `source`; names of files, else of folders, say modality and part."""
    cases: list[FoundCase] = []
    for file in walk(source):
        if file.suffix.lower() not in _SUFFIXES:
            continue
        modality = _said(_MODALITY, file, source)
        if not modality:
            raise InputError(
                f"{shown(file)}: neither its name nor that of its folder says ct or mr; put it into a folder with such a name"
            )
        name = file.stem
        if file.suffix.lower() == ".npz":
            part = _said(_PART, file, source) or "test"
            cases.append(FoundCase(modality, name, part, shown(file), partial(_read_npz, file)))
            continue
        part = _said(_PART, file, source) or "train"
        places = record_places(file)
        for index, place in enumerate(places):
            case = name if len(places) == 1 else f"{name}_{index}"
            read = partial(_read_record, file, place)
            cases.append(FoundCase(modality, case, part, shown(file), read))
    if not cases:
        raise nothing_found(
            source, "files such as ct_train_slice0.tfrecords and test volumes as .npz"
        )
    return cases


def _said(pattern: re.Pattern[str], file: Path, source: Path) -> str:
    """What the file's name says, else the nearest folder's up to `source` itself."""
    inside = file.absolute().relative_to(source.absolute().parent)
    for name in reversed(inside.parts):
        match = pattern.search(name.lower())
        if match:
            return match[1]
    return ""


def _read_record(path: Path, place: tuple[int, int], _: Placement) -> tuple[Volume, Volume]:
    features = read_example(path, place)
    sides = []
    for axis in range(3):
        size = features.get(f"dsize_dim{axis}")
        if not isinstance(size, tuple) or len(size) != 1 or not 1 <= size[0] <= 4096:
            raise InputError(
                f"{shown(path)}: its dsize_dim{axis} is {size!r}, which is no size of a slice; check that SOURCE is this release"
            )
        sides.append(size[0])
    height, width, depth = sides
    image = _slice(features, "data_vol", (height, width, depth), path)
    labels = _slice(features, "label_vol", (height, width, depth), path)
    return Volume(image[None], _AFFINE, shown(path)), Volume(labels[None], _AFFINE, shown(path))


def _slice(
    features: dict[str, bytes | tuple[int, ...]], key: str, shape: tuple[int, int, int], path: Path
) -> NDArray[np.float32]:
    """The middle slice of float32 values stored as bytes; labels may hold that slice alone."""
    data = features.get(key)
    height, width, depth = shape
    stored = len(data) if isinstance(data, bytes) else 0
    if isinstance(data, bytes) and stored == height * width * 4 and key == "label_vol":
        values = np.frombuffer(data, "<f4").reshape(height, width)
    elif isinstance(data, bytes) and stored == height * width * depth * 4:
        values = np.frombuffer(data, "<f4").reshape(shape)[:, :, depth // 2]
    else:
        raise InputError(
            f"{shown(path)}: its {key} has {stored} bytes, not the {height * width * depth * 4} of "
            f"{height} x {width} x {depth} float32 values; copy it again"
        )
    _check_finite(values, path)
    return values.astype(np.float32)


def _read_npz(path: Path, _: Placement) -> tuple[Volume, Volume]:
    image, labels = read_npz_volume(path, "arr_0"), read_npz_volume(path, "arr_1")
    _check_finite(image, path)
    _check_finite(labels, path)
    name = shown(path)
    return (
        Volume(_turned(image).astype(np.float32), _AFFINE, f"{name}, image"),
        Volume(_turned(labels), _AFFINE, f"{name}, label"),
    )


def _turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """(rows, columns, slices) of a test volume as (slices, rows, columns), turned like the training slices."""
    return array[::-1, ::-1].transpose(2, 0, 1)


def _check_finite(array: NDArray[np.generic], path: Path) -> None:
    if not np.isfinite(np.asarray(array, np.float64)).all():
        raise InputError(f"{shown(path)}: has voxels that are NaN or infinite; copy it again")
