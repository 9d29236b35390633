"""BN adaptation: statistics of batch normalisation from source and target (Schneider et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, optim

from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, TrainingData
from napari_uda.losses.entropy import minimum_entropy_loss
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.normalisation import move_statistics, running_statistics

_SLICES_AT_ONCE = 16


class BNAdaptConfig(MethodConfig):
    """Settings of bn_adapt. No weight learns, so optimisers and weights of losses do nothing, and are not shown."""

    name: Literal["bn_adapt"] = "bn_adapt"
    """The method."""
    source_slices: int = Field(default=16, ge=0)
    """N, how many slices of the target weigh as much as the source's statistics; 0 forgets the source."""


class BNAdapt(Method[BNAdaptConfig]):
    """A trained network's running statistics move towards those of the target; nothing is learnt.

    The statistics are those of all target slices, so they are taken once, before step 0, and are the same
    whatever the number of steps: a run has one unless it is told otherwise. Taken batch by batch they would
    depend on how many steps there were, and their running mean would be state that a resumed run has to
    find again. As it is, a run that is resumed later than step 0 has them in its checkpoint already. A step
    only measures the entropy of its batch, to be logged.
    """

    family = "source-free"
    paper = "Schneider et al., NeurIPS 2020"
    summary = "moves a trained run's statistics of batch normalisation to the target; no training"
    needs = frozenset({"target"})
    needs_init = True
    needs_batch_norm = True
    learns = False

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        self.segmentor.requires_grad_(False)
        return {}

    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Before step 0: mu = N/(N+n) mu_source + n/(N+n) mu_target, and sigma^2 alike (Eq. 2)."""
        if runtime.step:
            return
        assert data.target is not None
        slices = len(data.target)
        share = slices / (slices + self.config.source_slices)
        move_statistics(self.segmentor, data.whole_target(_SLICES_AT_ONCE, runtime.device), share)

    @torch.no_grad()
    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        with running_statistics(self.segmentor):
            output = self.segmentor(batch.unlabelled().image)
        return {"entropy": self.over_heads(output, minimum_entropy_loss)}
