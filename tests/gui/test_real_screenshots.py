"""What is really on the screen: colours, sides, overlays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from gui_cases import add_data, let_events_pass
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_uda.core.structure_colours import UNRELIABLE_COLOUR, structure_colour
from napari_uda.data.volume import Volume
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.grid import SideBySide
from napari_uda.gui.kit.layers import show
from napari_uda.inference.predict import Prediction

MYO, LVC = structure_colour("MYO", 1), structure_colour("LVC", 2)


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Viewer]) -> Viewer:
    shown = make_napari_viewer(show=True)
    shown.window.resize(1000, 700)
    return shown


def canvas(viewer: Viewer, qtbot: QtBot) -> np.ndarray:
    """Pixels of the canvas, (rows, columns, RGB) in 0 to 255, after it was really drawn."""
    viewer.reset_view()
    let_events_pass()
    viewer.screenshot(canvas_only=False, flash=False)
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)


def where(picture: np.ndarray, colour: str, tolerance: int) -> np.ndarray:
    """Pixels (row, column) of a colour."""
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return np.argwhere(np.abs(picture - wanted).max(axis=-1) <= tolerance)


@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, 1, 1), (1, -1, -1)])
def test_patients_right_front_is_drawn_top_left(
    signs: tuple[int, int, int], viewer: Viewer, qtbot: QtBot
) -> None:
    affine = np.diag([2.0 * signs[0], 2.0 * signs[1], 3.0 * signs[2], 1.0])
    labels = np.zeros((4, 20, 20), np.uint8)
    right = slice(0, 5) if signs[0] < 0 else slice(15, 20)
    front = slice(0, 5) if signs[1] < 0 else slice(15, 20)
    labels[:, front, right] = 1
    add_data(viewer, *layer_data(Volume(labels * 100, affine), "image", {}))
    add_data(viewer, *layer_data(Volume(labels, affine), "reference", {1: "MYO"}))
    viewer.layers[-1].opacity = 1
    picture = canvas(viewer, qtbot)
    height, width, _ = picture.shape
    red = where(picture, MYO, 8)
    assert len(red) > 500
    row, column = red.mean(axis=0)
    assert row < 0.4 * height
    assert column < 0.5 * width


def test_structures_are_seen_in_their_colours_over_the_image(
    viewer: Viewer, qtbot: QtBot, made_prediction: Prediction
) -> None:
    prediction = show(viewer, made_prediction)[1]
    prediction.opacity = 1
    picture = canvas(viewer, qtbot)
    assert picture.std() > 20  # not a black canvas
    red, orange = where(picture, MYO, 8), where(picture, LVC, 8)
    assert min(len(red), len(orange)) > 500
    # the ball's core lies within its ring
    assert red.min(axis=0)[0] < orange.min(axis=0)[0]
    assert red.max(axis=0)[0] > orange.max(axis=0)[0]


def test_three_views_show_structures_entropy_and_reliability(
    viewer: Viewer, qtbot: QtBot, made_prediction: Prediction
) -> None:
    image, *results = show(viewer, made_prediction)
    for layer in results:
        layer.opacity = 1
    views = SideBySide(viewer, image, results)
    for _ in views.enter():
        pass
    picture = canvas(viewer, qtbot)
    assert tuple(viewer.canvas.grid.shape) == (2, 2)
    halves = np.array_split(picture, 2)
    cells = [cell for half in halves for cell in np.array_split(half, 2, axis=1)]
    # a structure, entropy 0.75 (as on the colour bar), and unreliable
    counts = [
        [len(where(cell, colour, nearly)) for cell in cells]
        for colour, nearly in ((LVC, 8), ("#F98D0A", 12), (UNRELIABLE_COLOUR, 8))
    ]
    assert min(max(count) for count in counts) > 30
    assert len({int(np.argmax(count)) for count in counts}) == 3  # each in a cell of its own
    views.leave()
