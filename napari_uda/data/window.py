"""Window and level of an image: presets of CT, percentiles for what has no scale, such as MR."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SAMPLE = 200_000  # voxels that percentiles are taken from
_CT_AIR = -500  # Hounsfield units: nothing but CT reaches far below zero
_PIXELS_OF_RANGE = 600  # a drag of so many pixels crosses the whole range of the data
_LEAST_SHARE = 1e-4  # of the range: the narrowest window a drag gives


@dataclass(frozen=True)
class Window:
    """A window in the image's own units: `level` is its middle, `width` what lies between black and white."""

    width: float
    level: float

    @classmethod
    def between(cls, low: float, high: float) -> Self:
        """The window from the intensity that is black to the one that is white."""
        return cls(high - low, (low + high) / 2)

    @property
    def limits(self) -> tuple[float, float]:
        """Intensities that are black and white."""
        return self.level - self.width / 2, self.level + self.width / 2

    @property
    def decimals(self) -> int:
        """Digits after the point that its numbers need."""
        return 0 if self.width >= 50 else 2 if self.width >= 0.5 else 5

    def __str__(self) -> str:
        """`W 400  L 40`, with as many digits as the width needs."""
        level = self.level + math.copysign(1e-9, self.level)  # a half away from zero, as Qt rounds
        return f"W {self.width:.{self.decimals}f}  L {level:.{self.decimals}f}"

    def dragged(self, right: float, down: float, data_range: float) -> Window:
        """The window after a drag: to the right wider, downwards darker (a higher level).

        Args:
            right: pixels to the right.
            down: pixels downwards.
            data_range: largest minus smallest intensity of the image.
        """
        per_pixel = data_range / _PIXELS_OF_RANGE
        width = max(self.width + right * per_pixel, data_range * _LEAST_SHARE)
        return Window(width, self.level + down * per_pixel)


CT_PRESETS = {
    "soft tissue": Window(400, 40),
    "liver": Window(150, 90),
    "mediastinum": Window(350, 50),
    "lung": Window(1500, -600),
    "bone": Window(2500, 480),
    "brain": Window(80, 40),
}
"""Windows in Hounsfield units, by the organ they are for."""
PERCENTILES = ((1.0, 99.0), (0.5, 99.5), (5.0, 95.0), (0.0, 100.0))
"""Percentiles between which an image without a scale, such as MR, is shown."""


def percentile_window(volume: ArrayLike, low: float, high: float) -> Window:
    """The window between two percentiles of `(Z, Y, X)` intensities, from at most 200 000 voxels."""
    first, last = (float(limit) for limit in np.percentile(_sample(volume), (low, high)))
    return Window(last - first or 1.0, (first + last) / 2)


def data_range(volume: ArrayLike) -> float:
    """Largest minus smallest intensity, from a sample; 1 for a constant image."""
    sample = _sample(volume)
    return float(sample.max() - sample.min()) or 1.0


def looks_like_ct(volume: ArrayLike) -> bool:
    """Whether some of `(Z, Y, X)` intensities are those of air in Hounsfield units."""
    return float(_sample(volume).min()) <= _CT_AIR


def usual_window(volume: ArrayLike) -> Window:
    """Soft tissue for what looks like CT, because some of it is air; else the 1st to 99th percentile.

    The whole range where these two are equal, as in a map that is empty but for one thing.
    """
    if looks_like_ct(volume):
        return CT_PRESETS["soft tissue"]
    sample = _sample(volume)
    first, last = (float(limit) for limit in np.percentile(sample, PERCENTILES[0]))
    if first == last:
        first, last = float(sample.min()), float(sample.max())
    return Window(last - first or 1.0, (first + last) / 2)


def _sample(volume: ArrayLike) -> NDArray[np.float64]:
    """Voxels spread evenly over the volume; a single 0 for an empty one."""
    data = np.asarray(volume)
    step = math.ceil((data.size / _SAMPLE) ** (1 / 3)) or 1
    sample = data[::step, ::step, ::step].astype(np.float64).ravel()
    sample = sample[np.isfinite(sample)]
    return sample if sample.size else np.zeros(1)
