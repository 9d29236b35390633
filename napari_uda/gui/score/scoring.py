"""Scores of layers, and where every scored slice lies in the viewer. Knows no widget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import structure_colour
from napari_uda.gui.kit.geometry import Placement, layer_volume, placement, tag
from napari_uda.gui.kit.layers import structure_names

if TYPE_CHECKING:
    from napari_uda.data.grid import Lattice
    from napari_uda.evaluation.disagreement import Region
    from napari_uda.evaluation.evaluation import Evaluation
    from napari_uda.evaluation.scores import Scores

_FILE_AXES = ("z", "y", "x")
QUANTITIES = {
    "dice": ("Dice", 1.0),
    "assd_mm": ("ASSD (mm)", None),
    "mean_entropy": ("mean entropy", 1.0),
}
"""Column of slices.csv: what the curve calls it, and the upper end of its axis (None: the largest)."""


@dataclass(frozen=True, eq=False)
class Line:
    """One structure along one axis of a layer: slices, values, and areas in mm².

    `slices` are indices in the layer, in their order; `numbers` are those of the file, by which slices
    are called. `rank` tells the predictions of a comparison apart: 0 is the first.
    """

    label: int
    name: str
    slices: NDArray[np.int64]
    values: NDArray[np.float64]
    areas: NDArray[np.float64]
    numbers: NDArray[np.int64]
    rank: int = 0

    @property
    def colour(self) -> str:
        """`#RRGGBB`."""
        return structure_colour(self.name, self.label)


@dataclass(frozen=True, eq=False)
class LayerScores:
    """Scores of a layer, in the slice numbers of the layer.

    Attributes:
        name: of the layer when it was scored.
        method: what the cohort calls its predictions: the run, or the layer's name.
        scores: the tables, in the slice numbers of the file: what is exported.
        evaluation: what the tables come from; it follows edits.
        names: label value to structure name.
        entropy: `(Z, Y, X)` on the file's grid, or None.
        placement: how the layer lies on its file's grid.
        shape: shape of the layer.
        spacing_mm: voxel size along the layer's axes.
        lattice: how the voxels of the file's grid lie to each other.
        notes: what is worth knowing about the grids of prediction and reference.
    """

    name: str
    method: str
    scores: Scores
    evaluation: Evaluation
    names: dict[int, str]
    entropy: NDArray[np.floating] | None
    placement: Placement
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    lattice: Lattice
    notes: tuple[str, ...] = ()

    @property
    def case(self) -> str:
        """Name of the case."""
        return self.scores.grids[0].case

    @property
    def coarsest_axis(self) -> int:
        """The layer's axis with the largest spacing: the one its slices were acquired across."""
        return int(np.argmax(np.round(self.spacing_mm, 3)))

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the structures; NaN without any."""
        return self.scores.means("dice")["mean"]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return self.lattice.voxel_ml

    def updated(self) -> LayerScores:
        """The scores as they stand after edits, under the names of now."""
        return replace(self, scores=self.evaluation.scores, names=self.evaluation.names)

    def renamed(self, names: Mapping[int, str]) -> LayerScores:
        """These scores with other names, by label; the same where nothing changes."""
        changed = {label: name for label, name in names.items() if self.names.get(label) != name}
        for label, name in changed.items():
            self.evaluation.rename(label, name)
        return self.updated() if changed else self

    def lines(self, axis: int, quantity: str, rank: int = 0) -> list[Line]:
        """Values along an axis of the layer, one line per structure.

        Args:
            axis: 0, 1 or 2 of the layer.
            quantity: a key of `QUANTITIES`.
            rank: of this prediction among those compared.
        """
        rows = self._rows_of_axis.get(axis, {})
        lines = []
        for label, points in rows.items():
            slices = np.array([index for index, _ in points])
            values = np.array([float(row[quantity]) for _, row in points])
            areas = np.array(
                [
                    float(row["area_prediction_mm2"]) + float(row["area_reference_mm2"])
                    for _, row in points
                ]
            )
            numbers = np.array([int(row["slice"]) for _, row in points])
            name = str(points[0][1]["name"])
            lines.append(Line(label, name, slices, values, areas, numbers, rank))
        return lines

    def slices_by_dice(self, axis: int, label: int) -> list[int]:
        """Slices that hold a structure, the worst Dice first; among equals the largest area first.

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
        return sorted(ranks, key=ranks.__getitem__)

    def slice_number(self, axis: int, index: int) -> int:
        """The file's number of a slice of the layer."""
        return self.placement.to_file_slice(axis, index, self.shape)[1]

    def slice_title(self, axis: int, index: int) -> str:
        """What a slice of the layer is called: `axial slice 12, S 34.5 mm`."""
        return self.placement.slice_title(axis, index, self.shape)

    def disagreements(self, label: int) -> list[tuple[Region, tuple[int, int, int]]]:
        """Regions of error, the largest first, each with its position in the layer; for a thread."""
        from napari_uda.evaluation.disagreement import disagreements

        found = disagreements(self.evaluation.prediction, self.evaluation.reference, label)
        return [(region, self.layer_position(region.position)) for region in found]

    def layer_position(self, position: Sequence[int]) -> tuple[int, int, int]:
        """A voxel of the file's grid as a voxel of the layer."""
        where = [0, 0, 0]
        for axis, index in enumerate(position):
            layer_axis, layer_index = self.placement.to_layer_slice(axis, index, self.shape)
            where[layer_axis] = layer_index
        return where[0], where[1], where[2]

    @cached_property
    def _rows_of_axis(self) -> dict[int, dict[int, list[tuple[int, Any]]]]:
        """Layer axis to label to (slice of the layer, row of slices.csv), in order of the slices."""
        found: dict[int, dict[int, list[tuple[int, Any]]]] = {}
        for row in self.scores.slices:
            axis, index = self.placement.to_layer_slice(
                _FILE_AXES.index(str(row["axis"])), int(row["slice"]), self.shape
            )
            found.setdefault(axis, {}).setdefault(int(row["label"]), []).append((index, row))
        for labels in found.values():
            for points in labels.values():
                points.sort(key=lambda point: point[0])
        return found


def score_layers(
    prediction: Labels,
    reference: Labels,
    entropy: Image | None,
    protocol: str = "recommended",
    labels: NDArray[np.uint8] | None = None,
    matches: Mapping[str, str] | None = None,
) -> LayerScores:
    """Score one labels layer against another; for a worker thread.

    Args:
        prediction: the layer.
        reference: what counts as true.
        entropy: entropy map of the prediction.
        protocol: name of a protocol.
        labels: the prediction's labels on its file's grid, when the caller keeps a copy that follows
            edits; default the layer's own.
        matches: name in the reference to name in the prediction where they differ, "" for none.

    Raises:
        InputError: if the layers lie on different grids, with the difference in numbers, or the run has learnt
            from corrected labels of the case.
    """
    from napari_uda.data.corrected import left_out
    from napari_uda.data.same_grid import on_grid_of
    from napari_uda.evaluation.evaluation import Evaluation
    from napari_uda.evaluation.inputs import read_pair
    from napari_uda.evaluation.matching import with_matched_reference
    from napari_uda.evaluation.protocols import get_protocol

    own = tag(prediction)
    if own.get("corrected"):
        raise InputError(f"'{prediction.name}': {left_out([str(own['corrected'])])}.")
    predicted, expected = layer_volume(prediction), layer_volume(reference)
    if labels is not None:
        predicted = predicted.with_array(labels)
    lies = placement(prediction)
    uncertain: Any = None
    if entropy is not None:
        if entropy.data.shape != prediction.data.shape:
            raise InputError(
                f"'{entropy.name}' has shape {entropy.data.shape} and '{prediction.name}' "
                f"{prediction.data.shape}; choose the entropy map of this prediction"
            )
        uncertain = on_grid_of(layer_volume(entropy), predicted).array
    named = structure_names(prediction)
    pair = read_pair(
        predicted,
        expected,
        names=named,
        case=str(own.get("case") or prediction.name),
        entropy=uncertain,
    )
    pair = with_matched_reference(pair, named, structure_names(reference), matches)
    evaluation = Evaluation(pair, get_protocol(protocol), (0, 1, 2))
    spacing = tuple(predicted.spacing_mm[axis] for axis in lies.orientation.permutation)
    return LayerScores(
        name=prediction.name,
        method=method_of(prediction),
        scores=evaluation.scores,
        evaluation=evaluation,
        names=pair.names,
        entropy=uncertain,
        placement=lies,
        shape=tuple(prediction.data.shape),
        spacing_mm=spacing,
        lattice=pair.lattice,
        notes=(*pair.notes, *_two_cases(prediction, reference)),
    )


def _two_cases(prediction: Labels, reference: Labels) -> list[str]:
    """A sentence where the names say that the layers are of two patients."""
    names = [tag(layer).get("case") for layer in (prediction, reference)]
    if not all(names) or names[0] == names[1]:
        return []
    return [f"By their names, prediction and reference are of two cases: {names[0]} and {names[1]}"]


def method_of(layer: Labels) -> str:
    """What the cohort calls the predictions of this kind."""
    own = tag(layer)
    run = str(own.get("run") or "")
    return f"{run} (edited)" if run and own.get("role") == "edited" else run or layer.name
