"""Probabilities averaged over neighbouring slices, by how many millimetres these lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_uda.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FARTHEST = 3.0
"""Standard deviations beyond which a slice has no say."""
_MOST_MM = 20.0


def check_smoothing(smooth_mm: float) -> None:
    """Refuse a width that smooths nothing in any organ, or all of it.

    Raises:
        InputError: unless it is between 0, which is off, and 20 mm.
    """
    if not 0 <= smooth_mm <= _MOST_MM:
        raise InputError(
            f"smooth_mm is {smooth_mm:g}; give millimetres from 0 (off) to {_MOST_MM:g}"
        )


def slices_in_reach(smooth_mm: float, slice_mm: float) -> int:
    """How many slices on either side have a say in one; 0 where they lie far apart, or it is off."""
    return int(_FARTHEST * smooth_mm / slice_mm)


def smoothed_over_slices(
    probabilities: Tensor, indices: NDArray[np.int64], wanted: slice, distance: float
) -> Tensor:
    """The mean of each wanted slice with its neighbours, as far as there are any, weighted by a Gaussian.

    Args:
        probabilities: `(N, C, h, w)` of slices in a row.
        indices: `(N,)`, which slices these are.
        wanted: the slices to return, among them.
        distance: of two neighbours, in standard deviations.

    Returns:
        `(M, C, h, w)`; probabilities, as means of such are.
    """
    apart = distance * (np.arange(wanted.start, wanted.stop)[:, None] - indices)
    weights = np.exp(-0.5 * apart**2) * (np.abs(apart) <= _FARTHEST)  # (M, N)
    weights /= weights.sum(1, keepdims=True)
    shares = torch.from_numpy(weights).to(probabilities)
    mean: Tensor = torch.tensordot(shares, probabilities, dims=1)
    return mean
