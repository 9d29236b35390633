"""PreviewLayers: what a run in training makes of its slices, in a grid of layers that are updated in place.

The chosen slices lie behind each other along the first axis: the slider goes from slice to slice, whatever
volumes they come from. None of these layers is offered as an image to segment or as labels to score first:
their tag has the role `preview`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_uda.gui.kit.colormaps import RELIABILITY_NAMES
from napari_uda.gui.kit.geometry import AXIS_LABELS, METADATA, UNITS, tag
from napari_uda.gui.kit.grid import Grid
from napari_uda.gui.kit.layer_order import as_helper, remove_with
from napari_uda.gui.kit.layers import (
    entropy_arguments,
    image_arguments,
    labels_arguments,
    reliability_arguments,
    with_colorbar,
)
from napari_uda.gui.kit.navigation import go_to_slice
from napari_uda.gui.kit.sides import directions_across
from napari_uda.run.reader import Preview

_TITLES = {
    "input": "input",
    "translation": "translation",
    "prediction": "prediction",
    "entropy": "entropy",
    "reliability": "reliability",
    "random_view": "random view",
    "fourier_view": "Fourier view",
}
_OWN = ("labels.", "grey.")
"""What the names of maps begin with that a method has of its own (`Method.preview_maps`); a title follows."""
_NO_LABEL = 255
_GREY = ("input", "translation", "random_view", "fourier_view")
_GREY_LIMITS = (-1.0, 1.0)


class PreviewLayers:
    """The layers of one run at a time; layers that the user deleted do not come back."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layers: dict[str, Layer] = {}
        self._backs: list[Layer] = []
        self._grid: Grid | None = None
        self._kind: tuple[Any, ...] = ()

    def show(self, preview: Preview, run: str) -> Iterator[None]:
        """Show a preview; one layer per step of the iterator, so that the window stays alive.

        Layers are made for the first preview of a run; later ones give them new values.

        Args:
            preview: what to show.
            run: name of the run folder.
        """
        kind = (run, preview.pixel_mm, sorted(preview.maps))
        if kind != self._kind:
            yield from self.hide()
            self._kind = kind
            yield from self._make(preview, run)
        else:
            yield from self._update(preview)

    def hide(self) -> Iterator[None]:
        """Remove the layers and arrange the others as before."""
        grid, self._grid = self._grid, None
        gone = [*self._layers.values(), *self._backs]
        self._layers, self._backs, self._kind = {}, [], ()
        if grid is None:
            return
        # out of sight first: drawing what is left of them crashes some OpenGL drivers
        self._viewer.canvas.grid.enabled = False
        for layer in gone:
            layer.visible = False
        yield
        grid.leave()  # they are in the viewer for its sake

    def go_to(self, index: int) -> None:
        """Show one of the slices.

        Args:
            index: its place in the preview, from 0; one that it does not hold is passed over.
        """
        layer = self._layers.get("input")
        if layer is not None and layer in self._viewer.layers and 0 <= index < len(layer.data):
            go_to_slice(self._viewer, layer, 0, index)

    def _make(self, preview: Preview, run: str) -> Iterator[None]:
        roles = [role for role in _TITLES if role in preview.maps]
        roles += sorted(role for role in preview.maps if role.startswith(_OWN))
        units = _units(self._viewer)
        for role in roles:
            self._layers[role] = _layer(role, preview, _where(preview, run, role, units))
        grey = self._layers["input"].data
        self._backs = [_back(grey, _where(preview, run, "background", units)) for _ in roles]
        for back in self._backs:
            remove_with(self._viewer, back, self._layers["input"])
        cells = [[back, self._layers[role]] for back, role in zip(self._backs, roles, strict=True)]
        self._grid = Grid(self._viewer, cells)
        yield from self._grid.enter()
        self.go_to(0)

    def _update(self, preview: Preview) -> Iterator[None]:
        for role, layer in list(self._layers.items()):
            if tag(layer).get("places") != _places(preview):
                own = {**tag(layer), "places": _places(preview)}
                layer.metadata = {**layer.metadata, METADATA: own}
            values = _displayed(preview.maps[role])
            if np.array_equal(layer.data, values):
                continue
            same_slices = layer.data.shape == values.shape
            if same_slices:
                np.copyto(layer.data, values)
            else:
                layer.data = values
            for shown in (layer, *(self._backs if role == "input" else ())):
                if not same_slices:
                    shown.data = layer.data
                if shown in self._viewer.layers:
                    shown.refresh(extent=False, thumbnail=False)
                    yield


def _displayed(array: NDArray[Any]) -> NDArray[Any]:
    """Slices as they stand in the viewer: the canonical axes run upwards, forwards and to the right."""
    return np.ascontiguousarray(array[:, ::-1, ::-1])


def _units(viewer: ViewerModel) -> tuple[Any, ...]:
    """Those of the volumes that are open: one layer with others switches units off for all of them."""
    volumes = (layer for layer in viewer.layers if layer.ndim >= 3)
    return next((tuple(layer.units[-3:]) for layer in volumes), UNITS)


def _layer(role: str, preview: Preview, where: dict[str, Any]) -> Layer:
    data, name = _displayed(preview.maps[role]), _TITLES.get(role, role.partition(".")[2])
    own = where["metadata"][METADATA]
    if role in _GREY or role.startswith("grey."):
        return _grey(data, name, where)
    if role == "entropy":
        return with_colorbar(Image(data, **entropy_arguments(name), **where))
    if role == "reliability":
        own["names"] = dict(RELIABILITY_NAMES)
        return Labels(data, **reliability_arguments(name), **where)
    names = dict(preview.names)
    if role.startswith("labels."):
        names.setdefault(_NO_LABEL, "no label")
    own["names"] = names
    return Labels(data, **labels_arguments(name, names), **where)


def _back(grey: NDArray[Any], where: dict[str, Any]) -> Layer:
    """The input behind a cell's layer; all of them share one array."""
    where["metadata"][METADATA]["role"] = "background"
    return as_helper(_grey(grey, "", where), "input behind")


def _grey(data: NDArray[Any], name: str, where: dict[str, Any]) -> Image:
    return Image(data, **image_arguments(name), contrast_limits=_GREY_LIMITS, **where)


def _where(preview: Preview, run: str, role: str, units: tuple[Any, ...]) -> dict[str, Any]:
    own: dict[str, Any] = {"role": "preview", "part": role, "run": run, "places": _places(preview)}
    if preview.axis is not None:
        own["directions"] = directions_across(preview.axis)
    return {
        "scale": (preview.pixel_mm,) * 3,
        "units": units,
        "axis_labels": AXIS_LABELS,
        "metadata": {METADATA: own},
    }


def _places(preview: Preview) -> list[str]:
    return [f"{one.domain}, {one.case}, slice {one.index}" for one in preview.places]
