"""Edits in the Score dock: scored at once, the original kept, on disk before the next stroke."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_cases import LABELS, add_data, ball_case, settle
from napari.components import ViewerModel
from napari.layers import Labels
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QWidget

import napari_uda as uda
from napari_uda.core.errors import InputError
from napari_uda.data import edit_journal
from napari_uda.data.edit_journal import leftovers
from napari_uda.data.volume import Volume, read_labels
from napari_uda.evaluation import evaluation, inputs
from napari_uda.evaluation.inputs import label_map
from napari_uda.evaluation.scores import Scores
from napari_uda.evaluation.structures import score_slices
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import layer_volume, placement, tag
from napari_uda.gui.kit.layers import show
from napari_uda.gui.score import edit_session, scoring_work
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.score.editing import Editing
from napari_uda.gui.score.scoring import score_layers
from napari_uda.inference.predict import Prediction

WAIT_MS = 60_000
NAMES = {value: name for name, value in LABELS.items()}


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy disk takes seconds for what a kill of the process does not need."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def viewer(make_napari_viewer: Callable[[], Viewer], made_prediction: Prediction) -> Viewer:
    """Image, prediction and reference are open."""
    viewer = make_napari_viewer()
    show(viewer, made_prediction)
    add_data(viewer, *layer_data(ball_case("case_0", 0)[1], "reference", NAMES))
    return viewer


@pytest.fixture
def dock(viewer: Viewer, qtbot: QtBot) -> Iterator[ScoreDock]:
    widget = ScoreDock(viewer)
    viewer.window.add_dock_widget(widget, name="Score")
    yield widget
    settle(widget, qtbot)


@pytest.fixture
def scored(dock: ScoreDock, qtbot: QtBot) -> ScoreDock:
    dock.score.click()
    settle(dock, qtbot)
    return dock


def end(dock: ScoreDock, qtbot: QtBot) -> None:
    """The dock is gone, as when napari is closed."""
    dock.viewer.window.remove_dock_widget(dock)
    with qtbot.waitSignal(dock.destroyed, timeout=WAIT_MS):
        dock.deleteLater()


def open_again(viewer: Viewer) -> ScoreDock:
    """A new dock that is seen."""
    dock = ScoreDock(viewer)
    viewer.window.add_dock_widget(dock, name="Score again")
    viewer.show()
    return dock


def paint(dock: ScoreDock, qtbot: QtBot, value: int = 2, slice_index: int = 2) -> Labels:
    """A stroke of napari's brush on the scored layer."""
    layer = dock.choices.predictions.layer
    layer.mode = "paint"
    settle(dock, qtbot)
    layer.selected_label = value
    layer.brush_size = 4
    layer.paint((slice_index, 5, 30), value)
    return layer


def assert_up_to_date(dock: ScoreDock) -> None:
    """Every number is that of scoring the layer anew."""
    layer, reference = dock.choices.predictions.layer, dock.choices.references.layer
    fresh = uda.evaluate(layer_volume(layer), layer_volume(reference), names=NAMES)
    result = dock.results[0].scores
    for row, other in zip(result.rows, fresh.rows, strict=True):
        assert row["dice"] == pytest.approx(other["dice"])
        assert row["hd95_mm"] == pytest.approx(other["hd95_mm"])
        assert row["volume_prediction_ml"] == pytest.approx(other["volume_prediction_ml"])
    wanted = {(row["slice"], row["label"]): row["dice"] for row in fresh.slices}
    for row in result.slices:
        if row["axis"] == "z":
            key = (row["slice"], row["label"])
            assert row["dice"] == pytest.approx(wanted[key], nan_ok=True)
    for line, row in enumerate(fresh.rows):
        assert dock.table.item(line, 2).text() == f"{row['dice']:.3f}"


def test_stroke_is_scored_slice_first_then_volume(scored: ScoreDock, qtbot: QtBot) -> None:
    said: list[str] = []
    before = scored.results[0].lines(0, "dice")[1].values[2]
    scored.editing.changed.connect(lambda *_: said.append("slice"))
    scored.editing.settled.connect(lambda *_: said.append("volume"))
    paint(scored, qtbot)
    settle(scored, qtbot)
    assert said == ["slice", "volume"]
    assert scored.results[0].lines(0, "dice")[1].values[2] < before
    assert_up_to_date(scored)
    assert "case_0 · prediction · tiny (edited): mean Dice" in scored.status.text()


def test_first_stroke_is_scored_before_the_original_gets_a_layer(
    scored: ScoreDock, qtbot: QtBot
) -> None:
    layers: list[int] = []
    scored.editing.changed.connect(lambda *_: layers.append(len(scored.viewer.layers)))
    paint(scored, qtbot)
    settle(scored, qtbot)
    assert layers == [len(scored.viewer.layers) - 1]


def test_original_keeps_its_values_name_and_role(
    scored: ScoreDock, made_prediction: Prediction, qtbot: QtBot
) -> None:
    layer = paint(scored, qtbot)
    settle(scored, qtbot)
    viewer = scored.viewer
    original = viewer.layers["case_0 · prediction · tiny"]
    assert original is not layer
    assert layer.name == "case_0 · prediction · tiny (edited)"
    assert tag(original)["role"] == "prediction"
    assert tag(layer)["role"] == "edited"
    assert not original.visible
    np.testing.assert_array_equal(layer_volume(original).array, made_prediction.labels)
    assert not np.array_equal(layer.data, original.data)
    np.testing.assert_array_equal(original.scale, layer.scale)
    np.testing.assert_array_equal(original.translate, layer.translate)
    assert scored.choices.predictions.layer is layer  # the brush stays where it was
    assert viewer.layers.selection.active is layer
    layer.paint((3, 5, 30), 1)
    settle(scored, qtbot)
    assert sum("prediction" in one.name for one in viewer.layers) == 2  # split once only


def test_the_slice_under_the_brush_comes_first(scored: ScoreDock, qtbot: QtBot) -> None:
    def dice(scores: Scores) -> list[float]:
        return [row["dice"] for row in scores.slices if row["axis"] == "z"]

    early: list[list[float]] = []
    scored.editing.changed.connect(lambda *_: early.append(dice(scored.results[0].scores)))
    clean = dice(scored.results[0].scores)
    paint(scored, qtbot)
    settle(scored, qtbot)
    assert early[0] != pytest.approx(clean, nan_ok=True)
    assert early[0] == pytest.approx(dice(scored.results[0].scores), nan_ok=True)


def test_a_touched_slice_is_scored_once(
    scored: ScoreDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[tuple[int, int, int]] = Counter()

    def counting(structure: Any, pair: Any, rules: Any, axis: int, first: int = 0) -> Any:
        rows = score_slices(structure, pair, rules, axis, first)
        counts.update((structure.label, axis, first + index) for index in range(len(rows)))
        return rows

    monkeypatch.setattr(evaluation, "score_slices", counting)
    before = scored.choices.predictions.layer.data.copy()
    layer = paint(scored, qtbot)
    settle(scored, qtbot)
    where = np.nonzero(layer_volume(layer).array != turned(layer, before))
    touched = [set(axis.tolist()) for axis in where]
    assert len(touched[0]) == 1  # the slice under the brush
    wanted = {(2, axis, index) for axis in range(3) for index in touched[axis]}
    assert wanted <= set(counts)
    assert set(counts.values()) == {1}
    assert {(axis, index) for _, axis, index in counts} == {key[1:] for key in wanted}
    assert_up_to_date(scored)


def turned(layer: Labels, data: np.ndarray) -> np.ndarray:
    """An array of the layer on the grid of its file."""
    return placement(layer).to_file(data)


def test_a_stroke_that_does_not_wait_for_the_session_is_an_edit(
    dock: ScoreDock, made_prediction: Prediction, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread reads the labels when the stroke is done; it must still find what they were."""
    go_on, predicted = threading.Event(), made_prediction.labels.copy()

    def held(*arguments: Any) -> Any:
        assert go_on.wait(60)
        return label_map(*arguments)

    monkeypatch.setattr(inputs, "label_map", held)
    layer = dock.choices.predictions.layer
    layer.mode, layer.selected_label, layer.brush_size = "paint", 2, 4
    layer.paint((2, 5, 30), 2)
    painted = layer.data.copy()
    go_on.set()
    with qtbot.waitSignal(dock.editing.split, timeout=WAIT_MS):
        pass
    settle(dock, qtbot)
    np.testing.assert_array_equal(made_prediction.labels, predicted)
    original = dock.viewer.layers["case_0 · prediction · tiny"]
    np.testing.assert_array_equal(layer_volume(original).array, predicted)
    assert not np.array_equal(painted, original.data)
    np.testing.assert_array_equal(layer.data, painted)
    layer.undo()
    np.testing.assert_array_equal(layer.data, original.data)


def test_strokes_while_scoring_are_scored_as_well(
    dock: ScoreDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The brush does not wait for Score, and Score must not miss what it paints."""
    go_on, begun = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        result = score_layers(*arguments)
        begun.set()
        assert go_on.wait(60)
        return result

    monkeypatch.setattr(scoring_work, "score_layers", slow)
    layer = dock.choices.predictions.layer
    layer.mode = "paint"
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)
    dock.score.click()
    qtbot.waitUntil(begun.is_set, timeout=WAIT_MS)
    layer.selected_label, layer.brush_size = 2, 4
    with qtbot.waitSignal(dock.editing.split, timeout=WAIT_MS):
        layer.paint((2, 5, 30), 2)
    qtbot.waitUntil(lambda: not dock.editing.is_busy, timeout=WAIT_MS)
    go_on.set()
    settle(dock, qtbot)
    assert_up_to_date(dock)


def test_labels_that_are_replaced_before_a_stroke_get_a_journal_of_their_own(
    viewer: Viewer, qtbot: QtBot
) -> None:
    """Segmenting again while the brush is up must not mix two volumes in one journal."""
    dock = ScoreDock(viewer)
    viewer.window.add_dock_widget(dock, name="Score")
    layer = dock.choices.predictions.layer
    layer.mode = "paint"
    settle(dock, qtbot)
    layer.data = np.flip(layer.data, 2).copy()  # as another run predicts
    settle(dock, qtbot)
    before = layer_volume(layer).array.copy()
    paint(dock, qtbot)
    settle(dock, qtbot)
    painted = layer_volume(layer).array.copy()
    end(dock, qtbot)
    (found,) = leftovers()
    for volume, wanted in zip(found.read(), (before, painted), strict=True):
        np.testing.assert_array_equal(volume.array, wanted)


def test_a_stroke_just_before_the_dock_goes_is_kept(viewer: Viewer, qtbot: QtBot) -> None:
    dock = ScoreDock(viewer)
    viewer.window.add_dock_widget(dock, name="Score")
    layer = paint(dock, qtbot)
    layer.paint((3, 5, 30), 1)  # nobody has looked at either of them yet
    painted = layer_volume(layer).array.copy()
    end(dock, qtbot)
    (found,) = leftovers()
    np.testing.assert_array_equal(found.read()[1].array, painted)


def test_undo_and_redo_are_scored(scored: ScoreDock, qtbot: QtBot) -> None:
    clean = [row["dice"] for row in scored.results[0].scores.rows]
    layer = paint(scored, qtbot)
    settle(scored, qtbot)
    edited = [row["dice"] for row in scored.results[0].scores.rows]
    assert edited != pytest.approx(clean)
    layer.undo()
    qtbot.waitUntil(lambda: rows_of(scored) == pytest.approx(clean), timeout=WAIT_MS)
    layer.redo()
    qtbot.waitUntil(lambda: rows_of(scored) == pytest.approx(edited), timeout=WAIT_MS)
    settle(scored, qtbot)
    assert_up_to_date(scored)


def test_an_undo_after_saving_is_scored_and_can_be_saved(
    scored: ScoreDock, qtbot: QtBot, tmp_path: Path
) -> None:
    clean = rows_of(scored)
    layer = paint(scored, qtbot)
    settle(scored, qtbot)
    scored.editing.save(layer, tmp_path / "edited.nii.gz")
    settle(scored, qtbot)
    assert scored.save.isHidden()
    layer.undo()
    qtbot.waitUntil(lambda: rows_of(scored) == pytest.approx(clean), timeout=WAIT_MS)
    settle(scored, qtbot)
    assert not scored.save.isHidden()  # the file has the stroke
    assert_up_to_date(scored)


def rows_of(dock: ScoreDock) -> list[float]:
    return [float(row["dice"]) for row in dock.results[0].scores.rows]


def test_fill_and_scripts_are_followed(scored: ScoreDock, qtbot: QtBot) -> None:
    layer = paint(scored, qtbot)
    layer.fill((2, 0, 0), 1)
    settle(scored, qtbot)
    assert_up_to_date(scored)
    layer.data_setitem((np.array([0, 1]), np.array([0, 0]), np.array([0, 0])), 2)
    settle(scored, qtbot)
    assert_up_to_date(scored)
    layer.data = np.zeros_like(layer.data)  # an edit as well, now that the layer is the user's
    settle(scored, qtbot)
    assert [row["state"] for row in scored.results[0].scores.rows] == ["missed", "missed"]


def test_strokes_faster_than_their_scores_are_all_scored(scored: ScoreDock, qtbot: QtBot) -> None:
    layer = paint(scored, qtbot)
    for column in range(6, 36, 3):
        layer.paint((2, 8, column), 1)
    settle(scored, qtbot)
    assert_up_to_date(scored)


def test_edits_before_scoring_are_kept_and_scored(dock: ScoreDock, qtbot: QtBot) -> None:
    layer = paint(dock, qtbot)
    settle(dock, qtbot)
    assert layer.name == "case_0 · prediction · tiny (edited)"
    dock.score.click()
    settle(dock, qtbot)
    assert_up_to_date(dock)
    assert dock.results[0].name == "case_0 · prediction · tiny (edited)"


def test_error_layer_follows_the_brush(scored: ScoreDock, qtbot: QtBot) -> None:
    scored.slices.errors.click()
    settle(scored, qtbot)
    errors = scored.viewer.layers["case_0 · errors"]
    layer = paint(scored, qtbot)
    settle(scored, qtbot)
    reference = scored.choices.references.layer.data
    wanted = np.select(
        [layer.data == reference, reference == 0, layer.data == 0], [0, 1, 2], default=3
    )
    np.testing.assert_array_equal(errors.data, wanted)
    assert (errors.data[2, 3:8, 28:33] == 1).any()
    assert scored.viewer.layers.selection.active is layer


def test_edits_are_offered_after_the_viewer_is_gone(viewer: Viewer, qtbot: QtBot) -> None:
    dock = ScoreDock(viewer)
    viewer.window.add_dock_widget(dock, name="Score")
    layer = paint(dock, qtbot)
    settle(dock, qtbot)
    painted = layer.data.copy()
    assert leftovers() == []  # its journal is being written
    end(dock, qtbot)
    (found,) = leftovers()
    assert found.strokes == 1
    viewer.layers.clear()
    again = open_again(viewer)
    qtbot.waitUntil(again.banner.isVisible)
    assert "'case_0 · prediction · tiny', 1 stroke." in again.banner.text.text()
    again.banner.restore.click()
    settle(again, qtbot)
    assert not again.banner.isVisible()
    restored, original = viewer.layers["case_0 · prediction · tiny (edited)"], viewer.layers[0]
    np.testing.assert_array_equal(restored.data, painted)
    assert (original.name, original.visible) == ("case_0 · prediction · tiny", False)
    assert again.choices.predictions.layer is restored
    np.testing.assert_allclose(restored.scale, layer.scale)
    np.testing.assert_allclose(restored.translate, layer.translate)
    paint(again, qtbot, value=1, slice_index=4)  # and the journal goes on
    settle(again, qtbot)
    assert [one.name for one in viewer.layers].count("case_0 · prediction · tiny") == 1
    end(again, qtbot)
    (found,) = leftovers()
    assert found.strokes == 2
    assert [one.name for one in edit_journal.journal_folder().iterdir()] == [found.folder.name]


def test_discard_removes_the_journal(viewer: Viewer, qtbot: QtBot) -> None:
    dock = ScoreDock(viewer)
    viewer.window.add_dock_widget(dock, name="Score")
    layer = paint(dock, qtbot)
    settle(dock, qtbot)
    end(dock, qtbot)
    layer.mode = "pan_zoom"  # or the next dock is ready for its brush
    again = open_again(viewer)
    qtbot.waitUntil(again.banner.isVisible)
    again.banner.discard.click()
    assert not again.banner.isVisible()
    assert leftovers() == []
    assert not list(edit_journal.journal_folder().iterdir())
    settle(again, qtbot)


def test_save_writes_the_edits_and_ends_the_journal(
    scored: ScoreDock, tmp_path: Path, qtbot: QtBot, made_prediction: Prediction
) -> None:
    assert scored.save.isHidden()
    layer = paint(scored, qtbot)
    settle(scored, qtbot)
    assert not scored.save.isHidden()
    path = tmp_path / "edited.nii.gz"
    scored.editing.save(layer, path)
    settle(scored, qtbot)
    saved = read_labels(path)
    np.testing.assert_array_equal(saved.array, layer_volume(layer).array)
    np.testing.assert_array_equal(saved.affine, made_prediction.volume.affine)
    assert scored.save.isHidden()
    assert not list(edit_journal.journal_folder().iterdir())


def test_brush_taken_up_without_a_stroke_leaves_nothing(viewer: Viewer, qtbot: QtBot) -> None:
    dock = ScoreDock(viewer)
    viewer.window.add_dock_widget(dock, name="Score")
    dock.choices.predictions.layer.mode = "paint"
    settle(dock, qtbot)
    assert len(list(edit_journal.journal_folder().iterdir())) == 1  # ready for the first stroke
    end(dock, qtbot)
    assert not list(edit_journal.journal_folder().iterdir())


def test_disk_that_refuses_is_said_and_painting_goes_on(
    scored: ScoreDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise InputError("cannot write labels.nii.gz: no space left on device; free space there")

    monkeypatch.setattr(edit_session.EditJournal, "begin", refuse)
    said: list[str] = []
    scored.editing.failed.connect(said.append)
    paint(scored, qtbot)
    settle(scored, qtbot)
    assert len(said) == 1
    assert "not being kept on disk" in said[0]
    assert_up_to_date(scored)


def test_strokes_that_a_full_disk_did_not_take_follow_later(
    viewer: Viewer, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    dock = ScoreDock(viewer)
    viewer.window.add_dock_widget(dock, name="Score")

    def refuse(*arguments: object) -> None:
        raise InputError("the folder takes no more (no space left on device); free space there")

    with monkeypatch.context() as full:
        full.setattr(edit_session.EditJournal, "append", refuse)
        paint(dock, qtbot)
        settle(dock, qtbot)
        assert "no space left on device" in dock.status.text()
        paint(dock, qtbot, value=1, slice_index=3)
        settle(dock, qtbot)
    layer = paint(dock, qtbot, value=1, slice_index=4)
    settle(dock, qtbot)
    end(dock, qtbot)
    (found,) = leftovers()
    assert found.strokes == 3
    np.testing.assert_array_equal(found.read()[1].array, layer_volume(layer).array)


def test_value_that_is_no_label_is_refused_in_a_sentence(
    scored: ScoreDock, viewer: Viewer, qtbot: QtBot
) -> None:
    """Masks of others may hold any integer."""
    layer = viewer.add_labels(scored.choices.references.layer.data.astype(np.int32), name="mine")
    layer.scale = scored.choices.references.layer.scale
    layer.translate = scored.choices.references.layer.translate
    scored.choices.predictions.choose(layer)
    scored.score.click()
    settle(scored, qtbot)
    layer.data_setitem((np.array([0]), np.array([0]), np.array([0])), 300)
    settle(scored, qtbot)
    assert "value 300 is not a label" in scored.status.text()


def test_removed_layer_ends_its_session(scored: ScoreDock, viewer: Viewer, qtbot: QtBot) -> None:
    layer = paint(scored, qtbot)
    settle(scored, qtbot)
    assert scored.editing.is_edited(layer)
    viewer.layers.remove(layer)
    assert not scored.editing.is_edited(layer)
    assert len(leftovers()) == 1
    scored.slices.worst.click()  # the scored layer is gone: a sentence, no exception
    settle(scored, qtbot)


def test_a_layer_without_scores_is_followed(qtbot: QtBot, made_prediction: Prediction) -> None:
    owner, viewer = QWidget(), ViewerModel()
    qtbot.addWidget(owner)
    editing = Editing(viewer, owner)
    layer = viewer.add_labels(made_prediction.labels.copy())
    session = editing.follow(layer)
    layer.mode = "paint"
    qtbot.waitUntil(lambda: not editing.is_busy, timeout=WAIT_MS)
    boxes: list[object] = []
    editing.changed.connect(lambda layer, box: boxes.append(box))
    with qtbot.waitSignal(editing.split, timeout=WAIT_MS) as split:
        layer.data_setitem((np.array([1]), np.array([2]), np.array([3])), 1)
    assert split.args == [layer]
    original = next(one for one in viewer.layers if one is not layer)
    np.testing.assert_array_equal(original.data, made_prediction.labels)
    # a layer of nobody's runs the other way round on the file's grid, or not at all
    (box,) = boxes
    promise = session.copy()
    qtbot.waitUntil(lambda: not editing.is_busy, timeout=WAIT_MS)
    assert promise.result(0)[box].tolist() == [[[1]]]
    editing.close()


def test_volume_of_a_restored_case_is_that_of_the_file(made_prediction: Prediction) -> None:
    from napari_uda.data.edit_journal import About
    from napari_uda.gui.score.added_layers import restored_layers

    volume = Volume(made_prediction.labels, made_prediction.volume.affine, "case_0")
    layers = restored_layers(volume, volume, About("case_0", "tiny", "x (edited)", NAMES))
    assert [layer.name for layer in layers] == ["x", "x (edited)"]
    for layer in layers:
        np.testing.assert_array_equal(layer_volume(layer).array, volume.array)
        np.testing.assert_array_equal(layer_volume(layer).affine, volume.affine)
