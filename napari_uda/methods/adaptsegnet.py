"""AdaptSegNet (AdaOutput): adversarial alignment of predictions on two levels (Tsai et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, optim

from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.output_adversary import AdversaryConfig, OutputAdversary


class AdaptSegNetConfig(MethodConfig):
    """Settings of adaptsegnet; the weights are those of its medical re-implementations."""

    name: Literal["adaptsegnet"] = "adaptsegnet"
    """Name of the method."""
    adversary: AdversaryConfig = AdversaryConfig(discriminator="fc")
    """The discriminators, which see maps of softmax probabilities, and their weights."""
    discriminator_optimizer: OptimizerConfig = OptimizerConfig(
        kind="adam", lr=1e-4, momentum=0.9, beta2=0.99, weight_decay=0
    )
    """Optimiser of each discriminator."""


class AdaptSegNet(Method[AdaptSegNetConfig]):
    """Source supervision, while target probability maps learn to pass for source ones."""

    family = "output space"
    paper = "Tsai et al., CVPR 2018"
    summary = "makes target predictions look like source predictions to a discriminator"
    needs = frozenset({"source", "target"})
    learns_from_corrected = True

    def __init__(self, config: AdaptSegNetConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.adversary = OutputAdversary(config.adversary, num_classes, "probability")

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
        logs = runtime.minimise(terms, "segmentor")
        return logs | self.adversary.learn(source_output, target_output, runtime)
