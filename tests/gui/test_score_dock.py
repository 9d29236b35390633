"""The Score dock: numbers, curve, and the way from a number to its slice."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gui_cases import LABELS, ball_case
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt

import napari_uda as uda
from napari_uda.data.volume import Volume
from napari_uda.gui.layers import show
from napari_uda.gui.navigation import current_slice, go_to_slice
from napari_uda.gui.reader import layer_data
from napari_uda.gui.score_dock import ScoreDock
from napari_uda.gui.scoring import score_layers
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
    viewer._add_layer_from_data(*layer_data(reference, "reference", NAMES))
    widget = ScoreDock(viewer)
    viewer.window.add_dock_widget(widget, name="Score")
    yield widget
    qtbot.waitUntil(lambda: widget._job is None, timeout=WAIT_MS)


@pytest.fixture
def scored(dock: ScoreDock, qtbot: QtBot) -> ScoreDock:
    score(dock, qtbot)
    return dock


def score(dock: ScoreDock, qtbot: QtBot) -> None:
    dock.score.click()
    qtbot.waitUntil(lambda: dock._job is None, timeout=WAIT_MS)


def cells(dock: ScoreDock, row: int) -> list[str]:
    return [dock.table.item(row, column).text() for column in range(dock.table.columnCount())]


def click_row(dock: ScoreDock, qtbot: QtBot, row: int) -> None:
    where = dock.table.visualItemRect(dock.table.item(row, 0)).center()
    qtbot.mouseClick(dock.table.viewport(), Qt.MouseButton.LeftButton, pos=where)


def test_right_layers_are_chosen_by_their_roles(dock: ScoreDock) -> None:
    assert dock.predictions.currentText() == "case_0 prediction"
    assert dock.references.currentText() == "case_0 reference"
    assert dock.entropies.currentText() == "case_0 entropy"
    assert dock.predictions.count() == 2  # no reliability map among structures
    assert not dock.export.isEnabled()


def test_table_shows_the_numbers_of_evaluate(
    scored: ScoreDock, prediction: Prediction, reference: Volume
) -> None:
    expected = uda.evaluate(prediction, reference)
    assert scored.table.rowCount() == 3
    for row, values in enumerate(expected.rows):
        assert cells(scored, row) == [
            values["name"],
            f"{values['dice']:.3f}",
            f"{values['assd_mm']:.2f}",
            f"{values['masd_mm']:.2f}",
            f"{values['hd95_mm']:.2f}",
            f"{values['nsd']:.3f}",
            "both",
            f"{values['volume_prediction_ml']:.1f}",
            f"{values['volume_reference_ml']:.1f}",
        ]
    mean = np.mean([row["dice"] for row in expected.rows])
    assert cells(scored, 2)[:2] == ["mean", f"{mean:.3f}"]
    assert scored.status.text() == f"case_0: mean Dice {mean:.3f}."


def test_click_on_a_row_shows_the_worst_slice_of_the_structure(
    scored: ScoreDock, qtbot: QtBot
) -> None:
    viewer, layer = scored._viewer, scored.predictions.layer
    assert scored.axes.currentIndex() == 0
    click_row(scored, qtbot, 1)
    # slice 3 of 6 from the foot is slice 2 from the head, as the viewer counts
    assert viewer.dims.current_step[0] == 2
    assert current_slice(viewer, layer, 0) == 2
    assert not (layer.data[2] == 2).any()
    assert scored.curve.marker.value() == 2
    assert scored.curve.marker.isVisible()


def test_click_on_the_curve_goes_there(scored: ScoreDock, qtbot: QtBot) -> None:
    plot = scored.curve.plot
    scored._viewer.window.activate()
    qtbot.waitUntil(lambda: plot.plotItem.vb.width() > 50, timeout=WAIT_MS)
    for index in (4, 1):
        scene = plot.plotItem.vb.mapViewToScene(QPointF(index + 0.2, 0.5))
        where = plot.mapFromScene(scene)
        with qtbot.waitSignal(scored.curve.slice_chosen) as chosen:
            qtbot.mouseClick(
                plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(where.x(), where.y())
            )
        assert chosen.args == [index]
        assert scored._viewer.dims.current_step[0] == index


def test_curve_holds_dice_per_slice_in_the_order_of_the_viewer(
    scored: ScoreDock, prediction: Prediction, reference: Volume
) -> None:
    (myo, _) = scored._result.lines(0, "dice")
    assert (myo.name, list(myo.slices)) == ("MYO", [0, 1, 2, 3, 4, 5])
    for index, value in zip(myo.slices, myo.values, strict=True):
        a, b = prediction.labels[5 - index] == 1, reference.array[5 - index] == 1
        assert value == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_other_cut_turns_the_view(scored: ScoreDock, qtbot: QtBot) -> None:
    scored.axes.setCurrentIndex(1)
    assert not scored.curve.marker.isVisible()  # the view lies along that axis
    click_row(scored, qtbot, 0)
    viewer = scored._viewer
    assert tuple(viewer.dims.order) == (1, 0, 2)
    worst = scored._result.worst_slice(1, 1)
    assert viewer.dims.current_step[1] == worst
    assert scored.curve.marker.value() == worst


def test_moving_the_slider_moves_the_mark(scored: ScoreDock) -> None:
    scored._viewer.dims.set_current_step(0, 5)
    assert scored.curve.marker.value() == 5


def test_mean_entropy_curve(scored: ScoreDock, prediction: Prediction, reference: Volume) -> None:
    scored.quantities.setCurrentIndex(2)
    (myo, _) = scored._result.lines(0, "mean_entropy")
    inside = (prediction.labels[5] == 1) | (reference.array[5] == 1)
    assert myo.values[0] == pytest.approx(prediction.entropy[5][inside].mean())


def test_export_writes_the_tables(scored: ScoreDock, tmp_path: Path, qtbot: QtBot) -> None:
    scored.export_to(tmp_path / "out")
    qtbot.waitUntil(lambda: (tmp_path / "out" / "scores.json").exists(), timeout=WAIT_MS)
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["MYO", "LVC"]
    assert float(rows[0]["dice"]) == scored._result.scores.rows[0]["dice"]
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["protocol"] == "recommended"
    assert (tmp_path / "out" / "slices.csv").read_text().startswith("case,axis,slice,position_mm")
    qtbot.waitUntil(lambda: not _running(), timeout=WAIT_MS)


def test_other_grid_is_refused_in_one_sentence(
    dock: ScoreDock,
    qtbot: QtBot,
    reference: Volume,
    notifications: Callable[[], list[str]],
) -> None:
    affine = reference.affine.copy()
    affine[2, 3] += 4
    shifted = Volume(reference.array, affine, "shifted")
    (layer,) = dock._viewer._add_layer_from_data(*layer_data(shifted, "reference", NAMES))
    dock.references.choose(layer)
    score(dock, qtbot)
    (message,) = notifications()
    assert "4 mm apart" in message
    assert dock.status.text() == message
    assert dock.table.rowCount() == 0


def test_edit_asks_for_a_new_score(scored: ScoreDock) -> None:
    layer = scored.predictions.layer
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
    dock.references.choose(viewer.layers[0])
    assert dock.score.isEnabled()
    score(dock, qtbot)
    assert cells(dock, 0)[:2] == ["label_1", "1.000"]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_curve_follows_the_theme(scored: ScoreDock, theme: str) -> None:
    scored._viewer.theme = theme
    colour = scored.curve.plot.backgroundBrush().color()
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
        qtbot.waitUntil(lambda o=orientation: dock._splitter.orientation() == o, timeout=WAIT_MS)


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


def _running() -> bool:
    from napari_uda.gui import worker

    return bool(worker._running)
