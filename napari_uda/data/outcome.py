"""Outcome: what adaptation without source data changed on its target, and whether it was given up."""

from __future__ import annotations

from napari_uda.core.config import Config


class Outcome(Config):
    """The end of a run that adapts to a target alone, beside the run it starts from; no label is read for it."""

    entropy_inside: tuple[float, float] | None = None
    """Mean entropy at the start and at the end, of the pixels that either gives to a structure; None where there
    are none."""
    volumes_ml: dict[str, tuple[float, float]] = {}
    """Millilitres of each structure in all target cases together, at the start and at the end."""
    no_change: str = ""
    """Why the run predicts with the weights that it starts from; "" where it does with its own."""
