"""SIFA's generator and decoder: residual networks that add to the slice they are given, before the tanh.

Reference: Chen et al., TMI 2020, sec. III-D; the layers are those of the released code, written anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_uda.networks.dropout import Dropout
from napari_uda.networks.init import initialise_truncated
from napari_uda.networks.row_convolution import RowConvolution

STRIDE = 4
SMALLEST = 8


class ResidualGenerator(nn.Module):
    """G_t: 7x7 convolution, two halvings, residual blocks, two doublings, `tanh(slice + change)`.

    Args:
        width: channels at full resolution; 32 in the paper.
        blocks: residual blocks at a quarter of the resolution; 9 in the paper.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(1, width, 7),
            *_convolution(width, 2 * width, 3, stride=2),
            *_convolution(2 * width, 4 * width, 3, stride=2),
            *(_ResidualBlock(4 * width) for _ in range(blocks)),
            *_doublings((4 * width, 2 * width, width)),
            RowConvolution(width, 1, 7, padding=3),
        )
        initialise_truncated(self, 0.02)

    def forward(self, image: Tensor) -> Tensor:
        """`(B, 1, H, W)` float in [-1, 1] -> the same shape and range, float32."""
        height, width = image.shape[-2:]
        below, right = (max(SMALLEST, -(-s // STRIDE) * STRIDE) - s for s in (height, width))
        padded = F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
        change = self.layers(padded)[..., :height, :width]
        # tanh in float32: bfloat16 has steps of 1/256 near -1 and 1
        return torch.tanh(image.float() + change.float())


class ImageDecoder(nn.Module):
    """U: from a segmentor's features to the slice in the other look, `tanh(slice + change)`.

    3x3 convolution, residual blocks of 4 w channels, then as many doublings as the features are halved, to
    2 w, 2 w and w channels, the first of them where there are fewer.

    Args:
        features: channels of the features.
        stride: how much smaller than the slice they are, a power of 2.
        width: w; 32 in the paper.
        blocks: residual blocks; 4 in the paper.
    """

    def __init__(self, features: int, stride: int, width: int, blocks: int) -> None:
        super().__init__()
        doublings = stride.bit_length() - 1
        steps_up = [2 * width, 2 * width, width][:doublings] + [width] * (doublings - 3)
        channels = [4 * width, *steps_up]
        self.layers = nn.Sequential(
            *_convolution(features, 4 * width, 3),
            *(_ResidualBlock(4 * width) for _ in range(blocks)),
            *_doublings(channels),
            RowConvolution(channels[-1], 1, 7, padding=3),
        )
        initialise_truncated(self, 0.02)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """The slice in the other look.

        Args:
            features: `(B, F, h, w)` of the slice.
            image: `(B, 1, H, W)`, the slice, float in [-1, 1].

        Returns:
            `(B, 1, H, W)` float32 in [-1, 1].
        """
        height, width = image.shape[-2:]
        # features of odd sizes are a row and a column larger
        change = self.layers(features)[..., :height, :width]
        return torch.tanh(image.float() + change.float())


class _ResidualBlock(nn.Module):
    """`relu(x + N(conv(relu(N(conv(x))))))`, 3x3, borders of zeros."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(channels, channels, 3), *_convolution(channels, channels, 3)[:-1]
        )

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(features + self.layers(features))


def _convolution(before: int, after: int, size: int, *, stride: int = 1) -> list[nn.Module]:
    """Convolution with bias, dropout, instance normalisation, ReLU."""
    kind = RowConvolution if size == 7 else nn.Conv2d
    return [
        kind(before, after, size, stride=stride, padding=size // 2),
        *(Dropout(0.0), nn.InstanceNorm2d(after, eps=1e-6, affine=True), nn.ReLU()),
    ]


def _doublings(channels: Sequence[int]) -> list[nn.Module]:
    """Transposed 3x3 convolutions from the first number of channels to the others, each with twice the size."""
    return [
        layer
        for before, after in pairwise(channels)
        for layer in (
            nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1),
            *(Dropout(0.0), nn.InstanceNorm2d(after, eps=1e-6, affine=True), nn.ReLU()),
        )
    ]
