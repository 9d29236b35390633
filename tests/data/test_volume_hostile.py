from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume, read_labels, read_volume, write_volume

DIM, DATATYPE, PIXDIM, VOX_OFFSET = 40, 70, 76, 108
SLOPE, FORM_CODES, QUATERNION, QOFFSET, SROW, MAGIC = 112, 252, 256, 268, 280, 344


def nifti_bytes(shape: tuple[int, ...] = (5, 4, 3), dtype: str = "<i2") -> bytearray:
    """A sound little-endian NIfTI-1 file with 1.5 mm voxels, sform and qform."""
    image = nib.Nifti1Image(
        np.arange(np.prod(shape)).reshape(shape).astype(dtype), np.diag([1.5, 1.5, 1.5, 1])
    )
    image.set_qform(image.affine, 1)
    return bytearray(image.to_bytes())


def patched(*patches: tuple[int, str, list[float]], base: bytearray | None = None) -> bytes:
    content = nifti_bytes() if base is None else bytearray(base)
    for offset, dtype, values in patches:
        piece = np.array(values, dtype).tobytes()
        content[offset : offset + len(piece)] = piece
    return bytes(content)


def refused(path: Path) -> str:
    """The sentence `read_volume` refuses a file with: one line, naming the file, with a remedy."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path.name}: "), sentence
    assert "\n" not in sentence
    assert "; " in sentence
    assert not sentence.endswith(".")
    return sentence


def said_of(folder: Path, content: bytes, name: str = "case.nii") -> str:
    path = folder / name
    path.write_bytes(content)
    return refused(path)


def test_the_base_file_is_sound(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti_bytes())
    assert read_volume(tmp_path / "a.nii").array[2, 3, 4] == 59


# the header


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ((DIM, "<i2", [3, 32767, 32767, 32767]), "size 32767 x 32767 x 32767, and 32767 lies outside 1 to 4096"),
        ((DIM, "<i2", [3, 4096, 4096, 4096]), "128.0 GiB of voxels (size 4096 x 4096 x 4096), more than 2 GiB"),
        ((DIM, "<i2", [3, 5, -4, 3]), "size 5 x -4 x 3, and -4 lies outside 1 to 4096"),
        ((DIM, "<i2", [3, 5, 0, 3]), "holds no voxels (size 5 x 0 x 3)"),
        ((DIM, "<i2", [2, 5, 4, 3]), "is 2-D (size 5 x 4) where a 3-D volume is needed"),
        ((DIM, "<i2", [4, 5, 4, 1, 3]), "is 4-D (size 5 x 4 x 1 x 3) where a 3-D volume is needed; extract one"),
        ((DIM, "<i2", [5, 5, 4, 1, 1, 3]), "is 5-D (size 5 x 4 x 1 x 1 x 3)"),
        ((DIM, "<i2", [0, 5, 4, 3]), "declares 0 axes (dim[0])"),
        ((DIM, "<i2", [9, 5, 4, 3]), "declares 9 axes (dim[0])"),
        ((DIM, "<i2", [-3, 5, 4, 3]), "declares -3 axes (dim[0])"),
        ((DIM, "<i2", [3, 5, 4, 30]), "is truncated or its header is wrong (at most 472 of the declared 1552 bytes"),
        ((DATATYPE, "<i2", [128]), "its voxel type is RGB colour (NIfTI datatype 128)"),
        ((DATATYPE, "<i2", [2304]), "its voxel type is RGBA colour (NIfTI datatype 2304)"),
        ((DATATYPE, "<i2", [32]), "its voxel type is complex (NIfTI datatype 32)"),
        ((DATATYPE, "<i2", [1]), "its voxel type is 1-bit (NIfTI datatype 1)"),
        ((DATATYPE, "<i2", [0]), "its voxel type is unknown (NIfTI datatype 0)"),
        ((DATATYPE, "<i2", [-7]), "its voxel type is unknown (NIfTI datatype -7)"),
        ((VOX_OFFSET, "<f4", [0]), "puts the first voxel at byte 0 (vox_offset)"),
        ((VOX_OFFSET, "<f4", [np.nan]), "puts the first voxel at byte nan (vox_offset)"),
        ((VOX_OFFSET, "<f4", [352.5]), "puts the first voxel at byte 352.5 (vox_offset)"),
        ((VOX_OFFSET, "<f4", [1e30]), "puts the first voxel at byte 1e+30 (vox_offset)"),
        ((SLOPE, "<f4", [np.inf, 0]), "scales voxels by slope inf and intercept 0.0"),
        ((SLOPE, "<f4", [2, np.nan]), "scales voxels by slope 2.0 and intercept nan"),
        ((MAGIC, "S4", [b"ni1"]), "is not a single-file NIfTI (magic b'ni1"),
        ((MAGIC, "S4", [b"abc"]), "is not a single-file NIfTI (magic b'abc"),
        ((0, "<i4", [349]), "is not a NIfTI file (its header size is 349, not 348 or 540)"),
        ((SROW, "<f4", [np.nan]), "its affine holds NaN or infinite values"),
        ((SROW + 12, "<f4", [np.inf]), "its affine holds NaN or infinite values"),
        ((SROW, "<f4", [0] * 12), "its sform (sform_code 2) is all zero, a singular affine"),
        ((SROW, "<f4", [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0]), "its affine is singular (rows [[1.0, 0.0, 0.0]"),
        ((SROW, "<f4", [0.001, 0, 0, 0]), "its spacing (z, y, x) is (1.5, 1.5, 0.001) mm, outside 0.005 to 50 mm"),
        ((SROW + 40, "<f4", [700]), "its spacing (z, y, x) is (700, 1.5, 1.5) mm, outside 0.005 to 50 mm"),
        ((QOFFSET, "<f4", [5]), "its sform and qform disagree by 5 mm"),
        ((PIXDIM, "<f4", [-1]), "its sform and qform disagree by 6 mm"),
        ((QUATERNION, "<f4", [np.nan]), "its sform and qform disagree (the qform is not valid)"),
        ((QUATERNION, "<f4", [3, 3, 3]), "its sform and qform disagree (the qform is not valid)"),
    ],
)  # fmt: skip
def test_header_is_refused_in_one_sentence(
    tmp_path: Path, patch: tuple[int, str, list[float]], said: str
) -> None:
    content = patched(patch)
    assert said in said_of(tmp_path, content)
    packed = gzip.compress(content)
    if "truncated" in said:
        said = "its gzip data"
        packed = packed[:-9]
    assert said in said_of(tmp_path, packed, "case.nii.gz")


def test_an_invalid_lone_qform_is_refused(tmp_path: Path) -> None:
    content = patched((FORM_CODES, "<i2", [1, 0]), (QUATERNION, "<f4", [3, 3, 3]))
    assert "its qform is no rotation (quaternion [3.0, 3.0, 3.0])" in said_of(tmp_path, content)


def test_forms_half_a_voxel_apart_are_one_geometry(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(patched((QOFFSET, "<f4", [0.7])))
    assert read_volume(tmp_path / "a.nii").affine[0, 3] == 0.0


@pytest.mark.parametrize("codes", [[0, 2], [1, 0]])
def test_forms_cannot_disagree_when_one_is_unset(tmp_path: Path, codes: list[float]) -> None:
    (tmp_path / "a.nii").write_bytes(patched((FORM_CODES, "<i2", codes), (QOFFSET, "<f4", [5])))
    assert read_volume(tmp_path / "a.nii").affine[0, 3] == (5.0 if codes[0] else 0.0)


# voxels


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_voxels_that_are_no_numbers_are_counted(tmp_path: Path, bad: float, dtype: str) -> None:
    data = np.ones((5, 4, 3), dtype)
    data[1, 2, :2] = bad
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii.gz")
    assert "2 of its 60 voxels are NaN or infinite" in refused(tmp_path / "a.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / "a.mha"))
    assert "2 of its 60 voxels are NaN or infinite" in refused(tmp_path / "a.mha")


def test_infinities_that_cancel_are_found(tmp_path: Path) -> None:
    data = np.zeros((2, 2, 2), np.float32)
    data[0, 0] = np.inf, -np.inf
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
    assert "2 of its 8 voxels" in refused(tmp_path / "a.nii")


def test_finite_voxels_whose_sum_overflows_are_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 1e308), np.eye(4)), tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").array[0, 0, 0] == 1e308


# bytes


def test_truncated_files(tmp_path: Path) -> None:
    whole = bytes(nifti_bytes((40, 40, 40)))
    assert "at most 1000 of the declared 128352 bytes are there" in said_of(tmp_path, whole[:1000])
    assert "ends after 200 bytes, within the 348 of a NIfTI header" in said_of(
        tmp_path, whole[:200]
    )
    assert "is empty (0 bytes)" in said_of(tmp_path, b"")
    noise = patched(base=nifti_bytes((40, 40, 40)))[:352] + np.random.default_rng(0).bytes(128000)
    packed = gzip.compress(noise)
    for size in (12, len(packed) // 2, len(packed) - 9):
        sentence = said_of(tmp_path, packed[:size], "case.nii.gz")
        assert "its gzip data is damaged (it ends too early); copy the file again" in sentence
    assert "is empty (0 bytes)" in said_of(tmp_path, b"", "case.nii.gz")


def test_a_missing_gzip_checksum_is_noticed(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(nifti_bytes((40, 40, 40))))
    assert "gzip data is damaged" in said_of(tmp_path, packed[:-4], "case.nii.gz")


def test_wrong_gzip(tmp_path: Path) -> None:
    plain = bytes(nifti_bytes())
    assert "is not gzip-compressed although its name ends in .gz; rename it to .nii" in said_of(
        tmp_path, plain, "case.nii.gz"
    )
    assert "is gzip-compressed although its name says .nii; rename it to .nii.gz" in said_of(
        tmp_path, gzip.compress(plain)
    )
    assert "is not gzip-compressed although its name ends in .gz; copy or export" in said_of(
        tmp_path, b"<html>login</html>" * 40, "case.nii.gz"
    )
    assert "is not a NIfTI file" in said_of(
        tmp_path, gzip.compress(b"<html>login</html>" * 40), "case.nii.gz"
    )


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_flipped_bit_in_gzip_is_noticed(tmp_path: Path, place: float) -> None:
    noise = bytes(nifti_bytes((40, 40, 40)))[:352] + np.random.default_rng(0).bytes(128000)
    packed = bytearray(gzip.compress(noise))
    packed[int(len(packed) * place)] ^= 16
    assert "its gzip data is damaged" in said_of(tmp_path, bytes(packed), "case.nii.gz")


def test_more_bytes_than_declared(tmp_path: Path) -> None:
    content = bytes(nifti_bytes())
    assert "goes on after the 472 bytes its header declares (size 5 x 4 x 3)" in said_of(
        tmp_path, content + bytes(5000)
    )
    (tmp_path / "padded.nii").write_bytes(content + bytes(100))
    assert read_volume(tmp_path / "padded.nii").array.shape == (3, 4, 5)


@pytest.mark.parametrize("declared", [(5, 4, 3), (4096, 4096, 4096), (1024, 1024, 1024)])
def test_gzip_bomb_costs_neither_time_nor_memory(
    tmp_path: Path, declared: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One small file that expands to 1 GiB; the last header even fits the limit but not the file."""
    start = patched((DIM, "<i2", [3, *declared]))[:352]
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(start) + gzip.compress(bytes(2**24)) * 64)
    assert path.stat().st_size < 2**21
    unpacked = 0
    make = isal_zlib.decompressobj

    class Counted:
        """A decoder that counts what comes out of it."""

        def __init__(self, *arguments: int) -> None:
            self._decoder = make(*arguments)

        def decompress(self, *arguments: Any) -> bytes:
            nonlocal unpacked
            output = self._decoder.decompress(*arguments)
            unpacked += len(output)
            return output

        def __getattr__(self, name: str) -> Any:
            return getattr(self._decoder, name)

    monkeypatch.setattr(isal_zlib, "decompressobj", Counted)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path)
    assert 0 < unpacked < 2**20  # of 2**30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert f"there is no such file in {tmp_path}" in refused(tmp_path / "absent.nii.gz")
    assert "there is no such file" in refused(tmp_path / "no" / "such" / "a.nii")
    (tmp_path / "folder.nii.gz").mkdir()
    assert "is a folder without a DICOM series; give a volume file" in refused(
        tmp_path / "folder.nii.gz"
    )
    (tmp_path / "notes.txt").write_text("x")
    assert "is of an unknown type; give one of .nii.gz, .nii, .nii.zst, .mgz" in refused(
        tmp_path / "notes.txt"
    )
    (tmp_path / "link.nii").symlink_to(tmp_path / "gone.nii")
    assert "there is no such file" in refused(tmp_path / "link.nii")
    os.mkfifo(tmp_path / "pipe.nii")
    assert "is neither a file nor a folder" in refused(tmp_path / "pipe.nii")
    assert "file name too long" in refused(tmp_path / ("x" * 300 + ".nii"))


@pytest.mark.parametrize("name", ["a b.nii.gz", "ä;$(x).nii", "-q.nii.gz", "'\".nii"])
def test_odd_names_work(tmp_path: Path, name: str) -> None:
    volume = Volume(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), np.eye(4))
    write_volume(tmp_path / name, volume)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, volume.array)


def test_a_newline_in_a_name_stays_out_of_the_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^a\?b\.nii: there is no such file"):
        read_volume(tmp_path / "a\nb.nii")


@settings(deadline=None, max_examples=300)
@given(
    place=st.integers(0, 351),
    piece=st.binary(min_size=1, max_size=8),
    packed=st.booleans(),
)
def test_any_damaged_header_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, piece: bytes, packed: bool
) -> None:
    content = bytearray(nifti_bytes())
    content[place : place + len(piece)] = piece
    path = tmp_path_factory.mktemp("fuzz") / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else bytes(content))
    with suppress(InputError):
        volume = read_volume(path)
        assert volume.array.ndim == 3
        assert np.isfinite(volume.affine).all()
        return
    assert refused(path)


# NRRD, MetaImage, DICOM


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_itk_files_are_refused_in_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5, 2), "i2"), isVector=True), str(path))
    assert "has 2 values per voxel (colour or vectors)" in refused(path)
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), "i2"), isVector=False)
    sitk.WriteImage(image, str(path))
    assert "is 4-D (size 5 x 4 x 3 x 2)" in refused(path)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5), "i2")), str(path))
    assert "is 2-D (size 5 x 4) where a 3-D volume is needed" in refused(path)
    image = sitk.GetImageFromArray(np.zeros((3, 4, 5), "i2"))
    image.SetSpacing((1, 1, 80))
    sitk.WriteImage(image, str(path))
    assert "its spacing (z, y, x) is (80, 1, 1) mm" in refused(path)
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((30, 40, 50), "i2")), str(path))
    whole = path.read_bytes()
    said = said_of(tmp_path, whole[:9000], path.name)
    assert "is truncated or its header is wrong (at most 9000 of the declared 120000 bytes" in said
    for content in (whole[:20], b"", b"NRRD nonsense", bytes(1000)):
        assert "export it again" in said_of(tmp_path, content, path.name)


def test_absurd_itk_headers(tmp_path: Path) -> None:
    nrrd = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4000 4000 4000\nencoding: raw\nendian: little\n\n"
    assert "119.2 GiB of voxels" in said_of(tmp_path, nrrd.encode(), "a.nrrd")
    mha = "ObjectType = Image\nNDims = 3\nDimSize = 60000 4 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    assert "60000 lies outside 1 to 4096" in said_of(tmp_path, mha.encode(), "a.mha")


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        ("NDims = 3", "NDims = 133"),
        ("NDims = 3", "NDims = -3"),
        ("NDims = 3", "NDims = 3\nNDims = 4"),
        ("DimSize = 5 4 3", "DimSize = 5 4 3 2 2 2 2 2 2 2 2 2 2"),
        ("Offset = 0 0 0", "Offset = 0 0"),
        ("TransformMatrix = 1 0 0 0 1 0 0 0 1", "TransformMatrix = 1 0 0"),
        ("AnatomicalOrientation = RAI", "AnatomicalOrientation = " + 2000 * "R"),
    ],
)
def test_damaged_meta_headers_never_reach_itk(tmp_path: Path, line: str, damaged: str) -> None:
    """ITK ends the whole process on some of these."""
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4, 5), "i2")), str(tmp_path / "a.mha"))
    whole = (tmp_path / "a.mha").read_bytes()
    assert line.encode() in whole
    content = whole.replace(line.encode(), damaged.encode())
    assert "its MetaImage header is damaged at '" in said_of(tmp_path, content, "b.mha")
    assert "does not end in ElementDataFile" in said_of(tmp_path, whole[:50] + b"\n", "b.mha")


def test_a_header_without_its_data_file(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4, 5), "i2")), str(tmp_path / "a.mhd"))
    (tmp_path / "a.raw").unlink()
    assert "its data file 'a.raw' is not there" in refused(tmp_path / "a.mhd")


def test_folders_without_a_readable_series(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "DICOMDIR").write_bytes(b"x" * 200)
    (folder / "a.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 50)
    assert "is a folder without a DICOM series" in refused(folder)


# writing


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Let this process write files of at most `size` bytes, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    write_volume(path, Volume(np.full((2, 2, 2), 7, np.uint8), np.eye(4)))
    with at_most(10_000), pytest.raises(InputError) as caught:
        write_volume(path, Volume(np.zeros((50, 50, 50), np.uint8), np.eye(4)))
    assert str(caught.value) == (
        f"cannot write a.nii to {tmp_path}: file too large; "
        "free space there or choose a folder that can be written"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii"]
    assert read_volume(path).array[0, 0, 0] == 7


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        InputError, match=r"^cannot write a\.nii\.gz to .*: not a directory; a file is in the way"
    ):
        write_volume(tmp_path / "file" / "a.nii.gz", Volume(np.zeros((2, 2, 2)), np.eye(4)))
    (tmp_path / "taken.nii").mkdir()
    with pytest.raises(InputError, match=r"^cannot write taken\.nii to .*: is a directory"):
        write_volume(tmp_path / "taken.nii", Volume(np.zeros((2, 2, 2)), np.eye(4)))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "taken.nii"]


def test_a_folder_without_permission(tmp_path: Path) -> None:
    """In a process of an ordinary user, since root may write everywhere."""
    code = f"""
        import os
        import numpy as np
        from napari_uda.data.volume import InputError, Volume, write_volume
        os.chmod({str(tmp_path)!r}, 0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
        try:
            write_volume({str(tmp_path / "a.nii")!r}, Volume(np.zeros((2, 2, 2)), np.eye(4)))
        except InputError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        cwd=Path(__file__).parents[2],
    )
    os.chmod(tmp_path, 0o755)  # noqa: PTH101
    assert done.stdout.startswith(f"cannot write a.nii to {tmp_path}: permission denied; ")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    class Interrupting(np.ndarray):
        def __iter__(self) -> Iterator[np.ndarray]:
            yield np.zeros((2, 2), np.uint8)
            raise KeyboardInterrupt

    array = np.zeros((2, 2, 2), np.uint8).view(Interrupting)
    with pytest.raises(KeyboardInterrupt):
        write_volume(tmp_path / "a.nii.gz", Volume(array, np.eye(4)))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path: Path) -> None:
    volume = Volume(np.zeros((2, 2, 2), np.complex64), np.eye(4))
    with pytest.raises(InputError, match=r"^a\.nii: NIfTI has no voxel type complex64; convert"):
        write_volume(tmp_path / "a.nii", volume)
    with pytest.raises(InputError, match=r"^a\.mha: volumes are written as NIfTI; end the name"):
        write_volume(tmp_path / "a.mha", volume)
    assert list(tmp_path.iterdir()) == []


def test_writing_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.nii").symlink_to(tmp_path / "real" / "a.nii")
    write_volume(tmp_path / "link.nii", Volume(np.full((2, 2, 2), 3, np.uint8), np.eye(4)))
    assert (tmp_path / "link.nii").is_symlink()
    assert read_labels(tmp_path / "real" / "a.nii").array[1, 1, 1] == 3
