"""From settings and data facts to a method with its networks, seeded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_uda.methods.base import Method, method_class
from napari_uda.networks.segmentor import build_segmentor

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig
    from napari_uda.training.load import DataFacts


def build_method(config: RunConfig, facts: DataFacts, *, pretrained: bool = True) -> Method[Any]:
    """A new method whose first weights depend on the seed alone; torch's own state is restored.

    `pretrained` off does not read the ImageNet file: the run's own weights are loaded afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        segmentor = build_segmentor(
            config.segmentor, facts.grid.neighbours, facts.num_classes, pretrained=pretrained
        )
        return method_class(config.method.name)(config.method, segmentor, facts.num_classes)
