"""Learning rates as a function of the step."""

from __future__ import annotations


def poly(step: int, total: int, power: float) -> float:
    """Factor of the initial learning rate: `(1 - step/total) ** power`, 1 for power 0.

    Args:
        step: from 0 to `total - 1`.
        total: steps of the whole run.
        power: 0 keeps the rate constant.
    """
    return float((1 - min(step, total) / total) ** power) if power else 1.0
