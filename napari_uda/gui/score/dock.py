"""Dock `Score`: predictions against a reference, in numbers, per slice, and where they go wrong."""

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.viewer
from napari.layers import Labels
from napari.utils.notifications import show_info
from napari.utils.theme import get_theme
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QBoxLayout, QFileDialog, QSplitter, QTabWidget, QWidget

from napari_uda.core.errors import InputError
from napari_uda.core.words import number_of
from napari_uda.data.edit_journal import journal_folder, leftovers
from napari_uda.evaluation.cohort import Cohort
from napari_uda.evaluation.matching import is_unnamed
from napari_uda.gui.kit.dock import AROUND, CANCELLING, JobDock, open_dock
from napari_uda.gui.kit.export_picture import picture_button
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.hatching import refresh_hatching
from napari_uda.gui.kit.jobs import Report, reporting
from napari_uda.gui.kit.keys import bind_keys
from napari_uda.gui.kit.layers import structure_layers, structure_names
from napari_uda.gui.kit.layout import LongerSide, Scrolling, column, wrapped
from napari_uda.gui.kit.navigation import current_slice, go_to_slice, go_to_voxel
from napari_uda.gui.kit.panel import Following, listen
from napari_uda.gui.kit.renaming import is_same, rename_in_layers
from napari_uda.gui.kit.tables import NAME_PIXELS, TablePlace
from napari_uda.gui.kit.widgets import Foldable, button, compact, label, named
from napari_uda.gui.score.added_layers import ROLE as ERROR
from napari_uda.gui.score.added_layers import (
    error_layer,
    errors_of,
    hide_errors,
    show_errors,
    update_errors,
)
from napari_uda.gui.score.correct_and_continue import CorrectedCase, corrected_cases, save_cases
from napari_uda.gui.score.edit_tools import EditTools, ToolOrder, use_tool
from napari_uda.gui.score.editing import EditBanner, Editing
from napari_uda.gui.score.score_choices import ScoreChoices
from napari_uda.gui.score.score_export import Exported, calibrations_of, export_scores
from napari_uda.gui.score.score_tables import BY_IMPORTANCE, CohortPanel, ScoreTable
from napari_uda.gui.score.scoring import LayerScores, method_of
from napari_uda.gui.score.scoring_work import Target, score_targets, wait_for
from napari_uda.gui.score.slice_panel import SlicePanel

if TYPE_CHECKING:
    from napari_uda.evaluation.disagreement import Region
    from napari_uda.evaluation.figures import Drawing
    from napari_uda.evaluation.overlap import Box
    from napari_uda.gui.score.score_plots import CalibrationPanel

_ASKED = "Names?"
_LEAST_HEIGHT = 220
_LEAST_CURVE_PIXELS, _ROWS_BEFORE_CURVE = 140, 6
_HELP = (
    "Compares a prediction with a reference, structure by structure, by the chosen protocol.",
    "A click on a row leads to the worst slice of that structure; the curve shows every slice.",
    "Paint into the prediction: the touched slice is scored again at once, the volume soon after.",
    "Cohort collects the cases that were scored, or the folders that you add.",
    "Export writes the tables and a report page.",
)


class ScoreDock(JobDock):
    """Scores labels layers against another one in threads; table, curve and keys lead to slices.

    Attributes:
        viewer: whose layers are scored.
        results: what was scored last: the prediction, and those that it is compared with.
        editing: what follows the edits, and says so in signals.
        calibration: the plots of the tab Calibration; None until it is looked at.
    """

    manual = ("Score", _HELP)
    least_height = _LEAST_HEIGHT
    kept = (
        *("predictions", "references", "compare", "entropies", "protocols", "quantities", "axes"),
        *("structures", "tabs"),
    )

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self.results: list[LayerScores] = []
        self._named_above = False  # in the table
        self._layers: list[Labels] = []
        self._reference: Labels | None = None
        self._named: dict[int, str] = {}  # structures of the reference
        self._names = Following(self, self._on_names_changed)
        self._cohort = Cohort()
        self.editing = Editing(napari_viewer, self)
        self._walk: tuple[object, int] = (None, -1)  # what is walked through, and how far
        self._regions: tuple[object, list[tuple[Region, tuple[int, int, int]]]] = (None, [])
        self._calibrated: object = None  # the scores that the calibration tab shows
        self._offered = False
        self._make_room = False  # for the scores that were asked for
        self._by_tool = ""  # what a tool said of the edit that is scored next
        self.calibration: CalibrationPanel | None = None
        self._part = "Case"
        self._build()
        self._lay_out()
        self._connect()
        self._on_theme()
        self._on_names()
        self._on_layers_changed()

    @property
    def is_settled(self) -> bool:
        """Whether all that is asked for is scored, and every edit too."""
        return super().is_settled and not self.editing.is_busy

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.banner = EditBanner(self.editing.restore)
        self.choices = ScoreChoices(self.viewer)
        self.fold = Foldable(
            "What is scored", self.choices, "what_is_scored", opened=True, remembered=True
        )
        self.score = button("Score", slot=self._on_score, name="score")
        self.save = button(
            "Save edits…",
            "Write the edited labels as NIfTI on their file's grid; the prediction stays as it was",
            self._on_save,
            "save_edits",
        )
        self.export = button(
            "Export…",
            "Write scores.csv, scores.json, slices.csv, cohort.csv and report.html into a folder",
            self._on_export,
            "export",
        )
        self.tools = EditTools()
        self.tools_fold = Foldable("Edit tools", self.tools, "edit_tools")
        self.table = ScoreTable()
        self.slices = SlicePanel()
        self.cohort = CohortPanel()
        self._doubt_hint = label("Score a prediction with its entropy map to see its calibration.")
        self._doubt_hint.setAlignment(Qt.AlignmentFlag.AlignCenter)

    def _lay_out(self) -> None:
        export = picture_button(self.picture, "what this tab shows", "scores", short=True)
        buttons = wrapped(
            (self.score, 2),
            (self.cancel, 1),
            (self.save, 1),
            (self.export, 1),
            (export, 1),
        )
        self.open_bar.add(self.help)
        choices, controls = QWidget(), QWidget()
        column(self.banner, self.fold, self.tools_fold, ..., of=choices, margin=0)
        parts = (Scrolling(choices), buttons, self.bar, self.status)
        column(self.open_bar, *parts, ..., of=controls, margin=0)
        self._splitter = QSplitter(Qt.Orientation.Vertical)
        self._table_place = TablePlace(self.table, "Scores", BY_IMPORTANCE, NAME_PIXELS)
        self._splitter.addWidget(self._table_place)
        self._splitter.addWidget(self.slices)
        self._splitter.setChildrenCollapsible(False)
        self._case = Scrolling(self._splitter)
        self._doubt = QWidget()
        self._doubt_place = column(self._doubt_hint, of=self._doubt, margin=0)
        self.tabs = compact(named(QTabWidget(), "tabs"), 1)
        self.tabs.addTab(self._case, "Case")
        self.tabs.addTab(self.cohort, "Cohort")
        self.tabs.addTab(self._doubt, "Calibration")
        self.tabs.addTab(self.choices.matches, "Names")
        self._outer = column(controls, (self.tabs, 1), of=self)
        self._outer.setContentsMargins(*AROUND)
        LongerSide(self).turned.connect(self._on_turned)

    def _connect(self) -> None:
        self.choices.layers_changed.connect(self._on_layers_changed)
        self.choices.protocol_changed.connect(self._on_protocol_changed)
        self.choices.matches.shown.connect(self._on_names)
        self.choices.matches.changed.connect(self._on_protocol_changed)
        self.choices.matches.changed.connect(self._on_matched)
        self.score.clicked.connect(self._on_asked)
        self.table.structure_chosen.connect(self._on_structure_chosen)
        self.table.renamed.connect(self._on_renamed)
        self.slices.slice_chosen.connect(self._on_slice_chosen)
        self.slices.worst.clicked.connect(self._on_worst)
        self.slices.disagreement.clicked.connect(self._on_disagreement)
        self.slices.errors.toggled.connect(self._on_errors)
        self.slices.choice_changed.connect(self._on_choice)
        self.cohort.folders.clicked.connect(self._on_folders)
        self.cohort.clear.clicked.connect(self._on_clear)
        self.tabs.currentChanged.connect(self._on_tab)
        self.tools.wanted.connect(self._on_tool)
        self.tools.go_on.clicked.connect(self._on_go_on)
        editing, viewer = self.editing, self.viewer
        editing.changed.connect(self._on_edited)
        editing.settled.connect(self._on_settled)
        editing.replaced.connect(self._on_replaced)
        editing.split.connect(self._on_split)
        editing.restored.connect(self.choices.predictions.choose)
        editing.failed.connect(self._on_problem)
        listen(self, self._on_moved, viewer.dims.events.current_step, viewer.dims.events.order)
        listen(self, self._on_theme, viewer.events.theme)
        listen(self, self._on_removed, viewer.layers.events.removed)
        bind_keys(
            viewer,
            self,
            (self.slices.worst, self._on_worst),
            (self.slices.disagreement, self._on_disagreement),
            (self.slices.previous, self.slices.previous.click),
            (self.slices.next, self.slices.next.click),
        )

    def picture(self) -> "Drawing | None":
        """The table or plot of the tab in front, as a picture for paper; None while it is empty."""
        shown = self.tabs.currentWidget()
        if shown is self.choices.matches:
            return None
        if shown is self._doubt:
            return None if self.calibration is None else self.calibration.picture()
        return (self.cohort.table if shown is self.cohort else self.table).picture()

    def _on_turned(self, wide: bool) -> None:
        """Stand in a side dock, lie in a bottom dock."""
        ways, sides = QBoxLayout.Direction, Qt.Orientation
        self._outer.setDirection(ways.LeftToRight if wide else ways.TopToBottom)
        self._splitter.setOrientation(sides.Horizontal if wide else sides.Vertical)
        self._share_space()

    def showEvent(self, event: QShowEvent) -> None:
        """Offer what an earlier session left unsaved."""
        super().showEvent(event)
        if not self._offered:
            self._offered = True
            folder = journal_folder()
            self._aside("Look for unsaved edits", lambda: leftovers(folder), self.banner.offer)

    def _share_space(self) -> None:
        """Give the table what its rows need, and the curve the rest."""
        if self._splitter.orientation() == Qt.Orientation.Vertical:
            height = self._splitter.height()
            button = self._table_place.out.sizeHint().height()
            least = self.table.height_of_rows(_ROWS_BEFORE_CURVE)
            rows = button + min(self.table.height_of_rows(), max(least, height // 2 - button))
            self._splitter.setSizes([rows, max(_LEAST_CURVE_PIXELS, height - rows)])
        else:
            self._splitter.setSizes([self._splitter.width() // 2] * 2)

    # -- scoring ----------------------------------------------------------------------------------

    def _update_buttons(self) -> None:
        running = self._job is not None
        doing = CANCELLING if self._cancelling else "Scoring…"
        obstacle = doing if running else self.choices.obstacle()
        self.score.setEnabled(not obstacle)
        self.score.setToolTip(obstacle or "Compare prediction and reference")
        self.cancel.setVisible(running)
        self.cancel.setEnabled(not self._cancelling)
        self.bar.setVisible(running)
        self.export.setEnabled(bool(self.results) and not running)
        self.cohort.folders.setEnabled(not running)
        layer = self.choices.predictions.layer
        self.save.setVisible(self.editing.is_edited(layer))
        self.tools.show_layer(layer if isinstance(layer, Labels) else None, busy=running)
        cases, missing = corrected_cases(self.viewer, layer)
        self.tools.allow_go_on(missing if not cases else "", busy=running)
        self.status.setText(obstacle or self._message)

    def _on_progress(self, done: int, total: int) -> None:
        if total > 1:  # a single prediction has no parts to count
            super()._on_progress(done, total)

    def _on_layers_changed(self) -> None:
        layer = self.choices.predictions.layer
        if isinstance(layer, Labels) and layer in self.viewer.layers:
            self.editing.follow(layer)
        if self.results and self._named_above != self._is_of_others():
            self._show_tables()
        self._update_buttons()

    def _is_of_others(self) -> bool:
        """Whether the shown scores are not of what is chosen now: then the table says of what they are."""
        chosen = self.choices.predictions.layer, self.choices.references.layer
        return not self._layers or (self._layers[0], self._reference) != chosen

    def _on_protocol_changed(self) -> None:
        self._show_cohort()
        if self.results and self.score.isEnabled():
            self._on_score()

    def _on_names(self) -> None:
        """Other structures: show the tab where there are names, at once where they do not agree."""
        matches = self.choices.matches
        self._on_name_chosen()
        self.tabs.setTabVisible(self.tabs.indexOf(matches), matches.is_needed)
        if matches.unsure:
            self.tabs.setCurrentWidget(matches)

    def _on_matched(self) -> None:
        """With the last name that did not agree, what is scored comes back."""
        matches = self.choices.matches
        was_asked = self.tabs.tabText(self.tabs.indexOf(matches)) == _ASKED
        self._on_name_chosen()
        if was_asked and not matches.unsure and self.results:
            self.tabs.setCurrentWidget(self._case)

    def _on_name_chosen(self) -> None:
        matches = self.choices.matches
        place = self.tabs.indexOf(matches)
        self.tabs.setTabText(place, _ASKED if matches.unsure else "Names")
        self.tabs.setTabToolTip(
            place,
            f"{matches.unsure} structures of the reference have no structure of the same name"
            if matches.unsure
            else "Which structure is compared with which",
        )

    def _on_asked(self) -> None:
        """The button was pressed: the scores are what is to be seen."""
        if self.tabs.currentWidget() is self.choices.matches:
            self.tabs.setCurrentWidget(self._case)
        self._make_room = True

    def _on_score(self) -> None:
        prediction, reference = self.choices.predictions.layer, self.choices.references.layer
        if self._job is not None or self.choices.obstacle():
            return
        if not isinstance(prediction, Labels) or not isinstance(reference, Labels):
            return
        labels = self.editing.follow(prediction).copy()
        choices = self.choices
        chosen = choices.matches.chosen_for
        entropy = choices.entropies.layer
        targets = [Target(prediction, entropy, labels, chosen(prediction))]
        targets += [
            Target(layer, choices.entropy_of(layer), None, chosen(layer))
            for layer in choices.compared()
        ]
        protocol = self.choices.protocol
        self._part = "Prediction"
        self._start(
            f"Score {prediction.name}",
            lambda report, stop: score_targets(targets, reference, protocol, report, stop),
            lambda results: self._on_scored(
                [target.layer for target in targets], reference, results
            ),
        )

    def _on_scored(
        self, layers: list[Labels], reference: Labels, results: list[LayerScores]
    ) -> None:
        self._layers, self._reference, self.results = layers, reference, results
        self._names.follow(*(layer.events.features for layer in (*layers, reference)))
        self._named = structure_names(reference)
        for result in results:
            self._cohort.add(result.method, result.scores)
        self.editing.follow(layers[0]).score_along(results[0].evaluation)
        notes = "".join(f" {note}." for note in results[0].notes)
        self._finish(f"{results[0].name}: {_about_dice(results[0].mean_dice)}.{notes}")
        self._in_turns(self._show_scores())

    def _show_scores(self) -> Iterator[None]:
        """Tables and curves, one after the other: together they would hold up the window."""
        self._show_tables()
        yield
        self.slices.make_curve()
        yield
        self.slices.show_results(self.results)
        yield
        self._share_space()
        QTimer.singleShot(0, self._on_room)
        self._on_moved()
        self._show_errors_anew()
        self._calibrate()

    def _on_room(self) -> None:
        """What was scored has no room: close what was chosen for it."""
        wanted, self._make_room = self._make_room, False
        if wanted and self._case.verticalScrollBar().maximum():
            self.fold.set_open(False)
            QTimer.singleShot(0, self._on_folded)

    def _on_folded(self) -> None:
        self._share_space()

    def _on_renamed(self, rank: int, value: int, name: str) -> None:
        """Rename in the scored layers and all of their case, and where their names are stored."""
        layer, reference = self._layers[rank], self._reference
        old = self.results[rank].names.get(value, "")
        chosen, own = layer, value
        if value not in structure_names(layer) and reference is not None:
            for number, known in structure_names(reference).items():
                if is_same(known, old):  # the prediction has no such structure
                    chosen, own = reference, number
        others = structure_layers(self.viewer, str(tag(layer).get("case", "")))
        others += [] if reference is None else [reference]
        rename_in_layers(self, [chosen, *self._layers, *others], own, old, name)

    def _on_names_changed(self) -> None:
        """A structure was renamed, here or in another dock: the tables and the curve call it so, too."""
        if self._reference is None:
            return
        before, self._named = self._named, structure_names(self._reference)
        changed = {before[one]: name for one, name in self._named.items() if one in before}
        results = []
        for result, layer in zip(self.results, self._layers, strict=True):
            own = structure_names(layer).items()
            names = {label: changed.get(known, known) for label, known in result.names.items()}
            names |= {label: name for label, name in own if not is_unnamed(name)}
            results.append(result.renamed(names))
        first, choices, tab = self.results[0].names, self.choices, self.tabs.currentWidget()
        choices.matches.rename({first[one]: name for one, name in results[0].names.items()})
        choices.matches.set_layers(choices.predictions.layer, choices.references.layer)
        self.tabs.setCurrentWidget(tab)  # the user has not left it
        if all(one is other for one, other in zip(results, self.results, strict=True)):
            return
        self.results = results
        for result in results:
            self._cohort.add(result.method, result.scores)
        self.slices.show_results(results, again=True)
        self._show_tables()
        self._on_moved()

    def _show_tables(self) -> None:
        self._named_above = self._is_of_others()
        self.table.show_scores(
            [(result.name, result.scores) for result in self.results], named=self._named_above
        )
        self._table_place.set_order(self.table.by_importance)
        self._show_cohort()
        self._update_buttons()

    def _show_cohort(self) -> None:
        self.cohort.show_methods(self._cohort.methods(self.choices.protocol))

    # -- edits ------------------------------------------------------------------------------------

    def _follows(self, layer: Labels) -> bool:
        """Whether the shown scores are those of this layer."""
        return bool(self._layers) and self._layers[0] is layer

    def _on_split(self, layer: Labels) -> None:
        if self._follows(layer):
            self.results[0] = replace(self.results[0], name=layer.name, method=method_of(layer))
        self._update_buttons()

    def _on_edited(self, layer: Labels, box: "Box") -> None:
        """The touched slice is scored again: show it before the volume is."""
        if not self._follows(layer):
            return
        self._show_updated()
        errors = error_layer(self.viewer)
        if errors is not None and self.slices.rank == 0:
            update_errors(errors, self.results[0], self.slices.label, box)
            refresh_hatching(self.viewer, errors)
        self._update_buttons()

    def _on_settled(self, layer: Labels) -> None:
        """The volume is scored again."""
        if self._follows(layer):
            result = self._show_updated()
            self._cohort.add(result.method, result.scores)
            tool, self._by_tool = self._by_tool, ""
            self._message = f"{tool}{result.name}: {_about_dice(result.mean_dice)}."
            self._show_tables()
            self._calibrate()
        self._update_buttons()

    def _show_updated(self) -> LayerScores:
        """Draw the scores of the edited prediction as they stand."""
        result = self.results[0] = self.results[0].updated()
        self.slices.show_results(self.results, again=True)
        self._on_moved()
        return result

    def _on_replaced(self, layer: Labels) -> None:
        if self._follows(layer):
            self._say("The prediction was replaced: press Score again.")

    def _on_save(self) -> None:
        layer = self.choices.predictions.layer
        if not isinstance(layer, Labels):
            return
        name = f"{tag(layer).get('case') or layer.name}_labels_edited.nii.gz"
        path, _ = QFileDialog.getSaveFileName(self, "Edited labels", name, "NIfTI (*.nii.gz *.nii)")
        if path:
            self.editing.save(layer, Path(path))

    def _on_tool(self, order: ToolOrder) -> None:
        """Use a tool in a thread on what the layer is now, and take over what it makes as one stroke."""
        layer = self.choices.predictions.layer
        if self._job is not None or not isinstance(layer, Labels):
            return
        session = self.editing.follow(layer)
        try:
            order = order.at(self.viewer, layer, session)
        except InputError as error:
            self._say(str(error))
            return
        ready = session.take_up()
        self._part = "Step"

        def work(report: Report, stop: threading.Event) -> Any:
            wait_for(ready, report, stop)
            return use_tool(layer, order, stop)

        def then(edit: Any) -> None:
            self._finish(order.said(edit.size))
            if edit.size:
                self._by_tool = f"{self._message} "
                session.apply(edit)

        self._start(order.title, work, then)

    def _on_go_on(self) -> None:
        cases, _ = corrected_cases(self.viewer, self.choices.predictions.layer)
        if self._job is not None or not cases:
            return
        folder = QFileDialog.getExistingDirectory(
            self, "Data folder for the corrected cases", str(cases[0].suggested_folder())
        )
        if folder:
            self.correct_and_continue(Path(folder), cases)

    def correct_and_continue(self, folder: Path, cases: list[CorrectedCase]) -> None:
        """Write the corrected cases into a data folder, in a thread, and open Train with it and their run."""
        self._part = "Case"

        def then(run: Path | None) -> None:
            said = f"{number_of(len(cases), 'corrected case')} written to {folder}."
            self._finish(said)
            open_dock(self.viewer, "Train").go_on_with_corrected(run, folder)

        self._start("Write corrected cases", partial(save_cases, folder, cases), then)

    # -- curve and navigation ---------------------------------------------------------------------

    def _chosen(self) -> tuple[Labels, LayerScores]:
        """The layer and scores that the slices panel speaks of.

        Raises:
            InputError: if the layer was removed.
        """
        rank = min(self.slices.rank, len(self.results) - 1)
        if not self.results or self._layers[rank] not in self.viewer.layers:
            raise InputError("The scored layer was removed; open it and score again")
        return self._layers[rank], self.results[rank]

    def _on_structure_chosen(self, rank: int, value: int) -> None:
        self.slices.choose(rank, value)
        self._walk = (None, -1)
        self._on_worst()

    def _on_worst(self) -> None:
        """Walk from the worst slice to better ones."""
        _, result = self._chosen()
        axis, value = self.slices.axis, self.slices.label
        ranking = result.slices_by_dice(axis, value)
        if ranking:
            place = self._step((result, axis, value, "slices"), len(ranking))
            self._on_slice_chosen(ranking[place])
            title = result.slice_title(axis, ranking[place])
            self._say(f"Slice {place + 1} of {len(ranking)} by Dice, the worst first: {title}.")

    def _step(self, walk: object, length: int) -> int:
        """The next place of a walk, its first one when it is another walk than before."""
        known, place = self._walk
        place = (place + 1) % length if known == walk else 0
        self._walk = (walk, place)
        return place

    def _on_disagreement(self) -> None:
        """Walk from the largest region of error to smaller ones."""
        _, result = self._chosen()
        value = self.slices.label
        if self._regions[0] == (result, value):
            self._go_to_region()
        else:
            self._aside(
                "Find errors",
                lambda: ((result, value), result.disagreements(value)),
                self._on_regions,
            )

    def _on_regions(self, found: Any) -> None:
        self._regions = found
        self._go_to_region()

    def _go_to_region(self) -> None:
        layer, result = self._chosen()
        wanted, regions = self._regions
        if not regions:
            self._say("Prediction and reference agree everywhere.")
            return
        from napari_uda.evaluation.disagreement import KINDS

        place = self._step((wanted, "regions"), len(regions))
        region, position = regions[place]
        go_to_voxel(self.viewer, layer, self.slices.axis, position)
        self._on_moved()
        millilitres = region.voxels * result.voxel_ml
        title = result.slice_title(self.slices.axis, position[self.slices.axis])
        self._say(
            f"Error {place + 1} of {len(regions)}: {KINDS[region.kind]}, {millilitres:.2f} mL, {title}."
        )

    def _on_slice_chosen(self, index: int) -> None:
        layer, _ = self._chosen()
        go_to_slice(self.viewer, layer, self.slices.axis, index)
        self._on_moved()

    def _on_choice(self) -> None:
        self._on_moved()
        self._show_errors_anew()
        self._calibrate()

    def _on_moved(self) -> None:
        """Mark the slice on screen."""
        if self._layers and self._layers[0] in self.viewer.layers:
            self.slices.mark(current_slice(self.viewer, self._layers[0], self.slices.axis))

    def _on_removed(self, event: Any) -> None:
        if tag(event.value).get("role") == ERROR:
            self.slices.errors.setChecked(error_layer(self.viewer) is not None)

    def _on_theme(self) -> None:
        theme = get_theme(self.viewer.theme)
        colours = theme.background.as_hex("long"), theme.text.as_hex("long")
        self.slices.set_theme(*colours)
        if self.calibration is not None:
            self.calibration.set_theme(*colours)

    # -- errors and calibration -------------------------------------------------------------------

    def _on_errors(self, wanted: bool) -> None:
        if wanted:
            self._show_errors_anew()
        else:
            hide_errors(self.viewer)

    def _show_errors_anew(self) -> None:
        if not self.slices.errors.isChecked() or not self.results:
            return
        layer, result = self._chosen()
        value = self.slices.label

        def then(errors: NDArray[Any]) -> None:
            if self.slices.errors.isChecked() and layer in self.viewer.layers:
                show_errors(self.viewer, layer, errors)

        self._aside("Find errors", lambda: errors_of(result, value), then)

    def _on_tab(self) -> None:
        self._calibrate()

    def _calibrate(self) -> None:
        """Only while it is looked at: it takes seconds for a large volume."""
        if self.tabs.currentWidget() is not self._doubt or not self.results:
            return
        result = self.results[min(self.slices.rank, len(self.results) - 1)]
        if result.entropy is None:  # what is drawn would be that of another prediction
            self._calibrated = None
            if self.calibration is not None:
                self.calibration.show_calibrations([])
        elif self._calibrated is not result:
            self._calibrated = result
            if self.calibration is None:
                self._doubt_hint.setText("Comparing the entropy with the errors…")
            self._aside("Calibration", lambda: calibrations_of(result), self._on_calibrated)

    def _on_calibrated(self, found: list[Any]) -> None:
        if self.calibration is None:
            from napari_uda.gui.score.score_plots import CalibrationPanel

            self.calibration = CalibrationPanel()
            self._doubt_place.replaceWidget(self._doubt_hint, Scrolling(self.calibration))
            self._doubt_hint.deleteLater()
            self._on_theme()
        self.calibration.show_calibrations(found)

    # -- cohort and export ------------------------------------------------------------------------

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

            return evaluate_folders(
                predictions, labels, protocol=protocol, on_progress=reporting(report, stop)
            )

        self._part = "Case"
        self._start("Score folders", work, lambda scores: self._on_folder(predictions, scores))

    def _on_folder(self, predictions: Path, scores: Any) -> None:
        name = predictions.name
        if name == "predictions":  # of a run, which is what they are known by
            name = predictions.resolve().parent.name
        self._cohort.add(name, scores)
        self._show_cohort()
        dice = scores.means("dice")["mean"]
        cases = number_of(len(scores.grids), "case")
        self._finish(f"{name}: {cases}, {_about_dice(dice)}.")

    def _on_clear(self) -> None:
        self._cohort.clear()
        self._show_cohort()

    def _on_export(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the scores")
        if folder:
            self.export_to(Path(folder))

    def export_to(self, folder: Path) -> None:
        """Write the tables, the cohort and the report page into a folder, in a thread."""
        if not self.results:
            return
        exported = [
            Exported.of(self.viewer, layer, result)
            for layer, result in zip(self._layers, self.results, strict=True)
        ]
        methods = self._cohort.methods(self.choices.protocol)
        self._aside(
            "Export scores",
            lambda: export_scores(folder, exported, methods),
            lambda paths: show_info(f"{len(paths)} files saved in {folder}"),
        )


def _about_dice(mean: float) -> str:
    """Mean Dice in words; both label maps may be empty."""
    return "no structure to score" if math.isnan(mean) else f"mean Dice {mean:.3f}"
