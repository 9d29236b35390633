"""SFDA: adaptation without source data by entropy and a class-ratio prior (Bateson et al., 2020 and 2022).

AdaEnt is the MICCAI 2020 form, AdaMI the MedIA 2022 one; SF-Dn are the decisions taken where paper and
released code differ.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, TrainingData
from napari_uda.losses.prior import (
    FLOOR,
    Divergence,
    RatioMode,
    mean_log_ratio,
    mean_of_slices,
    predicted_log_ratio,
    tolerant_divergence,
    weighted_entropy,
)
from napari_uda.losses.pseudo_label import soft_cross_entropy
from napari_uda.losses.size_prior import SizePriorConfig, by_name, expected_ratios
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.normalisation import (
    evaluating,
    move_statistics,
    running_statistics,
    statistics_of_the_batch,
)
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.slice_rows import make_room
from napari_uda.uncertainty.reliability import vote_of_views

_SLICES_FOR_STATISTICS = 16


class SFDAConfig(SizePriorConfig, MethodConfig):
    """Settings of sfda. It reads no label map, so the weights of cross-entropy and Dice do nothing."""

    name: Literal["sfda"] = "sfda"
    """Name of the method."""
    segmentor_optimizer: OptimizerConfig = OptimizerConfig(
        kind="adam", lr=1e-6, momentum=0.9, weight_decay=1e-3
    )
    """Optimiser of the segmentation network; its rate of 1e-6 needs thousands of steps, so raise it
    for few slices (SF-D14)."""
    entropy_weight: float = Field(default=1.0, ge=0)
    """Weight of the class-weighted entropy of target predictions; 0 switches it off."""
    prior_weight: float = Field(default=1.0, ge=0)
    """Weight lambda of the divergence between predicted and expected class ratios; 0 switches it
    off."""
    divergence: Divergence = "adami"
    """Direction of the divergence: adami, KL(predicted || expected), MedIA 2022; or adaent,
    KL(expected || predicted), MICCAI 2020."""
    ratio: RatioMode = "mean"
    """How predicted class ratios are computed: mean (of probabilities, the paper), maxnorm
    (relative to the largest probability, the released code, SF-D1) or argmax (the share of pixels
    that a class wins, with the gradient of mean)."""
    ratio_floor: float = Field(default=FLOOR, gt=0, le=1e-2)
    """Small number added to ratios before their logarithm; it sets the cost of predicting a structure
    that is said to be absent (SF-D6)."""
    entropy_class_weights: Literal["sizes", "uniform", "given"] = "sizes"
    """Class weights nu of the entropy: sizes (by the inverse of the expected sizes, sum 1), uniform
    (all equal, sum 1) or given (given_class_weights)."""
    given_class_weights: dict[str, float] = Field(default_factory=dict)
    """For entropy_class_weights given: the weight of each structure by name, and of
    `background`."""
    batch_norm: Literal["adapt", "frozen", "blended", "batch"] = "adapt"
    """Statistics of batch normalisation: adapt (learn with those of the batch, predict with running
    ones of the target), frozen (those of the source run throughout), blended (those of the source run and of
    the target together, taken once, as in bn_adapt) or batch (as adapt, but predict with those of the
    predicted batch)."""
    source_slices: int = Field(default=16, ge=0)
    """For batch_norm blended: how many slices of the target weigh as much as the source's statistics; 0
    forgets the source."""
    size_tolerance: float = Field(default=1.0, ge=1)
    """Factor within which class ratios may differ from the expected ones without being pulled; 1 wants them
    equal, as in the paper (SF-D15)."""
    entropy_on: Literal["all", "reliable"] = "all"
    """Where entropy is lowered: all pixels, as in the paper, or those that most views of a slice, of other
    brightness, contrast and sharpness, call the same (SF-D16)."""
    anchor_weight: float = Field(default=0.0, ge=0)
    """Weight of the cross-entropy with what the run it starts from predicts, which holds the network near it;
    0 switches it off (SF-D17)."""

    @property
    def target_supervision(self) -> str:
        if not self.prior_weight:
            return "none"
        if self.prior_sizes == "true":
            return "oracle: true area of each structure in each slice"
        if self.presence == "tags":
            return "weak: which structures each slice contains"
        return "none"

    @property
    def weighs_by_size(self) -> bool:
        """Whether there is an entropy whose class weights follow from the expected sizes."""
        return bool(self.entropy_weight) and self.entropy_class_weights == "sizes"

    @property
    def reads_run_sizes(self) -> bool:
        used = bool(self.prior_weight) or self.weighs_by_size
        return used and super().reads_run_sizes

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if not self.entropy_weight and not self.prior_weight:
            raise ValueError(
                "entropy_weight and prior_weight are both 0, so nothing is learnt; give one a weight "
                "above 0"
            )
        if self.entropy_class_weights == "given" and not self.given_class_weights:
            raise ValueError(
                "entropy_class_weights given needs given_class_weights; give one for each structure and for background"
            )
        if self.reads_weak_labels and self.prior_weight and self.weak_labels is None:
            raise ValueError(
                "tags and true sizes are read from weak_labels; give the file that napari-uda tags made"
            )
        return self


class SFDA(Method[SFDAConfig]):
    """A trained network becomes sure of target slices while its class ratios stay plausible."""

    family = "source-free"
    paper = "Bateson et al., MedIA 2022 (AdaMI), MICCAI 2020 (AdaEnt)"
    summary = "adapts a trained run without source data: low entropy, class ratios near a prior"
    needs = frozenset({"target"})
    needs_init = True
    for_a_volume = {
        "steps": 30,  # a volume of 15 slices of 96 x 96 pixels stays well under a minute on two cores
        "method": {
            # hundreds of times the paper's rate: a volume gets tens of steps, not thousands (SF-D14)
            "segmentor_optimizer": {"kind": "adam", "lr": 2e-4, "weight_decay": 0.0},
            # sizes as they are segmented: see `losses.prior.predicted_log_ratio`
            "ratio": "argmax",
            # one patient is not the mean of the source's, and what is unsure is where the network errs
            "size_tolerance": 2.0,
            "entropy_on": "reliable",
            "anchor_weight": 0.1,
        },
    }

    def __init__(self, config: SFDAConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.class_weights: Tensor
        self.expected: Tensor
        self.trusted: Tensor
        self.register_buffer("class_weights", torch.full((num_classes,), 1 / num_classes))
        # one row per target slice once `before_step` has looked at them: tau_e, and 1 where it counts
        self.register_buffer("expected", torch.zeros(0, num_classes))
        self.register_buffer("trusted", torch.zeros(0))
        self.start: Segmentor | None = None
        if config.anchor_weight:
            self.start = copy.deepcopy(segmentor).requires_grad_(False)

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        config, target = self.config, batch.unlabelled()
        frozen = config.batch_norm in ("frozen", "blended")
        with running_statistics(self.segmentor, when=frozen):
            output = self.segmentor(target.image)
        terms = {}

        # Weighted entropy, 1/|Omega| sum_i l_ent(i).
        if config.entropy_weight:
            pixels = (
                self._reliable(target.image, runtime) if config.entropy_on == "reliable" else None
            )
            terms["entropy"] = config.entropy_weight * self.over_heads(
                output, lambda logits: weighted_entropy(logits, self.class_weights, pixels)
            )

        # Divergence of class ratios, KL(tau_hat || tau_e) or KL(tau_e || tau_hat).
        if config.prior_weight:
            terms["prior"] = config.prior_weight * self.over_heads(
                output, lambda logits: self._divergence(logits, target.index)
            )

        # Cross-entropy with the run that this one starts from.
        if self.start is not None:
            with torch.no_grad(), evaluating(self.start):
                first = self.start(target.image).logits
            terms["anchor"] = config.anchor_weight * self.over_heads(
                output, lambda logits: soft_cross_entropy(logits, first)
            )
        return runtime.minimise(terms, "segmentor")

    @property
    def segments_each_alone(self) -> bool:
        return self.config.batch_norm != "batch"

    def predict(self, image: Tensor) -> Tensor:
        if self.config.batch_norm != "batch" or self.training:
            return super().predict(image)
        with statistics_of_the_batch(self.segmentor):
            return super().predict(image)

    def loads_from_init(self, name: str) -> bool:
        return name not in ("class_weights", "expected", "trusted") and name[:6] != "start."

    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Work out, once, what each target slice is expected to contain, and the weights of the entropy.

        The source model proposes here, before its first step; nothing looks at it later.
        """
        if runtime.step:
            return
        assert data.target is not None
        config, device = self.config, self.class_weights.device
        if self.start is not None:  # weights of a run that this one starts from are loaded by now
            self.start.load_state_dict(self.segmentor.state_dict())
        if config.prior_weight or config.weighs_by_size:
            with evaluating(self.segmentor):
                ratios, trusted, nu = expected_ratios(
                    *(config, data.facts, data.target, self._classes, runtime)
                )
            self.expected, self.trusted = ratios.to(device), trusted.to(device)
            if config.weighs_by_size:
                self.class_weights.copy_(nu)
        if config.entropy_class_weights == "given":
            names = ["background", *data.facts.names().values()]
            self.class_weights.copy_(torch.tensor(by_name(config.given_class_weights, names)))
        if config.batch_norm == "blended":
            share = len(data.target) / (len(data.target) + config.source_slices)
            slices = data.whole_target(_SLICES_FOR_STATISTICS, runtime.device)
            move_statistics(self.segmentor, slices, share)

    @torch.no_grad()
    def _reliable(self, image: Tensor, runtime: Runtime) -> Tensor:
        """Pixels `(B, H, W)` that most views call what the slice itself is called, by the network as it is."""
        generators = runtime.sample_generators("vote", len(image))
        with evaluating(self.segmentor):
            return vote_of_views(
                self._classes, image, self._classes(image), self.config.reliability, generators
            ).reliable

    def _classes(self, image: Tensor) -> Tensor:
        classes: Tensor = self.segmentor(image).logits.argmax(1)
        return classes

    def _divergence(self, logits: Tensor, index: Tensor | None) -> Tensor:
        """Mean divergence of the slices that have a prior; over all slices, as the code divides."""
        config = self.config
        if index is None or not len(self.expected):
            raise ValueError(
                "sfda needs `before_step` first, and batches that say which slices they hold"
            )
        expected, trusted = self.expected[index], self.trusted[index]
        log_ratio = predicted_log_ratio(logits, config.ratio)
        if config.presence == "cohort" and config.prior_sizes != "true":
            # a share of slices says nothing about one slice, so ratios are compared over the batch
            log_ratio = mean_log_ratio(log_ratio)
            expected = mean_of_slices(expected)
            trusted = torch.ones_like(expected[:, 0])
        divergence = tolerant_divergence(
            *(log_ratio, expected, config.divergence),
            tolerance=config.size_tolerance,
            floor=config.ratio_floor,
        )
        return (trusted * divergence).mean()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        make_room(self, ("expected", "trusted"), state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)
