"""NIfTI files with two placements: refused with both named, or read as the user says."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.data.volume import read_labels, read_volume

SCANNER = np.diag([-1.5, -1.5, 3.0, 1.0])
SCANNER[:3, 3] = 90, 120, -60
MNI = SCANNER.copy()
MNI[:3, 3] += 3, 4, 12
"""13 mm from where the scanner has it."""


def two_forms(path: Path, sform_code: int, qform_code: int) -> Path:
    """A file whose sform says MNI and whose qform says the scanner."""
    image = nib.Nifti1Image(np.arange(60, dtype=np.uint8).reshape(5, 4, 3), MNI)
    image.header.set_xyzt_units("mm")
    image.set_sform(MNI, sform_code)
    image.set_qform(SCANNER, qform_code)
    nib.save(image, path)
    return path


def test_both_codes_and_their_difference_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_volume(two_forms(tmp_path / "a.nii.gz", 4, 1))
    assert str(caught.value) == (
        "a.nii.gz: its sform and qform disagree by 13 mm (sform_code 4, MNI 152; qform_code 1, scanner), so the "
        "orientation cannot be trusted; choose the right one with --placement sform or --placement qform, or set "
        "the code of the wrong one to 0"
    )


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_the_user_chooses(tmp_path: Path, code: int) -> None:
    path = two_forms(tmp_path / "a.nii", code, 1)
    for read in (read_volume, read_labels):
        np.testing.assert_allclose(read(path, placement="sform").affine, MNI, atol=1e-5)
        np.testing.assert_allclose(read(path, placement="qform").affine, SCANNER, atol=1e-5)
    np.testing.assert_array_equal(
        read_volume(path, placement="qform").array, read_volume(path, placement="sform").array
    )


def test_where_only_one_is_set_there_is_no_choice(tmp_path: Path) -> None:
    for codes, expected in (((0, 1), SCANNER), ((2, 0), MNI)):
        path = two_forms(tmp_path / "a.nii", *codes)
        for placement in ("auto", "sform", "qform"):
            np.testing.assert_allclose(
                read_volume(path, placement=placement).affine, expected, atol=1e-5
            )


def test_a_qform_that_is_no_rotation_can_be_left_aside(tmp_path: Path) -> None:
    path = two_forms(tmp_path / "a.nii", 2, 1)
    content = bytearray(path.read_bytes())
    content[256:268] = np.array([3, 3, 3], "<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"disagree \(the qform is not valid\) \(sform_code 2, aligned"
    ):
        read_volume(path)
    np.testing.assert_allclose(read_volume(path, placement="sform").affine, MNI, atol=1e-5)
    with pytest.raises(InputError, match="its qform is no rotation"):
        read_volume(path, placement="qform")


def test_with_neither_the_orientation_is_a_guess(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_volume(two_forms(tmp_path / "a.nii", 1, 0))
    assert caplog.text == ""
    read_volume(two_forms(tmp_path / "b.nii", 0, 0))
    assert (
        "b.nii: neither its sform nor its qform is set (both codes are 0), so its orientation is a guess: "
        "left and right may be swapped"
    ) in caplog.text
