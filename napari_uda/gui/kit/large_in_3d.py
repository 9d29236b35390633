"""Large volumes in napari's 3-D view: a coarser copy stands in for each, since drawing them all would take minutes.

napari draws a whole volume when 3-D is switched on, and waits. Here the originals are hidden before they are drawn;
they come back, as they were, in 2-D.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import show_info
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from napari_uda.gui.kit.geometry import METADATA, copied_geometry, is_one_volume, tag
from napari_uda.gui.kit.hatching import HATCHING
from napari_uda.gui.kit.jobs import background, running
from napari_uda.gui.kit.layer_order import bring_back, stand_in
from napari_uda.gui.kit.panel import Following, Guarded, listen

if TYPE_CHECKING:
    from napari.components import ViewerModel

LARGEST_VOXELS = 20_000_000
"""Volumes above this are drawn coarser."""
_COARSE_VOXELS = 2_000_000
ROLE = "coarse"
_ALIKE = ("opacity", "blending", "colormap", "contrast_limits", "gamma", "rendering")


class _StandIn(NamedTuple):
    original: Layer
    coarse: Layer | None  # on its way while None


class CoarseIn3D(Guarded, QObject):
    """Stays with the window, also after the docks are gone.

    Args:
        viewer: whose volumes.
        parent: the window.
        largest_voxels: volumes above this are drawn coarser.
    """

    def __init__(
        self, viewer: ViewerModel, parent: QObject, largest_voxels: int = LARGEST_VOXELS
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._largest = largest_voxels
        self._stand_ins: list[_StandIn] = []
        self._looks = Following(self, self._on_look)
        listen(self, self._on_turned, viewer.dims.events.ndisplay)
        listen(self, self._on_inserted, viewer.layers.events.inserted)
        listen(self, self._on_removed, viewer.layers.events.removed)

    @property
    def is_settled(self) -> bool:
        """Whether no copy is on its way."""
        return not running(self)

    def _on_turned(self) -> None:
        if self._viewer.dims.ndisplay == 3:
            self._on_inserted()
        else:
            self._bring_back()

    def _on_inserted(self) -> None:
        if self._viewer.dims.ndisplay != 3:
            return
        for layer in list(self._viewer.layers):
            if layer.visible and self._is_large(layer):
                stand_in(layer)
                self._stand_ins.append(_StandIn(layer, None))
                self._make(layer)

    def _on_removed(self) -> None:
        """A copy goes with its original."""
        for pair in list(self._stand_ins):
            if pair.original not in self._viewer.layers:
                self._stand_ins.remove(pair)
                if pair.coarse is not None and pair.coarse in self._viewer.layers:
                    self._viewer.layers.remove(pair.coarse)

    def _is_large(self, layer: Layer) -> bool:
        if not isinstance(layer, (Image, Labels)) or not is_one_volume(layer):
            return False
        if tag(layer).get("role") in (ROLE, HATCHING):
            return False
        return int(np.prod(layer.data.shape)) > self._largest

    def _make(self, layer: Layer) -> None:
        data, steps = layer.data, coarse_steps(layer.data.shape, np.abs(layer.scale))
        background(
            self,
            f"Coarser copy of {layer.name}",
            lambda: coarse(data, steps),
            lambda copy: self._on_made(layer, copy, steps),
            failed=lambda problem: self._on_failed(layer, problem),
            can_cancel=False,
        )

    def _on_made(self, layer: Layer, copy: NDArray[Any], steps: tuple[int, ...]) -> None:
        mine = next((one for one in self._stand_ins if one.original is layer), None)
        if mine is None or self._viewer.dims.ndisplay != 3 or layer not in self._viewer.layers:
            return
        active = self._viewer.layers.selection.active
        coarse_layer = _layer(layer, copy, steps)
        self._stand_ins[self._stand_ins.index(mine)] = _StandIn(layer, coarse_layer)
        self._viewer.layers.insert(self._viewer.layers.index(layer) + 1, coarse_layer)
        originals = [pair.original for pair in self._stand_ins if pair.coarse is not None]
        self._looks.follow(*(event for one in originals for event in _looks_of(one)))
        self._viewer.layers.selection.active = active
        show_info(
            f"{layer.name} has {int(np.prod(layer.data.shape)) / 1e6:.0f} million voxels: 3-D shows every "
            f"{' x '.join(map(str, steps))}th of them (z, y, x), so that the window does not freeze. "
            "2-D shows all."
        )

    def _on_look(self) -> None:
        """Window and colours are chosen for the original, also in 3-D."""
        for original, copy in self._stand_ins:
            for name in _ALIKE if copy is not None else ():
                wanted = getattr(original, name, None)
                if wanted is not None and getattr(copy, name) != wanted:
                    setattr(copy, name, wanted)

    def _on_failed(self, layer: Layer, problem: str) -> None:
        show_info(f"{layer.name} is hidden in 3-D, where it would freeze the window: {problem}")

    def _bring_back(self) -> None:
        stand_ins, self._stand_ins = self._stand_ins, []
        self._looks.follow()
        for original, copy in stand_ins:
            if copy is not None and copy in self._viewer.layers:
                self._viewer.layers.remove(copy)
            if original in self._viewer.layers:
                bring_back(original)


def coarse_steps(shape: tuple[int, ...], scale: NDArray[np.float64]) -> tuple[int, ...]:
    """Every how many voxels are taken along each axis, so that few enough are left, as cubic as can be.

    Args:
        shape: of the volume.
        scale: size of a voxel along each axis.
    """
    steps = np.ones(len(shape), int)
    while np.prod(-(-np.asarray(shape) // steps)) > _COARSE_VOXELS:
        steps[np.argmin(scale * steps)] += 1
    return tuple(steps.tolist())


def coarse(data: NDArray[Any], steps: tuple[int, ...]) -> NDArray[Any]:
    """A copy of every so-many-th voxel; for a worker thread."""
    return np.ascontiguousarray(np.asarray(data[tuple(slice(None, None, step) for step in steps)]))


def _looks_of(layer: Layer) -> list[Any]:
    return [getattr(layer.events, name) for name in _ALIKE if hasattr(layer.events, name)]


def _layer(original: Layer, copy: NDArray[Any], steps: tuple[int, ...]) -> Layer:
    where = copied_geometry(original)
    where["scale"] = np.asarray(original.scale) * steps
    own = {key: value for key, value in tag(original).items() if key in ("case", "names")}
    own |= {"role": ROLE, "helper": True, "of": str(original.unique_id)}
    looks = {name: getattr(original, name) for name in _ALIKE if hasattr(original, name)}
    layer = type(original)(
        copy, name=f"helper: {original.name}, coarser", metadata={METADATA: own}, **looks, **where
    )
    layer.editable = False
    layer.locked = True
    return layer
