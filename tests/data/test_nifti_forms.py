"""Where a NIfTI file lies is written as it was read: both forms, their codes, and millimetres."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_uda.data.edit_journal import About, EditJournal, Leftover
from napari_uda.data.patients import Case
from napari_uda.data.same_grid import on_grid_of
from napari_uda.data.volume import Volume, read_labels, read_volume, write_maps, write_volume
from napari_uda.experiments.picture_parts import choose_slice

FIELDS = (
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
)
SHAPE = (64, 48, 20)


def sheared(shear: float, column: int = 1) -> np.ndarray:
    """Oblique voxels of 0.7 x 0.7 x 1.5 mm, one axis leaning along x by a share of its own step."""
    affine = np.eye(4)
    turned = nib.eulerangles.euler2mat(0.1, 0.2, 0.3)
    affine[:3, :3] = turned @ np.diag([0.7, 0.7, 1.5])
    affine[:3, column] += shear * affine[:3, 0]
    affine[:3, 3] = -80, -70, 30
    return affine


def nifti(
    path: Path,
    affine: np.ndarray,
    codes: tuple[int, int] = (1, 1),
    qform: np.ndarray | None = None,
    unit: str = "mm",
) -> Path:
    """A file with these codes of sform and qform, the qform as near to the affine as it can be."""
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), affine)
    image.header.set_xyzt_units(unit, "sec")
    image.set_sform(affine, codes[0])
    image.set_qform(affine if qform is None else qform, codes[1])
    nib.save(image, path)
    return path


def assert_same_place(file: Path, given: Path) -> None:
    """The header says the same, field by field, and SimpleITK makes the same of it."""
    got, expected = nib.load(file).header, nib.load(given).header
    for field in FIELDS:
        np.testing.assert_array_equal(got[field], expected[field], err_msg=field)
    np.testing.assert_array_equal(got["pixdim"][:4], expected["pixdim"][:4])
    assert got.get_xyzt_units()[0] == "mm"
    itk, before = sitk.ReadImage(str(file)), sitk.ReadImage(str(given))
    for place in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
        assert getattr(itk, place)() == getattr(before, place)(), place


@pytest.mark.parametrize("column", [1, 2])
@pytest.mark.parametrize("shear", [0.0, 1e-4, 3e-4, 1e-3, 5e-3])
def test_a_small_shear_opens_where_its_image_opens(
    tmp_path: Path, shear: float, column: int
) -> None:
    given = nifti(tmp_path / "given.nii.gz", sheared(shear, column))
    write_volume(tmp_path / "out.nii.gz", read_volume(given))
    assert_same_place(tmp_path / "out.nii.gz", given)


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (0, 2), (1, 0), (4, 1), (2, 3), (1, 4)])
def test_codes_stay(tmp_path: Path, codes: tuple[int, int]) -> None:
    given = nifti(tmp_path / "given.nii.gz", sheared(0.0), codes)
    volume = read_volume(given)
    labels = np.ones(volume.array.shape, np.uint8)
    for file in write_maps(tmp_path, "case", volume, {"labels": labels}):
        assert_same_place(file, given)
        again = read_volume(file)
        np.testing.assert_array_equal(again.affine, volume.affine)
        np.testing.assert_array_equal(again.array, labels)


def test_two_placements_stay_two(tmp_path: Path) -> None:
    moved = sheared(0.0)
    moved[:3, 3] += 3, 4, 12
    given = nifti(tmp_path / "given.nii.gz", sheared(0.0), (4, 1), moved)
    for placement, expected in (("sform", sheared(0.0)), ("qform", moved)):
        volume = read_volume(given, placement=placement)
        assert volume.forms is not None
        assert volume.forms.disagree
        write_volume(tmp_path / "out.nii", volume)
        assert_same_place(tmp_path / "out.nii", given)
        again = read_volume(tmp_path / "out.nii", placement=placement)
        np.testing.assert_allclose(again.affine, expected, atol=1e-5)


def test_what_was_edited_is_restored_where_somebody_had_to_choose(tmp_path: Path) -> None:
    moved = sheared(0.0)
    moved[:3, 3] += 3, 4, 12
    given = nifti(tmp_path / "given.nii.gz", sheared(0.0), (4, 1), moved)
    labels = read_labels(given, placement="qform")
    about = About("case", "run", "layer", {1: "MYO"})
    EditJournal.begin(labels, about, tmp_path / "edits").close()
    before = Leftover(next((tmp_path / "edits").iterdir()), about, 0).read()[0]
    np.testing.assert_array_equal(before.affine, labels.affine)


def test_slices_of_results_are_read_as_their_image_is(tmp_path: Path) -> None:
    moved = sheared(0.0)
    moved[:3, 3] += 3, 4, 12
    given = nifti(tmp_path / "given.nii.gz", sheared(0.0), (4, 1), moved)
    case = Case("case", given, given, placement="sform")
    cut = choose_slice(case)
    assert cut.take(given, labels=True).shape == cut.reference.shape


def test_other_units_become_millimetres_in_both_forms(tmp_path: Path) -> None:
    small = sheared(0.0)
    small[:3] /= 1000
    given = nifti(tmp_path / "given.nii", small, (2, 1), unit="meter")
    write_volume(tmp_path / "out.nii", read_volume(given))
    header = nib.load(tmp_path / "out.nii").header
    assert header.get_xyzt_units()[0] == "mm"
    assert (int(header["sform_code"]), int(header["qform_code"])) == (2, 1)
    np.testing.assert_allclose(header.get_sform(), sheared(0.0), atol=1e-4)
    np.testing.assert_allclose(header.get_qform(), sheared(0.0), atol=1e-4)
    np.testing.assert_allclose(header.get_zooms(), (0.7, 0.7, 1.5), rtol=1e-6)
    oracle = sitk.ReadImage(str(given))  # ITK converts the unit as well
    np.testing.assert_allclose(
        sitk.ReadImage(str(tmp_path / "out.nii")).GetOrigin(), oracle.GetOrigin(), rtol=1e-6
    )


def test_a_volume_that_was_moved_or_turned_lies_where_its_affine_says(tmp_path: Path) -> None:
    leftward = sheared(0.0) @ np.diag([-1.0, 1.0, 1.0, 1.0])
    volume = read_volume(nifti(tmp_path / "given.nii", leftward, (4, 1)))
    turned = volume.canonical()
    other = on_grid_of(turned, volume)
    for name, written in (("turned", turned), ("back", other)):
        write_volume(tmp_path / f"{name}.nii", written)
        found = nib.load(tmp_path / f"{name}.nii")
        np.testing.assert_allclose(found.affine, written.affine, atol=1e-4)
        assert found.shape == written.array.shape[::-1]
    assert int(nib.load(tmp_path / "turned.nii").header["sform_code"]) == 1
    assert int(nib.load(tmp_path / "back.nii").header["sform_code"]) == 4


@pytest.mark.parametrize(("shear", "codes"), [(1e-3, (1, 1)), (0.05, (1, 0))])
def test_small_shears_of_other_formats_open_with_itk_too(
    tmp_path: Path, shear: float, codes: tuple[int, int]
) -> None:
    """A qform beside the sform, unless it would lie more than a quarter of a voxel off."""
    affine = sheared(shear).astype(np.float32).astype(np.float64)
    volume = Volume(np.zeros(SHAPE[::-1], np.uint8), affine)
    write_volume(tmp_path / "out.nii", volume)
    header = nib.load(tmp_path / "out.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == codes
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nii").affine, affine)
    if codes[1]:
        itk = sitk.ReadImage(str(tmp_path / "out.nii"))
        assert itk.GetSpacing() == pytest.approx((0.7, 0.7, 1.5), rel=1e-3)
