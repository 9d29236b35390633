"""Dilated residual network of SIFA and PnP-AdaNet, an encoder of stride 8 with two heads.

Reference: Chen et al., TMI 2020, sec. III-D; the layers are those of the released code, written anew.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_uda.networks.dropout import Dropout
from napari_uda.networks.init import initialise_truncated
from napari_uda.networks.normalisation import NormName, normalisation
from napari_uda.networks.segmentor import Segmentor, SegmentorOutput

STRIDE = 8


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut that is widened by channels of zeros, half of them on each side.

    Args:
        before: channels of the input.
        after: channels of the output, at least as many.
        norm: normalisation over the batch or per image.
        dilation: of both convolutions; dilated ones have a bias.
    """

    def __init__(self, before: int, after: int, norm: NormName, dilation: int = 1) -> None:
        super().__init__()
        self.wider = after - before
        self.layers = nn.Sequential(
            *convolution(before, after, 3, norm, dilation),
            nn.ReLU(),
            *convolution(after, after, 3, norm, dilation),
        )

    def forward(self, features: Tensor) -> Tensor:
        """`(B, before, h, w)` -> `(B, after, h, w)`."""
        front = self.wider // 2
        shortcut = F.pad(features, (0, 0, 0, 0, front, self.wider - front))
        return torch.relu(shortcut + self.layers(features))


class DRN(Segmentor):
    """Dilated residual network: 7x7 convolution, ten residual blocks, three poolings, two dilated blocks.

    With w the width, channels are w, 2 w, 4 w, 8 w, 16 w and 32 w (16 to 512 in the papers). The auxiliary
    head sits on the last features before the dilated blocks, the main head on the last features, which are
    `features`. Both are 1x1 convolutions without bias, bilinearly enlarged.

    Its `Dropout` layers drop nothing unless a method gives them a probability (SIFA v1).

    Args:
        in_channels: K, slices given as channels.
        num_classes: C, background included.
        width: w, channels at full resolution.
        norm: normalisation over the batch or per image.
    """

    def __init__(
        self, in_channels: int, num_classes: int, width: int = 16, norm: NormName = "batch"
    ) -> None:
        w = width
        super().__init__(in_channels, num_classes, 32 * w, STRIDE, STRIDE)
        first = nn.Sequential(
            *(*convolution(in_channels, w, 7, norm), nn.ReLU()),
            *(ResidualBlock(w, w, norm), nn.MaxPool2d(2)),
            *(ResidualBlock(w, 2 * w, norm), nn.MaxPool2d(2)),
            *(
                ResidualBlock(2 * w, 4 * w, norm),
                ResidualBlock(4 * w, 4 * w, norm),
                nn.MaxPool2d(2),
            ),
            *(ResidualBlock(4 * w, 8 * w, norm), ResidualBlock(8 * w, 8 * w, norm)),
        )
        second = nn.Sequential(
            ResidualBlock(8 * w, 16 * w, norm),
            *(ResidualBlock(16 * w, 16 * w, norm) for _ in range(3)),
        )
        self.early = nn.ModuleList([first, second])
        self.late = nn.Sequential(
            ResidualBlock(16 * w, 32 * w, norm), ResidualBlock(32 * w, 32 * w, norm)
        )
        self.dilated = nn.Sequential(
            *(ResidualBlock(32 * w, 32 * w, norm, dilation=2) for _ in range(2)),
            *(
                layer
                for _ in range(2)
                for layer in (*convolution(32 * w, 32 * w, 3, norm), nn.ReLU())
            ),
        )
        self.head = nn.Sequential(nn.Conv2d(32 * w, num_classes, 1, bias=False), Dropout(0.0))
        self.aux_head = nn.Sequential(nn.Conv2d(32 * w, num_classes, 1, bias=False), Dropout(0.0))
        initialise_truncated(self, 0.01)

    def forward(self, image: Tensor) -> SegmentorOutput:
        """Segment `(B, K, H, W)` images; see `Segmentor.forward`."""
        return self.decode(self.encode(image, self.early), image.shape[2:])

    def early_layers(self) -> nn.ModuleList:
        """The layers before the number of channels becomes 32 w (PnP-AdaNet)."""
        return self.early

    def encode(self, image: Tensor, early: nn.Module) -> list[Tensor]:
        """Features of 8 w and of 16 w channels, at an eighth; see `Segmentor.encode`."""
        self.check_input(image)
        first, second = early.children()
        middle = first(image)
        return [middle, second(middle)]

    def decode(self, levels: list[Tensor], size: torch.Size) -> SegmentorOutput:
        """The other layers and both heads; see `Segmentor.decode`."""
        low = self.late(levels[-1])  # (B, 32 w, H / 8, W / 8), as the last ones are
        features = self.dilated(low)
        return SegmentorOutput(
            _enlarge(self.head(features), size), _enlarge(self.aux_head(low), size), features
        )


def convolution(
    before: int, after: int, size: int, norm: NormName, dilation: int = 1
) -> list[nn.Module]:
    """Convolution, dropout and normalisation; the size stays, borders are zeros."""
    padding = dilation * (size // 2)
    return [
        nn.Conv2d(before, after, size, padding=padding, dilation=dilation, bias=dilation > 1),
        Dropout(0.0),
        normalisation(norm, after),
    ]


def _enlarge(logits: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
