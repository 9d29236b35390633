"""NRRD, MetaImage, PNG and DICOM series, read through SimpleITK and turned from LPS+ to RAS+."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.data.grid import Affine, check_affine, three_sides
from napari_uda.data.units import in_millimetres, unit_of_header

_POSITION_TAG = "0020|0032"
_GAP_TOLERANCE = 0.02  # of the slice distance; positions are often rounded to 0.01 mm
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_META_HEADER_BYTES = 2**16
_META_LINE_BYTES = 1024
_META_VECTORS = {
    b"DimSize", b"ElementSpacing", b"ElementSize", b"Offset", b"Position", b"Origin", b"CenterOfRotation",
}  # fmt: skip
_META_MATRICES = {b"TransformMatrix", b"Rotation", b"Orientation"}
_ITEM_BYTES = {
    sitk.sitkUInt8: 1, sitk.sitkInt8: 1, sitk.sitkUInt16: 2, sitk.sitkInt16: 2,
    sitk.sitkUInt32: 4, sitk.sitkInt32: 4, sitk.sitkUInt64: 8, sitk.sitkInt64: 8,
    sitk.sitkFloat32: 4, sitk.sitkFloat64: 8,
}  # fmt: skip


def read_itk_image(path: Path) -> tuple[NDArray[np.generic], Affine]:
    """Read a `.nrrd`, `.nhdr`, `.mha` or `.mhd` file in its own type.

    Args:
        path: the file.

    Returns:
        Voxels (Z, Y, X), C-contiguous; affine (4, 4) to RAS+ millimetres.

    Raises:
        InputError: damaged, not a grey-value volume, too large, or without a place in space.
    """
    name = shown(path)
    if path.name.lower().endswith((".mha", ".mhd")):
        _check_meta_header(path, name)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with _itk_failures(
        name, "is damaged, truncated or not of the type its name says; export it again"
    ):
        reader.ReadImageInformation()
        _check_information(reader, reader.GetSize(), name)
        image = reader.Execute()
    unit, field = unit_of_header(path, name)
    affine = in_millimetres(_ras_affine(image), unit, name, field)
    check_affine(affine, name)
    return _voxels(image), affine


def read_dicom_series(folder: Path) -> tuple[NDArray[np.generic], Affine]:
    """Read the one DICOM series a folder holds; the rescale slope and intercept are applied.

    The slice axis of the affine comes from the positions of the first and the last slice, so a tilted
    gantry gives the true, sheared affine.

    Args:
        folder: the folder, without its subfolders; other files in it are ignored.

    Returns:
        Voxels (Z, Y, X), integer, or float32 when rescaling makes fractions; affine (4, 4) to RAS+
        millimetres.

    Raises:
        InputError: no series or several, missing or doubled slices, unreadable or colour images.
    """
    name = shown(folder)
    with _dicom_failures(name):
        files = _series_files(folder, name)
    return read_dicom_files(files, name)


def read_dicom_files(files: Sequence[str], name: str) -> tuple[NDArray[np.generic], Affine]:
    """Read DICOM files as the slices of one volume, whatever series they say they belong to.

    Args:
        files: the slices, ordered along their normal (`order_along_normal`).
        name: what the volume is called in messages.

    Returns:
        As `read_dicom_series`.

    Raises:
        InputError: missing or doubled slices, unreadable or colour images.
    """
    with _dicom_failures(name):
        first = sitk.ImageFileReader()
        first.SetFileName(files[0])
        first.ReadImageInformation()
        x, y, *depth = first.GetSize()
        _check_information(first, (x, y, *depth) if len(files) == 1 else (x, y, len(files)), name)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(files)
        reader.MetaDataDictionaryArrayUpdateOn()
        image = reader.Execute()
    affine = _ras_affine(image)
    if len(files) > 1:
        affine[:3, 2] = _slice_step(_positions(reader, len(files), name), affine, name)
    check_affine(affine, name)
    array = _voxels(image)
    return array.astype(np.float32) if array.dtype == np.float64 else array, affine


def order_along_normal(files: Sequence[str], name: str) -> list[int]:
    """Places of the DICOM `files` in the order in which their slices follow each other in space.

    Args:
        files: one slice each.
        name: what the volume is called in messages.

    Returns:
        Indices into `files`, along the normal of the first file's plane.

    Raises:
        InputError: a file that cannot be read as a DICOM slice.
    """
    positions = np.empty((len(files), 3))
    normal = np.zeros(3)
    with _dicom_failures(name):
        for index, file in enumerate(files):
            reader = sitk.ImageFileReader()
            reader.SetFileName(file)
            reader.ReadImageInformation()
            positions[index] = np.resize(reader.GetOrigin(), 3)
            if index == 0:
                normal = np.reshape(reader.GetDirection(), (3, 3))[:, 2]
    return [int(index) for index in np.argsort(positions @ normal, kind="stable")]


def read_png(path: Path) -> NDArray[np.uint8]:
    """Read an 8-bit grey PNG as it is.

    Args:
        path: the file.

    Returns:
        Pixels (Y, X), rows from the top.

    Raises:
        InputError: no readable PNG, colour, or more than 8 bits.
    """
    name = shown(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("PNGImageIO")
    reader.SetFileName(str(path))
    with _itk_failures(name, "is damaged or no PNG; copy the file again"):
        reader.ReadImageInformation()
        x, y, *_ = reader.GetSize()
        _check_information(reader, (x, y, 1), name)
        array = sitk.GetArrayFromImage(reader.Execute())
    if array.dtype != np.uint8:
        raise InputError(f"{name}: has {array.dtype} pixels; give an 8-bit grey PNG")
    return np.asarray(array.reshape(y, x))


def _dicom_failures(name: str) -> AbstractContextManager[None]:
    return _itk_failures(
        name, "holds DICOM files that cannot be read as one volume; export the series again"
    )


@contextmanager
def _itk_failures(name: str, sentence: str) -> Iterator[None]:
    """Turn ITK's many-line errors into one sentence and keep its warnings off the terminal."""
    warned = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except RuntimeError as error:
        raise InputError(f"{name}: {sentence}") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warned)


def _check_meta_header(path: Path, name: str) -> None:
    """Check the text header of a MetaImage: ITK 5.4 overruns its buffers on a damaged one.

    Every array must have as many numbers as the axes declared before it ask for.
    """
    axes = 0
    with path.open("rb") as file:
        for line in file.read(_META_HEADER_BYTES).split(b"\n"):
            key, _, text = line.replace(b":", b"=", 1).partition(b"=")
            key, values = key.strip(), text.split()
            sound = len(line) <= _META_LINE_BYTES and line.isascii() and b"\0" not in line
            if key == b"NDims":
                sound = sound and not axes and values in ([b"2"], [b"3"], [b"4"])
                axes = int(values[0]) if sound else 0
            elif key in _META_VECTORS:
                sound = sound and 0 < axes == len(values)
            elif key in _META_MATRICES:
                sound = sound and 0 < axes**2 == len(values)
            if not sound:
                raise InputError(
                    f"{name}: its MetaImage header is damaged at {line[:40].decode(errors='replace')!r}; export it again"
                )
            if key == b"ElementDataFile":
                return
    raise InputError(
        f"{name}: its MetaImage header does not end in ElementDataFile; export it again"
    )


def _check_information(reader: sitk.ImageFileReader, sizes: tuple[int, ...], name: str) -> None:
    """Validate what the header declares before any voxel is read."""
    components = reader.GetNumberOfComponents()
    if components > 1:
        raise InputError(
            f"{name}: has {components} values per voxel (colour or vectors); save one grey value per voxel"
        )
    pixel_type = reader.GetPixelID()
    if pixel_type not in _ITEM_BYTES:
        kind = sitk.GetPixelIDValueAsString(pixel_type)
        raise InputError(
            f"{name}: its voxel type is {kind}; save it as integer or float grey values"
        )
    three_sides(sizes, _ITEM_BYTES[pixel_type], name)


def _voxels(image: sitk.Image) -> NDArray[np.generic]:
    """Voxels (Z, Y, X); the extra axes of length 1 that `three_sides` let pass are dropped."""
    array: NDArray[np.generic] = sitk.GetArrayFromImage(image)
    return array.reshape(array.shape[-3:])


def _ras_affine(image: sitk.Image) -> Affine:
    axes = image.GetDimension()
    affine = np.eye(4)
    directions = np.reshape(image.GetDirection(), (axes, axes))[:3, :3]
    affine[:3, :3] = directions * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    affine[:3] *= _LPS_TO_RAS[:, None]
    return affine


def _series_files(folder: Path, name: str) -> tuple[str, ...]:
    """The files of the only series, ordered along the slice normal."""
    find = sitk.ImageSeriesReader.GetGDCMSeriesFileNames
    series = [
        find(str(folder), uid) for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    ]
    if not series:
        raise InputError(
            f"{name}: is a folder without a DICOM series; give a volume file (.nii.gz) or the folder of a series"
        )
    if len(series) > 1:
        counts = " and ".join(str(len(files)) for files in series)
        raise InputError(
            f"{name}: holds {len(series)} DICOM series (of {counts} files); put each series in a folder of its own"
        )
    files: tuple[str, ...] = series[0]
    return files


def _positions(reader: sitk.ImageSeriesReader, count: int, name: str) -> NDArray[np.float64]:
    """Positions (n, 3) of the slices in RAS+ millimetres."""
    try:
        texts = [reader.GetMetaData(index, _POSITION_TAG) for index in range(count)]
        positions = np.array([[float(part) for part in text.split("\\")] for text in texts])
        return np.asarray(positions.reshape(count, 3) * _LPS_TO_RAS)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{name}: its DICOM slices carry no position (0020,0032); export the series with its geometry"
        ) from error


def _slice_step(positions: NDArray[np.float64], affine: Affine, name: str) -> NDArray[np.float64]:
    """Vector from a slice to the next in RAS+ millimetres, checked to be the same all along."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    heights = positions @ (normal / np.linalg.norm(normal))
    gaps = np.abs(np.diff(heights))
    usual = float(np.median(gaps))
    if gaps.min() < 1e-3:
        raise InputError(
            f"{name}: {int((gaps < 1e-3).sum()) + 1} or more of its {len(positions)} DICOM slices share a position "
            "(several phases or copies); keep one per position"
        )
    if np.abs(gaps - usual).max() > _GAP_TOLERANCE * usual:
        raise InputError(
            f"{name}: its DICOM slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart (mostly {usual:.4g} mm), "
            "so slices are missing or unevenly spaced; add the missing slices or resample the series"
        )
    return np.asarray((positions[-1] - positions[0]) / (len(positions) - 1))
