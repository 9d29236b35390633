from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
import SimpleITK as sitk
from dicom_files import (
    AXIAL,
    SHAPE,
    echo,
    image_dataset,
    item,
    planes,
    save,
    scaled,
    write_frames,
    write_slice,
    write_slices,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGLosslessSV1, RLELossless

from napari_uda.core.errors import InputError
from napari_uda.data.dicom import dicom_volumes, read_dicom_files
from napari_uda.data.volume import read_volume

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def refused(path: Path, series: str = "") -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path, series=series)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path.name}: ")
    assert "\n" not in sentence
    assert not sentence.endswith(".")
    return sentence


# files of many frames


def test_frames_are_ordered_and_spaced_by_their_positions(tmp_path: Path) -> None:
    pixels = planes(4)
    write_frames(tmp_path / "mr" / "IM_0001.dcm", pixels, [9.0, 0.0, 6.0, 3.0])
    volume = read_volume(tmp_path / "mr")
    np.testing.assert_array_equal(volume.array, pixels[[1, 3, 2, 0]])
    assert volume.array.dtype == np.int16
    expected = [[-0.75, 0, 0, 7], [0, -1.5, 0, 9], [0, 0, 3, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["IM_0001.dcm", "IM_0001"])
def test_a_file_of_many_frames_is_a_volume_by_itself(tmp_path: Path, name: str) -> None:
    pixels = planes(3)
    write_frames(tmp_path / name, pixels, [0.0, 3.0, 6.0])
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, pixels)
    assert volume.spacing_mm == (3.0, 1.5, 0.75)


def test_an_oblique_sheared_file_keeps_its_affine(tmp_path: Path) -> None:
    """Rows along (0.8, 0.6, 0), columns along -z, slices 4 mm apart along the normal, shifted by 0.5 mm along a row."""
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    step = 4 * normal + 0.5 * np.array(OBLIQUE[:3])
    places = [np.array([10.0, -20.0, 30.0]) + n * step for n in range(4)]
    shared = {"PlaneOrientationSequence": item(ImageOrientationPatient=list(OBLIQUE))}
    write_frames(tmp_path / "a.dcm", planes(4), places[::-1], [shared] * 4)
    volume = read_volume(tmp_path / "a.dcm")
    np.testing.assert_array_equal(volume.array, planes(4)[::-1])
    np.testing.assert_allclose(volume.affine[:3, 0], (-0.6, -0.45, 0), atol=1e-12)
    np.testing.assert_allclose(volume.affine[:3, 1], (0, 0, -1.5), atol=1e-12)
    np.testing.assert_allclose(volume.affine[:3, 2], step * (-1, -1, 1), atol=1e-12)
    np.testing.assert_allclose(volume.affine[:3, 3], (-10, 20, 30), atol=1e-12)


def test_a_missing_frame_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.dcm", planes(4), [0.0, 3.0, 6.0, 12.0])
    assert "are 3 to 6 mm apart (mostly 3 mm), so slices are missing" in refused(tmp_path / "a.dcm")


def test_every_frame_has_its_own_scaling(tmp_path: Path) -> None:
    pixels = np.stack([np.full(SHAPE, value, "u2") for value in (500, 510, 520)])
    write_frames(tmp_path / "a.dcm", pixels, [0.0, 3.0, 6.0], [scaled(s) for s in (1, 2, 3)])
    volume = read_volume(tmp_path / "a.dcm")
    assert volume.array[:, 0, 0].tolist() == [500, 1020, 1560]
    assert volume.array.dtype.kind == "i"
    each = [scaled(0.5, 1), scaled(0.25), scaled(1, -2)]
    write_frames(tmp_path / "b.dcm", pixels, [6.0, 3.0, 0.0], each)
    volume = read_volume(tmp_path / "b.dcm")
    assert volume.array[:, 0, 0].tolist() == [518.0, 127.5, 251.0]
    assert volume.array.dtype == np.float32


def test_shared_scaling_and_shared_orientation_hold_for_all(tmp_path: Path) -> None:
    shared = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=list(AXIAL)),
        PixelMeasuresSequence=item(PixelSpacing=[1.5, 0.75], SliceThickness=3.0),
        **scaled(2, -1000),
    )
    write_frames(tmp_path / "a.dcm", planes(2), [0.0, 3.0], SharedFunctionalGroupsSequence=shared)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").array, planes(2) * 2 - 1000)


def test_two_echoes_in_one_file_are_two_volumes(tmp_path: Path) -> None:
    pixels = planes(6)
    each = [echo(time) for time in (1.15, 2.3) * 3]
    places = [0.0, 0.0, 3.0, 3.0, 6.0, 6.0]
    write_frames(
        tmp_path / "mr" / "a.dcm", pixels, places, each,
        SeriesNumber=401, SeriesDescription="mDIXON", SeriesDate="20240301",
    )  # fmt: skip
    assert refused(tmp_path / "mr") == (
        "mr: holds 2 DICOM volumes; choose one with --series by its number or a part of its name: "
        "'401.1' mDIXON, echo time 1.15 ms (MR, 3 x 4 x 6, 2024-03-01); "
        "'401.2' mDIXON, echo time 2.3 ms (MR, 3 x 4 x 6, 2024-03-01)"
    )
    for series, first in (("401.1", 0), ("echo time 1.15", 0), ("401.2", 1), ("2.3 MS", 1)):
        volume = read_volume(tmp_path / "mr", series=series)
        np.testing.assert_array_equal(volume.array, pixels[first::2])
        assert volume.spacing_mm == (3.0, 1.5, 0.75)
    assert "holds 2 DICOM volumes that fit 'mdixon'" in refused(tmp_path / "mr", "mdixon")
    assert "holds no DICOM volume 'T2'; choose one of these: '401.1'" in refused(
        tmp_path / "mr", "T2"
    )


def test_dixon_is_split_by_image_type(tmp_path: Path) -> None:
    """Water and fat have one echo time, in and opposed phase another."""
    kinds = [("WATER", 2.3), ("FAT", 2.3), ("IN_PHASE", 2.3), ("OPP_PHASE", 1.15)]
    each = [
        {**echo(time), "MRImageFrameTypeSequence": item(FrameType=["DERIVED", "PRIMARY", kind])}
        for kind, time in kinds
        for _ in range(2)
    ]
    write_frames(tmp_path / "a.dcm", planes(8), [0.0, 3.0] * 4, each)
    titles = [stack.title for stack in dicom_volumes(tmp_path / "a.dcm")]
    assert titles == [
        "echo time 1.15 ms, image type OPP_PHASE",
        "echo time 2.3 ms, image type FAT",
        "echo time 2.3 ms, image type IN_PHASE",
        "echo time 2.3 ms, image type WATER",
    ]
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm", series="water").array, planes(2))


def test_diffusion_is_split_by_b_value_and_direction(tmp_path: Path) -> None:
    def weighting(b_value: float, direction: list[float] | None) -> dict:
        group = item(DiffusionBValue=b_value)
        if direction:
            group[0].DiffusionGradientDirectionSequence = item(
                DiffusionGradientOrientation=direction
            )
        return {"MRDiffusionSequence": group}

    kinds = [
        (0.0, None), (500.0, [1.0, 0, 0]), (500.0, [0, 1.0, 0]), (800.0, [1.0, 0, 0]), (800.0, [0, 1.0, 0]),
    ]  # fmt: skip
    each = [weighting(*kind) for _ in range(3) for kind in kinds]
    write_frames(tmp_path / "a.dcm", planes(15), np.repeat([0.0, 3.0, 6.0], 5), each)
    stacks = dicom_volumes(tmp_path / "a.dcm")
    assert [stack.title for stack in stacks] == [
        "b-value 0, diffusion direction none",
        "b-value 500, diffusion direction 0 1 0",
        "b-value 500, diffusion direction 1 0 0",
        "b-value 800, diffusion direction 0 1 0",
        "b-value 800, diffusion direction 1 0 0",
    ]
    volume = read_volume(tmp_path / "a.dcm", series=stacks[3].key)
    np.testing.assert_array_equal(volume.array, planes(15)[4::5])


@pytest.mark.parametrize(
    ("creator", "group", "element", "vr", "values"),
    [
        ("SIEMENS MR HEADER", 0x0019, 0x0C, "IS", (0, 1000)),
        ("Philips Imaging DD 001", 0x2001, 0x03, "FL", (0.0, 1000.0)),
        ("GEMS_PARM_01", 0x0043, 0x39, "IS", ([1000000000, 8, 0], [1000001000, 8, 0])),
    ],
)
def test_b_values_of_older_scanners_are_found(
    tmp_path: Path, creator: str, group: int, element: int, vr: str, values: tuple
) -> None:
    folder = write_slices(tmp_path / "mr", planes(4), [0.0, 0.0, 5.0, 5.0])
    for number, file in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(file)
        dataset.private_block(group, creator, create=True).add_new(element, vr, values[number % 2])
        dataset.save_as(file)
    assert [stack.title for stack in dicom_volumes(folder)] == ["b-value 0", "b-value 1000"]
    np.testing.assert_array_equal(read_volume(folder, series="b-value 1000").array, planes(4)[1::2])


def test_pixels_that_are_floating_point_numbers(tmp_path: Path) -> None:
    """Parametric maps, such as a map of diffusion."""
    pixels = planes(3) / np.float32(7)
    path = write_frames(tmp_path / "a.dcm", planes(3), [3.0, 0.0, 6.0])
    dataset = pydicom.dcmread(path)
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, keyword)
    dataset.BitsAllocated, dataset.FloatPixelData = 32, pixels.astype("<f4").tobytes()
    save(dataset, path)
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, pixels[[1, 0, 2]])


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    each = [echo(time) for time in range(1, 21)] * 2
    write_frames(tmp_path / "a.dcm", planes(40), np.repeat([0.0, 3.0], 20), each)
    sentence = refused(tmp_path / "a.dcm")
    assert "holds 20 DICOM volumes" in sentence
    assert "'1.12' echo time 12 ms" in sentence
    assert sentence.endswith("; and 8 more")


def test_phases_are_told_apart_by_the_order_of_their_times(tmp_path: Path) -> None:
    """The trigger delays of a slice are not those of the next."""
    delays = [10.0, 400.0, 13.0, 395.0, 8.0, 410.0]
    each = [
        {"CardiacSynchronizationSequence": item(NominalCardiacTriggerDelayTime=d)} for d in delays
    ]
    write_frames(tmp_path / "a.dcm", planes(6), [0.0, 0.0, 8.0, 8.0, 16.0, 16.0], each)
    assert [stack.title for stack in dicom_volumes(tmp_path / "a.dcm")] == ["phase 1", "phase 2"]
    np.testing.assert_array_equal(
        read_volume(tmp_path / "a.dcm", series="phase 2").array, planes(6)[1::2]
    )


def test_a_volume_that_lacks_a_frame_of_its_echo_is_refused_when_chosen(tmp_path: Path) -> None:
    times, places = [1.0] * 4 + [2.0] * 3, [0.0, 3.0, 6.0, 9.0, 0.0, 6.0, 9.0]
    write_frames(tmp_path / "a.dcm", planes(7), places, [echo(time) for time in times])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm", series="1.1").array, planes(4))
    assert "are 3 to 6 mm apart" in refused(tmp_path / "a.dcm", "1.2")


def test_images_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.dcm", planes(4), [0.0, 3.0, 3.0, 6.0])
    sentence = refused(tmp_path / "a.dcm")
    assert "2 or more of its 4 DICOM slices share a position, and nothing known tells" in sentence
    assert "(frame 2 of a.dcm and frame 3 of a.dcm)" in sentence


@pytest.mark.parametrize("order", ["volume after volume", "place after place"])
def test_repetitions_are_told_apart_by_the_order_of_images(tmp_path: Path, order: str) -> None:
    """Functional MR of some scanners has nothing but the number of the image."""
    places = {
        "volume after volume": [0.0, 5.0, 10.0] * 2,
        "place after place": [0.0, 0.0, 5.0, 5.0, 10.0, 10.0],
    }[order]
    parts = {"volume after volume": np.s_[3:], "place after place": np.s_[1::2]}[order]
    write_slices(tmp_path / "mr", planes(6), places)
    titles = [stack.title for stack in dicom_volumes(tmp_path / "mr")]
    assert titles == ["repetition 1", "repetition 2"]
    volume = read_volume(tmp_path / "mr", series="repetition 2")
    np.testing.assert_array_equal(volume.array, planes(6)[parts])
    assert volume.spacing_mm[0] == 5.0


def test_repetitions_without_a_sure_order_are_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "a", planes(6), [0.0, 0.0, 5.0, 10.0, 5.0, 10.0])
    assert "share a position, and nothing known tells" in refused(tmp_path / "a")
    twice = [{"InstanceNumber": number} for number in (1, 2, 1, 2)]
    write_slices(tmp_path / "b", planes(4), [0.0, 5.0, 0.0, 5.0], twice)
    assert "share a position, and nothing known tells" in refused(tmp_path / "b")


def test_slabs_of_thin_and_of_thick_slices_are_two_volumes(tmp_path: Path) -> None:
    """A head CT: 4 mm at the base, 7 mm above."""
    places = [0.0, 4.0, 8.0, 12.0, 17.5, 24.5, 31.5]
    each = [{"SliceThickness": 4.0}] * 4 + [{"SliceThickness": 7.0}] * 3
    write_slices(tmp_path / "ct", planes(7), places, each)
    assert "'1.2' thickness 7 mm (CT, 3 x 4 x 6)" in refused(tmp_path / "ct")
    volume = read_volume(tmp_path / "ct", series="thickness 7 mm")
    np.testing.assert_array_equal(volume.array, planes(7)[4:])
    assert volume.spacing_mm[0] == 7.0
    assert volume.affine[2, 3] == 17.5


def test_slabs_that_lack_a_slice_are_refused(tmp_path: Path) -> None:
    each = [{"SliceThickness": 4.0}] * 3 + [{"SliceThickness": 7.0}] * 3
    write_slices(tmp_path / "ct", planes(6), [0.0, 4.0, 12.0, 17.5, 24.5, 31.5], each)
    assert "slices are missing or unevenly spaced" in refused(tmp_path / "ct")


def test_parallel_stacks_of_one_file_are_split(tmp_path: Path) -> None:
    """Two discs of a spine: three slices each, 40 mm apart."""
    stacks = [{"FrameContentSequence": item(StackID=str(number))} for number in (1, 1, 1, 2, 2, 2)]
    places = [0.0, 3.0, 6.0, 46.0, 49.0, 52.0]
    write_frames(tmp_path / "a.dcm", planes(6), places, stacks)
    volume = read_volume(tmp_path / "a.dcm", series="stack 2")
    np.testing.assert_array_equal(volume.array, planes(6)[3:])
    assert volume.affine[2, 3] == 46.0


def test_planes_of_a_localizer_are_three_volumes(tmp_path: Path) -> None:
    coronal, sagittal = (1.0, 0, 0, 0, 0, -1.0), (0, 1.0, 0, 0, 0, -1.0)
    each = [
        {"PlaneOrientationSequence": item(ImageOrientationPatient=list(o))}
        for o in (AXIAL, AXIAL, coronal, coronal, sagittal, sagittal)
    ]
    places = [(0, 0, 0), (0, 0, 9), (0, 0, 0), (0, 9, 0), (0, 0, 0), (9, 0, 0)]
    write_frames(tmp_path / "a.dcm", planes(6), places, each)
    titles = [stack.title for stack in dicom_volumes(tmp_path / "a.dcm")]
    assert titles == ["axial", "coronal", "sagittal"]
    volume = read_volume(tmp_path / "a.dcm", series="coronal")
    np.testing.assert_array_equal(volume.array, planes(6)[2:4])
    # LPS (1, 0, 0), (0, 0, -1) and the normal (0, 1, 0)
    expected = [[-0.75, 0, 0, 0], [0, 0, -9, 0], [0, -1.5, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected, atol=1e-12)


def test_files_that_are_no_volume_say_what_they_are(tmp_path: Path) -> None:
    pixels = planes(3)
    path = write_frames(tmp_path / "a.dcm", pixels, [0.0, 3.0, 6.0], NumberOfFrames=4)
    assert "a.dcm declares 4 frames and describes 3" in refused(path)
    write_frames(path, pixels, [0.0, 3.0, 6.0], PerFrameFunctionalGroupsSequence=None)
    assert "a.dcm holds many frames that carry no position each" in refused(path)
    write_frames(path, pixels, [0.0, 3.0, 6.0], SharedFunctionalGroupsSequence=None)
    assert "a.dcm carries no orientation" in refused(path)
    write_frames(path, pixels, [0.0, 3.0, 6.0], PhotometricInterpretation="PALETTE COLOR")
    assert "a.dcm is a colour image (PALETTE COLOR)" in refused(path)
    segmentation = image_dataset(
        pixels.astype("u1"), "1.2.840.10008.5.1.4.1.1.66.4", SOPInstanceUID="1.2.3.4"
    )
    assert "a.dcm is a segmentation (DICOM SEG)" in refused(save(segmentation, path))
    write_slice(path, pixels[0], 0.0)
    assert "is a single slice of a DICOM series; give the folder" in refused(path)


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.dcm", planes(2), [0.0, 3.0], Rows=60000, Columns=60000)
    assert "60000 lies outside 1 to 4096" in refused(path)
    write_frames(path, planes(2), [0.0, 3.0], Rows=4096, Columns=4096)
    assert "the pixels of a.dcm (not compressed) cannot be decoded" in refused(path)


# series of single slices


@pytest.mark.parametrize(
    ("slopes", "expected", "kind"),
    [
        ((1, 0.01, 1), [663, 6.63, 663], np.float32),
        ((1, 100, 1), [663, 66300, 663], np.int32),
        ((0.001, 1, 0.5), [0.663, 663, 331.5], np.float32),
        ((1, 1, 1), [663, 663, 663], np.int16),
    ],
)
def test_every_slice_has_its_own_slope(
    tmp_path: Path, slopes: tuple[float, ...], expected: list[float], kind: type
) -> None:
    each = [{"RescaleSlope": slope, "RescaleIntercept": 0} for slope in slopes]
    pixels = np.full((3, *SHAPE), 663, "int16")
    write_slices(tmp_path / "ct", pixels, [0.0, 5.0, 10.0], each)
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_allclose(volume.array[:, 0, 0], expected, rtol=1e-7)
    assert volume.array.dtype == kind


def test_nothing_wraps_in_16_bits(tmp_path: Path) -> None:
    pixels = np.full((2, *SHAPE), 1770, "int16")
    each = [{"RescaleSlope": slope, "RescaleIntercept": 0} for slope in (1, 100)]
    write_slices(tmp_path / "pet", pixels, [0.0, 5.0], each)
    assert read_volume(tmp_path / "pet").array[:, 0, 0].tolist() == [1770, 177000]
    high = np.full((2, *SHAPE), 65535, "uint16")
    write_slices(tmp_path / "ct", high, [0.0, 5.0], RescaleSlope=1, RescaleIntercept=-1024)
    assert read_volume(tmp_path / "ct").array[:, 0, 0].tolist() == [64511, 64511]


def test_slices_of_two_types_keep_their_values(tmp_path: Path) -> None:
    write_slice(tmp_path / "ct" / "a.dcm", np.full(SHAPE, -5, "int16"), 0.0)
    write_slice(tmp_path / "ct" / "b.dcm", np.full(SHAPE, 65000, "uint16"), 5.0)
    write_slice(tmp_path / "ct" / "c.dcm", np.full(SHAPE, 200, "uint8"), 10.0)
    assert read_volume(tmp_path / "ct").array[:, 0, 0].tolist() == [-5, 65000, 200]


def test_bits_above_the_stored_ones_are_no_values(tmp_path: Path) -> None:
    """Old scanners keep overlays there."""
    pixels = planes(2, "uint16") | 0xF000
    write_slices(tmp_path / "ct", pixels, [0.0, 5.0], BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, planes(2))
    signed = (planes(2) - 50) & 0x0FFF
    write_slices(tmp_path / "mr", signed.astype("i2"), [0.0, 5.0], BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_volume(tmp_path / "mr").array, planes(2) - 50)


def test_jumps_and_other_orientations_half_way_are_refused(tmp_path: Path) -> None:
    places = [(-7, -9, 0), (-7, -9, 5), (-2, -9, 10), (-2, -9, 15)]
    write_slices(tmp_path / "a", planes(4), places)
    assert (
        "do not lie on one line: IM_002.dcm is shifted by 5 mm in its plane against the slice before it"
        in refused(tmp_path / "a")
    )
    turned = {"ImageOrientationPatient": [0.0, 1.0, 0.0, -1.0, 0.0, 0.0]}
    write_slices(tmp_path / "b", planes(4), [0.0, 5.0, 10.0, 15.0], [{}, {}, turned, turned])
    assert "holds 2 DICOM volumes; choose one" in refused(tmp_path / "b")
    wider = {"PixelSpacing": [1.5, 0.8]}
    write_slices(tmp_path / "c", planes(3), [0.0, 5.0, 10.0], [{}, wider, {}])
    sentence = refused(tmp_path / "c")
    assert "'1.1' pixels of 1.5 x 0.75 mm (CT, 2 x 4 x 6)" in sentence
    assert "'1.2' pixels of 1.5 x 0.8 mm (CT, 1 x 4 x 6)" in sentence


def test_pixel_values_that_show_dark_are_read_as_stored_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_slices(tmp_path / "ct", planes(2), [0.0, 5.0], PhotometricInterpretation="MONOCHROME1")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, planes(2))
    assert "ct: its pixels are MONOCHROME1, so viewers show high values dark" in caplog.text
    write_slice(tmp_path / "ct" / "b.dcm", planes(1)[0], 10.0)
    assert "some of its DICOM slices show high values dark" in refused(tmp_path / "ct")


def test_a_single_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    write_slice(tmp_path / "a" / "a.dcm", planes(1)[0], 7.0, SliceThickness=5.0)
    volume = read_volume(tmp_path / "a")
    assert volume.spacing_mm == (5.0, 1.5, 0.75)
    assert volume.affine[2].tolist() == [0, 0, 5, 7]
    write_slice(tmp_path / "b" / "a.dcm", planes(1)[0], 7.0, SliceThickness=None)
    assert "is a single slice whose thickness is not stated" in refused(tmp_path / "b")


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("step", [1.0, 3.0, 8.0])
def test_jitter_is_accepted_and_a_missing_slice_is_not(
    tmp_path: Path, step: float, missing: bool
) -> None:
    """Every second slice lies 0.05 mm too high, so gaps alternate by 0.1 mm."""
    places = [step * n + 0.05 * (-1) ** n for n in range(10) if not (missing and n == 6)]
    write_slices(tmp_path / "ct", planes(len(places)), places)
    if missing:
        assert "slices are missing or unevenly spaced" in refused(tmp_path / "ct")
    else:
        spacing = read_volume(tmp_path / "ct").spacing_mm[0]
        assert spacing == pytest.approx(step, abs=0.1 / 9 + 1e-9)


def test_two_echoes_in_single_files_are_two_volumes(tmp_path: Path) -> None:
    each = [{"EchoTime": time, "SeriesDescription": "dual"} for time in (2.0, 4.0) * 3]
    write_slices(tmp_path / "mr", planes(6), np.repeat([0.0, 5.0, 10.0], 2).tolist(), each)
    assert "'1.2' dual, echo time 4 ms (CT, 3 x 4 x 6)" in refused(tmp_path / "mr")
    volume = read_volume(tmp_path / "mr", series="echo time 4")
    np.testing.assert_array_equal(volume.array, planes(6)[1::2])


def test_echoes_whose_positions_are_rounded_differently(tmp_path: Path) -> None:
    places = [0.0, 0.02, 5.0, 5.02, 10.0, 10.02]
    write_slices(tmp_path / "mr", planes(6), places, [{"EchoTime": t} for t in (2.0, 4.0) * 3])
    volume = read_volume(tmp_path / "mr", series="echo time 4")
    np.testing.assert_array_equal(volume.array, planes(6)[1::2])
    assert volume.affine[2].tolist() == pytest.approx([0, 0, 5, 0.02])


def test_values_that_no_slope_explains_are_refused(tmp_path: Path) -> None:
    write_slices(
        tmp_path / "a", planes(2), [0.0, 5.0], ModalityLUTSequence=item(LUTDescriptor=[4, 0, 8])
    )
    assert "IM_000.dcm has a table instead of a rescale slope" in refused(tmp_path / "a")
    for name, kind in (("siemens", "MOSAIC"), ("united_imaging", "VFRAME")):
        types = ["ORIGINAL", "PRIMARY", "M", kind]
        write_slices(tmp_path / name, planes(2), [0.0, 5.0], ImageType=types)
        assert "IM_000.dcm is a mosaic, many slices side by side" in refused(tmp_path / name)


def test_a_slice_without_a_place_is_named(tmp_path: Path) -> None:
    each = [{}, {"ImagePositionPatient": None}, {}]
    write_slices(tmp_path / "ct", planes(3), [0.0, 5.0, 10.0], each)
    assert (
        "1 of the DICOM files of its series cannot be used: IM_001.dcm carries no position"
        in refused(tmp_path / "ct")
    )


def test_a_damaged_slice_is_named(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", planes(3), [0.0, 5.0, 10.0])
    last = tmp_path / "ct" / "IM_002.dcm"
    whole = last.read_bytes()
    last.write_bytes(whole[:-10])
    assert "the pixels of IM_002.dcm (not compressed) cannot be decoded" in refused(last.parent)
    last.write_bytes(whole[:400])
    assert refused(last.parent) == (
        "ct: IM_002.dcm cannot be read as DICOM, so a slice may be missing; "
        "copy the folder again or take the damaged file out of it"
    )


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    folder = write_slices(tmp_path / "ct", planes(3), [0.0, 5.0, 10.0])
    report = image_dataset(planes(1), "1.2.840.10008.5.1.4.1.1.88.11", SOPInstanceUID="1.2.9")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    save(report, folder / "report.dcm")
    (folder / "notes.txt").write_text("x" * 300)
    np.testing.assert_array_equal(read_volume(folder).array, planes(3))


def test_files_without_a_preamble_are_read(tmp_path: Path) -> None:
    folder = write_slices(tmp_path / "ct", planes(2), [0.0, 5.0])
    for number, file in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(file)
        del dataset.file_meta
        dataset.save_as(folder / f"IM{number}", implicit_vr=True, little_endian=True)
        file.unlink()
    np.testing.assert_array_equal(read_volume(folder).array, planes(2))


@settings(deadline=None, max_examples=80)
@given(
    place=st.integers(128, 10_000),
    piece=st.binary(min_size=1, max_size=6),
    frames=st.booleans(),
    cut=st.booleans(),
)
def test_any_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, piece: bytes, frames: bool, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    file = folder / "a.dcm"
    if frames:
        write_frames(file, planes(3), [6.0, 0.0, 3.0], [{**echo(1), **scaled(2)}] * 3)
    else:
        write_slice(file, planes(1)[0], 0.0)
    content = bytearray(file.read_bytes())
    place %= len(content)
    content[place : place + len(piece)] = piece
    file.write_bytes(content[: place + 1] if cut else content)
    with suppress(InputError):
        volume = read_volume(folder)
        assert volume.array.ndim == 3
        assert np.isfinite(volume.affine).all()
        return
    assert refused(folder)


# encodings


def packed(plane: np.ndarray, path: Path) -> pydicom.Dataset:
    """A plane as lossless JPEG, packed by SimpleITK, which knows unsigned pixels only."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(path))
    writer.Execute(sitk.GetImageFromArray(plane.view(f"u{plane.dtype.itemsize}")))
    return pydicom.dcmread(path)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "uint8"])
def test_compressed_slices_are_decoded(tmp_path: Path, dtype: str) -> None:
    """With slopes and MONOCHROME1 beside the pixels, which SimpleITK would apply in its own way."""
    pixels = np.kron(planes(2), np.ones((8, 8))) - (50 if dtype == "int16" else 0)
    pixels = pixels.astype(dtype)
    for number, plane in enumerate(pixels):
        dataset = packed(plane, tmp_path / "packed.dcm")
        assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1
        for keyword, value in {
            "SeriesInstanceUID": "1.2.3.1", "ImagePositionPatient": [-7, -9, 5 * number],
            "ImageOrientationPatient": list(AXIAL), "PixelSpacing": [1.5, 0.75],
            "PixelRepresentation": int(dtype == "int16"), "RescaleSlope": number + 1,
            "RescaleIntercept": -3, "PhotometricInterpretation": "MONOCHROME1",
        }.items():  # fmt: skip
            setattr(dataset, keyword, value)
        save(dataset, tmp_path / "ct" / f"{number}.dcm")
    expected = np.stack([pixels[0].astype(int) - 3, pixels[1].astype(int) * 2 - 3])
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, expected)


@pytest.mark.parametrize("uid", [RLELossless, JPEGLosslessSV1])
def test_compressed_frames_are_decoded_by_their_place(tmp_path: Path, uid: str) -> None:
    pixels = np.kron(planes(6), np.ones((8, 8))).astype("uint16")
    each = [{**echo(t), **scaled(t)} for t in (1, 2) * 3]
    path = write_frames(tmp_path / "a.dcm", pixels, np.repeat([6.0, 3.0, 0.0], 2).tolist(), each)
    dataset = pydicom.dcmread(path)
    if uid == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom")
    else:
        pieces = [packed(plane, tmp_path / "p.dcm").PixelData for plane in pixels]
        frames = [next(generate_frames(piece, number_of_frames=1)) for piece in pieces]
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = uid
    save(dataset, path)
    np.testing.assert_array_equal(read_volume(path, series="1.2").array, pixels[1::2][::-1] * 2)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "a.dcm" in refused(path, "1.2")


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit", "MR_small_padded",
        "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless",
    ],
)  # fmt: skip
def test_one_slice_in_many_encodings_is_one_slice(tmp_path: Path, name: str) -> None:
    """The files that pydicom brings along."""
    volumes = []
    for one in (name, "MR_small"):
        (tmp_path / one).mkdir()
        shutil.copy(pydicom.data.get_testdata_file(f"{one}.dcm", download=False), tmp_path / one)
        volumes.append(read_volume(tmp_path / one))
    np.testing.assert_array_equal(volumes[0].array, volumes[1].array)
    assert volumes[0].array.shape == (1, 64, 64)
    assert volumes[0].array.dtype == np.int16
    assert volumes[0].spacing_mm == (0.8, 0.3125, 0.3125)


def test_deflated_files_are_read(tmp_path: Path) -> None:
    folder = write_slices(tmp_path / "ct", planes(2), [0.0, 5.0])
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        dataset.save_as(file)
    np.testing.assert_array_equal(read_volume(folder).array, planes(2))


# slices that say they belong to different series


def test_files_of_many_series_are_one_volume_when_asked(tmp_path: Path) -> None:
    files = [
        write_slice(tmp_path / f"{n}.dcm", plane, height, SeriesInstanceUID=f"1.2.{n + 1}")
        for n, (plane, height) in enumerate(zip(planes(3), (10.0, 0.0, 5.0), strict=True))
    ]
    array, affine, order = read_dicom_files(files, "MR/1")
    assert order == [1, 2, 0]
    np.testing.assert_array_equal(array, planes(3)[order])
    assert affine[2].tolist() == [0, 0, 5, 0]
    files.append(write_slice(tmp_path / "3.dcm", planes(1)[0], 15.0, PixelSpacing=[1.0, 1.0]))
    with pytest.raises(InputError, match=r"^MR/1: 3.dcm and 0.dcm differ \(pixels of 1 x 1 mm"):
        read_dicom_files(files, "MR/1")


@pytest.mark.parametrize("spacing", [[0.0, 0.75], [-1.5, 0.75]])
def test_a_pixel_spacing_that_is_none_is_named(tmp_path: Path, spacing: list[float]) -> None:
    measures = {"PixelMeasuresSequence": item(PixelSpacing=spacing, SliceThickness=3.0)}
    write_frames(tmp_path / "a.dcm", planes(2), [0.0, 3.0], [measures] * 2)
    said = f"a.dcm has a pixel spacing of {spacing[0]:g} x 0.75 mm (0028,0030)"
    assert said in refused(tmp_path / "a.dcm")
