"""Slices of a scored case as radiologists see them, for reports: the middle one, and the worst of every structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.structure_colours import both_names, full_name, structure_colour
from napari_uda.data.plane import plane_of
from napari_uda.data.slice_position import slice_name
from napari_uda.data.volume import Volume
from napari_uda.data.window import usual_window
from napari_uda.evaluation.report_content import coarsest_axis
from napari_uda.evaluation.scores import Row, Scores
from napari_uda.evaluation.slice_picture import RGB, Picture, as_seen, draw_slice
from napari_uda.evaluation.structures import AXES

_MOST_PICTURES = 4
_LARGE_PIXELS = 640
_KEY = "coloured: prediction, white: reference"


@dataclass(frozen=True, eq=False)
class SeenCase:
    """A case on its file's grid.

    Attributes:
        case: its name.
        prediction: `(Z, Y, X)` labels.
        reference: `(Z, Y, X)` labels, or None.
        affine: `(4, 4)` voxel index (x, y, z, 1) to RAS+ millimetres.
        names: label to structure name.
        image: `(Z, Y, X)` grey values, or None.
    """

    case: str
    prediction: NDArray[np.integer]
    reference: NDArray[np.integer] | None
    affine: NDArray[np.float64]
    names: Mapping[int, str]
    image: NDArray[np.generic] | None = None

    def middle_picture(self, about: str) -> Picture:
        """The middle one of the slices with structures, across the coarsest axis, in contours.

        Args:
            about: what the caption says of the case before the slice's name.
        """
        axis = int(np.argmax(np.round(self._grid.spacing_mm, 3)))
        index = self._middle(axis)
        key = "outlines of the prediction" if self.reference is None else f"outlines, {_KEY}"
        return Picture(
            self._draw(axis, index, outlines=True), f"{about}, {self._name(axis, index)}; {key}"
        )

    def worst_pictures(self, scores: Scores) -> list[Picture]:
        """The slice with the lowest Dice of every structure, across the coarsest axis, the first few.

        Args:
            scores: that hold the slices of this case.
        """
        grid = next(one for one in scores.grids if one.case == self.case)
        axis = AXES.index(coarsest_axis(grid))
        rows: dict[int, list[Row]] = {}
        for row in scores.slices:
            known = row["case"] == self.case and row["axis"] == AXES[axis]
            if known and np.isfinite(float(row["dice"])):
                rows.setdefault(int(row["label"]), []).append(row)
        pictures = []
        for label in sorted(rows)[:_MOST_PICTURES]:
            worst = min(rows[label], key=_badness)
            index = int(worst["slice"])
            caption = (
                f"worst slice of {full_name(str(worst['name']))} in {self.case}:"
                f" {self._name(axis, index)}, Dice {float(worst['dice']):.3f};"
                " filled: prediction, white outline: reference"
            )
            pictures.append(Picture(self._draw(axis, index), caption))
        return pictures

    def legend(self) -> dict[str, str]:
        """Structures that either side has, by name, and their colours."""
        found = set(np.unique(self.prediction).tolist())
        if self.reference is not None:
            found |= set(np.unique(self.reference).tolist())
        return {
            both_names(name): structure_colour(name, value)
            for value, name in sorted(self.names.items())
            if value in found
        }

    @property
    def _grid(self) -> Volume:
        return Volume(np.asarray(self.prediction), self.affine, self.case)

    def _middle(self, axis: int) -> int:
        others = tuple(other for other in range(3) if other != axis)
        marked = (self.prediction > 0).any(axis=others)
        if self.reference is not None:
            marked = marked | (self.reference > 0).any(axis=others)
        slices = np.flatnonzero(marked)
        return int(slices[slices.size // 2]) if slices.size else self.prediction.shape[axis] // 2

    def _name(self, axis: int, index: int) -> str:
        return slice_name(self.affine, self.prediction.shape[::-1], 2 - axis, index)

    def _draw(self, axis: int, index: int, *, outlines: bool = False) -> RGB:
        turn = self._grid.orientation
        seen_axis = turn.permutation.index(axis)
        length = self.prediction.shape[axis]
        at = length - 1 - index if turn.flips[seen_axis] else index
        steps = [self._grid.spacing_mm[other] for other in turn.permutation]

        def plane(array: NDArray[np.generic]) -> NDArray[np.generic]:
            return as_seen(plane_of(turn.apply(array), seen_axis, at))

        prediction = np.asarray(plane(self.prediction))
        reference = np.zeros_like(prediction) if self.reference is None else plane(self.reference)
        return draw_slice(
            None if self.image is None else plane(self.image),
            prediction,
            np.asarray(reference),
            self.names,
            [step for other, step in enumerate(steps) if other != seen_axis],
            (0.0, 1.0) if self.image is None else usual_window(self.image).limits,
            outlines=outlines,
            width=_LARGE_PIXELS if outlines else 320,
        )


def _badness(row: Row) -> tuple[float, float]:
    """Low Dice first; among equals, the larger structure."""
    return float(row["dice"]), -float(row["area_prediction_mm2"]) - float(row["area_reference_mm2"])


def typical_cases(means: Mapping[str, float]) -> Sequence[tuple[str, str]]:
    """Cases to open a report with, and what they are: the median one and the worst, or the only one."""
    ranked = sorted(means, key=means.__getitem__)
    if not ranked:
        return []
    if len(ranked) == 1:
        return [(ranked[0], ranked[0])]
    median = ranked[len(ranked) // 2]
    return [
        (median, f"median case {median}, mean Dice {means[median]:.3f}"),
        (ranked[0], f"worst case {ranked[0]}, mean Dice {means[ranked[0]]:.3f}"),
    ]
