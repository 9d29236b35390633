"""Contours as pixels.

A pixel belongs to a contour when its centre lies inside it. A centre that lies exactly on the contour
counts where the contour begins, towards lower indices, and not where it ends: a square of 10 mm has
100 pixels of 1 mm wherever it lies, through the centres of pixels or between them, and neighbours that
share an edge share no pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ON_CENTRE = 0.01
"""What rounding of coordinates explains, in pixels: so near to a centre line a point lies on it."""


def filled(
    contours: Sequence[NDArray[np.float64]], shape: tuple[int, int], first: tuple[int, int] = (0, 0)
) -> NDArray[np.bool_]:
    """The pixels whose centres lie inside an odd number of the contours.

    So a contour inside another one is a hole, and one inside the hole an island; a hole may also be reached
    by a cut that is walked twice (a keyhole).

    Args:
        contours: corners `(n, 2)` of each, (column, row), where whole numbers are the centres of pixels;
            the last corner is joined to the first.
        shape: rows, columns.
        first: row and column of the first pixel.

    Returns:
        `shape`, True inside.
    """
    rows, columns = shape
    begins = np.concatenate([np.asarray(contour, np.float64) for contour in contours])
    ends = np.concatenate([np.roll(contour, -1, axis=0) for contour in contours])
    begins, ends = (_snapped(points) - np.array(first[::-1]) for points in (begins, ends))
    low, high = np.minimum(begins[:, 1], ends[:, 1]), np.maximum(begins[:, 1], ends[:, 1])
    # an edge crosses the centre lines of the rows from its lower end on, the upper end left out
    start = np.clip(np.ceil(low), 0, rows).astype(np.int64)
    counts = np.clip(np.ceil(high), 0, rows).astype(np.int64) - start
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + start[edge]
    along = (row - begins[edge, 1]) / (ends[edge, 1] - begins[edge, 1])
    crossing = begins[edge, 0] + along * (ends[edge, 0] - begins[edge, 0])
    crossing = np.rint(crossing * 1e6) / 1e6  # a crossing computed on a centre lies on it
    column = np.clip(np.ceil(crossing), 0, columns).astype(np.int64)
    turns = np.zeros((rows, columns + 1), np.uint8)
    np.add.at(turns, (row, column), 1)
    return np.bitwise_xor.accumulate(turns & 1, axis=1)[:, :columns].astype(bool)


def _snapped(points: NDArray[np.float64]) -> NDArray[np.float64]:
    nearest = np.rint(points)
    return np.where(np.abs(points - nearest) < _ON_CENTRE, nearest, points)
