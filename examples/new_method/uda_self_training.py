"""Self-training on translated slices: a method in a package of its own, to copy and change.

First generators learn to give source slices the target's look (CycleGAN, Zhu et al., ICCV 2017), while the
segmentor learns the source's labels on what they make of its slices. Then the generators rest, and the
segmentor also learns its own answers on target slices: of each class the surest share, so that common
classes do not crowd out rare ones (class-balanced self-training, Zou et al., ECCV 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, optim

from napari_uda.core.errors import InputError
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, TrainingData
from napari_uda.methods.base import Method, TranslatingConfig
from napari_uda.networks.normalisation import batch_statistics_only
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.translator import Translator


class SelfTrainingConfig(TranslatingConfig):
    """Settings of translated_self_training: each one is an option of `train` and a row of the form."""

    name: Literal["translated_self_training"] = "translated_self_training"
    """The method."""
    translation_steps: int = Field(default=10_000, ge=0)
    """Steps of the first stage; 0 takes trained generators from the run `init`."""
    joint: bool = False
    """Run the second stage from the first step, while the generators still learn."""
    pseudo_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss on pseudo-labels of the target; 0 is off."""
    sure_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the pixels of each class that are sure enough to be learnt."""
    threshold_every: int = Field(default=500, ge=1)
    """Steps after which it is measured anew what is sure."""
    threshold_slices: int = Field(default=64, ge=1)
    """Target slices on which that is measured."""


class SelfTraining(Method[SelfTrainingConfig]):
    """Translate, then learn from pseudo-labels of the target."""

    family = "self-training"
    paper = "after Zhu et al., ICCV 2017 and Zou et al., ECCV 2018"
    summary = "trains on source in target style, then on the surest target pixels of each class"
    needs = frozenset({"source", "target"})
    learns_from_corrected = True
    # a run that goes on from one of this method has its first stage behind it
    when_continued: ClassVar[Mapping[str, Any]] = {"translation_steps": 0}

    translator: Translator
    thresholds: Tensor

    def __init__(self, config: SelfTrainingConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.translator = Translator(config.translator)
        if not config.translation_steps:
            self.translator.requires_grad_(False)
        # a buffer, so that a checkpoint holds it and a resumed run goes on exactly
        self.register_buffer("thresholds", torch.ones(num_classes))  # (C,) probabilities

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        translating = self.translator.optimizers() if self.config.translation_steps else {}
        return {"segmentor": self.build_segmentor_optimizer(), **translating}

    @torch.no_grad()
    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        config = self.config
        if not config.translation_steps and not self.translator.trained_steps:
            raise InputError(
                "translation_steps is 0 and there are no trained generators; give --init with a run "
                "that has some, or translation_steps above 0"
            )
        since = runtime.step - (0 if config.joint else config.translation_steps)
        if config.pseudo_weight and since >= 0 and since % config.threshold_every == 0:
            self._measure_thresholds(data, runtime)

    def _measure_thresholds(self, data: TrainingData, runtime: Runtime) -> None:
        """Of each class the probability that `sure_share` of its pixels reach."""
        assert data.target is not None  # `needs` promises it
        count = min(self.config.threshold_slices, len(data.target))
        # evenly spread, so that all processes of a run take the same ones
        chosen = np.linspace(0, len(data.target) - 1, count).astype(np.int64)
        found = []
        for part in np.split(chosen, range(data.batch_size, count, data.batch_size)):
            with batch_statistics_only(self.segmentor):
                logits = self.segmentor(data.target.image(part).to(runtime.device)).logits
            found.append(logits.float().softmax(1).max(1))  # values and labels, each (B, H, W)
        confidence = torch.cat([values.flatten() for values, _ in found])
        label = torch.cat([labels.flatten() for _, labels in found])
        for index in range(self.num_classes):
            of_class = confidence[label == index].sort(descending=True).values
            if len(of_class):  # a class that is not there keeps its threshold
                self.thresholds[index] = of_class[int(self.config.sure_share * (len(of_class) - 1))]

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        source, target = batch.labelled(), batch.unlabelled()
        translating = runtime.step < self.config.translation_steps
        teaching = self.config.joint or not translating
        logs = self.translator.structure_check(
            self.segmentor, self.predict_labelled, source.image, source.label, runtime
        )
        with torch.no_grad():
            in_target_style = self.translator.translate(source.image, "source_to_target")
        output = self.segmentor(in_target_style)
        terms = {"segmentation": self.supervised_loss(output, source.label)}
        terms |= self.corrected_terms(batch)

        if teaching and self.config.pseudo_weight:
            logits = self.segmentor(target.image).logits.float()  # (B, C, H, W)
            confidence, label = logits.detach().softmax(1).max(1)  # (B, H, W)
            sure = confidence >= self.thresholds[label]
            loss = (F.cross_entropy(logits, label, reduction="none") * sure).mean()
            terms["pseudo_label"] = self.config.pseudo_weight * loss
            logs["pseudo_share"] = sure.float().mean()

        logs |= runtime.minimise(terms, "segmentor")
        if translating:  # one step of the generators and one of each discriminator
            logs |= self.translator.learn(source.image, target.image, runtime)
        return logs

    def predict_labelled(self, image: Tensor) -> Tensor:
        """Logits of source slices, which the segmentor knows in the target's look only."""
        return self.predict(self.translator.translate(image, "source_to_target"))
