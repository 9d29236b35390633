"""Readers tell how far they are, and stop when the listener says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import planes, write_slices

from napari_uda.core.errors import Cancelled
from napari_uda.core.progress import tell, told
from napari_uda.data.volume import Volume, read_volume, write_volume


def test_nobody_listens_outside() -> None:
    heard: list[tuple[int, int]] = []
    tell(1, 2)
    with told(lambda done, total: heard.append((done, total))):
        tell(1, 2)
        with told(lambda *_: None):
            tell(9, 9)
        tell(2, 2)
    tell(3, 3)
    assert heard == [(1, 2), (2, 2)]


def test_a_compressed_file_tells_how_many_voxels_are_there(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 1000, (20, 128, 256)).astype(np.int16)
    write_volume(tmp_path / "a.nii.gz", Volume(array, np.eye(4)))
    heard: list[tuple[int, int]] = []
    with told(lambda done, total: heard.append((done, total))):
        read_volume(tmp_path / "a.nii.gz")
    assert heard[-1] == (array.nbytes, array.nbytes)
    assert len(heard) > 1
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_a_listener_stops_the_reader(tmp_path: Path, kind: str) -> None:
    if kind == "nifti":
        path = tmp_path / "a.nii.gz"
        write_volume(path, Volume(np.zeros((20, 128, 256), np.int16), np.eye(4)))
    else:
        path = write_slices(tmp_path / "ct", planes(3), [0.0, 3, 6])

    def stop(*_: int) -> None:
        raise Cancelled

    with told(stop), pytest.raises(Cancelled):
        read_volume(path)
