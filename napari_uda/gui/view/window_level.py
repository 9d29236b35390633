"""Window and level of an image: the presets of CT, percentiles for MR, and what a drag of the mouse changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from napari.layers import Image

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
    def of(cls, layer: Image) -> Window:
        """The window an image is shown with."""
        low, high = (float(limit) for limit in layer.contrast_limits)
        return cls(high - low, (low + high) / 2)

    @property
    def limits(self) -> tuple[float, float]:
        """Intensities that are black and white."""
        return self.level - self.width / 2, self.level + self.width / 2

    def apply(self, layer: Image) -> None:
        """Show an image with this window."""
        if tuple(layer.contrast_limits) != self.limits:
            layer.contrast_limits = self.limits

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


def percentile_window(layer: Image, low: float, high: float) -> Window:
    """The window between two percentiles of an image, from at most 200 000 of its voxels."""
    first, last = np.percentile(_sample(layer), (low, high))
    return _between(float(first), float(last))


def data_range(layer: Image) -> float:
    """Largest minus smallest intensity, from a sample; 1 for a constant image."""
    sample = _sample(layer)
    return float(sample.max() - sample.min()) or 1.0


def looks_like_ct(layer: Image) -> bool:
    """Whether an image seems to be in Hounsfield units: some of its voxels are air."""
    return float(_sample(layer).min()) <= _CT_AIR


def usual_window(layer: Image) -> Window:
    """Soft tissue for what looks like CT; the 1st to 99th percentile otherwise."""
    if looks_like_ct(layer):
        return CT_PRESETS["soft tissue"]
    return percentile_window(layer, *PERCENTILES[0])


def _between(low: float, high: float) -> Window:
    width = high - low
    return Window(width if width > 0 else 1.0, (low + high) / 2)


def _sample(layer: Image) -> np.ndarray:
    """Voxels spread evenly over the volume, as floats; a single 0 for an empty one."""
    data = np.asarray(layer.data)
    step = math.ceil((data.size / _SAMPLE) ** (1 / 3)) or 1
    sample = data[::step, ::step, ::step].astype(np.float64).ravel()
    sample = sample[np.isfinite(sample)]
    return sample if sample.size else np.zeros(1)
