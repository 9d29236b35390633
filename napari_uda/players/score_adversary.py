"""ScoreAdversary: CyCADA's discriminator of scores, pixel by pixel, and the gate that its accuracy opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_uda.core.distributed import all_sum
from napari_uda.losses.adversarial import domain_loss, source_likeness
from napari_uda.networks.discriminator import PixelDiscriminator
from napari_uda.networks.dropout import dropping

if TYPE_CHECKING:
    from napari_uda.core.runtime import Runtime


class ScoreAdversary(nn.Module):
    """A discriminator of logits, which is worth fooling while it tells the domains apart.

    Args:
        num_classes: C, channels of the logits.
        width: channels of the discriminator's first layer.
        window: over how many of its last steps its accuracy is a mean.
    """

    def __init__(self, num_classes: int, width: int, window: int) -> None:
        super().__init__()
        self.discriminators = nn.ModuleDict({"score": PixelDiscriminator(num_classes, width)})
        # of the last steps, the newest last; -1 for none yet
        self.register_buffer("accuracies", torch.full((window,), -1.0))
        self.accuracies: Tensor

    def fooling_loss(self, target: Tensor, runtime: Runtime) -> Tensor:
        """How little target logits `(B, C, H, W)` pass for those of the source."""
        return domain_loss(self._score(target, "fooling", runtime), True)

    def learn(self, source: Tensor, target: Tensor, runtime: Runtime) -> dict[str, Tensor]:
        """One step of the discriminator; its accuracy before it goes into the window.

        Args:
            source: `(B, C, H, W)` logits without gradient.
            target: the same for the target.
            runtime: the run's.

        Returns:
            `discriminator_score`, the mean of both domains' losses, and `discriminator_accuracy` in [0, 1].
        """
        of_source = self._score(source, "source", runtime)
        of_target = self._score(target, "target", runtime)
        telling = (domain_loss(of_source, True) + domain_loss(of_target, False)) / 2
        right = all_sum(((of_source > 0).sum() + (of_target <= 0).sum()).float())
        pixels = all_sum(right.new_tensor(float(of_source.numel() + of_target.numel())))
        accuracy = right / pixels
        self.accuracies = torch.cat([self.accuracies[1:], accuracy[None]])
        logs = runtime.minimise({"discriminator_score": telling}, "discriminator_score")
        return {**logs, "discriminator_accuracy": accuracy}

    def is_open(self, accuracy: float) -> bool:
        """Whether its mean accuracy is above a number; of the steps there are, while they are few."""
        return not accuracy or bool(self.accuracies[self.accuracies >= 0].mean() > accuracy)

    def preview_maps(self, logits: Tensor) -> dict[str, Tensor]:
        """Which pixels of one slice `(1, C, H, W)` it takes for the source (`Method.preview_maps`)."""
        return {"grey.source-like": source_likeness(self.discriminators["score"](logits))[0, 0]}

    def _score(self, logits: Tensor, stream: str, runtime: Runtime) -> Tensor:
        with dropping(runtime.sample_generators(f"score-{stream}", len(logits)), self):
            score: Tensor = self.discriminators["score"](logits)
        return score
