"""Polygons filled by the even-odd rule, to see what another program makes of outlines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def even_odd(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels `(rows, columns)` whose centres lie inside an odd number of polygons.

    A ray from the centre to the right crosses the border of a polygon an odd number of times if the centre
    lies inside. Polygons are corners `(n, 2)` as row and column.
    """
    row, column = np.indices(shape, float)
    inside = np.zeros(shape, bool)
    for corners in polygons:
        for (y1, x1), (y2, x2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if y1 == y2:
                continue
            spans = (y1 > row) != (y2 > row)
            inside ^= spans & (column < x1 + (row - y1) * (x2 - x1) / (y2 - y1))
    return inside


def area(corners: np.ndarray) -> float:
    """Area of a polygon, positive where it runs clockwise on a screen with rows downwards."""
    y, x = corners.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
