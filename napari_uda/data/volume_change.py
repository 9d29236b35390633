"""How far the volume of a structure moved, as a number and in words."""

from __future__ import annotations

import math

_LARGE = 10.0  # from here on a factor is told, for nobody reads +14900 %
SMALL_ML = 1.0
"""Added to both volumes before they are compared, so that a few voxels are no change by a large factor."""


def how_far(was: float, now: float) -> float:
    """How far a volume in millilitres moved, up or down: the logarithm of the factor."""
    return abs(math.log((now + SMALL_ML) / (was + SMALL_ML)))


def change_text(was: float, now: float) -> str:
    """A change as a share: `-33 %`, or `x 150`; `new` where there was nothing."""
    if not was:
        return "new" if now else "none"
    if now >= _LARGE * was:
        return f"x {now / was:.0f}"
    return f"{(now - was) / was:+.0%}".replace("%", " %")


def moved_text(name: str, was: float, now: float, arrow: str = " to ") -> str:
    """A structure's volume before and after: `LVC 90.1 to 60.0 mL (-33 %)`."""
    return f"{name} {_ml_text(was)}{arrow}{_ml_text(now)} mL ({change_text(was, now)})"


def _ml_text(volume_ml: float) -> str:
    """To a tenth; a few voxels are not nothing."""
    return "under 0.1" if 0 < volume_ml < 0.05 else f"{volume_ml:.1f}"
