"""Outcome: what adaptation without source data changed on its target, and whether it was given up."""

from __future__ import annotations

from napari_uda.core.config import Config


class Outcome(Config):
    """The end of a run that adapts to a target alone, beside the run it starts from; no label is read for it."""

    score: tuple[float, float]
    """Score without labels at the start and at the end, mean over the target's cases; `select` ranks runs by it."""
    consistency: tuple[float, float]
    """The same of its first part: whether slices in other grey values are segmented alike."""
    certainty: tuple[float, float]
    """The same of its second part: 1 less the mean entropy inside the structures."""
    plausibility: tuple[float, float]
    """The same of its third part: whether structures are of the source's sizes."""
    no_change: str = ""
    """Why the run predicts with the weights that it starts from; "" where it does with its own."""
