"""Evaluation: one case being scored, kept so that an edit costs only what it touched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_uda.evaluation.inputs import Pair, label_map
from napari_uda.evaluation.overlap import NOWHERE, Box, Labels, label_boxes
from napari_uda.evaluation.protocols import Protocol
from napari_uda.evaluation.scores import CaseGrid, Row, Scores, sides
from napari_uda.evaluation.structures import AXES, Structure, score_slices, score_structure


class Evaluation:
    """The scores of one case, structure by structure and slice by slice.

    After voxels of the prediction were changed in place, `rescore_slices` and `rescore_volume` bring the
    scores up to date; together they give what scoring anew would. The two may run in two threads.

    Attributes:
        prediction: `(Z, Y, X)` labels that are scored; change these.
        reference: `(Z, Y, X)`.
    """

    def __init__(
        self,
        pair: Pair,
        rules: Protocol,
        axes: Sequence[int],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Score a case.

        Args:
            pair: the case; its prediction is not copied when it is uint8.
            rules: the protocol.
            axes: indices of the axes to score slices along; a protocol whose scope is the slice averages
                along the first.
            on_progress: called after each structure with slices and slices in all, as much of them as is done of
                the structures.

        Raises:
            InputError: if a value of either map is no label.
        """
        self._pair, self._rules, self._axes = pair, rules, tuple(axes)
        self._lock = threading.Lock()  # held while tables change or are read, not while scoring
        self.prediction: Labels = label_map(pair.prediction, "prediction")
        self.reference: Labels = label_map(pair.reference, "reference")
        self._boxes = label_boxes(self.prediction, self.reference)
        self._rows: dict[int, Row] = {}
        self._samples: dict[int, list[Row]] = {}
        self._slices: dict[tuple[int, int], list[Row]] = {}
        labels = self._boxes.keys() | pair.names.keys()
        slices = sum(self.reference.shape[axis] for axis in self._axes)
        for done, label in enumerate(labels, 1):
            self._score(label)
            if on_progress is not None:
                on_progress(done * slices // len(labels), slices)

    @property
    def scores(self) -> Scores:
        """The tables as they stand."""
        grid = CaseGrid(
            self._pair.case,
            sides(self.reference.shape),
            self._pair.spacing_mm,
            tuple(AXES[axis] for axis in self._axes),
        )
        with self._lock:
            labels = sorted(self._rows)
            return Scores(
                rows=[self._rows[label] for label in labels],
                slices=[
                    row
                    for label in labels
                    for axis in self._axes
                    for row in self._slices[label, axis]
                ],
                protocol=self._rules,
                grids=[grid],
                samples=[row for label in labels for row in self._samples[label]],
            )

    @property
    def names(self) -> dict[int, str]:
        """Label to structure name."""
        return dict(self._pair.names)

    def rename(self, label: int, name: str) -> None:
        """Give a structure another name in all tables; nothing is scored for it."""
        with self._lock:
            self._pair = replace(self._pair, names={**self._pair.names, label: name})
            if label in self._rows:
                self._rows[label] = {**self._rows[label], "name": name}
                self._samples[label] = [{**row, "name": name} for row in self._samples[label]]
                for axis in self._axes:
                    rows = self._slices[label, axis]
                    self._slices[label, axis] = [{**row, "name": name} for row in rows]

    def rescore_slices(
        self, box: Box, labels: Iterable[int], axes: Collection[int] = (0, 1, 2)
    ) -> None:
        """Score the slices again that were changed; a millisecond for each structure and slice.

        Args:
            box: of the changed voxels.
            labels: every label that a changed voxel had before or has now.
            axes: only along these; call again for the others.
        """
        for label in _structures(labels):
            with self._lock:
                self._boxes[label] = _union(self._boxes.get(label), box)
            if label not in self._rows:
                self._score(label)
                continue
            for axis in self._axes:
                if axis not in axes:
                    continue
                first, last = box[axis].start, box[axis].stop
                structure, pair = self._window(label, axis, first, last)
                rows = score_slices(structure, pair, self._rules, axis, first)
                with self._lock:
                    if (label, axis) in self._slices:
                        self._slices[label, axis][first:last] = rows

    def rescore_volume(self, labels: Iterable[int]) -> None:
        """Score structures again in 3-D, after `rescore_slices`; a fraction of a second each.

        Args:
            labels: as for `rescore_slices`.
        """
        for label in _structures(labels):
            row, samples = score_structure(
                self._structure(label), self._pair, self._rules, self._axes[0]
            )
            with self._lock:
                if (label, self._axes[0]) not in self._slices:
                    continue  # another thread has dropped it meanwhile
                self._rows[label], self._samples[label] = row, samples
                if row["state"] == "absent" and label not in self._pair.names:
                    self._forget(label)

    def _score(self, label: int) -> None:
        structure = self._structure(label)
        row, samples = score_structure(structure, self._pair, self._rules, self._axes[0])
        slices = [score_slices(structure, self._pair, self._rules, axis) for axis in self._axes]
        with self._lock:
            self._rows[label], self._samples[label] = row, samples
            for axis, rows in zip(self._axes, slices, strict=True):
                self._slices[label, axis] = rows

    def _forget(self, label: int) -> None:
        """Drop a label that has no name and no voxel any more."""
        del self._rows[label], self._samples[label]
        for axis in self._axes:
            del self._slices[label, axis]

    def _structure(self, label: int) -> Structure:
        return self._cut(label, self._boxes.get(label, NOWHERE), self.prediction, self.reference)

    def _window(self, label: int, axis: int, first: int, last: int) -> tuple[Structure, Pair]:
        """The structure in some slices, and the case reduced to them."""
        sides = [slice(None)] * 3
        sides[axis] = slice(first, last)
        view = tuple(sides)
        box = list(self._boxes[label])
        start, stop = np.clip((box[axis].start, box[axis].stop), first, last).tolist()
        box[axis] = slice(start - first, stop - first)
        entropy = self._pair.entropy
        pair = replace(
            self._pair,
            prediction=self.prediction[view],
            reference=self.reference[view],
            entropy=None if entropy is None else entropy[view],
        )
        return self._cut(label, _box(box), self.prediction[view], self.reference[view]), pair

    def _cut(self, label: int, box: Box, prediction: Labels, reference: Labels) -> Structure:
        name = self._pair.names.get(label, f"label_{label}")
        return Structure(label, name, box, prediction[box] == label, reference[box] == label)


def changed_box(indices: Sequence[NDArray[np.intp]]) -> Box:
    """The smallest box that holds some voxels.

    Args:
        indices: one array of indices per axis, none of them empty.
    """
    return _box([slice(int(axis.min()), int(axis.max()) + 1) for axis in indices])


def _structures(labels: Iterable[int]) -> list[int]:
    return sorted({int(label) for label in labels} - {0})


def _union(box: Box | None, other: Box) -> Box:
    """Boxes only grow: what is too large costs time and changes no score."""
    if box is None:
        return other
    return _box(
        [slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(box, other, strict=True)]
    )


def _box(sides: Sequence[slice]) -> Box:
    z, y, x = sides
    return z, y, x
