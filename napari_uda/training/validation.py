"""Scores on held-out labelled cases while a run trains, for watching or to select the best weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_uda.core.seeds import generator
from napari_uda.data.appearance import augment_intensity
from napari_uda.data.slices import in_parts
from napari_uda.evaluation.report import evaluate
from napari_uda.inference.predict import segment_volume
from napari_uda.run.history import VALIDATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_uda.core.runtime import Runtime
    from napari_uda.data.batches import TrainingData
    from napari_uda.methods.base import Method
    from napari_uda.run.run import Run

"""Name of the score among the scalars of a run."""
INCONSISTENCY = "target_inconsistency"
"""Name of the mean cross-entropy of target slices that were changed, with the slices themselves."""

_INCONSISTENCY_WEIGHT = 0.5  # MAPSeg's (Zhang et al., CVPR 2024)
_MOST_SLICES = 64


def validation_dice(method: Method[Any], data: TrainingData, device: torch.device) -> float:
    """Mean Dice over the structures of the held-out labelled cases, those that neither has left out."""
    intensity = data.facts.source_intensity
    assert intensity is not None
    values = []
    for case in data.held_out:
        assert case.label is not None
        image = case.read_image()
        maps = segment_volume(*(method, data.facts, image, intensity, device), labelled_domain=True)
        prediction = image.with_array(maps.labels)
        reference = case.read_labels(image)
        scores = evaluate(prediction, reference, names=data.facts.names())
        values += [
            float(row["dice"])
            for row in scores.rows
            if row["state"] != "absent" and row["name"] in data.facts.labels
        ]
    return sum(values) / max(1, len(values))


@torch.no_grad()
def inconsistency(method: Method[Any], data: TrainingData, runtime: Runtime) -> float:
    """How much the network contradicts itself on target slices in other grey values; reads no label.

    The slices and their changes are the same whenever a run is asked, so that its scores can be compared.

    Args:
        method: the network in training; its mode and statistics are left as they were.
        data: with target slices; of many, some are looked at.
        runtime: device, precision and seed.

    Returns:
        Mean of `Method.consistency_loss`, from 0.
    """
    store = data.target
    assert store is not None  # `check_validation` has seen to it
    rows = np.unique(np.linspace(0, len(store) - 1, _MOST_SLICES).round().astype(np.int64))
    total, training = 0.0, method.training
    method.eval()
    try:
        for part in in_parts(rows):
            image = store.image(part).to(runtime.device)
            with runtime.autocast():
                changed = changed_grey_values(image, part, runtime.seed)
                loss = method.consistency_loss(image, changed)
            total += float(loss) * len(part)
    finally:
        method.train(training)
    return total / len(rows)


def changed_grey_values(image: Tensor, rows: NDArray[np.int64], seed: int) -> Tensor:
    """Slices `(B, K, H, W)` in other grey values, the same ones whichever network asks.

    Args:
        image: the slices.
        rows: `(B,)` their places among all.
        seed: another one gives other grey values.
    """
    return augment_intensity(
        image, "gin_ipa", [generator(seed, "consistency", int(row)) for row in rows]
    )


def score(scalars: Mapping[str, float]) -> float:
    """What weights are chosen by: the Dice, less half of the inconsistency where that was measured."""
    return float(scalars[VALIDATION]) - _INCONSISTENCY_WEIGHT * float(
        scalars.get(INCONSISTENCY, 0.0)
    )


def best_so_far(run: Run) -> float:
    """The best score that the run has logged, in earlier sessions too; far below all when there is none."""
    return max((score(m) for m in run.metrics() if VALIDATION in m), default=-np.inf)
