"""The View dock in a viewer: letters, conventions, window, linked cuts, readout, and that nothing stays behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gui_cases import add_data, ball_case, let_events_pass, settle
from napari.components import ViewerModel
from napari.layers import Image
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt

from napari_uda.data.volume import Volume
from napari_uda.data.window import Window
from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layers import show
from napari_uda.gui.kit.seen import shown_window
from napari_uda.gui.view.dock import ViewDock
from napari_uda.inference.predict import Prediction

WAIT_MS = 60_000


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def image(viewer: ViewerModel) -> Image:
    volume, _ = ball_case("case_0", 0)
    (layer,) = add_data(viewer, *layer_data(volume, "image", {}))
    viewer.dims.set_point(range(3), [float(at) for at in layer.data_to_world((2, 14, 18))])
    return layer


@pytest.fixture
def dock(
    viewer: ViewerModel, image: Image, qtbot: QtBot, notifications: Callable[[], list[str]]
) -> Iterator[ViewDock]:
    widget = ViewDock(viewer)
    settle(widget, qtbot)
    yield widget
    settle(widget, qtbot)
    with qtbot.waitSignal(widget.destroyed):
        widget.deleteLater()
    # nothing of the dock is left, and nothing listens
    assert not viewer.keymap
    assert widget.words.texts == {}
    assert not widget.words.cross
    assert orientation(viewer) == ("down", "right")
    assert viewer.scene.camera.mouse_pan
    assert viewer.mouse_drag_callbacks == ViewerModel().mouse_drag_callbacks
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 3)
    viewer.cursor.position = (1.0, 2.0, 3.0)
    for layer in viewer.layers:
        layer.opacity = 0.5
    viewer.layers.clear()
    assert notifications() == []


def orientation(viewer: ViewerModel) -> tuple[str, ...]:
    return tuple(str(one) for one in viewer.scene.camera.orientation2d)


def sides(left: str, right: str, top: str, bottom: str) -> dict[str, str]:
    return {"left": left, "right": right, "top": top, "bottom": bottom}


# --- sides of the patient ---------------------------------------------------------------------------


def test_letters_follow_the_plane(dock: ViewDock, viewer: ViewerModel, qtbot: QtBot) -> None:
    found = dict(dock.words.texts)
    case, where, window = found.pop("line").splitlines()
    assert (case, where) == ("case_0", "axial slice 3, S 24.0 mm")
    assert window.startswith("W ")
    assert found == sides("R", "L", "A", "P")
    for axis, expected in ((1, sides("R", "L", "S", "I")), (2, sides("A", "P", "S", "I"))):
        dock.planes.button(axis).click()
        settle(dock, qtbot)
        assert viewer.dims.order[0] == axis
        assert dock.words.texts.items() >= expected.items()
        assert dock.planes.checkedId() == axis
    viewer.dims.order = (0, 1, 2)  # napari's own button
    settle(dock, qtbot)
    assert dock.planes.checkedId() == 0


def test_letters_can_be_left_out(dock: ViewDock, viewer: ViewerModel, qtbot: QtBot) -> None:
    dock.letters.click()
    settle(dock, qtbot)
    assert dock.words.texts == {}
    assert not preferences.letters_wanted()
    dock.letters.click()
    settle(dock, qtbot)
    assert dock.words.texts.items() >= sides("R", "L", "A", "P").items()


def test_neurological_turns_left_and_right_only(
    dock: ViewDock, viewer: ViewerModel, qtbot: QtBot
) -> None:
    dock.neurological.click()
    settle(dock, qtbot)
    assert orientation(viewer) == ("down", "left")
    assert dock.words.texts.items() >= sides("L", "R", "A", "P").items()
    dock.planes.button(2).click()  # sagittal: no left and right to turn
    settle(dock, qtbot)
    assert orientation(viewer) == ("down", "right")
    assert dock.words.texts.items() >= sides("A", "P", "S", "I").items()
    dock.planes.button(0).click()
    viewer.dims.ndisplay = 3
    settle(dock, qtbot)
    assert orientation(viewer) == ("down", "right")  # a mirrored body would be none
    assert "left" not in dict(dock.words.texts)
    viewer.dims.ndisplay = 2
    settle(dock, qtbot)
    assert orientation(viewer) == ("down", "left")
    assert preferences.convention() == "neurological"


def test_in_3d_planes_turn_the_camera_to_what_their_slices_show(
    dock: ViewDock, viewer: ViewerModel, qtbot: QtBot
) -> None:
    """Seen as in 2-D, and not as in a mirror: what lies to the right of the screen is where its letter says."""
    camera = viewer.scene.camera
    viewer.dims.ndisplay = 3
    towards = np.diag([-1.0, -1.0, -1.0])  # of the viewer's axes: feet, back, left, as (S, A, R)
    for neurological in (False, True):
        if neurological:
            dock.neurological.click()
            settle(dock, qtbot)
        assert tuple(map(str, camera.orientation)) == ("towards", "down", "right")
        first = "L" if neurological else "R"
        for axis, expected in enumerate(((first, "A"), (first, "S"), ("A", "S"))):
            dock.planes.button(axis).click()
            ahead = towards @ np.asarray(camera.view_direction)
            up = towards @ np.asarray(camera.up_direction)
            left = np.cross(ahead, up)  # head, front, right is a left-handed order
            assert tuple(_side(one) for one in (left, up)) == expected
            assert dock.planes.checkedId() == axis
            assert viewer.dims.ndisplay == 3
    dock.neurological.click()


def _side(direction: np.ndarray) -> str:
    axis = int(np.abs(direction).argmax())
    return ("SI", "AP", "RL")[axis][0 if direction[axis] > 0 else 1]


def test_settings_are_found_again(viewer: ViewerModel, image: Image, qtbot: QtBot) -> None:
    preferences.remember_convention("neurological")
    preferences.remember_letters(False)
    dock = ViewDock(viewer)
    settle(dock, qtbot)
    assert dock.neurological.isChecked()
    assert not dock.letters.isChecked()
    assert orientation(viewer) == ("down", "left")
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()


def test_settings_live_in_preferencesnapari_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = SimpleNamespace(letters=True, convention="radiological")
    monkeypatch.setattr(preferences, "napari_settings", lambda: stored)
    preferences.remember_convention("neurological")
    preferences.remember_letters(False)
    assert vars(stored) == {"letters": False, "convention": "neurological"}
    assert preferences.convention() == "neurological"
    assert not preferences.letters_wanted()


@pytest.mark.parametrize("neurological", [False, True])
def test_the_letter_stands_where_that_side_is_drawn(
    neurological: bool, make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(900, 600)
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[:, :5, 15:] = (
        1  # x and y grow to the right and the front: the patient's right at the back
    )
    volume = Volume(labels * 100, np.diag([2.0, 2.0, 3.0, 1.0]))
    layer = add_data(viewer, *layer_data(volume, "image", {}))[0]
    layer.contrast_limits = (0, 100)
    dock = ViewDock(viewer)
    settle(dock, qtbot)
    if neurological:
        dock.neurological.click()
        settle(dock, qtbot)
    right = next(place for place, text in dock.words.texts.items() if text == "R")
    dock.letters.click()  # the letters would count as bright pixels
    settle(dock, qtbot)
    viewer.screenshot(canvas_only=False, flash=False)
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., 0]
    rows, columns = np.nonzero(picture > 200)
    assert len(rows) > 500
    assert rows.mean() > 0.6 * picture.shape[0]
    bright = "left" if columns.mean() < 0.5 * picture.shape[1] else "right"
    assert bright == right == ("right" if neurological else "left")
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()


# --- window and level -------------------------------------------------------------------------------


def test_window_is_shown_and_set(
    dock: ViewDock, image: Image, viewer: ViewerModel, qtbot: QtBot
) -> None:
    image.contrast_limits = (0, 200)
    settle(dock, qtbot)
    assert (dock.window_panel.width_box.value(), dock.window_panel.level_box.value()) == (200, 100)
    assert dock.words.texts["line"].splitlines()[-1] == "W 200  L 100"
    dock.window_panel.width_box.setValue(300)
    assert shown_window(image) == Window(300, 100)
    dock.window_panel.presets.activated.emit(1)
    assert tuple(image.contrast_limits) == pytest.approx(
        np.percentile(image.data, (1, 99)).tolist()
    )


def test_drag_button_takes_the_mouse(dock: ViewDock, image: Image, viewer: ViewerModel) -> None:
    assert dock.window_panel.drag.text().endswith("(G)")
    dock.window_panel.drag.click()
    assert not viewer.scene.camera.mouse_pan
    before = shown_window(image)
    event = SimpleNamespace(type="mouse_press", pos=(10, 10), button=1, modifiers=())
    callbacks = [callback(viewer, event) for callback in viewer.mouse_drag_callbacks]
    callbacks = [step for step in callbacks if step is not None]
    for step in callbacks:
        next(step, None)
    event.type, event.pos = "mouse_move", (30, 10)
    for step in callbacks:
        next(step, None)
    assert shown_window(image).width > before.width
    assert shown_window(image).level == before.level


# --- linked cuts ------------------------------------------------------------------------------------


@pytest.fixture
def linked(dock: ViewDock, qtbot: QtBot) -> ViewDock:
    dock.resize(320, 900)
    dock.show()
    dock.linked.click()
    settle(dock, qtbot)
    return dock


def at(viewer: ViewerModel, image: Image) -> list[int]:
    return [round(float(part)) for part in image.world_to_data(viewer.dims.point)]


def test_panes_show_the_other_two_cuts(linked: ViewDock, viewer: ViewerModel, image: Image) -> None:
    first, second = linked.views.panes
    assert (first.title, second.title) == (
        "coronal slice 14, P 21.0 mm",
        "sagittal slice 18, L 27.0 mm",
    )
    assert first.cross == pytest.approx((2, 18))
    assert second.cross == pytest.approx((2, 14))
    low, high = image.contrast_limits
    plane = np.clip((image.data[:, 14] - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(first.pixels[..., 0], plane, atol=2)
    assert first.sides is not None
    assert first.sides.left == "R"


def test_a_click_in_a_pane_moves_all(
    linked: ViewDock, viewer: ViewerModel, image: Image, qtbot: QtBot
) -> None:
    pane = linked.views.panes[0]
    target = next(
        QPoint(x, y)
        for x in range(pane.width())
        for y in range(pane.height())
        if (point := pane.point_of(x, y)) is not None and [round(part) for part in point] == [4, 30]
    )
    qtbot.mouseClick(pane, Qt.MouseButton.LeftButton, pos=target)
    assert at(viewer, image) == [4, 14, 30]
    assert viewer.dims.current_step[0] == 4  # the canvas follows
    settle(linked, qtbot)
    assert linked.views.panes[1].title == "sagittal slice 30, L 45.0 mm"
    assert linked.words.cross


def test_wheel_and_sliders_move_all(
    linked: ViewDock, viewer: ViewerModel, image: Image, qtbot: QtBot
) -> None:
    linked.views.panes[1].scrolled.emit(3)
    assert at(viewer, image) == [2, 14, 21]
    linked.views.panes[0].scrolled.emit(-100)  # ends at the first slice
    assert at(viewer, image) == [2, 0, 21]
    viewer.dims.set_current_step(0, 5)
    settle(linked, qtbot)
    assert linked.views.panes[0].cross == pytest.approx((5, 21))


def test_a_click_in_the_canvas_moves_all(
    linked: ViewDock, viewer: ViewerModel, image: Image
) -> None:
    napari_s = ViewerModel().mouse_drag_callbacks
    ours = [callback for callback in viewer.mouse_drag_callbacks if callback not in napari_s]

    def click(*places: tuple[int, int], position: tuple[int, ...]) -> None:
        world = tuple(float(part) for part in image.data_to_world(position))
        event = SimpleNamespace(
            type="mouse_press", pos=places[0], button=1, position=world, modifiers=()
        )
        steps = [callback(viewer, event) for callback in ours]
        for place in [None, *places[1:]]:
            if place is not None:
                event.type, event.pos = "mouse_move", place
            for step in steps:
                next(step, None)
        event.type = "mouse_release"
        for step in steps:
            next(step, None)

    click((50, 50), position=(2, 20, 25))
    assert at(viewer, image) == [2, 20, 25]
    click((50, 50), (80, 50), position=(2, 5, 5))  # a drag pans
    assert at(viewer, image) == [2, 20, 25]
    labels = viewer.add_labels(np.zeros(image.data.shape, int))
    labels.mode = "paint"
    click((50, 50), position=(2, 5, 5))
    assert at(viewer, image) == [2, 20, 25]
    labels.mode = "pan_zoom"


def test_the_cursor_is_no_layer(linked: ViewDock, viewer: ViewerModel, image: Image) -> None:
    assert list(viewer.layers) == [image]
    assert linked.words.cross
    linked.linked.click()
    assert not linked.words.cross


def test_panes_follow_how_layers_look(
    linked: ViewDock, viewer: ViewerModel, made_prediction: Prediction, qtbot: QtBot
) -> None:
    pane = linked.views.panes[0]

    def coloured() -> int:
        settle(linked, qtbot)
        return int((pane.pixels.max(axis=-1) != pane.pixels.min(axis=-1)).sum())

    assert coloured() == 0
    prediction = show(viewer, made_prediction)[1]
    whole = coloured()
    assert whole > 0
    prediction.contour = 1
    prediction.visible = False
    assert coloured() == 0
    prediction.visible = True
    assert 0 < coloured() < whole
    prediction.data[:] = 0
    prediction.refresh()
    prediction.data = prediction.data.copy()
    assert coloured() == 0


def test_neurological_mirrors_the_coronal_pane_alone(linked: ViewDock, qtbot: QtBot) -> None:
    linked.neurological.click()
    settle(linked, qtbot)
    coronal, sagittal = linked.views.panes
    assert (coronal.mirrored, sagittal.mirrored) == (True, False)
    assert coronal.sides is not None
    assert (coronal.sides.left, coronal.sides.right) == ("L", "R")


def test_deleted_renamed_and_other_images(
    linked: ViewDock, viewer: ViewerModel, image: Image, qtbot: QtBot
) -> None:
    image.name = "mine"
    assert linked.images.currentText() == "mine"
    other = viewer.add_image(np.ones((3, 9, 9)), name="other", units=("mm",) * 3)
    linked.images.choose(other)
    settle(linked, qtbot)
    assert linked.views.panes[0].pixels.shape == (3, 9, 3)
    viewer.layers.remove(other)
    settle(linked, qtbot)
    assert linked.images.layer is image
    viewer.layers.clear()
    settle(linked, qtbot)
    assert linked.images.layer is None
    assert not linked.window_panel.presets.isEnabled()
    assert linked.words.texts == {}
    linked.neurological.click()
    linked.planes.button(1).click()
    viewer.add_image(np.zeros((9, 9)), name="flat")
    viewer.layers.clear()
    settle(linked, qtbot)


# --- readout and shape ------------------------------------------------------------------------------


def test_readout_follows_the_mouse(
    linked: ViewDock, viewer: ViewerModel, image: Image, qtbot: QtBot
) -> None:
    viewer.cursor.position = tuple(float(part) for part in image.data_to_world((2, 14, 18)))
    settle(linked, qtbot)
    assert linked.readout.texts["Voxel (x, y, z)"] == "18, 14, 3"
    assert float(linked.readout.texts["Intensity"]) == image.data[2, 14, 18]
    linked.views.panes[1].hovered.emit(4.0, 10.0)  # sagittal: z and y
    settle(linked, qtbot)
    assert linked.readout.texts["Voxel (x, y, z)"] == "18, 10, 1"
    viewer.cursor.position = (1e6, 0.0, 0.0)
    settle(linked, qtbot)
    assert linked.readout.texts["Intensity"] == "–"


def test_while_slices_follow_each_other_the_canvas_alone_tells(
    dock: ViewDock, viewer: ViewerModel, qtbot: QtBot
) -> None:
    before, looked = dock.readout.texts, []
    dock.marks.looked.connect(lambda: looked.append(True))
    for index in (3, 4, 5, 0):
        viewer.dims.set_current_step(0, index)
        assert f"axial slice {5 - index}," in dock.words.texts["line"]
    assert looked == [True]  # at the first one
    assert dock.readout.texts == before
    assert not dock.is_settled
    settle(dock, qtbot)
    assert dock.readout.texts["Voxel (x, y, z)"] != before["Voxel (x, y, z)"]


def test_dock_lies_in_a_bottom_dock(linked: ViewDock, qtbot: QtBot) -> None:
    splitter = linked.views.splitter
    linked.resize(300, 800)
    let_events_pass()
    assert splitter.orientation() == Qt.Orientation.Vertical
    linked.resize(1200, 300)
    qtbot.waitUntil(lambda: splitter.orientation() == Qt.Orientation.Horizontal)


def test_keys(make_napari_viewer: Callable[..., Viewer], qtbot: QtBot) -> None:
    viewer: Any = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari_uda", "View")
    viewer.open_sample("napari_uda", "mr")
    settle(dock, qtbot)
    assert tag(dock.images.layer)["case"] == "mr_001"
    window = viewer.window.main_menu.window()
    qtbot.keyClick(window, Qt.Key.Key_N)
    assert dock.neurological.isChecked()
    qtbot.keyClick(window, Qt.Key.Key_G)
    assert dock.window_panel.drag.isChecked()
    dock.linked.click()
    settle(dock, qtbot)
    assert dock.views.panes[0].pixels.shape[0] == viewer.layers[0].data.shape[0]
