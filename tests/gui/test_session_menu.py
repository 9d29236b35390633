"""Sessions: what stood on the screen comes back, and what cannot come back is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import napari
import numpy as np
import pytest
from gui_cases import LABELS, ball_case
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.colormaps import DirectLabelColormap
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QTabBar, QTabWidget

from napari_uda.core.errors import InputError
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.session import read_session, write_session
from napari_uda.data.volume import read_volume, write_volume
from napari_uda.gui import launch
from napari_uda.gui.data import session as sessions
from napari_uda.gui.data import session_menu
from napari_uda.gui.data.session import layers_folder, states
from napari_uda.gui.data.session_menu import SessionMenu
from napari_uda.gui.kit.eye_button import EyeButton
from napari_uda.gui.kit.files import read_layers
from napari_uda.gui.kit.geometry import layer_volume, tag
from napari_uda.gui.kit.layer_order import is_helper, mark_of
from napari_uda.gui.kit.layers import show, show_steps
from napari_uda.gui.kit.measurements import measurements_layer
from napari_uda.gui.kit.place import bring_tab_to_front, wait_for
from napari_uda.gui.segment.result_layers import entropy_of
from napari_uda.inference.fit import Fit
from napari_uda.inference.predict import Prediction


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A case with labels."""
    image, labels = ball_case("case_0", 0)
    write_volume(tmp_path / "mr" / "images" / "case_0.nii.gz", image)
    write_volume(tmp_path / "mr" / "labels" / "case_0.nii.gz", labels)
    write_dataset_json(tmp_path / "mr", LABELS, "MR")
    return tmp_path / "mr"


def opened(viewer: ViewerModel, data: Path) -> tuple[Layer, Layer]:
    """Image and labels in a viewer, looked at in a way of one's own."""
    for kind in ("images", "labels"):
        viewer.add_layer(Layer.create(*read_layers(data / kind / "case_0.nii.gz")))
    image, labels = viewer.layers
    image.contrast_limits, image.gamma, image.colormap = (12, 88), 0.5, "bone"
    labels.opacity, labels.contour = 0.25, 2
    labels.colormap = DirectLabelColormap(
        color_dict={
            None: "transparent",
            0: "transparent",
            1: "#CC79A7",
            2: "transparent",
            3: "#E69F00",
        }
    )
    labels.name = "what I drew"
    viewer.dims.order = (2, 0, 1)
    viewer.dims.set_point(2, 4.5)
    viewer.scene.camera.center, viewer.scene.camera.zoom = (1.0, -2.0, 3.0), 7.5
    return image, labels


@pytest.fixture
def menu(qtbot: QtBot) -> Iterator[Callable[[], SessionMenu]]:
    """Make menus, each at a new viewer without a window."""
    made: list[SessionMenu] = []

    def make() -> SessionMenu:
        made.append(SessionMenu(ViewerModel()))
        qtbot.addWidget(made[-1])
        return made[-1]

    yield make
    qtbot.waitUntil(lambda: all(one.is_settled for one in made))


def saved(menu: SessionMenu, file: Path, qtbot: QtBot) -> str:
    """Save, and what is said of it."""
    menu.save(file)
    qtbot.waitUntil(lambda: menu.is_settled)
    return menu.status.text()


def reopened(menu: SessionMenu, file: Path, qtbot: QtBot) -> str:
    """Open, and what is said of it."""
    menu.open(file)
    qtbot.waitUntil(lambda: menu.is_settled)
    return menu.status.text()


def eyes(viewer: ViewerModel) -> list[tuple[str, bool]]:
    """Names and eyes of the layers that are no helpers."""
    return [(one.name, one.visible) for one in viewer.layers if not is_helper(one)]


def test_layers_and_view_come_back(
    menu: Callable[[], SessionMenu], data: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    first, second = menu(), menu()
    image, labels = opened(first.viewer, data)
    file = tmp_path / "session.yaml"
    assert saved(first, file, qtbot) == "Saved session.yaml with 2 layers."
    text = file.read_text()
    assert "mr/images/case_0.nii.gz" in text
    assert str(tmp_path) not in text
    assert len(text) < 3000
    assert reopened(second, file, qtbot) == "session.yaml is shown."
    again, drawn = second.viewer.layers
    np.testing.assert_array_equal(again.data, image.data)
    np.testing.assert_array_equal(drawn.data, labels.data)
    assert (tuple(again.contrast_limits), again.gamma, again.colormap.name) == (
        (12, 88),
        0.5,
        "bone",
    )
    assert (drawn.name, drawn.opacity, drawn.contour) == ("what I drew", 0.25, 2)
    for value in (1, 2, 3):
        np.testing.assert_allclose(
            drawn.colormap.map(value), labels.colormap.map(value), atol=1 / 255
        )
    assert [drawn.colormap.map(value)[3] > 0 for value in (1, 2, 3)] == [True, False, True]
    for entry in ("role", "case", "names"):
        assert tag(drawn)[entry] == tag(labels)[entry]
    before, after = first.viewer, second.viewer
    assert tuple(after.dims.order) == (2, 0, 1)
    assert after.dims.point == pytest.approx(before.dims.point)
    assert after.scene.camera.zoom == before.scene.camera.zoom
    assert tuple(after.scene.camera.center) == tuple(before.scene.camera.center)


def test_measurements_come_back_where_they_were_drawn(
    menu: Callable[[], SessionMenu], data: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    first, second = menu(), menu()
    image, _ = opened(first.viewer, data)
    drawn = measurements_layer(first.viewer, image)
    ruler = np.array([[2.0, 3, 4], [2, 9, 12]])
    box = np.array([[1.0, 2, 2], [1, 2, 8], [1, 6, 8], [1, 6, 2]])
    drawn.add([ruler, box], shape_type=["line", "ellipse"])
    file = tmp_path / "session.yaml"
    assert saved(first, file, qtbot) == "Saved session.yaml with 2 layers."
    first_corner = tuple(float(part) for part in image.data_to_world(ruler[0]))
    assert read_session(file).measurements[0].corners_mm[0] == pytest.approx(first_corner)
    for _ in range(2):  # again onto itself: nothing is drawn twice
        reopened(second, file, qtbot)
        assert len(second.viewer.layers) == 3
        again = measurements_layer(second.viewer)
        assert list(again.shape_type) == ["line", "ellipse"]
        for found, wanted in zip(again.data, (ruler, box), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-9)
        assert second.viewer.layers[-1] is again  # seen over the images
        assert second.viewer.layers.selection.active is second.viewer.layers[1]
    # what was measured since stays
    other = measurements_layer(second.viewer)
    other.add([ruler + 1], shape_type="line")
    reopened(second, file, qtbot)
    assert len(measurements_layer(second.viewer).data) == 3


def test_what_is_open_is_taken_again_and_only_the_rest_is_added(
    menu: Callable[[], SessionMenu], data: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    one = menu()
    image, labels = opened(one.viewer, data)
    file = tmp_path / "session.yaml"
    saved(one, file, qtbot)
    image.contrast_limits, image.gamma = (1, 2), 1.0
    labels.name, labels.contour, labels.visible = "renamed", 0, False
    one.viewer.layers.move(1, 0)
    reopened(one, file, qtbot)
    assert list(one.viewer.layers) == [image, labels]
    assert (tuple(image.contrast_limits), image.gamma) == ((12, 88), 0.5)
    assert (labels.name, labels.contour, labels.visible) == ("what I drew", 2, True)
    # labels that were painted since are no longer those of the file
    labels.data_setitem((np.array([0]), np.array([1]), np.array([2])), 2)
    reopened(one, file, qtbot)
    assert len(one.viewer.layers) == 3
    assert [layer.visible for layer in one.viewer.layers] == [False, True, True]
    assert one.viewer.layers[0] is labels
    assert one.viewer.layers[1] is image


def test_choices_of_docks_and_what_they_hide_come_back(
    make_napari_viewer: Callable[..., napari.Viewer],
    made_prediction: Prediction,
    data: Path,
    tmp_path: Path,
    qtbot: QtBot,
) -> None:
    file = data / "images" / "case_0.nii.gz"
    replace(made_prediction, volume=read_volume(file)).save(tmp_path / "out")
    viewer = make_napari_viewer()
    files = [file, *sorted((tmp_path / "out").glob("*.nii.gz"))]
    for one in files:
        viewer.add_layer(Layer.create(*read_layers(one)))
    docks = {}
    for name in ("Segment", "Score", "Data"):
        _, docks[name] = viewer.window.add_plugin_dock_widget("napari_uda", name)
    segment, score, menu = docks["Segment"], docks["Score"], docks["Data"].session

    def settled() -> bool:
        return menu.is_settled and segment.is_settled and score.is_settled

    qtbot.waitUntil(settled)
    seen = eyes(viewer)
    segment.results.structures.outlines.setChecked(True)
    segment.legend.findChild(EyeButton, "eye_2").setChecked(False)
    segment.reliability.setChecked(False)
    assert segment.views.isEnabled()  # also of results that were read from files
    segment.views.setChecked(True)
    score.choices.protocols.setCurrentText("sifa")
    qtbot.waitUntil(settled)
    saved(menu, tmp_path / "s.yaml", qtbot)
    stored = read_session(tmp_path / "s.yaml")
    # in the order and with the eyes that come back with one canvas
    assert [(layer.name, layer.visible) for layer in stored.layers] == seen
    viewer.layers.clear()
    segment.results.structures.outlines.setChecked(False)
    segment.reliability.setChecked(True)
    score.choices.protocols.setCurrentText("recommended")
    assert not segment.views.isChecked()
    for _ in range(
        2
    ):  # again onto itself: nothing is doubled, and one grid is left before the next
        reopened(menu, tmp_path / "s.yaml", qtbot)
        qtbot.waitUntil(settled)
        own = [layer for layer in viewer.layers if not is_helper(layer)]
        assert len(own) == len(files)
        assert not any("[1]" in layer.name for layer in own)
        assert segment.views.isChecked()
        assert viewer.canvas.grid.enabled
        prediction = next(layer for layer in own if tag(layer)["role"] == "prediction")
        assert (prediction.contour, segment.results.structures.outlines.isChecked()) == (1, True)
        assert segment.legend.hidden == {2}
        assert not prediction.colormap.map(2)[3] > 0
        assert not segment.reliability.isChecked()
        assert score.choices.protocol == "sifa"
    segment.views.setChecked(False)
    assert not viewer.canvas.grid.enabled
    assert eyes(viewer) == seen
    # a session of filled structures, opened where they are outlined
    segment.results.structures.outlines.setChecked(False)
    saved(menu, tmp_path / "filled.yaml", qtbot)
    segment.results.structures.outlines.setChecked(True)
    segment.views.setChecked(True)
    reopened(menu, tmp_path / "filled.yaml", qtbot)
    qtbot.waitUntil(settled)
    assert not segment.results.structures.outlines.isChecked()
    prediction = next(one for one in viewer.layers if tag(one).get("role") == "prediction")
    assert prediction.contour == 0
    assert (segment.views.isChecked(), viewer.canvas.grid.enabled) == (False, False)
    assert not any(tag(layer).get("role") == "background" for layer in viewer.layers)


def test_what_score_compares_comes_back(
    make_napari_viewer: Callable[..., napari.Viewer],
    made_prediction: Prediction,
    data: Path,
    tmp_path: Path,
    qtbot: QtBot,
) -> None:
    viewer = make_napari_viewer()
    files = [data / "images" / "case_0.nii.gz", data / "labels" / "case_0.nii.gz"]
    for name in ("one", "two", "three"):
        made = replace(made_prediction, volume=read_volume(files[0]), model=ModelOrigin(name))
        made.save(tmp_path / name)
        files.append(tmp_path / name / "case_0_labels.nii.gz")
    for file in files:
        viewer.add_layer(Layer.create(*read_layers(file)))
    _, score = viewer.window.add_plugin_dock_widget("napari_uda", "Score")
    _, docks = viewer.window.add_plugin_dock_widget("napari_uda", "Data")
    menu, choices = docks.session, score.choices
    qtbot.waitUntil(lambda: score.is_settled)
    choices.predictions.choose(viewer.layers["case_0 · prediction · two"])
    choices.set_compared(viewer.layers["case_0 · prediction · three"], True)
    saved(menu, tmp_path / "s.yaml", qtbot)
    viewer.layers.clear()
    assert choices.compared() == []
    reopened(menu, tmp_path / "s.yaml", qtbot)
    assert choices.predictions.layer.name == "case_0 · prediction · two"
    assert [layer.name for layer in choices.compared()] == ["case_0 · prediction · three"]
    choices.set_compared(choices.compared()[0], False)
    choices.set_compared(viewer.layers["case_0 · prediction · one"], True)
    reopened(menu, tmp_path / "s.yaml", qtbot)
    assert [layer.name for layer in choices.compared()] == ["case_0 · prediction · three"]


def test_what_is_known_of_a_result_comes_back(
    menu: Callable[[], SessionMenu],
    data: Path,
    tmp_path: Path,
    qtbot: QtBot,
    made_prediction: Prediction,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_menu, "ask_where", lambda *_: True)
    one = menu()
    volume = read_volume(data / "images" / "case_0.nii.gz")
    fit = Fit("does not fit", ("it shows 500 mm, training images 90 mm",))
    made = replace(
        made_prediction, volume=volume, fit=fit, corrected="case_0", target_supervision="corrected"
    )
    for variant in (" before adaptation", ""):
        for step in show_steps(one.viewer, made, None, variant=variant):
            step()
    before, after = (
        next(layer for layer in one.viewer.layers if layer.name.endswith(end))
        for end in ("prediction · tiny before adaptation", "prediction · tiny")
    )
    maps = [entropy_of(one.viewer, layer).name for layer in (before, after)]
    saved(one, tmp_path / "s.yaml", qtbot)
    two = menu()
    reopened(two, tmp_path / "s.yaml", qtbot)
    again = [two.viewer.layers[layer.name] for layer in (before, after)]
    assert [tag(layer)["fit"] for layer in again] == [fit, fit]
    assert mark_of(again[0]) == " (does not fit)"
    assert [tag(layer)["corrected"] for layer in again] == ["case_0", "case_0"]  # never scored
    assert tag(again[0])["target_supervision"] == "corrected"
    assert [entropy_of(two.viewer, layer).name for layer in again] == maps


@pytest.mark.parametrize("beside", [True, False, None])
def test_what_is_in_memory_only_is_saved_beside_or_named(
    menu: Callable[[], SessionMenu],
    data: Path,
    tmp_path: Path,
    qtbot: QtBot,
    made_prediction: Prediction,
    monkeypatch: pytest.MonkeyPatch,
    beside: bool | None,
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(
        session_menu, "ask_where", lambda _, names, __: (asked.append(names), beside)[1]
    )
    made = menu()
    image, labels = opened(made.viewer, data)
    labels.data_setitem((np.array([0]), np.array([1]), np.array([2])), 2)  # no longer the file's
    prediction = replace(made_prediction, volume=layer_volume(image))
    _, predicted, *_ = show(made.viewer, prediction, image)
    made.viewer.add_points(np.zeros((1, 3)), name="marks")
    file = tmp_path / "my.yaml"
    words = saved(made, file, qtbot)
    (names,) = asked
    assert names[0] == "what I drew"
    assert len(names) == 4
    if beside is None:
        assert words == "Cancelled; nothing was saved."
        assert not file.exists()
        assert not layers_folder(file).exists()
        return
    assert words.endswith("left out: marks." if beside else f"left out: {', '.join(names)}, marks.")
    other = menu()
    assert "It was saved without" in reopened(other, file, qtbot)
    assert len(other.viewer.layers) == (5 if beside else 1)
    assert layers_folder(file).exists() == beside
    if beside:
        again = other.viewer.layers[1]
        np.testing.assert_array_equal(again.data, labels.data)
        result = other.viewer.layers[2]
        np.testing.assert_array_equal(result.data, predicted.data)
        assert tag(result)["source"] == str(other.viewer.layers[0].unique_id)
        np.testing.assert_array_equal(tag(result)["affine"], tag(image)["affine"])
        assert [tag(layer)["role"] for layer in other.viewer.layers] == [
            "image", "reference", "prediction", "entropy", "reliability",
        ]  # fmt: skip
        assert [layer.visible for layer in other.viewer.layers] == [True] * 3 + [False] * 2


def test_missing_and_changed_files_are_named_and_the_rest_opens(
    menu: Callable[[], SessionMenu], data: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    first, second, third = menu(), menu(), menu()
    opened(first.viewer, data)
    file = tmp_path / "session.yaml"
    saved(first, file, qtbot)
    (data / "images" / "case_0.nii.gz").unlink()
    words = reopened(second, file, qtbot)
    assert words.startswith("mr/images/case_0.nii.gz is missing; the rest is shown.")
    assert [layer.name for layer in second.viewer.layers] == ["what I drew"]
    with pytest.raises(InputError, match="is not where it was read from"):
        sessions.save(tmp_path / "b.yaml", *states(first.viewer), [], False)
    file.write_text(file.read_text() + "\ncolour: red\n")
    third.viewer.add_layer(Image(np.zeros((2, 3, 4)), name="before"))
    words = reopened(third, file, qtbot)
    assert words.startswith("session.yaml: there is no setting colour")
    assert [(layer.name, layer.visible) for layer in third.viewer.layers] == [("before", True)]


def test_docks_and_panes_come_back_from_the_shell(
    make_napari_viewer: Callable[..., napari.Viewer],
    made_prediction: Prediction,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    qtbot: QtBot,
) -> None:
    image = data / "images" / "case_0.nii.gz"
    replace(made_prediction, volume=read_volume(image)).save(tmp_path / "out")
    viewer, seen = make_napari_viewer(show=True), []
    files = [image, *sorted((tmp_path / "out").glob("*.nii.gz"))]
    launch.fill_viewer(viewer, [read_layers(one) for one in files])
    assert viewer.canvas.grid.enabled
    for name in ("View", "Data"):
        viewer.window.add_plugin_dock_widget("napari_uda", name)
    wait_for(viewer, "Train")  # a tab that nobody looks at
    bring_tab_to_front(viewer, "Data")
    qtbot.waitUntil(lambda: bool(states(viewer)[1].front))
    dock = viewer.window.dock_widgets["Data (napari_uda)"]
    dock.cases.open_folder(data, tmp_path / "out", on_screen="case_0")
    qtbot.waitUntil(lambda: dock.is_settled)
    found, session = states(viewer)
    assert len(found) == 4  # the copies of the image are made anew
    assert (session.docks, session.side_by_side) == (("View", "Data", "Train"), True)
    sessions.save(tmp_path / "s.yaml", found, session, [], False)
    assert read_session(tmp_path / "s.yaml").layers[0].path == "mr/images/case_0.nii.gz"
    stored = read_session(tmp_path / "s.yaml")
    assert (stored.cases, stored.predictions, stored.case) == ("mr", "out", "case_0")
    write_session(
        tmp_path / "s.yaml", stored.model_copy(update={"left_out": ("mine",), "front": "View"})
    )
    dock.cases.open_folder(tmp_path / "out")  # another list, which the session replaces
    qtbot.waitUntil(lambda: dock.is_settled)
    viewer.canvas.grid.enabled = False
    viewer.layers.clear()
    window = dock.window()
    window.setTabPosition(Qt.DockWidgetArea.RightDockWidgetArea, QTabWidget.TabPosition.South)
    for name in ("View", "Train later"):
        viewer.window.remove_dock_widget(viewer.window.dock_widgets[f"{name} (napari_uda)"])

    def close(_: napari.Viewer) -> None:
        names = [name.split()[0] for name in viewer.window.dock_widgets]
        view = viewer.window.dock_widgets["View (napari_uda)"]
        assert (view.visibleRegion().isEmpty(), dock.visibleRegion().isEmpty()) == (False, True)
        assert dock.session.status.text() == "It was saved without mine."
        (bar,) = [one for one in window.findChildren(QTabBar) if one.parent() is window]
        assert bar.shape() == QTabBar.Shape.RoundedEast
        assert [bar.tabText(index) for index in range(bar.count())] == ["Data", "Train", "View"]
        seen.append((viewer.canvas.grid.enabled, len(viewer.layers), names))

    with monkeypatch.context() as patched:
        patched.setattr(napari, "Viewer", lambda **_: viewer)
        patched.setattr(type(viewer), "close", close)
        patched.setattr(launch, "_SETTLING_SECONDS", 0.0)
        launch.open_viewer([tmp_path / "s.yaml"], screenshot=tmp_path / "picture.png")
    assert (tmp_path / "picture.png").exists()
    qtbot.waitUntil(lambda: dock.is_settled)
    assert dock.cases.found.path.name == "mr"
    assert dock.cases.found.cases[0].prediction is not None
    assert dock.cases.current.name == "case_0"
    ((beside, count, names),) = seen
    assert beside
    assert count == 9
    assert {"View", "Data", "Train"} <= set(names)
    assert "Train (napari_uda)" not in viewer.window.dock_widgets  # nobody looked at it


def test_a_session_with_nothing_left_says_so_in_the_shell(data: Path, tmp_path: Path) -> None:
    viewer = ViewerModel()
    opened(viewer, data)
    found, session = states(viewer)
    written = sessions.save(tmp_path / "s.yaml", found, session, [], False)
    for file in data.rglob("*.nii.gz"):
        file.unlink()
    with pytest.raises(InputError, match="are missing; nothing is left to show"):
        launch.open_viewer([tmp_path / "s.yaml"])
    write_session(tmp_path / "s.yaml", written.model_copy(update={"front": "Nowhere"}))
    assert read_session(tmp_path / "s.yaml").front == "Nowhere"
