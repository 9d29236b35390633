"""Colours as `#RRGGBB` and as shares from 0 to 1, and colours that can be read against a background."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray


def hexadecimal(shares: Iterable[float]) -> str:
    """`#RRGGBB` of red, green and blue in [0, 1]; with a fourth share, the opacity, `#RRGGBBAA`."""
    return "#" + "".join(f"{round(255 * float(share)):02X}" for share in shares)


def rgb(colour: str) -> NDArray[np.float64]:
    """Red, green and blue of `#RRGGBB`, `(3,)` in [0, 1]."""
    return np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])


@cache
def readable(
    colour: str, background: str, least_contrast: float = 2.0, *, mixtures: int = 10
) -> str:
    """A colour, moved towards black or white until it stands out against a background.

    Args:
        colour: `#RRGGBB`.
        background: the same.
        least_contrast: WCAG's ratio of the lighter luminance to the darker, 1 to 21.
        mixtures: how many are tried at most, black or white itself being the last.
    """
    own, behind = rgb(colour), _luminance(rgb(background))
    anchor = np.zeros(3) if behind > 0.18 else np.ones(3)
    for share in np.linspace(0, 1, mixtures + 1):
        mixed = own * (1 - share) + anchor * share
        darker, lighter = sorted((_luminance(mixed), behind))
        if (lighter + 0.05) / (darker + 0.05) >= least_contrast:
            break
    return hexadecimal(mixed)


def _luminance(shares: NDArray[np.float64]) -> float:
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))
