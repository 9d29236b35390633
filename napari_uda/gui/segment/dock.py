"""Dock `Segment`: a model, an image, Run; the result comes as layers with legend and uncertainty.

The model can also be adapted to the image first; then layers show the result before and after. Several
images, or a folder of them, are segmented one after the other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import napari.viewer
from napari.layers import Image, Layer
from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.kit.dock import CANCELLING
from napari_uda.gui.kit.files import LayerData
from napari_uda.gui.kit.geometry import layer_volume, tag
from napari_uda.gui.kit.grid import SideBySide
from napari_uda.gui.kit.jobs import Job
from napari_uda.gui.kit.layers import RESULT_ROLES, is_volume, show_steps
from napari_uda.gui.kit.layout import TwoParts
from napari_uda.gui.kit.models import ModelDock, known_models, remember_model
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.segment.batch import SUMMARY, Item, Row, files_of, segment_several
from napari_uda.gui.segment.batch_layers import read_row, show_batch, show_case, show_row
from napari_uda.gui.segment.batch_panel import BatchPanel
from napari_uda.gui.segment.result_view import ResultView
from napari_uda.gui.segment.segmenting import (
    Result,
    adapt_and_segment,
    read_model,
    segment,
    volumes_by_value,
)

_BATCH = "Segmenting several volumes…"
_ADAPTED_ROLES = ("prediction", "entropy")
_WAYS = (
    (
        "class ratios",
        "sfda",
        "Low entropy, with structures as large as in the labels the model saw",
    ),
    ("statistics", "bn_adapt", "Statistics of batch normalisation only: quick and safe"),
    ("entropy", "tent", "Statistics and scales of batch normalisation, by entropy"),
)


class SegmentDock(ModelDock):
    """Segments an image layer with a trained run, in a thread, and shows the result."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(napari_viewer, parent)
        self._side_by_side: SideBySide | None = None
        self._shown: list[Layer] = []
        self._model_problem = ""
        self._doing = ""  # what the job does
        self._rows: list[Row] = []  # filled by the thread of a batch
        self._out: Path | None = None  # where the last batch wrote
        self._sources: list[Layer] = []  # layers of the last batch
        self._build()
        self._list_models()
        self._update_buttons()

    @property
    def is_settled(self) -> bool:
        """Whether all is shown that was asked for, and every number of it counted."""
        return super().is_settled and not self.results.is_counting

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.reliability = QCheckBox("Reliability map")
        self.reliability.setChecked(True)
        self.reliability.setToolTip(
            "Also vote over changed copies of each slice: shows where the network contradicts itself.\n"
            "Takes about seven times as long."
        )
        self.views = QCheckBox("Side by side")
        self.views.setToolTip("Structures, entropy and reliability in three linked views")
        self.run = QPushButton("Run")
        self.run.setObjectName("run")
        self.adapt = QPushButton("Adapt to this volume")
        self.adapt.setObjectName("adapt")
        self.way = QComboBox()
        self.way.setObjectName("way")
        self.way.setToolTip("What is adapted; the model itself stays as it is")
        for index, (title, method, text) in enumerate(_WAYS):
            self.way.addItem(title, method)
            self.way.setItemData(index, text, Qt.ItemDataRole.ToolTipRole)
        self.results = ResultView(self.viewer)
        self.legend = self.results.legend
        self.batch = BatchPanel()
        self.results.tabs.addTab(self.batch, "Several")
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        form = self._form()
        options = QHBoxLayout()
        options.addWidget(self.reliability)
        options.addWidget(self.views)
        options.addStretch(1)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run, 2)
        buttons.addWidget(self.cancel, 1)
        adapting = QHBoxLayout()
        adapting.addWidget(self.adapt, 2)
        adapting.addWidget(self.way, 1)
        controls = QWidget()
        above = QVBoxLayout(controls)
        above.setContentsMargins(0, 0, 0, 0)
        for layout in (form, options, buttons, adapting):
            above.addLayout(layout)
        above.addWidget(self.bar)
        above.addWidget(self.status)
        outer = QVBoxLayout(self)
        outer.addWidget(TwoParts(controls, self.results))

    def _connect(self) -> None:
        self.models.currentIndexChanged.connect(self._on_model_changed)
        self.run.clicked.connect(self._on_run)
        self.adapt.clicked.connect(self._on_adapt)
        self.views.toggled.connect(self._on_views_toggled)
        self.batch.layers_requested.connect(self._on_batch_layers)
        self.batch.folder_requested.connect(self._on_batch_folder)
        self.batch.row_chosen.connect(self._on_row_chosen)
        changed, follow = self.viewer.layers.selection.events.changed, self._on_image_changed
        changed.connect(follow)
        self.destroyed.connect(lambda: changed.disconnect(follow))

    # -- models -----------------------------------------------------------------------------------

    def add_model(self, path: Path) -> None:
        """Choose a run folder, listed or not."""
        path = Path(path).resolve()
        index = self.models.findData(str(path))
        if index < 0:
            self.models.addItem(f"{path.name} ({path.parent.name})", str(path))
            index = self.models.count() - 1
        self.models.setCurrentIndex(index)

    def _list_models(self) -> None:
        """Offer what is not offered yet; the choice stays."""
        self.models.blockSignals(True)
        for title, path in known_models():
            if self.models.findData(str(path)) < 0:
                self.models.addItem(title, str(path))
        self.models.blockSignals(False)

    @guarded
    def _on_model_changed(self) -> None:
        self._describe()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Offer runs trained meanwhile; describe the chosen one, which also loads torch before it is needed."""
        super().showEvent(event)
        self._list_models()
        if not self.about.text():
            self._describe()

    def _describe(self) -> None:
        path = self.model
        self._model_problem = ""
        self._update_buttons()
        if path is None:
            return
        self.about.setText("Reading the model…")
        job = Job("Read the model", lambda report, stop: read_model(path), self, quiet=True)
        job.succeeded.connect(lambda text: self._on_described(path, text, ""))
        job.failed.connect(lambda problem: self._on_described(path, "", problem))
        job.start()

    @guarded
    def _on_described(self, path: Path, text: str, problem: str) -> None:
        if path == self.model:  # not another one by now
            self.about.setText(text)
            self._model_problem = problem
            self._update_buttons()

    # -- running ----------------------------------------------------------------------------------

    def _model_obstacle(self) -> str:
        """Why nothing can be segmented; empty when something can."""
        if self._job is not None:
            return CANCELLING if self._cancelling else self._doing
        if self._showing:
            return "Showing the result…"
        if self.model is None:
            return "No model: choose a run folder with Browse…"
        return self._model_problem

    def _obstacle(self) -> str:
        """Why Run and Adapt are not available; empty when they are."""
        if self._model_obstacle():
            return self._model_obstacle()
        if self.images.layer is None:
            return "No image: open a 3-D volume, for example from File > Open Sample."
        return ""

    def _update_buttons(self) -> None:
        obstacle = self._obstacle()
        running = self._job is not None
        self.run.setEnabled(not obstacle)
        self.run.setToolTip(obstacle or "Segment the image")
        self.adapt.setEnabled(not obstacle)
        self.adapt.setToolTip(
            obstacle
            or "Fit the model to this image alone, and segment it before and after.\n"
            "The model on the disk is not changed."
        )
        self.way.setEnabled(not obstacle)
        self.cancel.setEnabled(running and not self._cancelling)
        self.batch.set_obstacle(self._model_obstacle(), len(self._batch_images()))
        self.views.setEnabled(bool(self._shown) and not running and not self._showing)
        self.status.setText(self._model_obstacle() or self._message or obstacle)
        self.bar.setVisible(running)

    @guarded
    def _on_run(self) -> None:
        path, layer = self.model, self.images.layer
        if self._obstacle() or path is None or layer is None:
            return
        vote = self.reliability.isChecked()
        self._doing, self._part = "Segmenting…", "Slice"
        remember_model(path)
        self._start(
            f"Segment {layer.name}",
            lambda report, stop: segment(path, layer, vote, report, stop),
            lambda result: self._on_succeeded(layer, vote, result),
        )

    @guarded
    def _on_adapt(self) -> None:
        path, layer = self.model, self.images.layer
        if self._obstacle() or path is None or layer is None:
            return
        method = self.way.currentData()
        self._doing, self._part = "Adapting…", "Adapting: part"
        remember_model(path)
        self._start(
            f"Adapt to {layer.name}",
            lambda report, stop: adapt_and_segment(path, layer, method, report, stop),
            lambda result: self._on_adapted(layer, result),
        )

    @guarded
    def _on_succeeded(self, layer: Image, vote: bool, result: Result) -> None:
        self._finish("")
        self.views.setChecked(False)
        roles = [role for role in RESULT_ROLES if vote or role != "reliability"]
        steps = show_steps(self.viewer, result.prediction, layer, roles)
        self._in_turns(self._show(steps, result))

    @guarded
    def _on_adapted(self, layer: Image, result: Result) -> None:
        adaptation = result.adaptation
        assert adaptation is not None
        self._finish("")
        self.views.setChecked(False)
        # each of the two updates its own layers when the same is done again
        before = replace(adaptation.before, run=f"{adaptation.before.run} before adaptation")
        steps: Iterator[Callable[[], Layer]] = show_steps(
            self.viewer, before, layer, _ADAPTED_ROLES, " before"
        )
        if not adaptation.reverted:
            after = replace(adaptation.after, run=f"{adaptation.after.run} adapted")
            more = show_steps(self.viewer, after, layer, _ADAPTED_ROLES, " after")
            steps = chain(steps, islice(more, 1, None))  # the image is there already
        self._in_turns(self._show(steps, result))

    def _show(self, steps: Iterator[Callable[[], Layer]], result: Result) -> Iterator[None]:
        self._shown = []
        for step in steps:
            self._shown.append(step())
            yield
        self._on_shown(result)

    def _on_shown(self, result: Result) -> None:
        *earlier, prediction_layer = (
            layer for layer in self._shown if tag(layer).get("role") == "prediction"
        )
        case = tag(prediction_layer).get("case")
        earlier += [
            layer
            for layer in self.viewer.layers
            if tag(layer).get("role") == "prediction" and tag(layer).get("case") == case
        ]
        for layer in earlier:  # two predictions on top of each other show neither
            layer.visible = False
        prediction_layer.visible = True
        if prediction_layer in self.viewer.layers:
            self.viewer.layers.selection.active = prediction_layer
            adaptation, was = result.adaptation, None
            if adaptation is not None and not adaptation.reverted:
                was = volumes_by_value(adaptation.before)
            names, volumes = result.prediction.names, volumes_by_value(result.prediction)
            self.results.show_result(prediction_layer, names, volumes, was)
        self._message = result.sentence

    @guarded
    def _on_views_toggled(self, wanted: bool) -> None:
        if self._side_by_side is not None:
            self._side_by_side.leave()
            self._side_by_side = None
        image, *results = self._shown or [None]
        alive = [layer for layer in results if layer in self.viewer.layers]
        if wanted and alive and image in self.viewer.layers:
            self._side_by_side = SideBySide(self.viewer, image, alive)
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

    @guarded
    def _on_batch_layers(self) -> None:
        images = self._batch_images()
        items = [
            Item(str(tag(layer).get("case") or layer.name), partial(layer_volume, layer))
            for layer in images
        ]
        self._start_batch(items, None, images)

    @guarded
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
        self._start_batch(files_of(folder), out, [])

    def _start_batch(self, items: Sequence[Item], out: Path | None, sources: list[Image]) -> None:
        path = self.model
        if self._model_obstacle() or path is None or not items:
            return
        vote = self.reliability.isChecked()
        rows: list[Row] = []
        self._rows, self._out, self._sources = rows, out, list(sources)
        self._doing, self._part = _BATCH, "Volumes done:"
        self.batch.show_rows(rows)
        remember_model(path)
        self._start(
            f"Segment {len(items)} volumes",
            lambda report, stop: segment_several(path, items, out, vote, rows, report, stop),
            lambda _: self._on_batch_done(len(items)),
        )

    @guarded
    def _on_progress(self, done: int, total: int) -> None:
        super()._on_progress(done, total)
        self._show_new_rows()

    def _show_new_rows(self) -> None:
        if len(self._rows) != self.batch.table.rowCount():
            self.batch.show_rows(self._rows)

    def _finish(self, message: str) -> None:
        """Also of a batch that failed as a whole, say what became of each volume."""
        self._show_new_rows()
        super()._finish(message)

    @guarded
    def _on_cancelled(self) -> None:
        if self._doing == _BATCH:
            self._on_batch_done(None)
        else:
            super()._on_cancelled()

    @guarded
    def _on_batch_done(self, count: int | None) -> None:
        """Say what was done, and show the results of layers; `count` is None after Cancel."""
        self.batch.show_rows(self._rows)
        good = [row for row in self._rows if not row.problem]
        where = f"; maps and {SUMMARY} are in {self._out}" if self._out and self._rows else ""
        ending = "Cancelled; " if count is None else ""
        self._finish(f"{ending}{len(good)} volumes segmented{where}.")
        if self._out is None and good:
            self.views.setChecked(False)
            self._in_turns(show_batch(self.viewer, self._rows, self._sources))

    @guarded
    def _on_row_chosen(self, index: int) -> None:
        """Show a volume of the last batch, from its layers or from its files."""
        row = self._rows[index]
        if row.problem or self._job is not None or self._showing:
            return
        if self._out is None:
            show_case(self.viewer, row.case)
            self.results.choose_case(row.case)
            return
        self._doing, out = f"Reading {row.case}…", self._out
        self._start(
            f"Read {row.case}",
            lambda report, stop: read_row(row, out),
            lambda contents: self._on_row_read(row.case, contents),
        )

    @guarded
    def _on_row_read(self, case: str, contents: list[LayerData]) -> None:
        self._finish("")

        def show() -> Iterator[None]:
            yield from show_row(self.viewer, contents)
            self.results.choose_case(case)

        self._in_turns(show())
