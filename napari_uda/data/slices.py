"""Volumes as stacks of 2-D slices on a common pixel grid, with the exactly known way back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from napari_uda.core.config import Config
from napari_uda.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_uda.data.intensity import Intensity
    from napari_uda.data.volume import Volume

SliceAxis = Literal["auto", "z", "y", "x"]
_AXES = "zyx"
_FINE_MM = 0.1
_PIXELS_OF_ANY = 2048**2
"""Pixels that a resampled slice may have, however few voxels it is made of."""
_MOST_ENLARGED = 4
"""How many pixels a larger slice may have for each of its voxels."""
_MOST_PIXELS = 4096**2
"""Pixels of the largest resampled slice."""
_PIXELS_AT_ONCE = 2**24
"""Pixels that are resampled at once where slices are cut for training."""


class SliceGrid(Config):
    """How a volume becomes slices: axis, pixel size, window and neighbours; stored in the run."""

    axis: int = Field(ge=0, le=2)
    """Canonical array axis across which slices are cut: 0 (towards the head), 1 (towards the front)
    or 2 (towards the patient's right)."""
    pixel_mm: float = Field(gt=0)
    """Side of a pixel in millimetres, in both directions of the slice plane."""
    size: int = Field(ge=8, le=1024)
    """Side of the square training window in pixels."""
    neighbours: int = Field(default=1, ge=1, le=9)
    """How many neighbouring slices the network gets as channels (odd); the middle one is
    segmented."""

    def plane_shape(self, volume: Volume) -> tuple[int, int]:
        """Pixels of a resampled slice of `volume` (any orientation): height, width.

        Raises:
            InputError: if a slice would have absurdly many, for which a header of a few bytes is enough.
        """
        canonical = volume.canonical()
        rows, columns = (i for i in range(3) if i != self.axis)
        sides = canonical.array.shape[rows], canonical.array.shape[columns]
        spacing = canonical.spacing_mm[rows], canonical.spacing_mm[columns]
        height, width = (
            max(1, round(side * step / self.pixel_mm))
            for side, step in zip(sides, spacing, strict=True)
        )
        most = min(max(_PIXELS_OF_ANY, _MOST_ENLARGED * sides[0] * sides[1]), _MOST_PIXELS)
        if height * width > most:
            raise InputError(
                f"{volume.name or 'volume'}: its slices of {sides[0]} x {sides[1]} voxels of {spacing[0]:.4g} x "
                f"{spacing[1]:.4g} mm would be {height} x {width} pixels of {self.pixel_mm:.4g} mm, which is too "
                "large; check the spacing in its header, or take a run with larger pixels (data.pixel_mm)"
            )
        return height, width

    def pixel_mm2(self, volume: Volume) -> float:
        """Area of a pixel of a resampled slice: `pixel_mm` squared, and less where the slice is sheared."""
        plane = volume.canonical().lattice.slice_across(self.axis)
        if plane.is_right_angled:
            return self.pixel_mm**2
        return self.pixel_mm**2 * plane.cell / math.prod(plane.spacing_mm)

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """Canonical `(Z, Y, X)` to `(N, h, w)` slices, a view."""
        return np.moveaxis(array, self.axis, 0)

    def stack(self, slices: NDArray[Any]) -> NDArray[Any]:
        """Inverse of `cut`, also for arrays with more leading axes on the slices' last three."""
        return np.moveaxis(slices, 0, self.axis)


def choose_axis(axis: SliceAxis, spacings_mm: Sequence[tuple[float, float, float]]) -> int:
    """Canonical axis to cut across: the one named, or the one with the coarsest median spacing."""
    if axis != "auto":
        return _AXES.index(axis)
    return int(np.argmax(np.median(np.asarray(spacings_mm), axis=0)))


def choose_pixel_mm(
    axis: int,
    shapes: Sequence[tuple[int, int, int]],
    spacings_mm: Sequence[tuple[float, float, float]],
    size: int,
) -> float:
    """Pixel size with which the median slice just fits the window, never below the median spacing.

    Args:
        axis: canonical slice axis.
        shapes: canonical voxel counts of the training volumes.
        spacings_mm: their canonical spacings.
        size: side of the window in pixels.

    Returns:
        Millimetres, rounded up to a hundredth; below a tenth, as of micro-CT, to a ten-thousandth.
    """
    inside = [i for i in range(3) if i != axis]
    spacing = np.asarray(spacings_mm, dtype=float)[:, inside]
    extent = (np.asarray(shapes, dtype=float)[:, inside] * spacing).max(axis=1)
    pixel = max(float(np.median(spacing)), float(np.median(extent)) / size)
    parts = 100 if pixel >= _FINE_MM else 10_000
    return math.ceil(pixel * parts - 1e-6) / parts


def resample_plane(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample `(N, K, h, w)` images over the same field of view to `shape` pixels.

    The corners of the field of view stay where they are, so resampling back to the original
    shape is the exact inverse of the geometry, whatever the rounding of the pixel count.

    Returns:
        `(N, K, *shape)`; the input itself when the shape does not change.
    """
    if tuple(image.shape[-2:]) == shape:
        return image
    shrinks = shape[0] < image.shape[-2] or shape[1] < image.shape[-1]
    return F.interpolate(image, shape, mode="bilinear", align_corners=False, antialias=shrinks)


def resample_labels(label: Tensor, shape: tuple[int, int]) -> Tensor:
    """Nearest-neighbour version of `resample_plane` for `(N, h, w)` label slices."""
    if tuple(label.shape[-2:]) == shape:
        return label
    resampled = F.interpolate(label[:, None].float(), shape, mode="nearest-exact")[:, 0]
    return resampled.to(label.dtype)


def with_neighbours(
    planes: NDArray[np.float32], indices: NDArray[np.int64], neighbours: int
) -> Tensor:
    """Slices of `(N, h, w)` with their neighbours as channels; at the ends the last slice repeats.

    Returns:
        `(B, neighbours, h, w)` float32 on the CPU, for B indices.
    """
    reach = neighbours // 2
    chosen = np.clip(indices[:, None] + np.arange(-reach, reach + 1), 0, len(planes) - 1)
    return torch.from_numpy(np.ascontiguousarray(planes[chosen]))


def fit_window(image: Tensor, shape: tuple[int, int], fill: float) -> Tensor:
    """Crop or pad the last two axes about the centre.

    Applied again with the original shape it is the exact inverse wherever nothing was cropped.

    Args:
        image: `(..., h, w)`.
        shape: wanted height and width.
        fill: value of the padding.

    Returns:
        `(..., *shape)`.
    """
    pads: list[int] = []
    for have, want in zip(reversed(image.shape[-2:]), reversed(shape), strict=True):
        # the odd pixel goes to the end both when padding and when cropping: exact inverses
        before = (want - have) // 2 if want >= have else -((have - want) // 2)
        pads += [before, want - have - before]
    return F.pad(image, pads, value=fill)


@dataclass(frozen=True, eq=False)
class SliceStore:
    """All slices of some cases, ready to be drawn: float16 images, uint8 labels, in memory or mapped.

    Attributes:
        images: `(N, size, size)` float16 in [-1, 1].
        labels: `(N, size, size)` uint8, or None for a domain without labels.
        case_of: `(N,)` index into `cases`.
        cases: case names.
        neighbours: slices per sample.
        slice_mm: distance of the slices of each case in millimetres.
        pixel_mm2: area of a pixel of each case.
    """

    images: NDArray[np.float16]
    labels: NDArray[np.uint8] | None
    case_of: NDArray[np.int64]
    cases: tuple[str, ...]
    neighbours: int
    slice_mm: tuple[float, ...] = ()
    pixel_mm2: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def image(self, indices: NDArray[np.int64]) -> Tensor:
        """Slices with their neighbours as channels; at a volume's end the last slice repeats.

        Returns:
            `(B, neighbours, size, size)` float32 on the CPU.
        """
        reach = self.neighbours // 2
        planes = indices[:, None] + np.arange(-reach, reach + 1)
        first = np.searchsorted(self.case_of, self.case_of[indices], side="left")
        last = np.searchsorted(self.case_of, self.case_of[indices], side="right") - 1
        planes = np.clip(planes, first[:, None], last[:, None])
        return torch.from_numpy(self.images[planes].astype(np.float32))

    def pixel_areas(self) -> NDArray[np.float64]:
        """`(N,)` area of a pixel of every slice in square millimetres."""
        return np.asarray(self.pixel_mm2, np.float64)[self.case_of]

    def parts(self, largest: int) -> list[NDArray[np.int64]]:
        """Indices of all slices, in as few parts of at most `largest` as there can be.

        Parts are as equal in size as they can be, and each is spread over the whole: of two parts, one has
        every second slice, because neighbouring slices look alike.
        """
        count = -(-len(self) // largest)
        return [np.arange(first, len(self), count) for first in range(count)]

    def label(self, indices: NDArray[np.int64]) -> Tensor:
        """Labels of the middle slices, `(B, size, size)` int64 on the CPU."""
        if self.labels is None:
            raise ValueError("this domain was loaded without labels")
        return torch.from_numpy(self.labels[indices].astype(np.int64))


def in_parts(rows: NDArray[np.int64], largest: int = 8) -> list[NDArray[np.int64]]:
    """Indices of slices in their order, in parts of at most `largest` that fit through a network together."""
    return np.split(rows, range(largest, len(rows), largest))


def window_slices(volume: Volume, intensity: Intensity, grid: SliceGrid) -> NDArray[np.float16]:
    """One volume as training slices.

    Returns:
        `(N, size, size)` float16 in [-1, 1]; padding is -1.
    """
    shape = grid.plane_shape(volume)
    planes = grid.cut(intensity.apply(volume.canonical().array))
    found = np.empty((len(planes), grid.size, grid.size), np.float16)
    for part in _parts(len(planes), shape):
        image = torch.from_numpy(np.ascontiguousarray(planes[part]))[:, None]
        image = resample_plane(image, shape)[:, 0]
        found[part] = fit_window(image, (grid.size, grid.size), -1.0).numpy()
    return found


def window_labels(labels: Volume, grid: SliceGrid) -> NDArray[np.uint8]:
    """The labels that belong to `window_slices`, `(N, size, size)` uint8; padding is background."""
    shape = grid.plane_shape(labels)
    planes = grid.cut(labels.canonical().array)
    found = np.empty((len(planes), grid.size, grid.size), np.uint8)
    for part in _parts(len(planes), shape):
        image = resample_labels(torch.from_numpy(np.ascontiguousarray(planes[part])), shape)
        found[part] = fit_window(image, (grid.size, grid.size), 0).numpy()
    return found


def _parts(count: int, shape: tuple[int, int]) -> Iterator[slice]:
    """Parts of `count` slices whose resampled pixels fit well into memory."""
    step = max(1, _PIXELS_AT_ONCE // (shape[0] * shape[1]))
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


def fill_store(
    items: Iterable[tuple[str, Volume, Volume | None]],
    counts: Sequence[int],
    grid: SliceGrid,
    intensity: Intensity,
    *,
    with_labels: bool,
    cache_folder: Path | None = None,
) -> SliceStore:
    """Read volumes one by one into a store.

    Args:
        items: case name, image, labels (None for a domain without labels); read lazily.
        counts: number of slices of each item.
        grid: the run's slice grid.
        intensity: the domain's fitted intensities.
        with_labels: whether labels are kept; without it they are not even looked at.
        cache_folder: where to map the arrays when they do not fit into memory; None keeps them in
            memory.
    """
    total, side = int(sum(counts)), grid.size
    images = _array("images", (total, side, side), np.float16, cache_folder)
    labels = _array("labels", (total, side, side), np.uint8, cache_folder) if with_labels else None
    case_of = np.repeat(np.arange(len(counts)), counts)
    names: list[str] = []
    slice_mm: list[float] = []
    pixel_mm2: list[float] = []
    start = 0
    for name, image, label in items:
        slices = window_slices(image, intensity, grid)
        stop = start + len(slices)
        images[start:stop] = slices
        if labels is not None:
            if label is None:
                raise ValueError(f"{name}: no labels given")
            labels[start:stop] = window_labels(label, grid)
        names.append(name)
        slice_mm.append(image.canonical().lattice.gaps_mm[grid.axis])
        pixel_mm2.append(grid.pixel_mm2(image))
        start = stop
    sizes = tuple(slice_mm), tuple(pixel_mm2)
    return SliceStore(images, labels, case_of, tuple(names), grid.neighbours, *sizes)


def _array(
    name: str, shape: tuple[int, ...], dtype: type[np.generic], folder: Path | None
) -> NDArray[Any]:
    if folder is None:
        return np.empty(shape, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
