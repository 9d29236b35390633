"""Mean teacher: a student learns from the sure labels of its own moving average, on strongly changed slices.

One method for a family: class-mix as in DACS (Tranheden et al., WACV 2021), masked consistency as in MIC
(Hoyer et al., CVPR 2023, Apache-2.0), and without source data as in CBMT (Tang et al., MICCAI 2023). Written
from the papers and from descriptions of their code; no line of it was used. MT-Dn are our decisions.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, optim

from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, Labelled, TrainingData, Unlabelled
from napari_uda.data.mixing import StrongViewConfig, strong_view
from napari_uda.losses.pseudo_label import (
    IGNORED,
    soft_cross_entropy,
    surest_of_each_class,
    weighted_pixel_loss,
)
from napari_uda.methods.base import Method, MethodConfig, Need
from napari_uda.networks.moving_average import follow
from napari_uda.networks.normalisation import evaluating
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.plausibility import PlausibilityGate
from napari_uda.uncertainty.reliability import vote_of_views


class MeanTeacherConfig(StrongViewConfig, MethodConfig):
    """Settings of mean_teacher."""

    name: Literal["mean_teacher"] = "mean_teacher"
    """Name of the method."""
    source_free: bool = False
    """Train without source data, from a trained run; then class_mix is not possible, and an ema of 0.98 and an
    anchor_weight are in place, as in the recipe mean_teacher_source_free."""
    pseudo_weight: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy of the student with the teacher's labels; 0 switches teacher and student
    off, which is source_only."""
    alone: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the student learns from the source alone, before its teacher, which follows
    it from the start, knows enough to teach (MT-D6)."""
    ramp: float = Field(default=0.2, ge=0, le=1)
    """Share of the steps after those in which that weight rises from 0."""
    ema: float = Field(default=0.99, ge=0, lt=1)
    """Share of the old teacher in the new one, per step; less in the first steps (MT-D1)."""
    gate: Literal["confidence", "per_class", "reliable", "none"] = "confidence"
    """Which labels are learnt from: confidence (all of a slice, as much as its share of sure pixels),
    per_class (the surest share of each class in the batch, as in crst), reliable (those that changed views
    of the slice confirm by the vote of `reliability`, MT-D7) or none (all)."""
    confidence: float = Field(default=0.968, ge=0, le=1)
    """Probability from which a pixel is sure."""
    gate_share: float = Field(default=0.5, gt=0, le=1)
    """For gate per_class: the share of the pixels of each class that is learnt from."""
    anchor_weight: float = Field(default=0.0, ge=0)
    """Weight of the cross-entropy of the student with the run it starts from, on all target pixels; 0 switches
    it off (MT-D3)."""
    plausibility_every: int = Field(default=0, ge=0)
    """Steps after which it is measured anew which structures of each target case have a size, place and shape
    as in the source's labels; labels of others are left out (MT-D4). 0 takes all."""

    @property
    def needs_start(self) -> bool:
        return self.source_free

    @model_validator(mode="after")
    def _has_something_to_learn_from(self) -> Self:
        if self.source_free and self.mix == "class_mix" and self.pseudo_weight:
            raise ValueError(
                "mix class_mix needs source slices, and source_free has none; give mask or none"
            )
        if self.source_free and not self.pseudo_weight:
            raise ValueError("source_free learns from pseudo-labels; give a pseudo_weight above 0")
        if self.source_free and self.alone:
            raise ValueError("alone is time with the source, and source_free has none; give 0")
        return self


class MeanTeacher(Method[MeanTeacherConfig]):
    """The segmentor that predicts is the teacher: it is never trained, but follows the student it teaches."""

    family = "self-training"
    paper = "Tarvainen & Valpola, NeurIPS 2017; DACS, WACV 2021; MIC, CVPR 2023"
    summary = (
        "trains a student on strongly changed target slices, labelled by its own moving average"
    )
    needs = frozenset({"source", "target"})
    learns_from_corrected = True
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "source_free": {"source_free": True, "mix": "mask"}
    }
    for_a_volume = {
        "steps": 30,  # as sfda
        "surer_by": 0.5,  # it grows sure of its own labels where these are wrong, too
        "method": {
            "source_free": True,
            "mix": "mask",
            "ema": 0.9,  # a teacher that follows within tens of steps
            "anchor_weight": 0.1,
            "segmentor_optimizer": {"kind": "adam", "lr": 2e-4, "weight_decay": 0.0},
        },
    }

    @classmethod
    def needs_with(cls, config: MethodConfig) -> frozenset[Need]:
        assert isinstance(config, MeanTeacherConfig)
        return frozenset({"target"}) if config.source_free else cls.needs

    def __init__(self, config: MeanTeacherConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.updates: Tensor
        self.register_buffer("updates", torch.tensor(0))
        self.gate = PlausibilityGate(num_classes)
        self.student: Segmentor | None = None
        self.start: Segmentor | None = None
        if self._teaches():
            self.student = copy.deepcopy(segmentor)
            if config.anchor_weight:
                self.start = copy.deepcopy(segmentor).requires_grad_(False)

    @property
    def learner(self) -> Segmentor:
        return self.segmentor if self.student is None else self.student

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        if self.student is not None:
            self.segmentor.requires_grad_(False)
        return {"student": self.build_segmentor_optimizer()}

    def loads_from_init(self, name: str) -> bool:
        return name.startswith("segmentor.")

    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Let the teacher follow the student, as it stands before this step; judge its labels when due."""
        self._follow()
        every, lessons = self.config.plausibility_every, runtime.step - self._first_lesson(runtime)
        if every and self.student is not None and lessons >= 0 and lessons % every == 0:
            with evaluating(self.segmentor):
                self.gate.judge(self.predict, data, runtime)

    def after_last_step(self, data: TrainingData, runtime: Runtime) -> None:
        self._follow()
        self.gate.forget()

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        terms, logs = self.corrected_terms(batch), dict[str, Tensor]()
        if batch.source is not None:
            output = self.learner(batch.source.image)
            terms["segmentation"] = self.supervised_loss(output, batch.source.label)
        if self.student is not None and runtime.step >= self._first_lesson(runtime):
            terms |= self._target_terms(batch.source, batch.unlabelled(), runtime, logs)
        return logs | runtime.minimise(terms, "student")

    def consistency_loss(self, image: Tensor, changed: Tensor) -> Tensor:
        """Of the student on changed slices with its teacher on the slices themselves, all pixels alike (MT-D5)."""
        label = self.segmentor(image).logits.argmax(1)
        return F.cross_entropy(self.learner(changed).logits.float(), label)

    def preview_maps(
        self, image: Tensor, domain: Literal["source", "target"], index: int
    ) -> dict[str, Tensor]:
        confidence, label = self.segmentor(image).logits.float().softmax(1).max(1)
        sure = torch.where(confidence >= self.config.confidence, label, IGNORED)
        return {"labels.sure labels": sure[0]}

    def _target_terms(
        self,
        source: Labelled | None,
        target: Unlabelled,
        runtime: Runtime,
        logs: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """What the student learns of the target from its teacher, and from the run it starts from."""
        config = self.config
        assert self.student is not None
        # The teacher sees the slice as it is, and its own running statistics.
        with torch.no_grad(), evaluating(self.segmentor):
            confidence, label = self.segmentor(target.image).logits.float().softmax(1).max(1)
            weight = self._weights(confidence, label, target.image, source, runtime)
        weight = weight * self.gate.weights(target, label)
        logs["label_weight"] = weight.mean()
        for index in range(self.num_classes):
            logs[f"accepted_share_{index}"] = (weight * (label == index)).mean()

        # The student sees a strong view of it.
        image, own, label, weight = strong_view(
            target.image, label, weight, source, config, runtime
        )
        logits = self.student(image).logits
        terms = {}
        if config.pseudo_weight:
            lessons = runtime.step + 1 - self._first_lesson(runtime)
            ramp = min(1.0, lessons / max(1.0, config.ramp * (1 - config.alone) * runtime.steps))
            loss = weighted_pixel_loss(logits, label, weight)
            terms["pseudo_label"] = config.pseudo_weight * ramp * loss
        if self.start is not None:
            with torch.no_grad(), evaluating(self.start):
                first = self.start(target.image).logits
            terms["anchor"] = config.anchor_weight * soft_cross_entropy(logits, first, own.float())
        return terms

    def _weights(
        self,
        confidence: Tensor,
        label: Tensor,
        image: Tensor,
        source: Labelled | None,
        runtime: Runtime,
    ) -> Tensor:
        """How much each pixel's label counts, `(B, H, W)` in [0, 1]."""
        config = self.config
        if config.gate == "confidence":
            sure = (confidence >= config.confidence).float()
            return sure.mean((1, 2), keepdim=True).expand_as(sure)
        if config.gate == "per_class":
            share = config.gate_share
            return surest_of_each_class(confidence, label, self.num_classes, share).float()
        if config.gate == "reliable":
            return vote_of_views(
                lambda views: self.segmentor(views).logits.argmax(1),
                *(image, label, config.reliability),
                runtime.sample_generators("views", len(label)),
                None if source is None else source.image,
            ).reliable.float()
        return torch.ones_like(confidence)

    def _first_lesson(self, runtime: Runtime) -> int:
        """The step from which the teacher teaches."""
        return int(self.config.alone * runtime.steps)

    def _teaches(self) -> bool:
        return bool(self.config.pseudo_weight or self.config.anchor_weight)

    @torch.no_grad()
    def _follow(self) -> None:
        """One update of the teacher, running statistics included: `teacher <- a teacher + (1 - a) student`."""
        if self.student is None:
            return
        done = int(self.updates)
        if not done:  # weights of a run that this one starts from are loaded by now
            for network in (self.student, self.start):
                if network is not None:
                    network.load_state_dict(self.segmentor.state_dict())
        # a copy at first, then the mean of the students so far, as long as that moves faster (MT-D1)
        follow(self.segmentor, self.student, min(1 - 1 / (done + 1), self.config.ema))
        self.updates += 1
