"""What each target slice is expected to contain: the prior of source-free adaptation, in pixels.

Sizes come from the source run, from the user, or, as weak labels or as an oracle, from a file; which
structures a slice has comes from the cohort, from tags, or from what the source model itself proposes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self, TypeGuard

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from napari_uda.core.config import Config
from napari_uda.core.errors import InputError
from napari_uda.core.seeds import generator
from napari_uda.data.sizes import slice_areas
from napari_uda.data.slices import in_parts
from napari_uda.data.weak_labels import WeakLabels
from napari_uda.losses.prior import renormalised, size_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_uda.core.runtime import Runtime
    from napari_uda.data.facts import DataFacts
    from napari_uda.data.slices import SliceStore


class SizePriorConfig(Config):
    """Where expected sizes come from, and which structures a slice is expected to have."""

    prior_sizes: Literal["source", "pixels", "millilitres", "true"] = "source"
    """Where expected sizes come from: source (the source labels, as the source run stored them),
    pixels or millilitres (given_sizes), or true (the true area in each slice, an oracle, from
    weak_labels)."""
    given_sizes: dict[str, float] = Field(default_factory=dict)
    """For prior_sizes pixels or millilitres, by structure name: the area in a slice that has the
    structure, in pixels of the network's grid, or the volume."""
    size_factor: float = Field(default=1.0, gt=0)
    """Factor on the expected sizes; the authors' priors are 1.2 to 1.8 times the true sizes."""
    presence: Literal["cohort", "all", "tags", "select", "proposals"] = "cohort"
    """Which structures a slice is expected to have: cohort (each in its share of slices, ratios
    compared as a mean over the batch), all (all of them), tags (those that weak_labels name),
    select (all or none where the source model is sure, no prior elsewhere) or proposals (those that
    the source model finds)."""
    weak_labels: Path | None = None
    """File with tags or areas of the target slices, made once by `napari-uda tags`; for presence
    tags and prior_sizes true."""
    select_divisor: float = Field(default=4.0, gt=0)
    """For presence select and proposals: a structure is found where its predicted area is above its
    expected area divided by this number."""
    select_share: float = Field(default=0.75, gt=0, le=1)
    """For presence select: share of the structures that must be found in a slice which is taken for
    one with all of them."""
    select_negatives: float = Field(default=0.5, ge=0, le=1)
    """For presence select: share of the slices without any predicted structure that are taken for
    empty ones; the others have no prior."""

    @property
    def reads_weak_labels(self) -> bool:
        """Whether tags or true sizes are taken from the file `weak_labels`."""
        return self.prior_sizes == "true" or self.presence == "tags"

    @property
    def reads_run_sizes(self) -> bool:
        """Whether sizes are taken that the source run has measured on its labels."""
        return self.prior_sizes == "source"

    @model_validator(mode="after")
    def _sizes_are_given(self) -> Self:
        if self.prior_sizes in ("pixels", "millilitres") and not self.given_sizes:
            raise ValueError(
                f"prior_sizes {self.prior_sizes} needs given_sizes; give one for each structure"
            )
        return self


def has_size_prior(config: Config) -> TypeGuard[SizePriorConfig]:
    """Whether the settings of a method are those of one that expects sizes of structures."""
    return isinstance(config, SizePriorConfig)


class ExpectedAreas(NamedTuple):
    """What N slices are expected to contain of K structures."""

    areas: NDArray[np.float64]
    """`(N, K)` pixels of each structure in each slice; 0 where it is said to be absent."""
    sizes: NDArray[np.float64]
    """`(K,)` mean pixels of each structure where it is present."""
    trusted: NDArray[np.bool_]
    """`(N,)` whether the slice has a prior at all."""


class ExpectedRatios(NamedTuple):
    """The prior of every target slice, on the CPU, and the class weights of the entropy that follow from it."""

    ratios: Tensor
    """`(N, C)` float32, tau_e, rows that sum to 1."""
    trusted: Tensor
    """`(N,)` float32, 1 for a slice that has a prior, else 0."""
    class_weights: Tensor
    """`(C,)` float32, nu, sum 1."""


def expected_ratios(
    settings: SizePriorConfig,
    facts: DataFacts,
    store: SliceStore,
    classify: Callable[[Tensor], Tensor],
    runtime: Runtime,
) -> ExpectedRatios:
    """What the N slices of the target are expected to contain, as shares of their pixels.

    Args:
        settings: where sizes and presence come from.
        facts: names of the K structures, the grid, and the sizes that the source run measured.
        store: the slices.
        classify: classes `(B, H, W)` of slices by the source model, which presence `select` and `proposals` ask.
        runtime: seed and device.

    Raises:
        InputError: as `expected_areas`.
    """
    proposals = None
    if settings.presence in ("select", "proposals"):
        proposals = _proposals(classify, store, facts.num_classes, runtime.device)
    areas, sizes, trusted = expected_areas(settings, facts, store, proposals, runtime.seed)
    background = np.clip(facts.grid.size**2 - areas.sum(1, keepdims=True), 0, None)
    ratios = torch.from_numpy(np.concatenate([background, areas], 1)).float()
    # a structure that is expected nowhere still needs a size: one pixel
    mean_sizes = [max(size, 1.0) for size in (float(background.mean()), *sizes)]
    return ExpectedRatios(
        renormalised(ratios), torch.from_numpy(trusted).float(), size_weights(mean_sizes)
    )


@torch.no_grad()
def _proposals(
    classify: Callable[[Tensor], Tensor], store: SliceStore, num_classes: int, device: torch.device
) -> NDArray[np.int64]:
    """Pixels `(N, C)` that the source model gives each class of each slice."""
    found = []
    for indices in in_parts(np.arange(len(store))):
        classes = classify(store.image(indices).to(device))
        found.append(slice_areas(classes.to(torch.uint8).cpu().numpy(), num_classes))
    return np.concatenate(found)


def expected_areas(
    settings: SizePriorConfig,
    facts: DataFacts,
    store: SliceStore,
    proposals: NDArray[np.int64] | None,
    seed: int,
) -> ExpectedAreas:
    """What the N slices of the target are expected to contain.

    Args:
        settings: where sizes and presence come from.
        facts: names of the K structures, and the sizes that the source run measured.
        store: the slices.
        proposals: `(N, C)` pixels that the source model gives each class; for presence `select` and
            `proposals` only.
        seed: of the run, for `select_negatives`.

    Raises:
        InputError: for sizes that are not given, names that do not fit, or a file that does not.
    """
    names = list(facts.names().values())
    trusted = np.ones(len(store), bool)
    if settings.prior_sizes == "true" and settings.weak_labels is not None:
        known = _from_file(settings.weak_labels, facts, store, "areas")
        areas = settings.size_factor * known / store.pixel_areas()[:, None]
        return ExpectedAreas(areas, _mean_where_present(areas), trusted)

    # Which structures a slice has, if tags say so: (N, K) bool. Volumes are spread over these slices.
    tagged = None
    if settings.presence == "tags" and settings.weak_labels is not None:
        tagged = _from_file(settings.weak_labels, facts, store, "tags") > 0
    sizes = settings.size_factor * _sizes(settings, facts, store, tagged, proposals)  # (N, K)

    # How much of its size a structure is expected to have in a slice: (N, K), 0 absent, 1 present, or a
    # share of the slices where nobody knows which.
    if tagged is not None:
        present = tagged.astype(float)
    elif settings.presence == "cohort":
        # millilitres over all slices of a volume are a mean over present and absent ones already
        spread = settings.prior_sizes == "millilitres"
        shares = [facts.sizes[n].slice_share if n in facts.sizes else 1.0 for n in names]
        present = np.ones_like(sizes) if spread else np.tile(shares, (len(store), 1))
    elif proposals is not None:
        found = proposals[:, 1:] > sizes / settings.select_divisor
        if settings.presence == "proposals":
            present = found.astype(float)
        else:
            # the slices of which the source model is sure: all structures are there, or none
            positive = found.mean(1) >= settings.select_share
            empty = proposals[:, 1:].sum(1) == 0
            drawn = generator(seed, "sfda-select").random(len(store)) < settings.select_negatives
            trusted = positive | (empty & drawn)
            present = np.repeat(positive[:, None], len(names), 1).astype(float)
    else:
        present = np.ones_like(sizes)
    return ExpectedAreas(present * sizes, sizes.mean(0), trusted)


def _sizes(
    settings: SizePriorConfig,
    facts: DataFacts,
    store: SliceStore,
    tagged: NDArray[np.bool_] | None,
    proposals: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
    """Pixels `(N, K)` that a structure has in a slice if it is there."""
    names = list(facts.names().values())
    if settings.prior_sizes == "pixels":
        return np.tile(by_name(settings.given_sizes, names), (len(store), 1))
    if settings.prior_sizes != "millilitres":
        if not facts.sizes:
            raise InputError(
                "the run this one starts from does not hold the sizes of its structures (it was "
                "trained by an older version); train it again, or give sizes with --method.prior-sizes "
                "millilitres and --method.given-sizes"
            )
        areas = np.array([facts.sizes[name].area_mm2 for name in names])
        return areas / store.pixel_areas()[:, None]
    # a volume spreads over the slices that contain it, or, where nobody knows them, over all
    volumes = np.array(by_name(settings.given_sizes, names))
    present = tagged
    if present is None and proposals is not None:
        present = proposals[:, 1:] > 0
    if present is None:
        present = np.ones((len(store), len(names)), bool)
    sizes = np.zeros((len(store), len(names)))
    for index, (slice_mm, pixel_mm2) in enumerate(
        zip(store.slice_mm, store.pixel_mm2, strict=True)
    ):
        own = store.case_of == index
        counts = np.maximum(present[own].sum(0), 1)
        sizes[own] = 1000 * volumes / (counts * slice_mm * pixel_mm2)
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


def by_name(given: dict[str, float], names: list[str]) -> list[float]:
    """The given numbers in the order of `names`.

    Raises:
        InputError: if one is missing, of something else, or negative.
    """
    odd = [f"{name} is none of them, so leave it out" for name in given if name not in names]
    odd += [f"{name} has none yet" for name in names if name not in given]
    odd += [f"{name} has {value:g}" for name, value in given.items() if value < 0]
    if odd:
        raise InputError(f"give one number, 0 or more, for each of {', '.join(names)}; {odd[0]}")
    return [given[name] for name in names]
