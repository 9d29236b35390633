"""CyCADA: translation, training on translated source, then alignment of scores (Hoffman et al. 2018).

CY-Dn are the decisions taken where paper and released code differ. The released code is BSD-2-Clause;
none of it is used here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, optim

from napari_uda.core.errors import InputError
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, TrainingData
from napari_uda.losses.segmentation import weighted_cross_entropy
from napari_uda.methods.base import Method, TranslatingConfig
from napari_uda.networks.normalisation import batch_statistics_only, running_statistics
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.score_adversary import ScoreAdversary
from napari_uda.players.slice_translator import Direction
from napari_uda.players.translator import Translated, Translator


class CyCADAConfig(TranslatingConfig):
    """Settings of cycada; stage 1 translates, stage 2 learns from translations, stage 3 aligns scores."""

    name: Literal["cycada"] = "cycada"
    """Name of the method."""
    translation_steps: int = Field(default=10_000, ge=0)
    """Stage 1: how many of the run's first steps train the generators; 0 takes those of the run
    `init`."""
    supervised_steps: int = Field(default=10_000, ge=0)
    """Stage 2: for how many steps the segmentor then learns alone, on translated source slices."""
    joint: bool = False
    """Run stages 1 and 3 in every step; off runs them one after the other, as in the paper."""
    semantic_weight: float = Field(default=0.0, ge=0)
    """Stage 1: weight by which translated slices keep the segmentation of the run `init`, which is
    needed then; 1 in the paper, 0, as released, is off."""
    adversarial_weight: float = Field(default=0.1, ge=0)
    """Stage 3: weight of the adversarial loss on scores of target slices; 0 leaves stage 3 out."""
    gate_accuracy: float = Field(default=0.6, ge=0, lt=1)
    """Stage 3: the segmentor moves while the discriminator's mean accuracy is above this; 0 lets it
    always move."""
    gate_window: int = Field(default=100, ge=1)
    """Stage 3: over how many of the last steps that accuracy is a mean."""
    separate_updates: bool = True
    """Stage 3: one step on the adversarial loss and another on the supervised loss, as in the
    released code; off takes one on their sum."""
    score_width: int = Field(default=512, ge=2, le=4096)
    """Channels of the first layer of the discriminator of scores."""
    discriminator_optimizer: OptimizerConfig = OptimizerConfig(
        kind="sgd", lr=1e-5, momentum=0.99, weight_decay=5e-4
    )
    """Optimiser of the discriminator of scores."""

    @property
    def needs_start(self) -> bool:
        return bool(self.semantic_weight and self.translation_steps)


class CyCADA(Method[CyCADAConfig]):
    """Source slices take the target's look, a segmentor learns from them, then its scores are aligned.

    The segmentor learns from translated slices in stage 1 too, as in `cyclegan` (CY-D1), with one optimiser
    in all stages (CY-D2). Users of the released code found better results without stage 3 (CY-D3);
    its gate is that of the released code, its end is not (CY-D4).
    """

    family = "translation"
    paper = "Hoffman et al., ICML 2018"
    summary = "cyclegan, then alignment of scores behind a gate"
    needs = frozenset({"source", "target"})
    learns_from_corrected = True
    when_continued: ClassVar[Mapping[str, Any]] = {"translation_steps": 0, "supervised_steps": 0}

    translator: Translator

    def __init__(self, config: CyCADAConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.translator = Translator(config.translator)
        self.adversary = (
            ScoreAdversary(num_classes, config.score_width, config.gate_window)
            if config.adversarial_weight
            else None
        )
        self.start = copy.deepcopy(segmentor).requires_grad_(False) if config.needs_start else None
        if not config.translation_steps:
            self.translator.requires_grad_(False)

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        players = {"segmentor": self.build_segmentor_optimizer()}
        if self.config.translation_steps:
            players |= self.translator.optimizers()
        if self.adversary is not None:
            settings = self.config.discriminator_optimizer
            players["discriminator_score"] = settings.build(self.adversary.parameters())
        return players

    def loads_from_init(self, name: str) -> bool:
        return name != "adversary.accuracies"

    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Keep the start model, and refuse to begin what cannot become a model.

        Raises:
            InputError: without trained generators, or without a step for stage 3.
        """
        if runtime.step:
            return
        config = self.config
        if self.start is not None:
            self.start.load_state_dict(self.segmentor.state_dict())
        if not config.translation_steps and not self.translator.trained_steps:
            raise InputError(
                "translation_steps is 0 and no trained generators of these settings are given; give "
                "--init with a run of cyclegan or cycada, or translation_steps above 0"
            )
        before = config.translation_steps + config.supervised_steps
        if before >= runtime.steps and config.adversarial_weight and not config.joint:
            raise InputError(
                f"translation_steps and supervised_steps are {before} of {runtime.steps} steps and leave "
                "none for the alignment of scores; give fewer, more --steps, or adversarial_weight 0"
            )

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        config = self.config
        source, target = batch.labelled(), batch.unlabelled()
        before = config.translation_steps + config.supervised_steps
        adversary = self.adversary if config.joint or runtime.step >= before else None
        # all of it with the generators as they stand before this step
        logs = self.translator.structure_check(
            self.segmentor, self.predict_labelled, source.image, source.label, runtime
        )
        with torch.no_grad():
            seen = self.translator.translate(source.image, "source_to_target")

        # Stage 1: CycleGAN, and what the start model sees must stay (Eq. 4).
        if runtime.step < config.translation_steps:
            terms, translated = self.translator.generator_terms(source.image, target.image)
            terms |= self._semantic_terms(source.image, target.image, translated)
            logs |= runtime.minimise(terms, "generators")
            logs |= self.translator.learn_discriminators(translated, runtime)

        # Stage 3: the discriminator of scores, and while it is good the segmentor against it.
        terms = {}
        is_open = False
        if adversary is not None:
            with torch.no_grad(), batch_statistics_only(self.segmentor):
                of_source = self.segmentor(seen).logits
                of_target = self.segmentor(target.image).logits
            logs |= adversary.learn(of_source, of_target, runtime)
            is_open = adversary.is_open(config.gate_accuracy)
        if adversary is not None and is_open:
            fooling = adversary.fooling_loss(self.segmentor(target.image).logits, runtime)
            terms["adversarial"] = config.adversarial_weight * fooling
            if config.separate_updates:
                logs |= runtime.minimise(terms, "segmentor")
                terms = {}

        # Stage 2, and in stage 3 a step behind the same gate: translated slices with their labels (Eq. 1).
        if is_open or config.joint or adversary is None:
            terms["segmentation"] = self.supervised_loss(self.segmentor(seen), source.label)
            logs |= runtime.minimise({**terms, **self.corrected_terms(batch)}, "segmentor")
        return logs

    def _semantic_terms(
        self, source: Tensor, target: Tensor, translated: Translated
    ) -> dict[str, Tensor]:
        """Cross-entropy of the start model on fakes against what it says of the slices themselves, Eq. 4."""
        if self.start is None:
            return {}
        pairs: tuple[tuple[Tensor, Tensor, Direction], ...] = (
            (source, translated.fake_target, "source_to_target"),
            (target, translated.fake_source, "target_to_source"),
        )
        loss = source.new_zeros(())
        with running_statistics(self.start):
            for image, fake, direction in pairs:
                image = image[: len(fake)]
                with torch.no_grad():
                    wanted = self.start(image).logits.argmax(1)
                seen = self.translator.translate_with_graph(image, fake, direction)
                loss = loss + weighted_cross_entropy(self.start(seen).logits, wanted)
        return {"semantic": self.config.semantic_weight * loss}

    def preview_maps(
        self, image: Tensor, domain: Literal["source", "target"], index: int
    ) -> dict[str, Tensor]:
        maps = super().preview_maps(image, domain, index)
        if self.adversary is not None:
            predict = self.predict_labelled if domain == "source" else self.predict
            maps |= self.adversary.preview_maps(predict(image))
        return maps

    def predict_labelled(self, image: Tensor) -> Tensor:
        """Logits of source slices, which the segmentor sees in the target's look, as in training."""
        return super().predict(self.translator.translate(image, "source_to_target"))
