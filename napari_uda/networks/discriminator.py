"""Discriminators: which domain does a map of predictions, or an image, come from?"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from napari_uda.networks.dropout import Dropout
from napari_uda.networks.init import initialise_normal
from napari_uda.networks.normalisation import BatchNorm2d

DiscriminatorName = Literal["fc", "patch_bn", "patch_in"]
ImageDiscriminatorName = Literal["patch_in", "patch_in_mean"]


class Discriminator(nn.Module):
    """Stack of 4x4 convolutions with padding 1 that scores patches of a map.

    The scores are logits: no sigmoid at the end. Five layers, `in_channels` - w - 2w - 4w - 8w - 1,
    leaky ReLU 0.2 between.

    Args:
        layers: the whole stack, in order.
        smallest: smallest side of the input.
        averaged: give one score per image, the mean over its patches.
    """

    def __init__(self, layers: nn.Sequential, smallest: int, *, averaged: bool = False) -> None:
        super().__init__()
        self.layers = layers
        self.smallest = smallest
        self.averaged = averaged

    def forward(self, maps: Tensor) -> Tensor:
        """Score maps.

        Args:
            maps: `(B, in_channels, H, W)`, probabilities, self-information or images.

        Returns:
            `(B, 1, h, w)` logits (as many maps as `outputs`), `(B, 1)` when averaged; positive for what the discriminator takes
            for source, or for a real image.

        Raises:
            ValueError: when a side is too small for the stack.
        """
        if min(maps.shape[2:]) < self.smallest:
            raise ValueError(
                f"maps of {maps.shape[2]} x {maps.shape[3]} pixels are too small for this "
                f"discriminator; it needs {self.smallest} x {self.smallest}"
            )
        scores: Tensor = self.layers(maps)
        return scores.mean((2, 3)) if self.averaged else scores


def build_discriminator(
    name: DiscriminatorName | ImageDiscriminatorName,
    in_channels: int,
    width: int = 64,
    outputs: int = 1,
) -> Discriminator:
    """Build a discriminator by name.

    - `fc`: every layer halves, with bias, no normalisation, PyTorch's own initialisation; 8 x 8 scores
      for 256 x 256 (AdaptSegNet, ADVENT, AttENT).
    - `patch_bn`: PatchGAN with batch normalisation; the last two layers keep the size; 30 x 30 scores
      for 256 x 256; weights N(0, 0.02), normalisation N(1, 0.02) (SE-ASA).
    - `patch_in`: the same with instance normalisation without affine parameters (CycleGAN). Its inner
      convolutions have no bias: the normalisation would remove it.
    - `patch_in_mean`: the same, its scores averaged to one per image (AttENT's CycleGAN).

    Args:
        name: which one.
        in_channels: channels of the maps: the number of classes, or of image channels.
        width: channels of the first layer; the papers' is 64.
        outputs: questions that a patch is asked, one map of scores each; not of fc.

    Returns:
        The discriminator in training mode.

    Raises:
        ValueError: for an unknown name.
    """
    if name == "fc":
        return Discriminator(_fully_convolutional(in_channels, width), smallest=32)
    if name in ("patch_bn", "patch_in", "patch_in_mean"):
        layers = _patch(in_channels, width, outputs, instance=name != "patch_bn")
        initialise_normal(layers, 0.02, norm_std=0.02)
        return Discriminator(layers, smallest=24, averaged=name == "patch_in_mean")
    raise ValueError(
        f"unknown discriminator {name!r}; choose fc, patch_bn, patch_in or patch_in_mean"
    )


class PixelDiscriminator(nn.Module):
    """Three 1x1 convolutions that score every pixel by itself, with spatial dropout (CyCADA's stage 3).

    Two logits per pixel, of which the difference is given: its binary cross-entropy is the two-way
    cross-entropy of the two. Dropout needs `networks.dropout.dropping`.

    Args:
        in_channels: C of the maps.
        width: channels of the first layer, twice those of the second; 512 in the released code.
    """

    def __init__(self, in_channels: int, width: int = 512) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((in_channels, width), (width, max(1, width // 2))):
            layers += [nn.Conv2d(before, after, 1), nn.ReLU(), Dropout(0.5, channels=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(max(1, width // 2), 2, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, in_channels, H, W)` -> `(B, 1, H, W)` logits, positive for source."""
        of_target, of_source = self.layers(maps).split(1, dim=1)
        return of_source - of_target  # type: ignore[no-any-return] # nn.Sequential returns Any


def _fully_convolutional(in_channels: int, width: int) -> nn.Sequential:
    channels = [in_channels, width, 2 * width, 4 * width, 8 * width, 1]
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


def _patch(in_channels: int, width: int, outputs: int, *, instance: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1)]
    for factor, stride in ((2, 2), (4, 2), (8, 1)):
        after = factor * width
        layers += [
            nn.LeakyReLU(0.2),
            nn.Conv2d(after // 2, after, 4, stride=stride, padding=1, bias=False),
            nn.InstanceNorm2d(after) if instance else BatchNorm2d(after),
        ]
    layers += [nn.LeakyReLU(0.2), nn.Conv2d(8 * width, outputs, 4, stride=1, padding=1)]
    return nn.Sequential(*layers)
