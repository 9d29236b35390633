"""Segmentor: what every segmentation network of the package offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_uda.core.config import Config
from napari_uda.core.errors import InputError
from napari_uda.networks.normalisation import NormName


class SegmentorOutput(NamedTuple):
    """What a segmentor computes from `(B, K, H, W)` images."""

    logits: Tensor
    """`(B, C, H, W)`, main head, at the size of the input."""
    aux_logits: Tensor | None
    """`(B, C, H, W)`, auxiliary head on earlier features, at input size; None without such a head."""
    features: Tensor
    """`(B, F, h, w)`, the features whose class means are the prototypes."""


class SegmentorConfig(Config):
    """Which segmentation network, and how large."""

    name: str = "unet"
    """The segmentation network: unet (small, made for a CPU), deeplabv2_resnet101 or drn (those of the
    papers, which need a GPU) or monai:CLASS, such as monai:AttentionUnet."""
    width: int = Field(16, ge=1, le=512)
    """Channels at full resolution (unet, drn and monai); twice as many take about four times as long."""
    depth: int = Field(4, ge=1, le=8)
    """How often the image is halved (unet and monai); the sides of slices must be multiples of 2 to
    this power."""
    norm: NormName = "batch"
    """Normalisation layers (unet, drn and monai): batch (over the whole batch) or instance (over each
    image by itself)."""
    weights: Path | None = None
    """File with ImageNet weights of ResNet-101 (.pth or .safetensors) for deeplabv2_resnet101;
    without it the network starts from random weights."""
    weights_layout: Literal["caffe", "torchvision"] = "caffe"
    """Origin of the ImageNet weights: caffe (the papers' file) or torchvision. It decides where
    ResNet has its strides and how grey values are scaled."""


class ParameterGroup(TypedDict):
    """Parameters that share a learning rate: one entry for a torch optimiser."""

    params: list[nn.Parameter]
    lr: float


class Segmentor(nn.Module, ABC):
    """A 2-D segmentation network.

    Args:
        in_channels: K, slices given as channels.
        num_classes: C, background included.
        feature_channels: F of `SegmentorOutput.features`.
        stride: sides of the input must be multiples of it; whoever predicts pads.
        feature_stride: how much smaller `SegmentorOutput.features` are than the input.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        feature_channels: int,
        stride: int,
        feature_stride: int = 1,
    ) -> None:
        super().__init__()
        self.feature_stride = feature_stride
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.feature_channels = feature_channels
        self.stride = stride

    @abstractmethod
    def forward(self, image: Tensor) -> SegmentorOutput:
        """Segment images.

        Args:
            image: `(B, K, H, W)` float in [-1, 1]; H and W multiples of `stride`.

        Returns:
            Logits at input size, auxiliary logits and features.

        Raises:
            ValueError: when the channels or sides do not fit.
        """

    def early_layers(self) -> nn.Module:
        """The layers near the image, which a method may have once per domain; `decode` has the others.

        Raises:
            InputError: for a network that has no such parts.
        """
        raise InputError(
            f"{type(self).__name__} has no early layers that could be exchanged; choose unet or drn"
        )

    def encode(self, image: Tensor, early: nn.Module) -> list[Tensor]:
        """What `early` makes of images, from large to small features.

        Args:
            image: as for `forward`.
            early: `early_layers`, or a copy of them.
        """
        raise NotImplementedError

    def decode(self, levels: list[Tensor], size: torch.Size) -> SegmentorOutput:
        """What the other layers make of it.

        Args:
            levels: of `encode`.
            size: H and W of the image.
        """
        raise NotImplementedError

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters that learn ten times as fast as the others; none unless a network says so."""
        return []

    def parameter_groups(self, lr: float, backbone_multiplier: float = 1.0) -> list[ParameterGroup]:
        """Trainable parameters for the optimiser, each exactly once.

        The authors' code (AdaptSegNet and its descendants, SE-ASA and AttENT included) lists a
        backbone weight three to four times, which old PyTorch turned into about three times the
        learning rate; `backbone_multiplier=3` mimics it.

        Args:
            lr: learning rate of the backbone; the heads of a pretrained backbone get 10 lr.
            backbone_multiplier: multiplies the backbone's rate only; 1 is the papers' text.

        Returns:
            One or two groups; frozen parameters are left out.
        """
        heads = [parameter for parameter in self.head_parameters() if parameter.requires_grad]
        known = {id(parameter) for parameter in heads}
        backbone = [
            parameter
            for parameter in self.parameters()
            if parameter.requires_grad and id(parameter) not in known
        ]
        groups = [ParameterGroup(params=backbone, lr=lr * backbone_multiplier)]
        if heads:
            groups.append(ParameterGroup(params=heads, lr=10 * lr))
        return groups

    def check_input(self, image: Tensor) -> None:
        """Raise a ValueError when `image` is not `(B, in_channels, n stride, m stride)`."""
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"images of shape {tuple(image.shape)} do not fit a network made for "
                f"(B, {self.in_channels}, H, W)"
            )
        height, width = image.shape[2:]
        if height % self.stride or width % self.stride or not height or not width:
            raise ValueError(
                f"images of {height} x {width} pixels do not fit: both sides must be multiples "
                f"of {self.stride}; pad them"
            )
