"""Outcome: what adaptation without source data changed on its target, and whether it was given up."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from napari_uda.core.config import Config

_FORMER = ("entropy_inside", "volumes_ml")


class Outcome(Config):
    """The end of a run that adapts to a target alone, beside the run it starts from; no label is read for it.

    Runs of the days before these scores say why they were given up, and no more.
    """

    score: tuple[float, float] | None = None
    """Score without labels at the start and at the end, mean over the target's cases; `select` ranks runs by it."""
    consistency: tuple[float, float] | None = None
    """The same of its first part: whether slices in other grey values are segmented alike."""
    certainty: tuple[float, float] | None = None
    """The same of its second part: 1 less the mean entropy inside the structures."""
    plausibility: tuple[float, float] | None = None
    """The same of its third part: whether structures are of the source's sizes."""
    no_change: str = ""
    """Why the run predicts with the weights that it starts from; "" where it does with its own."""

    @model_validator(mode="before")
    @classmethod
    def _without_former_numbers(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if name not in _FORMER}
