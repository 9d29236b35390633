"""The layers of one result: which belong together, and how structures, entropy and its contours are drawn.

Layers are matched by their tags and shapes, so that results read from files are found as well as those
a dock has just made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_uda.gui.kit.colormaps import contour_colormap, entropy_colormap, structure_colormap
from napari_uda.gui.kit.geometry import METADATA, copied_geometry, tag
from napari_uda.gui.kit.layer_order import layer_name
from napari_uda.gui.kit.layers import (
    EDITED,
    PREDICTED,
    RESULT_ROLES,
    own_colours,
    put,
    show_steps,
    structure_names,
    structure_table,
)
from napari_uda.uncertainty.entropy_counts import levels

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_uda.gui.segment.segmenting import Result


def result_steps(
    viewer: ViewerModel, image: Image, result: Result
) -> Iterator[Callable[[], Layer]]:
    """The layers of a result as calls that make one each, the image first; see `show_steps`.

    Of an adaptation there are those before and those after; of one that was given up the model's own, as without it.
    """
    adaptation = result.adaptation
    left_out = "reliability" if result.unreliable is None else ""
    roles = [role for role in RESULT_ROLES if role != left_out]
    if adaptation is None or adaptation.reverted:
        shown = result.prediction if adaptation is None else adaptation.before
        yield from show_steps(viewer, shown, image, roles)
        return
    # each of the two updates its own layers when the same is done again
    yield from show_steps(viewer, adaptation.before, image, roles, " before adaptation")
    steps = show_steps(viewer, adaptation.after, image, roles)
    yield from islice(steps, 1, None)  # the image is there already


def is_prediction(layer: Layer) -> bool:
    """Whether a layer is a result of this package with structures in it, edited or not."""
    role = tag(layer).get("role")
    return isinstance(layer, Labels) and layer.ndim == 3 and role in PREDICTED


def prediction_rank(layer: Layer) -> int:
    """An edited result goes before the original that is kept beside it."""
    return int(tag(layer).get("role") == EDITED)


def entropy_of(viewer: ViewerModel, prediction: Labels) -> Image | None:
    """The entropy map of the same case by the same run; results read from files name no run."""
    return _map_of(viewer, prediction, "entropy", Image)


def reliability_of(viewer: ViewerModel, prediction: Labels) -> Labels | None:
    """The map of reliability of the same case by the same run."""
    return _map_of(viewer, prediction, "reliability", Labels)


def _map_of(viewer: ViewerModel, prediction: Labels, role: str, kind: type[Layer]) -> Any:
    run = tag(prediction).get("run")
    found = _companions(viewer, prediction, role, kind)
    return next((layer for layer in found if tag(layer).get("run") == run), None)


def image_of(viewer: ViewerModel, prediction: Labels) -> Image | None:
    """The image of the same case on the same grid."""
    return next(_companions(viewer, prediction, "image", Image), None)


def hidden_structures(layer: Labels) -> frozenset[int]:
    """Structures with names whose colour in the layer is not to be seen, unless that is all of them."""
    names = structure_names(layer)
    hidden = frozenset(value for value in names if not layer.colormap.map(value)[3] > 0)
    return hidden if len(hidden) < len(names) else frozenset()


def reference_of(viewer: ViewerModel, prediction: Labels) -> Labels | None:
    """The reference of the same case on the same grid."""
    return next(_companions(viewer, prediction, "reference", Labels), None)


def _companions(
    viewer: ViewerModel, prediction: Labels, role: str, kind: type[Layer]
) -> Iterator[Any]:
    """Layers of a role with the case and the shape of a prediction, the newest first."""
    case, shape = tag(prediction).get("case"), prediction.data.shape
    for layer in reversed(list(viewer.layers)):
        own = tag(layer)
        if not isinstance(layer, kind) or layer.data.shape != shape:
            continue
        if (own.get("role"), own.get("case")) == (role, case):
            yield layer


def show_structures(
    layer: Labels, hidden: Collection[int], outlined: bool | None, opacity: float | None
) -> None:
    """Draw structures in the fixed colours; a change costs time, so that what is so already is left.

    Args:
        layer: of a prediction or a reference.
        hidden: label values that are not drawn.
        outlined: borders only, or whole areas; None leaves it.
        opacity: in [0, 1]; None leaves it.
    """
    colormap = structure_colormap(structure_names(layer), sorted(hidden), own_colours(layer))
    if layer.colormap is not colormap:
        layer.colormap = colormap
    if outlined is not None and layer.contour != int(outlined):
        layer.contour = int(outlined)
    if opacity is not None and layer.opacity != opacity:
        layer.opacity = opacity


def show_entropy(layer: Image, visible: bool, least: float = 0.0) -> None:
    """Show or hide an entropy map; nothing is drawn where entropy is below `least`."""
    colormap = entropy_colormap(least)
    if layer.colormap is not colormap:
        layer.colormap = colormap
    if layer.visible != visible:
        layer.visible = visible


def put_contours(
    viewer: ViewerModel, prediction: Labels, reached: NDArray[np.uint8], step: int
) -> Labels:
    """Add or update the iso-contours of a prediction's entropy.

    Args:
        viewer: the viewer.
        prediction: whose entropy it is.
        reached: what `contour_levels` gave for `step`, on the layer's grid.
        step: the lowest level, in hundredths.
    """
    own = tag(prediction)
    names = {index: f"entropy {level:.2f}" for index, level in enumerate(levels(step), start=1)}
    entries = {"role": "contours", "of": str(prediction.unique_id)}
    entries |= {key: own[key] for key in ("case", "source", "run") if key in own}
    new = Labels(
        reached,
        name=layer_name(str(own.get("case") or prediction.name), "entropy contours"),
        # the upper half of the map's colours: the lower one cannot be seen over a dark image
        colormap=contour_colormap([0.45 + 0.5 * level for level in levels(step)]),
        features=structure_table(names),
        blending="translucent_no_depth",
        opacity=1.0,
        **copied_geometry(prediction),
        metadata={METADATA: {**entries, "names": names}},
    )
    new.contour = 1
    new.editable = False
    layer: Labels = put(viewer, new, ("role", "of"))
    if not layer.visible:
        layer.visible = True
    return layer


def hide_contours(viewer: ViewerModel, but: Labels | None = None) -> None:
    """Hide all iso-contours but those of a prediction; they are kept for the next time."""
    kept = None if but is None else str(but.unique_id)
    for layer in viewer.layers:
        own = tag(layer)
        if own.get("role") == "contours" and own.get("of") != kept and layer.visible:
            layer.visible = False


def coarsest_axis(layer: Layer) -> int:
    """The axis with the largest spacing: the one a volume's slices were acquired across."""
    return int(np.argmax(np.round(np.abs(layer.scale), 3)))
