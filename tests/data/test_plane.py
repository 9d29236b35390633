"""Slices are views, whatever order the axes of a volume have."""

import tracemalloc

import numpy as np
import pytest

from napari_uda.data.plane import count_values, plane_of


@pytest.mark.parametrize("axis", range(3))
def test_a_slice_of_a_reversed_volume_is_a_view(axis: int) -> None:
    volume = np.arange(2 * 3 * 4).reshape(2, 3, 4)[::-1, :, ::-1]
    plane = plane_of(volume, axis, 1)
    assert np.array_equal(plane, np.take(volume, 1, axis))
    assert np.shares_memory(plane, volume)


@pytest.mark.parametrize("count", [7, 200])  # each value by itself, and all at once
def test_values_are_counted_without_a_wider_copy_of_the_volume(count: int) -> None:
    labels = np.random.default_rng(0).integers(0, count, (50, 100, 100)).astype(np.uint8)
    labels = labels[::-1, ::-1]
    labels[3] = 2  # the slices have different highest values
    tracemalloc.start()
    counts = count_values(labels)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counts.tolist() == np.bincount(labels.ravel()).tolist()
    assert most < labels.nbytes
    assert count_values(labels, count + 2).tolist() == [*counts.tolist(), 0, 0]
    assert count_values(labels[:0], 3).tolist() == [0, 0, 0]
