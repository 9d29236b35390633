"""Large arrays in temporary files."""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path

import numpy as np
import pytest

from napari_uda.core import scratch
from napari_uda.core.scratch import each_plane, let_go, scratch_array


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "MAPPED_FROM", 4096)
    monkeypatch.setattr(scratch, "_HELD_AT_ONCE", 64)


def is_mapped(array: np.ndarray) -> bool:
    owner = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(getattr(owner, "obj", owner), mmap.mmap)


def test_only_a_large_array_is_mapped_and_it_keeps_what_is_written() -> None:
    assert not is_mapped(scratch_array((4, 4), np.int16))
    large = scratch_array((16, 32, 8), np.dtype("<i2"))
    assert (large.shape, large.dtype) == ((16, 32, 8), np.int16)
    assert is_mapped(large)
    large[...] = np.arange(large.size, dtype=np.int16).reshape(large.shape)
    let_go(large[3:, ::2].transpose(2, 0, 1))  # a view stands for its array
    assert np.array_equal(large.ravel(), np.arange(large.size))


def test_planes_come_in_order_and_stay_after_they_were_let_go_of() -> None:
    large = scratch_array((16, 32, 8), np.uint8)
    for index, plane in enumerate(each_plane(large)):
        plane[...] = index
    assert [int(plane[0, 0]) for plane in each_plane(large)] == list(range(16))
    assert int(large[15].sum()) == 15 * 32 * 8


def test_a_file_that_somebody_else_mapped_privately_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "values.npy"
    np.save(file, np.zeros((8, 8)))
    private = np.load(file, mmap_mode="c")
    private[...] = 1
    let_go(private)
    assert private.sum() == 64


def test_no_file_is_seen_and_without_room_the_array_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    held = scratch_array((16, 32, 8), np.uint8)
    assert is_mapped(held)
    assert list(tmp_path.iterdir()) == []

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    assert not is_mapped(scratch_array((16, 32, 8), np.uint8))
