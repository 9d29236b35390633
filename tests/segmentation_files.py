"""Segmentations for tests: DICOM SEG written by highdicom, RTSTRUCT by pydicom, `.seg.nrrd` by SimpleITK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from dicom_files import AXIAL, item, planes, save, write_slices
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

PATIENT = {
    "PatientID": "p1", "PatientName": "p^1", "PatientBirthDate": "", "PatientSex": "", "StudyID": "",
    "StudyDate": "20260101", "StudyTime": "000000", "AccessionNumber": "", "ReferringPhysicianName": "",
    "FrameOfReferenceUID": "1.2.3.9", "PositionReferenceIndicator": "",
}  # fmt: skip


def write_image(folder: Path, count: int = 5, **tags: Any) -> Path:
    """A DICOM series that a segmentation can be drawn on: slices 3 mm apart, shape (count, 4, 6)."""
    positions = [3.0 * number for number in range(count)]
    return write_slices(folder, planes(count), positions, **{**PATIENT, **tags})


def series(folder: Path) -> list[Dataset]:
    found = [dcmread(file) for file in sorted(folder.iterdir())]
    return sorted(found, key=lambda one: float(one.ImagePositionPatient[2]))


def write_seg(
    path: Path,
    image: Path,
    labels: np.ndarray,
    names: Mapping[int, str],
    kind: str = "BINARY",
    colours: Mapping[int, tuple[int, int, int]] | None = None,
    **options: Any,
) -> Path:
    """A DICOM SEG of a label map (Z, Y, X), or of (Z, Y, X, N) fractions or masks."""
    import highdicom as hd
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes

    described = [
        SegmentDescription(
            segment_number=number,
            segment_label=names[number],
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type="MANUAL",
            display_color=hd.color.CIELabColor.from_rgb(*colours[number]) if colours else None,
        )
        for number in sorted(names)
    ]
    made = Segmentation(
        source_images=series(image),
        pixel_array=labels,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=9,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return path


def write_rtstruct(
    path: Path,
    structures: Sequence[tuple[str, Sequence[Sequence[Sequence[float]]]]],
    colours: Sequence[tuple[int, int, int]] = (),
    kind: str = "CLOSED_PLANAR",
    **tags: Any,
) -> Path:
    """An RTSTRUCT: name and contours of each structure, corners (x, y, z) in LPS+ millimetres."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", "1.2.3.8"
    dataset.StudyInstanceUID = "1.2.3"
    frame = tags.pop("frame_of_reference", "1.2.3.9")
    drawn_on = tags.pop("drawn_on", "1.2.3.1")
    dataset.ReferencedFrameOfReferenceSequence = item(
        RTReferencedStudySequence=item(RTReferencedSeriesSequence=item(SeriesInstanceUID=drawn_on))
    )
    dataset.StructureSetROISequence, dataset.ROIContourSequence = Items(), Items()
    for number, (name, contours) in enumerate(structures, start=1):
        roi = item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=frame)
        dataset.StructureSetROISequence += roi
        drawn = Items()
        for corners in contours:
            flat = [float(f"{value:.6g}") for corner in corners for value in corner]
            drawn += item(
                ContourGeometricType=kind, NumberOfContourPoints=len(corners), ContourData=flat
            )
        contour = item(ReferencedROINumber=number, ContourSequence=drawn)
        if colours:
            contour[0].ROIDisplayColor = list(colours[number - 1])
        dataset.ROIContourSequence += contour
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return save(dataset, path)


def write_seg_nrrd(
    path: Path,
    layers: np.ndarray,
    segments: Sequence[Mapping[str, str]],
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> Path:
    """A segmentation as 3D Slicer writes it: layers (Z, Y, X) or (N, Z, Y, X), and keys of each segment."""
    image = sitk.GetImageFromArray(
        np.moveaxis(layers, 0, -1) if layers.ndim == 4 else layers, isVector=layers.ndim == 4
    )
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    for number, fields in enumerate(segments):
        for key, value in fields.items():
            image.SetMetaData(f"Segment{number}_{key}", value)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


__all__ = ["AXIAL", "series", "write_image", "write_rtstruct", "write_seg", "write_seg_nrrd"]
