"""Hints: what the scalars of a run and its newest preview say about its training.

They are rules of thumb, stated as such; none of them stops anything. A discriminator that cannot tell the two
domains apart has the loss of a coin: ln 2 with cross-entropy, 1/4 with least squares. Far below it knows
the answer and teaches nothing; at it, the domains look alike to it, or it does not learn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.words import number_of
from napari_uda.run.history import RunHistory, title

Level = Literal["note", "warning"]
_Said = Iterator[tuple[Level, str]]

_CHANCE = {"bce": math.log(2), "ls": 0.25}
_WINS, _AT_CHANCE, _RISES = 0.1, 0.98, 1.5  # times the loss at chance
_FEW_RELIABLE, _ALL_RELIABLE = 0.2, 0.995
_MOVED = 0.6
_EARLY_STEPS = 500
_DIVERGED = 5.0


@dataclass(frozen=True)
class Hint:
    """One observation.

    Attributes:
        level: note, or warning when something is probably wrong.
        text: what is seen, and what can be done about it.
    """

    level: Level
    text: str


def hints(
    history: RunHistory,
    settings: Mapping[str, Any],
    areas_mm2: Mapping[str, NDArray[np.float64]] | None = None,
) -> list[Hint]:
    """Everything there is to say now, warnings first.

    Args:
        history: the run's scalars.
        settings: its `config.yaml` as plain values.
        areas_mm2: structure name to its area in each previewed slice, `(N,)`; None without a preview.
    """
    said = [
        *_damaged(history),
        *_not_finite(history),
        *_discriminators(history, settings),
        *_reliable_share(history),
        *_moved_anatomy(history),
        *_divergence(history),
        *_foreground(areas_mm2 or {}),
    ]
    return [Hint(level, text) for level, text in sorted(said, key=lambda one: one[0] != "warning")]


def _damaged(history: RunHistory) -> _Said:
    if history.damaged:
        yield (
            "warning",
            f"{number_of(history.damaged, 'line')} of metrics.jsonl cannot be read and "
            "are left out; check the disk.",
        )


def _not_finite(history: RunHistory) -> _Said:
    for name in history.names():
        steps, values = history.series(name)
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            yield (
                "warning",
                f"{title(name)} is not finite since step {steps[bad[0]]}; lower learning rates, or set "
                "clip_norm.",
            )


def _discriminators(history: RunHistory, settings: Mapping[str, Any]) -> _Said:
    for name in history.names():
        recent = history.recent(name)
        if not name.startswith("discriminator") or recent is None:
            continue
        seen, loss = f"{title(name)} is {recent:.3f}", recent / _CHANCE[_loss_of(name, settings)]
        if loss < _WINS:
            yield (
                "warning",
                f"{seen}: it tells the domains apart without effort and teaches nothing; lower its "
                "learning rate, or raise the adversarial weight.",
            )
        elif loss > _RISES:
            text = ", worse than guessing: its training is unstable; lower its learning rate."
            yield "warning", seen + text
        elif loss > _AT_CHANCE:
            text = ", as good as guessing: the domains look alike to it, or it does not learn."
            yield "note", seen + text


def _loss_of(name: str, settings: Mapping[str, Any]) -> str:
    """The loss that a discriminator is trained with: those of images belong to the translator."""
    of_images = name in ("discriminator_source", "discriminator_target")
    loss: Any = settings
    for part in ("method", "translator" if of_images else "adversary", "loss"):
        loss = loss.get(part) if isinstance(loss, Mapping) else None
    return loss if isinstance(loss, str) and loss in _CHANCE else "bce"


def _reliable_share(history: RunHistory) -> _Said:
    share = history.recent("reliable_share")
    if share is not None and share < _FEW_RELIABLE:
        yield (
            "warning",
            f"Only {share:.0%} of the target's pixels are reliable: entropy rises almost everywhere; "
            "warm up longer, or weaken the views (method.reliability).",
        )
    if share is not None and share > _ALL_RELIABLE:
        text = "of the target's pixels are reliable: the views hardly ever contradict each other."
        yield "note", f"{share:.1%} {text}"


def _moved_anatomy(history: RunHistory) -> _Said:
    dice = history.recent("structure_dice")
    if dice is not None and dice < _MOVED:
        yield (
            "warning" if history.step > _EARLY_STEPS else "note",
            f"Dice of translated-and-back source slices is {dice:.2f}: the generators may move anatomy; "
            "raise cycle_weight, or train longer.",
        )


def _divergence(history: RunHistory) -> _Said:
    _, values = history.series("segmentation")
    recent = history.recent("segmentation")
    finite = values[np.isfinite(values)]
    if recent is None or not finite.size:
        return
    lowest = float(np.median(np.sort(finite)[: max(1, finite.size // 4)]))
    if lowest > 0 and recent > _DIVERGED * lowest:
        yield (
            "warning",
            f"The segmentation loss is {recent:.3f} after {lowest:.3f}: training diverges; lower "
            "learning rates.",
        )


def _foreground(areas_mm2: Mapping[str, NDArray[np.float64]]) -> _Said:
    empty = [name for name, areas in areas_mm2.items() if not areas.any()]
    if empty and len(empty) == len(areas_mm2):
        yield (
            "warning",
            "The network draws only background on the chosen slices: it is too early to see more, or "
            "the network has collapsed.",
        )
    elif empty:
        yield "note", f"Not found on the chosen slices: {', '.join(empty)}."
