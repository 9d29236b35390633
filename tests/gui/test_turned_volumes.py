"""Volumes turned against each other: told in millimetres, and put on one grid for the eye alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gui_cases import add_data, settle
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume
from napari_uda.gui.kit.files import layer_data, write_layer
from napari_uda.gui.kit.geometry import METADATA, tag
from napari_uda.gui.kit.layers import DISPLAY, find, is_volume
from napari_uda.gui.view.dock import ViewDock
from napari_uda.gui.view.turned_volumes import misplaced

LANDMARK = np.array([20.0, -15.0, 12.0])  # RAS+ mm


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def volume(degrees: float, name: str, centre: tuple[float, float, float] = (0, 0, 0)) -> Volume:
    """40 voxels of 2 mm each way, turned about x, with a bright ball round the landmark."""
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] *= 2.0
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ np.full(3, 19.5)
    values = np.zeros((40, 40, 40), np.int16)
    z, y, x = np.indices(values.shape)
    places = np.stack([x, y, z, np.ones_like(x)], -1) @ affine.T
    values[np.linalg.norm(places[..., :3] - LANDMARK, axis=-1) < 7] = 100
    return Volume(values, affine, name)


def add(viewer: ViewerModel, one: Volume, role: str = "image") -> Image | Labels:
    (layer,) = add_data(viewer, *layer_data(one, role, {100: "mark"}))
    assert isinstance(layer, (Image, Labels))
    return layer


def mark_at(layer: Image | Labels) -> np.ndarray:
    """Where the viewer draws the middle of the bright voxels."""
    where = np.argwhere(np.asarray(layer.data) > 50).mean(0)
    return np.asarray(layer.data_to_world(where))


def test_the_distance_is_told(viewer: ViewerModel) -> None:
    straight, tilted = add(viewer, volume(0, "case")), add(viewer, volume(30, "case"))
    (found,) = misplaced(viewer)
    assert {found.layer, found.reference} == {straight, tilted}
    # a corner lies 39 mm off in y and in z: a turn by 30 degrees moves it by the chord
    assert found.most_mm == pytest.approx(39 * np.sqrt(2) * 2 * np.sin(np.deg2rad(15)), abs=0.01)
    assert found.sentence.endswith(
        "mm from its place beside 'case': their axes are turned against each other."
    )
    tilted.visible = False
    assert misplaced(viewer) == []


def test_tilted_alike_about_other_centres_is_misplaced_too(viewer: ViewerModel) -> None:
    add(viewer, volume(30, "case"))
    add(viewer, volume(30, "case", (0, 20, 0)))
    (found,) = misplaced(viewer)
    # each is turned back about its own centre, so their centres move apart by the chord of 20 mm
    assert found.most_mm == pytest.approx(20 * 2 * np.sin(np.deg2rad(15)), abs=0.01)


def test_what_is_drawn_where_it_lies_is_left_alone(viewer: ViewerModel) -> None:
    one = volume(0, "case")
    add(viewer, one)
    add(viewer, volume(0, "case", (4, 20, -6)))
    add(viewer, one.canonical())
    viewer.add_image(np.zeros((5, 5, 5)), name="of others")
    assert misplaced(viewer) == []
    other = add(viewer, volume(30, "other"))
    (found,) = misplaced(viewer)
    assert " if both are of one patient:" in found.sentence
    for layer, frame in ((viewer.layers[0], "1.2.3"), (other, "1.2.4")):
        own = {**tag(layer), "frame": frame}
        layer.metadata = {METADATA: own}
    other_frames = [one.layer for one in misplaced(viewer) if one.reference is viewer.layers[0]]
    assert other not in other_frames  # two scanners' spaces


def test_resampled_for_display(
    viewer: ViewerModel, qtbot: QtBot, notifications: Callable[[], list[str]], tmp_path: Path
) -> None:
    dock = ViewDock(viewer)
    dock.resize(320, 900)
    dock.show()
    straight, labels = volume(0, "case"), volume(30, "case")
    image, tilted = add(viewer, straight), add(viewer, labels, "reference")

    settle(dock, qtbot)
    assert dock.turned.isVisible()
    assert len(notifications()) == 1
    assert "View offers to resample it for display." in notifications()[0]
    off = np.linalg.norm(mark_at(tilted) - mark_at(image))
    assert off > 5
    dock.turned.resample.click()
    settle(dock, qtbot)
    copy = find(viewer, role=DISPLAY)
    assert isinstance(copy, Labels)
    assert copy.name == f"{tilted.name} (resampled for display)"
    assert set(np.unique(copy.data)) == {0, 100}
    assert np.linalg.norm(mark_at(copy) - mark_at(image)) < 0.5  # a quarter of a voxel
    assert not tilted.visible
    assert not dock.turned.isVisible()
    assert viewer.layers.index(copy) == viewer.layers.index(tilted) + 1
    with pytest.raises(InputError, match="was resampled to be looked at; save the layer"):
        write_layer(tmp_path / "copy.nii.gz", copy)
    tilted.data = tilted.data.copy()  # other values: the copy would not be true
    settle(dock, qtbot)
    assert find(viewer, role=DISPLAY) is None
    assert tilted.visible
    dock.turned.resample.click()
    settle(dock, qtbot)
    viewer.layers.remove(tilted)
    settle(dock, qtbot)
    assert list(viewer.layers) == [image]
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()


def test_an_image_is_interpolated_and_stays_no_image_of_the_others(
    viewer: ViewerModel, qtbot: QtBot
) -> None:
    dock = ViewDock(viewer)
    fine = volume(0, "case")
    add(viewer, fine)
    tilted = add(viewer, volume(30, "case"))
    tilted.contrast_limits = (0, 70)
    settle(dock, qtbot)
    (found,) = misplaced(viewer)
    dock.turned.resample.click()
    settle(dock, qtbot)
    copy = find(viewer, role=DISPLAY)
    assert isinstance(copy, Image)
    assert copy.data.dtype == np.int16
    assert np.linalg.norm(mark_at(copy) - mark_at(found.reference)) < 0.5
    assert not is_volume(copy)  # Segment, Train and Translate list it nowhere
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()
