"""From settings to a segmentation network, by name; a network's file is imported when it is asked for."""

from __future__ import annotations

from napari_uda.core.errors import InputError
from napari_uda.networks.layout import lay_out
from napari_uda.networks.segmentor import Segmentor, SegmentorConfig


def build_segmentor(
    config: SegmentorConfig, in_channels: int, num_classes: int, *, pretrained: bool = True
) -> Segmentor:
    """Build a segmentor by name.

    Args:
        config: which network.
        in_channels: K, slices given as channels.
        num_classes: C, background included, at least 2.
        pretrained: read `config.weights`; False when a run's own weights are loaded afterwards, so
            that a run opens on a machine without the ImageNet file.

    Returns:
        The network on the CPU, in training mode, its weights in the layout that is fastest (`layout`).

    Raises:
        InputError: for an unknown name, or settings or a weights file that do not fit.
    """
    network = _build(config, in_channels, num_classes, pretrained=pretrained)
    lay_out(network)
    return network


def is_halved(config: SegmentorConfig) -> bool:
    """Whether a network halves its images `depth` times, with a normalisation behind each: unet, MONAI's UNet."""
    return config.name in ("unet", "monai:UNet", "monai:AttentionUnet")


def _build(
    config: SegmentorConfig, in_channels: int, num_classes: int, *, pretrained: bool
) -> Segmentor:
    if num_classes < 2:
        raise InputError(
            f"{num_classes} class is not enough to segment: give the background and at least one structure"
        )
    family, _, monai_class = config.name.partition(":")
    if config.weights is not None and family != "deeplabv2_resnet101":
        raise InputError(
            f"weights {config.weights} cannot be used: only deeplabv2_resnet101 reads ImageNet weights, not {config.name}"
        )
    if config.name == "unet":
        from napari_uda.networks.unet import UNet

        return UNet(in_channels, num_classes, config.width, config.depth, config.norm)
    if config.name == "deeplabv2_resnet101":
        from napari_uda.networks.deeplab import build_deeplab

        return build_deeplab(config, in_channels, num_classes, pretrained=pretrained)
    if config.name == "drn":
        from napari_uda.networks.drn import DRN

        return DRN(in_channels, num_classes, config.width, config.norm)
    if family == "monai" and monai_class:
        from napari_uda.networks.monai import MonaiSegmentor

        return MonaiSegmentor(monai_class, config, in_channels, num_classes)
    raise InputError(
        f"unknown network {config.name!r}; choose unet, deeplabv2_resnet101, drn or monai:CLASS, for instance monai:UNet"
    )
