from __future__ import annotations

import gzip
import itertools
import os
import stat
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_uda.core.errors import InputError
from napari_uda.data.volume import (
    Orientation,
    Volume,
    as_volume,
    case_name,
    describe_grid_difference,
    read_labels,
    read_volume,
    write_volume,
)

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "samples"
needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="needs the sample volumes in ../shared/data/samples"
)
ORIENTATIONS = [
    Orientation(permutation, flips)
    for permutation in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]
SPACING_XYZ = (0.75, 1.5, 4.0)


def affine_of(codes: str, shape_xyz: tuple[int, int, int]) -> np.ndarray:
    """The affine of a file whose axes point along `codes`, holding the same body as every other."""
    canonical = np.diag([*SPACING_XYZ, 1.0])
    canonical[:3, 3] = (-10.5, 20.25, 300.0)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(canonical), nib.orientations.axcodes2ornt(codes)
    )
    return canonical @ nib.orientations.inv_ornt_aff(turn, shape_xyz)


ALL_CODES = [
    "".join(codes)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for codes in itertools.product(*axes)
]


def oblique_affine() -> np.ndarray:
    """Rotated about two axes, anisotropic, as float32 holds it."""
    a, b = 0.31, -0.22
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(SPACING_XYZ)
    affine[:3, 3] = (12.34, -56.78, 90.12)
    return affine.astype(np.float32).astype(np.float64)


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(
        nib.Nifti1Image(data, np.diag([*SPACING_XYZ, 1.0]) if affine is None else affine), path
    )
    return path


def numbered(shape: tuple[int, int, int], dtype: str = "int16") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


# reading NIfTI


@pytest.mark.parametrize(
    "dtype",
    ["u1", "i1", "<i2", ">i2", "u2", "i4", ">i4", "u4", "i8", "u8", "<f4", ">f4", "f8", ">f8"],
)
@pytest.mark.parametrize("image_type", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_keep_type_and_order(
    tmp_path: Path, dtype: str, image_type: type, suffix: str
) -> None:
    data = numbered((5, 4, 3), dtype)
    path = tmp_path / f"case{suffix}"
    header = image_type.header_class(endianness=">" if ">" in dtype else "<")
    header.set_data_dtype(np.dtype(dtype))
    nib.save(image_type(data, oblique_affine(), header), path)
    volume = read_volume(path)
    assert volume.array.shape == (3, 4, 5)
    assert volume.array.dtype == np.dtype(dtype).newbyteorder("=")
    assert volume.array.dtype.isnative
    assert volume.array.flags.c_contiguous
    assert volume.array[2, 1, 3] == data[3, 1, 2]
    np.testing.assert_array_equal(volume.array.T, data)
    np.testing.assert_array_equal(volume.affine, nib.load(path).affine)
    assert volume.name == "case"


def test_spacing_is_z_y_x(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "a.nii.gz", numbered((5, 4, 3))))
    assert volume.spacing_mm == (4.0, 1.5, 0.75)
    rotated = read_volume(save(tmp_path / "b.nii.gz", numbered((5, 4, 3)), oblique_affine()))
    assert rotated.spacing_mm == pytest.approx((4.0, 1.5, 0.75), abs=1e-6)


def test_scaling_is_applied_once_to_float32(tmp_path: Path) -> None:
    path = tmp_path / "scaled.nii"
    save(path, np.array([[[0, 100, -200]]], "int16"))
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.1, -5.0], "<f4").tobytes()
    path.write_bytes(content)
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    # slope 0.1 is 0.100000001490116 in the header: 100 * slope - 5 = 5.00000015
    np.testing.assert_allclose(volume.array.ravel(), [-5.0, 5.0, -25.0], rtol=1e-6)
    np.testing.assert_array_equal(volume.array.T, nib.load(path).get_fdata().astype(np.float32))


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0, 7), (np.nan, np.nan)])
def test_identity_scaling_keeps_the_type(tmp_path: Path, slope: float, intercept: float) -> None:
    path = save(tmp_path / "a.nii", numbered((2, 3, 4)))
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(content)
    volume = read_volume(path)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array.T, numbered((2, 3, 4)))


def test_trailing_axes_of_length_one_are_dropped(tmp_path: Path) -> None:
    data = numbered((3, 4, 5))
    volume = read_volume(save(tmp_path / "a.nii.gz", data[..., None, None]))
    np.testing.assert_array_equal(volume.array.T, data)


def test_several_gzip_members_and_zero_padding_are_read(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii", numbered((30, 20, 10))).read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(plain[:500]) + gzip.compress(plain[500:]) + bytes(100))
    np.testing.assert_array_equal(read_volume(path).array.T, numbered((30, 20, 10)))


def test_extensions_before_the_voxels_are_skipped(tmp_path: Path) -> None:
    image = nib.Nifti1Image(numbered((3, 4, 5)), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 5000))
    nib.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array.T, numbered((3, 4, 5)))


@pytest.mark.parametrize(("sform_code", "qform_code"), [(1, 0), (0, 1), (0, 0), (2, 1)])
def test_affine_is_nibabels_for_every_header_form(
    tmp_path: Path, sform_code: int, qform_code: int
) -> None:
    image = nib.Nifti1Image(numbered((6, 5, 4)), oblique_affine())
    image.set_sform(oblique_affine() if sform_code else None, sform_code)
    image.set_qform(oblique_affine(), qform_code)
    nib.save(image, tmp_path / "in.nii.gz")
    expected = nib.load(tmp_path / "in.nii.gz").affine
    volume = read_volume(tmp_path / "in.nii.gz")
    np.testing.assert_array_equal(volume.affine, expected)
    write_volume(tmp_path / "out.nii.gz", volume)
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii.gz").affine, expected)
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nii.gz").affine, expected)


@pytest.mark.parametrize("pixdim", [(0, 1.5, 2, 3), (1, -1.5, 2, 3), (-1, 1.5, 2, 3)])
def test_odd_pixdims_are_repaired_as_nibabel_does(
    tmp_path: Path, pixdim: tuple[float, float, float, float]
) -> None:
    path = save(tmp_path / "a.nii", numbered((6, 5, 4)))
    content = bytearray(path.read_bytes())
    content[76:92] = np.array(pixdim, "<f4").tobytes()
    content[252:256] = np.array([1, 0], "<i2").tobytes()
    path.write_bytes(content)
    np.testing.assert_array_equal(read_volume(path).affine, nib.load(path).affine)


# orientation: all 48 axis orders and flips


@pytest.mark.parametrize("codes", ALL_CODES)
def test_every_axis_order_shows_the_same_body_and_comes_back(tmp_path: Path, codes: str) -> None:
    canonical_data = numbered((5, 4, 3))  # (R, A, S)
    canonical_affine = affine_of("RAS", (5, 4, 3))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    data = nib.orientations.apply_orientation(canonical_data, turn)
    path = save(tmp_path / "in.nii.gz", data, affine_of(codes, (5, 4, 3)))
    volume = read_volume(path)
    assert "".join(nib.aff2axcodes(volume.affine)) == codes
    canonical = volume.canonical()
    assert volume.canonical() is canonical  # worked out once
    np.testing.assert_array_equal(canonical.array, canonical_data.T)
    np.testing.assert_array_equal(canonical.affine, canonical_affine)
    assert canonical.spacing_mm == (4.0, 1.5, 0.75)
    assert np.shares_memory(canonical.array, volume.array)
    back = volume.with_array(volume.orientation.invert(canonical.array))
    write_volume(tmp_path / "out.nii.gz", back)
    written = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), data)
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)


def test_the_codes_are_all_48() -> None:
    assert len(set(ALL_CODES)) == len(ORIENTATIONS) == 48
    found = {Orientation.of(affine_of(codes, (5, 4, 3))) for codes in ALL_CODES}
    assert found == set(ORIENTATIONS)


@pytest.mark.parametrize("codes", ALL_CODES)
def test_oblique_grids_are_turned_and_kept(tmp_path: Path, codes: str) -> None:
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(oblique_affine()), nib.orientations.axcodes2ornt(codes)
    )
    data = nib.orientations.apply_orientation(numbered((5, 4, 3)), turn)
    affine = oblique_affine() @ nib.orientations.inv_ornt_aff(turn, (5, 4, 3))
    volume = read_volume(save(tmp_path / "in.nii.gz", data, affine.astype(np.float32)))
    np.testing.assert_array_equal(volume.canonical().array, numbered((5, 4, 3)).T)
    np.testing.assert_allclose(volume.canonical().affine, oblique_affine(), atol=1e-5)
    write_volume(tmp_path / "out.nii", volume)
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii").affine, volume.affine)


@settings(deadline=None, max_examples=200)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    array=hnp.arrays(np.int16, hnp.array_shapes(min_dims=3, max_dims=5, max_side=4)),
)
def test_invert_undoes_apply(orientation: Orientation, array: np.ndarray) -> None:
    turned = orientation.apply(array)
    np.testing.assert_array_equal(orientation.invert(turned), array)
    np.testing.assert_array_equal(orientation.apply(orientation.invert(array)), array)
    assert turned.shape[:-3] == array.shape[:-3]
    assert turned.base is not None


@settings(deadline=None, max_examples=100)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    index=st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 2)),
)
def test_a_voxel_keeps_its_place_in_space(
    orientation: Orientation, index: tuple[int, int, int]
) -> None:
    codes = next(c for c in ALL_CODES if Orientation.of(affine_of(c, (5, 4, 3))) == orientation)
    shape_zyx = orientation.invert(np.empty((3, 4, 5))).shape
    volume = Volume(numbered(shape_zyx), affine_of(codes, (5, 4, 3)))
    canonical = volume.canonical()
    x, y, z = index
    place = canonical.affine @ (x, y, z, 1)
    i, j, k, _ = np.rint(np.linalg.solve(volume.affine, place)).astype(int)
    assert volume.array[k, j, i] == canonical.array[z, y, x]


# writing


def test_written_header_says_nothing_but_voxels_and_geometry(tmp_path: Path) -> None:
    image = nib.Nifti1Image(numbered((4, 5, 6)), oblique_affine())
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = b"DOE^JOHN"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JOHN"))
    nib.save(image, tmp_path / "in.nii.gz")
    assert b"DOE^JOHN" in gzip.decompress((tmp_path / "in.nii.gz").read_bytes())
    write_volume(tmp_path / "DOE_out.nii.gz", read_volume(tmp_path / "in.nii.gz"))
    packed = (tmp_path / "DOE_out.nii.gz").read_bytes()
    assert b"DOE" not in packed
    assert b"DOE" not in gzip.decompress(packed)
    header = nib.load(tmp_path / "DOE_out.nii.gz").header
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        assert header[field].item() == b""
    assert len(header.extensions) == 0
    assert (int(header["sform_code"]), int(header["qform_code"])) == (2, 0)
    assert header.get_xyzt_units()[0] == "mm"


def test_equal_volumes_give_equal_files(tmp_path: Path) -> None:
    volume = Volume(numbered((3, 4, 5)), np.eye(4))
    write_volume(tmp_path / "a.nii.gz", volume)
    write_volume(tmp_path / "b.nii.gz", volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@settings(deadline=None, max_examples=40)
@given(
    array=hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.int64]),
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=6),
    ),
    matrix=hnp.arrays(np.float32, (3, 4), elements=st.floats(-3, 3, width=32)),
)
def test_any_affine_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, matrix: np.ndarray
) -> None:
    affine = np.vstack([matrix, (0, 0, 0, 1)]).astype(np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() < 0.06 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        affine[:3, :3] = np.diag([1, 2, 3])
    path = tmp_path_factory.mktemp("affine") / "a.nii.gz"
    write_volume(path, Volume(array, affine))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.affine, affine)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == array.dtype
    np.testing.assert_array_equal(nib.load(path).affine, affine)


def test_shears_leave_the_qform_unset(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 2] = 0.5
    write_volume(tmp_path / "a.nii", Volume(numbered((9, 9, 9)), affine))
    header = nib.load(tmp_path / "a.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").affine, affine)


def test_shears_of_small_voxels_leave_the_qform_unset_too(tmp_path: Path) -> None:
    """What a qform cannot hold moves the last voxel by 0.008 mm, which is 40 % of it."""
    affine = np.diag([0.02, 0.02, 0.02, 1.0])
    affine[0, 2] = 0.001
    write_volume(tmp_path / "a.nii", Volume(numbered((9, 9, 9)), affine))
    header = nib.load(tmp_path / "a.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)


@pytest.mark.parametrize(("given_type", "stored"), [("bool", "uint8"), ("float16", "float32")])
def test_types_nifti_lacks_are_widened(tmp_path: Path, given_type: str, stored: str) -> None:
    array = np.array([[[0, 1, 1]]], given_type)
    write_volume(tmp_path / "a.nii.gz", Volume(array, np.eye(4)))
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.array.dtype == stored
    np.testing.assert_array_equal(volume.array, [[[0, 1, 1]]])


def test_written_file_has_the_permissions_of_a_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_volume(tmp_path / "a.nii.gz", Volume(numbered((2, 2, 2)), np.eye(4)))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.nii.gz").stat().st_mode) == 0o640


def test_itk_reads_what_was_written_in_the_same_place(tmp_path: Path) -> None:
    volume = Volume(numbered((3, 4, 5)), oblique_affine())
    write_volume(tmp_path / "a.nii.gz", volume)
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.array)
    lps = image.TransformIndexToPhysicalPoint((4, 3, 2))
    expected = (volume.affine @ (4, 3, 2, 1))[:3] * (-1, -1, 1)
    assert lps == pytest.approx(tuple(expected), abs=1e-4)


# labels


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i8", "f4", "f8"])
def test_whole_numbers_of_any_type_are_labels(tmp_path: Path, dtype: str) -> None:
    data = np.array([[[0, 1, 2, 255]]], dtype)
    volume = read_labels(save_any(tmp_path / "a.nii.gz", data))
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array.T, [[[0, 1, 2, 255]]])


def save_any(path: Path, data: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, np.eye(4), dtype=data.dtype), path)
    return path


@pytest.mark.parametrize(
    ("values", "dtype", "said"),
    [
        ([0, 256], "i2", "holds label values above 255 (256)"),
        ([0, -1], "i2", "label -1 is outside 0 to 255"),
        ([0, 300.5], "f4", "label 300.5 is outside 0 to 255"),
        ([0, 0.5], "f4", "label 0.5 is not a whole number"),
        ([0, 254.99], "f8", "label 254.99 is not a whole number"),
    ],
)
def test_other_values_are_no_labels(
    tmp_path: Path, values: list[float], dtype: str, said: str
) -> None:
    path = save_any(tmp_path / "a.nii.gz", np.array([[values]], dtype))
    with pytest.raises(InputError) as caught:
        read_labels(path)
    assert str(caught.value).startswith(f"a.nii.gz: {said}; ")


# NRRD, MetaImage, DICOM


def itk_image(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.75, 1.5, 4.0))
    image.SetOrigin((-10.0, 20.0, 30.0))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    return image


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_itk_formats_agree_with_nifti(tmp_path: Path, suffix: str, compressed: bool) -> None:
    array = numbered((3, 4, 5))
    sitk.WriteImage(itk_image(array), str(tmp_path / f"a{suffix}"), compressed)
    sitk.WriteImage(itk_image(array), str(tmp_path / "b.nii.gz"))
    volume = read_volume(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.int16
    assert volume.name == "a"
    # LPS directions (y, -z, x) of the file's axes become (-y, -z, -x) in RAS
    expected = [[0, 0, -4, 10], [-0.75, 0, 0, -20], [0, -1.5, 0, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected, atol=1e-12)
    np.testing.assert_allclose(volume.affine, nib.load(tmp_path / "b.nii.gz").affine, atol=1e-5)


def test_trailing_axis_of_an_itk_image_is_dropped(tmp_path: Path) -> None:
    image = sitk.JoinSeries([itk_image(numbered((3, 4, 5)))])
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.array, numbered((3, 4, 5)))
    assert volume.spacing_mm == pytest.approx((4.0, 1.5, 0.75))


def write_series(
    folder: Path,
    heights: list[float],
    uid: str = "1.2.3.1",
    shift_per_mm: float = 0.0,
    slope: str = "1",
) -> np.ndarray:
    """An axial series at the given heights; the pixel value is 100 * slice + position in the slice."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    planes = numbered((4, 6)) + 100 * np.arange(len(heights))[:, None, None].astype("int16")
    for number, (plane, height) in enumerate(zip(planes, heights, strict=True)):
        image = sitk.GetImageFromArray(plane[None].astype("int16"))
        image.SetSpacing((0.75, 1.5, 2.0))
        tags = {
            "0008|0060": "CT",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{uid}.{number + 1}",
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0020|0013": str(number),
            "0020|0032": f"-7\\{-9 + shift_per_mm * height}\\{height}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|0030": "1.5\\0.75",
            "0028|1052": "0",
            "0028|1053": slope,
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}.{number}.dcm"))
        writer.Execute(image)
    return planes


def test_series_is_ordered_and_placed_by_its_positions(tmp_path: Path) -> None:
    planes = write_series(tmp_path / "ct", [30.0, 25.0, 20.0, 15.0])
    (tmp_path / "ct" / ".DS_Store").write_bytes(b"x")
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, planes[::-1])
    assert volume.array.dtype.kind == "i"
    assert volume.name == "ct"
    expected = [[-0.75, 0, 0, 7], [0, -1.5, 0, 9], [0, 0, 5, 15], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected, atol=1e-9)


def test_tilted_gantry_gives_the_sheared_affine(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", [10.0, 15.0, 20.0], shift_per_mm=0.2)
    affine = read_volume(tmp_path / "ct").affine
    np.testing.assert_allclose(affine[:3, 2], (0, -1.0, 5.0), atol=1e-9)


def test_one_of_two_series_is_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", [0.0, 5.0, 10.0])
    planes = write_series(tmp_path / "ct", [0.0, 5.0], uid="1.2.3.2")
    with pytest.raises(
        InputError,
        match=r"^ct: holds 2 DICOM volumes; choose one with --series .*: "
        r"'1' \(CT, 3 x 4 x 6, .*\); '2' \(CT, 2 x 4 x 6, .*\)$",
    ):
        read_volume(tmp_path / "ct")
    for series in ("2", "1.2.3.2"):
        np.testing.assert_array_equal(read_volume(tmp_path / "ct", series=series).array, planes)


def test_missing_slice_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", [0.0, 5.0, 10.0, 20.0, 25.0])
    with pytest.raises(
        InputError, match=r"^ct: its DICOM slices are 5 to 10 mm apart \(mostly 5 mm"
    ):
        read_volume(tmp_path / "ct")


def test_doubled_position_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", [0.0, 5.0, 5.0, 10.0])
    with pytest.raises(InputError, match=r"^ct: 2 or more of its 4 DICOM slices share a position"):
        read_volume(tmp_path / "ct")


@needs_samples
def test_sample_series_agrees_with_nibabel(tmp_path: Path) -> None:
    folder = SAMPLES / "example_ct_dicom"
    volume = read_volume(folder)
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    sitk.WriteImage(sitk.ReadImage(files), str(tmp_path / "oracle.nii.gz"))
    oracle = nib.load(tmp_path / "oracle.nii.gz")
    np.testing.assert_array_equal(volume.array.T, np.asanyarray(oracle.dataobj))
    np.testing.assert_allclose(volume.affine, oracle.affine, atol=1e-4)
    assert volume.array.shape == (20, 512, 512)
    assert volume.spacing_mm == (2.0, 0.9765625, 0.9765625)


@needs_samples
@pytest.mark.parametrize("name", ["example_ct", "example_ct_sm", "example_mr_sm", "example_seg"])
def test_sample_volumes_agree_with_nibabel(tmp_path: Path, name: str) -> None:
    path = SAMPLES / f"{name}.nii.gz"
    volume, oracle = read_volume(path), nib.load(path)
    np.testing.assert_array_equal(volume.array.T, np.asanyarray(oracle.dataobj))
    assert volume.array.dtype == oracle.get_data_dtype()
    np.testing.assert_array_equal(volume.affine, oracle.affine)
    sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / "a.nrrd"))
    nrrd = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(nrrd.array, volume.array)
    assert describe_grid_difference(nrrd, volume) == ""


# grids and names


def test_equal_grids_do_not_differ() -> None:
    a = Volume(numbered((3, 4, 5)), oblique_affine())
    moved = oblique_affine()
    moved[0, 3] += 5e-4
    assert describe_grid_difference(a, a) == ""
    assert describe_grid_difference(a, Volume(a.array, moved)) == ""


def test_a_difference_is_told_with_its_numbers() -> None:
    shape = (3, 4, 5)
    a = Volume(numbered(shape), np.diag([1.0, 1, 2, 1]), "a")
    other_shape = Volume(numbered((4, 4, 5)), a.affine, "b")
    assert describe_grid_difference(a, other_shape) == (
        "a and b lie on different grids: shape (z, y, x) (3, 4, 5) against (4, 4, 5); "
        "resample one onto the grid of the other"
    )
    other_spacing = Volume(numbered(shape), np.diag([1.5, 1, 2, 1]), "b")
    # the last of 5 voxels along x moves by 4 * 0.5 mm
    assert describe_grid_difference(a, other_spacing) == (
        "a and b lie on different grids: spacing (z, y, x) (2, 1, 1) against (2, 1, 1.5) mm, "
        "voxels up to 2 mm apart; resample one onto the grid of the other"
    )
    shifted = np.diag([1.0, 1, 2, 1])
    shifted[2, 3] = 0.002
    assert "origin (0, 0, 0) against (0, 0, 0.002) mm" in describe_grid_difference(
        a, Volume(numbered(shape), shifted)
    )
    flipped = np.diag([-1.0, 1, 2, 1])
    flipped[0, 3] = 4
    assert "axes RAS against LAS" in describe_grid_difference(a, Volume(numbered(shape), flipped))


def test_a_small_rotation_counts() -> None:
    turned = np.eye(4)
    angle = 1e-4
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    a = Volume(np.zeros((2, 201, 201), np.uint8), np.eye(4))
    # the far corner lies 200 * sqrt(2) mm away and moves by 1e-4 of that
    assert "up to 0.02828 mm apart" in describe_grid_difference(a, Volume(a.array, turned))
    assert describe_grid_difference(a, Volume(a.array, turned), tolerance_mm=0.03) == ""


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/x/case_01.nii.gz", "case_01"),
        ("case.1.nii", "case.1"),
        ("CASE.NII.GZ", "CASE"),
        ("a.nrrd", "a"),
        ("a.mhd", "a"),
        ("series/", "series"),
        ("notes.txt", "notes.txt"),
    ],
)
def test_case_name(path: str, name: str) -> None:
    assert case_name(path) == name


def test_volume_rejects_what_cannot_be_one() -> None:
    with pytest.raises(InputError, match=r"shape \(2, 2\); give a 3-D array"):
        Volume(np.zeros((2, 2)), np.eye(4))
    with pytest.raises(InputError, match=r"affine has shape \(3, 3\)"):
        Volume(np.zeros((2, 2, 2)), np.eye(3))
    with pytest.raises(InputError, match="liver: its affine is singular"):
        Volume(np.zeros((2, 2, 2)), np.diag([1, 1, 0, 1]), "liver")
    volume = Volume(np.zeros((2, 2, 2)), np.eye(4))
    with pytest.raises(InputError, match=r"\(2, 2, 3\) do not fit its grid \(2, 2, 2\)"):
        volume.with_array(np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 2


@pytest.mark.parametrize("image", [np.zeros((2, 3, 4)), None])
def test_an_image_without_a_place_is_refused_in_words(image: object) -> None:
    with pytest.raises(
        InputError, match=r"is no image that can be used; give a file, or napari_uda"
    ):
        as_volume(image)  # type: ignore[arg-type]


@pytest.mark.parametrize("cores", [1, 3])
def test_blocks_compressed_side_by_side_are_one_gzip_member(tmp_path, monkeypatch, cores) -> None:
    """Other programs read one member only; the bytes are the same on every machine."""
    monkeypatch.setattr("napari_uda.data.nifti.os.cpu_count", lambda: cores)
    array = np.random.default_rng(0).integers(0, 9, (5, 640, 700), dtype=np.int16)  # several blocks
    file = tmp_path / "a.nii.gz"
    write_volume(file, Volume(array, np.eye(4)))
    decoder = zlib.decompressobj(31)
    content = decoder.decompress(file.read_bytes())
    assert decoder.eof
    assert decoder.unused_data == b""
    assert content[352:] == array.tobytes()
    np.testing.assert_array_equal(read_volume(file).array, array)
    assert len(file.read_bytes()) < 1.02 * len(zlib.compress(content, 1))


@pytest.mark.parametrize(
    ("array", "affine", "said"),
    [
        ([[[1]]], np.eye(4), "its array is a list; give a numpy array"),
        (torch.zeros(2, 2, 2), np.eye(4), "its array is a Tensor; give a numpy array"),
        (np.zeros((0, 2, 2)), np.eye(4), r"has shape \(0, 2, 2\); give .* of at least one voxel"),
        (np.zeros((2, 2, 2)), "RAS", "its affine holds no numbers"),
        (
            np.zeros((2, 2, 2)),
            np.array([[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]]).T,
            r"last row of its affine is \(5, 6, 7, 1\) and not \(0, 0, 0, 1\).*its transpose",
        ),
    ],
)
def test_what_is_no_volume(array: Any, affine: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Volume(array, affine)


def test_words_that_say_no_placement(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", Volume(np.zeros((2, 2, 2), np.uint8), np.eye(4)))
    with pytest.raises(InputError, match="placement cannot be 'sfrom'; did you mean sform"):
        read_volume(tmp_path / "a.nii.gz", placement="sfrom")  # type: ignore[arg-type]
