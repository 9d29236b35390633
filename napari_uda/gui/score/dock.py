"""Dock `Score`: predictions against a reference, in numbers, per slice, and where they go wrong."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.viewer
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import show_info
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QBoxLayout,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.gui.kit.canvas import free_in_canvas
from napari_uda.gui.kit.dock import CANCELLING, Dock, bind_keys, share_place
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.jobs import Job, Report
from napari_uda.gui.kit.layers import find
from napari_uda.gui.kit.layout import LongerSide
from napari_uda.gui.kit.navigation import current_slice, go_to_slice, go_to_voxel
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.score.cohort import Cohort
from napari_uda.gui.score.cohort_panel import CohortPanel
from napari_uda.gui.score.edit_banner import EditBanner
from napari_uda.gui.score.edit_journal import leftovers
from napari_uda.gui.score.edit_session import EditSession
from napari_uda.gui.score.editing import Editing
from napari_uda.gui.score.error_layer import (
    error_layer,
    errors_of,
    hide_errors,
    show_errors,
    update_errors,
)
from napari_uda.gui.score.score_choices import ScoreChoices
from napari_uda.gui.score.score_export import Exported, calibrations_of, export_scores
from napari_uda.gui.score.score_table import ScoreTable
from napari_uda.gui.score.scoring import LayerScores, method_of, score_layers
from napari_uda.gui.score.slice_panel import DISAGREEMENT_KEY, WORST_KEY, SlicePanel

if TYPE_CHECKING:
    from napari_uda.evaluation.disagreement import Region
    from napari_uda.evaluation.overlap import Box
    from napari_uda.gui.score.calibration_panel import CalibrationPanel


@dataclass(frozen=True, eq=False)
class _Target:
    """A layer to score: its entropy map, and the session that follows its edits."""

    layer: Labels
    entropy: Image | None
    session: EditSession | None


class ScoreDock(Dock):
    """Scores labels layers against another one in threads; table, curve and keys lead to slices."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        share_place(self)
        free_in_canvas(napari_viewer)
        self._job: Job | None = None
        self._results: list[LayerScores] = []
        self._layers: list[Labels] = []
        self._cohort = Cohort()
        self._editing = Editing(napari_viewer, self)
        self._doing = ""  # what the job does
        self._message = ""
        self._walk: tuple[object, int] = (None, -1)  # what is walked through, and how far
        self._regions: tuple[object, list[tuple[Region, tuple[int, int, int]]]] = (None, [])
        self._calibrated: object = None  # the scores that the calibration tab shows
        self._offered = False
        self.calibration: CalibrationPanel | None = None
        self._build()
        self._connect()
        self._follow_viewer()
        self._on_layers_changed()

    # -- construction -----------------------------------------------------------------------------

    @property
    def viewer(self) -> napari.viewer.Viewer:
        """Whose layers are scored."""
        return self._viewer

    @property
    def is_settled(self) -> bool:
        """Whether all that is asked for is scored, and every edit too."""
        return self._job is None and not self._editing.is_busy and super().is_settled

    @property
    def editing(self) -> Editing:
        """What follows the edits, and says so in signals."""
        return self._editing

    @property
    def results(self) -> list[LayerScores]:
        """What was scored last: the prediction, and those that it is compared with."""
        return list(self._results)

    def _build(self) -> None:
        self.banner = EditBanner()
        self.choices = ScoreChoices(self._viewer)
        self.score = QPushButton("Score")
        self.score.setObjectName("score")
        self.cancel = QPushButton("Cancel")
        self.cancel.setObjectName("cancel")
        self.cancel.setToolTip("Stop; nothing is changed")
        self.save = QPushButton("Save edits…")
        self.save.setObjectName("save_edits")
        self.save.setToolTip(
            "Write the edited labels as NIfTI on their file's grid; the prediction stays as it was"
        )
        self.export = QPushButton("Export…")
        self.export.setObjectName("export")
        self.export.setToolTip(
            "Write scores.csv, scores.json, slices.csv, cohort.csv and report.html into a folder"
        )
        self.status = QLabel()
        self.status.setObjectName("status")
        self.status.setWordWrap(True)
        self.table = ScoreTable()
        self.slices = SlicePanel()
        self.cohort = CohortPanel()
        self._lay_out()

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.score, 2)
        buttons.addWidget(self.cancel, 1)
        buttons.addWidget(self.save, 1)
        buttons.addWidget(self.export, 1)
        controls = QVBoxLayout()
        controls.addWidget(self.banner)
        controls.addWidget(self.choices)
        controls.addLayout(buttons)
        controls.addWidget(self.status)
        self._controls = controls
        self._splitter = QSplitter(Qt.Orientation.Vertical)
        self._splitter.addWidget(self.table)
        self._splitter.addWidget(self.slices)
        self._splitter.setChildrenCollapsible(False)
        self._doubt = QWidget()
        self._doubt_hint = QLabel("Score a prediction with its entropy map to see its calibration.")
        self._doubt_hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._doubt_hint.setWordWrap(True)
        column = QVBoxLayout(self._doubt)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._doubt_hint)
        self.tabs = QTabWidget()
        self.tabs.setObjectName("tabs")
        self.tabs.addTab(self._splitter, "Case")
        self.tabs.addTab(self.cohort, "Cohort")
        self.tabs.addTab(self._doubt, "Calibration")
        self._outer = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self._outer.addLayout(controls)
        self._outer.addWidget(self.tabs, 1)
        self.setMinimumSize(420, 220)
        LongerSide(self).turned.connect(self._lay)

    def _connect(self) -> None:
        self.choices.layers_changed.connect(self._on_layers_changed)
        self.choices.protocol_changed.connect(self._on_protocol_changed)
        self.score.clicked.connect(self._on_score)
        self.cancel.clicked.connect(self._on_cancel)
        self.save.clicked.connect(self._on_save)
        self.export.clicked.connect(self._on_export)
        self.table.structure_chosen.connect(self._on_structure_chosen)
        self.slices.slice_chosen.connect(self._on_slice_chosen)
        self.slices.worst_pressed.connect(self._on_worst)
        self.slices.disagreement_pressed.connect(self._on_disagreement)
        self.slices.errors_toggled.connect(self._on_errors)
        self.slices.choice_changed.connect(self._on_choice)
        self.cohort.folders_pressed.connect(self._on_folders)
        self.cohort.clear_pressed.connect(self._on_clear)
        self.tabs.currentChanged.connect(self._on_tab)
        self.banner.restore_pressed.connect(self._editing.restore)
        self.banner.discard_pressed.connect(lambda leftover: leftover.discard())
        editing = self._editing
        editing.changed.connect(self._on_edited)
        editing.settled.connect(self._on_settled)
        editing.replaced.connect(self._on_replaced)
        editing.split.connect(self._on_split)
        editing.restored.connect(self.choices.predictions.choose)
        editing.failed.connect(self._on_problem)

    @guarded
    def _lay(self, wide: bool) -> None:
        """Stand in a side dock, lie in a bottom dock."""
        ways = QBoxLayout.Direction
        self._outer.setDirection(ways.LeftToRight if wide else ways.TopToBottom)
        self._splitter.setOrientation(
            Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical
        )
        self._controls.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._share_space()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Offer what an earlier session left unsaved."""
        super().showEvent(event)
        if not self._offered:
            self._offered = True
            self._aside("Look for unsaved edits", leftovers, self.banner.offer)

    def _share_space(self) -> None:
        """Give the table what its rows need, and the curve the rest."""
        if self._splitter.orientation() == Qt.Orientation.Vertical:
            rows = min(self.table.height_of_rows(), self._splitter.height() // 2)
            self._splitter.setSizes([rows, max(140, self._splitter.height() - rows)])
        else:
            self._splitter.setSizes([self._splitter.width() // 2] * 2)

    def _follow_viewer(self) -> None:
        viewer, mark, theme = self._viewer, self._mark_current, self._apply_theme
        removed, editing = self._on_removed, self._editing
        viewer.dims.events.current_step.connect(mark)
        viewer.dims.events.order.connect(mark)
        viewer.events.theme.connect(theme)
        viewer.layers.events.removed.connect(removed)

        def leave() -> None:
            viewer.dims.events.current_step.disconnect(mark)
            viewer.dims.events.order.disconnect(mark)
            viewer.events.theme.disconnect(theme)
            viewer.layers.events.removed.disconnect(removed)
            editing.close()

        self.destroyed.connect(leave)
        worst, error = self.slices.worst, self.slices.disagreement
        bind_keys(
            viewer,
            self,
            {WORST_KEY: (worst, self._on_worst), DISAGREEMENT_KEY: (error, self._on_disagreement)},
        )
        self._apply_theme()

    # -- scoring ----------------------------------------------------------------------------------

    def _update_buttons(self) -> None:
        obstacle = self._doing if self._job is not None else self.choices.obstacle()
        self.score.setEnabled(not obstacle)
        self.score.setToolTip(obstacle or "Compare prediction and reference")
        resting = self._job is None
        self.cancel.setVisible(not resting)
        self.cancel.setEnabled(obstacle != CANCELLING)
        self.export.setEnabled(bool(self._results) and resting)
        self.cohort.folders.setEnabled(resting)
        self.save.setVisible(self._editing.is_edited(self.choices.predictions.layer))
        self.status.setText(obstacle or self._message)

    @guarded
    def _on_layers_changed(self) -> None:
        layer = self.choices.predictions.layer
        if layer is not None and layer in self._viewer.layers:
            self._editing.follow(layer)
        self._update_buttons()

    @guarded
    def _on_protocol_changed(self) -> None:
        self._show_cohort()
        if self._results and self.score.isEnabled():
            self._on_score()

    @guarded
    def _on_score(self) -> None:
        prediction, reference = self.choices.predictions.layer, self.choices.references.layer
        if self._job is not None or self.choices.obstacle() or prediction is None:
            return
        session = self._editing.follow(prediction)
        targets = [_Target(prediction, self.choices.entropies.layer, session)]
        targets += [
            _Target(layer, self.choices.entropy_of(layer), None)
            for layer in self.choices.compared()
        ]
        protocol = self.choices.protocol
        self._start(
            f"Score {prediction.name}",
            lambda report, stop: _score(targets, reference, protocol, report, stop),
            lambda results: self._on_scored(targets, results),
        )

    def _start(self, title: str, work: Any, on_success: Callable[[Any], None]) -> None:
        """One scoring at a time."""
        job = Job(title, work, self)
        job.succeeded.connect(on_success)
        job.failed.connect(self._on_failed)
        job.ended.connect(lambda: self._on_ended(job))
        self._job, self._doing = job, "Scoring…"
        self._update_buttons()
        job.start()

    @guarded
    def _on_cancel(self) -> None:
        if self._job is not None:
            self._doing = CANCELLING
            self._update_buttons()
            self._job.cancel()

    def _aside(
        self, title: str, work: Callable[[], Any], on_success: Callable[[Any], None]
    ) -> None:
        """What may run beside it: regions, errors, calibration, export."""
        job = Job(title, lambda report, stop: work(), self, quiet=True)
        job.succeeded.connect(on_success)
        job.failed.connect(self._on_problem)
        job.start()

    @guarded
    def _on_scored(self, targets: list[_Target], results: list[LayerScores]) -> None:
        self._job = None
        self._results = results
        self._layers = [target.layer for target in targets]
        session = targets[0].session
        if session is not None:
            session.score_along(results[0])
        for result in results:
            self._cohort.add(result.method, result.scores)
        self.slices.show_results(results)
        self._message = f"{results[0].case}: mean Dice {results[0].mean_dice:.3f}."
        self._show_tables()
        self._share_space()
        self._mark_current()
        self._show_errors_anew()
        self._calibrate()

    def _show_tables(self) -> None:
        self.table.show_scores([(result.name, result.scores) for result in self._results])
        self._show_cohort()
        self._update_buttons()

    def _show_cohort(self) -> None:
        self.cohort.show_methods(self._cohort.methods(self.choices.protocol))

    @guarded
    def _on_failed(self, problem: str) -> None:
        self._job = None
        self._on_problem(problem)

    @guarded
    def _on_problem(self, problem: str) -> None:
        self._message = problem
        self._update_buttons()

    @guarded
    def _on_ended(self, job: Job) -> None:
        if self._job is job:  # it was cancelled, or failed
            self._job = None
            self._message = "Cancelled."
            self._update_buttons()

    # -- edits ------------------------------------------------------------------------------------

    def _follows(self, layer: Labels) -> bool:
        """Whether the shown scores are those of this layer."""
        return bool(self._layers) and self._layers[0] is layer

    @guarded
    def _on_split(self, layer: Labels) -> None:
        if self._follows(layer):
            self._results[0] = replace(self._results[0], name=layer.name, method=method_of(layer))
        self._update_buttons()

    @guarded
    def _on_edited(self, layer: Labels, box: "Box") -> None:
        """The touched slice is scored again: show it before the volume is."""
        if not self._follows(layer):
            return
        self._results[0] = self._results[0].updated()
        self.slices.show_results(self._results, again=True)
        self._mark_current()
        errors = error_layer(self._viewer)
        if errors is not None and self.slices.rank == 0:
            update_errors(errors, self._results[0], self.slices.label, box)
        self._update_buttons()

    @guarded
    def _on_settled(self, layer: Labels) -> None:
        """The volume is scored again."""
        if self._follows(layer):
            result = self._results[0] = self._results[0].updated()
            self._cohort.add(result.method, result.scores)
            self._message = f"{result.case}, edited: mean Dice {result.mean_dice:.3f}."
            self.slices.show_results(self._results, again=True)
            self._mark_current()
            self._show_tables()
            self._calibrate()
        self._update_buttons()

    @guarded
    def _on_replaced(self, layer: Labels) -> None:
        if self._follows(layer):
            self._on_problem("The prediction was replaced: press Score again.")

    @guarded
    def _on_save(self) -> None:
        layer = self.choices.predictions.layer
        if layer is None:
            return
        name = f"{tag(layer).get('case') or layer.name}_labels_edited.nii.gz"
        path, _ = QFileDialog.getSaveFileName(self, "Edited labels", name, "NIfTI (*.nii.gz *.nii)")
        if path:
            self._editing.save(layer, Path(path))

    # -- curve and navigation ---------------------------------------------------------------------

    def _chosen(self) -> tuple[Labels, LayerScores]:
        """The layer and scores that the slices panel speaks of.

        Raises:
            InputError: if the layer was removed.
        """
        rank = min(self.slices.rank, len(self._results) - 1)
        if not self._results or self._layers[rank] not in self._viewer.layers:
            raise InputError("The scored layer was removed; open it and score again")
        return self._layers[rank], self._results[rank]

    @guarded
    def _on_structure_chosen(self, rank: int, label: int) -> None:
        self.slices.choose(rank, label)
        self._walk = (None, -1)
        self._on_worst()

    @guarded
    def _on_worst(self) -> None:
        """Walk from the worst slice to better ones."""
        layer, result = self._chosen()
        axis, label = self.slices.axis, self.slices.label
        ranking = result.slices_by_dice(axis, label)
        if not ranking:
            return
        index = ranking[self._step((result, axis, label, "slices"), len(ranking))]
        go_to_slice(self._viewer, layer, axis, index)
        self._mark_current()

    def _step(self, walk: object, length: int) -> int:
        """The next place of a walk, its first one when it is another walk than before."""
        known, place = self._walk
        place = (place + 1) % length if known == walk else 0
        self._walk = (walk, place)
        return place

    @guarded
    def _on_disagreement(self) -> None:
        """Walk from the largest region of error to smaller ones."""
        _, result = self._chosen()
        wanted = (result, self.slices.label)
        if self._regions[0] == wanted:
            self._go_to_region()
            return

        def on_found(found: list[Any]) -> None:
            self._regions = (wanted, found)
            self._go_to_region()

        self._aside("Find errors", lambda: result.disagreements(wanted[1]), on_found)

    @guarded
    def _go_to_region(self) -> None:
        layer, result = self._chosen()
        wanted, regions = self._regions
        if not regions:
            self._on_problem("Prediction and reference agree everywhere.")
            return
        from napari_uda.evaluation.disagreement import KINDS

        place = self._step((wanted, "regions"), len(regions))
        region, position = regions[place]
        go_to_voxel(self._viewer, layer, self.slices.axis, position)
        self._mark_current()
        millilitres = region.voxels * _voxel_ml(result)
        self._on_problem(
            f"Error {place + 1} of {len(regions)}: {KINDS[region.kind]}, {millilitres:.2f} mL."
        )

    @guarded
    def _on_slice_chosen(self, index: int) -> None:
        layer, _ = self._chosen()
        go_to_slice(self._viewer, layer, self.slices.axis, index)
        self._mark_current()

    @guarded
    def _on_choice(self) -> None:
        self._mark_current()
        self._show_errors_anew()
        self._calibrate()

    @guarded
    def _mark_current(self) -> None:
        if self._layers and self._layers[0] in self._viewer.layers:
            self.slices.mark(current_slice(self._viewer, self._layers[0], self.slices.axis))

    @guarded
    def _on_removed(self) -> None:
        if error_layer(self._viewer) is None and self.slices.errors.isChecked():
            self.slices.errors.setChecked(False)

    @guarded
    def _apply_theme(self) -> None:
        theme = get_theme(self._viewer.theme)
        colours = theme.background.as_hex("long"), theme.text.as_hex("long")
        self.slices.set_theme(*colours)
        if self.calibration is not None:
            self.calibration.set_theme(*colours)

    # -- errors and calibration -------------------------------------------------------------------

    @guarded
    def _on_errors(self, wanted: bool) -> None:
        if wanted:
            self._show_errors_anew()
        else:
            hide_errors(self._viewer)

    def _show_errors_anew(self) -> None:
        if not self.slices.errors.isChecked() or not self._results:
            return
        layer, result = self._chosen()
        label = self.slices.label

        def on_found(errors: Any) -> None:
            if self.slices.errors.isChecked() and layer in self._viewer.layers:
                show_errors(self._viewer, layer, errors)

        self._aside("Find errors", lambda: errors_of(result, label), on_found)

    @guarded
    def _on_tab(self) -> None:
        self._calibrate()

    def _calibrate(self) -> None:
        """Only while it is looked at: it takes seconds for a large volume."""
        if self.tabs.currentWidget() is not self._doubt or not self._results:
            return
        result = self._results[min(self.slices.rank, len(self._results) - 1)]
        if self._calibrated is result or result.entropy is None:
            return
        self._calibrated = result

        def work() -> Any:
            found = calibrations_of(result)
            import napari_uda.gui.score.calibration_panel  # noqa: F401 - not in the main thread

            return found

        self._aside("Calibration", work, self._on_calibrated)

    @guarded
    def _on_calibrated(self, found: list[Any]) -> None:
        if self.calibration is None:
            from napari_uda.gui.score.calibration_panel import CalibrationPanel

            self.calibration = CalibrationPanel()
            self._doubt.layout().replaceWidget(self._doubt_hint, self.calibration)
            self._doubt_hint.deleteLater()
            self._apply_theme()
        self.calibration.show_calibrations(found)

    # -- cohort and export ------------------------------------------------------------------------

    @guarded
    def _on_folders(self) -> None:
        predictions = QFileDialog.getExistingDirectory(self, "Folder of predictions")
        labels = predictions and QFileDialog.getExistingDirectory(self, "Folder of labels")
        if labels:
            self.score_folders(Path(predictions), Path(labels))

    def score_folders(self, predictions: Path, labels: Path) -> None:
        """Score every case of a folder into the cohort, in a thread."""
        protocol = self.choices.protocol

        def work(report: Report, stop: threading.Event) -> Any:
            from napari_uda.evaluation.report import evaluate_folders

            def on_progress(done: int, total: int) -> None:
                report(done, total)
                if stop.is_set():
                    raise Cancelled

            return evaluate_folders(predictions, labels, protocol=protocol, on_progress=on_progress)

        self._start("Score folders", work, lambda scores: self._on_folder(predictions, scores))

    @guarded
    def _on_folder(self, predictions: Path, scores: Any) -> None:
        self._job = None
        name = predictions.name
        if name == "predictions":  # of a run, which is what they are known by
            name = predictions.resolve().parent.name
        self._cohort.add(name, scores)
        self._message = (
            f"{name}: {len(scores.grids)} cases, mean Dice {scores.means('dice')['mean']:.3f}."
        )
        self._show_cohort()
        self._update_buttons()

    @guarded
    def _on_clear(self) -> None:
        self._cohort.clear()
        self._show_cohort()

    @guarded
    def _on_export(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the scores")
        if folder:
            self.export_to(Path(folder))

    def export_to(self, folder: Path) -> None:
        """Write the tables, the cohort and the report page into a folder, in a thread."""
        if not self._results:
            return
        exported = [
            Exported(
                result,
                run=str(tag(layer).get("run") or ""),
                edited=tag(layer).get("role") == "edited",
                image=self._image_of(layer, result),
            )
            for layer, result in zip(self._layers, self._results, strict=True)
        ]
        methods = self._cohort.methods(self.choices.protocol)
        self._aside(
            "Export scores",
            lambda: export_scores(folder, exported, methods),
            lambda paths: show_info(f"{len(paths)} files saved in {folder}"),
        )

    def _image_of(self, layer: Labels, result: LayerScores) -> Any:
        """Grey values that the layer lies on; None when no image of its case and shape is open."""

        def fits(other: Layer) -> bool:
            return isinstance(other, Image) and other.data.shape == layer.data.shape

        image = find(self._viewer, role="image", case=result.case)
        return image.data if image is not None and fits(image) else None


def _score(
    targets: list[_Target],
    reference: Labels,
    protocol: str,
    report: Report,
    stop: threading.Event,
) -> list[LayerScores]:
    """In the thread: score, and import what the result is drawn with."""
    results = []
    for done, target in enumerate(targets):
        report(done, len(targets))
        if stop.is_set():
            raise Cancelled
        labels = None if target.session is None else target.session.labels()
        results.append(score_layers(target.layer, reference, target.entropy, protocol, labels))
    if stop.is_set():
        raise Cancelled
    import napari_uda.gui.score.slice_curve  # noqa: F401 - a fifth of a second, not in the main thread

    return results


def _voxel_ml(result: LayerScores) -> float:
    depth, height, width = result.spacing_mm
    return depth * height * width / 1000
