"""Outlines of masks as polygons along the edges of pixels, outer ones and holes alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Along a row to the right, down, left, up: (row, column). The mask lies to the right hand."""


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The closed polygons that bound a mask, with a corner wherever the outline turns.

    They run along the edges of pixels, half a pixel outside of the centres of the outermost ones. The centre of a
    pixel of the mask therefore lies inside an odd number of polygons and that of any other pixel inside an
    even number, and none lies on a polygon: whoever fills them by the even-odd rule gets the mask again.
    Pixels that touch at a corner only have polygons of their own.

    Args:
        mask: `(rows, columns)`.

    Returns:
        Corners `(n, 2)` of every polygon as row and column, where the centre of the first pixel is (0, 0).
        Outer polygons run clockwise on a screen, with rows downwards, and holes the other way.
    """
    leaving = _edges(mask)
    found = []
    while leaving:
        start = next(iter(leaving))
        found.append(np.array(_walk(leaving, start), np.float64) - 0.5)
    return found


def _edges(mask: NDArray[np.bool_]) -> dict[tuple[int, int], list[int]]:
    """For every corner of the grid the directions in which edges leave it."""
    around = np.pad(np.asarray(mask, bool), 1)
    inside = around[1:-1, 1:-1]
    borders = (
        (inside & ~around[:-2, 1:-1], (0, 0)),  # upper edges, from their left end
        (inside & ~around[1:-1, 2:], (0, 1)),  # right ones, from their upper end
        (inside & ~around[2:, 1:-1], (1, 1)),  # lower ones, from their right end
        (inside & ~around[1:-1, :-2], (1, 0)),  # left ones, from their lower end
    )
    leaving: dict[tuple[int, int], list[int]] = {}
    for direction, (border, offset) in enumerate(borders):
        for row, column in (np.argwhere(border) + offset).tolist():
            leaving.setdefault((row, column), []).append(direction)
    return leaving


def _walk(
    leaving: dict[tuple[int, int], list[int]], start: tuple[int, int]
) -> list[tuple[int, int]]:
    """Follow edges, which are taken out of `leaving`, back to where they began; the corners on the way."""
    corners = []
    place, heading = start, -1
    while True:
        directions = leaving[place]
        # where two edges leave, a turn to the right stays with the same pixel
        right = (heading + 1) % 4
        chosen = right if heading >= 0 and right in directions else directions[0]
        directions.remove(chosen)
        if not directions:
            del leaving[place]
        if chosen != heading:
            corners.append(place)
            heading = chosen
        place = (place[0] + _STEPS[heading][0], place[1] + _STEPS[heading][1])
        if place == start and not _goes_on(leaving, place, heading):
            return corners


def _goes_on(
    leaving: dict[tuple[int, int], list[int]], place: tuple[int, int], heading: int
) -> bool:
    """Whether the way back at the start goes on around the same pixel."""
    return (heading + 1) % 4 in leaving.get(place, ())
