"""Readers tell how far they are, and stop when the listener says so."""

from __future__ import annotations

import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import planes, write_slices

from napari_uda.core.errors import Cancelled
from napari_uda.core.progress import tell, told, watched
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


@pytest.mark.parametrize("kind", ["nifti", "dicom", ".mgz", ".nrrd", ".mha"])
def test_a_listener_stops_the_reader(tmp_path: Path, kind: str) -> None:
    if kind == "nifti":
        path = tmp_path / "a.nii.gz"
        write_volume(path, Volume(np.zeros((20, 128, 256), np.int16), np.eye(4)))
    elif kind == ".mgz":
        path = tmp_path / "a.mgz"
        nib.save(nib.MGHImage(np.zeros((4, 3, 2), np.int16), np.eye(4)), path)
    elif kind != "dicom":
        path = tmp_path / f"a{kind}"
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16)), str(path))
    else:
        path = write_slices(tmp_path / "ct", planes(3), [0.0, 3, 6])

    def stop(*_: int) -> None:
        raise Cancelled

    with told(stop), pytest.raises(Cancelled):
        read_volume(path)


def test_a_library_that_tells_nothing_is_watched_in_its_file(tmp_path: Path) -> None:
    first, second = tmp_path / "a.raw", tmp_path / "b.raw"
    first.write_bytes(b"1" * 300)
    second.write_bytes(b"2" * 100)
    go_on, seen = threading.Event(), list[tuple[int, int]]()

    def read() -> int:
        with second.open("rb", buffering=0) as stream:
            stream.read(40)
            assert go_on.wait(60)
            return len(stream.read())

    def listen(done: int, total: int) -> None:
        seen.append((done, total))
        go_on.set()

    with told(listen):
        assert watched([first, second], read) == 60
    known = Path("/proc/self/fdinfo").exists()
    assert seen[0] == ((340, 400) if known else (0, 0))


def test_a_library_that_cannot_be_stopped_is_left_alone(tmp_path: Path) -> None:
    go_on = threading.Event()

    def listen(_done: int, _total: int) -> None:
        raise Cancelled

    with told(listen), pytest.raises(Cancelled):
        watched([], lambda: go_on.wait(60))
    go_on.set()
    with told(lambda *_: None), pytest.raises(ZeroDivisionError):  # errors are those of the reader
        watched([], lambda: 1 // 0)
