"""Volume: a 3-D image or label map with its place in space; reading, writing and orientation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, get_args

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError, reason
from napari_uda.core.files import (
    DICOM_SUFFIXES,
    NIBABEL_SUFFIXES,
    NIFTI_SUFFIXES,
    SEG_NRRD_SUFFIX,
    VOLUME_SUFFIXES,
    as_path,
    begins_as_dicom,
    case_name,
    case_of_image,
    check_is_text,
    shown,
    volume_suffix,
)
from napari_uda.core.suggestions import check_choice
from napari_uda.core.together import write_together
from napari_uda.data.grid import (
    Affine,
    Lattice,
    check_affine,
    corners_mm,
    numbers_text,
    spacing_mm,
)
from napari_uda.data.nifti import Placement, read_nifti, write_nifti
from napari_uda.data.nifti_forms import NiftiForms
from napari_uda.data.window import Window

__all__ = [
    "Orientation",
    "Placement",
    "Source",
    "Volume",
    "as_volume",
    "read_volume",
    "read_labels",
    "write_volume",
    "describe_grid_difference",
    "case_name",
]


@dataclass(frozen=True)
class Orientation:
    """A signed permutation of array axes: how to turn a file's grid into the canonical one.

    Canonical is (S, A, R): indices grow to the head, the front and the patient's right.
    """

    permutation: tuple[int, int, int]
    """`permutation[k]` is the axis of the file's (Z, Y, X) array that becomes canonical axis `k`."""
    flips: tuple[bool, bool, bool]
    """Whether canonical axis `k` runs against the file's axis."""

    @classmethod
    def of(cls, affine: Affine) -> Orientation:
        """The orientation closest to the axes of an affine (nibabel's `io_orientation`)."""
        return _orientation(np.asarray(affine, np.float64).tobytes())

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Turn an array (..., Z, Y, X) on the file's grid to (..., S, A, R), as a view."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.permutation))
        return turned[(..., *self._steps())]

    def invert(self, array: np.ndarray) -> np.ndarray:
        """Turn an array (..., S, A, R) back to (..., Z, Y, X) on the file's grid, as a view."""
        lead = array.ndim - 3
        back = (lead + self.permutation.index(axis) for axis in range(3))
        return array[(..., *self._steps())].transpose(*range(lead), *back)

    def _steps(self) -> tuple[slice, slice, slice]:
        first, second, third = (slice(None, None, -1 if flip else None) for flip in self.flips)
        return first, second, third


@lru_cache(maxsize=256)
def _orientation(affine: bytes) -> Orientation:
    """Worked out once for each grid: volumes are asked again and again."""
    permutation, flips = [0, 0, 0], [False, False, False]
    axes = nib.io_orientation(np.frombuffer(affine).reshape(4, 4))
    for axis, (world, sign) in enumerate(axes):
        permutation[2 - int(world)] = 2 - axis
        flips[2 - int(world)] = bool(sign < 0)
    return Orientation(
        (permutation[0], permutation[1], permutation[2]), (flips[0], flips[1], flips[2])
    )


@dataclass(frozen=True)
class Source:
    """What a volume was read from."""

    path: Path
    """A file, or the folder of a DICOM series."""
    series: str = ""
    """Which of several DICOM volumes; "" for the only one."""
    is_dicom: bool = False


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D array with its place in space.

    Raises:
        InputError: the array is no 3-D array of numpy, or the affine is not a finite, invertible (4, 4) matrix whose
            last row is (0, 0, 0, 1).
    """

    array: np.ndarray
    """Voxels (Z, Y, X): the file's (i, j, k) array transposed, `array[z, y, x] == file[x, y, z]`."""
    affine: Affine
    """(4, 4) float64: voxel indices (x, y, z, 1) to RAS+ millimetres."""
    name: str = ""
    """Name of the case."""
    value_step: float = 0.0
    """Distance of neighbouring values where the file's header scales them (the slope), else 0."""
    frame_of_reference: str = ""
    """UID of the coordinates that a DICOM image is placed in, or ""."""
    forms: NiftiForms | None = None
    """What the NIfTI file it was read from says about its place: files on the same grid are written so."""
    source: Source | None = None
    """What it was read from; None for one from memory."""
    window: Window | None = None
    """How its file says that it is to be looked at, as DICOM does; None for most."""

    def __post_init__(self) -> None:
        name = self.name or "volume"
        given: object = self.array
        if not isinstance(given, np.ndarray):
            kind = type(given).__name__
            raise InputError(f"{name}: its array is a {kind}; give a numpy array (Z, Y, X)")
        if self.array.ndim != 3 or not self.array.size:
            raise InputError(
                f"{name}: its array has shape {self.array.shape}; give a 3-D array (Z, Y, X) of at least one voxel"
            )
        try:
            affine = np.array(self.affine, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{name}: its affine holds no numbers; give a (4, 4) matrix"
            ) from error
        if affine.shape != (4, 4):
            raise InputError(f"{name}: its affine has shape {affine.shape}; give a (4, 4) matrix")
        check_affine(affine, name)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    def __repr__(self) -> str:
        return f"<Volume {self.name or '(no name)'}: {self.size_text}, {self.array.dtype}>"

    @property
    def size_text(self) -> str:
        """Its size in words: `40 x 256 x 256 voxels (z, y, x) of 3 x 1 x 1 mm`."""
        voxels = " x ".join(map(str, self.array.shape))
        return f"{voxels} voxels (z, y, x) of {' x '.join(f'{side:.3g}' for side in self.spacing_mm)} mm"

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels in millimetres, (z, y, x)."""
        return spacing_mm(self.affine)

    @property
    def lattice(self) -> Lattice:
        """What distances, areas and volumes on this grid follow from."""
        return Lattice.of(self.affine)

    @property
    def orientation(self) -> Orientation:
        """How to reach the closest canonical orientation."""
        return Orientation.of(self.affine)

    def canonical(self) -> Volume:
        """The same volume with array axes (S, A, R), as a view, and the affine to match."""
        return self._canonical

    @cached_property
    def _canonical(self) -> Volume:
        return self.turned(self.orientation)

    def turned(self, orientation: Orientation) -> Volume:
        """The same volume with its array axes in another order, as a view, and the affine to match."""
        affine = np.eye(4)
        affine[:3, 3] = self.affine[:3, 3]
        for world, (axis, flip) in enumerate(
            zip(orientation.permutation, orientation.flips, strict=True)
        ):
            column = self.affine[:3, 2 - axis]
            affine[:3, 2 - world] = -column if flip else column
            if flip:
                affine[:3, 3] += column * (self.array.shape[axis] - 1)
        return replace(self, array=orientation.apply(self.array), affine=affine)

    def with_array(self, array: np.ndarray) -> Volume:
        """Other values on the same grid.

        Raises:
            InputError: the shape differs.
        """
        if array.shape != self.array.shape:
            raise InputError(
                f"{self.name or 'volume'}: values of shape {array.shape} do not fit its grid {self.array.shape}; "
                "resample them onto the grid"
            )
        return replace(self, array=array, value_step=0.0)

    def in_one_place(self) -> Volume:
        """The same, to be written as a file that nobody has to choose one of two placements of."""
        two = self.forms is not None and self.forms.disagree
        return replace(self, forms=None) if two else self


def read_volume(
    path: str | os.PathLike[str], *, series: str | int = "", placement: Placement = "auto"
) -> Volume:
    """Read a volume: `.nii`, `.nii.gz`, `.nii.zst`, `.mgz`, `.hdr` with `.img`, `.nrrd`, `.mha`, `.mhd` or DICOM.

    DICOM is the folder of a series, or a file of many frames (enhanced MR or CT).

    Args:
        path: the file or the folder.
        series: which of several DICOM volumes: its number, UID or a part of its description.
        placement: which of sform and qform is trusted where a NIfTI file has both; auto takes the
            sform, and refuses a file whose two disagree.

    Returns:
        The volume in the file's own voxel type; float32 where a header scales its voxels.

    Raises:
        InputError: the file is missing, damaged, not a finite grey-value volume or without a sound place
            in space; one sentence with the file, the value and the remedy.
    """
    check_choice("placement", placement, get_args(Placement))
    remedy = "give a volume file or the folder of a DICOM series"
    path, frame_of_reference, window = as_path(path, remedy), "", None
    series = str(series) if series or series == 0 else ""  # a number is one, too
    if path.suffix.lower() == ".img":
        path = path.with_suffix(".hdr" if path.suffix == ".img" else ".HDR")
    name = shown(path)
    check_is_text(path)
    try:
        if path.is_dir() or _is_dicom_file(path):
            # NIfTI users need neither pydicom nor SimpleITK
            from napari_uda.data.dicom import read_dicom

            array, affine, frame_of_reference, window = read_dicom(path, series)
            step, forms, source = 0.0, None, Source(path, series, is_dicom=True)
        else:
            array, affine, step, forms = _read_file(path, name, placement)
            source = Source(path)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({reason(error)}); check the path") from error
    _check_finite(array, name)
    return Volume(
        array,
        affine,
        case_of_image(path),
        step,
        frame_of_reference=frame_of_reference,
        forms=forms,
        source=source,
        window=window,
    )


def read_image(
    path: str | os.PathLike[str], *, series: str = "", placement: Placement = "auto"
) -> Volume:
    """Read a volume that is to be segmented, which a segmentation of 3D Slicer is not.

    Args:
        path: as for `read_volume`.
        series: as for `read_volume`.
        placement: as for `read_volume`.

    Raises:
        InputError: as for `read_volume`.
    """
    if volume_suffix(path) == SEG_NRRD_SUFFIX:
        raise InputError(
            f"{shown(path)}: is a segmentation (of 3D Slicer) and no image; give the image that it was drawn on"
        )
    return read_volume(path, series=series, placement=placement)


def as_volume(image: Volume | str | os.PathLike[str]) -> Volume:
    """A volume to compute on: one from memory has to be as sound as one from a file.

    Args:
        image: a volume, or what `read_volume` takes.

    Returns:
        The volume, yes and no as 1 and 0.

    Raises:
        InputError: as for `read_image`, or neither a volume nor a path.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if not isinstance(image, Volume):
        raise InputError(
            f"a {type(image).__name__} is no image that can be used; give a file, or napari_uda.Volume(array, affine) "
            "with an array (Z, Y, X): that of nibabel is numpy.asarray(image.dataobj).T"
        )
    name, kind = image.name or "volume", image.array.dtype.kind
    if kind not in "biuf":
        raise InputError(f"{name}: its voxels are {image.array.dtype}; give a grey-value volume")
    _check_finite(image.array, name)
    return image.with_array(image.array.astype(np.uint8)) if kind == "b" else image


def _is_dicom_file(path: Path) -> bool:
    """Whether a file is named as DICOM, or begins so where its name says nothing."""
    if volume_suffix(path) or not path.is_file():
        return False
    return path.suffix.lower() in DICOM_SUFFIXES or begins_as_dicom(path)


def _read_file(
    path: Path, name: str, placement: Placement
) -> tuple[np.ndarray, Affine, float, NiftiForms | None]:
    """Voxels, affine, the step of scaled values, and the forms of NIfTI."""
    if not path.exists():
        raise InputError(f"{name}: there is no such file in {path.parent}; check the path")
    if not path.is_file():
        raise InputError(f"{name}: is neither a file nor a folder; give a volume file")
    suffix = volume_suffix(path)
    if suffix in NIFTI_SUFFIXES or suffix == ".nii.zst":
        return read_nifti(path, placement)
    if suffix in NIBABEL_SUFFIXES:
        from napari_uda.data.nibabel_files import read_nibabel

        return read_nibabel(path, placement)
    if suffix:
        from napari_uda.data.itk import read_itk_image

        return *read_itk_image(path), 0.0, None
    raise InputError(
        f"{name}: is of an unknown type; give one of {', '.join(VOLUME_SUFFIXES)} or DICOM"
    )


def _check_finite(array: np.ndarray, name: str) -> None:
    """Refuse NaN and infinite voxels; a finite sum proves there are none, without a second array."""
    if array.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):
            return
    bad = sum(int(plane.size - np.isfinite(plane).sum()) for plane in array)
    if bad:
        raise InputError(
            f"{name}: {bad} of its {array.size} voxels are NaN or infinite; replace them, for example by the background"
        )


def read_labels(
    path: str | os.PathLike[str],
    *,
    grid: Volume | None = None,
    names: Mapping[str, int] | None = None,
    placement: Placement = "auto",
) -> Volume:
    """Read a label map; whole numbers in any voxel type are read, rounded where scaling has bent them.

    DICOM SEG, RTSTRUCT and `.seg.nrrd` are read, too; `read_segmentation` gives their names and colours.

    Args:
        path: as for `read_segmentation`.
        grid: as for `read_segmentation`: of the image, for segmentations that store a part of it.
        names: as for `read_segmentation`: structure name to value in the files, of any size.
        placement: as for `read_volume`.

    Returns:
        The volume with a uint8 array.

    Raises:
        InputError: as for `read_segmentation`.
    """
    from napari_uda.data.segmentation import read_label_volume  # it builds on this module

    return read_label_volume(path, grid, names, placement)


def write_volume(path: str | os.PathLike[str], volume: Volume, *, slope: float = 1.0) -> None:
    """Write a volume as `.nii` or `.nii.gz`, whole or not at all, with nothing but voxels and geometry.

    Args:
        path: the file; missing folders are created.
        volume: bool is stored as uint8, float16 as float32. The affine of a NIfTI file comes back bit
            for bit, with the sform and the qform as that file has them; others are rounded to float32
            (about 1e-5 mm).
        slope: what readers multiply the stored values by.

    Raises:
        InputError: another suffix, a voxel type NIfTI lacks, or a folder that cannot be written.
    """
    path = Path(path)
    if volume_suffix(path) not in NIFTI_SUFFIXES:
        raise InputError(
            f"{shown(path)}: volumes are written as NIfTI; end the name in .nii.gz or .nii"
        )
    write_nifti(path, volume.array, volume.affine, volume.forms, slope)


def write_maps(
    folder: str | os.PathLike[str], case: str, grid: Volume, maps: Mapping[str, NDArray[Any]]
) -> list[Path]:
    """Write `<case>_<role>.nii.gz` for every map on the grid of `grid`: all of them or none.

    Args:
        folder: where to; missing folders are created.
        case: name of the case.
        grid: volume whose grid the maps lie on.
        maps: role to `(Z, Y, X)` array.

    Returns:
        The files, in the order of `maps`.

    Raises:
        InputError: if the folder cannot be written; no half file is left.
    """
    files = {
        f"{case}_{role}.nii.gz": partial(write_volume, volume=grid.with_array(array))
        for role, array in maps.items()
    }
    return write_together(Path(folder), f"the maps of {case}", files)


def describe_grid_difference(
    a: Volume, b: Volume, tolerance_mm: float = 1e-3, stored: Volume | None = None
) -> str:
    """Say how the grids of two volumes differ.

    Args:
        a: one volume.
        b: the other.
        tolerance_mm: largest distance between the two places of any voxel that still counts as equal.
        stored: `b` as it was stored, where its axes have been put in the order of those of `a`.

    Returns:
        "" when the shapes are equal and no voxel moves by more than the tolerance, else one sentence.
    """
    pair = (
        f"{a.name or 'the first volume'} and {b.name or 'the second volume'} lie on different grids"
    )
    remedy = "resample one onto the grid of the other"
    if a.array.shape != b.array.shape:
        return f"{pair}: shape (z, y, x) {a.array.shape} against {b.array.shape}; {remedy}"
    offsets = corners_mm(a.affine, a.array.shape) - corners_mm(b.affine, b.array.shape)
    apart_mm = float(np.linalg.norm(offsets, axis=1).max())
    if apart_mm <= tolerance_mm:
        return ""
    parts = []
    if not np.allclose(a.spacing_mm, b.spacing_mm, rtol=0, atol=tolerance_mm):
        parts.append(
            f"spacing (z, y, x) {numbers_text(a.spacing_mm)} against {numbers_text(b.spacing_mm)} mm"
        )
    if not np.allclose(a.affine[:3, 3], b.affine[:3, 3], rtol=0, atol=tolerance_mm):
        parts.append(
            f"origin {numbers_text(a.affine[:3, 3])} against {numbers_text(b.affine[:3, 3])} mm"
        )
    codes = ["".join(nib.aff2axcodes(volume.affine)) for volume in (a, stored or b)]
    if codes[0] != codes[1]:
        parts.append(f"axes {codes[0]} against {codes[1]}")
    detail = ", ".join([*parts, f"voxels up to {apart_mm:.4g} mm apart"])
    return f"{pair}: {detail}; {remedy}"
