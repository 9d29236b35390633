"""The scalars of a run over its steps, the curves they make, and what they say about its training. No Qt, no torch.

Hints are rules of thumb, stated as such; none of them stops anything. A discriminator that cannot tell the two
domains apart has the loss of a coin: ln 2 with cross-entropy, 1/4 with least squares. Far below it knows
the answer and teaches nothing; at it, the domains look alike to it, or it does not learn.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.structure_colours import PALETTE

Level = Literal["note", "warning"]
_Said = Iterator[tuple[Level, str]]

VALIDATION = "source_validation_dice"
_SHARES = ("_dice", "_share")
_NOT_SCALARS = ("step", "seconds")
_LINES_FOR_SPEED = 30

_CHANCE = {"bce": math.log(2), "ls": 0.25}
_WINS, _AT_CHANCE, _RISES = 0.1, 0.98, 1.5  # times the loss at chance
_FEWEST_POINTS = 10
_RECENT_POINTS = 20
_FEW_RELIABLE, _ALL_RELIABLE = 0.2, 0.995
_MOVED = 0.6
_EARLY_STEPS = 500
_DIVERGED = 5.0


class RunHistory:
    """What the lines of `metrics.jsonl` say, by scalar."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        # arrays, for lists take numpy a millisecond each to read
        self._points: dict[str, tuple[array[int], array[float]]] = {}
        self._clock: list[tuple[int, float]] = []  # step, seconds of the newest lines

    def add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append lines; what is no number in them is left out."""
        for line in lines:
            step, seconds = line.get("step"), line.get("seconds")
            if not isinstance(step, int) or not isinstance(seconds, (int, float)):
                continue
            if not self._clock or step > self._clock[-1][0]:
                self._clock = [*self._clock[1 - _LINES_FOR_SPEED :], (step, float(seconds))]
            for name, value in line.items():
                if name not in _NOT_SCALARS and isinstance(value, (int, float)):
                    steps, values = self._points.setdefault(name, (array("q"), array("d")))
                    steps.append(step)
                    values.append(float(value))

    @property
    def step(self) -> int:
        """Steps of the last line."""
        return self._clock[-1][0] if self._clock else 0

    @property
    def seconds(self) -> float:
        """Training time until the last line."""
        return self._clock[-1][1] if self._clock else 0.0

    def names(self) -> list[str]:
        """Scalars in the order in which they came."""
        return list(self._points)

    def series(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps and values of one scalar; empty when there is none of the name."""
        steps, values = self._points.get(name, ((), ()))
        return np.array(steps, np.int64), np.array(values, np.float64)

    def recent(self, name: str) -> float | None:
        """Median of the newest values of a scalar; None while there are too few."""
        _, values = self.series(name)
        newest = values[-_RECENT_POINTS:]
        newest = newest[np.isfinite(newest)]
        return float(np.median(newest)) if newest.size >= _FEWEST_POINTS else None

    def seconds_left(self, step: int, total: int) -> float | None:
        """Time from `step` to `total` at the speed of the newest lines; None while that is unknown."""
        if len(self._clock) < 2:
            return None
        (first, began), (last, now) = self._clock[0], self._clock[-1]
        return (now - began) / (last - first) * max(0, total - step)


def is_share(name: str) -> bool:
    """Whether a scalar lies between 0 and 1 by its nature: a Dice coefficient, a share of pixels."""
    return name.endswith(_SHARES)


def title(name: str, *, selects: bool = False) -> str:
    """How a scalar is called.

    Args:
        name: as in `metrics.jsonl`.
        selects: whether the run takes its best weights by the validation score.
    """
    if name == VALIDATION:
        purpose = "selects the weights" if selects else "for watching, not for selection"
        return f"Dice on held-out source cases ({purpose})"
    return name.replace("_", " ").replace(" dice", " Dice")


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a plot.

    Attributes:
        key: what it is; a user's choice to hide it is kept under this key.
        name: how it is called.
        steps: `(N,)`, ascending.
        values: `(N,)`, NaN where there is none.
        colour: `#RRGGBB`.
        share: whether it lies in [0, 1] and is drawn in the lower plot.
        dashed: whether it is the second of two runs.
    """

    key: str
    name: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    colour: str
    share: bool = False
    dashed: bool = False


def curves_of(history: RunHistory, *, selects: bool = False) -> list[Curve]:
    """A curve for each scalar of a run, in colours that follow from their order; see `title`."""
    return [
        Curve(
            name,
            title(name, selects=selects),
            *history.series(name),
            PALETTE[index % len(PALETTE)],
            share=is_share(name),
        )
        for index, name in enumerate(history.names())
    ]


def trailing_mean(values: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """Mean of each value and the `points - 1` before it, fewer at the beginning; NaN are left out."""
    if points <= 1 or not len(values):
        return values
    known = np.isfinite(values)
    total = np.cumsum(np.where(known, values, 0.0))
    count = np.cumsum(known)
    total[points:] -= total[:-points].copy()
    count[points:] -= count[:-points].copy()
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


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
        *_not_finite(history),
        *_discriminators(history, settings),
        *_reliable_share(history),
        *_moved_anatomy(history),
        *_divergence(history),
        *_foreground(areas_mm2 or {}),
    ]
    return [Hint(level, text) for level, text in sorted(said, key=lambda one: one[0] != "warning")]


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
    method = settings.get("method") or {}
    of_images = name in ("discriminator_source", "discriminator_target")
    part = method.get("translator" if of_images else "adversary") or {}
    loss = str(part.get("loss", "bce"))
    return loss if loss in _CHANCE else "bce"


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
