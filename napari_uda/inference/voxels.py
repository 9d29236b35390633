"""From probabilities at the network's pixels to classes and entropy at those of the file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_uda.data.slices import resample_plane
from napari_uda.losses.entropy import entropy_of_probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_TINY = np.float32(1e-12)


def classes_and_entropy(
    probabilities: Tensor, shape: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Resample probabilities, and take the likeliest class and the normalised entropy of every pixel.

    On a CPU it is done slice by slice in numpy, whose logarithm and comparisons take a third of torch's time,
    so that no more than the probabilities of one slice are held at full resolution.

    Args:
        probabilities: `(B, C, h, w)` float32, sum 1 over C, contiguous.
        shape: H and W of the file's slices.

    Returns:
        Classes `(B, H, W)`, whole numbers, and entropy `(B, H, W)` in [0, 1] (`losses.entropy`).
    """
    if probabilities.device.type != "cpu":
        fine = resample_plane(probabilities, shape)
        return fine.argmax(1).byte().cpu().numpy(), entropy_of_probabilities(fine).cpu().numpy()
    classes = np.zeros((len(probabilities), *shape), np.uint8)
    entropy = np.empty(classes.shape, np.float32)
    for index in range(len(probabilities)):
        one = resample_plane(probabilities[index : index + 1], shape)[0].numpy()
        _first_highest(one, classes[index])
        _entropy(one, entropy[index])
    return classes, entropy


def _first_highest(values: NDArray[np.float32], found: NDArray[np.uint8]) -> None:
    """Index of the highest of `(C, H, W)`, the first one where several are; `found` begins as zeros."""
    highest = values[0].copy()
    for index, plane in enumerate(values[1:], 1):
        higher = (plane > highest).view(np.uint8)
        np.maximum(found, higher * np.uint8(index), out=found)
        np.maximum(highest, plane, out=highest)


def _entropy(probabilities: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    """`-sum_c p_c log p_c / log C` of `(C, H, W)`."""
    shares = np.maximum(probabilities, _TINY)
    np.log(shares, out=shares)
    shares *= probabilities
    shares.sum(0, out=found)
    found *= np.float32(-1 / math.log(len(probabilities)))
    np.clip(found, 0, 1, out=found)
