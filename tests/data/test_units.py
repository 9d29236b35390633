"""Lengths in metres, micrometres and the like become millimetres, and files written say millimetres."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume, read_volume, write_volume

ARRAY = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
FACTORS = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


def nifti(path: Path, unit: str, step: float, shift: float, form: str = "both") -> Path:
    """Voxels of `step` x 1.5 `step` x 2 `step` in the unit."""
    affine = np.diag([step, 1.5 * step, 2 * step, 1.0])
    affine[:3, 3] = shift, -2 * shift, 3 * shift
    image = nib.Nifti1Image(ARRAY.T, affine)
    image.header.set_xyzt_units(unit, "sec")
    image.set_sform(affine, 1 if form in ("both", "sform") else 0)
    image.set_qform(affine, 1 if form in ("both", "qform") else 0)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("form", ["both", "sform", "qform"])
@pytest.mark.parametrize(("unit", "step"), [("micron", 20.0), ("meter", 0.0008), ("mm", 0.8)])
def test_nifti_in_metres_and_micrometres(tmp_path, unit, step, form) -> None:
    volume = read_volume(nifti(tmp_path / "a.nii.gz", unit, step, 3 * step, form))
    mm = step * FACTORS[unit]
    assert volume.spacing_mm == pytest.approx((2 * mm, 1.5 * mm, mm), rel=1e-6)
    assert volume.affine[:3, 3] == pytest.approx((3 * mm, -6 * mm, 9 * mm), rel=1e-6)
    # ITK converts these units as well
    oracle = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert volume.spacing_mm[::-1] == pytest.approx(oracle.GetSpacing(), rel=1e-6)
    lps = np.array([-1, -1, 1]) * volume.affine[:3, 3]
    assert lps == pytest.approx(oracle.GetOrigin(), rel=1e-6)
    assert volume.lattice.voxel_ml == pytest.approx(3 * mm**3 / 1000, rel=1e-6)


def test_voxels_of_20_micrometres_are_written_in_millimetres(tmp_path: Path) -> None:
    volume = read_volume(nifti(tmp_path / "a.nii.gz", "micron", 20.0, 100.0))
    assert volume.spacing_mm == pytest.approx((0.04, 0.03, 0.02), rel=1e-6)
    write_volume(tmp_path / "b.nii.gz", volume)
    again = read_volume(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(again.affine, volume.affine, rtol=1e-6)
    written = nib.load(tmp_path / "b.nii.gz")
    assert written.header.get_xyzt_units()[0] == "mm"
    assert written.header.get_zooms() == pytest.approx((0.02, 0.03, 0.04), rel=1e-6)
    assert sitk.ReadImage(str(tmp_path / "b.nii.gz")).GetSpacing() == pytest.approx(
        (0.02, 0.03, 0.04), rel=1e-6
    )


@pytest.mark.parametrize(
    ("code", "factor"), [(0, 1), (2, 1), (10, 1), (8, 1), (7, 1), (3 + 16, 1e-3)]
)
def test_only_the_bits_of_the_length_count(tmp_path: Path, code: int, factor: float) -> None:
    path = nifti(tmp_path / "a.nii", "mm", 40.0, 0.0)
    content = bytearray(path.read_bytes())
    content[123] = code
    content[76:92] = np.array([1, 20, 20, 20], "<f4").tobytes()
    content[280:328] = np.array([20, 0, 0, 0, 0, 20, 0, 0, 0, 0, 20, 0], "<f4").tobytes()
    path.write_bytes(content)
    assert read_volume(path).spacing_mm == pytest.approx((20 * factor,) * 3)


def test_a_unit_that_cannot_be_meant_is_refused_with_the_field(tmp_path: Path) -> None:
    for unit, shown, spacing in (
        ("meter", "m", "(3000, 2250, 1500)"),
        ("micron", "µm", "(0.003, 0.00225, 0.0015)"),
    ):
        with pytest.raises(InputError) as caught:
            read_volume(nifti(tmp_path / "a.nii", unit, 1.5, 0.0))
        assert str(caught.value) == (
            f"a.nii: its header gives lengths in {shown} (xyzt_units), which makes its spacing (z, y, x) "
            f"{spacing} mm; correct the unit if (3, 2.25, 1.5) are millimetres"
        )


def test_forms_that_disagree_are_told_in_the_files_unit(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", "micron", 20.0, 0.0)
    content = bytearray(path.read_bytes())
    content[268:272] = np.array([50], "<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match="its sform and qform disagree by 50 µm"):
        read_volume(path)


# NRRD and MetaImage, whose units ITK leaves to the reader


def nrrd_with(path: Path, line: bytes, drop: tuple[bytes, ...] = ()) -> Path:
    image = sitk.GetImageFromArray(ARRAY)
    image.SetSpacing((20, 30, 40))
    image.SetOrigin((100, 200, 300))
    sitk.WriteImage(image, str(path))
    header, _, voxels = path.read_bytes().partition(b"\n\n")
    lines = (
        [one for one in header.split(b"\n") if not one.startswith(drop)]
        if drop
        else header.split(b"\n")
    )
    place = 1 + next(index for index, one in enumerate(lines) if one.startswith(b"sizes"))
    lines.insert(place, line)
    path.write_bytes(b"\n".join(lines) + b"\n\n" + voxels)
    return path


@pytest.mark.parametrize(
    ("line", "factor"),
    [
        (b'space units: "um" "um" "um"', 1e-3),
        ('space units: "µm" "µm" "µm"'.encode(), 1e-3),
        ('space units: "μm" "μm" "μm"'.encode(), 1e-3),
        ('space units: "µm" "µm" "µm"'.encode("latin-1"), 1e-3),
        (b'space units: "microns" "microns" "microns"', 1e-3),
        (b'space units: "mm" "mm" "mm"', 1),
        (b'Space Units: "Millimeters" "mm" "mm"', 1),
        (b'space units: "cm" "cm" "cm"', 10),
        (b'space units: "" "" ""', 1),
        (b'space units: "???" "???" "???"', 1),
    ],
)
def test_nrrd_space_units(tmp_path: Path, line: bytes, factor: float) -> None:
    path = nrrd_with(tmp_path / "a.nrrd", line)
    if factor == 10:
        content = path.read_bytes()
        path.write_bytes(content.replace(b"(20,0,0) (0,30,0) (0,0,40)", b"(2,0,0) (0,3,0) (0,0,4)"))
        factor = 1
        assert read_volume(path).affine[:3, 3] == pytest.approx((-1000, -2000, 3000))
    else:
        assert read_volume(path).affine[:3, 3] == pytest.approx(
            (-100 * factor, -200 * factor, 300 * factor)
        )
    assert read_volume(path).spacing_mm == pytest.approx((40 * factor, 30 * factor, 20 * factor))


def test_nrrd_units_of_the_axes(tmp_path: Path) -> None:
    text = b'NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nspacings: 20 30 40\nunits: "um" "um" "um"\n'
    path = tmp_path / "a.nrrd"
    path.write_bytes(text + b"encoding: raw\nendian: little\n\n" + ARRAY.tobytes())
    assert read_volume(path).spacing_mm == pytest.approx((0.04, 0.03, 0.02))
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)


def test_nrrd_axes_in_different_units_are_refused(tmp_path: Path) -> None:
    path = nrrd_with(tmp_path / "a.nrrd", b'space units: "um" "um" "mm"')
    with pytest.raises(
        InputError, match=r"^a\.nrrd: its axes are in different units \(um, mm in space units\)"
    ):
        read_volume(path)


def test_an_unknown_unit_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = nrrd_with(tmp_path / "a.nrrd", b'space units: "furlong" "furlong" "furlong"')
    with caplog.at_level(logging.WARNING):
        assert read_volume(path).spacing_mm == pytest.approx((40, 30, 20))
    assert "a.nrrd: its unit of length 'furlong' (space units) is unknown here" in caplog.text


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
@pytest.mark.parametrize(
    ("line", "factor"),
    [
        (b"DistanceUnits = um", 1e-3),
        (b"DistanceUnits = mm", 1),
        (b"DistanceUnits: um", 1e-3),
        (b"DistanceUnits = ?", 1),
    ],
)
def test_meta_image_distance_units(tmp_path: Path, suffix: str, line: bytes, factor: float) -> None:
    image = sitk.GetImageFromArray(ARRAY)
    image.SetSpacing((20, 30, 40))
    image.SetOrigin((100, 200, 300))
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path))
    path.write_bytes(path.read_bytes().replace(b"ElementType", line + b"\nElementType", 1))
    volume = read_volume(path)
    assert volume.spacing_mm == pytest.approx((40 * factor, 30 * factor, 20 * factor))
    assert volume.affine[:3, 3] == pytest.approx((-100 * factor, -200 * factor, 300 * factor))
    np.testing.assert_array_equal(volume.array, ARRAY)


def test_results_lie_on_a_grid_in_millimetres(tmp_path: Path) -> None:
    volume = read_volume(nrrd_with(tmp_path / "a.nrrd", b'space units: "um" "um" "um"'))
    write_volume(tmp_path / "b.nii.gz", Volume(np.ones(ARRAY.shape, np.uint8), volume.affine))
    assert nib.load(tmp_path / "b.nii.gz").header.get_zooms() == pytest.approx((0.02, 0.03, 0.04))
