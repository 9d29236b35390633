"""Layers around an edit: the labels as they were stay beside the edited ones, and come back after a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_uda.data.volume import Volume
from napari_uda.gui.kit.geometry import METADATA, copied_geometry, displayed, placement, tag
from napari_uda.gui.kit.layers import EDITED, labels_arguments, structure_names

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_uda.gui.score.edit_journal import About

_SUFFIX = " (edited)"


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
        **labels_arguments(name, structure_names(layer)),
        **copied_geometry(layer),
        metadata=layer.metadata,
        visible=False,
    )
    original.colormap = layer.colormap
    layer.metadata = {**layer.metadata, METADATA: {**tag(layer), "role": EDITED}}
    layer.name = name + _SUFFIX
    viewer.add_layer(original)
    original.name = name
    viewer.layers.selection.active = layer
    return original


def restored(before: Volume, edited: Volume, about: About) -> tuple[Labels, Labels]:
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
