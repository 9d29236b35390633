"""The table of structures compared: open where names differ, remembered, and what is chosen is scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gui_cases import add_data
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QComboBox

from napari_uda.data.volume import Volume
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.widgets import SHORT
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.score.scoring import score_layers

WAIT_MS = 60_000
PREDICTED, REFERENCED = {1: "LVC", 2: "MYO", 3: "AA"}, {1: "MYO", 2: "ventricle", 4: "LA"}


@pytest.fixture
def dock(make_napari_viewer: Callable[[], Viewer], qtbot: QtBot) -> ScoreDock:
    viewer = make_napari_viewer()
    found, expected = np.zeros((2, 2, 8, 8), np.uint8)
    found[:, 1:4, 1:4], found[:, 5:7, 5:7], found[0, 0, 0] = 2, 1, 3
    expected[:, 1:4, 1:4], expected[:, 5:7, 5:7] = 1, 2
    for array, role, names in (
        (found, "prediction", PREDICTED),
        (expected, "reference", REFERENCED),
    ):
        add_data(viewer, *layer_data(Volume(array, np.eye(4), "a"), role, names))
    dock = ScoreDock(viewer)
    viewer.window.add_dock_widget(dock)
    return dock


def table(dock: ScoreDock) -> list[list[str]]:
    shown = dock.choices.matches.table
    return [
        [
            shown.item(row, 0).text(),
            shown.cellWidget(row, 1).currentText(),
            shown.item(row, 2).text(),
        ]
        for row in range(shown.rowCount())
    ]


def choose(dock: ScoreDock, reference: str, prediction: str) -> None:
    shown = dock.choices.matches.table
    names = [shown.item(row, 0).data(SHORT) for row in range(shown.rowCount())]
    row = names.index(reference)
    combo = shown.cellWidget(row, 1)
    assert isinstance(combo, QComboBox)
    combo.setCurrentIndex(combo.findData(prediction))
    combo.activated.emit(combo.currentIndex())


def test_names_that_differ_are_shown_chosen_scored_and_remembered(
    dock: ScoreDock, qtbot: QtBot
) -> None:
    matches = dock.choices.matches
    assert dock.tabs.currentWidget() is matches
    assert dock.tabs.tabText(3) == "Names?"
    assert table(dock) == [
        ["ventricle", "(missed)", "no such structure"],
        ["left atrium", "(missed)", "no such structure"],
        ["left ventricle myocardium", "left ventricle myocardium", "same name"],
    ]
    assert matches.extra.text() == "Not in the reference: left ventricle cavity, ascending aorta"
    dock.score.click()
    qtbot.waitUntil(lambda: dock.is_settled and bool(dock.results), timeout=WAIT_MS)
    assert dock.tabs.currentIndex() == 0
    states = {row["name"]: row["state"] for row in dock.results[0].scores.rows}
    assert states == {
        "LVC": "invented", "MYO": "both", "AA": "invented", "ventricle": "missed", "LA": "absent",
    }  # fmt: skip
    choose(dock, "ventricle", "LVC")  # scores anew
    qtbot.waitUntil(
        lambda: dock.is_settled and dock.results[0].scores.rows[0]["state"] == "both",
        timeout=WAIT_MS,
    )
    assert dock.results[0].scores.rows[0]["dice"] == 1
    assert table(dock)[0] == ["ventricle", "left ventricle cavity", "your choice"]
    assert matches.extra.text() == "Not in the reference: ascending aorta"
    assert dock.tabs.tabText(3) == "Names?"
    choose(dock, "LA", "LVC")  # it moves there, and is asked for once
    assert matches.chosen == {"LA": "LVC"}
    choose(dock, "ventricle", "LVC")
    dock.tabs.setCurrentWidget(matches)
    choose(dock, "LA", "")  # the last one: what is scored comes back
    assert (dock.tabs.tabText(3), dock.tabs.currentIndex()) == ("Names", 0)
    dock.tabs.setCurrentWidget(matches)
    choose(dock, "LA", "AA")  # all agreed before
    assert dock.tabs.currentWidget() is matches
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)
    again = ScoreDock(dock.viewer)
    qtbot.addWidget(again)
    assert again.choices.matches.chosen == {"ventricle": "LVC", "LA": "AA"}


def test_names_that_agree_stay_behind_and_nameless_labels_need_no_table(
    dock: ScoreDock,
) -> None:
    viewer, volume = dock.viewer, Volume(np.ones((2, 8, 8), np.uint8), np.eye(4), "b")
    (same,) = add_data(viewer, *layer_data(volume, "reference", PREDICTED))
    dock.choices.references.choose(same)
    assert dock.tabs.tabText(3) == "Names"
    assert dock.tabs.isTabVisible(3)
    bare = viewer.add_labels(np.ones((2, 8, 8), np.uint8))
    dock.choices.references.choose(bare)
    assert not dock.tabs.isTabVisible(3)


def test_numbers_that_name_nothing_are_asked_for_where_the_other_side_has_names(
    dock: ScoreDock,
) -> None:
    viewer, volume = dock.viewer, Volume(np.ones((2, 8, 8), np.uint8), np.eye(4), "b")
    (numbered,) = add_data(viewer, *layer_data(volume, "reference", {}))
    dock.choices.references.choose(numbered)
    assert dock.tabs.currentWidget() is dock.choices.matches
    assert dock.tabs.tabText(3) == "Names?"
    assert table(dock) == [["label 1", "left ventricle cavity", "same number"]]
    choose(dock, "label 1", "LVC")
    assert dock.tabs.tabText(3) == "Names"


def test_a_reference_alone_is_no_prediction(dock: ScoreDock) -> None:
    viewer, volume = dock.viewer, Volume(np.ones((2, 8, 8), np.uint8), np.eye(4), "b")
    viewer.layers.clear()
    add_data(viewer, *layer_data(volume, "reference", {1: "MYO"}))
    assert dock.status.text().startswith("No prediction: segment an image")


def test_prediction_keeps_its_numbers_for_edits(dock: ScoreDock) -> None:
    prediction, reference = dock.choices.predictions.layer, dock.choices.references.layer
    result = score_layers(prediction, reference, None, matches={"ventricle": "LVC"})
    assert result.names == {1: "LVC", 2: "MYO", 3: "AA", 4: "LA"}
    myo = result.scores.rows[1]
    assert (myo["label"], myo["name"], myo["dice"]) == (2, "MYO", 1)


def test_a_choice_follows_another_prediction_only_where_it_can(
    dock: ScoreDock, tmp_path: Path
) -> None:
    choose(dock, "ventricle", "LVC")
    other = Volume(np.ones((2, 8, 8), np.uint8), np.eye(4), "c")
    (layer,) = add_data(dock.viewer, *layer_data(other, "prediction", {1: "MYO"}))
    assert dock.choices.matches.chosen_for(layer) == {}
