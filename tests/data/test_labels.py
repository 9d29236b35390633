"""Label maps as other programs store them: any voxel type, and values that a header's scaling has bent."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_uda.core.errors import InputError
from napari_uda.data.labels import check_labels, to_labels, to_whole
from napari_uda.data.volume import Volume, read_labels, read_volume
from napari_uda.evaluation import evaluate


def scaled_file(path: Path, stored: list[int], slope: float, intercept: float = 0.0) -> Path:
    """A uint8 NIfTI file whose header scales what it stores."""
    nib.save(nib.Nifti1Image(np.array([[stored]], np.uint8), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "labels"),
    [
        # a slope that rounding made of 1: 1.00002, 2.99998 and the like
        ([0, 1, 3, 255], 1.00002, 0.0, [0, 1, 3, 255]),
        ([0, 1, 3, 200], 0.99999333, 0.0, [0, 1, 3, 200]),
        ([0, 1, 3], 1.0, 2e-5, [0, 1, 3]),
        # 0 to 7 stretched over 0 to 255 and rounded: 1 is stored as 36 and comes back as 0.988
        ([0, 36, 73, 109, 146, 182, 219, 255], 7 / 255, 0.0, [0, 1, 2, 3, 4, 5, 6, 7]),
        # 0 to 4 likewise: 1.00392, 2.00784 and 2.99608
        ([0, 64, 128, 191, 255], 4 / 255, 0.0, [0, 1, 2, 3, 4]),
        # 10 to 13, with an intercept
        ([0, 85, 170, 255], 3 / 255, 10.0, [10, 11, 12, 13]),
        # 1 stored in the middle of two steps
        ([0, 1, 2], 2 / 3, 1.0 / 3, [0, 1, 2]),
    ],
)
def test_what_scaling_bent_is_rounded(tmp_path, stored, slope, intercept, labels) -> None:
    path = scaled_file(tmp_path / "a.nii", stored, slope, intercept)
    bent = nib.load(path).get_fdata().ravel()
    assert not np.array_equal(bent, labels)
    volume = read_labels(path)
    assert volume.array.dtype == np.uint8
    assert volume.array.ravel().tolist() == labels
    assert volume.value_step == 0
    raw = read_volume(path)
    assert raw.value_step == pytest.approx(slope)
    np.testing.assert_allclose(raw.array.ravel(), bent, rtol=1e-6)


def test_every_label_that_nibabel_stretches_comes_back(tmp_path: Path) -> None:
    """nibabel stretches floats over the whole uint8: with any highest label, all of them are read."""
    for highest in range(1, 128):
        image = nib.Nifti1Image(np.arange(highest + 1.0).reshape(1, 1, -1), np.eye(4))
        image.header.set_data_dtype(np.uint8)
        nib.save(image, tmp_path / "a.nii")
        found = read_labels(tmp_path / "a.nii").array.ravel()
        assert found.tolist() == list(range(highest + 1))


@pytest.mark.parametrize(
    ("stored", "slope", "value"),
    [([0, 1, 2], 0.5, "0.5"), ([0, 128, 255], 1 / 255, "0.501961"), ([0, 1, 2], 1.5, "1.5")],
)
def test_halves_are_refused_with_the_true_cause(tmp_path, stored, slope, value) -> None:
    path = scaled_file(tmp_path / "a.nii", stored, slope)
    with pytest.raises(InputError) as caught:
        read_labels(path)
    assert str(caught.value) == (
        f"a.nii: label {value} is not a whole number, because its header scales what is stored by {slope:g}; "
        "set the slope (scl_slope) to 1 if the stored numbers are the labels, or save the labels again as "
        "whole numbers"
    )


def test_without_scaling_only_rounding_is_let_pass(tmp_path: Path) -> None:
    for value, said in ((1.0009, ""), (2.9991, ""), (1.002, "1.002"), (0.5, "0.5")):
        nib.save(
            nib.Nifti1Image(np.full((1, 1, 1), value, np.float32), np.eye(4)), tmp_path / "a.nii"
        )
        if not said:
            assert read_labels(tmp_path / "a.nii").array.item() == round(value)
            continue
        with pytest.raises(InputError, match=rf"label {said} is not a whole number; give a label"):
            read_labels(tmp_path / "a.nii")


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_labels_of_any_type_and_format(tmp_path: Path, dtype: str, suffix: str) -> None:
    array = np.array([[[0, 1, 2, 100]]], dtype)
    path = tmp_path / f"a{suffix}"
    if suffix == ".nii.gz":
        nib.save(nib.Nifti1Image(array.T, np.eye(4), dtype=array.dtype), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    assert read_volume(path).array.dtype == dtype
    found = read_labels(path).array
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


def test_large_values_are_told_whatever_the_type(tmp_path: Path) -> None:
    for dtype in ("u4", "i8", "f4"):
        array = np.array([[[0, 70000]]], dtype)
        nib.save(nib.Nifti1Image(array, np.eye(4), dtype=array.dtype), tmp_path / "a.nii")
        with pytest.raises(InputError, match=r"holds label values above 255 \(70000\); name"):
            read_labels(tmp_path / "a.nii")


def test_scores_take_bent_labels_from_files_volumes_and_arrays(tmp_path: Path) -> None:
    path = scaled_file(tmp_path / "a.nii", [0, 64, 128, 191, 255], 4 / 255)
    true = Volume(np.arange(5, dtype=np.uint8).reshape(5, 1, 1), np.eye(4), "a")
    for prediction in (path, read_volume(path), true.array + 0.0004):
        rows = evaluate(prediction, true).rows
        assert [row["label"] for row in rows] == [1, 2, 3, 4]
        assert {row["dice"] for row in rows} == {1.0}
    with pytest.raises(InputError, match=r"label 1\.00392 is not a whole number; give"):
        check_labels(read_volume(path).array, "a.nii")  # nobody said that it is scaled


def test_values_that_are_no_numbers_are_no_labels() -> None:
    for value in (np.nan, np.inf, -np.inf):
        assert to_labels(np.array([0, value]))[1] is not None
        assert to_whole(np.array([0, value]), 0.9)[1] is not None
    assert to_labels(np.array([0, -1]))[1] == -1
    assert to_labels(np.array([0, 2**63], np.uint64))[1] == 2.0**63
