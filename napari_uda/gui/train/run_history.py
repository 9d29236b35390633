"""RunHistory: the scalars of a run over its steps, line by line. No Qt."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

VALIDATION = "source_validation_dice"
_SHARES = ("_dice", "_share")
_NOT_SCALARS = ("step", "seconds")
_LINES_FOR_SPEED = 30


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
