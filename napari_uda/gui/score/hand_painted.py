"""HandPainted: the slices of a labels layer that were painted by hand, and not taken back since."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Labels


class _Stroke(NamedTuple):
    """One undo of napari: its first change, the slices that it lies in along each axis, and labels it took or gave."""

    change: Any
    sides: tuple[tuple[int, int], ...]
    labels: frozenset[int]


class HandPainted:
    """Follows what napari keeps for its undo, where a stroke is one item, and one that was taken back is none.

    napari keeps the last hundred; a stroke that fell out of them at the old end is remembered.

    Args:
        layer: whose `events.paint` are handed to `note`.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = layer
        self._strokes: list[_Stroke] = []
        self._by_tool = False

    @contextmanager
    def by_tool(self) -> Iterator[None]:
        """What is painted inside is not by hand."""
        self._by_tool = True
        try:
            yield
        finally:
            self._by_tool = False

    def note(self, event: Any) -> None:
        """Remember a stroke. A change holds where (slices or indices), maybe a mask, old values and new ones."""
        self._strokes = self._standing()  # what was taken back can not be done again now
        if self._by_tool or not event.value:
            return
        boxes = [[_side(one) for one in change[0]] for change in event.value]
        labels = [np.unique(values) for change in event.value for values in change[-2:]]
        sides = tuple(
            (min(low for low, _ in along), max(high for _, high in along))
            for along in zip(*boxes, strict=True)
        )
        found = frozenset(np.concatenate(labels).tolist()) - {0}
        self._strokes.append(_Stroke(event.value[0], sides, found))

    def slices(self, value: int, axis: int) -> frozenset[int]:
        """Slices across an axis of the layer in which strokes that lie in one slice took or gave a label."""
        sides = [stroke.sides[axis] for stroke in self._standing() if value in stroke.labels]
        return frozenset(low for low, high in sides if low == high)

    def forget(self) -> None:
        """Of labels that are gone."""
        self._strokes.clear()

    def _standing(self) -> list[_Stroke]:
        """The newest stroke that can still be undone, and all before it."""
        history = self._layer._undo_history
        kept = {id(change) for item in history for change in item}
        for index in reversed(range(len(self._strokes))):
            if id(self._strokes[index].change) in kept:
                return self._strokes[: index + 1]
        # none of a full history: they are older than all that napari keeps
        return self._strokes if len(history) == history.maxlen else []


def _side(where: Any) -> tuple[int, int]:
    """First and last index along one axis."""
    if isinstance(where, slice):
        return int(where.start), int(where.stop) - 1
    return int(np.min(where)), int(np.max(where))
