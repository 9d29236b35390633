"""Tent: fully test-time adaptation by entropy minimisation (Wang et al., ICLR 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor, optim

from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, TrainingData
from napari_uda.losses.entropy import minimum_entropy_loss
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.normalisation import batch_norms, move_statistics

_SLICES_AT_ONCE = 16


class TentConfig(MethodConfig):
    """Settings of tent. It reads no label map, so the weights of cross-entropy and Dice do nothing."""

    name: Literal["tent"] = "tent"
    """The method."""
    segmentor_optimizer: OptimizerConfig = OptimizerConfig(kind="adam", lr=1e-3, weight_decay=0.0)
    """Optimiser of the scales and offsets of batch normalisation, the only weights that learn."""
    lr_power: float = Field(default=0.0, ge=0)
    """Learning rates fall as (1 - step/steps) to this power; 0 keeps them constant, as in the paper."""


class Tent(Method[TentConfig]):
    """A trained network becomes sure of target slices by its batch normalisation alone.

    The paper predicts with the statistics of each test batch, which would make a result depend on which
    slices share a batch. Here the statistics of the batch serve in training, where running ones follow them,
    and after the last step those of all target slices together are taken: these predict.
    """

    family = "source-free"
    paper = "Wang et al., ICLR 2021"
    summary = (
        "adapts a trained run's batch normalisation by entropy: statistics, scales and offsets"
    )
    needs = frozenset({"target"})
    needs_init = True
    needs_batch_norm = True
    for_a_volume = {"steps": 10}

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        self.segmentor.requires_grad_(False)
        for layer in batch_norms(self.segmentor):
            for parameter in layer.parameters():
                parameter.requires_grad_(True)  # DeepLab trains with frozen ones
        return super().optimizers()

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        # Mean entropy of the prediction, H(y_hat) = -sum_c p_c log p_c (divided by log C).
        output = self.segmentor(batch.unlabelled().image)
        entropy = self.over_heads(output, minimum_entropy_loss)
        return runtime.minimise({"entropy": entropy}, "segmentor")

    def after_last_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Take the statistics of the whole target by the network as it is now."""
        move_statistics(self.segmentor, data.whole_target(_SLICES_AT_ONCE, runtime.device), 1.0)
