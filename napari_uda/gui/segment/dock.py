"""Dock `Segment`: a model, an image, Run; the result comes as layers with legend and uncertainty.

The model can also be adapted to the image first; then layers show the result before and after. Several
images, or a folder of them, are segmented one after the other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
from napari.layers import Image, Layer
from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFileDialog, QWidget
from superqt.utils import signals_blocked

from napari_uda.core.words import number_of
from napari_uda.gui.kit.canvas_panels import panels_button
from napari_uda.gui.kit.dock import AROUND, CANCELLING
from napari_uda.gui.kit.files import LayerData
from napari_uda.gui.kit.geometry import layer_volume, tag
from napari_uda.gui.kit.grid import SideBySide, entered
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layer_order import uncover
from napari_uda.gui.kit.layers import is_volume
from napari_uda.gui.kit.layout import TwoParts, column, form, wrapped
from napari_uda.gui.kit.models import ModelDock, known_models, remember_model, title_of
from napari_uda.gui.kit.panel import listen
from napari_uda.gui.kit.settings_form import SettingsForm, SettingsPlace
from napari_uda.gui.kit.widgets import Foldable, button, check_box, combo_box
from napari_uda.gui.segment.batch import BatchPanel, read_row, show_batch, show_case, show_row
from napari_uda.gui.segment.result_layers import is_prediction, result_steps
from napari_uda.gui.segment.result_view import ResultView
from napari_uda.gui.segment.segmenting import (
    Model,
    Result,
    Way,
    adapt_and_segment,
    read_model,
    segment,
)
from napari_uda.inference.cohort import SUMMARY, Item, Row, files_of, segment_several

_BATCH = "Segmenting several volumes…"
_BACKENDS = (
    ("auto", "auto", "OpenVINO where it is installed and a CPU computes, else torch"),
    ("torch", "torch", ""),
    (
        "OpenVINO",
        "openvino",
        "The network in about two thirds of the time on a CPU: pip install 'napari_uda[fast]'",
    ),
)
_HELP = (
    "Run segments the chosen image with the chosen model; the image itself is not changed.",
    "Adapt to this volume fits a copy of the model to this image alone, and shows the result before and after.",
    "Structures lists what was found with its volume: an eye hides a structure, S shows it alone.",
    "Uncertainty shows where the network is unsure, and leads to the most uncertain slices.",
    "Several segments all open images, or every volume of a folder.",
)


def _as_sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}." if words else ""


def _is_translation_of(layer: Layer, image: Image) -> bool:
    """Whether a layer was translated from this image, so that it would lie over it and under the result."""
    own = tag(layer)
    return (own.get("role"), own.get("source")) == ("translation", str(image.unique_id))


@dataclass(frozen=True)
class _Batch:
    """Several volumes.

    Attributes:
        rows: filled by the thread that segments.
        out: where the results are written; None for layers.
        sources: layers they are of; none for files.
    """

    rows: list[Row] = field(default_factory=list)
    out: Path | None = None
    sources: Sequence[Layer] = ()


class SegmentDock(ModelDock):
    """Segments an image layer with a trained run, in a thread, and shows the result."""

    manual = ("Segment", _HELP)
    kept = (
        *("models", "images", "results", "result_tabs", "reliability_wanted", "backend"),
        "outlines",
    )

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self._side_by_side: SideBySide | None = None
        self._shown: list[Layer] = []
        self._model_problem = ""
        self._doing = ""  # what the job does
        self._ways: Mapping[str, Way] = {}
        self._batch = _Batch()
        self._build()
        self._lay_out()
        self._list_models()
        self._update_buttons()

    @property
    def is_settled(self) -> bool:
        """Whether all is shown that was asked for, and every number of it counted."""
        return super().is_settled and not self.results.is_counting

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.reliability = check_box(
            "Reliability map",
            "Also vote over changed copies of each slice: shows where the network contradicts itself.\n"
            "Takes about seven times as long.",
            name="reliability_wanted",
            checked=True,
        )
        self.views = check_box(
            "Side by side",
            "Structures, entropy and reliability in three linked views",
            self._on_views_toggled,
            "side_by_side",
        )
        self.run = button("Run", slot=self._on_run, name="run")
        self.adapt = button("Adapt to this volume", slot=self._on_adapt, name="adapt")
        self.way = combo_box(  # filled when the first model has been read
            tooltip="How the model is adapted; it stays as it is on the disk",
            slot=self._on_way_chosen,
            name="way",
            least_letters=6,
        )
        self.backend = combo_box(
            _BACKENDS,
            "What computes; the labels of a few voxels differ, where two structures are about equally likely",
            name="backend",
        )
        computing = QWidget()
        column(form(("Computed by", self.backend)), of=computing, margin=0)
        self.how_to_segment = Foldable("How to segment", computing, "how_to_segment")
        self.how = SettingsPlace()
        column(self.how.place, of=self.how, margin=0)
        self.how.changed.connect(self._on_how_changed)
        self.how_to_adapt = Foldable("How to adapt", self.how, "how_to_adapt")
        self.results = ResultView(self.viewer)
        self.legend = self.results.legend
        self.batch = BatchPanel()
        self.batch.layers.clicked.connect(self._on_batch_layers)
        self.batch.folder.clicked.connect(self._on_batch_folder)
        self.batch.table.cellDoubleClicked.connect(self._on_row_chosen)
        self.results.tabs.addTab(self.batch, "Several")
        self.models.currentIndexChanged.connect(self._on_model_changed)
        listen(self, self._on_image_changed, self.viewer.layers.selection.events.changed)
        self.results.results.currentIndexChanged.connect(self._on_result)
        listen(self, self._on_removed, self.viewer.layers.events.removed)
        listen(self, self._on_grid, self.viewer.canvas.grid.events.enabled)

    def _lay_out(self) -> None:
        self.open_bar.add(self.help)
        controls = QWidget()
        column(
            self.open_bar,
            self._form(),
            wrapped(self.reliability, (self.views, 1), panels_button(self.viewer)),
            wrapped((self.run, 2), (self.cancel, 1)),
            self.how_to_segment,
            wrapped((self.adapt, 2), (self.way, 1)),
            self.how_to_adapt,
            self.bar,
            self.status,
            of=controls,
            margin=0,
        )
        column(TwoParts(controls, self.results, self.status), of=self).setContentsMargins(*AROUND)

    # -- models -----------------------------------------------------------------------------------

    def add_model(self, path: Path) -> None:
        """Choose a run folder, listed or not."""
        path = Path(path).resolve()
        index = self.models.findData(str(path))
        if index < 0:
            self.models.addItem(title_of(path), str(path))
            index = self.models.count() - 1
        self.models.setCurrentIndex(index)

    def _list_models(self) -> None:
        """Offer what is not offered yet; the choice stays."""
        with signals_blocked(self.models):
            for title, path in known_models():
                if self.models.findData(str(path)) < 0:
                    self.models.addItem(title, str(path))

    def showEvent(self, event: QShowEvent) -> None:
        """Offer runs trained meanwhile; describe the chosen one, which also loads torch before it is needed."""
        super().showEvent(event)
        self._list_models()
        self._on_grid()
        if not self.about.text():
            self._on_model_changed()

    def _on_model_changed(self) -> None:
        path = self.model
        self._model_problem = ""
        self._update_buttons()
        if path is None:
            return
        self.about.setText("Reading the model…")
        background(
            self,
            "Read the model",
            partial(read_model, path),
            lambda model: self._on_described(path, model, ""),
            failed=lambda problem: self._on_described(path, None, problem),
            quiet=True,
        )

    def _on_described(self, path: Path, model: Model | None, problem: str) -> None:
        if model is not None and not self.way.count():
            self._ways = model.ways
            for index, (name, way) in enumerate(model.ways.items()):
                self.way.addItem(name, name)
                self.way.setItemData(index, way.summary, Qt.ItemDataRole.ToolTipRole)
        if path == self.model:  # not another one by now
            self.about.setText(model.about if model is not None else "")
            self.about.setToolTip(model.structures if model is not None else "")
            self._model_problem = problem
            self._update_buttons()

    def _on_way_chosen(self) -> None:
        way = self._ways[self.way.currentData()]
        self.how.put(SettingsForm(way.config, basic=way.basic, hidden=way.hidden))
        self._update_buttons()

    def _on_how_changed(self) -> None:
        self._update_buttons()

    # -- running ----------------------------------------------------------------------------------

    def _model_obstacle(self) -> str:
        """Why nothing can be segmented; empty when something can."""
        if self._job is not None:
            return CANCELLING if self._cancelling else self._doing
        if self._turns.is_busy:
            return "Showing the result…"
        if self.model is None:
            return "No model: choose a run folder with Browse…"
        return self._model_problem

    def _update_buttons(self) -> None:
        obstacle = self._obstacle()
        running = self._job is not None
        self.run.setEnabled(not obstacle)
        self.run.setToolTip(obstacle or "Segment the image")
        unfit = obstacle or ("Reading the model…" if not self.way.count() else self.how.obstacle())
        self.adapt.setEnabled(not unfit)
        self.adapt.setToolTip(
            unfit
            or "Fit the model to this image alone, and segment it before and after.\n"
            "The model on the disk is not changed."
        )
        self.way.setEnabled(not obstacle)
        self.cancel.setEnabled(running and not self._cancelling)
        batch = running and self._doing == _BATCH
        self.cancel.setToolTip(
            "Stop; volumes that are done are kept" if batch else "Stop; nothing is changed"
        )
        self.batch.set_obstacle(self._model_obstacle(), len(self._batch_images()))
        self.views.setEnabled(bool(self._beside()) and not running and not self._turns.is_busy)
        self.status.setText(self._model_obstacle() or self._message or obstacle)
        self.bar.setVisible(running)

    def _on_run(self) -> None:
        vote, backend = self.reliability.isChecked(), self.backend.currentData()
        work = partial(segment, vote=vote, backend=backend)
        self._begin("Segment", "Segmenting…", "Slice", work)

    def _on_adapt(self) -> None:
        work = partial(adapt_and_segment, config=self.how.config())
        self._begin("Adapt to", "Adapting…", "Adapting: part", work)

    def _begin(self, title: str, doing: str, part: str, work: Callable[..., Result]) -> None:
        """Give model and image to a thread, and show what comes out."""
        path, layer = self.model, self.images.layer
        if self._obstacle() or path is None or layer is None:
            return
        self._doing, self._part = doing, part
        remember_model(path)
        self._start(
            f"{title} {layer.name}",
            lambda report, stop: work(path, layer, report, stop),
            lambda result: self._on_succeeded(layer, result),
        )

    def _on_succeeded(self, layer: Image, result: Result) -> None:
        self._finish("")
        self.views.setChecked(False)
        self._in_turns(self._show(layer, result))

    def _show(self, layer: Image, result: Result) -> Iterator[None]:
        self._shown = []
        for step in result_steps(self.viewer, layer, result):
            self._shown.append(step())
            yield
        self._on_shown(layer, result)

    def _on_shown(self, image: Image, result: Result) -> None:
        made = [layer for layer in self._shown if tag(layer).get("role") == "prediction"]
        if not made:  # the image was removed meanwhile
            return
        *earlier, prediction_layer = made
        case = tag(prediction_layer).get("case")
        earlier += [
            layer
            for layer in self.viewer.layers
            if (is_prediction(layer) and tag(layer).get("case") == case)
            or _is_translation_of(layer, image)
        ]
        for (
            layer
        ) in earlier:  # two on top of each other show neither; a translation is not the image
            layer.visible = False
        image.visible = prediction_layer.visible = True  # else it lies on another patient
        uncover(self.viewer, prediction_layer)
        if prediction_layer in self.viewer.layers:
            self.viewer.layers.selection.active = prediction_layer
            warning = "" if result.adaptation is None else result.adaptation.warning
            self.results.show_result(
                prediction_layer,
                result.prediction.names,
                result.volumes_ml,
                result.before_ml,
                _as_sentence(warning),
            )
        self._message = result.sentence

    def _beside(self) -> list[Any]:
        """Image and maps to be seen side by side: those of the last run, or of the result that is chosen."""
        layers = self._shown
        if self.results.results.layer not in layers:
            layers = self.results.layers_of_result()
        alive = [layer for layer in layers if layer in self.viewer.layers]
        return alive if len(alive) > 1 and alive[0] is layers[0] else []

    def _on_result(self) -> None:
        self._update_buttons()

    def _on_removed(self) -> None:
        """The views side by side are of an image: without it there is nothing to compare."""
        grid = self._side_by_side
        if grid is not None and grid.image not in self.viewer.layers:
            self.views.setChecked(False)
        if self._shown and self._shown[0] not in self.viewer.layers:
            self._shown = []
        self._update_buttons()

    def _on_grid(self) -> None:
        """A session, or what was opened, may have arranged results: the box says so, and takes them back."""
        grid = entered(self.viewer)
        if isinstance(grid, SideBySide) and grid is not self._side_by_side:
            self._side_by_side = grid
            with signals_blocked(self.views):
                self.views.setChecked(True)

    def _on_views_toggled(self, wanted: bool) -> None:
        if self._side_by_side is not None:
            self._side_by_side.leave()
            self._side_by_side = None
        image, *results = self._beside() or [None]
        if wanted and results:
            self._side_by_side = SideBySide(self.viewer, image, results)
            self._in_turns(self._side_by_side.enter())

    def put_back(self) -> None:
        """Leave the views side by side."""
        self.views.setChecked(False)

    # -- several volumes --------------------------------------------------------------------------

    def _batch_images(self) -> list[Image]:
        """The images a batch segments: the selected ones if several are, else all."""
        images = [layer for layer in self.viewer.layers if is_volume(layer)]
        selected = [layer for layer in images if layer in self.viewer.layers.selection]
        return selected if len(selected) > 1 else images

    def _on_batch_layers(self) -> None:
        images = self._batch_images()
        items = [
            Item(str(tag(layer).get("case") or layer.name), partial(layer_volume, layer))
            for layer in images
        ]
        self._start_batch(items, _Batch(sources=images))

    def _on_batch_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of volumes to segment")
        out = folder and QFileDialog.getExistingDirectory(self, "Folder for the results")
        if out:
            self.segment_folder(Path(folder), Path(out))

    def segment_folder(self, folder: Path, out: Path) -> None:
        """Segment every volume of a folder; maps and summary.csv are written into `out`.

        Raises:
            InputError: if the folder holds no volumes.
        """
        self._start_batch(files_of(folder), _Batch(out=out))

    def _start_batch(self, items: Sequence[Item], batch: _Batch) -> None:
        path = self.model
        if self._model_obstacle() or path is None or not items:
            return
        vote, backend = self.reliability.isChecked(), self.backend.currentData()
        self._batch = batch
        self._doing, self._part = _BATCH, "Volumes done:"
        self.batch.show_rows(batch.rows)
        remember_model(path)
        self._start(
            f"Segment {len(items)} volumes",
            lambda report, stop: segment_several(
                path, items, batch.out, vote, batch.rows, report, stop, backend
            ),
            lambda _: self._on_batch_done(""),
        )

    def _on_progress(self, done: int, total: int) -> None:
        super()._on_progress(done, total)
        self._show_new_rows()

    def _show_new_rows(self) -> None:
        if len(self._batch.rows) != self.batch.table.rowCount():
            self.batch.show_rows(self._batch.rows)

    def _finish(self, message: str) -> None:
        """Also of a batch that failed as a whole, say what became of each volume."""
        self._show_new_rows()
        super()._finish(message)

    def _on_cancelled(self) -> None:
        if self._doing == _BATCH:
            self._on_batch_done("Cancelled; ")
        else:
            super()._on_cancelled()

    def _on_batch_done(self, ending: str) -> None:
        """Say what was done, and show the results of layers."""
        rows, out = self._batch.rows, self._batch.out
        good = [one for one in rows if not one.problem]
        written = f"maps and {SUMMARY} are" if good else f"{SUMMARY}, which says why, is"
        where = f"; {written} in {out}" if out and rows else ""
        self._finish(f"{ending}{number_of(len(good), 'volume')} segmented{where}.")
        if out is None and good:
            self.views.setChecked(False)
            self._in_turns(show_batch(self.viewer, rows, self._batch.sources))

    def _on_row_chosen(self, index: int) -> None:
        """Show a volume of the last batch, from its layers or from its files."""
        chosen, out = self._batch.rows[index], self._batch.out
        if chosen.problem or self._job is not None or self._turns.is_busy:
            return
        if out is None:
            show_case(self.viewer, chosen.case)
            self.results.choose_case(chosen.case)
            return
        self._doing = f"Reading {chosen.case}…"
        self._start(
            f"Read {chosen.case}",
            lambda report, stop: read_row(chosen, out),
            lambda contents: self._on_row_read(chosen.case, contents),
        )

    def _on_row_read(self, case: str, contents: list[LayerData]) -> None:
        self._finish("")

        def show() -> Iterator[None]:
            yield from show_row(self.viewer, contents)
            self.results.choose_case(case)

        self._in_turns(show())
