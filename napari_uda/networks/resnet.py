"""ResNet-101 with dilation: the backbone of DeepLab-v2, and its ImageNet weights from a local file.

Reference: He et al., CVPR 2016; the dilated form of Chen et al., DeepLab, TPAMI 2018, as the authors of
AdaptSegNet, ADVENT and SE-ASA use it.
"""

from __future__ import annotations

import logging
import pickle  # noqa: TID251 - only the name of the error that torch.load raises
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_uda.core.errors import InputError
from napari_uda.networks.init import initialise_normal
from napari_uda.networks.normalisation import BatchNorm2d

logger = logging.getLogger(__name__)

Layout = Literal["caffe", "torchvision"]
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (dilated), 1x1 convolutions with batch normalisation, plus the shortcut.

    Args:
        in_channels: of the input.
        planes: channels inside; 4 `planes` come out.
        stride: 1 or 2.
        dilation: of the 3x3 convolution, padding the same.
        layout: `caffe` strides in the first 1x1 convolution, `torchvision` in the 3x3.
    """

    def __init__(
        self, in_channels: int, planes: int, stride: int, dilation: int, layout: Layout
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if layout == "caffe" else (1, stride)
        out_channels = EXPANSION * planes
        self.conv1 = nn.Conv2d(in_channels, planes, 1, stride=first, bias=False)
        self.bn1 = BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(
            planes, planes, 3, stride=second, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                BatchNorm2d(out_channels),
            )

    def forward(self, features: Tensor) -> Tensor:
        """`(B, in_channels, h, w)` -> `(B, 4 planes, h / stride, w / stride)`, sides rounded up."""
        inner = F.relu(self.bn1(self.conv1(features)), inplace=True)
        inner = F.relu(self.bn2(self.conv2(inner)), inplace=True)
        inner = self.bn3(self.conv3(inner))
        return F.relu(inner + self.downsample(features), inplace=True)


class ResNet(nn.Module):
    """The four stages of a dilated ResNet: strides 1, 2, 1, 1 and dilations 1, 1, 2, 4.

    Affine parameters of the batch normalisation are frozen; its running statistics move in training,
    as in the authors' code. Convolutions start from N(0, 0.01).

    Args:
        layout: where strides sit, which the weights file fixes.
        blocks: bottlenecks per stage; (3, 4, 23, 3) is ResNet-101.
    """

    def __init__(
        self, layout: Layout = "caffe", blocks: tuple[int, int, int, int] = (3, 4, 23, 3)
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.layer1 = _stage(64, 64, blocks[0], 1, 1, layout)
        self.layer2 = _stage(256, 128, blocks[1], 2, 1, layout)
        self.layer3 = _stage(512, 256, blocks[2], 1, 2, layout)
        self.layer4 = _stage(1024, 512, blocks[3], 1, 4, layout)
        initialise_normal(self, 0.01)
        for layer in self.modules():
            if isinstance(layer, BatchNorm2d):
                layer.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the last two stages.

        Args:
            image: `(B, 3, H, W)`, scaled as the weights want it.

        Returns:
            layer3 `(B, 1024, h, w)` and layer4 `(B, 2048, h, w)`; 33 x 33 for 256 x 256.
        """
        features = F.relu(self.bn1(self.conv1(image)), inplace=True)
        features = self.layer2(self.layer1(self.maxpool(features)))
        middle = self.layer3(features)
        last = self.layer4(middle)
        return middle, last


def load_imagenet(network: ResNet, path: Path) -> None:
    """Load ImageNet weights from a local file into `network`, in place.

    The file holds tensors under ResNet's usual names, with or without a prefix (`Scale.conv1.weight` in
    `DeepLab_resnet_pretrained_imagenet.pth`). Other tensors (`fc`, `layer5`) are skipped.

    Args:
        network: ResNet-101.
        path: `.safetensors`, or a PyTorch file, which is read without unpickling objects.

    Raises:
        InputError: when the file is missing, cannot be read or does not fit.
    """
    tensors = _without_prefix(_read_tensors(path))
    own = network.state_dict()
    wanted = [name for name in own if not name.endswith("num_batches_tracked")]
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(wanted)} ResNet-101 tensors are missing, the first is {missing[0]}; give a file with ImageNet weights of ResNet-101"
        )
    for name in wanted:
        if tensors[name].shape != own[name].shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(tensors[name].shape)} and ResNet-101 needs {tuple(own[name].shape)}; give a file with ImageNet weights of ResNet-101"
            )
    network.load_state_dict({name: tensors[name] for name in wanted}, strict=False)
    logger.info("%s: %d ImageNet tensors loaded", path, len(wanted))


def _stage(
    in_channels: int, planes: int, blocks: int, stride: int, dilation: int, layout: Layout
) -> nn.Sequential:
    first = Bottleneck(in_channels, planes, stride, dilation, layout)
    others = [
        Bottleneck(EXPANSION * planes, planes, 1, dilation, layout) for _ in range(blocks - 1)
    ]
    return nn.Sequential(first, *others)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such weights file; download it first or clear weights"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as a file of tensors only; give a .safetensors or .pth file with weights and nothing else"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds no named tensors; give a file with ImageNet weights")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    stems = [name for name in tensors if f".{name}".endswith(".conv1.weight")]
    prefix = min(stems, key=len, default="").removesuffix("conv1.weight")
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
