"""Volumes whose axes are turned against each other: napari draws both upright, so one of them in a wrong place.

A volume is shown along its own axes (see `kit.geometry`). Beside another one that is tilted otherwise, or
tilted alike about another centre, what lies at one place in the patient is not drawn at one place. The notice
says by how much, and offers a copy on the grid of the other one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import show_warning
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume
from napari_uda.gui.kit.geometry import (
    METADATA,
    copied_geometry,
    in_different_frames,
    is_one_volume,
    layer_volume,
    placement,
    tag,
)
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layers import DISPLAY, find
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.panel import Following, Panel
from napari_uda.gui.kit.seen import is_looked_at
from napari_uda.gui.kit.sides import file_index
from napari_uda.gui.kit.widgets import button, label

_TOLERANCE = 0.5  # of the smallest voxel side


@dataclass(frozen=True, eq=False)
class Misplaced:
    """A layer that is drawn elsewhere than it lies, beside a reference that stays as it is."""

    layer: Layer
    reference: Image
    most_mm: float
    """How far the corner that is farthest off is drawn from its place."""

    @property
    def sentence(self) -> str:
        """What is the matter."""
        cases = {tag(one).get("case") for one in (self.layer, self.reference)}
        frames = {tag(one).get("frame") or None for one in (self.layer, self.reference)}
        doubt = "" if len(cases) == 1 or frames != {None} else " if both are of one patient"
        return (
            f"'{self.layer.name}' is drawn up to {self.most_mm:.1f} mm from its place beside "
            f"'{self.reference.name}'{doubt}: their axes are turned against each other."
        )


def misplaced(viewer: ViewerModel) -> list[Misplaced]:
    """The visible volumes that do not lie where they are drawn beside the visible image of the finest grid."""
    layers = [layer for layer in viewer.layers if _is_placed(layer)]
    images = [one for one in layers if is_looked_at(one) and tag(one).get("role") != DISPLAY]
    if not images or len(layers) < 2:
        return []
    reference = min(images, key=lambda image: abs(np.linalg.det(placement(image).affine)))
    of_reference = _matrices(reference)
    found = []
    for layer in layers:
        if layer is not reference and not in_different_frames(layer, reference):
            most, limit = _apart_mm(layer, *of_reference)
            if most > limit:
                found.append(Misplaced(layer, reference, most))
    return found


def _is_placed(layer: Layer) -> bool:
    """Whether a layer is a visible volume whose place in the patient a file gave."""
    own = tag(layer)
    return (
        isinstance(layer, (Image, Labels))
        and layer.visible
        and is_one_volume(layer)
        and "affine" in own
        and own.get("shape") == tuple(layer.data.shape)
        and own.get("role") != "background"
    )


def _apart_mm(
    layer: Layer, reference_shown: NDArray[np.float64], reference_true: NDArray[np.float64]
) -> tuple[float, float]:
    """How far a layer's corners are drawn from where the reference would draw them; and what is no matter."""
    shown, true = _matrices(layer)
    corners = np.array(
        [(*corner, 1) for corner in product(*((0, n - 1) for n in layer.data.shape))]
    ).T
    wanted = reference_shown @ np.linalg.solve(reference_true, true @ corners)
    most = float(np.linalg.norm((wanted - shown @ corners)[:3], axis=0).max())
    sides = [np.linalg.norm(matrix[:3, :3], axis=0).min() for matrix in (true, reference_true)]
    return most, _TOLERANCE * float(min(sides))


def _matrices(layer: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`(4, 4)` each: a layer's index (z, y, x, 1) to the viewer's world, and to RAS+ millimetres."""
    lies, shape = placement(layer), layer.data.shape

    def in_file(index: NDArray[np.float64]) -> NDArray[np.float64]:
        return file_index(index, lies.orientation, shape)

    def shown(index: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(layer.data_to_world(index), float)

    return _linear(shown), lies.affine @ _linear(in_file)


def _linear(place: Any) -> NDArray[np.float64]:
    """The matrix of a map of places that keeps straight lines."""
    matrix = np.eye(4)
    matrix[:3, 3] = place(np.zeros(3))
    for axis in range(3):
        matrix[:3, axis] = place(np.eye(3)[axis]) - matrix[:3, 3]
    return matrix


def resampled_layer(layer: Layer, reference: Image, stop: threading.Event) -> Layer:
    """A copy of a layer on the grid of another one, to be looked at; for a thread.

    Raises:
        Cancelled: `stop` was set.
    """
    from napari_uda.data.resample import resampled

    grid: Volume = layer_volume(reference)
    is_labels = isinstance(layer, Labels)
    found = resampled(layer_volume(layer), grid, labels=is_labels, stop=stop)
    data = placement(reference).to_layer(found.array)
    kept = ("affine", "orientation", "shape", "forms", "frame")
    own = {key: value for key, value in tag(reference).items() if key in kept}
    own |= {key: tag(layer)[key] for key in ("case", "names", "run") if key in tag(layer)}
    own |= {"role": DISPLAY, "of": str(layer.unique_id), "on": str(reference.unique_id)}
    looks: dict[str, Any] = {
        "name": f"{layer.name} (resampled for display)",
        "opacity": layer.opacity,
        "blending": layer.blending,
        "colormap": layer.colormap,
        "metadata": {METADATA: own},
        **copied_geometry(reference),
    }
    if isinstance(layer, Labels):
        made: Layer = Labels(data, features=layer.features, **looks)
        made.contour = layer.contour
        made.editable = False  # the original alone is edited
        return made
    return Image(data, contrast_limits=layer.contrast_limits, gamma=layer.gamma, **looks)


class TurnedNotice(Panel):
    """Says which visible volumes are drawn in a wrong place; hidden while there is none.

    Attributes:
        about: the sentence.
        resample: button that puts copies on one grid in their place.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._found: list[Misplaced] = []
        self._told: set[tuple[str, str]] = set()
        self._sources: dict[str, Layer] = {}  # of the copies
        self._changes = Following(self, self._on_changed)
        self.about = label(name="turned")
        self.resample = button(
            "Resample for display",
            "Show copies on one grid, images interpolated linearly and labels by the nearest voxel;\n"
            "the originals are hidden, and scores and saved files are always theirs",
            self._on_resample,
            "resample",
        )
        column(self.about, self.resample, of=self, margin=0, spacing=4)
        self.setVisible(False)

    def look(self) -> None:
        """Compare what is visible now."""
        try:
            self._found = misplaced(self._viewer)
        except InputError:  # a transform that cannot be inverted has no place
            self._found = []
        self._forget_removed()
        self.setVisible(bool(self._found))
        if self._found:
            worst = max(self._found, key=lambda one: one.most_mm)
            others = len(self._found) - 1
            more = f" ({others} more layers are off as well.)" if others else ""
            self.about.setText(worst.sentence + more)
            for one in self._found:
                pair = str(one.layer.unique_id), str(one.reference.unique_id)
                if pair not in self._told:
                    self._told.add(pair)
                    show_warning(f"{one.sentence} View offers to resample it for display.")

    def _on_resample(self) -> None:
        found = self._found
        self.resample.setEnabled(False)
        background(
            self,
            "Resample for display",
            lambda report, stop: list(self._made(found, report, stop)),
            partial(self._on_made, found),
            ended=self._on_ended,
        )

    def _made(self, found: list[Misplaced], report: Any, stop: threading.Event) -> Iterator[Layer]:
        """In the thread."""
        for number, one in enumerate(found):
            report(number, len(found))
            yield resampled_layer(one.layer, one.reference, stop)

    def _on_made(self, found: list[Misplaced], made: list[Layer]) -> None:
        viewer = self._viewer
        for one, copy in zip(found, made, strict=True):
            if one.layer not in viewer.layers or one.reference not in viewer.layers:
                continue
            former = find(viewer, role=DISPLAY, of=str(one.layer.unique_id))
            if former is not None:
                viewer.layers.remove(former)
            viewer.layers.insert(viewer.layers.index(one.layer) + 1, copy)
            self._sources[str(one.layer.unique_id)] = one.layer
            one.layer.visible = False
        self._follow()

    def _on_ended(self) -> None:
        self.resample.setEnabled(True)

    def _follow(self) -> None:
        names = ("data", "labels_update", "affine", "translate", "scale")
        self._changes.follow(
            *(
                getattr(layer.events, name)
                for layer in self._sources.values()
                for name in names
                if hasattr(layer.events, name)
            )
        )

    def _on_changed(self, event: Any) -> None:
        """The original has other values, or lies elsewhere: its copy is not true any more."""
        source = event.source
        copy = find(self._viewer, role=DISPLAY, of=str(source.unique_id))
        self._sources.pop(str(source.unique_id), None)
        self._follow()
        if copy is not None:
            shown = copy.visible
            self._viewer.layers.remove(copy)
            source.visible = source.visible or shown

    def _forget_removed(self) -> None:
        """A copy goes with its original."""
        gone = [key for key, layer in self._sources.items() if layer not in self._viewer.layers]
        for key in gone:
            del self._sources[key]
        if gone:
            self._follow()
        for key in gone:
            copy = find(self._viewer, role=DISPLAY, of=key)
            if copy is not None:
                self._viewer.layers.remove(copy)
