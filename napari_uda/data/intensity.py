"""Intensities to [-1, 1]: fixed CT windows, percentile clip or z-score; fitted once, stored in the run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from napari_uda.core.config import Config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CT_BODY_HU = -300.0
"""Voxels below this are air or lung and do not take part when a CT window is fitted."""

_MAX_SAMPLES = 400_000
_SMALLEST_WIDTH = 1e-6  # of the values: what float32 can tell apart
_LARGEST = 1e30


class IntensityConfig(Config):
    """How raw intensities become [-1, 1]."""

    mode: Literal["auto", "window", "percentile", "zscore"] = "auto"
    """How raw intensities become the range from -1 to 1: window (fixed raw values), percentile
    (percentiles of each volume), zscore (mean and deviation of each volume), or auto (window if
    dataset.json, or else the DICOM images, say CT; percentile if not)."""
    window: tuple[float, float] = (0.0, 0.0)
    """For mode window: the raw values (HU for CT) that become -1 and 1; (0, 0) fits them to the
    training volumes."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """For mode percentile: the percentiles (0 to 100) of a volume that become -1 and 1; a window is
    fitted with them, too."""
    z_range: tuple[float, float] = (-2.8, 3.2)
    """For mode zscore: the z-scores that become -1 and 1 (SIFA: -2.8 and 3.2 for CT, -1.8 and 4.4
    for MR)."""

    @model_validator(mode="after")
    def _low_before_high(self) -> Self:
        for name in ("window", "percentiles", "z_range"):
            low, high = getattr(self, name)
            if low >= high and (name, low, high) != ("window", 0, 0):
                raise ValueError(f"{name} is {low:g} to {high:g}; give the lower value first")
        if self.percentiles[0] < 0 or self.percentiles[1] > 100:
            raise ValueError(
                f"percentiles are {self.percentiles[0]:g} and {self.percentiles[1]:g}; "
                "give numbers from 0 to 100"
            )
        return self

    def contradicts(self, fitted: Intensity) -> bool:
        """Whether a mapping that was fitted before is another one than these settings ask for."""
        wanted = {
            "window": self.window if self.window != (0, 0) else fitted.bounds,
            "percentile": self.percentiles,
            "zscore": self.z_range,
        }
        if self.mode == "auto":
            return False
        return self.mode != fitted.mode or wanted[self.mode] != fitted.bounds


class Intensity(Config):
    """Fitted intensity mapping: the numbers a run stores and uses again at prediction."""

    mode: Literal["window", "percentile", "zscore"]
    """What `bounds` are: window (raw values), percentile (percentiles of each volume) or zscore
    (z-scores of each volume)."""
    bounds: tuple[float, float]
    """The values that become -1 and 1, in the unit that `mode` names."""
    clip_percentile: float = Field(default=98.0, ge=50, le=100)
    """For mode zscore only: intensities above this percentile of the volume are clipped first."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        low, high = self.bounds
        least, most = (0.0, 100.0) if self.mode == "percentile" else (-_LARGEST, _LARGEST)
        if not least <= low <= high <= most:
            raise ValueError(f"bounds are {low:g} and {high:g}, which no {self.mode} can have")
        return self

    def raw_bounds(self, array: NDArray[np.generic]) -> tuple[float, float]:
        """Raw intensities of one volume that map to -1 and 1.

        Args:
            array: any shape, raw intensities.

        Returns:
            `(low, high)` with `high > low` (a constant volume gets a width of 1, or more where its values
            are so large that 1 is nothing to them).
        """
        low, high = self.bounds
        if self.mode == "percentile":
            low, high = (float(v) for v in np.percentile(thinned(array, _MAX_SAMPLES), self.bounds))
        elif self.mode == "zscore":
            values = thinned(array, _MAX_SAMPLES).astype(np.float64)
            values = np.minimum(values, np.percentile(values, self.clip_percentile))
            mean, deviation = float(values.mean()), float(values.std()) or 1.0
            low, high = mean + low * deviation, mean + high * deviation
        return (low, high) if high > low else (low, low + max(1.0, abs(low) * _SMALLEST_WIDTH))

    def typical_bounds(self, arrays: Sequence[NDArray[np.generic]]) -> tuple[float, float]:
        """Raw intensities that map to -1 and 1 in a typical volume: medians over `arrays`."""
        low, high = np.median([self.raw_bounds(array) for array in arrays], axis=0)
        return float(low), float(high)

    def apply(self, array: NDArray[np.generic]) -> NDArray[np.float32]:
        """Map raw intensities of one volume to [-1, 1], clipped.

        Args:
            array: any shape, raw intensities of one whole volume.

        Returns:
            float32, same shape.
        """
        return to_unit_range(array, self.raw_bounds(array))


def to_unit_range(array: NDArray[np.generic], bounds: tuple[float, float]) -> NDArray[np.float32]:
    """Map raw intensities to [-1, 1], clipped: all of a volume, or a part of it by the bounds of the whole.

    Args:
        array: any shape, raw intensities.
        bounds: the values that become -1 and 1 (`Intensity.raw_bounds`).

    Returns:
        float32, same shape.
    """
    low, high = bounds
    scaled = array.astype(np.float32)
    scaled -= np.float32((low + high) / 2)
    scaled *= np.float32(2 / (high - low))
    return np.clip(scaled, -1, 1, out=scaled)


def fit_intensity(
    config: IntensityConfig, arrays: Sequence[NDArray[np.generic]], modality: str = ""
) -> Intensity:
    """Turn the settings into fitted numbers.

    Args:
        config: the user's choice.
        arrays: some training volumes, raw intensities.
        modality: as the data folder has it; "CT" makes mode auto a fixed window.

    Returns:
        The mapping to store in the run.
    """
    mode = config.mode
    if mode == "auto":
        is_ct = modality.strip().upper().startswith("CT")
        mode = "window" if is_ct else "percentile"
    if mode == "percentile":
        return Intensity(mode=mode, bounds=config.percentiles)
    if mode == "zscore":
        return Intensity(mode=mode, bounds=config.z_range)
    if config.window != (0.0, 0.0):
        return Intensity(mode=mode, bounds=config.window)
    body = np.concatenate([thinned(array, _MAX_SAMPLES) for array in arrays])
    body = body[body > CT_BODY_HU] if (body > CT_BODY_HU).any() else body
    low, high = (float(v) for v in np.percentile(body, config.percentiles))
    return Intensity(mode=mode, bounds=(low, high))


def thinned(array: NDArray[Any], most: int) -> NDArray[Any]:
    """About `most` voxels of a regular grid along the two longest axes, flat; all when there are fewer.

    The grid follows the axes, not the memory, so that a volume read in RAS+ order gives the same
    voxels however its file was stored.
    """
    step = math.ceil(math.sqrt(array.size / most))
    if step <= 1:
        return np.ravel(array, order="K")  # a view for any contiguous order
    longest = sorted(range(array.ndim), key=lambda axis: (-array.shape[axis], axis))[:2]
    return array[
        tuple(slice(None, None, step if axis in longest else None) for axis in range(array.ndim))
    ].ravel()
