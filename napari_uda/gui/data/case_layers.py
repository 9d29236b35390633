"""The layers of one case: read in a thread, in the viewer while the case is shown, out of it afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Source
from napari_uda.data.window import usual_window
from napari_uda.gui.kit.canvas import make_current
from napari_uda.gui.kit.files import LayerData, layer_data, read_layers
from napari_uda.gui.kit.geometry import METADATA, tag
from napari_uda.gui.kit.layer_order import add_layer, case_of, is_helper, layer_name, set_visible
from napari_uda.gui.kit.layers import EDITED, PREDICTED
from napari_uda.inference.cases import CaseFiles
from napari_uda.run.roles import names_beside

_SEEN = ("image", "reference")


@dataclass(frozen=True)
class CaseContent:
    """A case as layer data, from the back to the front.

    Attributes:
        case: which.
        layers: of its image, labels and prediction, those that are there.
        middle: `(z, y, x)` voxel of the first layer in the middle of the structures, or of the volume.
        problem: why its image is not among them, or "".
    """

    case: CaseFiles
    layers: tuple[LayerData, ...]
    middle: tuple[int, int, int]
    problem: str = ""


def read_case(case: CaseFiles) -> CaseContent:
    """Read image, labels and prediction of a case; for a worker thread.

    Without its image, a prediction is read alone and the content says why.

    Raises:
        InputError: nothing of it can be read.
    """
    layers: list[LayerData] = []
    where, image, problem = None, None, ""
    try:
        where, image = case.read_image()
    except InputError as error:
        if case.prediction is None:
            raise
        problem = str(error)
    if image is not None:
        layers.append(layer_data(image, "image", {}))
        layers[0][1].setdefault("contrast_limits", usual_window(image.array).limits)
    if where is not None and where.label is not None:
        labels = where.read_labels(image)
        layers.append(layer_data(labels, "reference", case.names or names_beside(where.label)))
        layers[-1][1]["name"] = layer_name(case.name, "reference")
    if case.prediction is not None:
        layers.append(read_layers(case.prediction, "prediction"))
    for _, arguments, _ in layers:
        arguments["metadata"][METADATA]["case"] = case.name
    same = [array for array, _, kind in layers if kind == "labels"]
    same = [array for array in same if array.shape == layers[0][0].shape and array.any()]
    return CaseContent(
        case, tuple(layers), _middle(same[-1] if same else None, layers[0][0].shape), problem
    )


def read_maps(case: CaseFiles) -> list[LayerData]:
    """Entropy and reliability of a case, hidden, those that are there; for a worker thread.

    Raises:
        InputError: one cannot be read.
    """
    contents = []
    for role, file in case.maps.items():
        data, arguments, kind = read_layers(file, role)
        arguments["metadata"][METADATA]["case"] = case.name
        contents.append((data, arguments | {"visible": False}, kind))
    return contents


@dataclass(eq=False)
class CaseLayers:
    """Keeps the layers of one case in a viewer. Those that were changed are never removed, only hidden."""

    viewer: ViewerModel
    case: str = ""
    """The case that was swapped in last, as its layers call it."""
    _own: list[Layer] = field(default_factory=list)
    """Added here and removed with the next case."""
    _changed: set[str] = field(default_factory=set)
    """Ids of layers that were painted on."""
    _left: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Case to the ids of its layers, and whether each was seen when the view left for another case."""

    def swap(self, content: CaseContent) -> Iterator[None]:
        """Show a case instead of the one before, in parts of some milliseconds."""
        layers = self.viewer.layers
        before, self._own = self._own, []
        self._remember()
        shown: list[Layer] = []
        for data in content.layers:
            layer = self._there(data[1]) or self._add(Layer.create(*data), visible=False)
            shown.append(layer)
            self.case = str(tag(shown[0])["case"])
            yield
        was_seen = self._left.pop(self.case, {})
        for layer in list(layers):
            if layer not in shown and layer not in before and _is_of_a_patient(layer):
                set_visible(layer, False)
        leaving = []
        for layer in before:
            if layer in layers and (layer in shown or self._is_needed(layer)):
                self._own.append(layer)
                if layer not in shown:
                    set_visible(layer, False)
            elif layer in layers:
                leaving.append(layer)
        self._remove(leaving)
        yield
        again = [layer for layer in layers if str(layer.unique_id) in was_seen]
        whole = [*dict.fromkeys([*shown, *self._made_from(shown), *again])]
        results = _results_to_see(whole, shown, was_seen)
        for layer in whole:
            if layer in layers:
                role = tag(layer).get("role")
                if role in PREDICTED:
                    set_visible(layer, layer in results)
                else:
                    set_visible(layer, was_seen.get(str(layer.unique_id), role in _SEEN))
                if role == "reference" and results and str(layer.unique_id) not in was_seen:
                    layer.contour, layer.opacity = 1, 1.0  # so that the errors stay visible
                yield
        alive = [layer for layer in shown if layer in layers]
        if alive:
            self._go_to(alive[0], content.middle)
            layers.selection.active = alive[-1]
            self.viewer.reset_view(layers=alive)

    def _remember(self) -> None:
        """What is seen of the cases on screen: what stays in the viewer comes back like that."""
        patients = [
            layer
            for layer in self.viewer.layers
            if _is_of_a_patient(layer) and not is_helper(layer)
        ]
        case = {layer: case_of(self.viewer.layers, layer) for layer in patients}
        for name in {case[layer] for layer in patients if layer.visible}:
            self._left[name] = {
                str(layer.unique_id): layer.visible for layer in patients if case[layer] == name
            }

    @property
    def are_seen(self) -> bool:
        """Whether a case is visible."""
        return any(layer.visible for layer in self._own if layer in self.viewer.layers)

    @property
    def is_seen(self) -> bool:
        """Whether anything of the case that was swapped in last is visible."""
        layers = self.viewer.layers
        return any(layer.visible and tag(layer).get("case") == self.case for layer in layers)

    def add(self, contents: Sequence[LayerData]) -> Iterator[None]:
        """Add more of the case that is shown; what is selected stays so."""
        selection = self.viewer.layers.selection
        for data in contents:
            if self._there(data[1]) is None:
                active = selection.active
                self._add(Layer.create(*data), visible=False)
                selection.active = active
                yield

    def _add(self, layer: Layer, *, visible: bool) -> Layer:
        layer.visible = visible
        add_layer(self.viewer, layer)
        self._own.append(layer)
        if isinstance(layer, Labels):
            note, name = self._changed.add, str(layer.unique_id)
            layer.events.paint.connect(lambda: note(name))
            layer.events.labels_update.connect(lambda: note(name))
        return layer

    def _remove(self, leaving: Sequence[Layer]) -> None:
        """Take layers out together: napari cleans up after each go, for a tenth of a second."""
        if not leaving:
            return
        with self.viewer.layers.batched_update():
            for layer in leaving:
                self.viewer.layers.remove(layer)
            make_current(self.viewer)
        for layer in (
            leaving
        ):  # it refers to itself: its voxels would stay until Python looks for such circles
            layer.data = np.zeros((1, 1, 1), layer.data.dtype)

    def _there(self, arguments: dict[str, Any]) -> Layer | None:
        """The layer that shows the same file already."""
        new = arguments["metadata"][METADATA]
        file = _real(new.get("file"))
        for layer in self.viewer.layers:
            own = tag(layer)
            read = own.get("file") is not None and own.get("role") != "background"
            if read and own.get("shape") == new["shape"] and _real(own["file"]) == file:
                return layer
        return None

    def _is_needed(self, layer: Layer) -> bool:
        """Whether it was changed by hand, or something that was made from it and not saved is there."""
        if tag(layer).get("role") == EDITED or str(layer.unique_id) in self._changed:
            return True
        name = str(layer.unique_id)
        others = (other for other in self.viewer.layers if other not in self._own)
        return any(tag(other).get("source") == name for other in others)

    def _made_from(self, shown: Sequence[Layer]) -> list[Layer]:
        """What was made in the viewer from layers that are shown."""
        names = {str(layer.unique_id) for layer in shown}
        return [layer for layer in self.viewer.layers if tag(layer).get("source") in names]

    def _go_to(self, layer: Layer, voxel: tuple[int, int, int]) -> None:
        """The cross and every cut through a voxel."""
        dims = self.viewer.dims
        first = dims.ndim - 3
        for axis, place in enumerate(layer.data_to_world(voxel)):
            dims.set_point(first + axis, float(place))


def _real(source: Source | None) -> tuple[str, str] | None:
    """The file itself, however its path was written."""
    return None if source is None else (os.path.realpath(source.path), source.series)


def _results_to_see(
    layers: Sequence[Layer], read: Sequence[Layer], was_seen: Mapping[str, bool]
) -> list[Layer]:
    """What was made since the case was left, the newest; else what was seen then; else what was read with the case."""
    results = [layer for layer in layers if tag(layer).get("role") in PREDICTED]
    new = [layer for layer in results if str(layer.unique_id) not in was_seen]
    made = [layer for layer in new if layer not in read]
    return made[-1:] or [one for one in results if was_seen.get(str(one.unique_id))] or new


def _is_of_a_patient(layer: Layer) -> bool:
    return isinstance(layer, Image | Labels) and layer.ndim >= 3


def _middle(labels: NDArray[Any] | None, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The voxel in the middle of what is labelled; of the volume without."""
    middle = [size // 2 for size in shape]
    if labels is not None:
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            filled = np.flatnonzero(labels.any(axis=others))
            middle[axis] = int(filled[len(filled) // 2])
    z, y, x = middle
    return z, y, x
