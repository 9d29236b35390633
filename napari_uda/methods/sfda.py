"""SFDA: adaptation without source data by entropy and a class-ratio prior (Bateson et al., 2020 and 2022).

AdaEnt is the MICCAI 2020 form, AdaMI the MedIA 2022 one; SF-Dn are the decisions taken where paper and
released code differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from napari_uda.core.distributed import all_sum, world_size
from napari_uda.core.errors import InputError
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.core.seeds import generator
from napari_uda.data.sizes import slice_areas
from napari_uda.data.slices import SliceStore
from napari_uda.data.weak_labels import WeakLabels
from napari_uda.losses.prior import (
    FLOOR,
    Divergence,
    RatioMode,
    mean_log_ratio,
    predicted_log_ratio,
    ratio_divergence,
    renormalised,
    size_weights,
    weighted_entropy,
)
from napari_uda.methods.base import Batch, Method, MethodConfig
from napari_uda.networks.normalisation import running_statistics, statistics_of_the_batch
from napari_uda.networks.segmentor import Segmentor
from napari_uda.training.load import DataFacts, TrainingData

_SLICES_AT_ONCE = 8


class SFDAConfig(MethodConfig):
    """Settings of sfda. It reads no label map, so the weights of cross-entropy and Dice do nothing."""

    name: Literal["sfda"] = "sfda"
    """The method."""
    segmentor_optimizer: OptimizerConfig = OptimizerConfig(
        kind="adam", lr=1e-6, momentum=0.9, weight_decay=1e-3
    )
    """Optimiser of the segmentor; 1e-6 needs thousands of steps, with few slices take more (SF-D14)."""
    entropy_weight: float = Field(default=1.0, ge=0)
    """Weight of the class-weighted entropy of target predictions; 0 is off."""
    prior_weight: float = Field(default=1.0, ge=0)
    """lambda, weight of the divergence between predicted and expected class ratios; 0 is off."""
    divergence: Divergence = "adami"
    """adami: KL(predicted || expected), MedIA 2022; adaent: KL(expected || predicted), MICCAI 2020."""
    ratio: RatioMode = "mean"
    """Predicted ratio: mean of probabilities (paper), maxnorm as the released code (SF-D1), or argmax: the share of pixels that a class wins, with the gradient of mean."""
    ratio_floor: float = Field(default=FLOOR, gt=0, le=1e-2)
    """Added inside logarithms of ratios; it sets the price of a structure said to be absent (SF-D6)."""
    entropy_class_weights: Literal["sizes", "uniform", "given"] = "sizes"
    """Weights nu of the entropy: by the inverse of the expected sizes or all equal, with sum 1, or as given."""
    given_class_weights: dict[str, float] = Field(default_factory=dict)
    """For entropy_class_weights given: structure name to weight, `background` among them."""
    prior_sizes: Literal["source", "pixels", "millilitres", "true"] = "source"
    """Expected sizes: those of the source labels, kept in the source run; given ones; or, as an oracle, the true area of each slice from weak_labels."""
    given_sizes: dict[str, float] = Field(default_factory=dict)
    """For prior_sizes pixels (area where present, on the network's grid) or millilitres (volume): by structure name."""
    size_factor: float = Field(default=1.0, gt=0)
    """Multiplies the expected sizes; the authors' priors are 1.2 to 1.8 times the true sizes."""
    presence: Literal["cohort", "all", "tags", "select", "proposals"] = "cohort"
    """Which structures a slice has. No labels: cohort (their share of slices, ratios compared as a mean over the batch), all (all of them in every slice), select (slices that the source model is sure of; the others have no prior), proposals (those that the source model finds). Weak labels: tags."""
    weak_labels: Path | None = None
    """File with tags or areas of the target slices, made once by `napari-uda tags`."""
    select_divisor: float = Field(default=4.0, gt=0)
    """select, proposals: a structure is found where its predicted area is above its size over this."""
    select_share: float = Field(default=0.75, gt=0, le=1)
    """select: share of the structures that have to be found in a slice that is taken for one with all."""
    select_negatives: float = Field(default=0.5, ge=0, le=1)
    """select: share of the slices without any predicted structure that are taken for empty ones."""
    batch_norm: Literal["adapt", "frozen", "batch"] = "adapt"
    """adapt: train on batch statistics, predict with running ones of the target; frozen: the source's throughout; batch: as adapt, but predict with those of the predicted batch."""

    @property
    def target_supervision(self) -> str:
        if not self.prior_weight:
            return "none"
        if self.prior_sizes == "true":
            return "oracle: true area of each structure in each slice"
        if self.presence == "tags":
            return "weak: which structures each slice contains"
        return "none"

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if not self.entropy_weight and not self.prior_weight:
            raise ValueError(
                "entropy_weight and prior_weight are both 0, so nothing is learnt; give one a weight "
                "above 0"
            )
        if self.entropy_class_weights == "given" and not self.given_class_weights:
            raise ValueError("entropy_class_weights given needs given_class_weights; name them")
        if self.prior_sizes in ("pixels", "millilitres") and not self.given_sizes:
            raise ValueError(f"prior_sizes {self.prior_sizes} needs given_sizes; name them")
        reads_file = self.prior_sizes == "true" or self.presence == "tags"
        if reads_file and self.prior_weight and self.weak_labels is None:
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

    def __init__(self, config: SFDAConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.class_weights: Tensor
        self.expected: Tensor
        self.trusted: Tensor
        self.register_buffer("class_weights", torch.full((num_classes,), 1 / num_classes))
        # one row per target slice once `refresh` has looked at them: tau_e, and 1 where it counts
        self.register_buffer("expected", torch.zeros(0, num_classes))
        self.register_buffer("trusted", torch.zeros(0))

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        target = batch.unlabelled()
        config = self.config
        frozen = config.batch_norm == "frozen"
        with (
            running_statistics(self.segmentor) if frozen else nullcontext(),
            runtime.autocast(),
        ):
            output = self.segmentor(target.image)
        # the published network has one head; a second one is adapted as it was trained
        heads = [(1.0, output.logits)]
        if output.aux_logits is not None and config.aux_weight:
            heads.append((config.aux_weight, output.aux_logits))

        logs: dict[str, Tensor] = {}
        loss = torch.zeros((), device=output.logits.device)

        # Weighted entropy, 1/|Omega| sum_i l_ent(i).
        if config.entropy_weight:
            entropy = sum(
                (weight * weighted_entropy(logits, self.class_weights) for weight, logits in heads),
                start=torch.zeros_like(loss),
            )
            loss = loss + config.entropy_weight * entropy
            logs["entropy"] = config.entropy_weight * entropy.detach()

        # Divergence of class ratios, KL(tau_hat || tau_e) or KL(tau_e || tau_hat).
        if config.prior_weight:
            prior = sum(
                (weight * self._divergence(logits, target.index) for weight, logits in heads),
                start=torch.zeros_like(loss),
            )
            loss = loss + config.prior_weight * prior
            logs["prior"] = config.prior_weight * prior.detach()

        runtime.minimise(loss, "segmentor")
        return logs

    def predict(self, image: Tensor) -> Tensor:
        if self.config.batch_norm != "batch" or self.training:
            return super().predict(image)
        with statistics_of_the_batch(self.segmentor):
            return super().predict(image)

    def loads_from_init(self, name: str) -> bool:
        return name not in ("class_weights", "expected", "trusted")

    def refresh_due(self, step: int) -> bool:
        return step == 0

    def refresh(self, data: TrainingData, runtime: Runtime) -> None:
        """Work out what each target slice is expected to contain, and the weights of the entropy.

        The source model proposes here, before its first step; nothing looks at it later.
        """
        assert data.target is not None
        config, device = self.config, self.class_weights.device
        by_size = bool(config.entropy_weight) and config.entropy_class_weights == "sizes"
        if config.prior_weight or by_size:
            proposals = self._proposals(data.target, runtime)
            areas, sizes, trusted = _expected_areas(
                config, data.facts, data.target, proposals, runtime.seed
            )
            pixels = data.facts.grid.size**2
            background = np.clip(pixels - areas.sum(1, keepdims=True), 0, None)
            ratios = torch.from_numpy(np.concatenate([background, areas], 1)).float()
            self.expected = renormalised(ratios).to(device)
            self.trusted = torch.from_numpy(trusted).float().to(device)
            if by_size:
                # a structure that is expected nowhere still needs a size: one pixel
                mean_sizes = [float(background.mean()), *sizes]
                nu = size_weights([max(size, 1.0) for size in mean_sizes])
                self.class_weights.copy_(nu)
        if config.entropy_class_weights == "given":
            names = ["background", *data.facts.names().values()]
            self.class_weights.copy_(torch.tensor(_by_name(config.given_class_weights, names)))

    def _divergence(self, logits: Tensor, index: Tensor | None) -> Tensor:
        """Mean divergence of the slices that have a prior; over all slices, as the code divides."""
        config = self.config
        if index is None or not len(self.expected):
            raise ValueError(
                "sfda needs `refresh` first, and batches that say which slices they hold"
            )
        expected, trusted = self.expected[index], self.trusted[index]
        log_ratio = predicted_log_ratio(logits, config.ratio)
        if config.presence == "cohort" and config.prior_sizes != "true":
            # a share of slices says nothing about one slice, so ratios are compared over the batch
            log_ratio = mean_log_ratio(log_ratio)
            expected = all_sum(expected.mean(dim=0, keepdim=True)) / world_size()
            trusted = torch.ones_like(expected[:, 0])
        divergence = ratio_divergence(
            log_ratio, expected, config.divergence, floor=config.ratio_floor
        )
        return (trusted * divergence).mean()

    @torch.no_grad()
    def _proposals(self, store: SliceStore, runtime: Runtime) -> NDArray[np.int64] | None:
        """Pixels `(N, C)` that the source model gives each class of each slice; None if not needed."""
        if self.config.presence not in ("select", "proposals"):
            return None
        found = []
        with _evaluating(self.segmentor):
            for start in range(0, len(store), _SLICES_AT_ONCE):
                indices = np.arange(start, min(start + _SLICES_AT_ONCE, len(store)))
                image = store.image(indices).to(runtime.device)
                with runtime.autocast():
                    classes = self.segmentor(image).logits.argmax(1)
                found.append(slice_areas(classes.to(torch.uint8).cpu().numpy(), self.num_classes))
        return np.concatenate(found)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for one row per slice: a new method does not know how many there are."""
        for name in ("expected", "trusted"):
            stored, own = state_dict.get(prefix + name), getattr(self, name)
            if stored is not None and stored.shape != own.shape:
                setattr(self, name, own.new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _expected_areas(
    config: SFDAConfig,
    facts: DataFacts,
    store: SliceStore,
    proposals: NDArray[np.int64] | None,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """What the slices of the target are expected to contain.

    Returns:
        Expected pixels of each structure in each slice `(N, K)`; mean size where present, in pixels,
        `(K,)`; whether the slice has a prior at all `(N,)`.
    """
    names = list(facts.names().values())
    trusted = np.ones(len(store), bool)
    if config.prior_sizes == "true" and config.weak_labels is not None:
        known = _from_file(config.weak_labels, facts, store, "areas") / facts.grid.pixel_mm**2
        areas = config.size_factor * known
        return areas, _mean_where_present(areas), trusted

    # what counts as present, before sizes in millilitres can be spread over it
    tagged = None
    if config.presence == "tags" and config.weak_labels is not None:
        tagged = _from_file(config.weak_labels, facts, store, "tags") > 0
    sizes = config.size_factor * _sizes(config, facts, store, tagged, proposals)  # (N, K)

    if tagged is not None:
        present = tagged.astype(float)
    elif config.presence == "cohort":
        spread = config.prior_sizes == "millilitres"  # the mean over all slices already
        shares = [facts.sizes[n].slice_share if n in facts.sizes else 1.0 for n in names]
        present = np.ones_like(sizes) if spread else np.tile(shares, (len(store), 1))
    elif proposals is not None:
        found = proposals[:, 1:] > sizes / config.select_divisor
        if config.presence == "proposals":
            present = found.astype(float)
        else:
            positive = found.mean(1) >= config.select_share
            empty = proposals[:, 1:].sum(1) == 0
            drawn = generator(seed, "sfda-select").random(len(store)) < config.select_negatives
            trusted = positive | (empty & drawn)
            present = np.repeat(positive[:, None], len(names), 1).astype(float)
    else:
        present = np.ones_like(sizes)
    return present * sizes, sizes.mean(0), trusted


def _sizes(
    config: SFDAConfig,
    facts: DataFacts,
    store: SliceStore,
    tagged: NDArray[np.bool_] | None,
    proposals: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
    """Pixels `(N, K)` that a structure has in a slice if it is there."""
    names = list(facts.names().values())
    if config.prior_sizes == "pixels":
        return np.tile(_by_name(config.given_sizes, names), (len(store), 1))
    if config.prior_sizes != "millilitres":
        if not facts.sizes:
            raise InputError(
                "the run this one starts from does not hold the sizes of its structures (it was "
                "trained by an older version); train it again, or give sizes with --method.prior-sizes "
                "millilitres and --method.given-sizes"
            )
        areas = [facts.sizes[name].area_mm2 / facts.grid.pixel_mm**2 for name in names]
        return np.tile(areas, (len(store), 1))
    # a volume spreads over the slices that contain it, or, where nobody knows them, over all
    volumes = np.array(_by_name(config.given_sizes, names))
    present = tagged
    if present is None and proposals is not None:
        present = proposals[:, 1:] > 0
    if present is None:
        present = np.ones((len(store), len(names)), bool)
    sizes = np.zeros((len(store), len(names)))
    for index, slice_mm in enumerate(store.slice_mm):
        own = store.case_of == index
        counts = np.maximum(present[own].sum(0), 1)
        sizes[own] = 1000 * volumes / (counts * slice_mm * facts.grid.pixel_mm**2)
    return sizes


def _from_file(
    path: Path, facts: DataFacts, store: SliceStore, kind: Literal["tags", "areas"]
) -> NDArray[np.float64]:
    """The numbers `(N, K)` of a file of weak labels for the slices of a store."""
    weak = WeakLabels.read(path)
    if kind == "areas" and weak.kind != "areas":
        raise InputError(
            f"{path} holds tags, and true sizes need areas; make it with napari-uda tags --areas"
        )
    names = list(facts.names().values())
    counts = np.bincount(store.case_of, minlength=len(store.cases))
    return np.concatenate(
        [
            weak.table(case, names, facts.grid.axis, int(count))
            for case, count in zip(store.cases, counts, strict=True)
        ]
    )


def _mean_where_present(areas: NDArray[np.float64]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = areas.sum(0) / np.maximum((areas > 0).sum(0), 1)
    return means


def _by_name(given: dict[str, float], names: list[str]) -> list[float]:
    """The given numbers in the order of `names`.

    Raises:
        InputError: if one is missing, of something else, or negative.
    """
    odd = [name for name in given if name not in names] + [n for n in names if n not in given]
    odd += [name for name, value in given.items() if value < 0]
    if odd:
        raise InputError(
            f"{given} must have one number, 0 or more, for each of {', '.join(names)}; correct "
            f"{odd[0]}"
        )
    return [given[name] for name in names]


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
