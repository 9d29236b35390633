"""Health hints: what the scalars and previews of a run say about its training. No Qt, no torch.

They are rules of thumb, stated as such; none of them stops anything. A discriminator that cannot tell the two
domains apart has the loss of a coin: ln 2 with cross-entropy, 1/4 with least squares. Far below it knows
the answer and teaches nothing; at it, the domains look alike to it, or it does not learn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_uda.gui.train.run_history import RunHistory, title

Level = Literal["note", "warning"]

_CHANCE = {"bce": math.log(2), "ls": 0.25}
_WINS, _AT_CHANCE, _RISES = 0.1, 0.98, 1.5  # times the loss at chance
_FEWEST_POINTS = 10
_RECENT_POINTS = 20
_FEW_RELIABLE, _ALL_RELIABLE = 0.2, 0.995
_MOVED = 0.6
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
    found = [
        *_not_finite(history),
        *_discriminators(history, settings),
        *_reliable(history),
        *_anatomy(history),
        *_divergence(history),
        *_foreground(areas_mm2 or {}),
    ]
    return sorted(found, key=lambda hint: hint.level != "warning")


def _not_finite(history: RunHistory) -> list[Hint]:
    bad = []
    for name in history.names():
        steps, values = history.series(name)
        first = np.flatnonzero(~np.isfinite(values))
        if first.size:
            text = f"{title(name)} is not finite since step {steps[first[0]]}; lower learning rates, or set clip_norm."
            bad.append(Hint("warning", text))
    return bad


def _discriminators(history: RunHistory, settings: Mapping[str, Any]) -> list[Hint]:
    found = []
    for name in history.names():
        recent = _recent(history, name)
        if not name.startswith("discriminator") or recent is None:
            continue
        loss = recent / _CHANCE[_adversarial_loss(name, settings)]
        if loss < _WINS:
            found.append(
                Hint(
                    "warning",
                    f"{title(name)} is {recent:.3f}: it tells the domains apart without effort and "
                    "teaches nothing; lower its learning rate, or raise the adversarial weight.",
                )
            )
        elif loss > _RISES:
            found.append(
                Hint(
                    "warning",
                    f"{title(name)} is {recent:.3f}, worse than guessing: its training is unstable; "
                    "lower its learning rate.",
                )
            )
        elif loss > _AT_CHANCE:
            found.append(
                Hint(
                    "note",
                    f"{title(name)} is {recent:.3f}, as good as guessing: the domains look alike to it, "
                    "or it does not learn.",
                )
            )
    return found


def _adversarial_loss(name: str, settings: Mapping[str, Any]) -> str:
    """The loss that a discriminator is trained with: those of images belong to the translator."""
    method = settings.get("method") or {}
    of_images = name in ("discriminator_source", "discriminator_target")
    part = method.get("translator" if of_images else "adversary") or {}
    loss = str(part.get("loss", "bce"))
    return loss if loss in _CHANCE else "bce"


def _reliable(history: RunHistory) -> list[Hint]:
    share = _recent(history, "reliable_share")
    if share is None:
        return []
    if share < _FEW_RELIABLE:
        text = (
            f"Only {share:.0%} of the target's pixels are reliable: entropy rises almost everywhere; "
            "warm up longer, or weaken the views (method.reliability)."
        )
        return [Hint("warning", text)]
    if share > _ALL_RELIABLE:
        text = f"{share:.1%} of the target's pixels are reliable: the views hardly ever contradict."
        return [Hint("note", text)]
    return []


def _anatomy(history: RunHistory) -> list[Hint]:
    dice = _recent(history, "structure_dice")
    if dice is None or dice >= _MOVED:
        return []
    text = (
        f"Dice of translated-and-back source slices is {dice:.2f}: the generators may move anatomy; "
        "raise cycle_weight, or train longer."
    )
    return [Hint("warning" if history.step > 500 else "note", text)]


def _divergence(history: RunHistory) -> list[Hint]:
    _, values = history.series("segmentation")
    recent = _recent(history, "segmentation")
    finite = values[np.isfinite(values)]
    if recent is None or not finite.size:
        return []
    lowest = float(np.median(np.sort(finite)[: max(1, finite.size // 4)]))
    if lowest > 0 and recent > _DIVERGED * lowest:
        text = f"The segmentation loss is {recent:.3f} after {lowest:.3f}: training diverges; lower learning rates."
        return [Hint("warning", text)]
    return []


def _foreground(areas_mm2: Mapping[str, NDArray[np.float64]]) -> list[Hint]:
    if not areas_mm2:
        return []
    if not any(areas.any() for areas in areas_mm2.values()):
        text = "The network draws background only on the chosen slices: too early, or it has collapsed."
        return [Hint("warning", text)]
    empty = [name for name, areas in areas_mm2.items() if not areas.any()]
    if empty:
        return [Hint("note", f"Not found on the chosen slices: {', '.join(empty)}.")]
    return []


def _recent(history: RunHistory, name: str) -> float | None:
    """Median of the newest values; None while there are too few."""
    _, values = history.series(name)
    newest = values[-_RECENT_POINTS:]
    newest = newest[np.isfinite(newest)]
    return float(np.median(newest)) if newest.size >= _FEWEST_POINTS else None
