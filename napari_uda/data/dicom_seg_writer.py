"""Segmentations as DICOM SEG, through highdicom: one bit a voxel, one segment a structure."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from napari_uda.core.errors import InputError, UnfitFormatError
from napari_uda.core.files import atomic_file
from napari_uda.core.structure_colours import known_structure
from napari_uda.core.version import __version__
from napari_uda.data.dicom_headers import DICOM_ERRORS, quiet_pydicom
from napari_uda.data.dicom_source import LATIN_AND_ALL_OTHERS, DicomSource
from napari_uda.data.provenance import PROGRAM, Provenance, Structure
from napari_uda.data.segments import long_string
from napari_uda.data.volume import Volume

_CODES = {
    "aa": "AscendingAorta",
    "aorta": "Aorta",
    "lac": "LeftAtrium",
    "lv": "LeftVentricle",
    "lvc": "LeftVentricle",
    "rv": "RightVentricle",
    "ra": "RightAtrium",
    "liver": "Liver",
    "spleen": "Spleen",
    "left_kidney": "Kidney",
    "right_kidney": "Kidney",
    "pancreas": "Pancreas",
    "stomach": "Stomach",
    "gallbladder": "Gallbladder",
    "esophagus": "Esophagus",
    "prostate": "Prostate",
}
"""Structures to names of SNOMED CT codes in the standard's lists; whatever is not here is a tissue."""
_IN_COMMON = ("PixelMeasuresSequence", "PlaneOrientationSequence")
"""Groups that the frames of a volume have in common: its grid was found to be one."""
_SIDES = {"left_kidney": "Left", "right_kidney": "Right"}


def write_dicom_seg(
    path: Path, labels: NDArray[np.uint8], volume: Volume, source: DicomSource, about: Provenance
) -> None:
    """Write a DICOM segmentation that refers to the series it was made from, whole or not at all.

    Segments are numbered from 1 in the order of their label values; a structure that was not found keeps its
    segment. Frames without any structure are left out.

    Args:
        path: the file; missing folders are created.
        labels: `(Z, Y, X)` on the grid of `volume`.
        volume: the image.
        source: what it was read from.
        about: names, colours and model.

    Raises:
        UnfitFormatError: headers that do not allow it.
        InputError: a folder that cannot be written.
    """
    import highdicom as hd  # slow to import

    pixels = _numbered(source.arranged(labels, volume), about)
    check_one_file(source)
    many = source.holds_many_frames
    datasets = [_of_volume(source)] if many else [source.dataset(one) for one in source.frames]
    try:
        with quiet_pydicom():
            found = hd.seg.Segmentation(
                source_images=datasets,
                pixel_array=pixels,
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=_descriptions(about),
                series_instance_uid=hd.UID(),
                series_number=source.new_series_number,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer=PROGRAM,
                manufacturer_model_name=long_string(about.model),
                software_versions=__version__,
                device_serial_number=about.origin.hash or "unknown",
                omit_empty_frames=bool(pixels.any()),  # else it says so, to the log
                content_label="SEGMENTATION",
                content_description=long_string(f"{about.case} by {about.model}"),
                series_description=long_string(f"Segmentation by {about.model}"),
                specific_character_set=LATIN_AND_ALL_OTHERS,
            )
            if many:
                _refer_to_file(found, source)
            with atomic_file(path) as stream:
                found.save_as(stream, enforce_file_format=True)
    except InputError:
        raise
    except DICOM_ERRORS as error:
        cause = " ".join(str(error).split())
        raise UnfitFormatError(
            f"{source.name}: no DICOM segmentation can be made for it ({cause}); take --format nifti or seg-nrrd"
        ) from error


def check_one_file(source: DicomSource) -> None:
    """Refuse a volume of several files of many frames: one DICOM SEG refers to a single such file.

    Raises:
        UnfitFormatError: with another format as the remedy.
    """
    if source.holds_many_frames and len(source.datasets) > 1:
        raise UnfitFormatError(
            f"{source.name}: its slices lie in {len(source.datasets)} DICOM files of many frames, and a DICOM "
            "segmentation refers to one; take --format rtstruct, seg-nrrd or nifti"
        )


def _numbered(labels: NDArray[np.uint8], about: Provenance) -> NDArray[np.uint8]:
    """Segment numbers, which have no gaps, in place of label values."""
    numbers = np.zeros(256, np.uint8)
    for number, structure in enumerate(about.structures, start=1):
        numbers[structure.value] = number
    return numbers[labels]


def _of_volume(source: DicomSource) -> Any:
    """The header of a file of many frames, as if it held those of the volume alone, in their order.

    Others, such as those of another echo, lie at the same places, which highdicom takes for an error. It looks
    for what all frames have in common among the shared groups alone, and some scanners state it for every frame.
    """
    header = copy.copy(source.first)
    groups = header.PerFrameFunctionalGroupsSequence
    frames = [groups[frame.index] for frame in source.frames]
    shared = copy.copy((header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0])
    for keyword in _IN_COMMON:
        if keyword not in shared and keyword in frames[0]:
            setattr(shared, keyword, frames[0][keyword].value)
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = frames
    header.NumberOfFrames = len(source.frames)
    return header


def _refer_to_file(found: Any, source: DicomSource) -> None:
    """Let every frame refer to the one of the file that it was made from, which `_of_volume` renumbered."""
    images = {
        id(image): image  # several segments share one
        for group in found.PerFrameFunctionalGroupsSequence
        for derivation in group.get("DerivationImageSequence", ())
        for image in derivation.SourceImageSequence
    }
    for image in images.values():
        frame = source.frames[int(image.ReferencedFrameNumber) - 1]
        image.ReferencedFrameNumber = frame.index + 1


def _descriptions(about: Provenance) -> list[Any]:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    parameters = {"weights_sha256": about.origin.hash, "adapted_by": about.origin.adapted_by}
    algorithm = hd.AlgorithmIdentificationSequence(
        name=long_string(about.model),
        family=codes.cid7162.ArtificialIntelligence,
        version=__version__,
        source=PROGRAM,
        parameters={key: value for key, value in parameters.items() if value} or None,
    )
    return [
        _description(number, structure, algorithm)
        for number, structure in enumerate(about.structures, start=1)
    ]


def _description(number: int, structure: Structure, algorithm: Any) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    key = known_structure(structure.name)
    code = _CODES.get(key)
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=long_string(structure.name) or str(structure.value),
        segmented_property_category=codes.SCT.AnatomicalStructure if code else codes.SCT.Tissue,
        segmented_property_type=getattr(codes.SCT, code) if code else codes.SCT.Tissue,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        display_color=hd.color.CIELabColor.from_rgb(*structure.rgb),
    )
    description.SegmentDescription = f"label value {structure.value}"
    if key in _SIDES:
        side = getattr(codes.SCT, _SIDES[key])
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [
            hd.sr.CodedConcept(side.value, side.scheme_designator, side.meaning)
        ]
    return description
