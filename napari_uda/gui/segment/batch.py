"""Several volumes: the tab with what came out of each, and the layers of one of them at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtWidgets import QAbstractItemView, QTableWidgetItem

from napari_uda.core.structure_colours import full_name
from napari_uda.gui.kit.files import LayerData, read_layers
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layer_order import add_layer, mark_of_fit
from napari_uda.gui.kit.layers import find
from napari_uda.gui.kit.layout import column, wrapped
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.tables import TablePlace
from napari_uda.gui.kit.widgets import button, label, right_aligned, text_table
from napari_uda.gui.segment.result_layers import result_steps
from napari_uda.gui.segment.segmenting import Result
from napari_uda.inference.cohort import Row

_DASH = "–"
_SEEN_FIRST = ("image", "prediction")
_FILES = {"prediction": "labels", "entropy": "entropy", "reliability": "reliability"}


class BatchPanel(Panel):
    """Says what came out for each volume, and holds what begins a batch; knows no viewer.

    Attributes:
        layers: button that segments the open images.
        folder: button that segments a folder.
        table: one line per volume that is done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = button("Open images", name="batch_layers")
        self.folder = button("Folder…", name="batch_folder")
        self.table = text_table((), "batch_table", row_pixels=24)
        self.table.setToolTip("Double-click a row to see its result")
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.about = label(name="batch_about")
        column(
            wrapped(label("Segment", wrap=False), (self.layers, 1), (self.folder, 1)),
            (TablePlace(self.table, "Batch"), 1),
            self.about,
            of=self,
        ).setContentsMargins(0, 4, 0, 0)
        self.show_rows([])

    def set_obstacle(self, obstacle: str, images: int) -> None:
        """Enable the buttons, or say why not.

        Args:
            obstacle: one sentence; empty when a model can be run.
            images: number of open images that would be segmented.
        """
        self.folder.setEnabled(not obstacle)
        self.folder.setToolTip(
            obstacle
            or "Segment every volume of a folder; maps and summary.csv go to another folder"
        )
        self.layers.setEnabled(not obstacle and images > 0)
        self.layers.setText(f"Open images ({images})")
        none = "No 3-D image is open; open one, for example from File > Open Sample."
        what = (
            "Segment the images selected in the layer list; all of them unless several are selected"
        )
        self.layers.setToolTip(obstacle or (what if images else none))

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show the volumes that are done."""
        names = list(dict.fromkeys(name for one in rows for name in one.volumes_ml))
        headers = [
            "Case",
            *("\n".join([*full_name(name).split(), "mL"]) for name in names),
            "Mean\nentropy",
            "Unreli-\nable",
            "s",
        ]
        self.table.setColumnCount(len(headers) if rows else 0)
        self.table.setHorizontalHeaderLabels(headers if rows else [])
        self.table.setRowCount(len(rows))
        for index, one in enumerate(rows):
            numbers = [
                *(_number(one.volumes_ml.get(name, math.nan), ".1f") for name in names),
                _number(one.mean_entropy, ".3f"),
                _number(one.unreliable_structures, ".1%"),
                _number(one.seconds, ".1f"),
            ]
            mark = mark_of_fit(one.fit)
            case = QTableWidgetItem(f"⚠ {one.case}{mark}" if one.problem or mark else one.case)
            for place, cell in enumerate([case, *map(right_aligned, numbers)]):
                cell.setToolTip(one.problem or str(one.fit))
                self.table.setItem(index, place, cell)
        failed = [one for one in rows if one.problem]
        odd = [one for one in rows if mark_of_fit(one.fit)]
        lines = [f"{len(failed)} failed: {failed[0].problem}"] if failed else []
        lines += [f"{len(odd)} to be looked at with care: their tooltips say why."] if odd else []
        self.about.setText("\n".join(lines))
        self.about.setVisible(bool(lines))


def _number(value: float, form: str) -> str:
    return _DASH if math.isnan(value) else format(value, form)


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
    for one, source in zip(rows, sources, strict=False):  # a batch may have been cancelled
        if one.prediction is None or source not in viewer.layers:
            continue
        first = first or one.case
        unreliable = None if math.isnan(one.unreliable) else one.unreliable_structures
        result = Result(one.prediction, one.seconds, unreliable)
        # the first step is the image, which is there already
        for step in islice(result_steps(viewer, source, result), 1, None):
            step()
            yield
    if first:
        show_case(viewer, first)


def read_row(chosen: Row, out: Path) -> list[LayerData]:
    """Image and maps of a row that was written to files, as layer data; for a worker thread.

    Raises:
        InputError: if a file is gone or cannot be read.
    """
    contents = [] if chosen.image is None else [read_layers(chosen.image, "image")]
    for role, ending in _FILES.items():
        file = out / f"{chosen.case}_{ending}.nii.gz"
        if role != "reliability" or not math.isnan(chosen.unreliable):
            contents.append(read_layers(file, role, chosen.names if role == "prediction" else None))
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
            add_layer(viewer, layer)
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
