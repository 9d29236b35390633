"""From probabilities at the network's pixels to classes and entropy at those of the file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from napari_uda.data.classes import first_highest, likeliest
from napari_uda.data.slices import resample_plane
from napari_uda.losses.entropy import entropy_of_probabilities

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

_TINY = np.float32(1e-12)
_CLOSE = 1 / 255
"""How far entropy may be below that of resampled probabilities: a step of the file that it is written to."""
_OPEN = np.uint8(255)
_MOST_OPEN = 1 / 3
"""Share of pixels from which on all of them together take less time than these one by one."""


def classes_and_entropy(
    probabilities: Tensor, shape: tuple[int, int]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Resample probabilities, and take the likeliest class and the normalised entropy of every pixel.

    On a CPU it is done slice by slice in numpy, whose logarithm and comparisons take a third of torch's time,
    so that no more than the probabilities of one slice are held at full resolution. Of slices that are enlarged,
    only the pixels that need it are: see `_settled`.

    Args:
        probabilities: `(B, C, h, w)` float32, sum 1 over C, contiguous.
        shape: H and W of the file's slices.

    Yields:
        For each slice its classes `(H, W)`, whole numbers, and its entropy `(H, W)` in [0, 1] (`losses.entropy`); of
        an enlarged slice up to 1/255 below it on a CPU.
    """
    if probabilities.device.type != "cpu":
        fine = resample_plane(probabilities, shape)
        classes, entropy = likeliest(fine).byte(), entropy_of_probabilities(fine)
        yield from zip(classes.cpu().numpy(), entropy.cpu().numpy(), strict=True)
        return
    enlarged = all(1 < few < many for few, many in zip(probabilities.shape[2:], shape, strict=True))
    for one in probabilities:
        found = _enlarged(one, shape) if enlarged else None
        if found is None:
            shares = resample_plane(one[None], shape)[0].numpy()
            found = first_highest(shares), _entropy(shares)
        yield found


def _enlarged(
    probabilities: Tensor, shape: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """Classes and entropy `(H, W)` of `(C, h, w)`; None where too many pixels are open."""
    shares, width = probabilities.numpy(), probabilities.shape[2]
    coarse = _entropy(shares)
    (above, below, down), (left, right, along) = (
        _between(*sides) for sides in zip(shares.shape[1:], shape, strict=True)
    )
    classes = _settled(shares, coarse).take(left, 1).take(above, 0)
    pixels = np.flatnonzero(classes == _OPEN)
    if pixels.size > _MOST_OPEN * classes.size:
        return None
    resampled = F.interpolate(torch.from_numpy(coarse)[None, None], shape, mode="bilinear")
    entropy: NDArray[np.float32] = resampled[0, 0].numpy()
    # (C, N) at the four corners, mixed as bilinear resampling does
    rows, columns = np.divmod(pixels, shape[1])
    flat, down, along = shares.reshape(len(shares), -1), down[rows], along[columns]
    left, right = left[columns], right[columns]
    upper, lower = (
        _mixed(flat.take(start + left, 1), flat.take(start + right, 1), along)
        for start in (above[rows] * width, below[rows] * width)
    )
    mixed = _mixed(upper, lower, down)
    classes.reshape(-1)[pixels], entropy.reshape(-1)[pixels] = (
        first_highest(mixed),
        _entropy(mixed),
    )
    return classes, entropy


def _settled(shares: NDArray[np.float32], entropy: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The class of all that lies between a pixel and the next ones to the right and below, or 255 where it is open.

    A mean of probabilities with one likeliest class has that class. Its entropy is above the same mean of
    entropies by some gap, which is a concave function of the weights and 0 at the corners, so that nowhere
    between them it is more than four times what it is in the middle.

    Args:
        shares: `(C, h, w)`, probabilities.
        entropy: theirs, `(h, w)`.

    Returns:
        `(h, w)`.
    """
    classes = first_highest(shares)
    gap = _entropy(_middles(shares)) - _middles(entropy)
    first = classes[:-1, :-1]
    is_open = gap > _CLOSE / 4
    for other in (classes[1:, :-1], classes[:-1, 1:], classes[1:, 1:]):
        is_open |= other != first
    # what lies beyond the last pixels is what lies at their edge
    return np.pad(np.where(is_open, _OPEN, first), ((0, 1), (0, 1)), "edge")


def _middles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over four neighbouring pixels, `(..., h, w)` to `(..., h - 1, w - 1)`."""
    pairs = values[..., 1:, :] + values[..., :-1, :]
    means = pairs[..., 1:] + pairs[..., :-1]
    means *= np.float32(0.25)
    return means


def _between(
    coarse: int, fine: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The pixels before and after every finer one, `(fine,)`, and how far it is from the first to the second."""
    place = (np.arange(fine, dtype=np.float32) + np.float32(0.5)) * np.float32(coarse / fine)
    place = np.maximum(place - np.float32(0.5), 0)
    before = np.minimum(place.astype(np.int64), coarse - 1)
    return before, np.minimum(before + 1, coarse - 1), place - before.astype(np.float32)


def _mixed(
    first: NDArray[np.float32], second: NDArray[np.float32], part: NDArray[np.float32]
) -> NDArray[np.float32]:
    return first + (second - first) * part


def _entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """`-sum_c p_c log p_c / log C` over the first axis."""
    shares = np.maximum(probabilities, _TINY)
    np.log(shares, out=shares)
    shares *= probabilities
    found: NDArray[np.float32] = shares.sum(0)
    found *= np.float32(-1 / math.log(len(probabilities)))
    return np.clip(found, 0, 1, out=found)
