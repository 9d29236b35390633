"""AttENT: attention-gated translation, then entropy alignment (Li et al., BIBM 2021).

Equation numbers are the paper's; AT-Dn are the decisions taken where paper and released code differ.
The defaults of the supervised loss (class-weighted cross-entropy and Dice) and of the segmentor's optimiser
are those of all methods here; plain cross-entropy and a constant rate, as published, are in `attent_paper`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, optim

from napari_uda.core.errors import InputError
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, TrainingData
from napari_uda.methods.base import Method, TranslatingConfig
from napari_uda.networks.discriminator import DiscriminatorName
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.output_adversary import AdversaryConfig, OutputAdversary
from napari_uda.players.translator import GatedTranslatorConfig, Translator


class AttENTAdversaryConfig(AdversaryConfig):
    """The discriminators of stage B with the paper's weights."""

    main_weight: float = Field(default=1e-3, ge=0)
    """Weight of the adversarial loss on predictions of the main head; 0 switches it off."""
    aux_weight: float = Field(default=2e-4, ge=0)
    """Weight of the adversarial loss on predictions of the auxiliary head; 0 switches it off."""
    discriminator: DiscriminatorName = "fc"
    """Architecture of the discriminators: fc (fully convolutional), patch_bn (PatchGAN with batch
    normalisation) or patch_in (PatchGAN with instance normalisation)."""


class AttENTConfig(TranslatingConfig):
    """Settings of attent; stage A trains the generators, stage B aligns entropy maps."""

    name: Literal["attent"] = "attent"
    """Name of the method."""
    translator: GatedTranslatorConfig = GatedTranslatorConfig()
    """Stage A: two generators with attention gates, and their image discriminators."""
    translation_steps: int = Field(default=10_000, ge=0)
    """How many of the run's first steps train the generators (stage A); 0 takes the trained
    generators of the run `init`."""
    joint: bool = False
    """Run stage B from the first step on, while the generators still learn; off runs it after stage
    A, as in the paper."""
    keep_segmentor: bool = True
    """Start from the segmentation network of the run `init`, too; off starts with a new one, as the
    paper's stage B does."""
    plain_view: float = Field(default=0.0, ge=0, lt=1)
    """Share of untranslated target slices in the probabilities of a prediction, the rest being that of
    translated ones; 0.5 is the mean of both looks. 0 switches it off, as in the paper."""
    adversary: AttENTAdversaryConfig = AttENTAdversaryConfig()
    """Stage B: the discriminators, which see maps of weighted self-information, and their
    weights."""
    discriminator_optimizer: OptimizerConfig = OptimizerConfig(
        kind="adam", lr=1e-4, momentum=0.9, beta2=0.99, weight_decay=0
    )
    """Optimiser of each discriminator of stage B."""


class AttENT(Method[AttENTConfig]):
    """Target slices take the source's look, then their entropy maps learn to pass for source ones.

    The segmentor learns from source labels in stage A too, which the paper does not say: the structure
    check needs it, and stage B then starts from it. The paper's order to the letter is two runs: stage
    A with `cyclegan`, then this method with `init`, `translation_steps` 0 and `keep_segmentor` off.
    """

    family = "translation"
    paper = "Li et al., BIBM 2021"
    summary = "gives the target the source's look with attention gates, then aligns entropy maps"
    needs = frozenset({"source", "target"})
    learns_from_corrected = True
    when_continued: ClassVar[Mapping[str, Any]] = {"translation_steps": 0, "keep_segmentor": True}

    translator: Translator

    def __init__(self, config: AttENTConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.translator = Translator(config.translator)
        self.adversary = OutputAdversary(config.adversary, num_classes, "self_information")
        if not config.translation_steps:
            self.translator.requires_grad_(False)

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        translating = self.translator.optimizers() if self.config.translation_steps else {}
        return {
            "segmentor": self.build_segmentor_optimizer(),
            **translating,
            **self.adversary.optimizers(self.config.discriminator_optimizer),
        }

    def loads_from_init(self, name: str) -> bool:
        return self.config.keep_segmentor or not name.startswith("segmentor.")

    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Refuse to begin what cannot become a model.

        Raises:
            InputError: without trained generators, or without a step for stage B.
        """
        if runtime.step:
            return
        stage_a = self.config.translation_steps
        if not stage_a and not self.translator.trained_steps:
            raise InputError(
                "translation_steps is 0 and no trained generators of these settings are given; give "
                "--init with a run of cyclegan or attent, or translation_steps above 0"
            )
        if stage_a >= runtime.steps and not self.config.joint:
            raise InputError(
                f"translation_steps is {stage_a} of {runtime.steps} steps and leaves none for the "
                "alignment of entropy maps; give fewer, or more --steps"
            )

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        source, target = batch.labelled(), batch.unlabelled()
        translating = runtime.step < self.config.translation_steps
        aligning = self.config.joint or not translating
        # all of it with the generators as they stand before this step
        logs = self.translator.structure_check(
            self.segmentor, self.predict_labelled, source.plain, source.label, runtime
        )
        if aligning:
            with torch.no_grad():
                translated = self.translator.translate(target.image, "target_to_source")

        # Stage A: Eqs. 2 to 4.
        if translating:
            logs |= self.translator.learn(source.plain, target.image, runtime)

        # Stage B: the supervised loss, Eq. 5, and maps of translated slices that pass for source
        # maps, Eqs. 6 and 8.
        source_output = self.segmentor(source.image)
        terms = {"segmentation": self.supervised_loss(source_output, source.label)}
        if aligning:  # generators that do not translate yet would only hide what was corrected
            terms |= self.corrected_terms(batch)
            target_output = self.segmentor(translated)
            terms |= self.adversary.fooling_losses(target_output)
        logs |= runtime.minimise(terms, "segmentor")

        # One step of each discriminator of entropy maps, Eq. 7.
        if aligning:
            logs |= self.adversary.learn(source_output, target_output, runtime)
        return logs

    def predict(self, image: Tensor) -> Tensor:
        """Logits of the main head on target slices, which are given the source's look first.

        With `plain_view` they are logarithms of the mean probabilities of both looks.
        """
        translated = super().predict(self.of_target(image))
        share = self.config.plain_view
        if not share:
            return translated
        looks = ((1 - share, translated), (share, super().predict(image)))
        return torch.stack(
            [F.log_softmax(logits.float(), dim=1) + log(weight) for weight, logits in looks]
        ).logsumexp(dim=0)

    def of_target(self, image: Tensor) -> Tensor:
        return self.translator.translate(image, "target_to_source")

    def predict_labelled(self, image: Tensor) -> Tensor:
        """Logits of source slices, which need no translation."""
        return super().predict(image)
