"""`uda.show`: where the layers lie, what they carry, and that a second run changes them in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pint
import pytest
from gui_cases import add_data, ball_case
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pint.registry import LazyRegistry

import napari_uda as uda
from napari_uda.core.structure_colours import RELIABLE_COLOUR, UNRELIABLE_COLOUR
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.volume import Volume, read_volume
from napari_uda.gui.kit.files import layer_data, write_layer
from napari_uda.gui.kit.geometry import METADATA, layer_volume
from napari_uda.gui.kit.grid import Grid, SideBySide
from napari_uda.gui.kit.layers import preload, show
from napari_uda.inference.predict import Prediction

GEOMETRY = ("scale", "translate", "rotate", "shear", "units", "axis_labels")


def rgb(colour: str) -> list[float]:
    """`#RRGGBB` as red, green and blue in [0, 1]."""
    return [part / 255 for part in bytes.fromhex(colour[1:])]


def assert_same_place(layer: Image | Labels, source: Image | Labels) -> None:
    for name in GEOMETRY:
        np.testing.assert_array_equal(getattr(layer, name), getattr(source, name))
    np.testing.assert_array_equal(layer.affine.affine_matrix, source.affine.affine_matrix)


def test_show_is_part_of_the_python_interface() -> None:
    assert uda.show is show


def test_four_layers_in_one_place_with_their_roles(made_prediction: Prediction) -> None:
    viewer = ViewerModel()
    layers = show(viewer, made_prediction)
    assert list(viewer.layers) == layers
    roles = [layer.metadata[METADATA]["role"] for layer in layers]
    assert roles == ["image", "prediction", "entropy", "reliability"]
    for layer in layers:
        assert_same_place(layer, layers[0])
    assert [str(unit) for unit in layers[0].units] == ["millimeter"] * 3
    assert [layer.visible for layer in layers] == [True, True, False, False]
    np.testing.assert_allclose(layers[0].scale, (8, 1.5, 1.5))


def test_values_names_and_colours(made_prediction: Prediction) -> None:
    _, prediction, entropy, reliability = show(ViewerModel(), made_prediction)
    for layer, array in (
        (prediction, made_prediction.labels),
        (entropy, made_prediction.entropy),
        (reliability, made_prediction.reliability),
    ):
        np.testing.assert_array_equal(layer_volume(layer).array, array)
    assert list(prediction.features["structure"]) == [
        "background",
        "left ventricle myocardium",
        "left ventricle cavity",
    ]
    assert tuple(entropy.contrast_limits) == (0, 1)
    assert list(reliability.features["structure"]) == ["background", "reliable", "unreliable"]
    blue, orange = reliability.get_color(1), reliability.get_color(2)
    np.testing.assert_allclose(blue[:3], rgb(RELIABLE_COLOUR), atol=1e-2)
    np.testing.assert_allclose(orange[:3], rgb(UNRELIABLE_COLOUR), atol=1e-2)


def test_colour_bar_comes_with_the_map_and_goes_with_the_user(
    made_prediction: Prediction,
) -> None:
    entropy = show(ViewerModel(), made_prediction)[2]
    assert not entropy.colorbar.visible  # 50 ms for something that is hidden
    entropy.visible = True
    assert entropy.colorbar.visible
    entropy.colorbar.visible = False
    entropy.visible = False
    entropy.visible = True
    assert not entropy.colorbar.visible


def test_name_under_the_cursor(made_prediction: Prediction) -> None:
    prediction = show(ViewerModel(), made_prediction)[1]
    where = np.argwhere(prediction.data == 2)[0]
    status = prediction.get_status(prediction.data_to_world(where), world=True)
    assert status["coordinates"].endswith("2; structure: left ventricle cavity")


def test_second_prediction_updates_the_layers_in_place(made_prediction: Prediction) -> None:
    viewer = ViewerModel()
    first = show(viewer, made_prediction)
    first[1].name = "renamed by the user"
    again = replace(made_prediction, labels=np.zeros_like(made_prediction.labels))
    second = show(viewer, again)
    assert [new is old for new, old in zip(second, first, strict=True)] == [True] * 4
    assert len(viewer.layers) == 4
    assert not second[1].data.any()
    other_run = show(viewer, replace(made_prediction, model=ModelOrigin("other")))
    assert len(viewer.layers) == 7
    assert other_run[0] is first[0]


def test_image_that_is_open_already_is_used(made_prediction: Prediction) -> None:
    viewer = ViewerModel()
    (opened,) = add_data(viewer, *layer_data(made_prediction.volume, "image", {}))
    assert show(viewer, made_prediction)[0] is opened
    assert len(viewer.layers) == 4


def test_results_follow_a_source_layer_of_others(
    made_prediction: Prediction, tmp_path: Path
) -> None:
    viewer = ViewerModel()
    turned = np.eye(4)
    turned[1:3, 1:3] = [[0.8, -0.6], [0.6, 0.8]]
    data = made_prediction.volume.array
    source = viewer.add_image(
        data, name="foreign", scale=(3, 1, 1), translate=(5, 6, 7), affine=turned
    )
    volume = layer_volume(source)
    prediction = replace(made_prediction, volume=volume, case=volume.name)
    layers = show(viewer, prediction, source)
    assert layers[0] is source
    for layer in layers[1:]:
        assert_same_place(layer, source)
        np.testing.assert_allclose(layer_volume(layer).affine, volume.affine)
    np.testing.assert_array_equal(layers[1].data, made_prediction.labels)
    (path,) = write_layer(tmp_path / "foreign.nii.gz", layers[1])
    np.testing.assert_allclose(read_volume(path).affine, volume.affine, atol=1e-5)


@pytest.mark.parametrize("diagonal", [(-1.5, -1.5, 8.0), (1.5, -1.5, -8.0), (1.5, 1.5, 8.0)])
def test_saved_prediction_lies_on_the_grid_of_the_image(
    diagonal: tuple[float, ...], made_prediction: Prediction, tmp_path: Path
) -> None:
    affine = np.diag([*diagonal, 1.0])
    image, labels = ball_case("case_0", 0, affine)
    prediction = replace(made_prediction, volume=image, labels=labels.array)
    layer = show(ViewerModel(), prediction)[1]
    (path,) = write_layer(tmp_path / "out.nii.gz", layer)
    saved = read_volume(path)
    np.testing.assert_array_equal(saved.array, labels.array)
    np.testing.assert_array_equal(saved.affine, affine)
    assert saved.array.dtype == np.uint8


def test_reference_becomes_an_outline_beside_a_prediction(made_prediction: Prediction) -> None:
    viewer = ViewerModel()
    reference = Volume(made_prediction.labels, made_prediction.volume.affine, "case_0")
    (layer,) = add_data(viewer, *layer_data(reference, "reference", {1: "MYO"}))
    assert layer.contour == 0
    show(viewer, made_prediction)
    assert layer.contour == 1


def test_side_by_side_and_back(made_prediction: Prediction) -> None:
    viewer = ViewerModel()
    other = viewer.add_image(np.zeros((2, 2, 2)), name="other")
    image, *results = show(viewer, made_prediction)
    before = [(layer, layer.visible) for layer in viewer.layers]
    views = SideBySide(viewer, image, results)
    for _ in views.enter():
        pass
    grid = viewer.canvas.grid
    assert (grid.enabled, grid.stride, tuple(grid.shape)) == (
        True,
        3,
        (2, 2),
    )  # a place for the legend
    assert [layer for layer in viewer.layers if layer in results] == results
    assert not other.visible
    copies = [
        layer
        for layer in viewer.layers
        if layer.metadata.get(METADATA, {}).get("role") == "background"
    ]
    image.contrast_limits = (10, 90)
    assert [tuple(copy.contrast_limits) for copy in copies] == [(10, 90), (10, 90)]
    views.leave()
    assert [(layer, layer.visible) for layer in viewer.layers] == before
    assert not grid.enabled


def test_rows_and_columns_follow_the_size_of_the_canvas(made_prediction: Prediction) -> None:
    viewer = ViewerModel()
    image, *results = show(viewer, made_prediction)
    views, grid, camera = (
        SideBySide(viewer, image, results),
        viewer.canvas.grid,
        viewer.scene.camera,
    )
    viewer.canvas.size = (600, 800)
    for _ in views.enter():
        viewer.canvas.size = (500, 2500)  # a window that opens grows meanwhile
    assert tuple(grid.shape) == (1, 4)
    viewer.canvas.size = (2500, 500)
    assert tuple(grid.shape) == (4, 1)
    camera.zoom = zoom = camera.zoom * 3
    viewer.canvas.size = (2490, 500)
    assert camera.zoom == zoom  # the same rows and columns: where one looks stays
    viewer.canvas.size = (600, 800)
    assert tuple(grid.shape) == (2, 2)
    assert camera.zoom < zoom  # all is seen again
    views.leave()
    viewer.canvas.size = (500, 2500)
    assert tuple(grid.shape) == (-1, -1)


def test_units_are_made_aside_by_a_thread() -> None:
    """Another thread that makes a layer meanwhile sees none of them or all."""
    registry = pint.get_application_registry()
    before, lazy = registry.get(), LazyRegistry()
    try:
        registry.set(lazy)
        preload()
        assert type(lazy) is LazyRegistry  # nobody saw it half made
        assert registry.get() is not lazy
        assert str(Image(np.zeros((2, 2))).units[0]) == "pixel"
    finally:
        registry.set(before)


def test_a_layer_may_go_while_the_grid_is_entered() -> None:
    viewer = ViewerModel()
    first, second = Image(np.zeros((2, 4, 4))), Image(np.ones((2, 4, 4)))
    steps = Grid(viewer, [[first], [second]]).enter()
    next(steps)
    next(steps)
    viewer.layers.remove(first)
    for _ in steps:
        pass
    assert list(viewer.layers) == [second]
    assert viewer.canvas.grid.enabled
