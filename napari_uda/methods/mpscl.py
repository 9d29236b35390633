"""MPSCL: margin-preserving self-paced contrastive learning (Liu et al., IEEE JBHI 2022).

Written from the paper and from a description of the authors' code (TFboys-lzz/MPSCL), which has no licence;
no line of it was used. MP-Dn are the decisions taken where the two differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, optim

from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, TrainingData
from napari_uda.losses.contrastive import (
    contrast,
    cosines_of_prototypes,
    mean_where,
    nearest_prototypes,
    prototype_cosines,
)
from napari_uda.losses.prototype import resize_nearest
from napari_uda.losses.pseudo_label import IGNORED
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.segmentor import Segmentor, SegmentorOutput
from napari_uda.players.output_adversary import AdversaryConfig, OutputAdversary
from napari_uda.players.prototypes import move_prototypes, source_prototypes


class MPSCLConfig(MethodConfig):
    """Settings of mpscl; the defaults are those of the authors' code for CT -> MR (MP-D3)."""

    name: Literal["mpscl"] = "mpscl"
    """Name of the method."""
    adversary: AdversaryConfig = AdversaryConfig()
    """Adversarial alignment on two levels, as in advent."""
    discriminator_optimizer: OptimizerConfig = OptimizerConfig(
        kind="adam", lr=1e-4, momentum=0.9, beta2=0.99, weight_decay=0
    )
    """Optimiser of each discriminator."""
    source_contrast_weight: float = Field(default=1.0, ge=0)
    """Weight of the contrast of source features with the prototypes; 0 switches it off."""
    target_contrast_weight: float = Field(default=0.1, ge=0)
    """Weight of the contrast of target features that are near to one prototype; 0 switches it off."""
    source_temperature: float = Field(default=2.0, gt=0)
    """Temperature tau of the source's contrast; 1 for MR -> CT."""
    target_temperature: float = Field(default=1.0, gt=0)
    """Temperature tau of the target's contrast."""
    source_margin: float = Field(default=0.2, ge=0, le=1.5)
    """Margin m on the angle to the right prototype, in radians; 0.4 for MR -> CT."""
    target_margin: float = Field(default=0.2, ge=0, le=1.5)
    """The same for the target."""
    legacy_margin: bool = False
    """Compute the margin as the authors' code does, where it cancels for every pixel that is right (MP-D1)."""
    gap: float = Field(default=0.25, ge=0, le=2)
    """By how much a target pixel's nearest prototype must be nearer than the second, as a cosine, for the
    pixel to be learnt from."""
    prototype_momentum: float = Field(default=0.2, ge=0, lt=1)
    """Share of the old prototype in the new one; the rest comes from the batch."""
    keep_discriminators: bool = True
    """Start from the discriminators of the run `init`, too; off starts with new ones."""
    warmup_steps: int = Field(default=0, ge=0)
    """How many of the first steps have the segmentation and adversarial losses only; leave it at 0 for a run
    that starts from an ADVENT run, as in the paper."""


class MPSCL(Method[MPSCLConfig]):
    """ADVENT, while features of both domains come near to the source's prototype of their class."""

    family = "self-training"
    paper = "Liu et al., IEEE JBHI 2022"
    summary = "is advent, while features near one class prototype of the source come nearer, by a margin on the angle"
    needs = frozenset({"source", "target"})
    learns_from_corrected = True
    when_continued: ClassVar[Mapping[str, Any]] = {"warmup_steps": 0, "keep_discriminators": True}

    def __init__(self, config: MPSCLConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.adversary = OutputAdversary(config.adversary, num_classes, "self_information")
        self.prototypes: Tensor
        self.known: Tensor
        self.register_buffer("prototypes", torch.zeros(num_classes, segmentor.feature_channels))
        self.register_buffer("known", torch.zeros(num_classes, dtype=torch.bool))

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        return {
            "segmentor": self.build_segmentor_optimizer(),
            **self.adversary.optimizers(self.config.discriminator_optimizer),
        }

    def loads_from_init(self, name: str) -> bool:
        if name.startswith("adversary."):
            return self.config.keep_discriminators
        return name not in ("prototypes", "known")

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        source, target = batch.labelled(), batch.unlabelled()
        source_output = self.segmentor(source.image)
        target_output = self.segmentor(target.image)
        logs: dict[str, Tensor] = {}

        # One loss of the segmentor: supervision, target maps that pass for source maps, and the contrasts.
        terms = {"segmentation": self.supervised_loss(source_output, source.label)}
        terms |= self.corrected_terms(batch)
        terms |= self.adversary.fooling_losses(target_output)
        if runtime.step >= self.config.warmup_steps and self._contrasts():
            label = resize_nearest(source.label, _size(source_output))
            self._move_prototypes(source_output.features, label)
            terms |= self._contrast_terms(source_output, label, target_output, logs)
        logs |= runtime.minimise(terms, "segmentor")

        # One step of each discriminator.
        return logs | self.adversary.learn(source_output, target_output, runtime)

    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Start the prototypes when the warm-up ends: means over the whole source (MP-D2)."""
        due = runtime.step >= self.config.warmup_steps and self._contrasts()
        if due and not bool(self.known.any()):
            assert data.source is not None  # `needs` promises it
            found = source_prototypes(self.segmentor, data.source, self.num_classes, runtime.device)
            for own, new in zip((self.prototypes, self.known), found, strict=True):
                own.copy_(new)

    def preview_maps(
        self, image: Tensor, domain: Literal["source", "target"], index: int
    ) -> dict[str, Tensor]:
        output, sides = self.segmentor(image), _sides(image)
        cosines = prototype_cosines(output.features, self.prototypes, self.known)
        nearest, accepted = nearest_prototypes(cosines, self.config.gap)
        shown = torch.where(accepted & self.known.any(), nearest, IGNORED)
        # the matrix as a map, one block per pair; slices are shown turned, so that the background is at the top left
        matrix = cosines_of_prototypes(self.prototypes, self.known).clamp(min=-1).flip(0, 1)
        return {
            "labels.nearest prototype": resize_nearest(shown, sides)[0],
            "grey.cosines of prototypes": resize_nearest(matrix[None], sides)[0],
            **self.adversary.preview_maps(output),
        }

    def _contrasts(self) -> bool:
        return bool(self.config.source_contrast_weight or self.config.target_contrast_weight)

    @torch.no_grad()
    def _move_prototypes(self, features: Tensor, label: Tensor) -> None:
        """`P <- 0.2 P + 0.8 mean` of the classes in the batch; without gradient."""
        momentum = self.config.prototype_momentum
        move_prototypes(self.prototypes, self.known, features, label, momentum)

    def _contrast_terms(
        self,
        source: SegmentorOutput,
        label: Tensor,
        target: SegmentorOutput,
        logs: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Contrast of all source pixels, and of the target pixels that one prototype is clearly nearest to."""
        config, legacy = self.config, self.config.legacy_margin
        logs["prototype_cosine_min"] = self._least_cosine()
        terms = {}
        if config.source_contrast_weight:
            cosines = prototype_cosines(source.features, self.prototypes, self.known)
            settings = (config.source_temperature, config.source_margin)
            loss = contrast(cosines, label, *settings, legacy_margin=legacy).mean()
            terms["contrast_source"] = config.source_contrast_weight * loss
        if config.target_contrast_weight:
            cosines = prototype_cosines(target.features, self.prototypes, self.known)
            nearest, accepted = nearest_prototypes(cosines, config.gap)
            for index in range(self.num_classes):
                share = (accepted & (nearest == index)).float().mean()
                logs[f"accepted_share_{index}"] = share
            settings = (config.target_temperature, config.target_margin)
            loss = contrast(cosines, nearest, *settings, legacy_margin=legacy)
            terms["contrast_target"] = config.target_contrast_weight * mean_where(loss, accepted)
        return terms

    def _least_cosine(self) -> Tensor:
        """The cosine of the two prototypes that are farthest from each other."""
        cosines = cosines_of_prototypes(self.prototypes, self.known)
        return cosines[self.known][:, self.known].min()


def _size(output: SegmentorOutput) -> tuple[int, int]:
    return _sides(output.features)


def _sides(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[3]
