"""Scores of a segmentation that need no reference: each from 0 to 1, and more is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FAR = 4.0
"""A structure this many times larger or smaller than any is as implausible as a missing one."""


def certainty(labels: NDArray[Any], entropy: NDArray[Any]) -> float:
    """1 less the mean entropy of what belongs to a structure; 0 where nothing does.

    Args:
        labels: any shape, 0 for background.
        entropy: the same shape, in [0, 1].
    """
    inside = labels > 0
    return 1.0 - float(entropy[inside].mean(dtype=np.float64)) if inside.any() else 0.0


def plausibility(
    volumes_ml: Mapping[str, float], usual_ml: Mapping[str, tuple[float, float]]
) -> float:
    """Mean over the structures of 1 inside of the usual range, falling to 0 where a volume is 4 times outside.

    It falls with the logarithm of the factor.

    Args:
        volumes_ml: structure name to millilitres.
        usual_ml: structure name to the smallest and largest volume that is usual; 1 in all where there are none.
    """
    found = []
    for name, (low, high) in usual_ml.items():
        volume = volumes_ml[name]
        times = max(low / volume, volume / high, 1.0) if volume > 0 else _FAR
        found.append(1 - min(1.0, math.log(times) / math.log(_FAR)))
    return float(np.mean(found)) if found else 1.0
