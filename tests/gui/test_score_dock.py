"""The Score dock: numbers, curve, and the way from a number to its slice."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyqtgraph as pg
import pytest
from gui_cases import LABELS, add_data, ball_case, press_key, settle
from napari.layers import Layer
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtWidgets import QPushButton, QSplitter
from tiny_cases import reoriented

import napari_uda as uda
from napari_uda.core.structure_colours import full_name
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.volume import Volume, write_volume
from napari_uda.evaluation.calibration import calibrate_structures
from napari_uda.evaluation.protocols import PROTOCOLS
from napari_uda.evaluation.report import evaluate_folders
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.choices import choices, choose
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import displayed, layer_volume
from napari_uda.gui.kit.layers import show, structure_names
from napari_uda.gui.kit.navigation import current_slice, go_to_slice
from napari_uda.gui.kit.widgets import SHORT
from napari_uda.gui.score import scoring_work
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.score.scoring import LayerScores, score_layers
from napari_uda.gui.segment.result_view import _count, _Layers
from napari_uda.inference.fit import Fit
from napari_uda.inference.predict import Prediction

WAIT_MS = 60_000
NAMES = {value: name for name, value in LABELS.items()}


@pytest.fixture
def prediction(made_prediction: Prediction) -> Prediction:
    """One voxel off everywhere, and nothing at all of LVC in slice 3 of the file."""
    labels = made_prediction.labels.copy()
    labels[3][labels[3] == 2] = 0
    return replace(made_prediction, labels=labels)


@pytest.fixture
def reference() -> Volume:
    return ball_case("case_0", 0)[1]


@pytest.fixture
def dock(
    make_napari_viewer: Callable[[], Viewer],
    prediction: Prediction,
    reference: Volume,
    qtbot: QtBot,
) -> Iterator[ScoreDock]:
    """Image, reference and prediction are open; nothing is scored yet."""
    viewer = make_napari_viewer()
    show(viewer, prediction)
    add_data(viewer, *layer_data(reference, "reference", NAMES))
    widget = ScoreDock(viewer)
    viewer.window.add_dock_widget(widget, name="Score")
    yield widget
    settle(widget, qtbot)


@pytest.fixture
def scored(dock: ScoreDock, qtbot: QtBot) -> ScoreDock:
    score(dock, qtbot)
    return dock


def score(dock: ScoreDock, qtbot: QtBot) -> None:
    dock.score.click()
    settle(dock, qtbot)


def cells(dock: ScoreDock, row: int) -> list[str]:
    """As shown, but structures as files call them."""
    found = [dock.table.item(row, column) for column in range(dock.table.columnCount())]
    return [found[0].data(SHORT) or found[0].text(), *(cell.text() for cell in found[1:])]


def click_row(dock: ScoreDock, qtbot: QtBot, row: int) -> None:
    where = dock.table.visualItemRect(dock.table.item(row, 0)).center()
    qtbot.mouseClick(dock.table.viewport(), Qt.MouseButton.LeftButton, pos=where)


def test_the_reference_of_another_patient_is_not_taken_and_told(
    dock: ScoreDock, reference: Volume, qtbot: QtBot
) -> None:
    own = dock.choices.references.layer
    other = replace(reference, name="case_1")
    (another,) = add_data(dock.viewer, *layer_data(other, "reference", NAMES))
    assert another.visible
    own.visible = False
    settle(dock, qtbot)
    assert dock.choices.references.layer is own  # hidden as it is
    score(dock, qtbot)
    assert "two cases" not in dock.status.text()
    dock.choices.references.choose(another)
    score(dock, qtbot)
    said = "By their names, prediction and reference are of two cases: case_0 and case_1."
    assert said in dock.status.text()


def test_right_layers_are_chosen_by_their_roles(dock: ScoreDock) -> None:
    assert dock.choices.predictions.currentText() == "case_0 · prediction · tiny"
    assert dock.choices.references.currentText() == "case_0 · reference"
    assert dock.choices.entropies.currentText() == "case_0 · entropy · tiny"
    assert dock.choices.predictions.count() == 2  # no reliability map among structures
    assert not dock.export.isEnabled()


def test_choices_of_a_session_wait_for_the_scores(scored: ScoreDock, qtbot: QtBot) -> None:
    scored.slices.choose(0, 2)
    scored.slices.axes.setCurrentIndex(2)
    stored = choices(scored)
    assert stored["structures"] == "left ventricle cavity"
    other = ScoreDock(scored.viewer)
    scored.viewer.window.add_dock_widget(other, name="Other")
    choose(other, stored)
    score(other, qtbot)
    assert (other.slices.label, other.slices.axis) == (2, 2)
    other.slices.choose(0, 1)
    score(other, qtbot)
    assert (other.slices.label, other.slices.axis) == (1, 2)


def test_cancel_is_said_at_once_and_changes_nothing(
    scored: ScoreDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, before = threading.Event(), scored.results

    def slow(*arguments: Any) -> LayerScores:
        assert go_on.wait(60)
        return score_layers(*arguments)

    monkeypatch.setattr(scoring_work, "score_layers", slow)
    assert not scored.cancel.isVisibleTo(scored)
    scored.score.click()
    assert scored.cancel.isVisibleTo(scored)
    scored.cancel.click()
    assert scored.status.text() == "Cancelling…"
    assert not scored.cancel.isEnabled()
    go_on.set()
    settle(scored, qtbot)
    assert scored.status.text() == "Cancelled; nothing was changed."
    assert scored.results == before
    assert scored.score.isEnabled()
    assert not scored.cancel.isVisibleTo(scored)


def test_structures_are_listed_by_their_full_names(scored: ScoreDock, qtbot: QtBot) -> None:
    whole = ["left ventricle myocardium", "left ventricle cavity"]
    cells = [scored.table.item(row, 0) for row in range(2)]
    assert [cell.text() for cell in cells] == whole
    assert "MYO in files, label value 1" in cells[0].toolTip()
    boxes = scored.slices.structures, scored.tools.structures
    for box, first in zip(boxes, (1, 0), strict=True):
        assert [box.itemText(first + number) for number in range(2)] == whole
        assert [box.itemData(first + number, SHORT) for number in range(2)] == ["MYO", "LVC"]
    assert [scored.cohort.table.item(1 + row, 0).text() for row in range(2)] == whole


def test_table_shows_the_numbers_of_evaluate(
    scored: ScoreDock, prediction: Prediction, reference: Volume
) -> None:
    expected = uda.evaluate(prediction, reference)
    assert scored.table.rowCount() == 3
    for row, values in enumerate(expected.rows):
        assert cells(scored, row) == [
            values["name"],
            "both",
            f"{values['dice']:.3f}",
            f"{values['assd_mm']:.2f}",
            f"{values['masd_mm']:.2f}",
            f"{values['hd95_mm']:.2f}",
            f"{values['nsd']:.3f}",
            f"{values['volume_prediction_ml']:.1f}",
            f"{values['volume_reference_ml']:.1f}",
        ]
    mean = np.mean([row["dice"] for row in expected.rows])
    assert cells(scored, 2)[0:3:2] == ["mean", f"{mean:.3f}"]
    assert scored.status.text() == f"case_0 · prediction · tiny: mean Dice {mean:.3f}."


def test_scores_of_what_is_not_chosen_any_more_have_its_name_above(
    scored: ScoreDock, reference: Volume
) -> None:
    before = scored.choices.references.layer
    add_data(scored.viewer, *layer_data(reference, "reference", NAMES))
    scored.choices.references.choose(scored.viewer.layers[-1])
    assert scored.table.item(0, 0).text() == scored.results[0].name
    assert scored.table.rowCount() == 4
    scored.choices.references.choose(before)
    assert scored.table.rowCount() == 3


def test_click_on_a_row_shows_the_worst_slice_of_the_structure(
    scored: ScoreDock, qtbot: QtBot
) -> None:
    viewer, layer = scored.viewer, scored.choices.predictions.layer
    assert scored.slices.axes.currentIndex() == 0
    click_row(scored, qtbot, 1)
    # slice 3 of 6 from the foot is slice 2 from the head, as the viewer counts
    assert viewer.dims.current_step[0] == 2
    assert current_slice(viewer, layer, 0) == 2
    assert not (layer.data[2] == 2).any()
    assert scored.slices.curve.marker.value() == 3
    assert scored.slices.curve.marker.isVisible()
    assert scored.status.text().endswith("the worst first: axial slice 3, S 24.0 mm.")


def test_click_on_the_curve_goes_there(scored: ScoreDock, qtbot: QtBot) -> None:
    plot = scored.slices.curve.plot
    scored.viewer.window.activate()
    qtbot.waitUntil(lambda: plot.plotItem.vb.width() > 50, timeout=WAIT_MS)
    for index in (4, 1):
        # the curve counts as the file does, from the foot
        scene = plot.plotItem.vb.mapViewToScene(QPointF(5 - index + 0.2, 0.5))
        where = plot.mapFromScene(scene)
        with qtbot.waitSignal(scored.slices.curve.slice_chosen) as chosen:
            qtbot.mouseClick(
                plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(where.x(), where.y())
            )
        assert chosen.args == [index]
        assert scored.viewer.dims.current_step[0] == index


def test_curve_holds_dice_per_slice_in_the_order_of_the_viewer(
    scored: ScoreDock, prediction: Prediction, reference: Volume
) -> None:
    (myo, _) = scored.results[0].lines(0, "dice")
    assert (myo.name, list(myo.slices)) == ("MYO", [0, 1, 2, 3, 4, 5])
    for index, value in zip(myo.slices, myo.values, strict=True):
        a, b = prediction.labels[5 - index] == 1, reference.array[5 - index] == 1
        assert value == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_chosen_structure_is_drawn_strongly_and_all_in_one_go(
    scored: ScoreDock, monkeypatch: pytest.MonkeyPatch
) -> None:
    curve, drawn = scored.slices.curve, []
    plot = curve.plot.plot
    monkeypatch.setattr(
        curve.plot, "plot", lambda *a, **k: drawn.append(k["name"]) or plot(*a, **k)
    )
    scored.slices.choose(0, 2)
    assert drawn == ["left ventricle myocardium", "left ventricle cavity"]
    widths = [item.opts["pen"].widthF() for item in curve.plot.listDataItems()]
    assert [item.name() for item in curve.plot.listDataItems()] == drawn
    assert widths == [1.5, 3.0]


def test_other_cut_turns_the_view(scored: ScoreDock, qtbot: QtBot) -> None:
    scored.slices.axes.setCurrentIndex(1)
    assert not scored.slices.curve.marker.isVisible()  # the view lies along that axis
    click_row(scored, qtbot, 0)
    viewer = scored.viewer
    assert tuple(viewer.dims.order) == (1, 0, 2)
    worst = scored.results[0].slices_by_dice(1, 1)[0]
    assert viewer.dims.current_step[1] == worst
    assert scored.slices.curve.marker.value() == worst


def test_moving_the_slider_moves_the_mark(scored: ScoreDock) -> None:
    scored.viewer.dims.set_current_step(0, 5)
    assert scored.slices.curve.marker.value() == 0  # of the file


def test_mean_entropy_curve(scored: ScoreDock, prediction: Prediction, reference: Volume) -> None:
    scored.slices.quantities.setCurrentIndex(2)
    (myo, _) = scored.results[0].lines(0, "mean_entropy")
    inside = (prediction.labels[5] == 1) | (reference.array[5] == 1)
    assert myo.values[0] == pytest.approx(prediction.entropy[5][inside].mean())


def test_export_writes_the_tables(scored: ScoreDock, tmp_path: Path, qtbot: QtBot) -> None:
    scored.export_to(tmp_path / "out")
    qtbot.waitUntil(lambda: (tmp_path / "out" / "scores.json").exists(), timeout=WAIT_MS)
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["MYO", "LVC"]
    assert float(rows[0]["dice"]) == scored.results[0].scores.rows[0]["dice"]
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["protocol"] == "recommended"
    assert (tmp_path / "out" / "slices.csv").read_text().startswith("case,axis,slice,position_mm")
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)


def test_a_grid_that_is_a_hundredth_of_a_voxel_off_is_told(
    dock: ScoreDock, qtbot: QtBot, reference: Volume
) -> None:
    affine = reference.affine.copy()
    affine[2, 3] += 0.01  # of 1.5 mm, the smallest side
    shifted = Volume(reference.array, affine, "shifted")
    (layer,) = add_data(dock.viewer, *layer_data(shifted, "reference", NAMES))
    dock.choices.references.choose(layer)
    score(dock, qtbot)
    assert " lie up to 0.01 mm apart, 0.7% of a voxel; they are taken" in dock.status.text()


def test_other_grid_is_refused_in_one_sentence(
    dock: ScoreDock,
    qtbot: QtBot,
    reference: Volume,
    notifications: Callable[[], list[str]],
) -> None:
    affine = reference.affine.copy()
    affine[2, 3] += 4
    shifted = Volume(reference.array, affine, "shifted")
    (layer,) = add_data(dock.viewer, *layer_data(shifted, "reference", NAMES))
    dock.choices.references.choose(layer)
    score(dock, qtbot)
    (message,) = notifications()
    assert "4 mm apart" in message
    assert dock.status.text() == message
    assert dock.table.rowCount() == 0


def test_edit_asks_for_a_new_score(scored: ScoreDock) -> None:
    layer = scored.choices.predictions.layer
    layer.data = np.zeros_like(layer.data)
    assert "press Score again" in scored.status.text()


def test_says_what_is_missing(make_napari_viewer: Callable[[], Viewer], qtbot: QtBot) -> None:
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari_uda", "Score")
    assert not dock.score.isEnabled()
    assert "No prediction" in dock.status.text()
    viewer.add_labels(np.ones((2, 8, 8), np.uint8))
    assert "No reference" in dock.status.text()
    viewer.add_labels(np.ones((2, 8, 8), np.uint8))
    dock.choices.references.choose(dock.choices.predictions.layer)
    assert "one and the same layer" in dock.status.text()
    viewer.add_labels(np.ones((2, 8, 8), np.uint8))
    dock.choices.references.choose(viewer.layers[0])
    assert dock.score.isEnabled()
    score(dock, qtbot)
    assert cells(dock, 0)[0:3:2] == ["label_1", "1.000"]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_curve_follows_the_theme(scored: ScoreDock, theme: str) -> None:
    scored.viewer.theme = theme
    colour = scored.slices.curve.plot.backgroundBrush().color()
    assert (colour.lightness() > 128) == (theme == "light")


def test_dock_stands_in_a_side_area_and_lies_in_a_bottom_area(
    make_napari_viewer: Callable[[], Viewer], qtbot: QtBot
) -> None:
    dock = ScoreDock(make_napari_viewer())
    qtbot.addWidget(dock)
    dock.show()
    for size, orientation in (
        ((1100, 260), Qt.Orientation.Horizontal),
        ((430, 900), Qt.Orientation.Vertical),
    ):
        dock.resize(*size)
        qtbot.waitUntil(
            lambda o=orientation: dock.findChild(QSplitter).orientation() == o, timeout=WAIT_MS
        )


def test_go_to_slice_of_a_layer_in_a_viewer_with_time(
    make_napari_viewer: Callable[[], Viewer], prediction: Prediction
) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((3, 4, 5, 6)))
    layer = show(viewer, prediction)[1]
    go_to_slice(viewer, layer, 0, 4)
    assert current_slice(viewer, layer, 0) == 4
    go_to_slice(viewer, layer, 2, 7)
    assert current_slice(viewer, layer, 2) == 7
    assert current_slice(viewer, layer, 0) is None


def test_slices_of_two_layers_without_a_file(made_prediction: Prediction) -> None:
    from napari.layers import Labels

    first = Labels(made_prediction.labels, scale=(8, 1.5, 1.5))
    result = score_layers(first, Labels(made_prediction.labels, scale=(8, 1.5, 1.5)), None)
    assert result.coarsest_axis == 0
    assert all(np.nanmin(line.values) == 1 for line in result.lines(0, "dice"))


def press(dock: ScoreDock, qtbot: QtBot, button: QPushButton) -> None:
    """Press, and wait until what it set going has ended."""
    button.click()
    settle(dock, qtbot)


def shown(dock: ScoreDock) -> int:
    return int(dock.viewer.dims.current_step[dock.slices.axis])


def test_worst_slices_come_one_after_another(scored: ScoreDock, qtbot: QtBot) -> None:
    scored.slices.structures.setCurrentIndex(scored.slices.structures.findData(2))
    (_, lvc) = scored.results[0].lines(0, "dice")
    known = {int(i): v for i, v in zip(lvc.slices, lvc.values, strict=True) if np.isfinite(v)}
    seen = []
    for _ in known:
        scored.slices.worst.click()
        seen.append(shown(scored))
    assert [known[index] for index in seen] == sorted(known.values())
    assert seen[0] == 2  # nothing of LVC there
    scored.slices.worst.click()
    assert shown(scored) == seen[0]  # and again from the worst
    click_row(scored, qtbot, 1)
    assert shown(scored) == seen[0]


def test_keys_walk_wherever_the_viewer_has_the_focus(scored: ScoreDock, qtbot: QtBot) -> None:
    viewer = scored.viewer
    assert scored.slices.worst.text() == "Next worst slice (W)"
    worst = scored.results[0].slices_by_dice(0, 0)
    for key in "WW":
        press_key(viewer, key)
    assert shown(scored) == worst[1]
    press_key(viewer, "D")
    settle(scored, qtbot)
    assert "Error 1 of" in scored.status.text()


def test_errors_are_visited_by_size(
    scored: ScoreDock, prediction: Prediction, reference: Volume, qtbot: QtBot
) -> None:
    scored.slices.structures.setCurrentIndex(scored.slices.structures.findData(2))
    press(scored, qtbot, scored.slices.disagreement)
    missed = (prediction.labels != 2) & (reference.array == 2)
    assert missed[3].sum() > 40  # a whole slice was left out: the largest error
    assert shown(scored) == 2
    words = scored.status.text()
    assert "Error 1 of" in words
    assert "false negative" in words
    viewer, layer = scored.viewer, scored.choices.predictions.layer
    place = tuple(round(value) for value in layer.world_to_data(viewer.dims.point))
    on_file = Volume(missed.astype(np.uint8), reference.affine)
    assert displayed(on_file)[0][place] == 1
    press(scored, qtbot, scored.slices.disagreement)
    assert "Error 2 of" in scored.status.text()


def test_prediction_without_errors_says_so(
    scored: ScoreDock, reference: Volume, qtbot: QtBot
) -> None:
    (layer,) = add_data(scored.viewer, *layer_data(reference, "", NAMES))
    scored.choices.predictions.choose(layer)
    score(scored, qtbot)
    press(scored, qtbot, scored.slices.disagreement)
    assert scored.status.text() == "Prediction and reference agree everywhere."


def test_error_layer_shows_both_kinds(
    scored: ScoreDock, prediction: Prediction, reference: Volume, qtbot: QtBot
) -> None:
    viewer = scored.viewer
    scored.slices.structures.setCurrentIndex(scored.slices.structures.findData(1))
    press(scored, qtbot, scored.slices.errors)
    layer = viewer.layers["case_0 · errors"]
    ours, theirs = prediction.labels == 1, reference.array == 1
    wanted = (1 * (ours & ~theirs) + 2 * (theirs & ~ours)).astype(np.uint8)
    np.testing.assert_array_equal(layer_volume(layer).array, wanted)
    np.testing.assert_array_equal(layer_volume(layer).affine, reference.affine)
    assert structure_names(layer)[1] == "false positive"
    colours = [tuple(layer.get_color(value)) for value in (1, 2)]
    assert colours[0] != colours[1]
    scored.slices.structures.setCurrentIndex(0)  # all structures
    settle(scored, qtbot)
    assert viewer.layers["case_0 · errors"] is layer
    assert (layer.data == 3).any()
    assert scored.choices.predictions.findText("case_0 · errors") < 0  # not a prediction
    viewer.layers.remove(layer)
    assert not scored.slices.errors.isChecked()
    press(scored, qtbot, scored.slices.errors)
    assert "case_0 · errors" in viewer.layers
    press(scored, qtbot, scored.slices.errors)
    assert "case_0 · errors" not in viewer.layers


@pytest.fixture
def compared(dock: ScoreDock, reference: Volume, prediction: Prediction, qtbot: QtBot) -> ScoreDock:
    """A second prediction, one voxel off the other way, is scored as well."""
    fit = Fit("does not fit", ("every voxel is 7",))
    other = replace(
        prediction, labels=np.roll(reference.array, -2, axis=2), model=ModelOrigin("other"), fit=fit
    )
    show(dock.viewer, other)
    dock.choices.predictions.choose(dock.viewer.layers["case_0 · prediction · tiny"])
    dock.choices.menu.aboutToShow.emit()
    (action,) = [one for one in dock.choices.menu.actions() if "other" in one.text()]
    action.trigger()
    assert dock.choices.compare.text().strip() == "Compare (1)"
    score(dock, qtbot)
    return dock


def styles(dock: ScoreDock) -> list[Qt.PenStyle]:
    """Of the curves: solid for the first prediction, dashed for the second."""
    return [item.opts["pen"].style() for item in dock.slices.curve.plot.listDataItems()]


def test_several_predictions_against_one_reference(
    compared: ScoreDock, prediction: Prediction, reference: Volume, qtbot: QtBot
) -> None:
    other = np.roll(reference.array, -2, axis=2)
    scores = [
        uda.evaluate(Volume(labels, reference.affine), reference, names=NAMES)
        for labels in (prediction.labels, other)
    ]
    column = [cells(compared, row)[0:3:2] for row in range(compared.table.rowCount())]
    wanted = []
    for name, one in zip(
        ("case_0 · prediction · tiny", "case_0 · prediction · other"), scores, strict=True
    ):
        wanted.append([name, ""])
        wanted += [[row["name"], f"{row['dice']:.3f}"] for row in one.rows]
        wanted.append(["mean", f"{one.means('dice')['mean']:.3f}"])
    assert column == wanted
    click_row(compared, qtbot, 5)  # MYO of the second
    assert compared.slices.methods.currentText() == "case_0 · prediction · other"
    assert compared.slices.structures.currentText() == "left ventricle myocardium"
    worst = compared.results[1].slices_by_dice(0, 1)[0]
    assert shown(compared) == worst
    assert set(styles(compared)) == {Qt.PenStyle.DashLine}
    compared.slices.methods.setCurrentIndex(2)  # all predictions
    solid, dashed = Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine
    assert styles(compared) == [solid, solid, dashed, dashed]


def test_entropy_map_is_that_of_the_prediction(compared: ScoreDock) -> None:
    layers = compared.viewer.layers
    assert compared.choices.predictions.layer is layers["case_0 · prediction · tiny"]
    assert compared.choices.entropies.layer is layers["case_0 · entropy · tiny"]
    compared.choices.predictions.choose(layers["case_0 · prediction · other"])
    assert compared.choices.entropies.layer is layers["case_0 · entropy · other"]


def test_compared_layer_that_is_gone_is_left_out(compared: ScoreDock, qtbot: QtBot) -> None:
    compared.viewer.layers.remove("case_0 · prediction · other")
    assert compared.choices.compared() == []
    score(compared, qtbot)
    assert compared.table.rowCount() == 3
    assert compared.slices.methods.isHidden()


def test_protocol_is_said_in_words_and_scores_anew(
    scored: ScoreDock, prediction: Prediction, reference: Volume, qtbot: QtBot
) -> None:
    choices = scored.choices
    names = [choices.protocols.itemData(i) for i in range(choices.protocols.count())]
    assert names == list(PROTOCOLS)
    assert choices.definition.isHidden()
    choices.about.click()
    assert not choices.definition.isHidden()
    choices.protocols.setCurrentIndex(choices.protocols.findData("attent_slice"))
    settle(scored, qtbot)
    assert choices.definition.toPlainText() == PROTOCOLS["attent_slice"].describe()
    sliced = uda.evaluate(prediction, reference, protocol="attent_slice", axes=("z", "y", "x"))
    whole = uda.evaluate(prediction, reference)
    wanted = [f"{one.rows[1]['dice']:.3f}" for one in (sliced, whole)]
    assert wanted[0] != wanted[1]
    assert cells(scored, 1)[2] == wanted[0]
    choices.protocols.setCurrentIndex(0)
    settle(scored, qtbot)
    assert cells(scored, 1)[2] == wanted[1]


def cohort_rows(dock: ScoreDock) -> list[list[str]]:
    table = dock.cohort.table
    return [
        [table.item(row, column).text() for column in range(table.columnCount())]
        for row in range(table.rowCount())
    ]


def test_cohort_of_a_folder(
    dock: ScoreDock, data_folder: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    predictions = tmp_path / "model_a"
    for index in range(2):
        _, labels = ball_case(f"case_{index}", index)
        array = np.roll(labels.array, index + 1, axis=1) * (labels.array != index + 1)
        write_volume(predictions / f"case_{index}_labels.nii.gz", labels.with_array(array))
    dock.score_folders(predictions, data_folder / "labels")
    settle(dock, qtbot)
    expected = evaluate_folders(predictions, data_folder / "labels").summary()
    rows = cohort_rows(dock)
    assert rows[0][0] == "model_a"
    for row, summary in zip(rows[1:], expected, strict=True):
        dice, hd95 = summary["dice"], summary["hd95_mm"]
        assert row[0] == full_name(summary["name"])
        assert row[1] == f"{dice['mean']:.3f} ± {dice['sd']:.3f}"
        assert row[4] == f"{hd95['mean']:.2f} ± {hd95['sd']:.2f}"
        missed = summary["hd95_mm"]["n_penalised"]
        counted = f"2, {missed} penalised" if missed else "2"
        assert row[6:] == [counted, str(summary["n_missing"])]
    assert "model_a: 2 cases, mean Dice" in dock.status.text()
    press(dock, qtbot, dock.cohort.clear)
    assert cohort_rows(dock) == []


def test_cohort_gathers_what_was_scored(scored: ScoreDock, qtbot: QtBot) -> None:
    rows = cohort_rows(scored)
    assert [row[0] for row in rows] == [
        "tiny",
        "left ventricle myocardium",
        "left ventricle cavity",
        "mean",
    ]
    assert rows[1][1] == cells(scored, 0)[2]  # one case has no deviation
    score(scored, qtbot)
    assert cohort_rows(scored) == rows  # the same case again is one case
    scored.choices.protocols.setCurrentIndex(1)  # other rules, another cohort
    settle(scored, qtbot)
    assert cohort_rows(scored)[1][-2:] == ["1", "0"]


def test_folder_without_labels_is_said(dock: ScoreDock, tmp_path: Path, qtbot: QtBot) -> None:
    dock.score_folders(tmp_path, tmp_path / "none")
    settle(dock, qtbot)
    assert "is not a folder" in dock.status.text()


def test_calibration_is_drawn_when_it_is_looked_at(
    scored: ScoreDock, prediction: Prediction, reference: Volume, qtbot: QtBot
) -> None:
    assert scored.calibration is None
    scored.tabs.setCurrentIndex(2)
    settle(scored, qtbot)
    panel = scored.calibration
    assert panel is not None
    expected = calibrate_structures(
        prediction.labels, reference.array, prediction.entropy, reference.spacing_mm, NAMES
    )
    names = [panel.structures.itemText(i) for i in range(panel.structures.count())]
    assert names == ["all", "left ventricle myocardium", "left ventricle cavity"]
    panel.structures.setCurrentIndex(1)
    band = expected[1].band
    counts, share = band.width.counts, f"{band.width.accuracy[-1]:.1%}"
    number = f"{counts[-1]:,}".replace(",", " ")
    assert panel.text_at(0.99) == f"confidence 0.933 to 1: {number} voxels, {share} right"
    (empty,) = np.flatnonzero(counts == 0)[:1]
    assert panel.text_at((empty + 0.5) / len(counts)).endswith(": 0 voxels")
    assert panel.text_at(1.01) == panel.text_at(-0.01) == ""
    assert f"ECE {band.width.ece():.3f}" in panel.numbers.text()
    assert f"errors {band.auroc:.3f}" in panel.numbers.text()
    assert f"{band.errors} of {band.voxels} voxels wrong" in panel.numbers.text()
    panel.regions.setCurrentIndex(1)
    panel.bins.setCurrentIndex(1)
    assert f"ECE {expected[1].whole.mass.ece():.3f}" in panel.numbers.text()
    bars = [item for item in panel.plot.plotItem.items if isinstance(item, pg.BarGraphItem)]
    assert len(bars) == 1


def test_calibration_without_entropy_says_what_is_missing(dock: ScoreDock, qtbot: QtBot) -> None:
    dock.choices.entropies.setCurrentIndex(0)  # none
    score(dock, qtbot)
    dock.tabs.setCurrentIndex(2)
    settle(dock, qtbot)
    assert dock.calibration is None


def test_export_holds_a_report_page(compared: ScoreDock, tmp_path: Path, qtbot: QtBot) -> None:
    compared.export_to(tmp_path / "out")
    settle(compared, qtbot)
    out = tmp_path / "out"
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "<title>Scores of case_0</title>" in text
    # of both predictions the middle slice, and the worst one of each structure
    assert text.count("data:image/png;base64") == 6
    assert "6 × 32 × 40 voxels of 8 × 1.5 × 1.5 mm" in text
    assert "tiny of 2026-08-21" in text
    assert "ab" * 32 in text
    assert text.count("not known") == 1  # the weights of the other one
    assert text.count("<h2>Does the model fit the image?</h2>") == 1
    assert text.count("not judged") == text.count("does not fit: every voxel is 7") == 1
    assert (out / "cohort.csv").read_text().startswith("method,protocol,structure,n_cases")
    folders = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert folders == ["1_case_0_prediction_tiny", "2_case_0_prediction_other"]
    assert (out / folders[1] / "scores.json").exists()


def test_layers_removed_or_renamed_at_any_time(scored: ScoreDock, qtbot: QtBot) -> None:
    viewer = scored.viewer
    press(scored, qtbot, scored.slices.errors)
    viewer.layers["case_0 · prediction · tiny"].name = "renamed"
    scored.slices.worst.click()
    for name in ("renamed", "case_0 · reference", "case_0 · entropy · tiny", "case_0"):
        if name in viewer.layers:
            viewer.layers.remove(name)
        scored.slices.worst.click()
        scored.slices.disagreement.click()
        scored.slices.structures.setCurrentIndex(1)
        scored.slices.structures.setCurrentIndex(0)
        settle(scored, qtbot)
    scored.export_to(Path("out"))
    settle(scored, qtbot)


@pytest.mark.parametrize("size", [(430, 700), (1280, 300)])
def test_everything_fits_a_narrow_dock_and_a_small_screen(
    scored: ScoreDock, qtbot: QtBot, size: tuple[int, int]
) -> None:
    scored.choices.about.click()
    minimum = scored.minimumSizeHint()
    assert minimum.width() <= size[0]


def test_a_reference_and_an_entropy_map_in_another_order_are_put_in_order() -> None:
    _, labels = ball_case("case", 0)
    entropy = np.where(labels.array == 1, 0.5, 0.0).astype(np.float32)
    layers = []
    for volume, role, flips in (
        (labels, "prediction", (False, False, False)),
        (labels, "reference", (True, False, True)),
        (labels.with_array(entropy), "entropy", (False, True, True)),
    ):
        stored = reoriented(volume, (0, 1, 2), flips)
        data, arguments, kind = layer_data(stored, role, {1: "MYO", 2: "LVC"})
        layers.append(Layer.create(data, arguments, kind))
    result = score_layers(*layers)
    assert [row["dice"] for row in result.scores.rows] == [1.0, 1.0]
    of_myo = [row["mean_entropy"] for row in result.scores.slices if row["label"] == 1]
    assert {value for value in of_myo if value == value} == {0.5}
    np.testing.assert_array_equal(result.evaluation.reference, labels.array)
    np.testing.assert_array_equal(result.entropy, entropy)


def test_volumes_of_a_sheared_layer_follow_from_its_affine() -> None:
    """A gantry tilted by 25 degrees: the voxel is base times height, not the product of its sides."""
    affine = np.diag([-1.5, -1.5, 8.0, 1.0])
    affine[1, 2] = 8 * np.tan(np.radians(25))
    _, labels = ball_case("case", 0, affine)
    data, arguments, kind = layer_data(labels, "prediction", {1: "MYO", 2: "LVC"})
    layer = Layer.create(data, arguments, kind)
    result = score_layers(layer, layer, None)
    voxel_ml = 1.5 * 1.5 * 8 / 1000
    assert result.voxel_ml == pytest.approx(voxel_ml, rel=1e-12)
    assert result.scores.rows[0]["volume_prediction_ml"] == pytest.approx(
        (labels.array == 1).sum() * voxel_ml, rel=1e-12
    )
    counted = _count(_Layers(layer, None, None), threading.Event())
    assert counted.volumes_ml[1] == pytest.approx((labels.array == 1).sum() * voxel_ml, rel=1e-12)
