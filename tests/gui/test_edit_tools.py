"""Tools on whole structures in the Score dock: one undo, one entry of the journal, one scoring; then Train."""

from __future__ import annotations

import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_cases import LABELS, add_data, ball_case, let_events_pass, settle
from napari.layers import Image, Labels
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog

import napari_uda as uda
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.check import check_folder
from napari_uda.data.corrected import add_corrected_case
from napari_uda.data.edit_journal import leftovers
from napari_uda.data.folder import DataFolder
from napari_uda.data.label_edits import edit_structure
from napari_uda.data.volume import read_labels, read_volume
from napari_uda.evaluation import evaluation
from napari_uda.evaluation.structures import score_slices
from napari_uda.gui.kit.files import MODEL, layer_data
from napari_uda.gui.kit.geometry import METADATA, layer_volume, placement, tag
from napari_uda.gui.kit.layers import EDITED, show
from napari_uda.gui.kit.models import remember_model
from napari_uda.gui.kit.preferences import remember_file
from napari_uda.gui.kit.widgets import SHORT
from napari_uda.gui.score import dock as dock_module
from napari_uda.gui.score.correct_and_continue import CorrectedCase
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.train.train_form import TrainForm
from napari_uda.inference.predict import Prediction

WAIT_MS = 60_000
NAMES = {value: name for name, value in LABELS.items()}


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def dock(
    make_napari_viewer: Callable[[], Viewer], made_prediction: Prediction, qtbot: QtBot
) -> Iterator[ScoreDock]:
    """A scored prediction."""
    viewer = make_napari_viewer()
    show(viewer, made_prediction)
    add_data(viewer, *layer_data(ball_case("case_0", 0)[1], "reference", NAMES))
    widget = ScoreDock(viewer)
    viewer.window.add_dock_widget(widget, name="Score")
    widget.score.click()
    settle(widget, qtbot)
    yield widget
    settle(widget, qtbot)


def use(dock: ScoreDock, qtbot: QtBot, tool: str, structure: str = "LVC", mm: float = 2.0) -> str:
    """Choose a tool in the menu; what the dock says in the end."""
    dock.tools.structures.setCurrentIndex(dock.tools.structures.findData(structure, SHORT))
    dock.tools.mm.setValue(mm)
    dock.tools.menu.aboutToShow.emit()
    next(one for one in dock.tools.menu.actions() if one.objectName() == f"edit_{tool}").trigger()
    settle(dock, qtbot)
    return dock.status.text()


def edited_layer(dock: ScoreDock) -> Labels:
    layer = dock.choices.predictions.layer
    assert isinstance(layer, Labels)
    return layer


def assert_up_to_date(dock: ScoreDock) -> None:
    """The scores are those of scoring the layer anew."""
    layer, reference = edited_layer(dock), dock.choices.references.layer
    fresh = uda.evaluate(layer_volume(layer), layer_volume(reference), names=NAMES)
    for row, other in zip(dock.results[0].scores.rows, fresh.rows, strict=True):
        assert row["dice"] == pytest.approx(other["dice"])
        assert row["hd95_mm"] == pytest.approx(other["hd95_mm"])


def test_a_tool_is_one_undo_one_entry_and_one_scoring(
    dock: ScoreDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[tuple[int, int, int]] = Counter()

    def counting(structure: Any, pair: Any, rules: Any, axis: int, first: int = 0) -> Any:
        rows = score_slices(structure, pair, rules, axis, first)
        counts.update((structure.label, axis, first + index) for index in range(len(rows)))
        return rows

    monkeypatch.setattr(evaluation, "score_slices", counting)
    layer = edited_layer(dock)
    before = layer.data.copy()
    wanted = edit_structure(before, 2, "grow", (8.0, 1.5, 1.5), mm=2.0, overwrite=True)
    dock.tools.overwrite.setChecked(True)
    said = use(dock, qtbot, "grow")
    assert said.startswith(
        f"left ventricle cavity grown by 2 mm: {wanted.size} voxels changed. Ctrl+Z takes it back."
    )
    assert "(edited): mean Dice" in said  # the scores come last
    grown = before.copy()
    grown[wanted.where] = wanted.values
    assert np.array_equal(layer.data, grown)
    assert set(counts.values()) == {1}
    assert tag(layer)["role"] == EDITED
    assert_up_to_date(dock)
    assert layer.name.endswith("(edited)")
    layer.undo()
    settle(dock, qtbot)
    assert np.array_equal(layer.data, before)
    assert_up_to_date(dock)
    layer.redo()
    settle(dock, qtbot)
    assert np.array_equal(layer.data, grown)
    assert_up_to_date(dock)


def test_tools_and_strokes_share_undo_and_journal(dock: ScoreDock, qtbot: QtBot) -> None:
    layer = edited_layer(dock)
    states = [layer.data.copy()]
    layer.mode, layer.selected_label, layer.brush_size = "paint", 2, 5
    settle(dock, qtbot)
    for step in ("paint", "smooth", "paint", "largest", "shrink", "grow"):
        if step == "paint":
            layer.paint((2, 5, 30 - len(states)), 2)
            settle(dock, qtbot)
        else:
            smooth = step == "smooth"
            use(dock, qtbot, step, "MYO" if smooth else "LVC", 5.0 if smooth else 1.6)
        assert not np.array_equal(layer.data, states[-1]), step
        states.append(layer.data.copy())
    for state in reversed(states[:-1]):
        layer.undo()
        settle(dock, qtbot)
        assert np.array_equal(layer.data, state)
    for state in states[1:]:
        layer.redo()
        settle(dock, qtbot)
        assert np.array_equal(layer.data, state)
    assert_up_to_date(dock)
    dock.editing.close()  # as when napari is killed: the journal stays
    (left,) = leftovers()
    assert left.strokes == 18  # six edits, taken back, done again
    kept = left.read()[1]
    assert np.array_equal(placement(layer).to_layer(kept.array), layer.data)


def test_painted_slices_are_filled_between(dock: ScoreDock, qtbot: QtBot) -> None:
    layer = edited_layer(dock)
    layer.mode, layer.brush_size = "paint", 5
    settle(dock, qtbot)
    for index, column in ((0, 30), (4, 34)):
        layer.paint((index, 5, column), 2)
        settle(dock, qtbot)
    before = layer.data.copy()
    painted = dock.editing.follow(layer).by_hand
    assert painted.slices(2, 0) == {0, 4}
    use(dock, qtbot, "fill")
    assert np.array_equal(layer.data[[0, 4, 5]], before[[0, 4, 5]])
    assert (layer.data[2, 4:7, 31:34] == 2).any()
    assert painted.slices(2, 0) == {0, 4}  # a tool paints nothing by hand
    assert_up_to_date(dock)


def test_what_was_taken_back_was_not_painted(dock: ScoreDock, qtbot: QtBot) -> None:
    layer = edited_layer(dock)
    layer.mode, layer.brush_size = "paint", 5
    settle(dock, qtbot)
    painted = dock.editing.follow(layer).by_hand
    dock.viewer.dims.set_current_step(0, 3)
    dock.tools.where.setCurrentIndex(1)  # in this slice
    use(dock, qtbot, "shrink", "MYO", 1.6)
    assert len(layer._undo_history) == 1
    layer.undo()  # one slice changes, by no hand
    settle(dock, qtbot)
    assert painted.slices(1, 0) == set()
    for index in (0, 4, 5):
        layer.paint((index, 5, 30), 2)
    settle(dock, qtbot)
    assert painted.slices(2, 0) == {0, 4, 5}
    layer.undo()
    assert painted.slices(2, 0) == {0, 4}
    layer.redo()
    assert painted.slices(2, 0) == {0, 4, 5}
    layer.undo()
    layer.undo()
    use(dock, qtbot, "shrink", "MYO", 1.6)  # a tool after them: they can not be done again
    assert len(layer._undo_history) == 2
    assert painted.slices(2, 0) == {0}
    layer.undo()
    assert painted.slices(2, 0) == {0}
    layer._undo_history.clear()  # as if a hundred others had followed
    layer._undo_history.extend([[None]] * layer._undo_history.maxlen)
    assert painted.slices(2, 0) == {0}


def test_a_stroke_over_slices_and_one_of_numbers_count_where_they_are_flat(
    dock: ScoreDock, qtbot: QtBot
) -> None:
    layer = edited_layer(dock)
    layer.mode = "paint"
    settle(dock, qtbot)
    painted = dock.editing.follow(layer).by_hand
    old = int(layer.data[1, 2, 3])
    new = 1 if old != 1 else 2
    layer.data_setitem(tuple(np.array([a, b]) for a, b in ((1, 2), (2, 2), (3, 4))), new)
    assert (painted.slices(new, 0), painted.slices(new, 1), painted.slices(new, 2)) == (
        set(),
        {2},
        set(),
    )


def test_the_slice_that_is_shown_can_be_edited_alone(dock: ScoreDock, qtbot: QtBot) -> None:
    layer = edited_layer(dock)
    before = layer.data.copy()
    dock.viewer.dims.set_current_step(0, 3)
    dock.tools.where.setCurrentIndex(1)
    use(dock, qtbot, "shrink", "MYO", 1.6)
    changed = np.flatnonzero((layer.data != before).any(axis=(1, 2))).tolist()
    assert changed == [3]
    dock.viewer.dims.ndisplay = 3
    said = use(dock, qtbot, "shrink", "MYO", 1.6)
    assert said.startswith(f"No slice of '{layer.name}' is shown: go to one in 2-D")
    dock.viewer.dims.ndisplay = 2


def test_labels_that_3d_hides_are_edited(
    dock: ScoreDock, qtbot: QtBot, notifications: Callable[[], list[str]]
) -> None:
    layer, seen = edited_layer(dock), notifications()
    before = layer.data.copy()
    layer.visible = False  # as by its eye or by surfaces
    dock.viewer.dims.ndisplay = 3
    dock.tools.overwrite.setChecked(True)
    assert "voxels changed" in use(dock, qtbot, "grow")
    assert notifications() == seen
    assert_up_to_date(dock)
    dock.viewer.dims.ndisplay = 2
    layer.undo()
    settle(dock, qtbot)
    assert np.array_equal(layer.data, before)


def test_cancel_leaves_nothing(
    dock: ScoreDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def slow(layer: Labels, order: Any, stop: threading.Event) -> Any:
        begun.set()
        assert stop.wait(60)
        raise Cancelled

    monkeypatch.setattr(dock_module, "use_tool", slow)
    layer = edited_layer(dock)
    before = layer.data.copy()
    next(iter(dock.tools.menu.actions())).trigger()
    qtbot.waitUntil(begun.is_set, timeout=WAIT_MS)
    assert not dock.tools.edit.isEnabled()
    dock.cancel.click()
    settle(dock, qtbot)
    assert dock.status.text() == "Cancelled; nothing was changed."
    assert np.array_equal(layer.data, before)
    assert not dock.editing.is_edited(layer)
    assert tag(layer)["role"] == "prediction"


def test_what_was_painted_meanwhile_is_not_written_over(
    dock: ScoreDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = edited_layer(dock)
    session = dock.editing.follow(layer)
    session.take_up()
    settle(dock, qtbot)
    edit = edit_structure(layer.data, 1, "grow", (8.0, 1.5, 1.5), mm=2.0)
    place = tuple(int(axis[0]) for axis in edit.where)
    layer.data_setitem(tuple(np.array([at]) for at in place), 2)
    painted = layer.data.copy()
    with pytest.raises(InputError, match="painted meanwhile, so nothing was done"):
        session.apply(edit)
    assert np.array_equal(layer.data, painted)


def test_nothing_of_the_users_goes_beside_the_shipped_model(tmp_path: Path) -> None:
    remember_file(tmp_path / "mr" / "p1.nii.gz")
    labels, image = Labels(np.zeros((2, 2, 2), np.uint8)), Image(np.zeros((2, 2, 2)))
    shipped = CorrectedCase(labels, image, "model", str(MODEL))
    assert shipped.run_folder() == CorrectedCase(labels, image, "ct2mr").run_folder() == MODEL
    own = CorrectedCase(labels, image, "one", str(tmp_path / "runs" / "one"))
    assert shipped.suggested_folder() == tmp_path / "mr"
    assert own.suggested_folder() == tmp_path / "runs"


def test_a_distance_below_a_voxel_names_the_least_one(dock: ScoreDock, qtbot: QtBot) -> None:
    step = min(abs(edited_layer(dock).scale))
    least = math.ceil(10 * step) / 10
    said = use(dock, qtbot, "grow", mm=0.3)
    assert said.startswith(
        "left ventricle cavity: nothing changes by 0.3 mm, for the nearest voxels are "
    )
    assert said.endswith(f"give a distance of {least:g} mm or more.")
    dock.tools.overwrite.setChecked(True)
    assert "grown by" in use(dock, qtbot, "grow", mm=least)


def test_a_tool_without_effect_or_structure_says_so(dock: ScoreDock, qtbot: QtBot) -> None:
    said = use(dock, qtbot, "largest", "MYO")
    assert said == "left ventricle myocardium: nothing changes by this; no voxel was touched."
    dock.viewer.dims.set_current_step(0, 0)
    layer = edited_layer(dock)
    layer.data_setitem(np.nonzero(layer.data == 1), 0)
    settle(dock, qtbot)
    said = use(dock, qtbot, "grow", "MYO")
    assert said == "left ventricle myocardium is not in this volume; paint it first"
    dock.tools.mm.setValue(3.5)
    dock.tools.menu.aboutToShow.emit()
    texts = [action.text() for action in dock.tools.menu.actions()]
    assert texts[0] == "Fill between slices"
    assert texts[3] == "Grow by 3.5 mm"


# --- correct and continue -------------------------------------------------------------------------


def test_corrected_cases_go_into_a_folder_and_train_opens_with_it(
    dock: ScoreDock, qtbot: QtBot, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = edited_layer(dock)
    assert not dock.tools.go_on.isEnabled()
    assert dock.tools.go_on.toolTip().startswith("Edit a prediction first")
    layer.metadata = {
        **layer.metadata,
        METADATA: {**tag(layer), "run": tiny_run.name, "model": {"path": str(tiny_run)}},
    }
    use(dock, qtbot, "grow", "MYO")
    folder = tmp_path / "corrected"
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    dock.viewer.show()
    dock.tools.go_on.click()
    settle(dock, qtbot)
    opened = DataFolder.open(folder)
    assert opened.labels == LABELS
    (case,) = opened.cases
    assert case.name == "case_0"
    assert np.array_equal(case.read_image().array, ball_case("case_0", 0)[0].array)
    assert np.array_equal(case.read_labels().array, placement(layer).to_file(layer.data))
    assert not check_folder(folder, labelled=True).is_fatal
    _, train = dock.viewer.window.add_plugin_dock_widget("napari_uda", "Train")
    form = train.form
    qtbot.waitUntil(lambda: form.data.init.get_value() == tiny_run, timeout=WAIT_MS)
    settle(form, qtbot)
    assert form.data.corrected.get_value() == folder
    assert form.data.supervision.text() == (
        "Target supervision: corrected (1 case). They are never scored."
    )
    assert form.status.text().startswith(f"Goes on from {tiny_run.name}")
    config = form.config()
    assert config is not None
    assert (config.init, config.data.corrected) == (tiny_run, folder)


def test_without_its_image_a_case_cannot_be_corrected(dock: ScoreDock, qtbot: QtBot) -> None:
    use(dock, qtbot, "grow", "MYO")
    assert dock.tools.go_on.isEnabled()
    image = next(one for one in dock.viewer.layers if tag(one).get("role") == "image")
    dock.viewer.layers.remove(image)
    let_events_pass()
    dock.choices.layers_changed.emit()
    assert dock.tools.go_on.toolTip().startswith("The image of this case is not open")
    assert not dock.tools.go_on.isEnabled()


def test_a_case_whose_labels_were_learnt_from_is_not_scored(dock: ScoreDock, qtbot: QtBot) -> None:
    layer = edited_layer(dock)
    layer.metadata = {**layer.metadata, METADATA: {**tag(layer), "corrected": "case_0"}}
    dock.score.click()
    settle(dock, qtbot)
    assert "case_0 is left out of the scores, because the run has learnt from" in dock.status.text()


def test_a_folder_takes_more_cases_and_refuses_what_does_not_belong(tmp_path: Path) -> None:
    folder, (image, labels) = tmp_path / "corrected", ball_case("a", 0)
    add_corrected_case(folder, image, labels, NAMES, "MR")
    other, other_labels = ball_case("b", 1)
    add_corrected_case(folder, other, other_labels, NAMES)
    better = labels.with_array(np.where(labels.array == 2, 1, 0).astype(np.uint8))
    add_corrected_case(folder, image, better, NAMES)
    assert [case.name for case in DataFolder.open(folder).cases] == ["a", "b"]
    assert np.array_equal(read_labels(folder / "labels" / "a.nii.gz").array, better.array)
    files = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for wrong, names, said in (
        ((other.with_array(other.array + 1), other_labels), NAMES, "another image called b"),
        ((image, labels), {1: "MYO"}, "has {'MYO': 1}; choose another folder"),
        ((image, labels), {}, "name no structures"),
    ):
        with pytest.raises(InputError, match=said):
            add_corrected_case(folder, *wrong, names)
    assert files == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="is no data folder"):
        add_corrected_case(strange, image, labels, NAMES)
    assert [file.name for file in strange.iterdir()] == ["thesis.txt"]
    assert read_volume(folder / "images" / "a.nii.gz").array.dtype == image.array.dtype


# --- the form -------------------------------------------------------------------------------------


def test_the_form_asks_for_corrected_cases_where_they_can_be_learnt_from(
    qtbot: QtBot, data_folder: Path, tmp_path: Path
) -> None:
    form = TrainForm()
    qtbot.addWidget(form)
    form.show()
    qtbot.waitUntil(lambda: form.settings.form is not None, timeout=WAIT_MS)
    form.methods.choose("tent")
    assert not form.data.corrected.native.isVisible()
    form.methods.choose("advent")
    assert form.data.corrected.native.isVisible()
    form.data.source.set_folder(data_folder)
    form.data.target.set_folder(data_folder)
    form.run_dir.value = tmp_path / "run"
    form.data.corrected.value = tmp_path / "nowhere"
    assert form.status.text().startswith("Corrected cases: there is no folder")
    assert not form.start.isEnabled()
    bare = tmp_path / "bare"
    image, labels = ball_case("case_0", 0)
    add_corrected_case(bare, image, labels, {1: "MYO", 2: "another"})
    form.data.corrected.value = bare
    settle(form, qtbot)
    form.data.check.click()
    settle(form, qtbot)
    assert "of the corrected cases are not those of the run" in form.status.text()
    assert set(form.data.reports.domains) == {"Source", "Target", "Corrected"}
    form.data.corrected.value = data_folder
    settle(form, qtbot)
    assert "corrected (2 cases)" in form.data.supervision.text()
    config = form.config()
    assert config is not None
    assert config.data.corrected == data_folder
    form.methods.choose("tent")
    config = form.config()
    assert config is None or config.data.corrected is None


def test_a_run_without_labels_to_learn_from_leaves_the_method_to_the_user(
    qtbot: QtBot, tiny_run: Path, tmp_path: Path
) -> None:
    remember_model(tiny_run)
    form = TrainForm()
    qtbot.addWidget(form)
    form.go_on_with_corrected(None, tmp_path)  # before the methods are read
    form.show()
    qtbot.waitUntil(lambda: form.data.corrected.get_value() == tmp_path, timeout=WAIT_MS)
    settle(form, qtbot)
    assert "Choose the run that the cases were predicted by" in form.status.text()
    assert form.data.supervision.text() != ""
