"""FreeSurfer's `.mgz` and pairs of `.hdr` and `.img` (NIfTI or Analyze), read through nibabel."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.core.progress import watched
from napari_uda.data.grid import Affine, check_affine, three_sides
from napari_uda.data.gzip_stream import STREAM_ERRORS, unpacked_bytes
from napari_uda.data.nifti import Placement, native, placed, scaled, scaling
from napari_uda.data.nifti_forms import NiftiForms

_logger = logging.getLogger(__name__)
_DAMAGED = (
    *STREAM_ERRORS, ImageFileError, HeaderDataError, WrapStructError, MGHError, EOFError, ValueError, TypeError, KeyError,
    IndexError, OverflowError,
)  # fmt: skip


def read_nibabel(
    path: Path, placement: Placement = "auto"
) -> tuple[NDArray[np.generic], Affine, float, NiftiForms | None]:
    """Read a `.mgz`, `.mgh` or `.hdr` file; the voxels of a `.hdr` lie in the `.img` beside it.

    Args:
        path: the file.
        placement: which of sform and qform is trusted where a NIfTI pair has both.

    Returns:
        Voxels (Z, Y, X) as `read_nifti` gives them; affine (4, 4) to RAS+ millimetres; the slope, 0 when
        nothing is scaled; the forms of a NIfTI pair.

    Raises:
        InputError: damaged, no `.img`, no sound grey-value volume.
        OSError: it cannot be read.
    """
    name = shown(path)
    if path.suffix.lower() == ".hdr" and not _voxel_file(path).is_file():
        raise InputError(
            f"{name}: its voxels lie in {shown(_voxel_file(path))}, which is not there; copy both files"
        )
    try:
        image = _loaded(path)
        header = image.header
        dtype = header.get_data_dtype()
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise InputError(
                f"{name}: its voxel type is {dtype}; save it as integer or float grey values"
            )
        sides = three_sides([int(size) for size in image.shape], dtype.itemsize, name)
        if path.suffix.lower() == ".mgz":  # nibabel does not come to the checksum at its end
            unpacked_bytes(path, math.prod(sides) * dtype.itemsize)
        slope, intercept = _scaling(header, name)
        with np.errstate(invalid="ignore"):
            affine, forms = _placed(image, sides, name, placement)
        voxels = image.dataobj
        unscaled = getattr(voxels, "get_unscaled", lambda: voxels)
        stored = watched([_voxel_file(path)], lambda: np.asarray(unscaled()))
    except MemoryError as error:
        raise InputError(f"{name}: does not fit into memory; crop or resample it") from error
    except (OSError, *_DAMAGED) as error:
        if isinstance(error, InputError) or (isinstance(error, OSError) and error.errno):
            raise  # nibabel and gzip raise an OSError without a number for damaged files
        raise InputError(
            f"{name}: is damaged, truncated or not of the type its name says; export it again"
        ) from error
    array = native(np.ascontiguousarray(stored.reshape(sides, order="F").T))
    step = abs(slope) if (slope, intercept) != (1.0, 0.0) else 0.0
    return scaled(array, slope, intercept), affine, step, forms


def _scaling(header: Any, name: str) -> tuple[float, float]:
    if isinstance(header, nib.Nifti1Header):  # NIfTI-2 is one, too
        return scaling(header, name)
    slope, intercept = header.get_slope_inter() if hasattr(header, "get_slope_inter") else (1, 0)
    return float(slope or 1), float(intercept or 0)


def _loaded(path: Path) -> Any:
    if path.suffix.lower() == ".hdr":
        return nib.load(_voxel_file(path), mmap=False)
    return nib.MGHImage.from_filename(path, mmap=False)


def _voxel_file(header: Path) -> Path:
    if header.suffix.lower() != ".hdr":  # of FreeSurfer, which holds both
        return header
    return header.with_suffix(".img" if header.suffix == ".hdr" else ".IMG")


def _placed(
    image: Any, sides: tuple[int, int, int], name: str, placement: Placement
) -> tuple[Affine, NiftiForms | None]:
    header = image.header
    if isinstance(header, nib.Nifti1Header):
        forms = placed(header, sides, name, placement)
        return forms.affine, forms
    affine = np.array(image.affine, np.float64)
    check_affine(affine, name)
    if not isinstance(image, nib.MGHImage) or not int(header["goodRASFlag"]):
        _logger.warning(
            "%s: does not say how it lies in space, so its orientation is a guess: left and right may be swapped",
            name,
        )
    return affine, None
