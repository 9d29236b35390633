from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from napari_uda.networks.init import initialise_kaiming, initialise_normal


def test_normal_has_the_asked_spread() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(16, 64, 3), nn.BatchNorm2d(64))
    nn.init.ones_(network[0].bias)
    nn.init.ones_(network[1].bias)
    initialise_normal(network, 0.01)
    assert network[0].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert network[0].bias.abs().sum() == 0
    assert torch.equal(network[1].weight, torch.ones(64))
    assert torch.equal(network[1].bias, torch.zeros(64))


def test_kaiming_keeps_the_second_moment_through_leaky_layers() -> None:
    torch.manual_seed(0)
    layers = [
        layer
        for _ in range(6)
        for layer in (nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular"), nn.LeakyReLU(0.2))
    ]
    network = nn.Sequential(*layers)
    initialise_kaiming(network, 0.2)
    fan_in = 64 * 9
    expected = math.sqrt(2 / (1 + 0.2**2) / fan_in)
    assert layers[0].weight.std().item() == pytest.approx(expected, rel=0.02)
    image = torch.randn(4, 64, 16, 16)
    hidden = network[:-1](image)  # before the last activation: variance 2 / 1.04 of the input's
    assert hidden.var().item() == pytest.approx(2 / (1 + 0.2**2), rel=0.25)
