"""Ruler, regions and structures in the View dock: true millimetres of the file, of the image on top."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from gui_cases import add_data, ball_case, oblique, settle
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QApplication

from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import read_volume, write_volume
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.layers import find
from napari_uda.gui.kit.measurements import ROLE
from napari_uda.gui.view.measure import MeasurePanel
from napari_uda.gui.view.measuring import mean_and_deviation


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def panel(viewer: ViewerModel, qtbot: QtBot) -> Iterator[MeasurePanel]:
    widget = MeasurePanel(viewer)
    widget.show()
    yield widget
    settle(widget, qtbot)
    with qtbot.waitSignal(widget.destroyed):
        widget.deleteLater()
    assert viewer.mouse_drag_callbacks == ViewerModel().mouse_drag_callbacks
    viewer.layers.clear()


def add(viewer: ViewerModel, affine: np.ndarray | None = None) -> Image:
    volume, _ = ball_case("case_0", 0, affine)
    (layer,) = add_data(viewer, *layer_data(volume, "image", {}))
    assert isinstance(layer, Image)
    viewer.dims.set_point(range(3), [float(at) for at in layer.data_to_world((2, 14, 18))])
    return layer


def click(
    viewer: ViewerModel, image: Image, index: tuple[float, ...], *, dragged: bool = False
) -> None:
    """A click into the canvas, at a place of the image."""
    world = tuple(float(part) for part in image.data_to_world(index))
    event = SimpleNamespace(
        type="mouse_press", pos=(50, 50), button=1, position=world, modifiers=()
    )
    known = ViewerModel().mouse_drag_callbacks
    steps = [one(viewer, event) for one in viewer.mouse_drag_callbacks if one not in known]
    for step in steps:
        next(step, None)
    if dragged:
        event.type, event.pos = "mouse_move", (80, 50)
        for step in steps:
            next(step, None)
    event.type = "mouse_release"
    for step in steps:
        next(step, None)


def drawn(viewer: ViewerModel) -> Shapes:
    layer = find(viewer, role=ROLE)
    assert isinstance(layer, Shapes)
    return layer


@pytest.mark.parametrize("tilted", [False, True])
def test_two_clicks_measure_true_millimetres(
    tilted: bool, viewer: ViewerModel, panel: MeasurePanel, qtbot: QtBot
) -> None:
    straight = np.diag([-1.5, 2.0, 8.0, 1.0])
    image = add(viewer, oblique(straight) if tilted else straight)
    panel.tools["ruler"].click()
    assert viewer.layers.selection.active is image  # the ruler needs no layer to be chosen
    click(viewer, image, (2, 10, 10))
    assert panel.about.text() == "Click the other end."
    click(viewer, image, (2, 20, 30), dragged=True)  # a drag moves the image
    click(viewer, image, (2, 16, 14))  # 6 rows of 2 mm and 4 columns of 1.5 mm
    settle(panel, qtbot)
    assert panel.shapes.table.item(0, 1).text() == f"{np.hypot(12, 6):.1f} mm"
    click(viewer, image, (2, 10, 10))
    viewer.dims.set_current_step(0, 4)
    click(viewer, image, (4, 16, 14))  # two slices of 8 mm on
    settle(panel, qtbot)
    row = next(
        csv.DictReader(panel.shapes.csv.splitlines()[:1] + panel.shapes.csv.splitlines()[2:])
    )
    assert float(row["length_mm"]) == pytest.approx(np.sqrt(16**2 + 12**2 + 6**2), abs=1e-4)
    assert (row["measure"], row["image"]) == ("ruler 2", "case_0")
    assert list(drawn(viewer).features["measure"]) == [
        panel.shapes.table.item(at, 1).text() for at in range(2)
    ]
    assert drawn(viewer).name == "helper: measurements"


def test_regions_measure_the_image_on_top(
    viewer: ViewerModel, panel: MeasurePanel, qtbot: QtBot
) -> None:
    below = add(viewer)
    image = add(viewer)
    image.data = np.arange(image.data.size, dtype=np.int32).reshape(image.data.shape)
    panel.tools["rectangle"].click()
    layer = drawn(viewer)
    assert (str(layer.mode), viewer.layers.selection.active) == ("add_rectangle", layer)
    corners = np.array([[2, 1.5, 2.5], [2, 1.5, 5.5], [2, 3.5, 5.5], [2, 3.5, 2.5]])
    layer.add([corners], shape_type="rectangle")
    settle(panel, qtbot)
    inside = image.data[2, 2:4, 3:6]
    (row,) = csv.DictReader(panel.shapes.csv.splitlines())
    assert float(row["area_mm2"]) == pytest.approx(6 * 1.5 * 1.5)
    assert float(row["mean"]) == inside.mean()
    assert float(row["standard_deviation"]) == pytest.approx(inside.std())
    assert (float(row["smallest"]), float(row["largest"])) == (inside.min(), inside.max())
    assert (row["pixels"], row["unit"], row["slice"]) == (
        "6",
        "grey value",
        "axial slice 3, S 24.0 mm",
    )
    assert panel.shapes.table.item(0, 1).text() == "13.5 mm²"
    cells = [panel.shapes.table.item(0, at).text() for at in (2, 3)]
    assert tuple(cells) == mean_and_deviation(inside.mean(), inside.std())
    assert " ± ".join(cells) in layer.features["measure"][0]
    image.visible = False
    layer.data = [corners + np.array([0, 1, 0])]  # moved by a row: measured on what is seen now
    settle(panel, qtbot)
    (row,) = csv.DictReader(panel.shapes.csv.splitlines())
    assert float(row["mean"]) == below.data[2, 3:5, 3:6].mean()
    panel.tools["ellipse"].click()
    assert not panel.tools["rectangle"].isChecked()
    assert str(layer.mode) == "add_ellipse"
    panel.tools["ellipse"].click()
    assert str(layer.mode) == "pan_zoom"
    layer.add(
        [corners + np.array([[0, 0, 0], [0, 0, 0], [2, 0, 0], [2, 0, 0]])], shape_type="polygon"
    )
    settle(panel, qtbot)
    assert panel.shapes.table.item(1, 1).text() == "not on one slice of the image"
    panel.clear.click()
    settle(panel, qtbot)
    assert find(viewer, role=ROLE) is None
    assert not panel.shapes.isVisible()


def test_hounsfield_units_only_where_the_source_says_ct(
    viewer: ViewerModel, panel: MeasurePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    volume, labels = ball_case("a", 0)
    write_volume(tmp_path / "images" / "a.nii.gz", volume)
    write_dataset_json(tmp_path, {"MYO": 1, "LVC": 2}, "CT")
    read = read_volume(tmp_path / "images" / "a.nii.gz")
    (image,) = add_data(viewer, *layer_data(read, "image", {}))
    viewer.dims.set_point(range(3), [float(at) for at in image.data_to_world((2, 14, 18))])
    panel.tools["polygon"].click()
    layer = drawn(viewer)
    layer.add([np.array([[2, 10, 14], [2, 10, 20], [2, 16, 20]])], shape_type="polygon")
    settle(panel, qtbot)
    assert panel.shapes.table.item(0, 2).text().endswith(" HU")
    add_data(viewer, *layer_data(labels, "reference", {1: "MYO", 2: "LVC"}))
    panel.measure.click()
    settle(panel, qtbot)
    assert panel.structures_about.text().endswith("on 'a': mean and SD in HU.")


def test_structures_in_a_table(
    viewer: ViewerModel, panel: MeasurePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    assert not panel.measure.isEnabled()
    assert "No labels layer is open" in panel.structures_about.text()
    volume, labels = ball_case("case_0", 0)
    add_data(viewer, *layer_data(volume, "image", {}))
    add_data(viewer, *layer_data(labels, "reference", {1: "MYO", 2: "LVC"}))
    panel.measure.click()
    settle(panel, qtbot)
    rows = list(csv.DictReader(panel.structures.csv.splitlines()))
    assert [row["name"] for row in rows] == ["MYO", "LVC"]
    for row in rows:
        inside = labels.array == int(row["label"])
        assert float(row["volume_ml"]) == pytest.approx(inside.sum() * 18 / 1000)
        assert float(row["mean"]) == pytest.approx(volume.array[inside].mean())
    assert panel.structures.table.item(0, 1).text() == f"{float(rows[0]['volume_ml']):.2f}"
    panel.structures.copy.click()
    assert QApplication.clipboard().text().splitlines()[1].split("\t")[:2] == ["1", "MYO"]
    panel.structures.save_to(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == panel.structures.csv
    other = replace(volume, array=volume.array[:, :, :-1])
    viewer.layers.remove(viewer.layers[0])
    add_data(viewer, *layer_data(other, "image", {}))
    panel.measure.click()
    settle(panel, qtbot)
    assert "has another grid and is left out" in panel.structures_about.text()
    assert next(csv.DictReader(panel.structures.csv.splitlines()))["mean"] == ""


def test_nothing_to_measure_is_said(
    viewer: ViewerModel, panel: MeasurePanel, notifications: Callable[[], list[str]]
) -> None:
    panel.tools["ruler"].click()
    assert notifications() == ["No image is open; File > Open shows one."]
    assert panel.tool == ""
    add(viewer)
    viewer.dims.ndisplay = 3
    panel.tools["ellipse"].click()
    assert notifications()[-1] == "Measurements are drawn on slices; leave the 3-D view."
    assert find(viewer, role=ROLE) is None


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0.1803, 59.012), ("0.2", "59.0")),
        ((-850.27, 12.345), ("-850.3", "12.3")),
        ((1041.7, 2345.6), ("1042", "2346")),
        ((0.5, 0.01234), ("0.5000", "0.0123")),
        ((1042.0, 0.0), ("1042", "0")),
        ((0.25, 0.0), ("0.2500", "0.0000")),
        ((0.0, 0.0), ("0.000", "0.000")),
        ((None, None), ("", "")),
    ],
)
def test_mean_and_deviation_end_at_the_same_place(
    numbers: tuple[float | None, float | None], words: tuple[str, str]
) -> None:
    assert mean_and_deviation(*numbers) == words
