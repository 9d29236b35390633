"""The one place that makes and updates layers: every layer lies where its source lies.

A layer of ours is found again by `layer.metadata["napari_uda"]`, never by its name, which users
change: `role` (image, prediction, entropy, reliability, reference, translation), `case`, and for
results `source` (the layer they were computed from) and `run`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.experimental import link_layers
from napari.layers import Image, Labels, Layer

from napari_uda.gui.colours import (
    RELIABILITY_NAMES,
    entropy_colormap,
    reliability_colormap,
    structure_colormap,
)
from napari_uda.gui.geometry import METADATA, copied_geometry, displayed, placement, tag

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_uda.inference.predict import Prediction

RESULT_ROLES = ("prediction", "entropy", "reliability")
ENTROPY_LIMITS = (0.0, 1.0)


def show(viewer: ViewerModel, prediction: Prediction, source: Image | None = None) -> list[Layer]:
    """Show a prediction: image, structures in fixed colours, entropy map and reliability map.

    Entropy and reliability start hidden: they are for checking, not the first thing to see. Layers
    of an earlier prediction from the same image by the same run are updated in place.

    Args:
        viewer: a napari viewer, or its model without a window.
        prediction: what `napari_uda.predict` returned.
        source: the layer it was computed from; when not given, the image layer of the same case and
            grid is used, and one is added if there is none.

    Returns:
        The layers image, prediction, entropy and reliability, in this order.
    """
    return [finish() for finish in show_steps(viewer, prediction, source)]


def show_steps(
    viewer: ViewerModel,
    prediction: Prediction,
    source: Image | None = None,
    roles: Collection[str] = RESULT_ROLES,
    suffix: str = "",
) -> Iterator[Callable[[], Layer]]:
    """`show` as calls that make one layer each, so that a dock can let the viewer draw in between.

    `suffix` follows the names of new layers, for several results of one case.
    """
    image = source or _image_of(viewer, prediction) or _new_image(prediction)

    def put_image() -> Layer:
        if source is None and image not in viewer.layers:
            viewer.add_layer(image)
        return image

    yield put_image
    for layer in _result_layers(image, prediction, roles, suffix):
        yield partial(_put, viewer, layer)


def image_arguments(name: str) -> dict[str, Any]:
    """Layer arguments of a grey-value image."""
    return {"name": name, "colormap": "gray", "blending": "translucent_no_depth"}


def labels_arguments(name: str, names: Mapping[int, str]) -> dict[str, Any]:
    """Layer arguments of structures: fixed colours, and a table that shows names under the cursor."""
    return {
        "name": name,
        "colormap": structure_colormap(names),
        "features": structure_table(names),
        "opacity": 0.55,
        "blending": "translucent_no_depth",
    }


def entropy_arguments(name: str) -> dict[str, Any]:
    """Layer arguments of an entropy map: the colours always mean the same values, 0 to 1."""
    return {
        "name": name,
        "colormap": entropy_colormap(),
        "contrast_limits": ENTROPY_LIMITS,
        "blending": "translucent_no_depth",
    }


def reliability_arguments(name: str) -> dict[str, Any]:
    """Layer arguments of a reliability map."""
    return labels_arguments(name, RELIABILITY_NAMES) | {
        "colormap": reliability_colormap(),
        "opacity": 0.7,
    }


def structure_table(names: Mapping[int, str]) -> dict[str, list[Any]]:
    """The `features` table of a Labels layer: label value and structure name."""
    return {"index": [0, *names], "structure": ["background", *names.values()]}


def structure_names(layer: Labels) -> dict[int, str]:
    """Label value to structure name of a layer, read from its metadata or its table."""
    names = tag(layer).get("names")
    if names:
        return {int(value): str(name) for value, name in names.items()}
    table = layer.features
    column = next((key for key in ("structure", "name", "label") if key in table), None)
    if column is None or "index" not in table:
        return {}
    pairs = zip(table["index"], table[column], strict=True)
    return {int(value): str(name) for value, name in pairs if int(value) != 0}


def preload() -> None:
    """Import what napari needs for its first Labels layer (up to a second); for a worker thread."""
    names = {1: "structure"}
    Labels(np.zeros((1, 1, 1), np.uint8), **labels_arguments("preload", names))


def find(viewer: ViewerModel, **entries: Any) -> Layer | None:
    """The newest layer whose tag has all these entries."""
    for layer in reversed(viewer.layers):
        own = tag(layer)
        if all(own.get(key) == value for key, value in entries.items()):
            return layer
    return None


class SideBySide:
    """Three linked views: structures, entropy and reliability, each over the same image.

    napari's grid shows a layer once, so the second and third view get a copy of the image layer that
    shares its array and contrast; `leave` removes them and restores what was visible before.
    """

    def __init__(self, viewer: ViewerModel, image: Image, results: Sequence[Layer]) -> None:
        """Arrange.

        Args:
            viewer: the viewer that holds the layers.
            image: the image layer.
            results: one layer per view.
        """
        self._viewer = viewer
        self._before = [(layer, layer.visible) for layer in viewer.layers]
        self._copies = [_copy(image) for _ in results[1:]]
        link_layers([image, *self._copies], ("contrast_limits", "gamma", "colormap"))
        for copy in self._copies:
            viewer.add_layer(copy)
        views = zip([image, *self._copies], results, strict=True)
        shown = [layer for view in views for layer in view]
        _arrange(viewer, shown)
        for layer in viewer.layers:
            _set_visible(layer, layer in shown)
        viewer.canvas.grid.update({"stride": 2, "shape": (1, len(results)), "enabled": True})
        viewer.reset_view()

    def leave(self) -> None:
        """Back to one view."""
        viewer = self._viewer
        viewer.canvas.grid.update({"enabled": False, "stride": 1, "shape": (-1, -1)})
        for copy in self._copies:
            if copy in viewer.layers:
                viewer.layers.remove(copy)
        kept = [(layer, visible) for layer, visible in self._before if layer in viewer.layers]
        _arrange(viewer, [layer for layer, _ in kept])
        for layer, visible in kept:
            _set_visible(layer, visible)
        viewer.reset_view()


def _arrange(viewer: ViewerModel, first: Sequence[Layer]) -> None:
    """Put layers at the bottom of the list in this order; every move makes napari sort its scene."""
    for index, layer in enumerate(first):
        if viewer.layers[index] is not layer:
            viewer.layers.move(viewer.layers.index(layer), index)


def _set_visible(layer: Layer, visible: bool) -> None:
    if layer.visible != visible:
        layer.visible = visible


def _copy(image: Image) -> Image:
    return Image(
        image.data,
        name=image.name,
        colormap=image.colormap,
        contrast_limits=image.contrast_limits,
        gamma=image.gamma,
        blending=image.blending,
        **copied_geometry(image),
        metadata={METADATA: {**tag(image), "role": "background"}},
    )


def _image_of(viewer: ViewerModel, prediction: Prediction) -> Image | None:
    """The image layer that shows the predicted volume."""
    volume = prediction.volume
    for layer in viewer.layers:
        own = tag(layer)
        if (own.get("role"), own.get("case")) == ("image", volume.name) and "affine" in own:
            lies = placement(layer)
            same_grid = np.array_equal(lies.affine, volume.affine)
            if same_grid and lies.to_file(layer.data).shape == volume.array.shape:
                return layer
    return None


def _new_image(prediction: Prediction) -> Image:
    array, geometry = displayed(prediction.volume)
    geometry["metadata"][METADATA]["role"] = "image"
    return Image(array, **image_arguments(prediction.case), **geometry)


def _result_layers(
    image: Image, prediction: Prediction, roles: Collection[str], suffix: str
) -> Iterator[Layer]:
    arrays: dict[str, NDArray[Any]] = {
        "prediction": prediction.labels,
        "entropy": prediction.entropy,
        "reliability": prediction.reliability,
    }
    lies = placement(image)
    for role in (role for role in RESULT_ROLES if role in roles):
        data, name = lies.to_layer(arrays[role]), f"{prediction.case} {role}{suffix}"
        where = {
            **copied_geometry(image),
            "metadata": {METADATA: _result_tag(image, prediction, role)},
        }
        if role == "prediction":
            yield Labels(data, **labels_arguments(name, prediction.names), **where)
        elif role == "entropy":
            layer = Image(data, **entropy_arguments(name), **where, visible=False)
            layer.colorbar.visible = True
            yield layer
        else:
            yield Labels(data, **reliability_arguments(name), **where, visible=False)


def _result_tag(image: Image, prediction: Prediction, role: str) -> dict[str, Any]:
    """Where the file's grid is, what this is, and what it was made from."""
    own = tag(image)
    entries: dict[str, Any] = {
        key: own[key] for key in ("affine", "orientation", "shape") if key in own
    }
    entries |= {
        "role": role,
        "case": prediction.case,
        "run": prediction.run,
        "source": str(image.unique_id),
    }
    if role != "entropy":
        entries["names"] = dict(RELIABILITY_NAMES if role == "reliability" else prediction.names)
    return entries


def _put(viewer: ViewerModel, new: Layer) -> Layer:
    """Add a result, or give its values to the layer that shows an earlier one."""
    own = tag(new)
    old = find(viewer, **{key: own[key] for key in ("role", "source", "run")})
    if old is None or type(old) is not type(new) or old.data.shape != new.data.shape:
        viewer.add_layer(new)
        if own["role"] == "prediction":
            _outline_references(viewer, own["case"])
        return new
    old.data = new.data
    old.metadata = {**old.metadata, METADATA: own}
    if isinstance(new, Labels):
        old.features, old.colormap = new.features, new.colormap
    return old


def _outline_references(viewer: ViewerModel, case: str) -> None:
    """Draw references of the case as outlines, so that a prediction and its errors stay visible."""
    for layer in viewer.layers:
        own = tag(layer)
        if isinstance(layer, Labels) and (own.get("role"), own.get("case")) == ("reference", case):
            layer.contour, layer.opacity = 1, 1.0
