"""A volume on another grid: right by hand, at the same place in space, and in its own type."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_uda.core.errors import Cancelled
from napari_uda.data.resample import resampled
from napari_uda.data.volume import Volume


def test_half_a_voxel_to_the_side_is_the_mean_of_two() -> None:
    values = np.array([[[0, 10, 20, 40]]], np.int16)
    shifted = np.eye(4)
    shifted[0, 3] = 0.5
    grid = Volume(np.zeros((1, 1, 4), np.uint8), shifted)
    found = resampled(Volume(values, np.eye(4), "a"), grid, labels=False)
    assert found.array.tolist() == [[[5, 15, 30, 0]]]  # outside: the smallest value
    assert (found.array.dtype, found.name) == (np.int16, "a")
    np.testing.assert_array_equal(found.affine, shifted)
    labels = resampled(Volume(values, np.eye(4)), grid, labels=True)
    assert set(labels.array.ravel().tolist()) <= {0, 10, 20, 40}


def test_axes_in_another_order_are_exact() -> None:
    values = np.random.default_rng(0).integers(0, 99, (3, 4, 5)).astype(">i2")
    volume = Volume(values, np.diag([-1.5, 2.0, 3.0, 1.0]))
    grid = volume.canonical()
    for labels in (True, False):
        found = resampled(volume, grid, labels=labels)
        np.testing.assert_array_equal(found.array, grid.array)


def test_what_is_linear_in_space_stays_so_on_a_turned_grid() -> None:
    volume = Volume(np.zeros((20, 24, 28), np.float32), turned(20, (2.0, 1.5, 1.0), (20, 24, 28)))
    z, y, x = np.indices(volume.array.shape)
    places = np.stack([x, y, z, np.ones_like(x)], -1) @ volume.affine.T
    volume.array[:] = places[..., :3] @ (1.0, -2.0, 0.5) + 1000
    grid = Volume(np.zeros((8, 8, 8), np.uint8), np.diag([1.0, 1.0, 1.0, 1.0]) - 3.5 * shift())
    found = resampled(volume, grid, labels=False)
    z, y, x = np.indices(grid.array.shape)
    places = np.stack([x, y, z, np.ones_like(x)], -1) @ grid.affine.T
    np.testing.assert_allclose(found.array, places[..., :3] @ (1.0, -2.0, 0.5) + 1000, atol=1e-2)


def turned(degrees: float, steps: tuple[float, float, float], shape: tuple[int, ...]) -> np.ndarray:
    """An affine turned about x, the middle of the volume at the origin."""
    angle = np.deg2rad(degrees)
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(steps)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def shift() -> np.ndarray:
    moved = np.zeros((4, 4))
    moved[:3, 3] = 1
    return moved


def test_it_can_be_stopped() -> None:
    stop = threading.Event()
    stop.set()
    volume = Volume(np.zeros((2, 2, 2)), np.eye(4))
    with pytest.raises(Cancelled):
        resampled(volume, volume, labels=True, stop=stop)
