"""Layers of a batch: results of open images, results read from files, and one case seen at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Layer

from napari_uda.gui.kit.files import LayerData, read_layers
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layers import RESULT_ROLES, find, show_steps
from napari_uda.gui.segment.batch import Row

if TYPE_CHECKING:
    from napari.components import ViewerModel

_SEEN_FIRST = ("image", "prediction")
_FILES = {"prediction": "labels", "entropy": "entropy", "reliability": "reliability"}


def show_batch(
    viewer: ViewerModel, rows: Sequence[Row], sources: Sequence[Layer]
) -> Iterator[None]:
    """Add the results of open images, in small parts; in the end the first one is seen.

    Args:
        viewer: the viewer.
        rows: with predictions; rows without one are left out.
        sources: the image layer of each row; results of one that was removed are left out.
    """
    first = ""
    for row, source in zip(rows, sources, strict=False):  # a batch may have been cancelled
        if row.prediction is None or source not in viewer.layers:
            continue
        first = first or row.case
        voted = not math.isnan(row.unreliable)
        roles = [role for role in RESULT_ROLES if voted or role != "reliability"]
        # the first step is the image, which is there already
        for step in islice(show_steps(viewer, row.prediction, source, roles), 1, None):
            step()
            yield
    if first:
        show_case(viewer, first)


def read_row(row: Row, out: Path) -> list[LayerData]:
    """Image and maps of a row that was written to files, as layer data; for a worker thread.

    Raises:
        InputError: if a file is gone or cannot be read.
    """
    contents = [] if row.image is None else [read_layers(row.image, "image")]
    for role, ending in _FILES.items():
        file = out / f"{row.case}_{ending}.nii.gz"
        if role != "reliability" or not math.isnan(row.unreliable):
            contents.append(read_layers(file, role, row.names if role == "prediction" else None))
    return contents


def show_row(viewer: ViewerModel, contents: Sequence[LayerData]) -> Iterator[None]:
    """Add what `read_row` gave, one layer at a time, unless the viewer has it; then show that case."""
    case = ""
    for content in contents:
        layer = Layer.create(*content)
        own = tag(layer)
        case = str(own.get("case", ""))
        if find(viewer, role=own.get("role"), case=case) is None:
            layer.visible = own.get("role") in _SEEN_FIRST
            viewer.add_layer(layer)
            yield
    show_case(viewer, case)


def show_case(viewer: ViewerModel, case: str) -> None:
    """Show image and prediction of a case, and hide the layers of other cases."""
    for layer in viewer.layers:
        own = tag(layer)
        if "case" not in own:
            continue
        seen = own["case"] == case and own.get("role") in _SEEN_FIRST
        if layer.visible != seen and (own["case"] != case or seen):
            layer.visible = seen
    prediction = find(viewer, role="prediction", case=case)
    if prediction is not None:
        viewer.layers.selection.active = prediction
