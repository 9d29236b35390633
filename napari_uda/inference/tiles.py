"""Very large slices in overlapping windows, blended with Gaussian weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


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
