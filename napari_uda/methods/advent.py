"""ADVENT: adversarial or direct entropy minimisation of target predictions (Vu et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor, optim

from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch
from napari_uda.losses.entropy import minimum_entropy_loss
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.output_adversary import AdversaryConfig, OutputAdversary


class AdventConfig(MethodConfig):
    """Settings of advent; MinEnt has adversary weights of 0 and entropy weights of 1e-3 and 2e-4.

    The weights of the adversary are those of medical re-implementations; the paper's, 1e-3 and 2e-4, and
    its plain cross-entropy are in the recipe `advent_paper`.
    """

    name: Literal["advent"] = "advent"
    """Name of the method."""
    adversary: AdversaryConfig = AdversaryConfig(discriminator="fc")
    """The discriminators, which see maps of weighted self-information, and their weights."""
    entropy_weight: float = Field(default=0.0, ge=0)
    """MinEnt: weight of the mean entropy of target predictions of the main head; 0 switches it
    off."""
    entropy_aux_weight: float = Field(default=0.0, ge=0)
    """MinEnt: weight of the mean entropy of target predictions of the auxiliary head; 0 switches it
    off."""
    discriminator_optimizer: OptimizerConfig = OptimizerConfig(
        kind="adam", lr=1e-4, momentum=0.9, beta2=0.99, weight_decay=0
    )
    """Optimiser of each discriminator."""


class Advent(Method[AdventConfig]):
    """Source supervision, while target self-information maps learn to pass for source ones."""

    family = "output space"
    paper = "Vu et al., CVPR 2019"
    summary = "aligns the entropy maps of both domains, or minimises target entropy (MinEnt)"
    needs = frozenset({"source", "target"})
    learns_from_corrected = True

    def __init__(self, config: AdventConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.adversary = OutputAdversary(config.adversary, num_classes, "self_information")

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        return {
            "segmentor": self.build_segmentor_optimizer(),
            **self.adversary.optimizers(self.config.discriminator_optimizer),
        }

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        source, target = batch.labelled(), batch.unlabelled()
        source_output = self.segmentor(source.image)
        target_output = self.segmentor(target.image)
        terms = {
            "segmentation": self.supervised_loss(source_output, source.label),
            **self.corrected_terms(batch),
            **self.adversary.fooling_losses(target_output),
        }
        for head, weight, logits in (
            ("main", self.config.entropy_weight, target_output.logits),
            ("aux", self.config.entropy_aux_weight, target_output.aux_logits),
        ):
            if weight and logits is not None:
                terms[f"entropy_{head}"] = weight * minimum_entropy_loss(logits)
        logs = runtime.minimise(terms, "segmentor")
        return logs | self.adversary.learn(source_output, target_output, runtime)
