"""CHAOS (ISBI 2019): DICOM slices and one PNG per slice, `MR/<id>/T2SPIR` and `CT/<id>`, each with `DICOM_anon` and `Ground`.

Kavur et al., Medical Image Analysis 69, 2021. The n-th PNG belongs to the n-th DICOM file in order of
name, not of position: CT series may be stored from head to feet. Every file names a series of its own, so the
slices are ordered by their positions and not by what they say about their series. T1-DUAL is passed over.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from napari_uda.convert.files import natural, nothing_found, walk
from napari_uda.convert.layout import FoundCase
from napari_uda.core.errors import InputError
from napari_uda.data.dicom import read_dicom_files
from napari_uda.data.itk import read_png
from napari_uda.data.volume import Placement, Volume

_SLICE = re.compile(
    r".*/(?:CT/(?P<ct>\d+)|MR/(?P<mr>\d+)/T2SPIR)/(?:DICOM_anon/[^/]+\.dcm|Ground/[^/]+\.png)",
    re.IGNORECASE,
)


def find_cases(source: Path) -> list[FoundCase]:
    """The labelled patients below `source` (all of `Train_Sets`, or CT or MR of it alone)."""
    slices: dict[tuple[str, str], list[Path]] = {}
    for file in walk(source):
        match = _SLICE.fullmatch(file.absolute().as_posix())
        if match and "test_sets" not in map(str.lower, file.relative_to(source).parts):
            case = ("ct", match["ct"]) if match["ct"] else ("mr", match["mr"])
            slices.setdefault(case, []).append(file)
    if not slices:
        raise nothing_found(source, "MR/1/T2SPIR/DICOM_anon or CT/1/DICOM_anon")
    return [_found(domain, number, files) for (domain, number), files in slices.items()]


def _found(domain: str, number: str, files: list[Path]) -> FoundCase:
    title = f"{domain.upper()}/{number}"
    files = sorted(files, key=lambda file: natural(file.stem))
    images, labels = (
        [file for file in files if file.suffix.lower() == suffix] for suffix in (".dcm", ".png")
    )
    if len(images) != len(labels):
        raise InputError(
            f"{title}: has {len(images)} DICOM slices and {len(labels)} PNG label slices; "
            "unpack the release again, or move the patient out of SOURCE"
        )
    stems = [{file.stem.lower() for file in files} for files in (images, labels)]
    if stems[0] & stems[1] and stems[0] != stems[1]:  # MR: equal names
        odd = min(stems[1] - stems[0])
        raise InputError(
            f"{title}: {odd}.png has no DICOM slice of the same name; unpack the release again"
        )
    name = f"chaos_{domain}_{int(number):02d}"
    read = partial(_read, title, images, labels)
    return FoundCase(domain, name, str(int(number)), f"{title}/Ground", read)


def _read(
    title: str, images: list[Path], labels: list[Path], _: Placement
) -> tuple[Volume, Volume]:
    array, affine, order = read_dicom_files(images, title)
    planes = np.empty(array.shape, np.uint8)
    for z, index in enumerate(order):
        plane = read_png(labels[index])
        if plane.shape != planes[z].shape:
            raise InputError(
                f"{title}: {labels[index].name} has {plane.shape[1]} x {plane.shape[0]} pixels and its DICOM slice "
                f"{planes[z].shape[1]} x {planes[z].shape[0]}; unpack the release again"
            )
        planes[z] = plane
    return Volume(array, affine, title), Volume(planes, affine, f"{title}/Ground")
