"""Dock `Score`: a prediction against a reference, in numbers, per slice, and where it goes wrong."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.viewer
import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import show_info
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.choosers import LayerChooser
from napari_uda.gui.geometry import tag
from napari_uda.gui.navigation import AXIS_NAMES, current_slice, go_to_slice
from napari_uda.gui.score_table import ScoreTable
from napari_uda.gui.scoring import QUANTITIES, LayerScores, score_layers
from napari_uda.gui.worker import Job, Report, guarded

if TYPE_CHECKING:
    from napari_uda.gui.slice_curve import SliceCurve

_WIDE = 1.3  # width over height from which the dock lies rather than stands


class ScoreDock(QWidget):
    """Scores a labels layer against another one in a thread; table and curve lead to slices."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._job: Job | None = None
        self._result: LayerScores | None = None
        self._layer: Labels | None = None
        self._watched: Labels | None = None
        self._message = ""
        self.curve: SliceCurve | None = None
        self._build()
        self._follow_viewer()
        self._update_buttons()

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.predictions = LayerChooser(self._viewer, _is_structures, _rank("prediction"))
        self.predictions.setObjectName("predictions")
        self.predictions.setToolTip("Labels layer to score")
        self.references = LayerChooser(self._viewer, _is_structures, _rank("reference"))
        self.references.setObjectName("references")
        self.references.setToolTip("Labels layer that counts as true")
        self.entropies = LayerChooser(self._viewer, _is_entropy, _rank("entropy"), optional=True)
        self.entropies.setObjectName("entropies")
        self.entropies.setToolTip("Entropy map for the mean entropy per slice")
        self.score = QPushButton("Score")
        self.score.setObjectName("score")
        self.export = QPushButton("Export…")
        self.export.setObjectName("export")
        self.export.setToolTip("Write scores.csv, scores.json and slices.csv into a folder")
        self.status = QLabel()
        self.status.setObjectName("status")
        self.status.setWordWrap(True)
        self.table = ScoreTable()
        self.axes = QComboBox()
        self.axes.setObjectName("axes")
        self.axes.addItems(AXIS_NAMES)
        self.axes.setToolTip("Cut whose slices the curve shows")
        self.quantities = QComboBox()
        self.quantities.setObjectName("quantities")
        for column, (title, _) in QUANTITIES.items():
            self.quantities.addItem(title[:1].upper() + title[1:], column)
        self.quantities.setToolTip("What the curve shows")
        self._lay_out()
        self.score.clicked.connect(self._on_score)
        self.export.clicked.connect(self._on_export)
        self.table.structure_chosen.connect(self._on_structure_chosen)
        self.axes.currentIndexChanged.connect(self._on_curve_changed)
        self.quantities.currentIndexChanged.connect(self._on_curve_changed)
        for chooser in (self.predictions, self.references, self.entropies):
            chooser.currentIndexChanged.connect(self._on_layers_changed)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Prediction", self.predictions)
        form.addRow("Reference", self.references)
        form.addRow("Entropy", self.entropies)
        buttons = QHBoxLayout()
        buttons.addWidget(self.score, 2)
        buttons.addWidget(self.export, 1)
        controls = QVBoxLayout()
        controls.addLayout(form)
        controls.addLayout(buttons)
        controls.addWidget(self.status)
        self._controls = controls
        choices = QHBoxLayout()
        choices.addWidget(self.quantities)
        choices.addWidget(QLabel("per slice,"))
        choices.addWidget(self.axes)
        choices.addStretch(1)
        below = QWidget()
        self._below = QVBoxLayout(below)
        self._below.setContentsMargins(0, 0, 0, 0)
        self._below.addLayout(choices)
        self._hint = QLabel("The curve of every structure over the slices appears here.")
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._hint.setWordWrap(True)
        self._below.addWidget(self._hint, 1)
        self._splitter = QSplitter(Qt.Orientation.Vertical)
        self._splitter.addWidget(self.table)
        self._splitter.addWidget(below)
        self._splitter.setChildrenCollapsible(False)
        self._outer = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self._outer.addLayout(controls)
        self._outer.addWidget(self._splitter, 1)
        self.setMinimumSize(420, 220)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Stand in a side dock, lie in a bottom dock."""
        super().resizeEvent(event)
        wide = self.width() > _WIDE * self.height()
        direction = QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom
        if self._outer.direction() != direction:
            self._outer.setDirection(direction)
            self._splitter.setOrientation(
                Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical
            )
            self._controls.setAlignment(Qt.AlignmentFlag.AlignTop)
            self._share_space()

    def _share_space(self) -> None:
        """Give the table what its rows need, and the curve the rest."""
        if self._splitter.orientation() == Qt.Orientation.Vertical:
            rows = self.table.height_of_rows()
            self._splitter.setSizes([rows, max(140, self._splitter.height() - rows)])
        else:
            self._splitter.setSizes([self._splitter.width() // 2] * 2)

    def _follow_viewer(self) -> None:
        viewer, mark, theme = self._viewer, self._mark_current, self._apply_theme
        viewer.dims.events.current_step.connect(mark)
        viewer.dims.events.order.connect(mark)
        viewer.events.theme.connect(theme)

        def leave() -> None:
            viewer.dims.events.current_step.disconnect(mark)
            viewer.dims.events.order.disconnect(mark)
            viewer.events.theme.disconnect(theme)

        self.destroyed.connect(leave)

    # -- scoring ----------------------------------------------------------------------------------

    def _obstacle(self) -> str:
        """Why Score is not available; empty when it is."""
        if self._job is not None:
            return "Scoring…"
        if self.predictions.layer is None:
            return "No prediction: segment an image, or open a labels file."
        if self.references.layer is None or self.references.layer is self.predictions.layer:
            return "No reference: open the labels that the prediction is compared with."
        return ""

    def _update_buttons(self) -> None:
        obstacle = self._obstacle()
        self.score.setEnabled(not obstacle)
        self.score.setToolTip(obstacle or "Compare prediction and reference")
        self.export.setEnabled(self._result is not None and self._job is None)
        self.status.setText(obstacle or self._message)

    @guarded
    def _on_layers_changed(self) -> None:
        self._update_buttons()

    @guarded
    def _on_score(self) -> None:
        prediction, reference = self.predictions.layer, self.references.layer
        entropy = self.entropies.layer
        if self._obstacle() or prediction is None or reference is None:
            return
        job = Job(
            f"Score {prediction.name}",
            lambda report, stop: _score(prediction, reference, entropy, report, stop),
            self,
        )
        job.succeeded.connect(lambda result: self._on_scored(prediction, result))
        job.failed.connect(self._on_failed)
        job.ended.connect(self._on_ended)
        self._job = job
        self._update_buttons()
        job.start()

    @guarded
    def _on_scored(self, prediction: Labels, result: LayerScores) -> None:
        self._job = None
        self._result, self._layer = result, prediction
        self._watch(prediction)
        summary = result.scores.summary()
        self.table.show_rows(result.scores.rows, summary[-1])
        self.axes.blockSignals(True)
        self.axes.setCurrentIndex(result.coarsest_axis)
        self.axes.blockSignals(False)
        self._make_curve()
        self._draw_curve()
        mean = summary[-1]["dice"]
        value = mean["mean"] if isinstance(mean, dict) else float("nan")
        self._message = f"{tag(prediction).get('case') or prediction.name}: mean Dice {value:.3f}."
        self._update_buttons()
        self._share_space()

    @guarded
    def _on_failed(self, problem: str) -> None:
        self._job = None
        self._message = problem
        self._update_buttons()

    @guarded
    def _on_ended(self) -> None:
        if self._job is not None:
            self._job = None
            self._update_buttons()

    def _watch(self, layer: Labels) -> None:
        """Say so when the scored layer is edited afterwards."""
        if self._watched is not None:
            self._watched.events.paint.disconnect(self._on_edited)
            self._watched.events.data.disconnect(self._on_edited)
        self._watched = layer
        layer.events.paint.connect(self._on_edited)
        layer.events.data.connect(self._on_edited)

    def _on_edited(self) -> None:
        self._message = "The prediction was edited: press Score again."
        self._update_buttons()

    # -- curve and navigation ---------------------------------------------------------------------

    def _make_curve(self) -> None:
        if self.curve is None:
            from napari_uda.gui.slice_curve import SliceCurve

            self.curve = SliceCurve()
            self.curve.slice_chosen.connect(self._on_slice_chosen)
            self._below.replaceWidget(self._hint, self.curve)
            self._below.setStretchFactor(self.curve, 1)
            self._hint.deleteLater()
            self._apply_theme()

    def _draw_curve(self) -> None:
        if self.curve is None or self._result is None:
            return
        quantity = self.quantities.currentData()
        title, top = QUANTITIES[quantity]
        lines = self._result.lines(self.axes.currentIndex(), quantity)
        self.curve.show_curves(lines, title, top)
        self._mark_current()

    @guarded
    def _on_curve_changed(self) -> None:
        self._draw_curve()

    @guarded
    def _on_structure_chosen(self, label: int) -> None:
        if self._result is None:
            return
        if self.curve is not None:
            self.curve.emphasise(label or None)
        worst = self._result.worst_slice(self.axes.currentIndex(), label)
        if worst is not None:
            self._on_slice_chosen(worst)

    @guarded
    def _on_slice_chosen(self, index: int) -> None:
        if self._layer is not None:
            go_to_slice(self._viewer, self._layer, self.axes.currentIndex(), index)
            self._mark_current()

    def _mark_current(self) -> None:
        if self.curve is not None and self._layer is not None:
            self.curve.mark(current_slice(self._viewer, self._layer, self.axes.currentIndex()))

    def _apply_theme(self) -> None:
        if self.curve is not None:
            theme = get_theme(self._viewer.theme)
            self.curve.set_theme(theme.background.as_hex("long"), theme.text.as_hex("long"))

    # -- export -----------------------------------------------------------------------------------

    @guarded
    def _on_export(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the scores")
        if folder:
            self.export_to(Path(folder))

    def export_to(self, folder: Path) -> None:
        """Write scores.csv, scores.json and slices.csv into a folder, in a thread."""
        if self._result is None:
            return
        scores = self._result.scores
        job = Job("Export scores", lambda report, stop: scores.write(folder), self, quiet=True)
        job.succeeded.connect(lambda paths: show_info(f"Scores saved in {folder}"))
        job.failed.connect(self._on_failed)
        job.start()


def _score(
    prediction: Labels,
    reference: Labels,
    entropy: Image | None,
    report: Report,
    stop: threading.Event,
) -> LayerScores:
    """In the thread: score, and import what the result is drawn with."""
    result = score_layers(prediction, reference, entropy)
    import napari_uda.gui.slice_curve  # noqa: F401 - a fifth of a second, not in the main thread

    return result


def _is_structures(layer: Layer) -> bool:
    return (
        isinstance(layer, Labels)
        and layer.ndim == 3
        and tag(layer).get("role") != "reliability"
        and np.issubdtype(layer.data.dtype, np.integer)
    )


def _is_entropy(layer: Layer) -> bool:
    return isinstance(layer, Image) and tag(layer).get("role") == "entropy"


def _rank(role: str) -> Any:
    """Layers of the role first, layers of unknown role next, others last."""
    return lambda layer: {role: 2, None: 1, "": 1}.get(tag(layer).get("role"), 0)
