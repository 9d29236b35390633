"""One thing that speaks against a model on an image, and the words for sizes that are out of range."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Finding:
    """One sentence, and whether it alone means that the model does not fit."""

    sentence: str
    grave: bool = False


def times_outside(value: float, usual: Range) -> float:
    """How many times a size is above the largest or below the smallest; 1 in between."""
    low, high = usual
    if low <= 0:  # a size that no image has
        return 1.0
    return value / high if value > high else value / low if value < low else 1.0


def plain(value: float, digits: int) -> str:
    """A number with that many digits that count, and never as a power of ten: 1043 is 1040 with three."""
    return f"{float(f'{value:.{digits}g}'):.12g}"


def span_text(usual: Range) -> str:
    """Such as "80 to 144", or one number where both are the same."""
    low, high = (plain(value, 4) for value in usual)
    return low if low == high else f"{low} to {high}"
