"""Critics of PnP-AdaNet: one number per image, larger for source, with weights between two bounds.

Reference: Dou et al., IEEE Access 2019, sec. III-C; the layers are those of the released code, written anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_uda.networks.dropout import Dropout
from napari_uda.networks.init import initialise_truncated
from napari_uda.networks.normalisation import BatchNorm2d
from napari_uda.networks.segmentor import SegmentorOutput

NEGATIVE_SLOPE = 0.2


class Stage(NamedTuple):
    """A residual block and a strided convolution; channels as multiples of the critic's width."""

    inside: int
    """Of the residual block; 0 for none."""
    size: int
    after: int
    stride: int


FEATURE_STAGES = (
    *(Stage(1, 3, 1, 2), Stage(2, 5, 2, 2), Stage(4, 3, 4, 2)),
    *(Stage(8, 3, 8, 2), Stage(8, 5, 8, 4)),
)
MASK_STAGES = (Stage(0, 3, 1, 2), Stage(1, 5, 2, 4), Stage(4, 5, 8, 4), Stage(0, 5, 16, 4))


class Critic(nn.Module):
    """Stages that make maps smaller, then a linear layer without bias on what is left of them, 2 x 2.

    Args:
        in_channels: of the maps.
        width: channels that the stages' numbers multiply.
        stages: with small images the first of them.
    """

    def __init__(self, in_channels: int, width: int, stages: Sequence[Stage]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for stage in stages:
            if stage.inside:
                layers.append(_ResidualBlock(before, stage.inside * width))
                before = stage.inside * width
            layers += _convolution(before, stage.after * width, stage.size, stage.stride)
            before = stage.after * width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(4 * before, 1, bias=False)
        initialise_truncated(self, 0.1)
        nn.init.trunc_normal_(self.head.weight, 0.0, 0.1, -0.2, 0.2)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, in_channels, H, W)` -> `(B, 1)`."""
        score: Tensor = self.head(F.adaptive_avg_pool2d(self.layers(maps), 2).flatten(1))
        return score

    @torch.no_grad()
    def clip_weights(self, bound: float) -> None:
        """Keep weights of convolutions and of the last layer within +-bound; normalisation is free."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.clamp_(-bound, bound)


def stacked_features(levels: Sequence[Tensor], output: SegmentorOutput) -> Tensor:
    """What the critic of features sees: features, logits and classes as channels at the size of the image.

    Features that are s times smaller come with s x s of their channels as one, shuffled to the image's size;
    those with fewer channels than that are left out. Of the early ones the last two are taken.

    Args:
        levels: `(B, c, h, w)` each, of the early layers, from large to small.
        output: of the late layers on the same slices.

    Returns:
        `(B, C', H, W)`; the classes, the last channel, have no gradient.
    """
    size = output.logits.shape[2:]
    early = [shuffled for level in levels if (shuffled := _at_size(level, size)).shape[1]]
    classes = output.logits.detach().argmax(1, keepdim=True).to(output.logits.dtype)
    return torch.cat([*early[-2:], _at_size(output.features, size), output.logits, classes], dim=1)


def _at_size(features: Tensor, size: torch.Size) -> Tensor:
    factor = round(size[0] / features.shape[2])
    channels = features.shape[1] // factor**2 * factor**2
    shuffled = F.pixel_shuffle(features[:, :channels], factor)
    if shuffled.shape[2:] != size:  # features of odd sizes are a little larger
        shuffled = shuffled[..., : size[0], : size[1]]
    return shuffled


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, widened by channels of zeros or cut to the first ones."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.wider = after - before
        self.layers = nn.Sequential(
            *_convolution(before, after, 3, 1), *_convolution(after, after, 3, 1)[:-1]
        )

    def forward(self, features: Tensor) -> Tensor:
        shortcut = F.pad(features, (0, 0, 0, 0, 0, self.wider))
        return F.leaky_relu(shortcut + self.layers(features), NEGATIVE_SLOPE)


class _Convolution(nn.Conv2d):
    """A convolution that stays in float32 where the map is smaller than the stride.

    In bfloat16 torch's gradient of its weights is garbage there (findings/torch-bfloat16-weight-gradient.sh).
    """

    def forward(self, image: Tensor) -> Tensor:
        if min(image.shape[2:]) >= self.stride[0]:
            return super().forward(image)
        with torch.autocast(image.device.type, enabled=False):
            return super().forward(image.float())


def _convolution(before: int, after: int, size: int, stride: int) -> list[nn.Module]:
    return [
        _Convolution(before, after, size, stride=stride, padding=size // 2, bias=False),
        *(Dropout(0.0), BatchNorm2d(after), nn.LeakyReLU(NEGATIVE_SLOPE)),
    ]
