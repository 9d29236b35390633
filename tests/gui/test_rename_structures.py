"""A structure renamed in the legend has its new name in all layers of the case and in the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gui_cases import add_data, let_events_pass, settle
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog, QStyleOptionViewItem

from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import structure_colour
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.rename_structure import rename_structure
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.gui.kit import jobs, renaming
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.layers import structure_names
from napari_uda.gui.kit.tables import TablePlace
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.score.score_tables import BY_IMPORTANCE, NAME_PIXELS, ScoreTable
from napari_uda.gui.score.structure_matches import StructureMatches
from napari_uda.gui.segment.result_view import ResultView
from napari_uda.run.roles import names_beside

WAIT_MS = 60_000
NAMES = {1: "MYO", 2: "thing"}


def test_new_name_is_shown_coloured_and_written(
    make_napari_viewer: Callable[[], Viewer],
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notifications: Callable[[], list[str]],
) -> None:
    viewer = make_napari_viewer()
    volume = Volume(np.ones((4, 6, 6), np.uint8), np.eye(4), "case_0")
    layers = [
        layer
        for role in ("reference", "prediction")
        for layer in add_data(viewer, *layer_data(volume, role, NAMES))
    ]
    file = tmp_path / "case_0_labels.nii.gz"
    write_volume(file, volume)
    rename_structure(file, 1, NAMES)  # as one opens it that has names
    layers += viewer.open(str(file), plugin="napari_uda")
    read = tmp_path / "read" / "case_0_labels.nii.gz"
    write_volume(read, volume)
    layers += add_data(viewer, *layer_data(read_volume(read), "prediction", NAMES))
    matches = StructureMatches()
    qtbot.addWidget(matches)
    matches.set_layers(layers[-1], layers[0])
    view = ResultView(viewer)
    qtbot.addWidget(view)
    qtbot.waitUntil(lambda: not view.is_counting, timeout=WAIT_MS)
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("spleen", True))
    view.legend.customContextMenuRequested.emit(
        view.legend.visualItemRect(view.legend.item(1, 0)).center()
    )
    qtbot.waitUntil(lambda: not view.is_counting and not jobs.running(), timeout=WAIT_MS)
    for layer in layers:
        assert structure_names(layer) == {1: "MYO", 2: "spleen"}
        assert list(layer.features["structure"]) == [
            "background",
            "left ventricle myocardium",
            "spleen",
        ]
        rgb = [int(structure_colour("spleen", 2)[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        np.testing.assert_allclose(layer.get_color(2)[:3], rgb, atol=0.01)
    assert view.legend.item(1, 0).text() == "spleen"
    assert matches.table.item(1, 0).text() == "spleen"  # Score follows
    view.legend.renamed.emit(1, "spleen")  # taken
    assert "another structure" in notifications()[-1]
    assert structure_names(layers[0])[1] == "MYO"
    assert names_beside(file) == {1: "MYO", 2: "spleen"}
    assert names_beside(read) == {1: "MYO", 2: "spleen"}  # whichever reader gave the layer


def drawn(table: ScoreTable) -> str:
    """What is drawn of the first name."""
    option, first = QStyleOptionViewItem(), table.item(0, 0)
    option.rect = table.visualItemRect(first)
    table.itemDelegate().initStyleOption(option, table.indexFromItem(first))
    return str(option.text)


def test_score_renames_in_its_table(
    make_napari_viewer: Callable[[], Viewer],
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notifications: Callable[[], list[str]],
) -> None:
    viewer = make_napari_viewer()
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1:3, 2:6, 2:6] = 1
    file = tmp_path / "labels" / "case_0.nii.gz"
    (tmp_path / "images").mkdir()
    write_volume(file, Volume(labels, np.eye(4), "case_0"))
    write_dataset_json(tmp_path, {"LAC": 1, "tumour": 2}, "CT")
    found = Volume(labels, np.eye(4), "case_0")
    (prediction,) = add_data(viewer, *layer_data(found, "prediction", {1: "LAC"}))
    (reference,) = viewer.open(str(file), plugin="napari_uda")
    dock = ScoreDock(viewer)
    qtbot.addWidget(dock)
    dock.choices.predictions.choose(prediction)
    dock.choices.references.choose(reference)
    dock.score.click()
    settle(dock, qtbot)
    before = [row["dice"] for row in dock.results[0].scores.rows]
    table = ScoreTable()
    place = TablePlace(table, "Scores", BY_IMPORTANCE, NAME_PIXELS)
    qtbot.addWidget(place)
    table.show_scores([("tiny", dock.results[0].scores)])
    for width, text in (
        (200, "LAC"),
        (1500, "left atrium cavity"),
        (200, "LAC"),
        (1500, "left atrium cavity"),
    ):
        place.resize(width, 200)
        place.show()
        qtbot.waitUntil(lambda text=text: drawn(table) == text)
        assert "left atrium cavity: LAC in files" in table.item(0, 0).toolTip()
    table.horizontalHeaderItem(1).setText("who has the structure")
    let_events_pass()
    head = max(NAME_PIXELS, table.horizontalHeader().sectionSizeHint(0))
    needed = head + sum(max(table.sizeHintForColumn(one), table.columnWidth(one)) for one in (1, 2))
    long = dock.results[0].renamed({1: "a long name of a structure"})
    table.show_scores([("tiny", long.scores)])
    place.resize(needed + place.width() - table.viewport().width() + 2, 200)
    qtbot.waitUntil(lambda: not table.isColumnHidden(2) and table.isColumnHidden(5))
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("spleen", True))
    dock.table.setCurrentCell(0, 0)
    tab = dock.tabs.currentWidget()
    qtbot.keyClick(dock.table, Qt.Key.Key_F2)
    let_events_pass()
    assert dock.tabs.currentWidget() is tab  # the tumour is not yet asked for
    assert structure_names(prediction) == {1: "spleen"}
    assert structure_names(reference) == {1: "spleen", 2: "tumour"}
    assert dock.table.item(0, 0).text() == "spleen"
    assert dock.cohort.table.item(1, 0).text() == "spleen"
    assert {row["name"] for row in dock.results[0].scores.slices} == {"spleen", "tumour"}
    assert dock.slices.structures.itemText(1) == "spleen"
    assert dock.choices.matches.unsure == 1  # the tumour
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("lesion", True))
    dock.table.cellDoubleClicked.emit(1, 0)  # which the reference alone has
    settle(dock, qtbot)
    assert structure_names(reference) == {1: "spleen", 2: "lesion"}
    assert [row["name"] for row in dock.results[0].scores.rows] == ["spleen", "lesion"]
    np.testing.assert_array_equal([row["dice"] for row in dock.results[0].scores.rows], before)
    assert names_beside(file) == {1: "spleen", 2: "lesion"}
    dock.score.click()
    settle(dock, qtbot)
    assert [row["name"] for row in dock.results[0].scores.rows] == ["spleen", "lesion"]

    def refuse(*_: object) -> Path:
        raise InputError("cannot write dataset.json")

    monkeypatch.setattr(renaming, "rename_structure", refuse)
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("liver", True))
    dock.table.customContextMenuRequested.emit(
        dock.table.visualItemRect(dock.table.item(0, 0)).center()
    )
    settle(dock, qtbot)
    assert notifications()[-1] == (
        "liver is the name on the screen alone: cannot write dataset.json"
    )
    assert dock.table.item(0, 0).text() == "liver"
