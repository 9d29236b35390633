"""NRRD, MetaImage and PNG, read through SimpleITK and turned from LPS+ to RAS+."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.core.progress import watched
from napari_uda.data.grid import LPS_TO_RAS, Affine, check_affine, three_sides
from napari_uda.data.itk_files import check_declared, check_packed, says_orientation, voxel_files
from napari_uda.data.units import in_millimetres, unit_of_header

_logger = logging.getLogger(__name__)
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
_OF_VECTORS = {
    sitk.sitkVectorUInt8: sitk.sitkUInt8, sitk.sitkVectorInt8: sitk.sitkInt8,
    sitk.sitkVectorUInt16: sitk.sitkUInt16, sitk.sitkVectorInt16: sitk.sitkInt16,
    sitk.sitkVectorUInt32: sitk.sitkUInt32, sitk.sitkVectorInt32: sitk.sitkInt32,
}  # fmt: skip
_MOST_LAYERS = 1000


def read_itk_image(path: Path) -> tuple[NDArray[np.generic], Affine]:
    """Read a `.nrrd`, `.nhdr`, `.mha` or `.mhd` file in its own type.

    Args:
        path: the file.

    Returns:
        Voxels (Z, Y, X), C-contiguous; affine (4, 4) to RAS+ millimetres.

    Raises:
        InputError: damaged, not a grey-value volume, too large, or without a place in space.
    """
    image, affine = _read(path, most_components=1)
    return _voxels(image), affine


def read_itk_layers(path: Path) -> tuple[NDArray[np.generic], Affine]:
    """Read a file that may hold several values per voxel, each of them as a layer.

    Args:
        path: as for `read_itk_image`.

    Returns:
        Layers (N, Z, Y, X); affine (4, 4) to RAS+ millimetres.

    Raises:
        InputError: as `read_itk_image`.
    """
    image, affine = _read(path, most_components=_MOST_LAYERS)
    array: NDArray[np.generic] = sitk.GetArrayFromImage(image)
    layers = image.GetNumberOfComponentsPerPixel()
    if layers == 1:
        return array.reshape(1, *array.shape[-3:]), affine
    return np.moveaxis(array.reshape(*array.shape[-4:]), -1, 0), affine


def _read(path: Path, most_components: int) -> tuple[sitk.Image, Affine]:
    name = shown(path)
    if path.name.lower().endswith((".mha", ".mhd")):
        _check_meta_header(path, name)
    files, most = voxel_files(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with _itk_failures(
        name, "is damaged, truncated or not of the type its name says; export it again"
    ):
        reader.ReadImageInformation()
        _check_information(reader, reader.GetSize(), name, most_components)
        check_declared(_declared_bytes(reader), most, name)
        check_packed(path, _declared_bytes(reader), name)
        image = watched(files, reader.Execute)
    if not says_orientation(path):
        _logger.warning(
            "%s: does not say how it lies in space, so its orientation is a guess: left and right may be swapped",
            name,
        )
    unit, field = unit_of_header(path, name)
    affine = in_millimetres(_ras_affine(image), unit, name, field)
    check_affine(affine, name)
    return image, affine


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


def _check_information(
    reader: sitk.ImageFileReader, sizes: tuple[int, ...], name: str, most_components: int = 1
) -> None:
    """Validate what the header declares before any voxel is read."""
    components = reader.GetNumberOfComponents()
    if components > most_components:
        raise InputError(
            f"{name}: has {components} values per voxel (colour or vectors); save one grey value per voxel"
        )
    pixel_type = _OF_VECTORS.get(reader.GetPixelID(), reader.GetPixelID())
    if pixel_type not in _ITEM_BYTES:
        kind = sitk.GetPixelIDValueAsString(pixel_type)
        raise InputError(
            f"{name}: its voxel type is {kind}; save it as integer or float grey values"
        )
    three_sides(sizes, _ITEM_BYTES[pixel_type] * components, name)


def _declared_bytes(reader: sitk.ImageFileReader) -> int:
    kind = _OF_VECTORS.get(reader.GetPixelID(), reader.GetPixelID())
    values = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    return int(values * _ITEM_BYTES[kind])


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
    affine[:3] *= LPS_TO_RAS[:, None]
    return affine
