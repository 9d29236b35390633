"""Scene: tissues painted one over the other on a voxel grid, with the label map they leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_uda.phantom.shapes import Field, Reals, coverage

Anatomy = Literal["cardiac", "abdominal"]

Box = tuple[slice, slice, slice]

LABELS: dict[Anatomy, dict[str, int]] = {
    "cardiac": {"MYO": 1, "LAC": 2, "LVC": 3, "AA": 4},
    "abdominal": {"liver": 1, "right_kidney": 2, "left_kidney": 3, "spleen": 4},
}
"""Structure names and values, in the order of the papers' tables."""


@dataclass(eq=False)
class Scene:
    """What one subject is made of, before a scanner sees it.

    Attributes:
        shape: `(Z, Y, X)`.
        spacing_mm: `(z, y, x)`.
        layers: tissue name, index box and coverage in [0, 1] inside the box, first painted first.
        labels: `(Z, Y, X)` uint8, the topmost structure of each voxel.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    layers: list[tuple[str, Box, Field]] = field(default_factory=list)
    labels: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.labels = np.zeros(self.shape, np.uint8)

    @property
    def edge_mm(self) -> float:
        """Width of the partial-volume ramp at a surface: a little over one pixel."""
        return 1.2 * self.spacing_mm[1]

    def paint(self, tissue: str, distance: Reals, label: int = 0) -> None:
        """Cover what was there by `tissue` wherever `distance` is negative."""
        self.cover(tissue, coverage(distance, self.edge_mm), label)

    def cover(self, tissue: str, share: Field, label: int = 0) -> None:
        """Like `paint`, from the share of each voxel that is covered, in [0, 1]."""
        box = _box(share)
        self.layers.append((tissue, box, share[box].copy()))
        self.labels[share > 0.5] = label


def _box(share: Field) -> Box:
    """Smallest index box that holds all of a layer: most layers fill a small part of the volume."""
    spans = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(share.any(axis=others))
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0))
    return spans[0], spans[1], spans[2]
