"""Edits in the Score dock: scored at once, the original kept, on disk before the next stroke."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gui_cases import LABELS, add_data, ball_case
from napari.layers import Labels
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

import napari_uda as uda
from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume, read_labels
from napari_uda.evaluation.scores import Scores
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import layer_volume, tag
from napari_uda.gui.kit.layers import show
from napari_uda.gui.score import edit_journal, edit_session
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.score.edit_journal import leftovers
from napari_uda.gui.score.edit_session import EditSession
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


def settle(dock: ScoreDock, qtbot: QtBot) -> None:
    """Wait until no thread is at work and nothing waits to start one."""

    qtbot.waitUntil(lambda: dock.is_settled and not jobs.running(), timeout=WAIT_MS)


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
        assert dock.table.item(line, 1).text() == f"{row['dice']:.3f}"


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
    assert "case_0, edited: mean Dice" in scored.status.text()


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
    original = viewer.layers["case_0 prediction"]
    assert original is not layer
    assert layer.name == "case_0 prediction (edited)"
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
    assert layer.name == "case_0 prediction (edited)"
    dock.score.click()
    settle(dock, qtbot)
    assert_up_to_date(dock)
    assert dock.results[0].name == "case_0 prediction (edited)"


def test_error_layer_follows_the_brush(scored: ScoreDock, qtbot: QtBot) -> None:
    scored.slices.errors.click()
    settle(scored, qtbot)
    errors = scored.viewer.layers["errors"]
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
    assert "'case_0 prediction', 1 stroke." in again.banner.text.text()
    again.banner.restore.click()
    settle(again, qtbot)
    assert not again.banner.isVisible()
    restored, original = viewer.layers["case_0 prediction (edited)"], viewer.layers[0]
    np.testing.assert_array_equal(restored.data, painted)
    assert (original.name, original.visible) == ("case_0 prediction", False)
    assert again.choices.predictions.layer is restored
    np.testing.assert_allclose(restored.scale, layer.scale)
    np.testing.assert_allclose(restored.translate, layer.translate)
    paint(again, qtbot, value=1, slice_index=4)  # and the journal goes on
    settle(again, qtbot)
    assert [one.name for one in viewer.layers].count("case_0 prediction") == 1
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


def test_session_without_scores_follows_a_layer(qtbot: QtBot, made_prediction: Prediction) -> None:
    from qtpy.QtWidgets import QWidget

    owner = QWidget()
    qtbot.addWidget(owner)
    layer = Labels(made_prediction.labels.copy())
    session = EditSession(layer, owner)
    layer.mode = "paint"
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)
    boxes: list[object] = []
    session.changed.connect(boxes.append)
    with qtbot.waitSignal(session.began, timeout=WAIT_MS) as began:
        layer.data_setitem((np.array([1]), np.array([2]), np.array([3])), 1)
    np.testing.assert_array_equal(began.args[0], made_prediction.labels)
    qtbot.waitUntil(lambda: bool(boxes), timeout=WAIT_MS)
    # a layer of nobody's runs the other way round on the file's grid, or not at all
    (box,) = boxes
    assert session.labels()[box].tolist() == [[[1]]]
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)
    session.close()


def test_volume_of_a_restored_case_is_that_of_the_file(made_prediction: Prediction) -> None:
    from napari_uda.gui.score.edit_journal import About
    from napari_uda.gui.score.edit_layers import restored

    volume = Volume(made_prediction.labels, made_prediction.volume.affine, "case_0")
    layers = restored(volume, volume, About("case_0", "tiny", "x (edited)", NAMES))
    assert [layer.name for layer in layers] == ["x", "x (edited)"]
    for layer in layers:
        np.testing.assert_array_equal(layer_volume(layer).array, volume.array)
        np.testing.assert_array_equal(layer_volume(layer).affine, volume.affine)
