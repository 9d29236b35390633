"""Slices of any size through a network: padded, or in overlapping windows blended with Gaussian weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_uda.data.slices import fit_window

_TILED_ABOVE = 4
"""Windows along a side from which on a slice is taken to be too large for one pass."""


def predict_any_size(
    network: Callable[[Tensor], Tensor], image: Tensor, channels: int, window: int, stride: int
) -> Tensor:
    """Apply a network to images of any size: padded to its stride, window by window when very large.

    Args:
        network: `(B, K, h, w)`, sides multiples of `stride`, to `(B, channels, h, w)`.
        image: `(B, K, H, W)` in [-1, 1]; padded with -1.
        channels: output channels.
        window: side of the training window in pixels.
        stride: of the network.

    Returns:
        `(B, channels, H, W)`.
    """
    height, width = image.shape[-2:]
    if max(height, width) > _TILED_ABOVE * window:
        return predict_in_tiles(network, image, channels, window)
    rows, columns = (-(-side // stride) * stride for side in (height, width))
    padded = fit_window(image, (rows, columns), -1.0)
    return fit_window(network(padded), (height, width), 0.0)


def predict_in_tiles(
    predict: Callable[[Tensor], Tensor], image: Tensor, channels: int, window: int
) -> Tensor:
    """Apply a network window by window, half a window apart.

    Args:
        predict: `(B, K, window, window)` to `(B, channels, window, window)`.
        image: `(B, K, H, W)`, any size; padded with -1 where it is smaller than the window.
        channels: output channels.
        window: side of the window in pixels.

    Returns:
        `(B, channels, H, W)` float32: the weighted mean of all windows over a pixel.
    """
    height, width = image.shape[-2:]
    padded = F.pad(image, (0, max(0, window - width), 0, max(0, window - height)), value=-1.0)
    rows, columns = padded.shape[-2:]
    offsets = torch.arange(window, device=image.device) - (window - 1) / 2
    profile = torch.exp(-(offsets**2) / (2 * (window / 8) ** 2)).clamp_min(1e-3)
    weight = profile[:, None] * profile
    total = image.new_zeros((len(image), channels, rows, columns), dtype=torch.float32)
    weights = image.new_zeros((rows, columns), dtype=torch.float32)
    for top in _starts(rows, window):
        for left in _starts(columns, window):
            tile = (..., slice(top, top + window), slice(left, left + window))
            total[tile] += predict(padded[tile].contiguous()).float() * weight
            weights[tile] += weight
    return (total / weights)[..., :height, :width]


def _starts(length: int, window: int) -> list[int]:
    """Window starts half a window apart, the last one flush with the end."""
    return [*range(0, length - window, max(1, window // 2)), length - window]
