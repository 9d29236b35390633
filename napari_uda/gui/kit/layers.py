"""Makes, updates and arranges layers: every layer lies where its source lies.

A layer of ours is found again by `layer.metadata["napari_uda"]`, never by its name, which users
change: `role` (image, prediction, entropy, reliability, reference, translation), `case`, `file` (a `data.volume.Source`)
where it was read from one, and for results `source` (the layer they were computed from) and `run`. What a translation adds is in
`translation_layers`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import pint
from napari.layers import Image, Labels, Layer
from pint.registry import LazyRegistry

from napari_uda.core.structure_colours import full_name
from napari_uda.gui.kit.colormaps import (
    RELIABILITY_NAMES,
    entropy_colormap,
    reliability_colormap,
    structure_colormap,
)
from napari_uda.gui.kit.geometry import (
    METADATA,
    copied_geometry,
    displayed,
    is_one_volume,
    placement,
    tag,
)
from napari_uda.gui.kit.layer_order import add_layer, layer_name, uncover

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_uda.inference.predict import Prediction
    from napari_uda.inference.translate import Translation

logger = logging.getLogger(__name__)

RESULT_ROLES = ("prediction", "entropy", "reliability")
EDITED = "edited"
"""Role of a layer whose labels were changed by hand."""
PREDICTED = ("prediction", EDITED)
"""Roles of what a model says, and of that with edits."""
STRUCTURES = (*PREDICTED, "reference")
"""Roles of labels that are structures of a case."""
ENTROPY_LIMITS = (0.0, 1.0)
DISPLAY = "display"
"""Role of a copy on another grid: it is looked at, and never computed with or saved."""
NOT_IMAGES = ("entropy", "background", "preview", DISPLAY)
"""Roles of image layers that are never segmented or translated."""


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
    layers = [finish() for finish in show_steps(viewer, prediction, source)]
    uncover(viewer, layers[1])
    return layers


def show_steps(
    viewer: ViewerModel,
    prediction: Prediction,
    source: Image | None = None,
    roles: Collection[str] = RESULT_ROLES,
    variant: str = "",
) -> Iterator[Callable[[], Layer]]:
    """`show` as calls that make one layer each, so that a dock can let the viewer draw in between.

    `variant` follows the title of the model, and tells several results of one image by one model apart.
    """
    image = source or _image_of(viewer, prediction) or _new_image(prediction)

    def put_image() -> Layer:
        if source is None and image not in viewer.layers:
            add_layer(viewer, image)
        return image

    yield put_image
    for layer in _result_layers(image, prediction, roles, variant):
        yield partial(put, viewer, layer)


def image_arguments(name: str) -> dict[str, Any]:
    """Layer arguments of a grey-value image."""
    return {"name": name, "colormap": "gray", "blending": "translucent_no_depth"}


def labels_arguments(
    name: str, names: Mapping[int, str], colours: Mapping[int, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Layer arguments of structures: fixed colours, or a file's own, and a table with names for the cursor."""
    return {
        "name": name,
        "colormap": structure_colormap(names, colours=colours),
        "features": structure_table(names),
        "opacity": 0.55,
        "blending": "translucent_no_depth",
    }


def entropy_arguments(name: str) -> dict[str, Any]:
    """Layer arguments of an entropy map: the colours always mean the same values, 0 to 1."""
    return {
        "name": name,
        "colormap": entropy_colormap(0.0),
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
    """The `features` table of a Labels layer, from which napari reads to its status bar: full names by label value."""
    return {"index": [0, *names], "structure": ["background", *map(full_name, names.values())]}


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


def structure_layers(viewer: ViewerModel, case: str) -> list[Labels]:
    """Predictions and references of a case."""
    return [
        layer
        for layer in viewer.layers
        if isinstance(layer, Labels)
        and tag(layer).get("role") in STRUCTURES
        and tag(layer).get("case") == case
    ]


def own_colours(layer: Labels) -> dict[int, str]:
    """Label value to `#RRGGBB` of those structures that the file of a layer colours itself."""
    colours: dict[int, str] = tag(layer).get("colours", {})
    return colours


def preload() -> None:
    """Import and compute what the first Labels layer waits for (up to a second); for a worker thread."""
    _make_units()
    try:
        names = {1: "structure"}
        Labels(np.zeros((1, 1, 1), np.uint8), **labels_arguments("preload", names))
    except Exception:
        # the main thread is making its first layer at this very moment, and what that needs with it
        logger.debug("nothing is imported early", exc_info=True)
    with suppress(ImportError):  # another vispy may keep them elsewhere
        from vispy.visuals.line.dash_atlas import DashAtlas

        DashAtlas()  # dashes that napari's outline of a polygon could have; vispy remembers them


def _make_units() -> None:
    """Make napari's units aside: two threads in the lazy start of pint's own break each other's layers."""
    known = pint.get_application_registry()  # type: ignore[no-untyped-call]
    if isinstance(known.get(), LazyRegistry):
        whole: pint.UnitRegistry[Any] = pint.UnitRegistry()
        if isinstance(known.get(), LazyRegistry):
            known.set(whole)


def is_volume(
    layer: Layer,
    not_images: Collection[str] = NOT_IMAGES,
    parts: Collection[str] = ("translated",),
) -> TypeGuard[Image]:
    """Whether a layer is a grey 3-D image of none of these roles; of a translation, one of these parts."""
    own = tag(layer)
    return (
        isinstance(layer, Image)
        and is_one_volume(layer)
        and own.get("role") not in not_images
        and own.get("part", "translated") in parts
    )


def find(viewer: ViewerModel, **entries: Any) -> Layer | None:
    """The newest layer whose tag has all these entries."""
    for layer in reversed(viewer.layers):
        own = tag(layer)
        if all(own.get(key) == value for key, value in entries.items()):
            return layer
    return None


def image_under(viewer: ViewerModel, labels: Labels, case: object) -> Image | None:
    """The newest image of a case with the shape of labels."""
    for layer in reversed(viewer.layers):
        own = tag(layer)
        is_it = (own.get("role"), own.get("case")) == ("image", case)
        if is_it and isinstance(layer, Image) and layer.data.shape == labels.data.shape:
            return layer
    return None


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
    image: Image, prediction: Prediction, roles: Collection[str], variant: str
) -> Iterator[Layer]:
    arrays: dict[str, NDArray[Any] | None] = {
        "prediction": prediction.labels,
        "entropy": prediction.entropy,
        "reliability": prediction.reliability,
    }
    lies = placement(image)
    for role in (role for role in RESULT_ROLES if role in roles):
        array = arrays[role]
        if array is None:
            continue
        run = prediction.model.title + variant
        data, name = lies.to_layer(array), layer_name(prediction.case, role, run)
        own = result_tag(image, prediction, role) | {
            "run": run,
            "fit": prediction.fit,
        }
        if prediction.corrected:
            own["corrected"] = prediction.corrected
        if prediction.target_supervision != "none":
            own["target_supervision"] = prediction.target_supervision
        if role != "entropy":
            own["names"] = dict(RELIABILITY_NAMES if role == "reliability" else prediction.names)
        where = {**copied_geometry(image), "metadata": {METADATA: own}}
        if role == "prediction":
            yield Labels(data, **labels_arguments(name, prediction.names), **where)
        elif role == "entropy":
            layer = Image(data, **entropy_arguments(name), **where, visible=False)
            yield with_colorbar(layer)
        else:
            yield Labels(data, **reliability_arguments(name), **where, visible=False)


def with_colorbar(layer: Image) -> Image:
    """A map that gets its colour bar when it is first seen: that is slow to make."""
    layer.events.visible.connect(_add_colorbar)
    return layer


def _add_colorbar(event: Any) -> None:
    layer = event.source
    layer.events.visible.disconnect(_add_colorbar)
    layer.colorbar.visible = True


def result_tag(image: Image, result: Prediction | Translation, role: str) -> dict[str, Any]:
    """Where the file's grid is, what this is, and what it was made from."""
    own = tag(image)
    kept = ("affine", "orientation", "shape", "forms", "frame", "folder")
    entries = {key: own[key] for key in kept if key in own}
    entries |= {"model": asdict(result.model)} if result.model is not None else {}
    return entries | {
        "role": role,
        "case": result.case,
        "run": result.run,
        "source": str(image.unique_id),
    }


def put(viewer: ViewerModel, new: Layer, keys: Sequence[str] = ("role", "source", "run")) -> Layer:
    """Add a result, or give its values to the layer that shows an earlier one.

    Args:
        viewer: the viewer.
        new: the result as a layer of its own.
        keys: the entries of its tag that the layer of an earlier one shares.

    Returns:
        The layer that the viewer holds.
    """
    own = tag(new)
    old = find(viewer, **{key: own[key] for key in keys})
    if old is None or type(old) is not type(new) or old.data.shape != new.data.shape:
        add_layer(viewer, new)
        if own["role"] == "prediction":
            outline_references(viewer, own["case"])
        return new
    old.data = new.data
    old.metadata = {**old.metadata, METADATA: own}
    if isinstance(new, Labels):
        old.features, old.colormap = new.features, new.colormap
    return old


def outline_references(viewer: ViewerModel, case: str) -> None:
    """Draw references of the case as outlines, so that a prediction and its errors stay visible."""
    for layer in viewer.layers:
        own = tag(layer)
        if isinstance(layer, Labels) and (own.get("role"), own.get("case")) == ("reference", case):
            layer.contour, layer.opacity = 1, 1.0
