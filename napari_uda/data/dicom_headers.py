"""Headers of DICOM files: every image plane with its place, its scaling and what tells it from others."""

from __future__ import annotations

import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from napari_uda.core.warning_filters import own_warning_filters
from napari_uda.data.window import Window

DICOM_ERRORS = (
    pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException, struct.error,
    zlib.error, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, EOFError,
    RuntimeError, OverflowError, AssertionError,
)  # fmt: skip
"""What pydicom raises on damaged files; a RecursionError is a RuntimeError."""

_DIRECTORY = "1.2.840.10008.1.3.10"
SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes of DICOM SEG: one bit or fraction per segment, and label maps."""
RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_NO_IMAGES = {
    SEG_CLASSES[0]: "a segmentation (DICOM SEG)",
    SEG_CLASSES[1]: "a segmentation (DICOM SEG, label map)",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
    RTSTRUCT_CLASS: "radiotherapy structures (RTSTRUCT)",
}
_DEPTHS = {8, 16, 32}
_MOSAICS = {"MOSAIC", "VFRAME"}
"""Types of images of Siemens and of United Imaging that hold the slices of a volume."""
_FLOAT_PIXELS = ("FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class Mark:
    """Something that may differ between several images of one position."""

    name: str
    unit: str
    groups: tuple[tuple[str, ...], ...]
    """Where it stands in an enhanced file: paths of functional groups, the last part its keyword."""
    keyword: str
    """Its keyword in a single-frame file, or ""."""
    ranked: bool = False
    """Whether only the order of values counts, as with times that differ from slice to slice."""


MARKS = (
    Mark("echo time", " ms", (("MREchoSequence", "EffectiveEchoTime"),), "EchoTime"),
    Mark("b-value", "", (("MRDiffusionSequence", "DiffusionBValue"),), "DiffusionBValue"),
    Mark(
        "image type",
        "",
        tuple(
            (f"{kind}FrameTypeSequence", "FrameType")
            for kind in ("MRImage", "MRSpectroscopy", "CTImage", "PET", "ParametricMap", "XAXRF")
        ),
        "ImageType",
    ),
    Mark(
        "component",
        "",
        (("MRImageFrameTypeSequence", "ComplexImageComponent"),),
        "ComplexImageComponent",
    ),
    Mark("echo", "", (), "EchoNumbers"),
    Mark(
        "diffusion direction",
        "",
        (
            (
                "MRDiffusionSequence",
                "DiffusionGradientDirectionSequence",
                "DiffusionGradientOrientation",
            ),
        ),
        "DiffusionGradientOrientation",
    ),
    Mark("inversion time", " ms", (("MRModifierSequence", "InversionTimes"),), "InversionTime"),
    Mark("flip angle", "°", (("MRTimingAndRelatedParametersSequence", "FlipAngle"),), "FlipAngle"),
    Mark(
        "repetition time",
        " ms",
        (("MRTimingAndRelatedParametersSequence", "RepetitionTime"),),
        "RepetitionTime",
    ),
    Mark("tube voltage", " kV", (("CTXRayDetailsSequence", "KVP"),), "KVP"),
    Mark(
        "kernel", "", (("CTReconstructionSequence", "ConvolutionKernel"),), "ConvolutionKernel"
    ),
    Mark(
        "time point",
        "",
        (("FrameContentSequence", "TemporalPositionIndex"),),
        "TemporalPositionIdentifier",
    ),
    Mark("stack", "", (("FrameContentSequence", "StackID"),), ""),
    Mark(
        "phase",
        "",
        (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),),
        "TriggerTime",
        ranked=True,
    ),
    Mark(
        "cardiac phase",
        " %",
        (("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),),
        "NominalPercentageOfCardiacPhase",
    ),
    Mark(
        "respiratory phase",
        " %",
        (("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),),
        "NominalPercentageOfRespiratoryPhase",
    ),
    Mark("coil", "", (("MRReceiveCoilSequence", "ReceiveCoilName"),), "ReceiveCoilName"),
    Mark(
        "acquisition", "", (("FrameContentSequence", "FrameAcquisitionNumber"),), "AcquisitionNumber"
    ),
    Mark(
        "time",
        "",
        (
            ("FrameContentSequence", "FrameReferenceDateTime"),
            ("FrameContentSequence", "FrameAcquisitionDateTime"),
        ),
        "AcquisitionTime",
        ranked=True,
    ),
)  # fmt: skip
"""In the order in which they are tried and named."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image plane; lengths in millimetres, directions in LPS+."""

    header: Header = field(repr=False)
    index: int
    """Its number in the file, from 0."""
    position: tuple[float, ...]
    """Centre of the first pixel (x, y, z)."""
    orientation: tuple[float, ...]
    """Directions of a row and of a column, six numbers."""
    spacing: tuple[float, ...]
    """Distance of rows, distance of columns."""
    thickness: float
    """Of the slice, or 0 where it is unknown."""
    slope: float
    intercept: float
    marks: Mapping[str, Any]
    """Name of a mark to its value, for those that the file states."""
    window: Window | None = None
    """How the file is to be looked at; the first of several windows."""


@dataclass(frozen=True, eq=False)
class Header:
    """What one DICOM file says about itself."""

    file: Path
    series: str
    """Series Instance UID."""
    number: str
    """Series Number, or ""."""
    description: str
    modality: str
    date: str
    """YYYY-MM-DD, or ""."""
    shape: tuple[int, int]
    """Rows, columns."""
    bits: tuple[int, int, bool]
    """Allocated, stored, signed; (0, 0, True) for pixels that are floating point numbers."""
    inverted: bool
    """MONOCHROME1: high values are dark on a screen."""
    transfer_syntax: str
    instance: str
    """SOP Instance UID."""
    frame_of_reference: str
    """UID of the coordinates that positions are given in, or ""."""
    image_number: int
    """Instance Number: its place in the order of the series, 0 where it states none."""
    no_image: str = ""
    """What it is, where it is no image at all."""
    problem: str = ""
    """Why it is an image that cannot be part of a volume: a verb phrase."""
    frames: tuple[Frame, ...] = ()


def read_header(file: Path) -> Header | None:
    """Read the header of a DICOM file.

    Args:
        file: begins as a DICOM file.

    Returns:
        The header, or None for the directory of a disc (DICOMDIR).

    Raises:
        DICOM_ERRORS: damaged.
        OSError: it cannot be read.
    """
    with quiet_pydicom():
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        sop_class = str(
            dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", "")
        )
        if sop_class == _DIRECTORY or "DirectoryRecordSequence" in dataset:
            return None
        if not sop_class and "Rows" not in dataset and "SeriesInstanceUID" not in dataset:
            raise ValueError("holds nothing that identifies it")
        return _header(file, dataset, sop_class)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Let pydicom take odd values without a word on the terminal: what counts is checked here.

    Its switches belong to the whole process, so one thread at a time may turn them.
    """
    logger = logging.getLogger("pydicom")
    with own_warning_filters(), pydicom.config.disable_value_validation():
        warnings.filterwarnings("ignore", module="pydicom")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def transfer_syntax(dataset: Any) -> UID:
    """How the dataset is encoded; files without a preamble do not say so."""
    named = dataset.file_meta.get("TransferSyntaxUID", "")
    if named:
        return UID(named)
    return ImplicitVRLittleEndian if dataset.original_encoding[0] else ExplicitVRLittleEndian


def _header(file: Path, dataset: Any, sop_class: str) -> Header:
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    date = str(
        dataset.get("AcquisitionDate")
        or dataset.get("SeriesDate")
        or dataset.get("StudyDate")
        or ""
    )
    allocated = int(dataset.get("BitsAllocated") or 0)
    floating = "PixelRepresentation" not in dataset and "BitsStored" not in dataset
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    values: dict[str, Any] = {
        "file": file,
        "series": str(dataset.get("SeriesInstanceUID") or ""),
        "number": one_line(dataset.get("SeriesNumber")),
        "description": one_line(dataset.get("SeriesDescription") or dataset.get("ProtocolName")),
        "modality": one_line(dataset.get("Modality")),
        "date": f"{date[:4]}-{date[4:6]}-{date[6:8]}" if date[:8].isdecimal() else "",
        "shape": (rows, columns),
        "bits": (0, 0, True) if floating else (allocated, int(dataset.get("BitsStored") or allocated), signed),
        "inverted": dataset.get("PhotometricInterpretation") == "MONOCHROME1",
        "transfer_syntax": str(transfer_syntax(dataset)),
        "instance": str(dataset.get("SOPInstanceUID") or ""),
        "frame_of_reference": str(dataset.get("FrameOfReferenceUID") or ""),
        "image_number": int((_numbers(dataset.get("InstanceNumber"), 1) or (0,))[0]),
    }  # fmt: skip
    no_image = _NO_IMAGES.get(sop_class, "")
    if not no_image and not (rows and columns):
        if "Image Storage" in UID(sop_class).name:
            raise ValueError("is an image without a size")  # cut off before it
        no_image = f"no image ({one_line(UID(sop_class).name) or 'of unknown kind'})"
    if no_image:
        return Header(**values, no_image=no_image)
    problem = _unusable(dataset, floating)
    header = Header(**values, problem=problem)
    if problem:
        return header
    try:
        frames = frames_of(header, dataset)
    except Unplaced as unplaced:
        return Header(**values, problem=str(unplaced))
    object.__setattr__(header, "frames", frames)  # each knows the other
    return header


def _unusable(dataset: Any, floating: bool) -> str:
    """Why the pixels are no grey values that a number can be computed from, or ""."""
    samples = int(dataset.get("SamplesPerPixel") or 1)
    kind = one_line(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
    if samples > 1 or not kind.startswith("MONOCHROME"):
        return f"is a colour image ({kind})"
    allocated = int(dataset.get("BitsAllocated") or 0)
    stored = int(dataset.get("BitsStored") or allocated)
    if not floating and not (allocated in _DEPTHS and 1 <= stored <= allocated):
        return f"has pixels of {stored} bits in {allocated}, which are no grey values"
    if _MOSAICS & set(_parts(dataset.get("ImageType") or "")):
        return "is a mosaic, many slices side by side in one image, which dcm2niix takes apart"
    if dataset.get("ModalityLUTSequence"):
        return "has a table instead of a rescale slope (Modality LUT), so its values have no linear scale"
    return ""


class Unplaced(Exception):
    """An image without a place in space; the message is a verb phrase."""


def frames_of(header: Header, dataset: Any) -> tuple[Frame, ...]:
    """The frames of a file.

    Raises:
        Unplaced: one of them has no place in space.
    """
    count = int(dataset.get("NumberOfFrames") or 1)
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    if count > 1 and not groups:
        raise Unplaced("holds many frames that carry no position each")
    if groups and len(groups) != count:
        raise Unplaced(f"declares {count} frames and describes {len(groups)}")
    return tuple(
        _frame(header, index, (group, shared), dataset)
        for index, group in enumerate(groups or [{}] * count)
    )


def _frame(header: Header, index: int, groups: tuple[Any, Any], dataset: Any) -> Frame:
    def find(path: tuple[str, ...]) -> Any:
        """The value in the frame's groups, else in the shared ones, else beside them."""
        for start in groups:
            value = inside(start, path)
            if value not in (None, ""):
                return value
        return dataset.get(path[-1])

    position = _numbers(find(("PlanePositionSequence", "ImagePositionPatient")), 3)
    if not position:
        raise Unplaced("carries no position (0020,0032)")
    orientation = _numbers(find(("PlaneOrientationSequence", "ImageOrientationPatient")), 6)
    if not orientation:
        raise Unplaced("carries no orientation (0020,0037)")
    spacing = _numbers(find(("PixelMeasuresSequence", "PixelSpacing")), 2)
    if not spacing:
        raise Unplaced("carries no pixel spacing (0028,0030)")
    if min(spacing) <= 0:
        raise Unplaced(f"has a pixel spacing of {spacing[0]:g} x {spacing[1]:g} mm (0028,0030)")
    thickness = _numbers(find(("PixelMeasuresSequence", "SliceThickness")), 1)
    between = _numbers(find(("PixelMeasuresSequence", "SpacingBetweenSlices")), 1)
    scaling = "PixelValueTransformationSequence"
    slope = _numbers(find((scaling, "RescaleSlope")), 1) or (1.0,)
    intercept = _numbers(find((scaling, "RescaleIntercept")), 1) or (0.0,)
    marks = {}
    for mark in MARKS:
        value = next(
            (value for path in mark.groups if (value := _marked(_grouped(groups, path))) != ""),
            "",
        )
        if value == "" and mark.keyword:
            value = _marked(dataset.get(mark.keyword))
        if value != "":
            marks[mark.name] = value
    if "b-value" not in marks and (b_value := _private_b_value(dataset)) is not None:
        marks["b-value"] = b_value
    return Frame(
        header,
        index,
        position,
        orientation,
        spacing,
        abs((thickness or between or (0.0,))[0]),
        slope[0] or 1.0,  # 0 would leave nothing, and stands for "not scaled" elsewhere
        intercept[0],
        marks,
        _window(*(find(("FrameVOILUTSequence", f"Window{part}")) for part in ("Width", "Center"))),
    )


def _window(width: Any, centre: Any) -> Window | None:
    """The first window of an image, None where there is none that can be shown."""
    if width in (None, "") or centre in (None, ""):
        return None
    first = _numbers(_parts(width)[:1], 1), _numbers(_parts(centre)[:1], 1)
    return Window(first[0][0], first[1][0]) if all(first) and first[0][0] > 0 else None


def _grouped(groups: tuple[Any, Any], path: tuple[str, ...]) -> Any:
    return next(
        (value for start in groups if (value := inside(start, path)) not in (None, "")), None
    )


def inside(start: Any, path: tuple[str, ...]) -> Any:
    """The value at the end of a path of sequences of one item, or None."""
    for name in path[:-1]:
        items = start.get(name)
        if not items:
            return None
        start = items[0]
    return start.get(path[-1])


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    """The numbers of a value, or () where there are not as many, or some not finite."""
    if value is None or value == "":
        return ()
    try:
        numbers = tuple(float(part) for part in _parts(value))
    except (TypeError, ValueError):
        return ()
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else ()


def _parts(value: Any) -> list[Any]:
    """A value of DICOM as a list: several values come as a sequence, one alone as itself."""
    several = not isinstance(value, str | bytes) and hasattr(value, "__iter__")
    return list(value) if several else [value]


def _marked(value: Any) -> Any:
    """A value that can be compared: numbers rounded, several joined; "" for nothing."""
    if value is None or value == "":
        return ""
    parts = []
    for part in _parts(value):
        try:
            parts.append(f"{round(float(part), 3):g}")
        except (TypeError, ValueError):
            parts.append(one_line(part))
    if len(parts) == 1:
        try:
            return float(parts[0])
        except ValueError:
            return parts[0]
    return " ".join(parts)


def _private_b_value(dataset: Any) -> float | None:
    """The b-value where Siemens, Philips and GE wrote it before the standard had a place for it."""
    for creator, group, element in (
        ("SIEMENS MR HEADER", 0x0019, 0x0C),
        ("Philips Imaging DD 001", 0x2001, 0x03),
        ("GEMS_PARM_01", 0x0043, 0x39),
    ):
        try:
            value = dataset.private_block(group, creator)[element].value
            if isinstance(value, bytes):
                value = value.decode("ascii").split("\\")
            return float(_parts(value)[0]) % 1e9  # GE adds 1e9
        except DICOM_ERRORS:
            continue
    return None


def one_line(value: Any) -> str:
    """A value as one line of printable text."""
    text = "" if value is None else str(value)
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def sop_class(file: Path) -> str:
    """What kind of object a DICOM file holds, as UID; "" where that cannot be read.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=["SOPClassUID"]
            )
            return str(dataset.get("SOPClassUID") or "")
    except DICOM_ERRORS:
        return ""


class Glance(NamedTuple):
    """What is known of a DICOM file at a glance."""

    frames: int = 0
    """How many it holds."""
    series: str = ""
    """The UID of its series."""
    modality: str = ""
    """As the file says it, such as CT or MR."""


def peek(file: Path) -> Glance:
    """Read no more of a file than a few tags; without frames where that cannot be done.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(
                file,
                stop_before_pixels=True,
                specific_tags=["NumberOfFrames", "SeriesInstanceUID", "Modality"],
            )
            return Glance(
                int(dataset.get("NumberOfFrames") or 1),
                str(dataset.get("SeriesInstanceUID") or ""),
                one_line(dataset.get("Modality")),
            )
    except DICOM_ERRORS:
        return Glance()
