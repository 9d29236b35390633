"""Surfaces of the View dock lie where the voxels lie, follow the legend, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gui_cases import add_data, ball_case, oblique, settle
from napari.components import ViewerModel
from napari.layers import Labels, Surface
from pytestqt.qtbot import QtBot

from napari_uda.data.volume import Volume
from napari_uda.gui.kit.canvas_legend import legend_lines
from napari_uda.gui.kit.colormaps import structure_colormap
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import METADATA, tag
from napari_uda.gui.kit.seen import shows_surfaces
from napari_uda.gui.view.surfaces import SurfacePanel

WAIT_MS = 60_000
NAMES = {1: "MYO", 2: "LVC"}


def two_balls(radius: float) -> np.ndarray:
    at = np.indices((20, 24, 40))
    labels = np.zeros((20, 24, 40), np.uint8)
    for value, middle in ((1, 10), (2, 29)):
        far = (at[0] - 10) ** 2 + (at[1] - 12) ** 2 + (at[2] - middle) ** 2
        labels[far <= radius**2] = value
    return labels


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def panel(
    viewer: ViewerModel, qtbot: QtBot, notifications: Callable[[], list[str]]
) -> Iterator[SurfacePanel]:
    widget = SurfacePanel(viewer)
    qtbot.addWidget(widget)
    widget.show()
    yield widget
    settle(widget, qtbot)
    widget.put_back()
    assert widget.words.texts == {}
    assert notifications() == []


def labels_layer(viewer: ViewerModel, labels: np.ndarray, role: str, affine: np.ndarray) -> Labels:
    (layer,) = add_data(viewer, *layer_data(Volume(labels, affine, "case_0"), role, NAMES))
    assert isinstance(layer, Labels)
    return layer


def surfaces_of(viewer: ViewerModel) -> dict[int, Surface]:
    return {tag(one)["value"]: one for one in viewer.layers if isinstance(one, Surface)}


def show(panel: SurfacePanel, qtbot: QtBot) -> None:
    panel.show_surfaces.click()
    settle(panel, qtbot)


@pytest.mark.parametrize("turned", [False, True])
def test_surfaces_enclose_the_voxels_where_they_are_drawn(
    viewer: ViewerModel, panel: SurfacePanel, qtbot: QtBot, turned: bool
) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    layer = labels_layer(viewer, two_balls(7), "prediction", oblique(affine) if turned else affine)
    show(panel, qtbot)
    found = surfaces_of(viewer)
    assert sorted(found) == [1, 2]
    assert viewer.dims.ndisplay == 3
    camera, extent = viewer.scene.camera, viewer.layers.get_extent(list(found.values())).world
    up, ahead = np.array(camera.up_direction), np.array(camera.view_direction)
    seen = np.abs([up, np.cross(ahead, up)]) @ np.ptp(extent, axis=0) * camera.zoom
    assert (seen <= viewer.canvas.size).all()
    assert (seen / viewer.canvas.size).max() > 0.9
    for value, surface in found.items():
        world = np.array([surface.data_to_world(one) for one in surface.data[0][::7]])
        voxels = np.array([layer.data_to_world(one) for one in np.argwhere(layer.data == value)])
        assert np.abs(world.mean(axis=0) - voxels.mean(axis=0)).max() < 0.5
        outside = np.maximum(voxels.min(axis=0) - world, world - voxels.max(axis=0))
        assert outside.max() < 1.1
        assert outside.max() > 0
        np.testing.assert_allclose(surface.scale, layer.scale)
        assert surface.units == layer.units


def test_surfaces_have_the_colours_and_the_eyes_of_the_legend(
    viewer: ViewerModel, panel: SurfacePanel, qtbot: QtBot
) -> None:
    layer = labels_layer(viewer, two_balls(7), "prediction", np.eye(4))
    layer.colormap = structure_colormap(NAMES, [2])
    show(panel, qtbot)
    found = surfaces_of(viewer)
    assert (found[1].visible, found[2].visible) == (True, False)
    np.testing.assert_allclose(found[1].colormap.colors[0][:3], layer.get_color(1)[:3], atol=1e-3)
    layer.colormap = structure_colormap(NAMES, [])
    legend = [line.text for line in legend_lines(list(viewer.layers))]
    assert legend == ["■ left ventricle myocardium", "■ left ventricle cavity"]
    assert shows_surfaces(viewer)
    layer.colormap = structure_colormap(NAMES, [1])
    assert (found[1].visible, found[2].visible) == (False, True)
    np.testing.assert_allclose(found[2].colormap.colors[0][:3], layer.get_color(2)[:3], atol=1e-3)


def test_distance_to_the_reference_is_painted_in_millimetres(
    viewer: ViewerModel, panel: SurfacePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    labels_layer(viewer, two_balls(4), "reference", np.eye(4))
    labels_layer(viewer, two_balls(7), "prediction", np.eye(4))
    show(panel, qtbot)
    panel.distance.click()
    assert list(legend_lines(list(viewer.layers))) == []  # the bar explains what is painted
    for surface in surfaces_of(viewer).values():
        values = surface.data[2]
        assert values.mean() == pytest.approx(3, abs=0.2)  # balls of 7 and 4 mm
        assert (values > 0).all()
        assert tuple(surface.contrast_limits) == (-5, 5)
    assert [one.colorbar.visible for one in surfaces_of(viewer).values()] == [True, False]
    text = panel.words.texts["distance"]
    assert "(mm)" in text
    assert "beyond" not in text  # all of 3 mm lies within 5
    assert (
        "3.0 mm from the reference on average" in panel.status.text()
        or "2.9 mm" in panel.status.text()
    )
    panel.save_into(tmp_path)
    settle(panel, qtbot)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["case_0_LVC.ply", "case_0_MYO.ply"]
    panel.distance.click()
    assert not any(one.colorbar.visible for one in surfaces_of(viewer).values())


def test_what_is_far_off_does_not_whiten_the_rest(
    viewer: ViewerModel, panel: SurfacePanel, qtbot: QtBot
) -> None:
    """Of two balls the reference has one, and there the prediction is a millimetre off."""
    reference, both = two_balls(7), two_balls(8)
    labels_layer(viewer, np.where(reference == 1, 1, 0).astype(np.uint8), "reference", np.eye(4))
    labels_layer(viewer, (both > 0).astype(np.uint8), "prediction", np.eye(4))
    show(panel, qtbot)
    panel.distance.click()
    (surface,) = surfaces_of(viewer).values()
    distances = surface.data[2]
    assert distances.max() > 12
    assert tuple(surface.contrast_limits) == (-10, 10)
    text = panel.words.texts["distance"]
    share = 100 * (distances > 10).mean()
    assert (
        f"darkest: beyond 10 mm ({share:.0f} % of the points, at most {distances.max():.1f} mm)"
        in text
    )


def test_what_the_reference_lacks_keeps_its_colour_and_is_named(
    viewer: ViewerModel, panel: SurfacePanel, qtbot: QtBot
) -> None:
    both = two_balls(7)
    labels_layer(viewer, np.where(both == 1, 1, 0).astype(np.uint8), "reference", np.eye(4))
    layer = labels_layer(viewer, both, "prediction", np.eye(4))
    layer.colormap = structure_colormap(NAMES, [2])  # hidden at first
    show(panel, qtbot)
    assert panel.status.text().endswith(
        " Not in the reference, so without a distance: left ventricle cavity."
    )
    panel.distance.click()
    layer.colormap = structure_colormap(NAMES, [])
    painted, plain = surfaces_of(viewer)[1], surfaces_of(viewer)[2]
    assert painted.colormap.name == "distance"
    assert plain.visible
    np.testing.assert_allclose(plain.colormap.colors[0][:3], layer.get_color(2)[:3], atol=1e-3)
    assert [line.text for line in legend_lines(list(viewer.layers))] == ["■ left ventricle cavity"]


def test_surfaces_of_labels_that_were_edited_say_so(
    viewer: ViewerModel, panel: SurfacePanel, qtbot: QtBot
) -> None:
    layer = labels_layer(viewer, two_balls(7), "prediction", np.eye(4))
    show(panel, qtbot)
    assert panel.status.text() == "2 surfaces."
    layer.data = np.flip(layer.data, 0).copy()
    assert panel.status.text().startswith("The labels were changed since")
    panel.show_surfaces.click()
    assert panel.status.text() == ""


def test_leaving_brings_everything_back(
    viewer: ViewerModel, panel: SurfacePanel, qtbot: QtBot
) -> None:
    volume, _ = ball_case("case_0", 0)
    (image,) = add_data(viewer, *layer_data(volume, "image", {}))
    layer = labels_layer(viewer, two_balls(7), "prediction", np.eye(4))
    hidden = labels_layer(viewer, two_balls(5), "reference", np.eye(4))
    hidden.visible = False
    viewer.layers.selection.active = layer
    viewer.dims.set_current_step(0, 3)
    viewer.scene.camera.zoom, viewer.scene.camera.center = 7.5, (0.0, 4.0, 9.0)
    camera = viewer.scene.camera
    place = viewer.dims.point, camera.zoom, camera.center, camera.angles
    show(panel, qtbot)
    assert not image.visible
    assert not layer.visible
    panel.show_surfaces.click()
    assert surfaces_of(viewer) == {}
    assert viewer.dims.ndisplay == 2
    assert (image.visible, layer.visible, hidden.visible) == (True, True, False)
    assert viewer.layers.selection.active is layer  # the brush still paints on it
    assert (viewer.dims.point, camera.zoom, camera.center, camera.angles) == place
    show(panel, qtbot)
    viewer.layers.remove(layer)  # surfaces go with what they are of
    assert surfaces_of(viewer) == {}
    assert not panel.show_surfaces.isChecked()
    assert image.visible


def test_without_structures_the_button_says_why(
    viewer: ViewerModel, panel: SurfacePanel, qtbot: QtBot
) -> None:
    assert not panel.show_surfaces.isEnabled()
    assert "segment an image" in panel.show_surfaces.toolTip()
    layer = labels_layer(viewer, np.zeros((4, 5, 6), np.uint8), "prediction", np.eye(4))
    assert tag(layer) == layer.metadata[METADATA]
    show(panel, qtbot)
    assert "no voxels of any structure" in panel.status.text()
    assert layer.visible
