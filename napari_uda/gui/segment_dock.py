"""Dock `Segment`: a model, an image, Run; the result comes as layers with a legend.

The model can also be adapted to the image first; then layers show the result before and after.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.viewer
from napari.layers import Image, Layer
from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.choosers import LayerChooser
from napari_uda.gui.geometry import layer_volume, tag
from napari_uda.gui.job_dock import JobDock
from napari_uda.gui.layers import RESULT_ROLES, SideBySide, preload, show_steps
from napari_uda.gui.legend import Legend
from napari_uda.gui.models import describe_model, known_models, remember_model
from napari_uda.gui.worker import Job, Report, guarded, load_torch

if TYPE_CHECKING:
    from napari_uda.inference.adapt import Adaptation
    from napari_uda.inference.predict import Prediction

_NOT_IMAGES = ("entropy", "background")
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


@dataclass(frozen=True)
class _Result:
    prediction: "Prediction"
    unreliable: float  # share of the voxels
    seconds: float
    adaptation: "Adaptation | None" = None


class SegmentDock(JobDock):
    """Segments an image layer with a trained run, in a thread, and shows the result."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._side_by_side: SideBySide | None = None
        self._shown: list[Layer] = []
        self._model_problem = ""
        self._doing = ""  # what the job does
        self._build()
        self._list_models()
        self._update_buttons()

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.models = QComboBox()
        self.models.setObjectName("models")
        self.models.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.models.setMinimumContentsLength(12)
        self.models.setToolTip("Run folder of a trained network")
        self.models.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.browse = QPushButton("Browse…")
        self.browse.setToolTip("Choose a run folder (it holds a config.yaml)")
        self.about = QLabel()
        self.about.setObjectName("about")
        self.about.setWordWrap(True)
        self.images = LayerChooser(self._viewer, _is_image, _image_rank)
        self.images.setObjectName("images")
        self.images.setToolTip("Image layer to segment: one grey 3-D volume")
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
        self.legend = Legend()
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        model = QHBoxLayout()
        model.addWidget(self.models, 1)
        model.addWidget(self.browse)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Model", model)
        form.addRow("", self.about)
        form.addRow("Image", self.images)
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
        outer = QVBoxLayout(self)
        outer.addLayout(form)
        outer.addLayout(options)
        outer.addLayout(buttons)
        outer.addLayout(adapting)
        outer.addWidget(self.bar)
        outer.addWidget(self.status)
        outer.addWidget(self.legend, 1)
        self.setMinimumWidth(300)

    def _connect(self) -> None:
        self.models.currentIndexChanged.connect(self._on_model_changed)
        self.browse.clicked.connect(self._on_browse)
        self.images.currentIndexChanged.connect(self._on_image_changed)
        self.run.clicked.connect(self._on_run)
        self.adapt.clicked.connect(self._on_adapt)
        self.views.toggled.connect(self._on_views_toggled)

    # -- models -----------------------------------------------------------------------------------

    def add_model(self, path: Path) -> None:
        """Choose a run folder, listed or not."""
        path = Path(path).resolve()
        index = self.models.findData(str(path))
        if index < 0:
            self.models.addItem(f"{path.name} ({path.parent.name})", str(path))
            index = self.models.count() - 1
        self.models.setCurrentIndex(index)

    def _model(self) -> Path | None:
        data = self.models.currentData()
        return Path(data) if data else None

    def _list_models(self) -> None:
        self.models.blockSignals(True)
        for title, path in known_models():
            self.models.addItem(title, str(path))
        self.models.blockSignals(False)

    @guarded
    def _on_browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Run folder of a trained network")
        if chosen:
            self.add_model(Path(chosen))

    @guarded
    def _on_model_changed(self) -> None:
        self._describe()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Describe the chosen model, which also loads torch before it is needed."""
        super().showEvent(event)
        if not self.about.text():
            self._describe()

    def _describe(self) -> None:
        path = self._model()
        self._model_problem = ""
        self._update_buttons()
        if path is None:
            return
        self.about.setText("Reading the model…")
        job = Job("Read the model", lambda report, stop: _read_model(path), self, quiet=True)
        job.succeeded.connect(lambda text: self._on_described(path, text, ""))
        job.failed.connect(lambda problem: self._on_described(path, "", problem))
        job.start()

    @guarded
    def _on_described(self, path: Path, text: str, problem: str) -> None:
        if path == self._model():  # not another one by now
            self.about.setText(text)
            self._model_problem = problem
            self._update_buttons()

    # -- running ----------------------------------------------------------------------------------

    @guarded
    def _on_image_changed(self) -> None:
        self._update_buttons()

    def _obstacle(self) -> str:
        """Why Run and Adapt are not available; empty when they are."""
        if self._job is not None:
            return self._doing
        if self._showing:
            return "Showing the result…"
        if self._model() is None:
            return "No model: choose a run folder with Browse…"
        if self._model_problem:
            return self._model_problem
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
        self.cancel.setEnabled(running)
        self.views.setEnabled(bool(self._shown) and not running and not self._showing)
        self.status.setText(obstacle or self._message)
        self.bar.setVisible(running)

    @guarded
    def _on_run(self) -> None:
        path, layer = self._model(), self.images.layer
        if self._obstacle() or path is None or layer is None:
            return
        vote = self.reliability.isChecked()
        self._doing, self._part = "Segmenting…", "Slice"
        remember_model(path)
        self._start(
            f"Segment {layer.name}",
            lambda report, stop: _segment(path, layer, vote, report, stop),
            lambda result: self._on_succeeded(layer, vote, result),
        )

    @guarded
    def _on_adapt(self) -> None:
        path, layer = self._model(), self.images.layer
        if self._obstacle() or path is None or layer is None:
            return
        method = self.way.currentData()
        self._doing, self._part = "Adapting…", "Adapting: part"
        remember_model(path)
        self._start(
            f"Adapt to {layer.name}",
            lambda report, stop: _adapt(path, layer, method, report, stop),
            lambda result: self._on_adapted(layer, result),
        )

    @guarded
    def _on_succeeded(self, layer: Image, vote: bool, result: _Result) -> None:
        self._finish("")
        self.views.setChecked(False)
        roles = [role for role in RESULT_ROLES if vote or role != "reliability"]
        steps = show_steps(self._viewer, result.prediction, layer, roles)
        self._in_turns(self._show(steps, result))

    @guarded
    def _on_adapted(self, layer: Image, result: _Result) -> None:
        adaptation = result.adaptation
        assert adaptation is not None
        self._finish("")
        self.views.setChecked(False)
        # each of the two updates its own layers when the same is done again
        before = replace(adaptation.before, run=f"{adaptation.before.run} before adaptation")
        steps: Iterator[Callable[[], Layer]] = show_steps(
            self._viewer, before, layer, _ADAPTED_ROLES, " before"
        )
        if not adaptation.reverted:
            after = replace(adaptation.after, run=f"{adaptation.after.run} adapted")
            more = show_steps(self._viewer, after, layer, _ADAPTED_ROLES, " after")
            steps = chain(steps, islice(more, 1, None))  # the image is there already
        self._in_turns(self._show(steps, result))

    def _show(self, steps: Iterator[Callable[[], Layer]], result: _Result) -> Iterator[None]:
        self._shown = []
        for step in steps:
            self._shown.append(step())
            yield
        self._on_shown(result)

    def _on_shown(self, result: _Result) -> None:
        prediction, adaptation = result.prediction, result.adaptation
        if adaptation is None:
            self.legend.show_structures(prediction.names, _by_value(prediction))
            share = (
                f"; {result.unreliable:.1%} of the voxels unreliable" if result.unreliable else ""
            )
            self._message = f"{prediction.case}: segmented in {result.seconds:.1f} s{share}."
        else:
            was = None if adaptation.reverted else _by_value(adaptation.before)
            self.legend.show_structures(prediction.names, _by_value(adaptation.after), was)
            self._message = _about(adaptation, result.seconds)
        *earlier, prediction_layer = (
            layer for layer in self._shown if tag(layer).get("role") == "prediction"
        )
        for layer in earlier:  # two predictions on top of each other show neither
            layer.visible = False
        prediction_layer.visible = True
        if prediction_layer in self._viewer.layers:
            self._viewer.layers.selection.active = prediction_layer

    @guarded
    def _on_views_toggled(self, wanted: bool) -> None:
        if self._side_by_side is not None:
            self._side_by_side.leave()
            self._side_by_side = None
        image, *results = self._shown or [None]
        alive = [layer for layer in results if layer in self._viewer.layers]
        if wanted and alive and image in self._viewer.layers:
            self._side_by_side = SideBySide(self._viewer, image, alive)


def _read_model(path: Path) -> str:
    """In the thread: describe, and import early what the first run would wait for."""
    preload()
    return describe_model(path)


def _segment(
    model: Path, layer: Image, vote: bool, report: Report, stop: threading.Event
) -> _Result:
    """In the thread: segment and count."""
    load_torch()
    from napari_uda.inference.predict import predict

    start = time.perf_counter()
    volume = layer_volume(layer)
    prediction = predict(model, volume, reliability=vote, on_progress=report, stop=stop)
    return _Result(
        prediction=prediction,
        unreliable=float((prediction.reliability == 2).mean()) if vote else 0.0,
        seconds=time.perf_counter() - start,
    )


def _adapt(
    model: Path, layer: Image, method: Any, report: Report, stop: threading.Event
) -> _Result:
    """In the thread: adapt and segment twice."""
    load_torch()
    from napari_uda.inference.adapt import adapt

    start = time.perf_counter()
    (adaptation,) = adapt(model, layer_volume(layer), method=method, on_progress=report, stop=stop)
    return _Result(
        prediction=adaptation.after,
        unreliable=0.0,
        seconds=time.perf_counter() - start,
        adaptation=adaptation,
    )


def _about(adaptation: "Adaptation", seconds: float) -> str:
    """What adaptation did, in one or two sentences."""
    was, now = adaptation.entropy_before, adaptation.entropy_after
    case = adaptation.before.case
    if adaptation.reverted:
        return (
            f"{case}: the unadapted result is kept, because {adaptation.reason}. "
            f"Entropy would have gone from {was:.3f} to {now:.3f}."
        )
    return f"{case}: adapted in {seconds:.1f} s; entropy {was:.3f} → {now:.3f}."


def _by_value(prediction: "Prediction") -> dict[int, float]:
    """Label value to millilitres."""
    volumes = prediction.volumes_ml()
    return {value: volumes[name] for value, name in prediction.names.items()}


def _is_image(layer: Layer) -> bool:
    return (
        isinstance(layer, Image)
        and layer.ndim == 3
        and not layer.rgb
        and not layer.multiscale
        and tag(layer).get("role") not in _NOT_IMAGES
        and tag(layer).get("part", "translated") == "translated"  # no difference or attention map
    )


def _image_rank(layer: Layer) -> int:
    return 1 if tag(layer).get("role") == "image" else 0
