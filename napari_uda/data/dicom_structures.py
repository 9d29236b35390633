"""Which structures a DICOM SEG or RTSTRUCT declares, and which series they were drawn on; no voxels are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pydicom

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.data.dicom_headers import (
    DICOM_ERRORS,
    RTSTRUCT_CLASS,
    SEG_CLASSES,
    quiet_pydicom,
    sop_class,
)
from napari_uda.data.segments import Segment

_START_BYTES = 4096
"""Where every DICOM file has said what it is."""
_RTSTRUCT_SERIES = (
    "ReferencedFrameOfReferenceSequence",
    "RTReferencedStudySequence",
    "RTReferencedSeriesSequence",
)


def dicom_kind(file: Path) -> Literal["", "dicom-seg", "rtstruct"]:
    """Whether a file is a DICOM segmentation.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        start = stream.read(_START_BYTES)
    if not any(uid.encode() in start for uid in (RTSTRUCT_CLASS, *SEG_CLASSES)):
        return ""  # at once, for there may be a thousand slices
    found = sop_class(file)
    if found == RTSTRUCT_CLASS:
        return "rtstruct"
    return "dicom-seg" if found in SEG_CLASSES else ""


def declared_structures(file: Path, kind: str) -> list[Segment]:
    """The segments or structures of a file.

    Raises:
        InputError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            if kind == "dicom-seg":
                from napari_uda.data.dicom_seg import segments_of

                return segments_of(dataset)
            from napari_uda.data.rtstruct import structures_of

            return structures_of(dataset)
    except DICOM_ERRORS as error:
        raise InputError(f"{shown(file)}: is damaged; export it again") from error


def referenced_series(file: Path) -> set[str]:
    """UIDs of the series that a segmentation was drawn on, as far as it says so.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            items: list[Any] = list(dataset.get("ReferencedSeriesSequence") or [])
            above = [dataset]
            for name in _RTSTRUCT_SERIES:
                above = [item for part in above for item in part.get(name) or []]
            return {
                str(item.get("SeriesInstanceUID"))
                for item in (*items, *above)
                if item.get("SeriesInstanceUID")
            }
    except DICOM_ERRORS:
        return set()
