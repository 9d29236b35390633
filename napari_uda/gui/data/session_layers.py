"""A layer of a session: what is kept of it, and the layer that comes of that."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import AVAILABLE_COLORMAPS, DirectLabelColormap

from napari_uda.core.colours import hexadecimal
from napari_uda.core.errors import InputError
from napari_uda.data.session import LayerState
from napari_uda.data.volume import Source, Volume, read_volume
from napari_uda.gui.kit.files import LayerData, layer_data, read_layers
from napari_uda.gui.kit.geometry import METADATA, layer_volume, tag
from napari_uda.gui.kit.layers import EDITED, structure_names
from napari_uda.inference.fit import Fit

_TOLD = ("run", "corrected", "target_supervision")
"""Entries of the tag of a result that are kept as they are."""
_NOT_KEPT = ("background", "preview", "surface")
"""Roles of layers that belong to a way of looking; they are made anew."""


@dataclass(frozen=True)
class OnScreen:
    """A layer as it stands, apart from the viewer.

    Attributes:
        state: how it looks; path and checksum are still those of nothing.
        data: its voxels, which are not copied.
        volume: the same on the grid of its file; None where it cannot be written as a volume.
        source: the file that it was read from; None for one from memory.
    """

    state: LayerState
    data: Any
    volume: Volume | None
    source: Source | None

    @property
    def in_memory(self) -> bool:
        """Whether its voxels are in no file; for a worker thread, which may read the file of labels."""
        if self.source is None:
            return True
        if self.state.kind == "image":
            return False
        if self.state.role == EDITED:
            return True
        try:
            stored, _, _ = read_layers(self.source.path, "reference", {}, self.state.placement)
        except InputError:  # contours, which are no voxels
            return True
        return not np.array_equal(stored, self.data)


def is_helper(layer: Layer) -> bool:
    """Whether a layer belongs to a way of looking, and is left out."""
    own = tag(layer)
    return bool(own.get("helper")) or own.get("role") in _NOT_KEPT


def on_screen(layer: Layer, seen: bool) -> OnScreen:
    """A layer as it stands; `seen` says whether it is meant to be visible."""
    own = tag(layer)
    model: Any = own.get("model")
    known = dict(model) if isinstance(model, dict) else {}
    fit = own.get("fit")
    common: dict[str, Any] = {
        "path": "-",
        "sha256": "0" * 64,
        "bytes": 0,
        "kind": "labels" if isinstance(layer, Labels) else "image",
        "role": str(own.get("role") or ""),
        "case": str(own.get("case") or ""),
        "model": {str(key): None if one is None else str(one) for key, one in known.items()},
        **{key: str(own.get(key) or "") for key in _TOLD},
        "fit": asdict(fit) if isinstance(fit, Fit) else None,
        "name": str(layer.name),
        "visible": seen,
        "opacity": float(layer.opacity),
    }
    if isinstance(layer, Image) and not layer.rgb and not layer.multiscale:
        low, high = (float(limit) for limit in layer.contrast_limits)
        common |= {"contrast_limits": (low, high), "gamma": float(layer.gamma)}
        common["colormap"] = str(layer.colormap.name)
    if isinstance(layer, Labels):
        common |= {"contour": int(layer.contour), **_colours(layer)}
    try:
        volume = layer_volume(layer) if isinstance(layer, Image | Labels) else None
    except InputError:  # a picture, a film, a pyramid
        volume = None
    source = None if volume is None else volume.source
    return OnScreen(LayerState(**common), layer.data, volume, source)


def _colours(layer: Labels) -> dict[str, Any]:
    """Names, colours and what is hidden of a layer of structures."""
    names, colormap = structure_names(layer), layer.colormap
    found: dict[str, Any] = {"names": names}
    if isinstance(colormap, DirectLabelColormap):
        table = {
            int(value): colour
            for value, colour in colormap.color_dict.items()
            if value is not None and value != colormap.background_value
        }
        found["hidden"] = tuple(value for value, colour in table.items() if not colour[3] > 0)
        seen = table.keys() - set(found["hidden"])
        found["colours"] = {
            value: hexadecimal(table[value]).removesuffix("FF") for value in sorted(seen)
        }
    return found


def read_content(state: LayerState, path: Path) -> LayerData:
    """The file of a layer as layer data; for a worker thread."""
    if state.kind == "labels":
        role = "reliability" if state.role == "reliability" else "prediction"
        data = read_layers(path, role, state.names or None, state.placement)
    else:
        volume = read_volume(path, series=state.series, placement=state.placement)
        data = layer_data(volume, "entropy" if state.role == "entropy" else "image", {})
    own = data[1]["metadata"][METADATA]
    own |= {"role": state.role or own["role"], "case": state.case or own["case"]}
    if state.model:
        own |= {"model": dict(state.model), "run": state.run or state.model.get("name") or ""}
    own |= {key: told for key in _TOLD[1:] if (told := getattr(state, key))}
    if state.fit is not None:
        own["fit"] = Fit(**state.fit.model_dump())
    if state.kind == "image" and state.contrast_limits is not None:
        data[1]["contrast_limits"] = state.contrast_limits
    if state.name:
        data[1]["name"] = state.name
    return data


def is_shown_by(layer: Layer, state: LayerState, path: Path, content: LayerData) -> bool:
    """Whether a layer is of this file, where it says that it lies, and has its voxels."""
    own = tag(layer)
    if isinstance(layer, Labels) != (state.kind == "labels") or own.get("role") != state.role:
        return False
    try:
        source = layer_volume(layer).source
        same = source is not None and source.series == state.series and source.path.samefile(path)
    except (InputError, OSError):
        return False
    return same and np.array_equal(content[0], layer.data)


def set_look(layer: Layer, state: LayerState) -> None:
    """Name, colours, contrast and opacity as they were kept."""
    layer.opacity = state.opacity
    layer.name = state.name or layer.name
    if isinstance(layer, Image):
        if state.contrast_limits is not None:
            layer.contrast_limits = state.contrast_limits
        layer.gamma = state.gamma
        if state.role != "entropy" and state.colormap in AVAILABLE_COLORMAPS:
            layer.colormap = state.colormap
    if isinstance(layer, Labels):
        layer.contour = state.contour
        if state.colours or state.hidden:
            clear: dict[int | None, str] = dict.fromkeys((None, 0, *state.hidden), "transparent")
            table = {**dict[int | None, str](state.colours.items()), **clear}
            layer.colormap = DirectLabelColormap(color_dict=table)
