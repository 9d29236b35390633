"""Clicks in napari's canvas, told from drags."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

_STILL_PIXELS = 2


def is_click(event: Any) -> Generator[None, None, bool]:
    """Whether the mouse was pressed and let go in one place, for a callback of napari to `yield from`.

    Args:
        event: of the press; napari gives it the position of every move that follows.
    """
    start = np.asarray(event.pos, float)
    yield
    while event.type == "mouse_move":
        yield
    return bool(np.abs(np.asarray(event.pos, float) - start).max() <= _STILL_PIXELS)
