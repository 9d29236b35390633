"""What is done in the window with large volumes copies none of them, and scrolling draws no cut anew."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from gui_cases import add_data
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject

from napari_uda.data.edit_journal import EditJournal
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.volume import Volume
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.grid import SideBySide
from napari_uda.gui.kit.layers import show
from napari_uda.gui.score.editing import Editing
from napari_uda.gui.view import linked_views
from napari_uda.gui.view.dock import ViewDock
from napari_uda.inference.predict import Prediction
from napari_uda.uncertainty.entropy_counts import count_uncertainty

SHAPE = (100, 300, 300)
NAMES = {1: "ball"}


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def found() -> Prediction:
    """On a grid whose axes are shown reversed."""
    image = Volume(np.zeros(SHAPE, np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]), "case")
    image.array[40:60, 100:200, 100:200] = 500
    labels = (image.array > 0).astype(np.uint8)
    entropy = labels.astype(np.float32) / 2
    return Prediction(labels, entropy, labels, NAMES, image, "case", ModelOrigin("run"))


@pytest.fixture
def image(viewer: ViewerModel, found: Prediction) -> Image:
    (layer,) = add_data(viewer, *layer_data(found.volume, "image", {}))
    return layer


@pytest.fixture
def dock(image: Image, linked_dock: ViewDock) -> ViewDock:
    return linked_dock


def settle(widget: ViewDock, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: widget.is_settled, timeout=20_000)


def test_results_cuts_and_views_side_by_side_copy_no_volume(
    dock: ViewDock, viewer: ViewerModel, image: Image, found: Prediction, qtbot: QtBot
) -> None:
    def look() -> None:
        layers = show(viewer, found, image)
        settle(dock, qtbot)
        viewer.dims.set_point(range(3), (100.0, 20.0, 30.0))
        settle(dock, qtbot)
        views = SideBySide(viewer, image, layers[1:])
        for _ in views.enter():
            pass
        settle(dock, qtbot)
        views.leave()
        settle(dock, qtbot)

    look()  # what is imported at the first time is no copy
    tracemalloc.start()
    try:
        look()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < found.labels.nbytes


def test_counting_by_entropy_copies_no_volume(found: Prediction) -> None:
    labels, entropy = (array[::-1, ::-1] for array in (found.labels, found.entropy))
    tracemalloc.start()
    try:
        count_uncertainty(labels, entropy, NAMES, axis=2, reference=labels)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < found.labels.nbytes


def test_a_brush_on_a_scored_volume_leaves_the_prediction_alone(
    viewer: ViewerModel,
    image: Image,
    found: Prediction,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(EditJournal, "begin", Mock())
    owner = QObject()
    editing = Editing(viewer, owner)
    _, layer, *_ = show(viewer, found, image)
    editing.follow(layer).copy()  # as Score does
    qtbot.waitUntil(lambda: not editing.is_busy, timeout=20_000)
    layer.mode = "paint"  # into memory that the thread has made
    assert not np.may_share_memory(layer.data, found.labels)
    assert np.array_equal(np.unique(layer.data), [0, 1])
    qtbot.waitUntil(lambda: not editing.is_busy, timeout=20_000)
    editing.close()


def test_the_first_brush_fills_memory_that_a_thread_has_got(
    viewer: ViewerModel,
    image: Image,
    found: Prediction,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(EditJournal, "begin", Mock())
    fill, got = np.full, {}

    def full(*arguments: Any) -> Any:
        array = fill(*arguments)
        if array.shape == SHAPE:
            got[threading.get_ident()] = array
        return array

    monkeypatch.setattr(np, "full", full)
    owner = QObject()
    editing = Editing(viewer, owner)
    _, layer, *_ = show(viewer, found, image)
    editing.follow(layer)  # as Score does with the one that is chosen; nothing is scored
    qtbot.waitUntil(lambda: not editing.is_busy, timeout=20_000)
    layer.mode = "paint"
    assert threading.get_ident() not in got
    assert any(layer.data is array for array in got.values())
    assert np.array_equal(layer.data, found.labels[:, ::-1])
    qtbot.waitUntil(lambda: not editing.is_busy, timeout=20_000)
    editing.close()


def test_scrolling_moves_the_crosses_alone(
    dock: ViewDock, viewer: ViewerModel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Mock(side_effect=linked_views.slice_picture)
    monkeypatch.setattr(linked_views, "slice_picture", drawn)
    here = viewer.dims.current_step[0]
    for step in range(1, 6):
        viewer.dims.set_current_step(0, here + step)
    settle(dock, qtbot)
    assert drawn.call_count == 0  # they go on showing the same slices
    assert [pane.cross[0] for pane in dock.views.panes if pane.cross] == [here + 5, here + 5]


def test_a_cut_that_waits_is_drawn_once(
    dock: ViewDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Mock(side_effect=linked_views.slice_picture)
    monkeypatch.setattr(linked_views, "slice_picture", drawn)
    dock.views._on_draw()
    dock.views._on_draw()  # something else changed before any was drawn
    assert drawn.call_count == 0
    settle(dock, qtbot)
    assert [call.args[1] for call in drawn.call_args_list] == [1, 2]  # across each axis once


def test_a_click_elsewhere_draws_the_cuts_there(
    dock: ViewDock, viewer: ViewerModel, image: Image, qtbot: QtBot
) -> None:
    dock.views.panes[0].pointed.emit(10.0, 200.0)
    settle(dock, qtbot)
    assert dock.views.panes[1].title.startswith("sagittal slice 200")
    at = image.world_to_data(viewer.dims.point)
    assert np.allclose(at, (10, at[1], 200))


def test_at_rest_the_words_are_of_the_last_slice(
    dock: ViewDock, viewer: ViewerModel, image: Image, qtbot: QtBot
) -> None:
    viewer.dims.set_current_step(0, 50)
    settle(dock, qtbot)
    said = dock.slice_about.text()
    for index in (10, 11, 12, 50):
        viewer.dims.set_current_step(0, index)
    settle(dock, qtbot)
    assert dock.slice_about.text() == said
    viewer.dims.set_current_step(0, 12)
    viewer.dims.set_current_step(0, 13)
    settle(dock, qtbot)
    assert dock.slice_number.value() == SHAPE[0] - 1 - 13  # the file begins at the feet
    assert f"axial slice {SHAPE[0] - 1 - 13}," in dock.words.texts["line"]
