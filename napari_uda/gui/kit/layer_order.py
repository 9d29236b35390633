"""Where layers stand in napari's list: those of a case together, helper layers named as such and gone with their image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.layers import Layer

from napari_uda.data.provenance import ModelOrigin
from napari_uda.gui.kit.geometry import METADATA, tag
from napari_uda.gui.kit.namesakes import tell_apart
from napari_uda.inference.fit import Fit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.components import ViewerModel

RESULT = ("prediction", "edited", "entropy", "reliability", "contours")
"""Roles of one result from the back to the front; they stand together."""
ORDER = ("image", "translation", "reference", *RESULT, "error")
"""Roles of the layers of a case from the back to the front."""
_stood_in_for: WeakSet[Layer] = WeakSet()
HELPER = "helper: "
"""How the name of a helper begins."""


def layer_name(case: str, *parts: str) -> str:
    """The name of a layer, the case first: `mr_001 · prediction · ct2mr`."""
    return " · ".join(part for part in (case, *parts) if part)


def case_of(layers: Iterable[Layer], layer: Layer) -> str:
    """The case that a layer is of: its own, else its name; of a result, that of the layer it was made from."""
    own = tag(layer)
    if own.get("source"):
        for image in layers:
            if str(image.unique_id) == own["source"]:
                return str(tag(image).get("case") or image.name)
    return str(own.get("case") or layer.name)


def add_layer(viewer: ViewerModel, layer: Layer) -> Layer:
    """Add a layer among those of its case, in the order of roles; on top of all if it is the first of its case.

    The maps of one result stay together, a newer result comes above the older ones.
    """
    layers = viewer.layers
    tell_apart(layers, layer)
    case, run = case_of(layers, layer), tag(layer).get("run")
    own = [one for one in layers if not is_helper(one) and case_of(layers, one) == case]
    alone = not run or tag(layer).get("role") == ORDER[-1]  # errors are seen above all results
    siblings = [] if alone else [one for one in own if tag(one).get("run") == run]
    place = place_of(layer, alone=not siblings)
    below = [one for one in siblings or own if place_of(one) <= place]
    if below:
        index = layers.index(below[-1]) + 1
    else:
        index = layers.index((siblings or own)[0]) if own else len(layers)
    layers.insert(index, layer)
    return layer


def uncover(viewer: ViewerModel, layer: Layer) -> None:
    """Hide layers of other cases that are drawn over this one: what was asked for is seen."""
    if layer not in viewer.layers:
        return
    case = case_of(viewer.layers, layer)
    for other in list(viewer.layers)[viewer.layers.index(layer) + 1 :]:
        if other.visible and "case" in tag(other) and case_of(viewer.layers, other) != case:
            other.visible = False


def set_visible(layer: Layer, visible: bool) -> None:
    """Show or hide a layer; nothing is drawn anew where it is so already."""
    if layer.visible != visible:
        layer.visible = visible


def stand_in(layer: Layer) -> None:
    """Hide a layer because something else stands in for it in 3-D, until `bring_back`."""
    _stood_in_for.add(layer)
    layer.visible = False


def bring_back(layer: Layer) -> None:
    """Show a layer again that something stood in for."""
    _stood_in_for.discard(layer)
    layer.visible = True


def is_meant_to_be_seen(layer: Layer) -> bool:
    """Whether a layer is seen, itself or by what stands in for it."""
    return bool(layer.visible) or layer in _stood_in_for


def about_layer(layer: Layer) -> str:
    """The second line of a layer in lists: the model that made it, and whether it fits; "" without one."""
    model, fit = model_of(layer), tag(layer).get("fit")
    lines = [] if model is None else [about_model(layer, model)]
    if isinstance(fit, Fit) and fit.verdict != "not judged":
        lines.append(str(fit))
    return "\n".join(lines)


def about_model(layer: Layer, model: ModelOrigin) -> str:
    """The model in one line, and whether the result is the one before adaptation."""
    title = str(tag(layer).get("run") or model.title)
    return str(replace(model, name=title, adapted_by="", no_change_by=""))


def model_of(layer: Layer) -> ModelOrigin | None:
    """The model that made a result; None where it is not known."""
    own = tag(layer)
    if own.get("model"):
        return ModelOrigin.read(own["model"])
    return ModelOrigin(str(own["run"])) if own.get("run") else None


def mark_of(layer: Layer) -> str:
    """What follows the name of a result that is to be looked at with care; "" for others."""
    fit = tag(layer).get("fit")
    return mark_of_fit(fit) if isinstance(fit, Fit) else ""


def mark_of_fit(fit: Fit) -> str:
    """` (doubtful)` or ` (does not fit)`; "" for a model that fits or was not judged."""
    return f" ({fit.verdict})" if fit.verdict in ("doubtful", "does not fit") else ""


def is_helper(layer: Layer) -> bool:
    """Whether a layer only helps to show another one; nobody chooses it."""
    return bool(tag(layer).get("helper"))


def as_helper(layer: Layer, what: str) -> Layer:
    """Name a layer as a helper, mark it, and lock it: napari's own button does not delete it."""
    layer.metadata = {**layer.metadata, METADATA: {**tag(layer), "helper": True}}
    layer.name = HELPER + what
    layer.locked = True
    return layer


def remove_with(viewer: ViewerModel, helper: Layer, image: Layer) -> None:
    """From now on, a helper goes when the layer goes that it belongs to."""
    removed = viewer.layers.events.removed

    def on_removed(event: Any) -> None:
        if event.value is image or event.value is helper:
            removed.disconnect(on_removed)
            if helper in viewer.layers:
                viewer.layers.remove(helper)

    removed.connect(on_removed)


def place_of(layer: Layer, *, alone: bool = False) -> int:
    """Where the role of a layer comes in the order; that of the first layer of a result, above the others."""
    role = tag(layer).get("role") or "image"
    if alone and role in RESULT:
        role = RESULT[-1]
    return ORDER.index(role) if role in ORDER else len(ORDER)
