"""Output-space adversary: one discriminator per head, on probabilities or on self-information."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn, optim

from napari_uda.core.config import Config
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.losses.adversarial import domain_loss, source_likeness
from napari_uda.losses.entropy import self_information
from napari_uda.networks.discriminator import DiscriminatorName, build_discriminator
from napari_uda.networks.segmentor import SegmentorOutput

if TYPE_CHECKING:
    from napari_uda.core.runtime import Runtime


class AdversaryConfig(Config):
    """The discriminators and what the segmentor gains from fooling them."""

    main_weight: float = Field(default=3e-3, ge=0)
    """Weight of the adversarial loss on predictions of the main head; 0 switches it off."""
    aux_weight: float = Field(default=2e-5, ge=0)
    """Weight of the adversarial loss on predictions of the auxiliary head; 0 switches it off."""
    discriminator: DiscriminatorName = "patch_bn"
    """Architecture of the discriminators: fc (fully convolutional), patch_bn (PatchGAN with batch
    normalisation) or patch_in (PatchGAN with instance normalisation)."""
    width: int = Field(default=64, ge=4, le=512)
    """Channels of the discriminators' first layer."""
    loss: Literal["bce", "ls"] = "bce"
    """Adversarial loss: bce (binary cross-entropy) or ls (least squares)."""


class OutputAdversary(nn.Module):
    """Discriminators that tell source from target predictions, head by head.

    A head whose weight is 0 has no discriminator at all.

    Args:
        config: weights and architecture.
        num_classes: C, channels of the maps.
        input_map: what the discriminators see: softmax probabilities (AdaptSegNet), the weighted
            self-information `I(p)` (ADVENT, SE-ASA, AttENT) or the logits themselves (SIFA).
    """

    def __init__(
        self,
        config: AdversaryConfig,
        num_classes: int,
        input_map: Literal["probability", "self_information", "logits"],
    ) -> None:
        super().__init__()
        self.config = config
        self.input_map = input_map
        weights = {"main": config.main_weight, "aux": config.aux_weight}
        self.weights = {head: weight for head, weight in weights.items() if weight}
        # both draw their first weights, so that leaving one out does not change the other
        networks = {
            head: build_discriminator(config.discriminator, num_classes, config.width)
            for head in weights
        }
        self.discriminators = nn.ModuleDict({head: networks[head] for head in self.weights})

    def fooling_losses(self, target: SegmentorOutput) -> dict[str, Tensor]:
        """Weighted losses by which the segmentor makes target maps look like source (L_adv).

        Args:
            target: the segmentor's output on target slices, attached to its graph.

        Returns:
            `adversarial_main` and `adversarial_aux` to scalar; a head whose weight is 0 is absent.
        """
        return {
            f"adversarial_{head}": self.weights[head]
            * domain_loss(self._score(head, target), True, self.config.loss)
            for head in self._heads(target)
        }

    def telling_losses(self, source: SegmentorOutput, target: SegmentorOutput) -> dict[str, Tensor]:
        """Losses by which each discriminator tells the domains apart (L_D), predictions detached.

        Source and target pass the discriminator as two batches, in this order, so that its batch
        normalisation sees one domain at a time.
        """
        losses = {}
        for head in self._heads(source):
            source_loss = domain_loss(
                self._score(head, source, detach=True), True, self.config.loss
            )
            target_loss = domain_loss(
                self._score(head, target, detach=True), False, self.config.loss
            )
            losses[head] = (source_loss + target_loss) / 2
        return losses

    def optimizers(self, settings: OptimizerConfig) -> dict[str, optim.Optimizer]:
        """One player per head, `discriminator_main` and `discriminator_aux`."""
        return {
            f"discriminator_{head}": settings.build(network.parameters())
            for head, network in self.discriminators.items()
        }

    def learn(
        self, source: SegmentorOutput, target: SegmentorOutput, runtime: Runtime
    ) -> dict[str, Tensor]:
        """One step of every discriminator on its telling loss; the losses by player name."""
        logs: dict[str, Tensor] = {}
        for head, loss in self.telling_losses(source, target).items():
            player = f"discriminator_{head}"
            logs |= runtime.minimise({player: loss}, player)
        return logs

    def preview_maps(self, output: SegmentorOutput) -> dict[str, Tensor]:
        """Where the discriminator of the main head takes one slice for the source (`Method.preview_maps`)."""
        if "main" not in self.weights:
            return {}
        shown = source_likeness(self._score("main", output), self.config.loss)
        size = output.logits.shape[2:]
        return {"grey.source-like": F.interpolate(shown, size=size)[0, 0]}

    def _heads(self, output: SegmentorOutput) -> list[str]:
        return [h for h in self.weights if h == "main" or output.aux_logits is not None]

    def _score(self, head: str, output: SegmentorOutput, *, detach: bool = False) -> Tensor:
        logits = output.logits if head == "main" else output.aux_logits
        assert logits is not None
        logits = logits.detach() if detach else logits
        maps: Tensor  # (B, C, H, W), in [0, 1] but for logits
        if self.input_map == "logits":
            maps = logits
        elif self.input_map == "probability":
            maps = logits.float().softmax(1)
        else:
            maps = self_information(logits)
        score: Tensor = self.discriminators[head](maps)
        return score
