"""How weights start: the rules of the papers, and the one of our U-Net."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def initialise_normal(module: nn.Module, std: float, *, norm_std: float = 0.0) -> None:
    """Draw convolution weights from N(0, std) and set their biases to 0, in place.

    Args:
        module: the network; every `Conv2d`, `ConvTranspose2d` and batch normalisation inside is set.
        std: standard deviation of the convolution weights: 0.01 for DeepLab-v2, 0.02 for PatchGAN.
        norm_std: batch normalisation weights are drawn from N(1, norm_std); 0 sets them to 1.
    """
    for layer in _with_numbers(module):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, _BatchNorm) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, norm_std)
            nn.init.zeros_(layer.bias)


def initialise_kaiming(module: nn.Module, negative_slope: float) -> None:
    """He initialisation (fan in, leaky ReLU) of every `Conv2d`, biases 0, in place.

    Reference: He et al., ICCV 2015, Eq. (15).
    """
    for layer in _with_numbers(module):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=negative_slope, nonlinearity="leaky_relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialise_truncated(module: nn.Module, std: float) -> None:
    """Draw convolution weights from N(0, std) within two standard deviations, and set biases to 0, in place.

    SIFA's networks: 0.01 for the encoder, 0.02 for generator, decoder and discriminators.
    """
    for layer in _with_numbers(module):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.trunc_normal_(layer.weight, 0.0, std, -2 * std, 2 * std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _with_numbers(module: nn.Module) -> Iterator[nn.Module]:
    """Its layers, but none on the device "meta", which has shapes alone: torch loads its compiler to draw them."""
    return (
        layer
        for layer in module.modules()
        if not any(weight.is_meta for weight in layer.parameters(recurse=False))
    )
