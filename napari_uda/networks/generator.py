"""Generators: ResNets that give a slice the look of the other domain."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from napari_uda.core.config import Config
from napari_uda.core.errors import InputError
from napari_uda.networks.attention_gate import AttentionGate, GateFactor, GateNorm
from napari_uda.networks.init import initialise_normal
from napari_uda.networks.row_convolution import RowConvolution

GeneratorKind = Literal["plain", "skips", "gated"]

STRIDE = 4
SMALLEST = 8


class GeneratorConfig(Config):
    """The generators' architecture, the same for both directions."""

    kind: GeneratorKind = "plain"
    """Architecture: plain (CycleGAN's ResNet), skips (with skip connections) or gated (with
    attention gates on the skip connections)."""
    width: int = Field(default=64, ge=2, le=256)
    """Channels at full resolution; 64 in the papers."""
    blocks: int = Field(default=9, ge=1, le=16)
    """Number of residual blocks at a quarter of the resolution; 9 in the papers."""
    gate_norm: GateNorm = "instance"
    """Normalisation inside the attention gates of kind gated: instance, or batch with the
    statistics of the batch (AT-D5)."""
    gate_factor: GateFactor = 2
    """Number by which the attention gates of kind gated multiply their result: 2 as in AttENT's
    code, 1 as in its Eq. 1 (AT-D6)."""

    def check_start(self, start: GeneratorConfig) -> None:
        """Refuse the weights of generators that differ in nothing but what their gates compute.

        They would fit, all or nearly all, and translate otherwise than they learnt to.

        Raises:
            InputError: naming the setting that differs.
        """
        mine, theirs = self.model_dump(), start.model_dump()
        differing = [name for name in mine if mine[name] != theirs[name]]
        if self.kind == "gated" and differing and set(differing) <= {"gate_norm", "gate_factor"}:
            name = differing[0]
            raise InputError(
                f"the generators of the run to start from learnt with {name} {theirs[name]} and would "
                f"translate otherwise with {mine[name]}; set method.translator.generator.{name} to "
                f"{theirs[name]}"
            )


class GatedGeneratorConfig(GeneratorConfig):
    """Architecture of generators that have attention gates by default."""

    kind: GeneratorKind = "gated"
    """Architecture: plain (CycleGAN's ResNet), skips (with skip connections) or gated (with
    attention gates on the skip connections)."""


class Generator(nn.Module):
    """ResNet generator: 7x7 convolution, two halvings, residual blocks, two doublings, tanh.

    - `plain`: transposed convolutions double the size, no skip connections (Zhu et al., ICCV 2017).
    - `gated`: bilinear enlargement and 1x1 convolutions; attention gates on the skip connections of
      all three resolutions (AttENT, BIBM 2021; the released `Generator5`).
    - `skips`: `gated` without its gates, so that the two differ in nothing else.

    Channels are w, 2w, 4w at full, half and quarter resolution. Instance normalisation without affine
    parameters throughout; the convolutions before it have no bias, which it would remove. Weights
    start from N(0, 0.02). Ours takes one channel (AT-D15) and sides of any size: they are padded to
    multiples of 4 (at least 8) by repeating the border, and cropped again.

    Args:
        config: kind, width, blocks and the gates' options.
        channels: of the image, in and out.
    """

    def __init__(self, config: GeneratorConfig, channels: int = 1) -> None:
        super().__init__()
        width, self.kind = config.width, config.kind
        self.stem = _convolution(channels, width, 7)
        self.halve_first = _convolution(width, 2 * width, 3, stride=2)
        self.halve_second = _convolution(2 * width, 4 * width, 3, stride=2)
        self.blocks = nn.Sequential(*(_ResidualBlock(4 * width) for _ in range(config.blocks)))
        # the way up meets the skip connections in this order: quarter, half and full resolution
        levels = (4 * width, 2 * width, width)
        self.gates = nn.ModuleList(
            AttentionGate(c, c, max(1, c // 2), config.gate_norm, config.gate_factor)
            for c in (levels if config.kind == "gated" else ())
        )
        joined = 1 if config.kind == "plain" else 2  # a skip doubles the channels that go on
        double = _transposed if config.kind == "plain" else _pointwise
        self.double_first = double(joined * 4 * width, 2 * width)
        self.double_second = double(joined * 2 * width, width)
        self.head = nn.Sequential(
            nn.ReflectionPad2d(3), RowConvolution(joined * width, channels, 7)
        )
        self.register_buffer("trained_steps", torch.zeros((), dtype=torch.int64))
        self.trained_steps: Tensor
        initialise_normal(self, 0.02)

    def forward(self, image: Tensor) -> Tensor:
        """Translate images.

        Args:
            image: `(B, channels, H, W)` float in [-1, 1].

        Returns:
            The same shape, float32 in [-1, 1].
        """
        return self.with_attention(image)[0]

    def with_attention(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Translate images and show where the gates look.

        Args:
            image: `(B, channels, H, W)` float in [-1, 1].

        Returns:
            The translated images, and `(B, 1, H, W)` float32 maps in [0, 1], bilinearly enlarged, by
            name: `attention_quarter`, `attention_half`, `attention_full`, after the resolution of
            the gate; empty for a generator without gates.
        """
        height, width = image.shape[-2:]
        below, right = (max(SMALLEST, -(-s // STRIDE) * STRIDE) - s for s in (height, width))
        padded = F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
        full = self.stem(padded)  # (B, w, H, W), H and W multiples of 4
        half = self.halve_first(full)  # (B, 2 w, H / 2, W / 2)
        quarter = self.halve_second(half)  # (B, 4 w, H / 4, W / 4)
        maps: dict[str, Tensor] = {}
        features = self._join(self.blocks(quarter), quarter, "quarter", maps)
        features = self._join(self._double(self.double_first, features), half, "half", maps)
        features = self._join(self._double(self.double_second, features), full, "full", maps)
        # tanh in float32: bfloat16 has steps of 1/256 near -1 and 1
        translated = self.head(features).float().tanh()[..., :height, :width]
        size = padded.shape[-2:]
        enlarged = {
            name: F.interpolate(attention.float(), size, mode="bilinear", align_corners=False)
            for name, attention in maps.items()
        }
        return translated, {n: a[..., :height, :width] for n, a in enlarged.items()}

    def _join(
        self, features: Tensor, skip: Tensor, resolution: str, maps: dict[str, Tensor]
    ) -> Tensor:
        """Features with the skip connection in front, gated where there are gates, whose map is kept."""
        if self.kind == "plain":
            return features
        if self.kind == "gated":
            gate = self.gates[("quarter", "half", "full").index(resolution)]
            skip, maps[f"attention_{resolution}"] = gate(features, skip)
        return torch.cat([skip, features], dim=1)

    def _double(self, layers: nn.Sequential, features: Tensor) -> Tensor:
        if self.kind == "plain":
            return layers(features)  # type: ignore[no-any-return] # nn.Sequential returns Any
        # enlargement and 1x1 convolution commute; this order multiplies a quarter of the pixels
        convolution, *rest = layers
        enlarged = F.interpolate(
            convolution(features), scale_factor=2, mode="bilinear", align_corners=True
        )
        for layer in rest:
            enlarged = layer(enlarged)
        return enlarged


class _ResidualBlock(nn.Module):
    """`x + N(conv(relu(N(conv(x)))))`, 3x3, mirrored borders."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(channels, channels, 3, mirrored=True),
            *list(_convolution(channels, channels, 3, mirrored=True))[:-1],
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)  # type: ignore[no-any-return] # as above


def _convolution(
    before: int, after: int, size: int, *, stride: int = 1, mirrored: bool = False
) -> nn.Sequential:
    """Convolution, instance normalisation, ReLU; 7x7 ones and `mirrored` ones mirror the border."""
    reach = size // 2
    mirrors = mirrored or size == 7
    layers: list[nn.Module] = [nn.ReflectionPad2d(reach)] if mirrors else []
    padding = 0 if mirrors else reach
    kind = RowConvolution if size == 7 else nn.Conv2d
    layers += [
        kind(before, after, size, stride=stride, padding=padding, bias=False),
        nn.InstanceNorm2d(after),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers)


def _transposed(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1, bias=False),
        nn.InstanceNorm2d(after),
        nn.ReLU(),
    )


def _pointwise(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 1, bias=False), nn.InstanceNorm2d(after), nn.ReLU()
    )
