"""Segmentations as DICOM RTSTRUCT: outlines of every structure, slice by slice."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from napari_uda.core.files import atomic_file
from napari_uda.core.version import __version__
from napari_uda.data.dicom_headers import Frame, quiet_pydicom
from napari_uda.data.dicom_source import (
    LATIN_AND_ALL_OTHERS,
    DicomSource,
    copy_patient_and_study,
)
from napari_uda.data.outlines import outlines
from napari_uda.data.provenance import PROGRAM, Provenance, Structure
from napari_uda.data.segments import long_string
from napari_uda.data.volume import Volume

_CONTOUR_DATA = Tag("ContourData")
_STUDY = "1.2.840.10008.3.1.2.3.1"
"""Class of the study that a structure set refers to: retired, but asked for."""
_DECIMALS = 5  # of a millimetre; voxels are 0.005 mm at least
_ROOT = None  # UIDs made of random numbers (2.25.)


def write_rtstruct(
    path: Path, labels: NDArray[np.uint8], volume: Volume, source: DicomSource, about: Provenance
) -> None:
    """Write a structure set that refers to the series it was made from, whole or not at all.

    A structure's outlines run along the edges of its pixels, half a pixel outside of the centres of its outermost
    ones, and holes are outlines of their own: see `outlines.outlines`. They lie in the plane of the slice.

    Args:
        path: the file; missing folders are created.
        labels: `(Z, Y, X)` on the grid of `volume`.
        volume: the image.
        source: what it was read from.
        about: names, colours and model.

    Raises:
        InputError: a volume that lies elsewhere than its series, or a folder that cannot be written.
    """
    planes = source.arranged(labels, volume)
    with quiet_pydicom():
        dataset = _structure_set(source, about)
        dataset.StructureSetROISequence = Items(
            [_roi(structure, source) for structure in about.structures]
        )
        dataset.ROIContourSequence = Items(
            [_contours(structure, planes, source) for structure in about.structures]
        )
        dataset.RTROIObservationsSequence = Items(
            [_observation(structure) for structure in about.structures]
        )
        with atomic_file(path) as stream:
            dataset.save_as(stream, enforce_file_format=True)


def _item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _structure_set(source: DicomSource, about: Provenance) -> Dataset:
    """Everything but the structures: patient, study, model and what is referred to."""
    now = datetime.datetime.now()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = RTStructureSetStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(_ROOT)
    dataset.SpecificCharacterSet = LATIN_AND_ALL_OTHERS
    copy_patient_and_study(source, dataset)
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = generate_uid(_ROOT)
    dataset.SeriesNumber = source.new_series_number
    dataset.SeriesDescription = long_string(f"Structures by {about.model}")
    dataset.OperatorsName = ""
    dataset.Manufacturer = PROGRAM
    dataset.ManufacturerModelName = long_string(about.model)
    dataset.SoftwareVersions = __version__
    dataset.InstanceCreationDate = dataset.StructureSetDate = now.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.StructureSetTime = now.strftime("%H%M%S")
    dataset.StructureSetLabel = "SEGMENTATION"
    dataset.StructureSetName = long_string(f"{about.case} by {about.model}")
    dataset.StructureSetDescription = about.described_model()
    dataset.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    dataset.PositionReferenceIndicator = source.first.get("PositionReferenceIndicator") or ""
    series = _item(
        SeriesInstanceUID=source.first.SeriesInstanceUID,
        ContourImageSequence=Items(
            [
                _item(
                    ReferencedSOPClassUID=one.SOPClassUID,
                    ReferencedSOPInstanceUID=one.SOPInstanceUID,
                )
                for one in source.datasets.values()
            ]
        ),
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=source.first.StudyInstanceUID,
        RTReferencedSeriesSequence=Items([series]),
    )
    dataset.ReferencedFrameOfReferenceSequence = Items(
        [
            _item(
                FrameOfReferenceUID=source.first.FrameOfReferenceUID,
                RTReferencedStudySequence=Items([study]),
            )
        ]
    )
    return dataset


def _roi(structure: Structure, source: DicomSource) -> Dataset:
    return _item(
        ROINumber=structure.value,
        ReferencedFrameOfReferenceUID=source.first.FrameOfReferenceUID,
        ROIName=long_string(structure.name) or str(structure.value),
        ROIGenerationAlgorithm="AUTOMATIC",
    )


def _observation(structure: Structure) -> Dataset:
    return _item(
        ObservationNumber=structure.value,
        ReferencedROINumber=structure.value,
        RTROIInterpretedType="",
        ROIInterpreter="",
    )


def _contours(structure: Structure, planes: NDArray[np.uint8], source: DicomSource) -> Dataset:
    """The outlines of a structure in all slices."""
    found: list[Dataset] = []
    for plane, frame in zip(planes, source.frames, strict=True):
        for data, count in _in_millimetres(plane == structure.value, frame):
            contour = _item(
                ContourImageSequence=Items([_reference(frame, source)]),
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=count,
                ContourNumber=len(found) + 1,
            )
            contour[_CONTOUR_DATA] = DataElement(
                _CONTOUR_DATA, "DS", data, already_converted=True
            )  # a million numbers one by one would take minutes
            found.append(contour)
    roi = _item(ReferencedROINumber=structure.value, ROIDisplayColor=list(structure.rgb))
    if found:
        roi.ContourSequence = Items(found)
    return roi


def _reference(frame: Frame, source: DicomSource) -> Dataset:
    dataset = source.dataset(frame)
    reference = _item(
        ReferencedSOPClassUID=dataset.SOPClassUID, ReferencedSOPInstanceUID=dataset.SOPInstanceUID
    )
    if source.holds_many_frames:
        reference.ReferencedFrameNumber = frame.index + 1
    return reference


def _in_millimetres(mask: NDArray[np.bool_], frame: Frame) -> Iterator[tuple[str, int]]:
    """Every outline as DICOM writes it: x, y and z (LPS) of its corners, and their number."""
    if not mask.any():
        return
    directions = np.reshape(np.array(frame.orientation, np.float64), (2, 3))
    across, down = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    rows_apart, columns_apart = frame.spacing
    for corners in outlines(mask):
        row, column = corners[:, :1], corners[:, 1:]
        points = frame.position + column * columns_apart * across + row * rows_apart * down
        yield "\\".join(_number(value) for value in points.ravel().tolist()), len(points)


def _number(value: float) -> str:
    """At most 16 characters, and no negative zero."""
    return f"{round(value, _DECIMALS) + 0.0:.{_DECIMALS}f}".rstrip("0").rstrip(".")
