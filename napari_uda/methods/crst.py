"""CRST: confidence-regularised self-training (Zou et al., ICCV 2019), and EBM, which adds an energy to it.

Written from the papers and from a description of the authors' code, whose licence (CC BY-NC-SA 4.0) forbids
its use here; no line of it was used. CR-Dn and EB-Dn are the decisions taken where paper, code and medical
volumes differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.core.seeds import generator
from napari_uda.data.batches import Batch, TrainingData, Unlabelled
from napari_uda.losses.energy import (
    bounded_mean_logit,
    energy_hinge,
    free_energy,
    mean_of_all_ranks,
    move_reference,
)
from napari_uda.losses.pseudo_label import pseudo_label_loss, uniform_divergence
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.normalisation import evaluating, running_statistics
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.pseudo_labeller import PseudoLabelConfig, PseudoLabeller


class CRSTConfig(MethodConfig):
    """Settings of crst: MRKLD by default; CBST has a kl_weight of 0, LRENT that and labels.alpha 0.25."""

    name: Literal["crst"] = "crst"
    """Name of the method."""
    segmentor_optimizer: OptimizerConfig = OptimizerConfig(lr=5e-5)
    """Optimiser of the segmentation network; it begins anew in every round."""
    lr_power: float = Field(default=0.0, ge=0)
    """Learning rates fall as (1 - step/steps) to this power; 0 keeps them constant, as in the paper."""
    labels: PseudoLabelConfig = PseudoLabelConfig()
    """How target slices are labelled, and when anew."""
    pseudo_weight: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy with pseudo-labels of the target; 0 switches it off."""
    kl_weight: float = Field(default=0.1, ge=0)
    """Weight alpha of the term that keeps predictions of labelled target pixels near uniform (MRKLD); 0
    switches it off."""
    source_mix: float = Field(default=1.0, gt=0)
    """Factor of the source's loss: the share of the source among the paper's slices (CR-D1)."""
    source_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the source slices, drawn anew in every round, that is trained on; the paper's is 0.03
    (CR-D2)."""
    source_share_step: float = Field(default=0.0, ge=0, le=1)
    """How much larger that share is in each further round; the paper's is 0.0025."""
    batch_norm: Literal["frozen", "adapt"] = "frozen"
    """Statistics of batch normalisation: frozen (those of the run it starts from, as in the paper) or adapt
    (those of the batch, while running ones follow both domains) (CR-D5)."""


class CRST(Method[CRSTConfig]):
    """A trained network labels the surest target pixels of each class, learns from them, and labels anew."""

    family = "self-training"
    paper = "Zou et al., ICCV 2019 (CRST), ECCV 2018 (CBST)"
    summary = "trains a trained run on its own labels of the surest target pixels of each class, in rounds"
    needs = frozenset({"source", "target"})
    needs_init = True
    learns_from_corrected = True

    def __init__(self, config: CRSTConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.labeller = PseudoLabeller(config.labels, num_classes)
        self._source_slices: NDArray[np.int64] | None = None

    def loads_from_init(self, name: str) -> bool:
        return not name.startswith("labeller.")

    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        """At the start of a round label the whole target, and let the optimiser begin anew."""
        assert data.source is not None  # `needs` promises both
        assert data.target is not None
        if self._uses_labels():
            with evaluating(self.segmentor):
                if self.labeller.begin_round(self.predict, data.target, runtime):
                    runtime.forget("segmentor")
        self._source_slices = self._of_round(len(data.source), runtime)

    def choose_slices(
        self,
        domain: Literal["source", "target"],
        indices: NDArray[np.int64],
        generators: Sequence[np.random.Generator],
    ) -> NDArray[np.int64]:
        """Of the source those of this round; of the target more with rare classes."""
        if domain == "target":
            return self.labeller.prefer_rare(indices, generators)
        chosen = self._source_slices
        return indices if chosen is None else chosen[indices % len(chosen)]

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        source, target = batch.labelled(), batch.unlabelled()
        with running_statistics(self.segmentor, when=self.config.batch_norm == "frozen"):
            # Cross-entropy of the source with its labels; here the loss of all methods (CR-D6).
            output = self.segmentor(source.image)
            segmentation = self.config.source_mix * self.supervised_loss(output, source.label)
            terms = {"segmentation": segmentation, **self.corrected_terms(batch)}
            logs: dict[str, Tensor] = {}
            if self._uses_target():
                logits = self.segmentor(target.image).logits
                terms |= self._target_terms(output.logits, logits, target, logs)
        return logs | runtime.minimise(terms, "segmentor")

    def preview_maps(
        self, image: Tensor, domain: Literal["source", "target"], index: int
    ) -> dict[str, Tensor]:
        row = index if domain == "target" else None
        return {"labels.pseudo-labels": self.labeller.shown(row, image)}

    def after_last_step(self, data: TrainingData, runtime: Runtime) -> None:
        self.labeller.forget()

    def _target_terms(
        self, source_logits: Tensor, logits: Tensor, target: Unlabelled, logs: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Cross-entropy with pseudo-labels, and its regulariser, over the pixels that have one."""
        config, terms = self.config, dict[str, Tensor]()
        if self._uses_labels():
            label = self.labeller.of(target)
            for index, share in enumerate(label.mean((0, 2, 3))):
                logs[f"labelled_share_{index}"] = share
            if config.pseudo_weight:
                terms["pseudo_label"] = config.pseudo_weight * pseudo_label_loss(logits, label)
            if config.kl_weight:
                terms["uniform"] = config.kl_weight * uniform_divergence(logits, label)
        return terms

    def _uses_labels(self) -> bool:
        return bool(self.config.pseudo_weight or self.config.kl_weight)

    def _uses_target(self) -> bool:
        return self._uses_labels()

    def _of_round(self, count: int, runtime: Runtime) -> NDArray[np.int64] | None:
        """Source slices of this round; None for all."""
        config = self.config
        number = config.labels.round_at(runtime)
        share = config.source_share + number * config.source_share_step
        if share >= 1:
            return None
        order = generator(runtime.seed, "source-share", number).permutation(count)
        return order[: max(1, round(share * count))]


class EBMConfig(CRSTConfig):
    """Settings of ebm: those of crst, and the energy. Its weight beta is ours: the paper's is not public."""

    name: Literal["ebm"] = "ebm"  # type: ignore[assignment] # each method has a name of its own
    """Name of the method."""
    energy_weight: float = Field(default=0.05, ge=0)
    """Weight beta of the energy of all target pixels, ours (EB-D2); 0 switches it off, which is crst."""
    energy_form: Literal["centred_hinge", "raw"] = "centred_hinge"
    """What is lowered: centred_hinge (the energy of centred logits as far as it is above the source's) or
    raw (the energy itself, the paper's, which has no lower bound) (EB-D1)."""

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        raw = self.energy_form == "raw" and self.energy_weight
        if raw and not self.segmentor_optimizer.weight_decay:
            raise ValueError(
                "energy_form raw needs a weight_decay of segmentor_optimizer above 0, because nothing else "
                "bounds the energy; give one, or take centred_hinge"
            )
        return self


class EBM(CRST):
    """CRST, while the energy of target pixels falls: a term that needs no pseudo-label."""

    paper = "Liu et al., ICPR 2020"
    summary = "is crst with an energy of all target pixels that falls; its weight beta is ours, the paper's is not public"
    config_class = EBMConfig
    config: EBMConfig

    def __init__(self, config: EBMConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.source_energy: Tensor
        self.energy_known: Tensor
        self.register_buffer("source_energy", torch.tensor(0.0))
        self.register_buffer("energy_known", torch.tensor(False))

    def loads_from_init(self, name: str) -> bool:
        return super().loads_from_init(name) and "energy" not in name

    def _uses_target(self) -> bool:
        return super()._uses_target() or bool(self.config.energy_weight)

    def _target_terms(
        self, source_logits: Tensor, logits: Tensor, target: Unlabelled, logs: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Those of CRST, and `beta mean_i E(x_i)` over all target pixels, or its bounded form."""
        config, terms = self.config, super()._target_terms(source_logits, logits, target, logs)
        if not config.energy_weight:
            return terms
        centred = config.energy_form == "centred_hinge"
        source = mean_of_all_ranks(free_energy(source_logits, centred=centred))
        energy = free_energy(logits, centred=centred)
        logs |= {"energy_source": source, "energy_target": energy.detach().mean()}
        if centred:
            move_reference(self.source_energy, self.energy_known, source)
            loss = energy_hinge(energy, self.source_energy)
        else:
            logs["mean_logit"] = bounded_mean_logit(logits)
            loss = energy.mean()
        return terms | {"energy": config.energy_weight * loss}
