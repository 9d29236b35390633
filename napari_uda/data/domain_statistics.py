"""What the images of a domain look like, in numbers: measured in training, compared with every volume later.

Kept are ranges of spacings, of fields of view and of grey values, quantiles of the mapped intensities,
and one mean picture of a few hundred cells, with how far the training images are from each other. No
single image can be told from them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from napari_uda.core.config import Config
from napari_uda.data.intensity import Intensity, thinned

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.data.volume import Volume

PROFILE_PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
GREY_PERCENTILES = (1, 50, 99)
PICTURE_SHAPE = (6, 12, 12)
"""Cells of a picture from foot to head, back to front and left to right: enough to tell anatomies and
flips apart (leave-one-out over cardiac and abdominal source images), too few to show a patient."""

_SAMPLES = 50_000
_SAMPLES_PER_CELL = 6  # along each axis; a mean of 216 voxels is steady enough
_PROFILE_FLOOR = 0.03  # of the range from -1 to 1: what a few voxels more of air change
_PROFILE_PRIOR = 3  # images that vary by the floor, so that two alike do not pass for all
_LARGEST = 127

Three = tuple[float, float, float]
Range = tuple[float, float]
Nine = tuple[float, float, float, float, float, float, float, float, float]


@dataclass(frozen=True, eq=False)
class VolumeStatistics:
    """What is compared of one volume; axes are canonical: foot to head, back to front, left to right.

    Attributes:
        spacing_mm: distance of neighbouring voxels.
        extent_mm: the field of view.
        grey: raw values at 1, 50 and 99 %.
        profile: `(9,)` mapped intensities in [-1, 1] at `PROFILE_PERCENTILES`.
        picture: `PICTURE_SHAPE` mean mapped intensities of the cells.
    """

    spacing_mm: Three
    extent_mm: Three
    grey: Three
    profile: NDArray[np.float64]
    picture: NDArray[np.float64]


class DomainStatistics(Config):
    """What the training images of one domain look like, and how much they differ from each other."""

    volumes: int = Field(ge=1)
    """Number of images that were measured."""
    spacing_mm: tuple[Range, Range, Range]
    """Smallest and largest spacing from foot to head, back to front and left to right."""
    extent_mm: tuple[Range, Range, Range]
    """Smallest and largest field of view in the same directions."""
    grey: tuple[Range, Range, Range]
    """Raw grey values before any mapping: smallest and largest of their percentiles 1, 50 and 99."""
    profile: Nine
    """Mean intensities, mapped to [-1, 1], at the percentiles 1, 5, 10, 25, 50, 75, 90, 95 and 99."""
    profile_spread: Nine
    """Standard deviation of each of them over the images."""
    profile_farthest: float = Field(default=0.0, ge=0)
    """Distance of the image whose profile is farthest from those of the others, in units of the spread."""
    picture: str
    """Mean image of 6 x 12 x 12 cells over the field of view, base64 of int8 (-127 to 127)."""
    likeness: Range | None = None
    """Correlation of an image with the mean of the others: mean and standard deviation; None for one
    image."""
    upright: tuple[Range, Range, Range] | None = None
    """How much better an image agrees with the others as it is than flipped along each axis: mean and
    standard deviation; None for fewer than three images."""

    @model_validator(mode="after")
    def _sizes_and_spreads_are_positive(self) -> Self:
        for name in ("spacing_mm", "extent_mm", "profile_spread"):
            if np.min(getattr(self, name)) <= 0:
                raise ValueError(f"{name} holds a number that is not above 0")
        return self

    @model_validator(mode="after")
    def _ranges_go_up(self) -> Self:
        for name in ("spacing_mm", "extent_mm", "grey"):
            if any(low > high for low, high in getattr(self, name)):
                raise ValueError(f"{name} holds a range whose first number is above the second")
        return self

    @model_validator(mode="after")
    def _picture_has_all_cells(self) -> Self:
        try:
            cells = len(base64.b64decode(self.picture, validate=True))
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"picture is no base64 ({error})") from error
        if cells != np.prod(PICTURE_SHAPE):
            raise ValueError(f"picture has {cells} cells, not {np.prod(PICTURE_SHAPE)}")
        return self

    def mean_picture(self) -> NDArray[np.float64]:
        """The mean picture, `PICTURE_SHAPE`, in [-1, 1]."""
        cells = np.frombuffer(base64.b64decode(self.picture), np.int8)
        return cells.reshape(PICTURE_SHAPE) / _LARGEST

    def profile_distance(self, profile: NDArray[np.float64]) -> float:
        """Distance of a profile from the mean one in units of the spread (root mean square)."""
        spread = np.maximum(self.profile_spread, _PROFILE_FLOOR)  # a run folder may say anything
        return _profile_distance(profile, np.array(self.profile), spread)


def measure_volume(volume: Volume, intensity: Intensity) -> VolumeStatistics:
    """Measure a volume on a few voxels per cell.

    Args:
        volume: raw intensities, in any orientation.
        intensity: how they are mapped to [-1, 1].
    """
    canonical = volume.canonical()
    array = canonical.array
    sample = thinned(array, _SAMPLES)
    low, high = intensity.raw_bounds(sample)

    def mapped(values: NDArray[Any]) -> NDArray[np.float64]:
        scaled = (values.astype(np.float64) - (low + high) / 2) * (2 / (high - low))
        return np.clip(scaled, -1, 1)

    raw = np.percentile(sample, (*GREY_PERCENTILES, *PROFILE_PERCENTILES))
    z, y, x = (float(n * mm) for n, mm in zip(array.shape, canonical.spacing_mm, strict=True))
    first, middle, last = (float(value) for value in raw[:3])
    steps = (
        max(1, count // (cells * _SAMPLES_PER_CELL))
        for count, cells in zip(array.shape, PICTURE_SHAPE, strict=True)
    )
    few = array[tuple(slice(step // 2, None, step) for step in steps)]
    return VolumeStatistics(
        spacing_mm=canonical.spacing_mm,
        extent_mm=(z, y, x),
        grey=(first, middle, last),
        profile=mapped(raw[3:]),
        picture=cell_means(mapped(few), PICTURE_SHAPE),
    )


def cell_means(array: NDArray[np.float64], cells: tuple[int, int, int]) -> NDArray[np.float64]:
    """Means over `cells` equal boxes; along an axis with fewer voxels, boxes share them."""
    for axis, count in enumerate(cells):
        edges = np.linspace(0, array.shape[axis], count + 1)
        start = np.minimum(edges[:-1].astype(int), array.shape[axis] - 1)
        stop = np.maximum(np.ceil(edges[1:] - 1e-9).astype(int), start + 1)
        parts = [
            array.take(range(a, b), axis).mean(axis, keepdims=True)
            for a, b in zip(start, stop, strict=True)
        ]
        array = np.concatenate(parts, axis)
    return array


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson's correlation of two pictures; 0 when one of them is constant."""
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def uprightness(picture: NDArray[np.float64], mean: NDArray[np.float64]) -> Three:
    """How much better a picture agrees with a mean picture than its mirror image does, for each axis.

    It is the correlation of the parts of both that a flip turns into their negatives, weighted by how
    large that part of the picture is: a flipped picture gets the negative.
    """
    centred = picture - picture.mean()
    size = float(np.linalg.norm(centred)) or 1.0
    found = []
    for axis in range(3):
        odd = (mean - np.flip(mean, axis)) / 2
        scale = float(np.linalg.norm(odd)) or 1.0
        found.append(float((centred * odd).sum()) / (size * scale))
    return found[0], found[1], found[2]


def domain_statistics(measured: Sequence[VolumeStatistics]) -> DomainStatistics:
    """Join the measurements of the training images of a domain; each is compared with all others.

    Args:
        measured: at least one.
    """
    profiles = np.array([one.profile for one in measured])
    pictures = np.array([one.picture for one in measured])
    mean, count = pictures.mean(0), len(measured)
    spread = _profile_spread(profiles)
    likeness, upright, farthest = None, None, 0.0
    if count > 1:
        alike, flips, distances = [], [], []
        for index in range(count):
            others = np.delete(pictures, index, 0).mean(0)
            alike.append(correlation(pictures[index], others))
            flips.append(uprightness(pictures[index], others))
            rest = np.delete(profiles, index, 0)
            distances.append(
                _profile_distance(profiles[index], rest.mean(0), _profile_spread(rest))
            )
        likeness, farthest = _mean_and_spread(alike), _rounded(max(distances))
        if count > 2:
            z, y, x = (_mean_and_spread(column) for column in zip(*flips, strict=True))
            upright = z, y, x
    return DomainStatistics(
        volumes=count,
        spacing_mm=_ranges([one.spacing_mm for one in measured]),
        extent_mm=_ranges([one.extent_mm for one in measured]),
        grey=_ranges([one.grey for one in measured]),
        profile=_nine(profiles.mean(0)),
        profile_spread=_nine(spread),
        profile_farthest=farthest,
        picture=base64.b64encode(np.rint(mean * _LARGEST).astype(np.int8).tobytes()).decode(),
        likeness=likeness,
        upright=upright,
    )


def _profile_spread(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation at each percentile, never so small that the first new image stands out."""
    count = len(profiles)
    squares = ((profiles - profiles.mean(0)) ** 2).sum(0)
    floor = _PROFILE_FLOOR**2
    spread: NDArray[np.float64] = np.sqrt(
        (squares + _PROFILE_PRIOR * floor) / (count - 1 + _PROFILE_PRIOR) + floor
    )
    return spread


def _profile_distance(
    profile: NDArray[np.float64], mean: NDArray[np.float64], spread: NDArray[np.float64]
) -> float:
    return float(np.sqrt((((profile - mean) / spread) ** 2).mean()))


def _mean_and_spread(values: Sequence[float]) -> Range:
    return _rounded(float(np.mean(values))), _rounded(float(np.std(values)))


def _ranges(values: Sequence[Three]) -> tuple[Range, Range, Range]:
    z, y, x = (
        (_rounded(min(column)), _rounded(max(column))) for column in zip(*values, strict=True)
    )
    return z, y, x


def _nine(values: NDArray[np.float64]) -> Nine:
    a, b, c, d, e, f, g, h, i = (_rounded(float(value)) for value in values)
    return a, b, c, d, e, f, g, h, i


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
