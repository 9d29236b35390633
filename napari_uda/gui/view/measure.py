"""MeasurePanel: ruler and regions on the image, and structures of a labels layer, as tables to copy and save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Shapes
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QPushButton,
    QTableWidgetItem,
)

from napari_uda.core.csv_text import csv_text
from napari_uda.core.errors import InputError
from napari_uda.core.files import atomic_file
from napari_uda.core.structure_colours import full_name
from napari_uda.gui.kit.canvas_words import CanvasWords, canvas_words
from napari_uda.gui.kit.clicks import is_click
from napari_uda.gui.kit.geometry import is_one_volume, layer_volume, tag
from napari_uda.gui.kit.hatching import NOT_STRUCTURES
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layers import DISPLAY, structure_names
from napari_uda.gui.kit.layout import column, wrapped
from napari_uda.gui.kit.measurements import measurements_layer
from napari_uda.gui.kit.panel import Following, Panel, delay, listen
from napari_uda.gui.kit.seen import seen_at
from napari_uda.gui.kit.tables import NAME_PIXELS, TablePlace, TextsInLines
from napari_uda.gui.kit.widgets import TallLabel, button, named, right_aligned, text_table
from napari_uda.gui.view.measuring import (
    COLUMNS,
    Measured,
    drawn_shapes,
    marks,
    mean_and_deviation,
    measured,
)

if TYPE_CHECKING:
    from napari_uda.data.volume import Volume
    from napari_uda.evaluation.measures import StructureMeasure

_WAIT_MS = 100
_ROWS = 6  # that are seen at once
_MODES = {"rectangle": "add_rectangle", "ellipse": "add_ellipse", "polygon": "add_polygon"}
_HINTS = {
    "ruler": "Click both ends; another slice may be chosen in between.",
    "rectangle": "Drag from corner to corner on the slice.",
    "ellipse": "Drag from corner to corner of the box round it.",
    "polygon": "Click the corners; a double click ends it.",
}
_SHAPE_HEADERS = ("Measure", "mm / mm²", "Mean", "SD", "Least", "Most", "Pixels")
_STRUCTURE_HEADERS = ("Structure", "mL", "Mean", "SD", "Largest ∅ mm", "In-plane ∅ mm")


class MeasurePanel(Panel):
    """Draws into one layer of its own, and never into an image or labels.

    Attributes:
        tools: ruler, rectangle, ellipse and polygon to their buttons.
        shapes: the table of what was drawn.
        structures: the table of a labels layer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._first: np.ndarray | None = None  # end of a ruler, in the layer
        self._layer: Shapes | None = None
        self._labels: Layer | None = None
        self._changes = Following(self, self._on_drawn)
        self._looks = Following(self, self._on_look)
        self._count = delay(self, _WAIT_MS, self._on_count)
        self._build()
        layers = viewer.layers.events
        listen(self, self._on_layers, layers.inserted, layers.removed)
        click = self._click  # one object, to be found again
        viewer.mouse_drag_callbacks.append(click)
        self._words = canvas_words(viewer)
        self._measured: list[Measured] = []
        leave = partial(_leave, viewer, click, self._words)
        self.destroyed.connect(lambda: leave())

    def _build(self) -> None:
        self.tools: dict[str, QPushButton] = {}
        for name, hint in _HINTS.items():
            made = button(name.capitalize(), hint, name=f"measure_{name}")
            made.setCheckable(True)
            made.toggled.connect(partial(self._on_tool, name))
            self.tools[name] = made
        self.clear = button(
            "Remove all", "Remove the measurements", self._on_clear, "measure_clear"
        )
        self.about = named(TallLabel(), "measure_about")
        self.shapes = MeasureTable("Measurements", _SHAPE_HEADERS, "measurements")
        self.labels = named(
            LayerChooser(self._viewer, _is_structures, _rank),
            "measure_labels",
            "Structures that are measured, on the image that is on top",
        )
        self.measure = button(
            "Measure structures",
            "Volume, mean and standard deviation inside, and largest diameters from outer corner to\n"
            "outer corner of voxels: in 3-D, and within one slice of the thickest axis",
            self._on_measure,
            "measure_structures",
        )
        self.structures = MeasureTable(
            "Measured structures", _STRUCTURE_HEADERS, "measured_structures"
        )
        self.structures_about = named(TallLabel(), "structures_about")
        column(
            wrapped(*((tool, 1) for tool in self.tools.values())),
            self.about,
            self.shapes,
            self.clear,
            wrapped((self.labels, 1), (self.measure, 1)),
            self.structures_about,
            self.structures,
            of=self,
            margin=0,
            spacing=4,
        )
        self._update()
        self._on_labels()
        self.labels.currentIndexChanged.connect(self._on_labels)

    @property
    def is_settled(self) -> bool:
        """Whether what was drawn is in the table."""
        return not self._count.isActive()

    @property
    def tool(self) -> str:
        """The pressed one; "" for none."""
        return next((name for name, one in self.tools.items() if one.isChecked()), "")

    # -- drawing ----------------------------------------------------------------------------------

    def _on_tool(self, name: str, pressed: bool) -> None:
        if pressed:
            for other, one in self.tools.items():
                if other != name:
                    one.setChecked(False)
            self._prepare()
        self._first = None
        mode = _MODES.get(self.tool, "pan_zoom")
        if self._layer is not None and str(self._layer.mode) != mode:
            self._layer.mode = mode
        self._update()

    def _prepare(self) -> None:
        """Have the layer that is drawn on, and draw on it."""
        seen = seen_at(self._viewer, self._viewer.dims.point)
        problem = seen.why if seen.image is None else ""
        if self._viewer.dims.ndisplay != 2:
            problem = "Measurements are drawn on slices; leave the 3-D view."
        if problem or seen.image is None:
            for one in self.tools.values():
                one.setChecked(False)
            raise InputError(problem)
        active = self._viewer.layers.selection.active
        self._follow(measurements_layer(self._viewer, seen.image))
        if self.tool in _MODES:
            self._viewer.layers.selection.active = self._layer
        elif active is not None and active in self._viewer.layers:
            self._viewer.layers.selection.active = active

    def _follow(self, layer: Shapes | None) -> None:
        self._layer = layer
        self._changes.follow(*([] if layer is None else [layer.events.data]))
        self._looks.follow(*([] if layer is None else [layer.events.visible]))

    def _click(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        """A click without a drag is an end of the ruler."""
        if self.tool != "ruler" or event.button != 1 or viewer.dims.ndisplay != 2:
            return
        if (yield from is_click(event)):
            self._on_end(np.asarray(event.position[-3:], float))

    def _on_end(self, world: np.ndarray) -> None:
        layer = self._layer
        if layer is None or layer not in self._viewer.layers:
            return
        place = np.asarray(layer.world_to_data(world), float)
        dims = self._viewer.dims
        cut = dims.order[-3] - (dims.ndim - 3)
        if cut >= 0:
            place[cut] = round(place[cut])  # the slice that is seen
        if self._first is None:
            self._first = place
        else:
            layer.add([np.array([self._first, place])], shape_type="line")
            self._first = None
        self._update()

    def _on_drawn(self) -> None:
        self._count.start()

    def _on_layers(self) -> None:
        if self._layer is not None and self._layer not in self._viewer.layers:
            self._follow(None)
            for one in self.tools.values():
                one.setChecked(False)
            self._count.start()
        elif self._layer is None and (found := measurements_layer(self._viewer)) is not None:
            self._follow(found)
            self._count.start()

    def _on_clear(self) -> None:
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)

    def _on_count(self) -> None:
        layer = self._layer
        if layer is None:
            self._show([])
            return
        shapes = drawn_shapes(self._viewer, layer)
        background(self, "Measure", lambda: measured(shapes), self._show, quiet=True)

    def _show(self, found: list[Measured]) -> None:
        layer = self._layer
        if layer is not None and layer in self._viewer.layers and len(layer.data) == len(found):
            layer.features = {"measure": np.array([one.words for one in found], dtype=object)}
        self._measured = found
        self._on_look()
        self.shapes.show_rows(
            [_shape_cells(one) for one in found], COLUMNS, [one.cells for one in found]
        )
        self.shapes.set_tips([f"{one.words}\n{one.image}, {one.slice}" for one in found])
        self._update()

    def _on_look(self) -> None:
        """The numbers on the canvas, beside what is drawn."""
        layer = self._layer
        shown = layer is not None and layer.visible and layer in self._viewer.layers
        self._words.show_marks(marks(layer, self._measured) if layer is not None and shown else [])

    def _update(self) -> None:
        hint = _HINTS.get(self.tool, "")
        if self._first is not None:
            hint = "Click the other end."
        self.about.setText(hint)
        self.about.setVisible(bool(hint))
        self.shapes.setVisible(self.shapes.count > 0)
        self.clear.setVisible(self.shapes.count > 0)

    # -- structures -------------------------------------------------------------------------------

    def _on_labels(self) -> None:
        """Other labels: what was measured in the former ones goes."""
        known = self.labels.layer is not None
        if known and self.labels.layer is self._labels:
            return
        self._labels = self.labels.layer
        self.measure.setEnabled(known)
        self.structures.show_rows([])
        self.structures.setVisible(False)
        self.structures_about.setText(
            "" if known else "No labels layer is open: segment an image, or open a labels file."
        )
        self.structures_about.setVisible(not known)

    def _on_measure(self) -> None:
        layer = self.labels.layer
        if not isinstance(layer, Labels):
            return
        labels, names = layer_volume(layer), structure_names(layer)
        image = _image_of(self._viewer, layer)
        grey = None
        if image is not None:
            grey = replace(layer_volume(image), source=tag(image).get("file"))
        whose = f"'{layer.name}'"
        on = "" if image is None else f" on '{image.name}'"
        self.measure.setEnabled(False)
        background(
            self,
            "Measure structures",
            lambda: _measure(labels, grey, names),
            lambda found: self._show_structures(found[0], whose + (found[1] or on)),
            failed=self._on_failed,
            ended=self._on_ended,
        )

    def _on_failed(self, problem: str) -> None:
        self.structures_about.setText(problem)
        self.structures_about.setVisible(True)

    def _on_ended(self) -> None:
        self.measure.setEnabled(self.labels.layer is not None)

    def _show_structures(self, found: list[StructureMeasure], whose: str) -> None:
        rows = [
            [
                full_name(one.name),
                f"{one.volume_ml:.2f}",
                *mean_and_deviation(one.mean, one.standard_deviation),
                f"{one.largest_diameter_mm:.1f}",
                f"{one.in_plane_diameter_mm:.1f}",
            ]
            for one in found
        ]
        lines = [asdict(one) for one in found]
        cells = [["" if cell is None else cell for cell in line.values()] for line in lines]
        self.structures.show_rows(rows, list(lines[0]) if lines else [], cells)
        self.structures.set_tips(
            [
                f"{full_name(one.name)}: {one.name} in files; {one.voxels} voxels;"
                f" in-plane on {one.plane} slice {one.slice}"
                for one in found
            ]
        )
        self.structures.setVisible(bool(found))
        unit = next((one.unit for one in found if one.unit), "")
        scale = {"HU": ": mean and SD in HU", "grey value": ": mean and SD in grey values"}
        self.structures_about.setText(
            f"{whose}{scale.get(unit, '')}." if found else f"{whose} holds no structure."
        )
        self.structures_about.setVisible(True)


class MeasureTable(Panel):
    """A table with Copy and Save: what is seen is rounded, what is copied and saved is not."""

    def __init__(self, title: str, headers: Sequence[str], name: str) -> None:
        super().__init__()
        self._columns: list[str] = []
        self._cells: list[Sequence[object]] = []
        self.table = text_table(headers, name, wide=(0,))
        TextsInLines(self.table)
        self._fit = delay(self, 0, self._on_row_height)
        self.table.verticalHeader().sectionResized.connect(self._fit.start)
        self.copy = button(
            "Copy", "Copy the table, to be pasted as cells", self._on_copy, f"{name}_copy"
        )
        self.save = button("Save…", "Save the table as CSV", self._on_save, f"{name}_save")
        place = TablePlace(self.table, title, range(len(headers)), NAME_PIXELS)
        buttons = wrapped((self.copy, 1), (self.save, 1))
        column(place, buttons, of=self, margin=0, spacing=4)

    @property
    def count(self) -> int:
        """Rows."""
        return len(self._cells)

    @property
    def csv(self) -> str:
        """The table as CSV, with every digit."""
        return csv_text(self._columns, self._cells)

    def show_rows(
        self,
        texts: Sequence[Sequence[str]],
        columns: Sequence[str] = (),
        cells: Sequence[Sequence[object]] = (),
    ) -> None:
        """Show other rows: as they are read, and below `columns` as they are saved."""
        self._columns, self._cells = list(columns), list(cells)
        self.table.setRowCount(len(texts))
        for at, line in enumerate(texts):
            for index, text in enumerate(line):
                item = QTableWidgetItem(text) if index == 0 else right_aligned(text)
                self.table.setItem(at, index, item)
        self._on_row_height()

    def _on_row_height(self) -> None:
        """Show the first rows whole, however many lines they have."""
        header = max(self.table.horizontalHeader().height(), 26)
        bar = self.table.horizontalScrollBar().sizeHint().height()
        rows = sum(map(self.table.rowHeight, range(min(self.table.rowCount(), _ROWS))))
        self.table.setFixedHeight(header + rows + bar + 4)

    def set_tips(self, tips: Sequence[str]) -> None:
        """A tooltip for each row."""
        for at, tip in enumerate(tips):
            for index in range(self.table.columnCount()):
                item = self.table.item(at, index)
                if item is not None:
                    item.setToolTip(tip)

    def _on_copy(self) -> None:
        lines = [self._columns, *self._cells]
        QApplication.clipboard().setText(
            "\n".join("\t".join(str(cell) for cell in line) for line in lines)
        )

    def _on_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Measurements", "measurements.csv", "CSV (*.csv)"
        )
        if path:
            self.save_to(Path(path))

    def save_to(self, path: Path) -> None:
        """Write the CSV file."""
        with atomic_file(path) as file:
            file.write(self.csv.encode())


def _leave(viewer: ViewerModel, click: Any, words: CanvasWords) -> None:
    """Without the panel napari's letters have to do."""
    viewer.mouse_drag_callbacks.remove(click)
    words.show_marks([])
    layer = measurements_layer(viewer)
    if layer is not None:
        layer.text.visible = True


def _shape_cells(one: Measured) -> list[str]:
    if one.problem:
        return [one.title, one.problem, "", "", "", "", ""]
    if one.length_mm is not None:
        return [one.title, f"{one.length_mm:.1f} mm", "", "", "", "", ""]
    found = one.region
    if found is None:
        return [one.title, "", "", "", "", "", ""]
    unit = f" {one.unit}" if one.unit == "HU" else ""
    mean, deviation = mean_and_deviation(found.mean, found.standard_deviation)
    return [
        one.title,
        f"{found.area_mm2:.1f} mm²",
        f"{mean}{unit}" if mean else "",
        deviation,
        *("" if number is None else f"{number:.4g}" for number in (found.smallest, found.largest)),
        str(found.pixels),
    ]


def _measure(
    labels: Volume, grey: Volume | None, names: dict[int, str]
) -> tuple[list[StructureMeasure], str]:
    """In the thread: the structures, and why no image is measured in them."""
    from napari_uda.data.same_grid import on_grid_of
    from napari_uda.evaluation.measures import measure_structures

    note = ""
    if grey is not None:
        try:
            on_grid_of(grey, labels)
        except InputError:
            note = f" (the image on top, {grey.name}, has another grid and is left out)"
            grey = None
    return measure_structures(labels, grey, names), note


def _is_structures(layer: Layer) -> bool:
    is_labels = isinstance(layer, Labels) and is_one_volume(layer)
    return is_labels and tag(layer).get("role") not in NOT_STRUCTURES


def _rank(layer: Layer) -> int:
    return int(layer.visible)


def _image_of(viewer: ViewerModel, labels: Labels) -> Image | None:
    """The image that is on top where the labels lie; None without one."""
    middle = labels.data_to_world([size // 2 for size in labels.data.shape])
    image = seen_at(viewer, middle).image
    return None if image is None or tag(image).get("role") == DISPLAY else image
