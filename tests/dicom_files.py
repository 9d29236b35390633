"""DICOM files for tests, written with pydicom: slices of a series, and enhanced files of many frames.

Geometry of all: columns go to the patient's left and rows to the back (axial, as scanners store it),
0.75 mm apart along x and 1.5 mm along y; the first pixel's centre is at (-7, -9, height) LPS.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SHAPE = (4, 6)


def item(**values: Any) -> Items:
    """A sequence of one item."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return Items([dataset])


def planes(count: int, dtype: str = "int16") -> np.ndarray:
    """Slices that tell themselves apart: 100 * slice + place in the slice."""
    plane = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    return (plane + 100 * np.arange(count)[:, None, None]).astype(dtype)


def image_dataset(pixels: np.ndarray, sop_class: str, **tags: Any) -> Dataset:
    """What every image holds: identity and pixels (stored values as they are)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.Modality = "MR"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.1"
    dataset.SeriesNumber = 1
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_slice(
    path: Path, plane: np.ndarray, position: Sequence[float] | float, **tags: Any
) -> Path:
    """One file of a single-frame series; a position given as one number is the height."""
    place = (-7.0, -9.0, float(position)) if np.isscalar(position) else position
    usual = {
        "Modality": "CT",
        "SOPInstanceUID": f"{tags.get('SeriesInstanceUID', '1.2.3.1')}.{zlib.crc32(path.name.encode())}",
        "ImagePositionPatient": list(place),  # type: ignore[arg-type]
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [1.5, 0.75],
        "SliceThickness": 5.0,
    }
    wanted = {key: value for key, value in {**usual, **tags}.items() if value is not None}
    return save(image_dataset(plane, CTImageStorage, **wanted), path)


def write_slices(
    folder: Path,
    pixels: np.ndarray,
    positions: Sequence[Any],
    each: Sequence[Mapping[str, Any]] = (),
    **tags: Any,
) -> Path:
    """A single-frame series: `each` holds what differs between its slices."""
    for number, (plane, position) in enumerate(zip(pixels, positions, strict=True)):
        own = dict(each[number]) if each else {}
        write_slice(
            folder / f"{tags.get('SeriesInstanceUID', 'IM')}_{number:03}.dcm",
            plane,
            position,
            **{"InstanceNumber": number + 1, **tags, **own},
        )
    return folder


def write_frames(
    path: Path,
    pixels: np.ndarray,
    positions: Sequence[Any],
    each: Sequence[Mapping[str, Any]] = (),
    **tags: Any,
) -> Path:
    """An enhanced MR file: `each` holds the further functional groups of every frame."""
    shared = {
        "PlaneOrientationSequence": item(ImageOrientationPatient=list(AXIAL)),
        "PixelMeasuresSequence": item(PixelSpacing=[1.5, 0.75], SliceThickness=3.0),
    }
    frames = []
    for number, position in enumerate(positions):
        place = (-7.0, -9.0, float(position)) if np.isscalar(position) else position
        groups = {
            "PlanePositionSequence": item(ImagePositionPatient=list(place)),
            **(each[number] if each else {}),
        }
        for name in groups:
            shared.pop(name, None)
        frames += item(**{name: group for name, group in groups.items() if group is not None})
    usual = {
        "SOPInstanceUID": "1.2.3.1.1",
        "NumberOfFrames": len(pixels),
        "SharedFunctionalGroupsSequence": item(**shared),
        "PerFrameFunctionalGroupsSequence": Items(frames),
    }
    wanted = {key: value for key, value in {**usual, **tags}.items() if value is not None}
    return save(image_dataset(pixels, EnhancedMRImageStorage, **wanted), path)


def scaled(slope: float, intercept: float = 0.0) -> dict[str, Any]:
    """The functional group of a frame's own scaling."""
    return {
        "PixelValueTransformationSequence": item(
            RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US"
        )
    }


def echo(milliseconds: float) -> dict[str, Any]:
    """The functional group of a frame's echo time."""
    return {"MREchoSequence": item(EffectiveEchoTime=milliseconds)}
