"""How many slices go through a network at once, and fewer of them when memory runs out."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from napari_uda.core.errors import InputError, NotFiniteError, ran_out_of_memory

logger = logging.getLogger(__name__)

_PIXELS_PER_BATCH = {"cpu": 8 * 256 * 256, "cuda": 128 * 256 * 256}
"""Pixels of one forward pass; smaller when memory runs out."""


def first_batch(device: torch.device, pixels: int) -> int:
    """Slices of so many pixels to begin with on a device, at least 1."""
    return max(1, _PIXELS_PER_BATCH.get(device.type, 1) // pixels)


def check_finite(maps: Tensor, case: str) -> None:
    """Refuse what a network made if any of it is NaN or infinite.

    Args:
        maps: probabilities or images, any shape, the finite ones of numbers whose sum is finite.
        case: name of the volume.

    Raises:
        NotFiniteError: naming the volume.
    """
    # a sum of NaN or infinity is none of the finite ones, and takes a tenth of looking at each
    if not math.isfinite(float(maps.sum())):
        raise NotFiniteError(
            f"{case or 'the volume'}: the network's result holds numbers that are not finite (NaN or "
            "infinity), so there is none; use a run with precision fp32, or train it again with a lower "
            "learning rate"
        )


def smaller_batch(error: RuntimeError | MemoryError, size: int, case: str) -> int:
    """Half the batch when memory ran out; any other error goes on.

    Raises:
        InputError: when not even one slice fits.
    """
    if not ran_out_of_memory(error):
        raise error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if size == 1:
        raise InputError(
            f"{case}: one slice does not fit into memory; use another device or a larger pixel size"
        ) from error
    logger.warning("memory ran out with %d slices at once; going on with %d", size, size // 2)
    return size // 2
