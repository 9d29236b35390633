"""The layer of rulers and regions: drawn on in the View dock, kept in a session."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Shapes

from napari_uda.data.session import MeasurementState
from napari_uda.gui.kit.geometry import METADATA, copied_geometry
from napari_uda.gui.kit.layers import find

ROLE = "measurements"
_NAME = "helper: measurements"
_COLOUR = "#E178E1"  # seen on black, grey and white, and no colour of a structure or an error


def measurements_layer(viewer: ViewerModel, image: Image | None = None) -> Shapes | None:
    """The layer that is drawn on; with an image it is made when there is none."""
    found = find(viewer, role=ROLE)
    if isinstance(found, Shapes) or image is None:
        return found if isinstance(found, Shapes) else None
    words = {"string": "{measure}", "size": 14, "color": _COLOUR, "anchor": "upper_left"}
    made = Shapes(
        ndim=3,
        name=_NAME,
        edge_color=_COLOUR,
        face_color="transparent",
        edge_width=0.4,
        opacity=1.0,
        features={"measure": np.zeros(0, dtype=object)},
        text={**words, "visible": False},  # napari's letters cannot be read on bright tissue
        metadata={METADATA: {"role": ROLE, "helper": True}},
        **copied_geometry(image),
    )
    viewer.add_layer(made)
    return made


def measurement_states(viewer: ViewerModel) -> tuple[MeasurementState, ...]:
    """What is drawn, apart from the viewer."""
    layer = measurements_layer(viewer)
    if layer is None:
        return ()
    return tuple(
        MeasurementState(kind=str(kind), corners_mm=[_world(layer, one) for one in corners])
        for corners, kind in zip(layer.data, layer.shape_type, strict=True)
    )


def draw_measurements(
    viewer: ViewerModel, image: Image, wanted: Sequence[MeasurementState]
) -> None:
    """Draw those that are not there, over all layers; a new layer lies as the image does."""
    if not wanted:
        return
    active, there = (
        viewer.layers.selection.active,
        [_rounded(one) for one in measurement_states(viewer)],
    )
    new = [one for one in wanted if _rounded(one) not in there]
    layer = measurements_layer(viewer, image)
    assert layer is not None
    if new:
        corners = [[layer.world_to_data(at) for at in one.corners_mm] for one in new]
        layer.add([np.array(one, float) for one in corners], shape_type=[one.kind for one in new])
    viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
    viewer.layers.selection.active = active  # a new layer takes the selection


def _rounded(one: MeasurementState) -> tuple[str, list[list[float]]]:
    return one.kind, np.round(one.corners_mm, 3).tolist()


def _world(layer: Shapes, corner: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = (float(part) for part in layer.data_to_world(corner)[-3:])
    return first, second, third
