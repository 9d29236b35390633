"""Readout, cuts and canvas speak of the image on top, and where nothing is seen a sentence says why."""

from __future__ import annotations

import numpy as np
import pytest
from gui_cases import add_data, ball_case, settle
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot

from napari_uda.data.volume import Volume
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import METADATA
from napari_uda.gui.kit.grid import SideBySide
from napari_uda.gui.kit.layers import show
from napari_uda.gui.kit.seen import seen_at
from napari_uda.gui.view.dock import ViewDock
from napari_uda.inference.predict import Prediction


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def patient(viewer: ViewerModel, name: str, value: int, at_mm: float = 0.0) -> Image:
    """A volume of one value, `at_mm` further to the patient's head."""
    affine = np.diag([-1.5, -1.5, 8.0, 1.0])
    affine[2, 3] = at_mm
    volume = Volume(np.full((6, 32, 40), value, np.int16), affine, name)
    volume.array[0, 0, 0] = 0
    (layer,) = add_data(viewer, *layer_data(volume, "image", {}))
    return layer


@pytest.fixture
def two(viewer: ViewerModel) -> tuple[Image, Image]:
    """Two patients at one place, the second on top."""
    first, second = patient(viewer, "first", 11), patient(viewer, "second", 22)
    go_to(viewer, second, (2, 14, 18))
    return first, second


@pytest.fixture
def dock(linked_dock: ViewDock) -> ViewDock:
    return linked_dock


def go_to(viewer: ViewerModel, layer: Image, index: tuple[float, ...]) -> None:
    viewer.dims.set_point(range(3), [float(part) for part in layer.data_to_world(index)])


def line(dock: ViewDock) -> list[str]:
    return dock.words.texts["line"].splitlines()


def greys(dock: ViewDock) -> set[int]:
    return set(np.unique(dock.views.panes[0].pixels).tolist())


def test_a_hidden_patient_is_not_read_and_not_cut(
    two: tuple[Image, Image], dock: ViewDock, viewer: ViewerModel, qtbot: QtBot
) -> None:
    first, second = two
    first.contrast_limits = second.contrast_limits = (0, 44)
    settle(dock, qtbot)
    assert dock.readout.texts["Image"] == "second (at the cross)"
    assert dock.readout.texts["Intensity"] == "22"
    assert greys(dock) == {128}
    assert line(dock)[0] == "second"
    dock.images.choose(first)  # chosen, but below
    settle(dock, qtbot)
    assert dock.readout.texts["Intensity"] == "22"
    assert dock.about.text() == (
        "Window and level are those of first; on top at the cross lies second."
    )
    second.visible = False
    settle(dock, qtbot)
    assert (dock.readout.texts["Image"], dock.readout.texts["Intensity"]) == (
        "first (at the cross)",
        "11",
    )
    assert greys(dock) == {64}
    assert line(dock)[0] == "first"
    assert not dock.about.isVisible()
    second.visible, first.visible = True, False  # the chosen one is hidden: what is seen is chosen
    settle(dock, qtbot)
    assert dock.images.layer is second
    assert dock.readout.texts["Intensity"] == "22"
    assert greys(dock) == {128}


def test_no_pane_is_black_without_a_sentence(
    two: tuple[Image, Image], dock: ViewDock, viewer: ViewerModel, qtbot: QtBot
) -> None:
    first, second = two
    pane = dock.views.panes[0]

    def notes() -> set[str]:
        settle(dock, qtbot)
        return {pane.note for pane in dock.views.panes}

    assert notes() == {""}
    first.visible = second.visible = False
    hidden = "All 2 images are hidden; an eye in the layer list shows one."
    assert notes() == {hidden}
    assert pane.pixels.size == 0
    assert line(dock) == [hidden]
    assert dock.readout.texts["Image"] == hidden
    viewer.layers.remove(first)
    assert notes() == {"second is hidden; its eye in the layer list shows it."}
    second.visible, second.opacity = True, 0
    assert notes() == {"second is hidden; its eye in the layer list shows it."}
    second.opacity = 1
    assert notes() == {""}
    photo = viewer.add_image(np.zeros((6, 40, 60, 3), np.uint8), rgb=True, name="photo")
    go_to(viewer, photo, (2, 3, 4))
    colour = "'photo' is a colour image; grey 3-D volumes alone are read and cut here."
    assert notes() == {colour}
    assert dock.readout.texts["Image"] == colour
    viewer.layers.remove(photo)
    assert notes() == {""}
    viewer.layers.clear()
    assert notes() == {"No image is open; File > Open shows one."}


def test_a_cross_outside_is_told_with_its_distance(
    two: tuple[Image, Image], dock: ViewDock, viewer: ViewerModel, qtbot: QtBot
) -> None:
    patient(viewer, "far", 33, at_mm=400).visible = False  # the sliders reach to it
    go_to(viewer, two[1], (-3, 14, 18))  # 24 mm above the first slice
    settle(dock, qtbot)
    for pane in dock.views.panes:
        assert pane.note == "The cross lies 24 mm outside: click here to move it in."
        assert pane.cross is None
        assert pane.pixels.any()
    assert line(dock)[:2] == ["second", "this slice lies outside of second"]
    assert dock.readout.texts["Image"] == "outside of second"
    assert dock.slice_about.text() == "of 5: outside of second"
    dock.views.panes[0].pointed.emit(2.0, 18.0)
    settle(dock, qtbot)
    assert dock.views.panes[0].note == ""
    assert dock.views.panes[0].cross == pytest.approx((2, 18))


def test_structures_on_another_grid_are_named(
    two: tuple[Image, Image], dock: ViewDock, viewer: ViewerModel, qtbot: QtBot
) -> None:
    coarse = viewer.add_labels(np.ones((3, 16, 20), np.uint8), name="coarse")
    settle(dock, qtbot)
    assert dock.views.panes[0].note == "Left out, on another grid: 'coarse'."
    coarse.visible = False
    settle(dock, qtbot)
    assert dock.views.panes[0].note == ""


def test_images_of_other_axes_have_their_sentence(viewer: ViewerModel) -> None:
    viewer.add_image(np.zeros((2, 4, 5, 6)), name="film")
    assert seen_at(viewer, viewer.dims.point).why == (
        "'film' is an image with 4 axes; grey 3-D volumes alone are read and cut here."
    )
    viewer.layers.clear()
    viewer.add_image([np.zeros((8, 8)), np.zeros((4, 4))], multiscale=True, name="slide")
    assert "several resolutions" in seen_at(viewer, viewer.dims.point).why
    viewer.layers.clear()
    viewer.add_image(np.zeros((8, 8)), name="flat")
    assert "an image with 2 axes" in seen_at(viewer, viewer.dims.point).why


def test_the_difference_of_a_translation_is_no_image_of_its_own(
    viewer: ViewerModel, two: tuple[Image, Image]
) -> None:
    second = two[1]
    own = {"role": "translation", "part": "difference", "case": "second"}
    over = Image(np.ones(second.data.shape), metadata={METADATA: own})
    over.affine, over.scale, over.translate = second.affine, second.scale, second.translate
    viewer.add_layer(over)
    seen = seen_at(viewer, viewer.dims.point)
    assert (seen.image, seen.why) == (second, "")


def test_where_patients_lie_apart_the_one_at_the_place_is_seen(
    viewer: ViewerModel, dock: ViewDock, qtbot: QtBot
) -> None:
    first, second = patient(viewer, "first", 11), patient(viewer, "second", 22, at_mm=400)
    go_to(viewer, first, (2, 14, 18))
    settle(dock, qtbot)
    assert dock.readout.texts["Intensity"] == "11"
    assert line(dock)[0] == "first"
    dock.images.choose(second)  # who chooses an image wants to see it
    settle(dock, qtbot)
    assert dock.readout.texts["Intensity"] == "22"
    assert line(dock)[0] == "second"


def test_the_mouse_is_followed_once_it_moves_and_its_slice_too(
    two: tuple[Image, Image], dock: ViewDock, viewer: ViewerModel, qtbot: QtBot
) -> None:
    viewer.cursor.position = tuple(float(part) for part in two[1].data_to_world((2, 3, 4)))
    settle(dock, qtbot)
    assert dock.readout.texts["Image"] == "second"
    assert dock.readout.texts["Voxel (x, y, z)"] == "4, 3, 3"
    viewer.dims.set_current_step(0, 4)  # napari carries the mouse's place on
    settle(dock, qtbot)
    assert dock.readout.texts["Voxel (x, y, z)"] == "4, 3, 1"
    viewer.dims.ndisplay = 3
    viewer.cursor.position = (0.0, 0.0, 0.0)
    settle(dock, qtbot)
    assert dock.readout.texts["Image"] == "Nothing is read in 3-D; show slices to read."
    assert all(pane.pixels.any() for pane in dock.views.panes)


def test_in_a_grid_the_cell_under_the_mouse_is_read(
    viewer: ViewerModel, made_prediction: Prediction, dock: ViewDock, qtbot: QtBot
) -> None:
    image, prediction, entropy, reliability = show(viewer, made_prediction)
    assert isinstance(image, Image)
    for _ in SideBySide(viewer, image, [prediction, entropy, reliability]).enter():
        pass
    other = patient(viewer, "other", 99)  # a fourth cell
    viewer.canvas.grid.stride, viewer.canvas.grid.shape = 3, (1, 4)
    place = tuple(float(part) for part in image.data_to_world((2, 14, 18)))
    cell = viewer.canvas.grid.position(viewer.layers.index(prediction), viewer.layers)
    assert seen_at(viewer, place).image is other
    assert seen_at(viewer, place, cell).image is image
    viewer.cursor.viewbox = cell
    viewer.cursor.position = tuple(float(part) for part in image.data_to_world((2, 13, 17)))
    settle(dock, qtbot)
    assert dock.readout.texts["Image"] == "case_0"
    viewer.cursor.viewbox = viewer.canvas.grid.position(viewer.layers.index(other), viewer.layers)
    viewer.cursor.position = place
    settle(dock, qtbot)
    assert (dock.readout.texts["Image"], dock.readout.texts["Intensity"]) == ("other", "99")


@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, 1, 1), (1, -1, -1), (-1, 1, -1)])
def test_dock_pane_canvas_and_voxel_have_one_number(
    signs: tuple[int, int, int], viewer: ViewerModel, dock: ViewDock, qtbot: QtBot
) -> None:
    affine = np.diag([1.5 * signs[0], 1.5 * signs[1], 8.0 * signs[2], 1.0])
    volume, _ = ball_case("case", 0, affine)
    (layer,) = add_data(viewer, *layer_data(volume, "image", {}))
    go_to(viewer, layer, (1, 4, 7))
    settle(dock, qtbot)
    x, y, z = map(int, dock.readout.texts["Voxel (x, y, z)"].split(", "))
    titles = [pane.title.split(",")[0] for pane in dock.views.panes]
    assert titles == [f"coronal slice {y}", f"sagittal slice {x}"]
    assert line(dock)[1].split(",")[0] == f"axial slice {z}"
    assert dock.slice_number.value() == z
    dock.slice_number.setValue(4)
    settle(dock, qtbot)
    assert dock.readout.texts["Voxel (x, y, z)"] == f"{x}, {y}, 4"
    side = "S" if signs[2] > 0 else "I"
    assert line(dock)[1] == f"axial slice 4, {side} 32.0 mm"
    assert dock.slice_about.text() == f"of 5, axial, {side} 32.0 mm"
    np.testing.assert_array_equal(
        layer.data[round(float(layer.world_to_data(viewer.dims.point)[0]))].min(),
        volume.array[4].min(),
    )
    for number, plane, index in ((1, "coronal", y), (2, "sagittal", x), (0, "axial", 4)):
        dock.planes.button(number).click()
        settle(dock, qtbot)
        assert line(dock)[1].split(",")[0] == f"{plane} slice {index}"
        assert dock.slice_about.text().split(", ")[1] == plane
        assert dock.slice_number.value() == index
