"""Scores of two layers, and where every scored slice lies in the viewer. Knows no widget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_uda.colours import structure_colour
from napari_uda.errors import InputError
from napari_uda.gui.geometry import Placement, layer_volume, placement, tag
from napari_uda.gui.layers import structure_names

if TYPE_CHECKING:
    from napari_uda.metrics.report import Scores

_FILE_AXES = ("z", "y", "x")
QUANTITIES = {
    "dice": ("Dice", 1.0),
    "assd_mm": ("ASSD (mm)", None),
    "mean_entropy": ("mean entropy", 1.0),
}
"""Column of slices.csv: what the curve calls it, and the upper end of its axis (None: the largest)."""


@dataclass(frozen=True, eq=False)
class Line:
    """One structure along one axis of a layer: slice numbers, values, and areas in mm²."""

    label: int
    name: str
    slices: NDArray[np.int64]
    values: NDArray[np.float64]
    areas: NDArray[np.float64]

    @property
    def colour(self) -> str:
        """`#RRGGBB`."""
        return structure_colour(self.name, self.label)


@dataclass(frozen=True, eq=False)
class LayerScores:
    """Scores of a layer, in the slice numbers of the layer.

    Attributes:
        scores: the tables, in the slice numbers of the file: what is exported.
        placement: how the layer lies on its file's grid.
        shape: shape of the layer.
        spacing_mm: voxel size along the layer's axes.
    """

    scores: Scores
    placement: Placement
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]

    @property
    def coarsest_axis(self) -> int:
        """The layer's axis with the largest spacing: the one its slices were acquired across."""
        return int(np.argmax(np.round(self.spacing_mm, 3)))

    def lines(self, axis: int, quantity: str) -> list[Line]:
        """Values along an axis of the layer, one line per structure.

        Args:
            axis: 0, 1 or 2 of the layer.
            quantity: a key of `QUANTITIES`.
        """
        found: dict[int, list[tuple[int, float, float]]] = {}
        names: dict[int, str] = {}
        for row in self.scores.slices:
            layer_axis, index = self.placement.to_layer_slice(
                _FILE_AXES.index(str(row["axis"])), int(row["slice"]), self.shape
            )
            if layer_axis == axis:
                label = int(row["label"])
                names[label] = str(row["name"])
                area = float(row["area_prediction_mm2"]) + float(row["area_reference_mm2"])
                found.setdefault(label, []).append((index, float(row[quantity]), area))
        lines = []
        for label, points in found.items():
            slices, values, areas = zip(*sorted(points), strict=True)
            lines.append(
                Line(label, names[label], np.array(slices), np.array(values), np.array(areas))
            )
        return lines

    def worst_slice(self, axis: int, label: int) -> int | None:
        """The slice with the lowest Dice of a structure; among equals that with the largest area.

        Args:
            axis: 0, 1 or 2 of the layer.
            label: the structure; 0 takes the mean over structures.
        """
        per_slice: dict[int, list[tuple[float, float]]] = {}
        for line in self.lines(axis, "dice"):
            if label in (0, line.label):
                for index, value, area in zip(line.slices, line.values, line.areas, strict=True):
                    if np.isfinite(value):
                        per_slice.setdefault(int(index), []).append((value, area))
        ranks = {
            index: (float(np.mean([value for value, _ in parts])), -sum(area for _, area in parts))
            for index, parts in per_slice.items()
        }
        return min(ranks, key=ranks.__getitem__, default=None)


def score_layers(prediction: Labels, reference: Labels, entropy: Image | None) -> LayerScores:
    """Score one labels layer against another; for a worker thread.

    Raises:
        InputError: if the layers lie on different grids, with the difference in numbers.
    """
    from napari_uda.metrics.report import evaluate

    predicted, expected = layer_volume(prediction), layer_volume(reference)
    lies = placement(prediction)
    uncertain: Any = None
    if entropy is not None:
        if entropy.data.shape != prediction.data.shape:
            raise InputError(
                f"'{entropy.name}' has shape {entropy.data.shape} and '{prediction.name}' "
                f"{prediction.data.shape}; choose the entropy map of this prediction"
            )
        uncertain = layer_volume(entropy).array
    scores = evaluate(
        predicted,
        expected,
        names=structure_names(reference) | structure_names(prediction),
        case=str(tag(prediction).get("case") or prediction.name),
        axes=("z", "y", "x"),
        entropy=uncertain,
    )
    spacing = tuple(predicted.spacing_mm[axis] for axis in lies.orientation.permutation)
    return LayerScores(scores, lies, tuple(prediction.data.shape), spacing)
