"""SE-ASA: selective entropy constraints and adaptive semantic alignment (Feng et al., AAAI 2023).

Equation numbers are the paper's; SE-Dn are the decisions taken where paper and released code differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, optim

from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, Labelled, TrainingData, Unlabelled
from napari_uda.losses.entropy import logits_of_last_view, selective_entropy
from napari_uda.losses.prototype import class_means, prototype_distance
from napari_uda.losses.segmentation import pixel_weights
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.normalisation import batch_statistics_only
from napari_uda.networks.segmentor import Segmentor, SegmentorOutput
from napari_uda.players.output_adversary import AdversaryConfig, OutputAdversary
from napari_uda.players.prototypes import mean_of_batches, move_prototypes
from napari_uda.uncertainty.reliability import Reliability, vote_with_logits


class SEASAConfig(MethodConfig):
    """Settings of se_asa; the defaults are the paper's, or the stated decision where it is silent."""

    name: Literal["se_asa"] = "se_asa"
    """Name of the method."""
    adversary: AdversaryConfig = AdversaryConfig()
    """Adversarial alignment on two levels, with the paper's weights lambda_1 (0.003 and 2e-5)."""
    adversary_input: Literal["self_information", "probability"] = "self_information"
    """What the discriminators see: self_information, as in the released code, or probability, as
    the paper prints."""
    discriminator_optimizer: OptimizerConfig = OptimizerConfig(
        kind="adam", lr=1e-4, momentum=0.9, beta2=0.99, weight_decay=0
    )
    """Optimiser of each discriminator."""
    entropy_minimisation_weight: float = Field(default=1.0, ge=0)
    """Weight lambda_3 of the term that lowers entropy on reliable pixels; 0 switches it off."""
    entropy_maximisation_weight: float = Field(default=1.0, ge=0)
    """Weight lambda_3 of the term that raises entropy on unreliable pixels; 0 switches it off."""
    entropy_minimisation_on: Literal["reliable", "all"] = "reliable"
    """Where entropy is lowered: on reliable pixels, or on all of them (the first row of Table
    3)."""
    entropy_view: Literal["last_random", "original"] = "last_random"
    """Whose prediction enters the entropy terms: last_random (the last random view that agrees, or
    contradicts) or original (the slice itself) (SE-D2)."""
    entropy_class_weights: bool = False
    """Weigh pixels by the rarity of their pseudo-label, as in the cross-entropy; off weighs all
    pixels the same, as in the paper."""
    prototype_weight: float = Field(default=1.0, ge=0)
    """Weight lambda_2 of the distance of the two domains' prototypes, a mean over feature channels
    (SE-D5); 0 switches it off."""
    prototype_momentum: float = Field(default=0.01, ge=0, lt=1)
    """Share alpha (Eq. 9) of the old prototype in the new one; the rest comes from the batch."""
    prototype_mask: bool = True
    """Take target prototypes from reliable pixels only (SE-D1); off takes all pixels (the first row
    of Table 4)."""
    prototype_batches: int = Field(default=200, ge=0)
    """How many batches are averaged into the first prototypes; 0 starts from the first training
    batch."""
    view_statistics: Literal["batch_only", "update"] = "batch_only"
    """Whether views change the running statistics of batch normalisation: batch_only (no, SE-D6) or
    update (yes, as in the released code)."""
    keep_discriminators: bool = True
    """Start from the discriminators of the run `init`, too; off starts with new ones (SE-D9)."""
    warmup_steps: int = Field(default=0, ge=0)
    """How many of the first steps have the segmentation and adversarial losses only; leave it at 0
    for a run that starts from an ADVENT run."""


class SEASA(Method[SEASAConfig]):
    """ADVENT, plus entropy down where views agree and up where not, plus prototype alignment."""

    family = "self-training"
    paper = "Feng et al., AAAI 2023"
    summary = (
        "lowers entropy where views agree, raises it where they contradict, aligns class prototypes"
    )
    needs = frozenset({"source", "target"})
    learns_from_corrected = True
    when_continued: ClassVar[Mapping[str, Any]] = {"warmup_steps": 0, "keep_discriminators": True}

    def __init__(self, config: SEASAConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.adversary = OutputAdversary(config.adversary, num_classes, config.adversary_input)
        shape = (num_classes, segmentor.feature_channels)
        self.source_prototypes: Tensor
        self.target_prototypes: Tensor
        self.source_seen: Tensor
        self.target_seen: Tensor
        for domain in ("source", "target"):
            self.register_buffer(f"{domain}_prototypes", torch.zeros(shape))
            self.register_buffer(f"{domain}_seen", torch.zeros(num_classes, dtype=torch.bool))

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        return {
            "segmentor": self.build_segmentor_optimizer(),
            **self.adversary.optimizers(self.config.discriminator_optimizer),
        }

    def loads_from_init(self, name: str) -> bool:
        return self.config.keep_discriminators or not name.startswith("adversary.")

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        source, target = batch.labelled(), batch.unlabelled()
        config = self.config

        # 1. Supervised loss on the source, Eq. 11.
        source_output = self.segmentor(source.image)
        target_output = self.segmentor(target.image)
        terms = {"segmentation": self.supervised_loss(source_output, source.label)}
        terms |= self.corrected_terms(batch)
        logs: dict[str, Tensor] = {}

        # 2. Target maps that pass for source maps, Eq. 2.
        terms |= self.adversary.fooling_losses(target_output)

        if runtime.step >= config.warmup_steps:
            label = target_output.logits.detach().argmax(1)  # (B, H, W)
            mask = None
            if self._needs_vote():
                # 3. and 4. Views of the target and their vote.
                generators = runtime.sample_generators("views", len(label))
                random_logits, reliability = self._vote(source, target, label, generators)
                logs["reliable_share"] = reliability.reliable.float().mean()
                mask = reliability.reliable if config.prototype_mask else None

                # 5. Selective entropy, Eq. 6.
                terms |= self._entropy_terms(
                    target_output.logits, random_logits, label, reliability
                )

            # 6. Adaptive semantic alignment, Eqs. 7 to 10.
            if config.prototype_weight:
                terms["prototype"] = config.prototype_weight * self._align(
                    source_output, source.label, target_output, label, mask
                )

        # 7. One step of the segmentor on the whole loss.
        logs |= runtime.minimise(terms, "segmentor")

        # 8. and 9. One step of each discriminator, Eq. 1.
        return logs | self.adversary.learn(source_output, target_output, runtime)

    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Start the prototypes when the warm-up ends."""
        config = self.config
        if runtime.step == config.warmup_steps and config.prototype_weight:
            self._start_prototypes(data, runtime)

    @torch.no_grad()
    def _start_prototypes(self, data: TrainingData, runtime: Runtime) -> None:
        """Means over `prototype_batches` batches; those of the target from reliable pseudo-labels."""
        if not self.config.prototype_batches:
            return
        found: dict[str, list[tuple[Tensor, Tensor]]] = {"source": [], "target": []}
        for index in range(self.config.prototype_batches):
            batch = data.batch(index, runtime.device, stream="-prototypes")
            source, target = batch.labelled(), batch.unlabelled()
            mask = None
            with batch_statistics_only(self.segmentor):
                source_output = self.segmentor(source.image)
                target_output = self.segmentor(target.image)
                label = target_output.logits.argmax(1)
                if self.config.prototype_mask:
                    generators = runtime.sample_generators(f"views-prototypes-{index}", len(label))
                    mask = self._vote(source, target, label, generators)[1].reliable
            for domain, output, labels, chosen in (
                ("source", source_output, source.label, None),
                ("target", target_output, label, mask),
            ):
                means = class_means(output.features, labels, self.num_classes, chosen)
                found[domain].append(means)
        for domain, of_batches in found.items():
            prototypes, seen = mean_of_batches(of_batches)
            getattr(self, f"{domain}_prototypes").copy_(prototypes)
            getattr(self, f"{domain}_seen").copy_(seen)

    def _has_entropy_terms(self) -> bool:
        config = self.config
        return bool(config.entropy_minimisation_weight or config.entropy_maximisation_weight)

    def _needs_vote(self) -> bool:
        """Whether any term looks at reliability; otherwise no view is made at all."""
        config = self.config
        return self._has_entropy_terms() or bool(config.prototype_weight and config.prototype_mask)

    def _vote(
        self,
        source: Labelled,
        target: Unlabelled,
        label: Tensor,
        generators: Sequence[np.random.Generator],
    ) -> tuple[Tensor | None, Reliability]:
        """Logits of the random views, `(N, B, C, H, W)` with gradient if needed, and the vote."""
        # Only the random views may enter the entropy terms, and Fourier views only vote.
        with_gradient = self.config.entropy_view == "last_random" and self._has_entropy_terms()
        return vote_with_logits(
            self._view_logits,
            target.image,
            label,
            self.config.reliability,
            generators,
            source_image=source.image,
            with_gradient=with_gradient and torch.is_grad_enabled(),
        )

    def _view_logits(self, views: Tensor) -> Tensor:
        unseen = self.config.view_statistics == "batch_only"
        with batch_statistics_only(self.segmentor, when=unseen):
            logits: Tensor = self.segmentor(views).logits
        return logits

    def _entropy_terms(
        self,
        logits: Tensor,
        random_logits: Tensor | None,
        label: Tensor,
        reliability: Reliability,
    ) -> dict[str, Tensor]:
        """Weighted terms of Eq. 6: falling entropy on R, rising entropy on U."""
        config = self.config
        if not self._has_entropy_terms():
            return {}
        reliable, unreliable = reliability
        if config.entropy_minimisation_on == "all":
            reliable = torch.ones_like(reliable)
        if config.entropy_class_weights:
            weights = pixel_weights(label, self.num_classes)
            reliable, unreliable = reliable * weights, unreliable * weights
        # Entropy falls in the last view that agrees and rises in the last one that contradicts (SE-D2).
        lower = upper = logits  # (B, C, H, W)
        if random_logits is not None:
            agrees = random_logits.detach().argmax(2) == label  # (N, B, H, W)
            lower = logits_of_last_view(random_logits, agrees, logits)
            upper = logits_of_last_view(random_logits, ~agrees, logits)
        falling, rising = selective_entropy(lower, upper, reliable, unreliable)
        terms = {}
        if config.entropy_minimisation_weight:
            terms["entropy_reliable"] = config.entropy_minimisation_weight * falling
        if config.entropy_maximisation_weight:
            terms["entropy_unreliable"] = config.entropy_maximisation_weight * rising
        return terms

    def _align(
        self,
        source_output: SegmentorOutput,
        source_label: Tensor,
        target_output: SegmentorOutput,
        target_label: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """Move both domains' prototypes, Eq. 9, and return their distance, Eq. 10."""
        moved = []
        for domain, output, label, chosen in (
            ("source", source_output, source_label, None),
            ("target", target_output, target_label, mask),
        ):
            own, seen = getattr(self, f"{domain}_prototypes"), getattr(self, f"{domain}_seen")
            momentum = self.config.prototype_momentum
            moved.append(move_prototypes(own, seen, output.features, label, momentum, chosen))
        return prototype_distance(moved[0], moved[1], self.source_seen & self.target_seen)
