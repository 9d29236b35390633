"""Entropy as bytes, in which files and large predictions hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

EntropyType = Literal["uint8", "float32"]
"""uint8 is in steps of 1/255."""

ENTROPY_SLOPE = float(np.nextafter(np.float32(1 / 255), np.float32(0)))
"""What the bytes are multiplied by: 1/255 as a float32, rounded so that 255 is not above 1."""


def in_steps(entropy: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Entropy in [0, 1], any shape, as uint8 in steps of 1/255."""
    steps = entropy * np.float32(255)
    np.rint(steps, out=steps)
    return np.clip(steps, 0, 255, out=steps).astype(np.uint8)


def in_unit_range(entropy: NDArray[Any]) -> NDArray[np.float32]:
    """Entropy as float32 in [0, 1]: what is in steps is scaled back, float32 is given back itself."""
    if entropy.dtype != np.uint8:
        return entropy
    return entropy * np.float32(ENTROPY_SLOPE)
