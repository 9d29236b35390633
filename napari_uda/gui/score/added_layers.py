"""Layers that Score adds: where a prediction is wrong, and its labels as they were before they were edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_uda.core.structure_colours import (
    FALSE_NEGATIVE_COLOUR,
    FALSE_POSITIVE_COLOUR,
    OTHER_STRUCTURE_COLOUR,
)
from napari_uda.data.volume import Volume
from napari_uda.evaluation.disagreement import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    KINDS,
    OTHER_STRUCTURE,
    error_map,
)
from napari_uda.gui.kit.geometry import METADATA, copied_geometry, displayed, placement, tag
from napari_uda.gui.kit.layer_order import add_layer, case_of, layer_name
from napari_uda.gui.kit.layers import EDITED, labels_arguments, structure_names

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_uda.data.edit_journal import About
    from napari_uda.evaluation.overlap import Box
    from napari_uda.gui.score.scoring import LayerScores

COLOURS: dict[int | None, str] = {
    FALSE_POSITIVE: FALSE_POSITIVE_COLOUR,
    FALSE_NEGATIVE: FALSE_NEGATIVE_COLOUR,
    OTHER_STRUCTURE: OTHER_STRUCTURE_COLOUR,
}
"""Apart for every colour blindness, and no structure's colour."""
ROLE = "error"
_SUFFIX = " (edited)"


def errors_of(scores: LayerScores, label: int) -> NDArray[np.uint8]:
    """Error map on the layer's grid; for a worker thread.

    Args:
        scores: of the prediction.
        label: the structure; 0 takes all.
    """
    evaluation = scores.evaluation
    errors = error_map(evaluation.prediction, evaluation.reference, label)
    return scores.placement.to_layer(errors)


def show_errors(viewer: ViewerModel, prediction: Labels, errors: NDArray[np.uint8]) -> Labels:
    """Add the error layer, or give it other values.

    Args:
        viewer: the viewer.
        prediction: where the layer lies.
        errors: on the prediction's grid.
    """
    old = error_layer(viewer)
    if old is not None and old.data.shape == errors.shape:
        old.data = errors
        old.metadata = _metadata(prediction)
        return old
    if old is not None:
        viewer.layers.remove(old)
    active = viewer.layers.selection.active
    layer = Labels(
        errors,
        **{
            **labels_arguments(layer_name(case_of(viewer.layers, prediction), "errors"), KINDS),
            "opacity": 0.8,
        },
        **copied_geometry(prediction),
        metadata=_metadata(prediction),
    )
    layer.colormap = DirectLabelColormap(
        color_dict={None: "transparent", 0: "transparent", **COLOURS}
    )
    add_layer(viewer, layer)
    if active is not None and active in viewer.layers:
        viewer.layers.selection.active = active  # the brush stays in the hand
    return layer


def update_errors(layer: Labels, scores: LayerScores, label: int, box: Box) -> None:
    """Bring a box up to date after an edit.

    Args:
        layer: the error layer.
        scores: of the edited prediction.
        label: the structure the layer shows; 0 all.
        box: of the changed voxels, on the file's grid.
    """
    evaluation = scores.evaluation
    on_file = scores.placement.to_file(layer.data)  # a view
    on_file[box] = error_map(evaluation.prediction[box], evaluation.reference[box], label)
    layer.refresh()


def hide_errors(viewer: ViewerModel) -> None:
    """Remove the error layer."""
    layer = error_layer(viewer)
    if layer is not None:
        viewer.layers.remove(layer)


def error_layer(viewer: ViewerModel) -> Labels | None:
    """The error layer of the viewer."""
    found = (layer for layer in viewer.layers if tag(layer).get("role") == ROLE)
    return next((layer for layer in found if isinstance(layer, Labels)), None)


def _metadata(prediction: Labels) -> dict[str, object]:
    own = {key: value for key, value in tag(prediction).items() if key != "names"}
    return {METADATA: {**own, "role": ROLE, "names": dict(KINDS)}}


def keep_original(viewer: ViewerModel, layer: Labels, before: NDArray[np.uint8]) -> Labels | None:
    """Give the labels as they were a layer of their own, hidden, and mark the painted one as edited.

    Args:
        viewer: the viewer.
        layer: the painted layer; it keeps its history, so that its user can go on.
        before: `(Z, Y, X)` on the grid of its file.

    Returns:
        The new layer, which has the old one's name and role; None when the layer was marked before.
    """
    if tag(layer).get("role") == EDITED:
        return None
    name = layer.name
    original = Labels(
        placement(layer).to_layer(before),
        **{**labels_arguments(name, structure_names(layer)), "features": layer.features},
        **copied_geometry(layer),
        metadata=layer.metadata,
        visible=False,
    )
    original.colormap = layer.colormap
    layer.metadata = {**layer.metadata, METADATA: {**tag(layer), "role": EDITED}}
    layer.name = name + _SUFFIX
    add_layer(viewer, original)
    original.name = name
    viewer.layers.selection.active = layer
    return original


def restored_layers(before: Volume, edited: Volume, about: About) -> tuple[Labels, Labels]:
    """The layers of edits that were kept on disk.

    Args:
        before: labels as they were.
        edited: labels with the edits.
        about: what they are.

    Returns:
        The original, hidden, and the edited layer.
    """
    name = about.name.removesuffix(_SUFFIX)
    layers = []
    for volume, role, title in (
        (before, "prediction", name),
        (edited, EDITED, name + _SUFFIX),
    ):
        array, geometry = displayed(volume)
        own = {"role": role, "case": about.case, "run": about.run, "names": about.names}
        geometry["metadata"][METADATA].update(own)
        layers.append(Labels(array, **labels_arguments(title, about.names), **geometry))
    original, changed = layers
    original.visible = False
    return original, changed
