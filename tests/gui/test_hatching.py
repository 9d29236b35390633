"""Unreliable voxels and false negatives are told from the others without colour; nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from gui_cases import add_data
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from napari.layers._layer_actions import _duplicate_layer
from napari.viewer import Viewer
from numpy.typing import NDArray
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject

from napari_uda.data.volume import Volume
from napari_uda.evaluation.disagreement import FALSE_NEGATIVE, FALSE_POSITIVE
from napari_uda.gui.kit.canvas_legend import legend_lines
from napari_uda.gui.kit.colormaps import RELIABLE, UNRELIABLE
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.grid import SideBySide
from napari_uda.gui.kit.hatching import HATCHED, HATCHING, Hatching, Stripes, hatching
from napari_uda.gui.kit.layer_order import HELPER
from napari_uda.gui.score.added_layers import show_errors
from napari_uda.gui.view.slice_picture import slice_picture

WAIT_MS = 60_000
SHAPE = (6, 24, 24)
GREY = (0.299, 0.587, 0.114)


def halves(left: int, right: int) -> NDArray[np.uint8]:
    values = np.zeros(SHAPE, np.uint8)
    values[:, 4:20, 2:12], values[:, 4:20, 12:22] = left, right
    return values


def volume(array: NDArray[np.generic]) -> Volume:
    return Volume(np.asarray(array), np.eye(4), "case_0")


def add(viewer: ViewerModel, role: str, array: NDArray[np.generic]) -> Layer:
    (layer,) = add_data(viewer, *layer_data(volume(array), role, {1: "MYO"}))
    layer.visible = True
    return layer


def stripes_of(viewer: ViewerModel) -> list[Labels]:
    return [layer for layer in viewer.layers if tag(layer).get("role") == HATCHING]


def settle(found: Hatching, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: found.is_settled, timeout=WAIT_MS)


@pytest.mark.parametrize("role", ["reliability", "error"])
def test_both_kinds_differ_in_grey_on_the_canvas(
    role: str, make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    found = Hatching(viewer, viewer.window.main_menu.window())
    if role == "error":
        prediction = add(viewer, "prediction", halves(1, 1))
        prediction.visible = False
        layer = show_errors(viewer, prediction, halves(FALSE_POSITIVE, FALSE_NEGATIVE))
    else:
        layer = add(viewer, role, halves(RELIABLE, UNRELIABLE))
    before = np.array(layer.data)
    hatched_is_left = before[3, 10, 7] == HATCHED[role]
    settle(found, qtbot)
    for axis, half_height in ((0, 5), (1, 2)):
        viewer.dims.order = [axis, *(one for one in range(3) if one != axis)]
        viewer.dims.set_current_step(axis, SHAPE[axis] // 2)
        viewer.reset_view()
        grey = viewer.screenshot(canvas_only=True, flash=False)[..., :3] @ np.array(GREY)
        row, column = (size // 2 for size in grey.shape)
        pixels = viewer.camera.zoom
        rows = slice(round(row - half_height * pixels), round(row + half_height * pixels))
        left, right = (
            grey[rows, round(column + start * pixels) : round(column + (start + 8) * pixels)]
            for start in (-9, 1)
        )
        hatched, plain = (left, right) if hatched_is_left else (right, left)
        assert plain.mean() > 5
        assert plain.std() < 2 < 20 < hatched.std()
    assert np.array_equal(layer.data, before)


def test_stripes_follow_their_map(qtbot: QtBot) -> None:
    viewer, owner = ViewerModel(), QObject()
    found = Hatching(viewer, owner)
    first = add(viewer, "image", np.zeros(SHAPE, np.float32))
    layer = add(viewer, "reliability", halves(RELIABLE, UNRELIABLE))
    layer.visible = False
    settle(found, qtbot)
    assert stripes_of(viewer) == []
    viewer.layers.selection.active = first
    layer.visible = True
    settle(found, qtbot)
    (stripes,) = stripes_of(viewer)
    assert viewer.layers.index(stripes) == viewer.layers.index(layer) + 1
    assert stripes.locked
    assert viewer.layers.selection.active is first
    lines = {line.text for line in legend_lines(viewer.layers)}
    assert lines == {"■ reliable", "▨ unreliable"}
    layer.name, layer.opacity = "other", 0.3
    viewer.layers.move(viewer.layers.index(layer), 3)
    settle(found, qtbot)
    assert stripes.name == f"{HELPER}hatching of other"
    assert stripes.opacity == 0.3
    assert viewer.layers.index(stripes) == viewer.layers.index(layer) + 1
    layer.visible = False
    settle(found, qtbot)
    assert not stripes.visible
    layer.visible = True
    settle(found, qtbot)
    viewer.dims.ndisplay = 3
    assert not stripes.visible
    settle(found, qtbot)
    viewer.dims.ndisplay = 2
    settle(found, qtbot)
    (again,) = stripes_of(viewer)
    assert again.visible
    viewer.layers.remove(layer)
    settle(found, qtbot)
    assert list(viewer.layers) == [first]


def test_new_values_have_new_stripes(qtbot: QtBot) -> None:
    viewer, owner = ViewerModel(), QObject()
    found = Hatching(viewer, owner)
    layer = add(viewer, "reliability", halves(RELIABLE, RELIABLE))
    settle(found, qtbot)
    (stripes,) = stripes_of(viewer)
    assert not slice_picture([stripes], 0, 3).any()
    assert not np.asarray(stripes.data[3]).any()
    layer.data = np.full(SHAPE, UNRELIABLE, np.uint8)
    rows, columns = np.indices(SHAPE[1:])
    np.testing.assert_array_equal(stripes.data[3], (rows + columns) % 3 == 0)
    np.testing.assert_array_equal(stripes.data[:, 3].shape, (6, 24))
    assert not Stripes(layer, UNRELIABLE)[:, :, :].any()  # in 3-D


def test_side_by_side_has_stripes_too(qtbot: QtBot) -> None:
    viewer, owner = ViewerModel(), QObject()
    found = Hatching(viewer, owner)
    image = add(viewer, "image", np.zeros(SHAPE, np.float32))
    prediction = add(viewer, "prediction", halves(1, 1))
    reliability = add(viewer, "reliability", halves(RELIABLE, UNRELIABLE))
    settle(found, qtbot)
    views = SideBySide(viewer, image, [prediction, reliability])
    for _ in views.enter():
        settle(found, qtbot)
    settle(found, qtbot)
    assert viewer.canvas.grid.stride == 3
    assert viewer.layers[4] is reliability
    assert tag(viewer.layers[5])["of"] == str(reliability.unique_id)
    assert viewer.layers[5].visible
    assert len(viewer.layers) == 6
    assert not np.asarray(hatching(prediction).data[3]).any()
    views.leave()
    settle(found, qtbot)
    (stripes,) = stripes_of(viewer)
    assert viewer.layers.index(stripes) == viewer.layers.index(reliability) + 1


def test_a_duplicate_has_the_stripes_of_the_same_map() -> None:
    viewer = ViewerModel()
    reliability = add(viewer, "reliability", halves(RELIABLE, UNRELIABLE))
    stripes = hatching(reliability)
    viewer.layers.append(stripes)
    viewer.layers.selection = {stripes}
    _duplicate_layer(viewer.layers)
    copied = viewer.layers[2].data
    assert isinstance(copied, Stripes)
    np.testing.assert_array_equal(copied[2], stripes.data[2])
    reliability.data = halves(UNRELIABLE, RELIABLE)
    np.testing.assert_array_equal(copied[2], stripes.data[2])
    assert copied[2][:, 2:12].any()
