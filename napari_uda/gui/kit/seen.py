"""Which image is seen at a place, and in one sentence why there is none. Knows no widget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Surface

from napari_uda.data.window import Window
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layers import is_volume

PARTS = ("translated", "cycle")
"""Of a translation, what is looked at as an image."""
_MAPS = ("entropy",)
_COPIES = ("background",)  # of an image, for another cell of napari's grid


@dataclass(frozen=True, eq=False)
class Seen:
    """The image on top at a place.

    Attributes:
        image: a grey 3-D volume; None without one.
        inside: whether the place lies in it; else it is the uppermost of the images that are visible.
        why: the sentence that says what is the matter; "" where all is well.
        preview: slices of a run in training, which are seen instead of an image.
    """

    image: Image | None
    inside: bool = False
    why: str = ""
    preview: Layer | None = None


def is_looked_at(layer: Layer) -> bool:
    """Whether a layer is an image whose window, sides and slices are shown."""
    return is_volume(layer, (*_MAPS, *_COPIES), PARTS)


def seen_at(
    viewer: ViewerModel, position: Sequence[float], cell: tuple[int, int] | None = None
) -> Seen:
    """The uppermost visible image at a place.

    Args:
        viewer: whose layers.
        position: in the viewer's world.
        cell: row and column in napari's grid, to look there alone; None looks at all layers.
    """
    layers = list(viewer.layers)
    if cell is not None:
        layers = [layers[index] for index in viewer.canvas.grid.contents_at(cell, layers)]
    preview = next((one for one in reversed(layers) if one.visible and _is_preview(one)), None)
    if preview is not None:
        return Seen(None, why=preview_words(preview, position), preview=preview)
    left_out = _MAPS if cell is not None else (*_MAPS, *_COPIES)
    images = [
        layer
        for layer in reversed(layers)
        if isinstance(layer, Image)
        and tag(layer).get("role") not in left_out
        and tag(layer).get("part", PARTS[0]) in PARTS  # a difference lies over what it is of
    ]
    if not images:
        return Seen(None, why=_none_open(cell is not None))
    shown = [layer for layer in images if layer.visible and layer.opacity > 0]
    if not shown:
        return Seen(None, why=_hidden(images))
    here = next((layer for layer in shown if contains(layer, position)), None)
    if here is not None:
        if is_volume(here, left_out, PARTS):
            return Seen(here, inside=True)
        return Seen(None, why=_no_volume(here))
    volume = next((layer for layer in shown if is_volume(layer, left_out, PARTS)), None)
    if volume is None:
        return Seen(None, why=_no_volume(shown[0]))
    return Seen(volume, why=f"outside of {title_of(volume)}")


def preview_words(layer: Layer, position: Sequence[float]) -> str:
    """The sentence that says of which volume a preview shows a slice at a place."""
    places = tag(layer).get("places", ())
    index = round(float(layer.world_to_data(position[-layer.ndim :])[0]))
    which = f": {places[index]}" if 0 <= index < len(places) else ""
    return f"This is a live preview{which}."


def _is_preview(layer: Layer) -> bool:
    return tag(layer).get("role") == "preview"


def shows_surfaces(viewer: ViewerModel) -> bool:
    """Whether surfaces are what the canvas shows."""
    shown = (one.visible for one in viewer.layers if isinstance(one, Surface))
    return viewer.dims.ndisplay == 3 and any(shown)


def shown_window(layer: Image) -> Window:
    """The window an image is shown with."""
    low, high = (float(limit) for limit in layer.contrast_limits)
    return Window.between(low, high)


def contains(layer: Image, position: Sequence[float]) -> bool:
    """Whether a place lies in one of the layer's pixels."""
    if len(position) < layer.ndim:
        return False
    index = np.asarray(layer.world_to_data(position[-layer.ndim :]), float)
    first, last = np.asarray(layer.extent.data, float)
    return bool(((index >= first - 0.5) & (index <= last + 0.5)).all())


def title_of(layer: Layer) -> str:
    """Whose image it is: the case, or the name of a layer that was made from one."""
    own = tag(layer)
    is_original = own.get("role", "image") in ("image", *_COPIES)
    return str((own.get("case") if is_original else "") or layer.name)


def _none_open(in_a_cell: bool) -> str:
    if in_a_cell:
        return "This cell of the grid shows no image."
    return "No image is open; File > Open shows one."


def _hidden(images: Sequence[Layer]) -> str:
    if len(images) == 1:
        return f"{title_of(images[0])} is hidden; its eye in the layer list shows it."
    return f"All {len(images)} images are hidden; an eye in the layer list shows one."


def _no_volume(layer: Image) -> str:
    """Why a layer is not read and not cut."""
    if layer.rgb:
        kind = "a colour image"
    elif layer.multiscale:
        kind = "an image of several resolutions"
    else:
        kind = f"an image with {layer.ndim} axes"
    return f"'{layer.name}' is {kind}; grey 3-D volumes alone are read and cut here."
