"""A coarser copy stands in for a large volume in 3-D, lies where it lies, and goes again in 2-D."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject

from napari_uda.gui.kit import large_in_3d
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.large_in_3d import CoarseIn3D, coarse_steps

WAIT_MS = 60_000
SHAPE = (12, 40, 44)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def guard(
    viewer: ViewerModel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CoarseIn3D]:
    monkeypatch.setattr(large_in_3d, "_COARSE_VOXELS", 3000)
    parent = QObject()
    found = CoarseIn3D(viewer, parent, largest_voxels=20_000)
    yield found
    settle(found, qtbot)
    with qtbot.waitSignal(parent.destroyed):
        parent.deleteLater()
    viewer.dims.ndisplay = 3  # nothing listens any more
    assert coarse_layers(viewer) == []


def settle(guard: CoarseIn3D, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: guard.is_settled, timeout=WAIT_MS)


def coarse_layers(viewer: ViewerModel) -> list[Image]:
    return [layer for layer in viewer.layers if tag(layer).get("role") == large_in_3d.ROLE]


def test_large_volumes_are_replaced_in_3d_alone(
    viewer: ViewerModel, guard: CoarseIn3D, qtbot: QtBot
) -> None:
    data = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    scale = {"scale": (3, 1, 1), "translate": (5, 6, 7), "units": ("mm",) * 3}
    image = viewer.add_image(data, **scale, contrast_limits=(5, 99), colormap="magma", name="ct")
    labels = viewer.add_labels((data > 9).astype(np.uint8), **scale)
    small = viewer.add_image(data[:, :20, :20], **scale)
    hidden = viewer.add_image(data, visible=False)
    viewer.dims.ndisplay = 3
    assert [one.visible for one in (image, labels, small, hidden)] == [False, False, True, False]
    settle(guard, qtbot)
    of_image, of_labels = coarse_layers(viewer)
    assert of_image.data.size <= 3000
    assert isinstance(of_labels, Labels)
    assert tuple(of_image.contrast_limits) == (5, 99)
    assert of_image.colormap.name == "magma"
    assert of_image.name == "helper: ct, coarser"
    assert tag(of_image)["helper"]
    image.contrast_limits = (7, 90)  # as the View dock does, for the hidden one
    labels.opacity = 0.3
    assert tuple(of_image.contrast_limits) == (7, 90)
    assert of_labels.opacity == 0.3
    for index in ((0, 0, 0), tuple(n - 1 for n in of_image.data.shape)):
        there = tuple(np.round(image.world_to_data(of_image.data_to_world(index))).astype(int))
        assert of_image.data[index] == data[there]
        assert of_labels.data[index] == labels.data[there]
    viewer.dims.ndisplay = 2
    assert coarse_layers(viewer) == []
    assert [one.visible for one in (image, labels, small, hidden)] == [True, True, True, False]


def test_volumes_that_come_and_go_in_3d(
    viewer: ViewerModel, guard: CoarseIn3D, qtbot: QtBot
) -> None:
    viewer.dims.ndisplay = 3
    image = viewer.add_image(np.zeros(SHAPE, np.uint8))
    settle(guard, qtbot)
    assert not image.visible
    assert len(coarse_layers(viewer)) == 1
    viewer.layers.remove(image)
    assert coarse_layers(viewer) == []


def test_going_back_while_the_copy_is_made_leaves_no_copy(
    viewer: ViewerModel, guard: CoarseIn3D, qtbot: QtBot
) -> None:
    image = viewer.add_image(np.zeros(SHAPE, np.uint8))
    viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2
    settle(guard, qtbot)
    assert image.visible
    assert coarse_layers(viewer) == []


def test_steps_make_voxels_as_cubic_as_can_be() -> None:
    steps = coarse_steps((300, 512, 512), np.array([1.5, 0.8, 0.8]))
    assert np.prod([-(-n // step) for n, step in zip((300, 512, 512), steps, strict=True)]) <= 2e6
    sizes = np.array(steps) * [1.5, 0.8, 0.8]
    assert sizes.max() / sizes.min() < 1.6
    assert coarse_steps((10, 10, 10), np.ones(3)) == (1, 1, 1)
