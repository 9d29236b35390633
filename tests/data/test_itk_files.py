"""Data files that a MetaImage or NRRD header names: in its own folder only, plain, and as large as it declares."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_uda.core.errors import InputError
from napari_uda.data import itk
from napari_uda.data.volume import read_volume

VOXELS = np.arange(60, dtype="<i2").reshape(3, 4, 5)
META = """ObjectType = Image
NDims = 3
DimSize = {size}
ElementType = MET_SHORT
ElementSpacing = 1 1 2
{more}ElementDataFile = {data}
"""
NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: {size}
space directions: (1,0,0) (0,1,0) (0,0,2)
space origin: (0,0,0)
endian: little
encoding: {encoding}
{data}
"""


def meta(folder: Path, data: str, size: str = "5 4 3", more: str = "", name: str = "a.mhd") -> Path:
    file = folder / name
    file.write_text(META.format(data=data, size=size, more=more))
    return file


def nrrd(
    folder: Path, data: str, size: str = "5 4 3", encoding: str = "raw", name: str = "a.nhdr"
) -> Path:
    file = folder / name
    line = f"data file: {data}" if data else ""
    file.write_text(NRRD.format(data=line, size=size, encoding=encoding))
    return file


HEADERS = [meta, nrrd]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of voxels, as whole and in slices, in it, below it and beside it."""
    inside = tmp_path / "inside"
    (inside / "below").mkdir(parents=True)
    for place in (inside, inside / "below", tmp_path):
        (place / "a.raw").write_bytes(VOXELS.tobytes())
    for index, plane in enumerate(VOXELS):
        (inside / f"s{index}.raw").write_bytes(plane.tobytes())
    return inside


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    "data", ["a.raw", "./a.raw", "below/a.raw", "LIST\ns0.raw\ns1.raw\ns2.raw", "s%d.raw 0 2 1"]
)
def test_files_beside_or_below_the_header_are_read(header: object, data: str, folder: Path) -> None:
    volume = read_volume(header(folder, data))  # type: ignore[operator]
    np.testing.assert_array_equal(volume.array, VOXELS)


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    "data",
    ["../a.raw", "below/../../a.raw", "{here}/a.raw", "C:\\a.raw", "..\\a.raw", "LIST\ns0.raw\n../a.raw",
     "../s%d.raw 0 2 1"],
)  # fmt: skip
def test_files_elsewhere_are_refused_unopened(
    header: object, data: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(itk.sitk, "ImageFileReader", None)
    file = header(folder, data.format(here=folder))  # type: ignore[operator]
    with pytest.raises(InputError, match="outside of its own folder, which is not followed"):
        read_volume(file)


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("none.raw", "its data file 'none.raw' is not there"),
        ("pipe", "its data file 'pipe' is no plain file"),
        ("below", "its data file 'below' is no plain file"),
        ("s%s.raw 0 2 1", "by the pattern 's%s.raw 0 2 1', which is not known"),
        ("s%d%d.raw 0 2 1", "which is not known"),
        ("s%d.raw", "which is not known"),
        ("s%d.raw 0 99999999 1", "names 100000000 data files, more than 4096"),
    ],
)
def test_what_is_no_file_of_voxels_is_refused(
    header: object, data: str, said: str, folder: Path
) -> None:
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
    elif data == "pipe":
        pytest.skip("there are no pipes here")
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        read_volume(header(folder, data))  # type: ignore[operator]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("packed", [False, True])
def test_more_voxels_than_the_files_can_hold_are_refused_before_memory_is_taken(
    header: object, packed: bool, folder: Path
) -> None:
    """120 bytes, or 124 thousand when unpacked, and the header: a gigabyte is in neither."""
    options = {}
    if packed:
        options = {"more": "CompressedData = True\n"} if header is meta else {"encoding": "gzip"}
    file = header(folder, "a.raw", size="1024 1024 512", **options)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"at most \d+ of the declared 1073741824 bytes are there"):
        read_volume(file)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_small_file_that_declares_a_large_volume_is_refused(name: str, tmp_path: Path) -> None:
    header = meta if name == "a.mha" else nrrd
    data = "LOCAL" if header is meta else ""
    file = header(tmp_path, data, size="1024 1024 1024", name=name)
    with file.open("ab") as stream:
        stream.write(bytes(4000))
    with pytest.raises(InputError, match=r"of the declared 2147483648 bytes are there"):
        read_volume(file)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_what_itk_writes_is_read(suffix: str, compressed: bool, tmp_path: Path) -> None:
    """Constant volumes, too, which are packed about as tightly as can be."""
    for name, voxels in (("a", VOXELS), ("b", np.zeros((64, 128, 128), "i2"))):
        file = tmp_path / f"{name}{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(file), useCompression=compressed)
        np.testing.assert_array_equal(read_volume(file).array, voxels)


@pytest.mark.parametrize(
    ("data", "count"),
    [("LIST\ns0.raw\ns1.raw", 2), ("LIST", 0), ("s%d.raw 0 1 1", 2), ("s%d.raw 0 2 2", 2),
     ("LIST\ns0.raw\ns1.raw\ns2.raw\na.raw", 4)],
)  # fmt: skip
def test_a_file_for_every_slice_is_asked_for(data: str, count: int, folder: Path) -> None:
    """Without one ITK leaves the memory of its slice as it was."""
    with pytest.raises(InputError, match=f"names {count} data files and declares 3 slices"):
        read_volume(meta(folder, data))


def test_lists_say_how_many_axes_a_file_has(folder: Path) -> None:
    file = meta(folder, "LIST 2D\ns0.raw\ns1.raw\ns2.raw")
    np.testing.assert_array_equal(read_volume(file).array, VOXELS)
    with pytest.raises(InputError, match="names its data files by 'LIST 3D', which is not known"):
        read_volume(meta(folder, "LIST 3D\na.raw"))


@pytest.mark.parametrize(
    ("line", "known"),
    [("space: left-posterior-superior", True), ("space: RAS", True), ("space: scanner-xyz", False),
     ("space dimension: 3", False)],
)  # fmt: skip
def test_a_nrrd_that_does_not_say_where_its_axes_lead_is_a_guess(
    line: str, known: bool, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = nrrd(folder, "a.raw")
    file.write_text(file.read_text().replace("space: left-posterior-superior", line))
    read_volume(file)
    assert ("its orientation is a guess" in caplog.text) is not known


def test_a_meta_image_without_directions_is_a_guess(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_volume(meta(folder, "a.raw", more="TransformMatrix = 1 0 0 0 1 0 0 0 1\n"))
    assert caplog.text == ""
    read_volume(meta(folder, "a.raw"))
    assert "a.mhd: does not say how it lies in space, so its orientation is a guess" in caplog.text


def test_compressed_voxels_are_as_many_as_declared(tmp_path: Path) -> None:
    few = zlib.compress(VOXELS[1:].tobytes())
    file = meta(tmp_path, "LOCAL", more="CompressedData = True\n\n", name="a.mha")
    file.write_bytes(file.read_bytes() + few)
    with pytest.raises(InputError, match=r"its compressed data holds 80 of the declared 120 bytes"):
        read_volume(file)
    (tmp_path / "v.raw.gz").write_bytes(gzip.compress(VOXELS[:2].tobytes()))
    with pytest.raises(InputError, match=r"its compressed data holds 80 of the declared 120 bytes"):
        read_volume(nrrd(tmp_path, "v.raw.gz", encoding="gzip"))
    (tmp_path / "v.raw.gz").write_bytes(gzip.compress(VOXELS.tobytes()) + bytes(16))
    assert (read_volume(nrrd(tmp_path, "v.raw.gz", encoding="gzip")).array == VOXELS).all()
