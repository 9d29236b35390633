"""U-Net: the small default segmentor, laid out to be fast on a CPU.

Reference: Ronneberger et al., MICCAI 2015. Ours differs in batch normalisation, zero padding, a
width that stops growing at eight times the first, bilinear upsampling after a 1x1 convolution, and a
second head.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_uda.networks.init import initialise_kaiming
from napari_uda.networks.normalisation import NormName, normalisation
from napari_uda.networks.segmentor import Segmentor, SegmentorOutput

NEGATIVE_SLOPE = 0.01
WIDEST = 8
AUX_LEVEL = 2
FEATURE_LEVEL = 1


class UNet(Segmentor):
    """2-D U-Net with two heads, for adversarial alignment on two levels.

    Level l has 1 / 2^l of the resolution and `width` 2^l channels, at most `8 width`. The main head
    sits on the last decoder features (level 0), the auxiliary head on the decoder at 1/4 of the
    resolution, bilinearly enlarged. `features` are the decoder's at half the resolution (level 1):
    near the output, so that aligning their class means moves the prediction, and four times cheaper
    than full resolution. A network of depth 1 takes both from its deepest level.

    Args:
        in_channels: K, slices given as channels.
        num_classes: C, background included.
        width: channels at full resolution.
        depth: number of halvings; the input's sides must be multiples of 2^depth.
        norm: normalisation over the batch or per image.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 16,
        depth: int = 4,
        norm: NormName = "batch",
    ) -> None:
        channels = [width * min(2**level, WIDEST) for level in range(depth + 1)]
        feature_level = min(FEATURE_LEVEL, depth)
        super().__init__(
            *(in_channels, num_classes, channels[feature_level], 2**depth, 2**feature_level)
        )
        self.feature_level = feature_level
        self.aux_level = min(AUX_LEVEL, depth)
        self.encoders = nn.ModuleList(
            _two_convolutions(before, after, norm)
            for before, after in zip([in_channels, *channels[:-1]], channels, strict=True)
        )
        self.reducers = nn.ModuleList(
            nn.Conv2d(deeper, here, 1) for here, deeper in pairwise(channels)
        )
        self.decoders = nn.ModuleList(
            _two_convolutions(2 * here, here, norm) for here in channels[:-1]
        )
        self.head = nn.Conv2d(channels[0], num_classes, 1)
        self.aux_head = nn.Conv2d(channels[self.aux_level], num_classes, 1)
        # the heads too: from DeepLab's N(0, 0.01) logits take hundreds of steps to leave 0
        initialise_kaiming(self, NEGATIVE_SLOPE)

    def forward(self, image: Tensor) -> SegmentorOutput:
        """Segment `(B, K, H, W)` images; see `Segmentor.forward`."""
        return self.decode(self.encode(image, self.encoders), image.shape[2:])

    def early_layers(self) -> nn.ModuleList:
        """The encoder."""
        return self.encoders

    def encode(self, image: Tensor, early: nn.Module) -> list[Tensor]:
        """The features of every level; see `Segmentor.encode`."""
        self.check_input(image)
        levels: list[Tensor] = []
        for encoder in early.children():
            levels.append(encoder(F.max_pool2d(levels[-1], 2) if levels else image))
        return levels

    def decode(self, levels: list[Tensor], size: torch.Size) -> SegmentorOutput:
        """The decoder and both heads; see `Segmentor.decode`."""
        levels = list(levels)  # the encoder's on the way down, the decoder's on the way up
        for level in reversed(range(len(self.decoders))):
            here = levels[level].shape[2:]
            enlarged = _enlarge(self.reducers[level](levels[level + 1]), here)
            both = [_with_dense_gradient(features) for features in (levels[level], enlarged)]
            levels[level] = self.decoders[level](torch.cat(both, dim=1))
        logits = self.head(levels[0])
        aux_logits = _enlarge(self.aux_head(levels[self.aux_level]), size)
        return SegmentorOutput(logits, aux_logits, levels[self.feature_level])


def _enlarge(features: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


def _with_dense_gradient(features: Tensor) -> Tensor:
    """The same features, whose gradient is copied out of that of what they are joined to.

    What comes before would take a slower way through memory for a gradient with gaps between its pixels.
    """
    if not features.requires_grad:
        return features
    joined = features.view_as(features)
    joined.register_hook(_dense)  # type: ignore[no-untyped-call]
    return joined


def _dense(gradient: Tensor) -> Tensor:
    last = gradient.stride(1) == 1
    return gradient.contiguous(
        memory_format=torch.channels_last if last else torch.contiguous_format
    )


def _two_convolutions(before: int, after: int, norm: NormName) -> nn.Sequential:
    """Twice: 3x3 convolution, normalisation, leaky ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        normalisation(norm, after),
        nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        normalisation(norm, after),
        nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
    )
