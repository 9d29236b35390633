"""Dropout that drops the same of a sample whoever computes it: after a stop, and on any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout whose masks come from one random generator per sample, given by `dropping`.

    Without generators, in evaluation, or with probability 0 it changes nothing. What is kept is divided by
    the share that is kept, so that its mean stays.

    Args:
        probability: of dropping a value.
        channels: drop whole channels (spatial dropout) instead of single values.
    """

    def __init__(self, probability: float, *, channels: bool = False) -> None:
        super().__init__()
        self.probability = probability
        self.channels = channels
        self.generators: Sequence[np.random.Generator] = ()

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same shape, with as many generators as samples."""
        if not self.training or not self.probability or not self.generators:
            return features
        shape = (features.shape[1], 1, 1) if self.channels else tuple(features.shape[1:])
        drawn = np.stack([g.random(shape, dtype=np.float32) for g in self.generators])
        kept = torch.from_numpy(drawn).to(features.device) >= self.probability
        return features * (kept.to(features.dtype) / (1 - self.probability))


@contextmanager
def dropping(generators: Sequence[np.random.Generator], *modules: nn.Module) -> Iterator[None]:
    """Let every `Dropout` inside some networks drop, in the order in which they are passed.

    Args:
        generators: one per sample, from `Runtime.sample_generators`.
        modules: networks in training mode.
    """
    layers = [
        layer for module in modules for layer in module.modules() if isinstance(layer, Dropout)
    ]
    for layer in layers:
        layer.generators = generators
    try:
        yield
    finally:
        for layer in layers:
            layer.generators = ()


def set_dropout(probability: float, *modules: nn.Module) -> None:
    """Give every `Dropout` inside some networks a probability."""
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, Dropout):
                layer.probability = probability
