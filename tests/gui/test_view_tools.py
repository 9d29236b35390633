"""Sides of the patient, readings at the cursor, windows and pictures of slices: what the View dock is made of."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from gui_cases import SHAPE, add_data, ball_case, oblique
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.key_bindings import coerce_keybinding
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt

from napari_uda.data.volume import Volume
from napari_uda.data.window import CT_PRESETS, PERCENTILES, Window, percentile_window, usual_window
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.layers import show
from napari_uda.gui.kit.seen import shown_window
from napari_uda.gui.kit.sides import Sides, directions_across, letters, patient_directions, sides
from napari_uda.gui.view.readout import Readout, read_at
from napari_uda.gui.view.slice_pane import SlicePane
from napari_uda.gui.view.slice_picture import layers_on_grid, slice_picture, spacing_of
from napari_uda.gui.view.window import WindowDrag, WindowPanel, apply_window
from napari_uda.inference.predict import Prediction

AXIAL, CORONAL, SAGITTAL = (1, 2), (0, 2), (0, 1)  # axes that run downwards and across


def image_of(affine: np.ndarray) -> Image:
    volume, _ = ball_case("case_0", 0, affine)
    (layer,) = add_data(ViewerModel(), *layer_data(volume, "image", {}))
    return layer


# --- sides ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, 1, 1), (1, -1, -1)])
def test_letters_of_the_three_cuts(signs: tuple[int, int, int]) -> None:
    directions = patient_directions(image_of(np.diag([1.5 * signs[0], 1.5 * signs[1], 8, 1])))
    np.testing.assert_allclose(directions, -np.eye(3)[::-1], atol=1e-9)
    assert sides(directions, *AXIAL) == Sides("R", "L", "A", "P")
    assert sides(directions, *CORONAL) == Sides("R", "L", "S", "I")
    assert sides(directions, *SAGITTAL) == Sides("A", "P", "S", "I")
    assert sides(directions, *AXIAL, mirrored=True) == Sides("L", "R", "A", "P")


@pytest.mark.parametrize(("cut", "shown"), [(0, "RLAP"), (1, "RLSI"), (2, "APSI")])
def test_slices_without_a_volume_have_the_letters_of_their_cut(cut: int, shown: str) -> None:
    assert sides(directions_across(cut), 1, 2) == Sides(*shown)


def test_letters_of_a_volume_stored_in_another_order() -> None:
    affine = np.array([[0, 0, 8.0, 0], [1.5, 0, 0, 0], [0, -1.5, 0, 0], [0, 0, 0, 1]])
    directions = patient_directions(image_of(affine))
    assert sides(directions, *AXIAL) == Sides("R", "L", "A", "P")


def test_an_oblique_volume_is_named_by_its_nearest_sides() -> None:
    directions = patient_directions(image_of(oblique(np.diag([-1.5, -1.5, 8.0, 1.0]))))
    assert not np.allclose(directions, np.round(directions))
    assert sides(directions, *AXIAL) == Sides("R", "L", "A", "P")
    assert letters(np.array([-0.8, 0.6, 0.0])) == "LA"
    assert letters(np.array([-0.98, 0.2, 0.0])) == "L"


def test_a_layer_that_was_turned_keeps_its_sides_in_the_patient() -> None:
    image = image_of(np.diag([-1.5, -1.5, 8.0, 1.0]))
    turned = np.eye(4)
    turned[1:3, 1:3] = [[0, -1], [1, 0]]
    image.affine = turned
    # the viewer's axes stand still: what lies on the right of the screen is still to the patient's left
    assert sides(patient_directions(image), *AXIAL) == Sides("R", "L", "A", "P")


def test_a_layer_of_others_is_read_as_foot_back_left() -> None:
    assert sides(patient_directions(Image(np.zeros((2, 3, 4)))), *AXIAL) == Sides(
        "R", "L", "A", "P"
    )


# --- the cursor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, 1, 1), (1, -1, -1)])
def test_reading_is_that_of_the_file(signs: tuple[int, int, int]) -> None:
    affine = np.diag([1.5 * signs[0], 1.5 * signs[1], 8.0 * signs[2], 1.0])
    affine[:3, 3] = (10, -20, 30)
    volume, _ = ball_case("case_0", 0, affine)
    viewer = ViewerModel()
    (image,) = add_data(viewer, *layer_data(volume, "image", {}))
    for index in ((0, 0, 0), (5, 3, 7), (2, 31, 39)):
        reading = read_at(viewer, image, image.data_to_world(index))
        assert reading is not None
        x, y, z = reading.voxel
        assert reading.intensity == volume.array[z, y, x] == image.data[index]
        np.testing.assert_allclose(reading.position_mm, (affine @ (x, y, z, 1))[:3])
    between = read_at(viewer, image, image.data_to_world((2, 3.3, 7)))
    assert between is not None
    middle = read_at(viewer, image, image.data_to_world((2, 3, 7)))
    assert middle is not None
    assert between.voxel == middle.voxel
    assert abs(between.position_mm[1] - middle.position_mm[1]) == pytest.approx(0.3 * 1.5)
    on_slice = image.data_to_world((2.2, 3.3, 7))
    viewer.dims.set_point(0, float(on_slice[0]))
    shown = read_at(viewer, image, on_slice)
    assert shown is not None  # in the slice where the mouse is, across it in its middle
    np.testing.assert_allclose(shown.position_mm, between.position_mm)
    assert read_at(viewer, image, image.data_to_world((2, -0.6, 7))) is None
    assert read_at(viewer, image, image.data_to_world((6, 3, 7))) is None


def test_reading_names_structures_and_entropy(made_prediction: Prediction) -> None:
    viewer = ViewerModel()
    image, prediction, entropy, reliability = show(viewer, made_prediction)
    where = np.argwhere((prediction.data == 1) & (entropy.data > 0.5))[0]
    reading = read_at(viewer, image, image.data_to_world(where))
    assert reading is not None
    assert reading.structures == {
        prediction.name: "left ventricle myocardium"
    }  # the reliability map is hidden
    assert reading.entropy == pytest.approx(0.75)
    reliability.visible = True
    prediction.visible = False
    reading = read_at(viewer, image, image.data_to_world(where))
    assert reading is not None
    assert reading.structures == {reliability.name: "unreliable"}


def test_readout_in_words(qtbot: QtBot) -> None:
    readout = Readout()
    qtbot.addWidget(readout)
    assert set(readout.texts.values()) == {"–"}
    volume, labels = ball_case("case_0", 0)
    viewer = ViewerModel()
    (image,) = add_data(viewer, *layer_data(volume, "image", {}))
    for name in ("case_0", "two"):
        named = Volume(labels.array, labels.affine, name)
        add_data(viewer, *layer_data(named, "reference", {1: "MYO", 2: "LVC"}))
    reading = read_at(viewer, image, image.data_to_world((3, 14, 18)))
    readout.show_reading(reading)
    texts = readout.texts
    assert texts["Voxel (x, y, z)"] == "18, 14, 2"
    assert texts["Position (mm)"] == "L 27.0  P 21.0  S 16.0"
    assert float(texts["Intensity"]) == volume.array[2, 14, 18]
    assert texts["Structure"] == "left ventricle cavity"  # both layers agree
    assert texts["Entropy"] == "–"
    viewer.layers[-1].data = np.zeros(SHAPE, np.uint8)
    readout.show_reading(read_at(viewer, image, image.data_to_world((3, 14, 18))))
    said = "left ventricle cavity (reference)\nbackground (two · reference)"
    assert readout.texts["Structure"] == said


# --- window and level -------------------------------------------------------------------------------


def test_a_window_is_applied_to_all_slices() -> None:
    ct = Image(np.array([-1000.0, 0, 40, 1000] * 9).reshape(1, 6, 6))
    ct.auto_contrast = True
    apply_window(CT_PRESETS["lung"], ct)
    assert (tuple(ct.contrast_limits), ct.auto_contrast) == ((-1350, 150), False)
    assert shown_window(ct) == Window(1500, -600)


def test_drag_in_the_viewer() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.arange(0.0, 601).reshape(1, 1, 601), contrast_limits=(0, 600))
    before = list(viewer.mouse_drag_callbacks)
    drag = WindowDrag(viewer, lambda: image)
    (callback,) = (one for one in viewer.mouse_drag_callbacks if one not in before)

    def move(*positions: tuple[int, int], button: int = 1) -> None:
        event = SimpleNamespace(type="mouse_press", pos=positions[0], button=button, modifiers=())
        for step in callback(viewer, event):
            assert step is None
            positions = positions[1:]
            event.type = "mouse_move" if positions else "mouse_release"
            event.pos = positions[0] if positions else event.pos

    move((10, 10), (60, 10))
    assert shown_window(image) == Window(600, 300)  # not active
    drag.active = True
    assert not viewer.scene.camera.mouse_pan
    move((10, 10), (60, 10), (60, 40))
    assert shown_window(image) == Window(650, 330)
    move((10, 10), (60, 10), button=2)
    assert shown_window(image) == Window(650, 330)
    labels = viewer.add_labels(np.zeros((1, 1, 601), int))
    labels.mode = "paint"
    move((10, 10), (60, 10))  # the mouse paints
    assert shown_window(image) == Window(650, 330)
    drag.active = False
    assert not viewer.scene.camera.mouse_pan  # the layer is still painted on
    labels.mode = "pan_zoom"
    drag.active = True
    drag.leave()
    assert viewer.scene.camera.mouse_pan
    assert viewer.mouse_drag_callbacks == before


def test_window_panel(qtbot: QtBot) -> None:
    panel = WindowPanel(ViewerModel())
    qtbot.addWidget(panel)
    assert not panel.presets.isEnabled()
    image = Image(np.arange(101.0).reshape(1, 1, 101))
    apply_window(Window(400, 40), image)
    with qtbot.waitSignal(panel.changed):
        panel.show_image(image)
    assert panel.presets.isEnabled()
    assert (panel.width_box.text(), panel.level_box.text()) == ("400", "40")
    with qtbot.waitSignal(panel.changed):
        panel.width_box.setValue(300)
    assert shown_window(image) == Window(300, 40)
    lung = next(i for i in range(panel.presets.count()) if "lung" in panel.presets.itemText(i))
    panel.presets.activated.emit(lung)
    assert shown_window(image) == Window(1500, -600)
    panel.presets.activated.emit(1)
    assert shown_window(image) == percentile_window(image.data, 1, 99)
    apply_window(Window(0.02, 0.015), image)  # small numbers keep their digits
    assert panel.width_box.value() == 0.02
    panel.show_image(None)
    assert not panel.presets.isEnabled()
    assert not panel.drag.isEnabled()
    apply_window(Window(7, 7), image)  # it is not followed any more
    assert panel.width_box.value() == 0.02
    assert str(Window(0.02, 0.015)) == "W 0.02000  L 0.01500"
    assert str(Window(993, 506.5)) == "W 993  L 507"


@pytest.mark.parametrize("lowest", [0, -1000], ids=["MR", "CT"])
def test_the_key_leads_through_the_presets_of_such_an_image(lowest: int, qtbot: QtBot) -> None:
    viewer = ViewerModel()
    panel = WindowPanel(viewer)
    qtbot.addWidget(panel)
    image = Image(np.linspace(lowest, 1000, 1001).reshape(1, 1, -1))
    apply_window(usual_window(image.data), image)  # as it is opened, which is the first preset
    panel.show_image(image)
    key = ViewerModel.class_keymap[coerce_keybinding("Q")]
    seen = [shown_window(image)]
    for _ in range(6 if lowest else 4):
        key(viewer)
        seen.append(shown_window(image))
    wanted = [percentile_window(image.data, *one) for one in PERCENTILES]
    if lowest:
        wanted = list(CT_PRESETS.values())
    limits = [one.limits for one in seen]
    np.testing.assert_allclose(limits, [one.limits for one in [*wanted, wanted[0]]])


def test_a_window_stays_at_the_next_slice_although_napari_sets_the_contrast_by_itself() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.arange(4 * 9.0).reshape(4, 3, 3), auto_contrast=True)
    viewer.dims.set_current_step(0, 3)
    assert tuple(image.contrast_limits) == (27, 35)  # napari's own, of this slice
    apply_window(Window(20, 10), image)
    assert not image.auto_contrast
    viewer.dims.set_current_step(0, 1)
    assert shown_window(image) == Window(20, 10)


# --- slices -----------------------------------------------------------------------------------------


def test_slice_is_drawn_in_the_colours_of_its_layers() -> None:
    image = Image(
        np.array([[[0.0, 50, 100, 200]]]), contrast_limits=(0, 100), colormap="gray", name="image"
    )
    labels = Labels(np.array([[[0, 1, 0, 1]]]), opacity=0.5)
    red, green, blue, _ = (round(float(part) * 255) for part in labels.get_color(1))
    picture = slice_picture([image, labels], 0, 0)
    assert picture.shape == (1, 4, 3)
    grey = picture[0, :, 0].astype(int)
    assert (grey[0], grey[2]) == (0, 255)
    np.testing.assert_allclose(picture[0, 1], np.array([red, green, blue]) / 2 + 64, atol=2)
    np.testing.assert_allclose(picture[0, 3], np.array([red, green, blue]) / 2 + 128, atol=2)
    assert slice_picture([], 0, 0).shape == (1, 1, 3)


def test_all_types_of_labels_look_alike(made_prediction: Prediction) -> None:
    prediction = show(ViewerModel(), made_prediction)[1]
    small = slice_picture([prediction], 0, 2)
    prediction.data = prediction.data.astype(np.int32)
    np.testing.assert_array_equal(slice_picture([prediction], 0, 2), small)
    colours = {tuple(colour) for colour in small.reshape(-1, 3)}
    assert len(colours) == 3  # two structures on black
    assert (0, 0, 0) in colours


def test_outlines_stay_outlines_in_a_slice() -> None:
    data = np.zeros((1, 7, 7), int)
    data[0, 1:6, 1:6] = 1
    layer = Labels(data, opacity=1)
    layer.contour = 1
    drawn = slice_picture([layer], 0, 0).any(axis=-1)
    assert drawn[1:6, 1:6].sum() == 16  # the border of five by five
    assert not drawn[2:5, 2:5].any()


def test_only_visible_layers_on_the_same_grid_are_drawn(made_prediction: Prediction) -> None:
    viewer = ViewerModel()
    image, prediction, *_ = show(viewer, made_prediction)
    viewer.add_image(np.zeros(SHAPE), name="elsewhere")
    viewer.add_image(np.zeros((8, 8)), name="flat")
    assert layers_on_grid(viewer.layers, image) == [image, prediction]
    # 1 % of the smallest side, 0.015 mm, counts as the same place, as everywhere
    prediction.translate = np.add(prediction.translate, (0, 0.014, 0))
    assert layers_on_grid(viewer.layers, image) == [image, prediction]
    prediction.translate = np.add(prediction.translate, (0, 0.002, 0))
    assert layers_on_grid(viewer.layers, image) == [image]
    np.testing.assert_allclose(spacing_of(image), (8, 1.5, 1.5))


@pytest.fixture
def pane(qtbot: QtBot) -> SlicePane:
    widget = SlicePane()
    qtbot.addWidget(widget)
    widget.resize(200, 200)
    widget.show()
    return widget


def test_a_click_tells_the_pixel(pane: SlicePane, qtbot: QtBot) -> None:
    pixels = np.zeros((10, 20, 3), np.uint8)
    pane.show_slice(pixels, (2.0, 1.0))  # 20 mm by 20 mm: the whole widget
    left = Qt.MouseButton.LeftButton
    with qtbot.waitSignal(pane.pointed) as point:
        qtbot.mouseClick(pane, left, pos=QPoint(55, 110))
    assert point.args == pytest.approx([110 / 20 - 0.5, 55 / 10 - 0.5])
    pane.show_slice(pixels, (2.0, 1.0), mirrored=True)
    assert pane.point_of(55, 110) == pytest.approx((5, 14))
    pane.show_slice(pixels, (1.0, 1.0))  # 10 mm by 20 mm: black above and below
    assert pane.point_of(55, 10) is None
    pane.clear()
    assert pane.point_of(100, 100) is None


def test_pane_draws_the_slice_the_cross_and_the_letters(pane: SlicePane) -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[:, :3, 0] = 255
    pane.show_slice(pixels, (1.0, 1.0), sides=Sides("R", "L", "A", "P"), title="axial 3")
    pane.set_cross(4.5, 4.5)
    drawn = pane.grab().toImage()
    assert drawn.pixelColor(20, 150).red() > 200
    assert drawn.pixelColor(150, 150).red() < 50
    assert drawn.pixelColor(100, 50).green() > 150  # the vertical line of the cross
    assert drawn.pixelColor(100, 100).green() < 50  # the point itself stays free
    pane.show_slice(pixels, (1.0, 1.0), mirrored=True)
    drawn = pane.grab().toImage()
    assert drawn.pixelColor(20, 150).red() < 50
    assert drawn.pixelColor(180, 150).red() > 200
