"""Scores on held-out labelled cases while a run trains, for watching or to select the best weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_uda.evaluation.report import evaluate
from napari_uda.inference.predict import segment_volume

if TYPE_CHECKING:
    import torch

    from napari_uda.data.batches import TrainingData
    from napari_uda.methods.base import Method
    from napari_uda.run.run import Run

SCALAR = "source_validation_dice"
"""Name of the score among the scalars of a run."""


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


def best_so_far(run: Run) -> float:
    """The best score that the run has logged, in earlier sessions too; -1 when there is none."""
    return max((float(m[SCALAR]) for m in run.metrics() if SCALAR in m), default=-1.0)
