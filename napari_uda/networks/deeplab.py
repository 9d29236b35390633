"""DeepLab-v2 on ResNet-101 with two heads: the segmentor of SE-ASA, AttENT, AdaptSegNet and ADVENT.

Reference: Chen et al., DeepLab, TPAMI 2018; the two heads of Tsai et al., CVPR 2018. A 256 x 256 image has
65 x 65 features in layer1 and 33 x 33 from layer2 on; 42.9 million convolution weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_uda.core.errors import InputError
from napari_uda.networks.init import initialise_normal
from napari_uda.networks.resnet import Layout, ResNet, load_imagenet
from napari_uda.networks.segmentor import Segmentor, SegmentorConfig, SegmentorOutput

RATES = (6, 12, 18, 24)
AUX_CHANNELS = 1024
MAIN_CHANNELS = 2048

# Offset and divisor per channel of images in [0, 255], as the weights were trained.
CAFFE_BGR_MEAN = (104.00698793, 116.66876762, 122.67891434)
CAFFE_BGR_STD = (1.0, 1.0, 1.0)
TORCHVISION_RGB_MEAN = (123.675, 116.28, 103.53)
TORCHVISION_RGB_STD = (58.395, 57.12, 57.375)


class AtrousHead(nn.Module):
    """Sum of four parallel 3x3 convolutions with dilations 6, 12, 18 and 24; N(0, 0.01), biases 0."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(in_channels, num_classes, 3, padding=rate, dilation=rate) for rate in RATES
        )
        initialise_normal(self, 0.01)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, in_channels, h, w)` -> logits `(B, C, h, w)`."""
        return torch.stack([branch(features) for branch in self.branches]).sum(dim=0)


class DeepLabV2(Segmentor):
    """DeepLab-v2: dilated ResNet-101, auxiliary head on layer3, main head on layer4.

    Images in [-1, 1] are scaled inside to what the weights were trained on: a single slice is repeated
    three times; three neighbouring slices take the places of blue, green and red as they are. Caffe
    weights want [0, 255] minus the mean in BGR order, torchvision's mean and standard deviation in
    RGB. `features` are layer4's 2048 channels at 1/8 of the resolution. Any image size will do.

    Args:
        in_channels: 1 or 3.
        num_classes: C, background included.
        layout: of the weights; see `SegmentorConfig.weights_layout`.
        backbone: the ResNet; None builds ResNet-101 with random weights.

    Raises:
        InputError: for another number of channels.
    """

    offset: Tensor
    divisor: Tensor

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        layout: Layout = "caffe",
        backbone: ResNet | None = None,
    ) -> None:
        if in_channels not in (1, 3):
            raise InputError(
                f"deeplabv2_resnet101 takes 1 slice or 3 neighbouring slices as channels, not {in_channels}"
            )
        super().__init__(in_channels, num_classes, MAIN_CHANNELS, stride=1, feature_stride=8)
        self.backbone = ResNet(layout) if backbone is None else backbone
        self.aux_head = AtrousHead(AUX_CHANNELS, num_classes)
        self.head = AtrousHead(MAIN_CHANNELS, num_classes)
        caffe = layout == "caffe"
        mean = CAFFE_BGR_MEAN if caffe else TORCHVISION_RGB_MEAN
        std = CAFFE_BGR_STD if caffe else TORCHVISION_RGB_STD
        self.register_buffer("offset", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("divisor", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> SegmentorOutput:
        """Segment `(B, K, H, W)` images; both logits are enlarged bilinearly with aligned corners."""
        self.check_input(image)
        # at 1/8 of the resolution: (B, 1024, h, w) of layer3 and (B, 2048, h, w) of layer4
        middle, last = self.backbone(self.preprocess(image))
        size = image.shape[2:]
        logits = _enlarge(self.head(last), size)
        aux_logits = _enlarge(self.aux_head(middle), size)
        return SegmentorOutput(logits, aux_logits, last)

    def preprocess(self, image: Tensor) -> Tensor:
        """`(B, 1 or 3, H, W)` in [-1, 1] -> `(B, 3, H, W)` on the scale of the weights."""
        grey = (image + 1.0) * 127.5
        # one channel becomes three equal ones; three stay as they are
        return (grey.expand(-1, 3, -1, -1) - self.offset) / self.divisor

    def head_parameters(self) -> list[nn.Parameter]:
        """Both heads: they start from random weights and learn ten times as fast."""
        return [*self.aux_head.parameters(), *self.head.parameters()]


def build_deeplab(
    config: SegmentorConfig, in_channels: int, num_classes: int, *, pretrained: bool
) -> DeepLabV2:
    """Build `deeplabv2_resnet101`, with the ImageNet weights of `config.weights` if `pretrained`."""
    network = DeepLabV2(in_channels, num_classes, config.weights_layout)
    if pretrained and config.weights is not None:
        load_imagenet(network.backbone, config.weights)
    return network


def _enlarge(logits: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=True)
