"""Pixels of DICOM files: decoded as they are stored, then scaled with each frame's own slope and intercept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import iter_pixels
from pydicom.uid import UID, MultiFrameGrayscaleWordSecondaryCaptureImageStorage, RLELossless

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown, temporary_folder
from napari_uda.core.progress import tell
from napari_uda.data.dicom_headers import DICOM_ERRORS, Frame, one_line, quiet_pydicom

_WHOLE_TYPES = (np.int16, np.uint16, np.int32, np.int64)
_MOST_WHOLE = 2.0**53  # up to here float64 counts in whole steps


def read_frames(frames: Sequence[Frame], name: str) -> NDArray[np.generic]:
    """Decode frames of equal size and scale each by its own slope and intercept.

    Args:
        frames: in the order in which they are wanted; each file is read once.
        name: what the volume is called in messages.

    Returns:
        Planes (n, rows, columns). As they are stored when nothing is scaled; else the smallest whole
        numbers that hold every value the frames could have; float32 when a frame's scaling makes
        fractions.

    Raises:
        InputError: a file that cannot be decoded.
    """
    planes = np.empty((len(frames), *frames[0].header.shape), value_type(frames))
    by_file: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        by_file.setdefault(frame.header.file, []).append(place)
    for number, (file, places) in enumerate(by_file.items()):
        tell(number, len(by_file))
        stored = _stored(file, [frames[place] for place in places], name)
        for place, plane in zip(places, stored, strict=True):
            planes[place] = _scaled(plane, frames[place], planes.dtype)
    return planes


def value_type(frames: Sequence[Frame]) -> np.dtype[np.generic]:
    """The type of voxel that `read_frames` gives for these frames."""
    if any(not frame.header.bits[0] for frame in frames):
        return np.dtype(np.float32)
    scalings = {(frame.header.bits, frame.slope, frame.intercept) for frame in frames}
    if all(scaling[1:] == (1.0, 0.0) for scaling in scalings):
        return np.result_type(*(_stored_type(bits) for bits, *_ in scalings))
    if not all(slope.is_integer() and intercept.is_integer() for _, slope, intercept in scalings):
        return np.dtype(np.float32)
    ends = [
        value * slope + intercept
        for bits, slope, intercept in scalings
        for value in _stored_range(bits)
    ]
    for kind in _WHOLE_TYPES:
        if np.iinfo(kind).min <= min(ends) and max(ends) <= min(np.iinfo(kind).max, _MOST_WHOLE):
            return np.dtype(kind)
    return np.dtype(np.float32)


def _stored_type(bits: tuple[int, int, bool]) -> np.dtype[np.generic]:
    allocated, _, signed = bits
    return np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")


def _stored_range(bits: tuple[int, int, bool]) -> tuple[int, int]:
    _, stored, signed = bits
    return (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)


def _scaled(plane: NDArray[Any], frame: Frame, kind: np.dtype[np.generic]) -> NDArray[np.generic]:
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return plane
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((plane.astype(np.float64) * frame.slope + frame.intercept).astype(kind))


def _stored(file: Path, frames: Sequence[Frame], name: str) -> Iterator[NDArray[np.generic]]:
    """The planes of some frames of one file as they are stored."""
    with quiet_pydicom():
        syntax, shape = UID(frames[0].header.transfer_syntax), frames[0].header.shape
    if not syntax.is_transfer_syntax or syntax.is_private:
        raise InputError(
            f"{name}: {shown(file)} is encoded in a way that is not known ({one_line(syntax)}); export the series uncompressed"
        )
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(file, force=True)
            dataset.file_meta.TransferSyntaxUID = syntax
            indices = [frame.index for frame in frames]
            if syntax.is_compressed and syntax != RLELossless:
                planes = list(_through_itk(dataset, indices))
            else:
                planes = list(iter_pixels(dataset, raw=True, indices=indices))
    except DICOM_ERRORS as error:
        how = f"compressed as {syntax.name}" if syntax.is_compressed else "not compressed"
        raise InputError(
            f"{name}: the pixels of {shown(file)} ({how}) cannot be decoded, so the file is damaged, truncated or of "
            "an unknown kind; copy it again or export the series uncompressed"
        ) from error
    for plane in planes:
        if plane.shape != shape:
            raise InputError(
                f"{name}: {shown(file)} declares {shape[1]} x {shape[0]} pixels and holds "
                f"{' x '.join(str(side) for side in reversed(plane.shape))}; export the series again"
            )
        yield plane


def _through_itk(dataset: Any, indices: Sequence[int]) -> NDArray[np.generic]:
    """Decode compressed frames by SimpleITK, from a file that holds nothing but them.

    Its reader scales every frame with the first one's slope and turns MONOCHROME1 over, so neither is in
    the file; nor is anything that names the patient.
    """
    count = int(dataset.get("NumberOfFrames") or 1)
    wanted = set(indices)
    found = {
        index: piece
        for index, piece in enumerate(generate_frames(dataset.PixelData, number_of_frames=count))
        if index in wanted
    }
    bare = pydicom.Dataset()
    bare.file_meta = pydicom.dataset.FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    bare.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    bare.SOPInstanceUID = "1.2.3"
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    for keyword in (
        "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    ):  # fmt: skip
        setattr(bare, keyword, dataset[keyword].value)
    bare.SamplesPerPixel, bare.PhotometricInterpretation = 1, "MONOCHROME2"
    bare.NumberOfFrames = len(indices)
    bare.PixelData = encapsulate([found[index] for index in indices])
    bare["PixelData"].is_undefined_length = True
    bare["PixelData"].VR = "OB"
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        path = folder / "frames.dcm"
        bare.save_as(path, enforce_file_format=True)
        warned = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(warned)
    array: NDArray[np.generic] = sitk.GetArrayFromImage(image)
    return array.reshape(len(indices), *array.shape[-2:])
