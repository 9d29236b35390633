"""The scalars of a run over its steps, and the curves they make."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.structure_colours import PALETTE
from napari_uda.run.folder import metric_line

VALIDATION = "source_validation_dice"
_SHARES = ("_dice", "_share")
_NOT_SCALARS = ("step", "seconds")
_LINES_FOR_SPEED = 30

_FEWEST_POINTS = 10
_RECENT_POINTS = 20


class RunHistory:
    """What the lines of `metrics.jsonl` say, by scalar.

    Attributes:
        damaged: lines that were damaged and left out.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.damaged = 0
        # arrays, for lists take numpy a millisecond each to read
        self._points: dict[str, tuple[array[int], array[float]]] = {}
        self._clock: list[tuple[int, float]] = []  # step, seconds of the newest lines

    def add(self, lines: Iterable[Mapping[str, Any]], damaged: int = 0) -> None:
        """Append lines; what is no number in them is left out.

        Args:
            lines: of `metrics.jsonl`.
            damaged: how many lines between them were damaged.
        """
        self.damaged += damaged
        for line in lines:
            if metric_line(line) is None:
                continue
            step, seconds = line["step"], line["seconds"]
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


def duration(seconds: float) -> str:
    """Two units at most: 45 s, 12 min, 3 h 5 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def time_text(seconds: float, left: float | None, *, is_running: bool = True) -> str:
    """How long a run has trained and will train."""
    if not is_running:
        return f"trained for {duration(seconds)}"
    gone = f"{duration(seconds)} so far"
    return gone if left is None else f"{gone}, about {duration(left)} left"
