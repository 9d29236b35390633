"""Stripes over unreliable voxels and over false negatives: they are told from the others without colour, too.

The stripes are a helper layer of their own, whose voxels are worked out for the slice that is drawn and kept nowhere,
so that what is saved, scored and counted stays as it is.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer
from numpy.typing import DTypeLike, NDArray
from qtpy.QtCore import QObject

from napari_uda.evaluation.disagreement import FALSE_NEGATIVE
from napari_uda.gui.kit.colormaps import UNRELIABLE, hatching_colormap
from napari_uda.gui.kit.geometry import METADATA, copied_geometry, tag
from napari_uda.gui.kit.layer_order import HELPER, as_helper
from napari_uda.gui.kit.layers import DISPLAY
from napari_uda.gui.kit.panel import Following, Guarded, delay, listen

if TYPE_CHECKING:
    from napari.components import ViewerModel

HATCHING = "hatching"
HATCHED = MappingProxyType({"reliability": UNRELIABLE, "error": FALSE_NEGATIVE})
"""Roles of layers with a value under stripes."""
NOT_STRUCTURES = (*HATCHED, "contours", HATCHING, DISPLAY)
"""Roles of labels that are no structures."""
_NOTHING = 255
_PERIOD = 3  # voxels from one stripe to the next
_SETTLING_MS = 20


class Stripes:
    """The voxels of one value of a layer that lie on stripes: 1, all others 0. Whole volumes have none.

    napari takes it for an array: it asks for the slice that it draws, along any axis.
    """

    def __init__(self, layer: Layer, value: int) -> None:
        self._layer, self._value = layer, value

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the layer."""
        return tuple(self._layer.data.shape)

    @property
    def ndim(self) -> int:
        """That of the layer."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """That of labels."""
        return np.dtype(np.uint8)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        found = self._layer.data[key]
        if np.ndim(found) != 2 or self._value == _NOTHING:
            return np.broadcast_to(np.uint8(0), np.shape(found))
        rows, columns = np.ogrid[: found.shape[0], : found.shape[1]]
        return ((np.asarray(found) == self._value) & ((rows + columns) % _PERIOD == 0)).view(
            np.uint8
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Stripes:
        """For napari's Duplicate: stripes of the same layer, of which no copy is made."""
        return Stripes(self._layer, self._value)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.zeros(self.shape, dtype or self.dtype)


class Hatching(Guarded, QObject):
    """Keeps the stripes above their maps; stays with the window, also after the docks are gone.

    Args:
        viewer: whose maps.
        parent: the window.
    """

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._settle = delay(self, _SETTLING_MS, self._on_settled)
        self._looks = Following(self, self._on_changed)
        self._values = Following(self, self._on_values)
        layers = viewer.layers.events
        listen(self, self._on_layers, layers.inserted, layers.removed, layers.reordered)
        listen(self, self._on_turned, viewer.dims.events.ndisplay)
        listen(self, self._on_changed, viewer.canvas.grid.events.enabled)
        self._on_layers()

    @property
    def is_settled(self) -> bool:
        """Whether all stripes are drawn that should be."""
        return not self._settle.isActive()

    def _on_layers(self) -> None:
        maps = [layer for layer in self._viewer.layers if _is_map(layer)]
        names = ("visible", "opacity", "name", "metadata")
        self._looks.follow(*(getattr(layer.events, name) for layer in maps for name in names))
        self._values.follow(*(layer.events.data for layer in maps))
        self._settle.start()

    def _on_turned(self) -> None:
        """In 3-D there are none: out of sight before they are drawn."""
        if self._viewer.dims.ndisplay == 3:
            for stripes in _stripes(self._viewer):
                stripes.visible = False
        self._settle.start()

    def _on_changed(self) -> None:
        self._settle.start()

    def _on_values(self, event: Any) -> None:
        refresh_hatching(self._viewer, event.source)

    def _on_settled(self) -> None:
        layers, in_grid = self._viewer.layers, self._viewer.canvas.grid.enabled
        flat = self._viewer.dims.ndisplay == 2
        maps = {str(layer.unique_id): layer for layer in layers if _is_map(layer)}
        bare = {key for key, layer in maps.items() if layer.visible}
        for stripes in _stripes(self._viewer):
            own = tag(stripes)
            source = maps.get(own["of"])
            if not own["in_grid"] and (source is None or in_grid or not flat):
                layers.remove(stripes)
            elif source is not None:
                bare.discard(own["of"])
                _follow(stripes, source, seen=source.visible and flat)
                if not own["in_grid"]:
                    self._put_above(stripes, source)
        if in_grid or not flat:
            return
        for key in bare:
            active = layers.selection.active
            layers.insert(layers.index(maps[key]) + 1, hatching(maps[key]))
            layers.selection.active = active

    def _put_above(self, stripes: Labels, source: Layer) -> None:
        layers = self._viewer.layers
        place = layers.index(source) + 1
        if layers.index(stripes) != place:
            layers.move(layers.index(stripes), place)


def hatching(layer: Layer, *, in_grid: bool = False) -> Labels:
    """The stripes of a layer, for the place above it.

    Args:
        layer: a map of reliability or errors; above another layer there are no stripes.
        in_grid: whether it is for a cell of napari's grid, where all cells have equally many layers.
    """
    own = {"role": HATCHING, "of": str(layer.unique_id), "in_grid": in_grid}
    own |= {key: value for key, value in tag(layer).items() if key in ("case", "source", "run")}
    value = HATCHED[str(tag(layer)["role"])] if _is_map(layer) else _NOTHING
    stripes = Labels(
        Stripes(layer, value),
        colormap=hatching_colormap(),
        blending="translucent_no_depth",
        **copied_geometry(layer),
        metadata={METADATA: own},
    )
    stripes.editable = False
    as_helper(stripes, layer.name)
    _follow(stripes, layer, seen=layer.visible)
    return stripes


def refresh_hatching(viewer: ViewerModel, layer: Layer) -> None:
    """Draw the stripes of a layer anew: it has other values."""
    for stripes in _stripes(viewer):
        if tag(stripes)["of"] == str(layer.unique_id):
            stripes.refresh(extent=False, thumbnail=False)


def _is_map(layer: Layer) -> bool:
    return isinstance(layer, Labels) and layer.ndim == 3 and tag(layer).get("role") in HATCHED


def _stripes(viewer: ViewerModel) -> list[Labels]:
    return [layer for layer in viewer.layers if tag(layer).get("role") == HATCHING]


def _follow(stripes: Labels, source: Layer, *, seen: bool) -> None:
    """Stripes are seen as their map is."""
    name = f"{HELPER}{'hatching of' if _is_map(source) else 'room above'} {source.name}"
    if stripes.name != name:
        stripes.name = name
    if stripes.visible != seen:
        stripes.visible = seen
    if stripes.opacity != source.opacity:
        stripes.opacity = source.opacity
