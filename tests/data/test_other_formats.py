"""`.mgz`, `.nii.zst` and `.hdr` with `.img`: written by nibabel, read as images and as label maps."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_uda.core.errors import InputError
from napari_uda.core.files import case_name
from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import read_labels, read_volume, write_volume
from napari_uda.evaluation.report import pair_files

AFFINE = np.array([[0, 0, 3.0, -20], [-0.75, 0, 0, 10.5], [0, 1.5, 0, 300], [0, 0, 0, 1.0]])
VOXELS = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4) - 5
LABELS = (VOXELS % 3).astype(np.uint8)
KINDS = {
    ".mgz": nib.MGHImage,
    ".mgh": nib.MGHImage,
    ".nii.zst": nib.Nifti1Image,
    ".hdr": nib.Nifti1Pair,
}


def save(path: Path, array: np.ndarray, suffix: str) -> Path:
    image = KINDS[suffix](array, AFFINE)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path.with_suffix(".img") if suffix == ".hdr" else path)
    return path


@pytest.mark.parametrize("suffix", KINDS)
def test_reads_what_nibabel_wrote(tmp_path: Path, suffix: str) -> None:
    image = read_volume(save(tmp_path / f"p1{suffix}", VOXELS, suffix))
    assert (image.array == VOXELS.T).all()
    assert image.array.dtype == np.int16
    assert np.allclose(image.affine, AFFINE, atol=1e-5)
    assert image.name == "p1" == case_name(f"p1{suffix}")
    labels = read_labels(save(tmp_path / f"seg{suffix}", LABELS, suffix))
    assert (labels.array == LABELS.T).all()
    assert labels.array.dtype == np.uint8


@pytest.mark.parametrize("suffix", KINDS)
def test_pairs_and_damage(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "images" / f"p1{suffix}", VOXELS, suffix)
    save(tmp_path / "labels" / f"p1{suffix}", LABELS, suffix)
    folder = DataFolder.open(tmp_path)
    assert [(case.name, case.label) for case in folder.cases] == [
        ("p1", tmp_path / "labels" / f"p1{suffix}")
    ]
    assert not folder.passed_over
    shutil.copytree(tmp_path / "labels", tmp_path / "predictions")
    pairs = pair_files(tmp_path / "predictions", tmp_path / "labels")
    assert [case for case, *_ in pairs] == ["p1"]

    voxels = tmp_path / "images" / f"p1{'.img' if suffix == '.hdr' else suffix}"
    voxels.write_bytes(voxels.read_bytes()[: -max(9, voxels.stat().st_size // 3)])
    with pytest.raises(InputError, match=r"^p1\.\S+: .*(damaged|truncated|empty)"):
        read_volume(folder.cases[0].image)
    with pytest.raises(InputError, match="written as NIfTI"):
        write_volume(tmp_path / f"out{suffix}", read_labels(folder.cases[0].label))


def test_a_pair_is_read_by_either_of_its_files(tmp_path: Path) -> None:
    header = save(tmp_path / "p1.hdr", VOXELS, ".hdr")
    assert (read_volume(tmp_path / "p1.img").array == VOXELS.T).all()
    (tmp_path / "p1.img").unlink()
    with pytest.raises(InputError, match=r"p1\.hdr: its voxels lie in p1\.img, which is not there"):
        read_volume(header)


def test_pairs_have_two_placements_scaling_and_units_as_files_have(tmp_path: Path) -> None:
    image = nib.Nifti1Pair(VOXELS, AFFINE)
    moved = AFFINE.copy()
    moved[0, 3] += 30
    image.set_qform(moved, 1)
    image.header["scl_slope"], image.header["scl_inter"] = 0.5, 1.0
    nib.save(image, tmp_path / "p1.img")
    with pytest.raises(InputError, match="choose the right one with --placement"):
        read_volume(tmp_path / "p1.hdr")
    assert read_volume(tmp_path / "p1.hdr", placement="qform").affine[0, 3] == pytest.approx(10)
    image.header.set_xyzt_units("meter")
    image.set_sform(np.diag([1e-3, 1e-3, 1e-3, 1]) @ AFFINE, 1)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "p2.img")
    assert np.allclose(read_volume(tmp_path / "p2.hdr").affine, AFFINE, atol=1e-4)


def test_analyze_says_that_its_orientation_is_a_guess(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = nib.AnalyzeImage(VOXELS, None)
    image.header.set_zooms((0.75, 1.5, 3.0))
    nib.save(image, tmp_path / "p1.img")
    with caplog.at_level(logging.WARNING):
        volume = read_volume(tmp_path / "p1.hdr")
    assert (volume.array == VOXELS.T).all()
    assert volume.spacing_mm == (3.0, 1.5, 0.75)
    assert "left and right may be swapped" in caplog.text


def test_names_and_contents_must_agree(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / "a.nii.gz")
    for name in ("a.nii.zst", "a.mgz", "a.mgh"):
        (tmp_path / name).write_bytes((tmp_path / "a.nii.gz").read_bytes())
        with pytest.raises(InputError, match=rf"^{name}: is "):
            read_volume(tmp_path / name)


def test_no_damage_of_compressed_voxels_goes_unnoticed(tmp_path: Path) -> None:
    """A bit is turned in each tenth byte: nibabel and ITK make other voxels of most of these files without a word."""
    voxels = np.random.default_rng(0).integers(0, 400, (8, 9, 10)).astype(np.int16)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    for name in ("a.mha", "b.mhd", "c.nrrd", "d.nhdr"):
        sitk.WriteImage(image, tmp_path / name, useCompression=True)
    save(tmp_path / "e.mgz", voxels, ".mgz")
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "f.nii.gz")
    parts = {"b.mhd": "b.zraw", "d.nhdr": "d.raw.gz"}
    for name in ("a.mha", "b.mhd", "c.nrrd", "d.nhdr", "e.mgz", "f.nii.gz"):
        assert (read_volume(tmp_path / name).array == voxels.T).all()
        file = tmp_path / parts.get(name, name)
        content = file.read_bytes()
        refused = 0
        for place in range(len(content) // 2, len(content), 10):
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            try:
                assert (read_volume(tmp_path / name).array == voxels.T).all(), (name, place)
            except InputError:
                refused += 1
        assert refused > 50, name
        file.write_bytes(content[:-30])
        with pytest.raises(InputError, match=f"^{name}: "):
            read_volume(tmp_path / name)


def test_zstd_holds_no_more_than_the_header_declares(tmp_path: Path) -> None:
    from napari_uda.data.zstd_stream import zstd

    save(tmp_path / "p1.nii.zst", VOXELS, ".nii.zst")
    plain = zstd.decompress((tmp_path / "p1.nii.zst").read_bytes())
    halves = zstd.compress(plain[:200]) + zstd.compress(plain[200:])
    (tmp_path / "p2.nii.zst").write_bytes(halves)
    assert (read_volume(tmp_path / "p2.nii.zst").array == VOXELS.T).all()
    (tmp_path / "p3.nii.zst").write_bytes(zstd.compress(plain + bytes(10_000)))
    with pytest.raises(InputError, match="goes on after the"):
        read_volume(tmp_path / "p3.nii.zst")


def test_sizes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = save(tmp_path / "p1.mgh", VOXELS, ".mgh")
    content = bytearray(path.read_bytes())
    content[4:16] = np.array([4000, 4000, 4000], ">i4").tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match="declares 119"):
        read_volume(path)
