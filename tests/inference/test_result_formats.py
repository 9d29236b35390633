"""`predict --format`: labels for 3D Slicer and as DICOM, read again by other programs."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import echo, item, write_frames, write_slices
from even_odd import even_odd

from napari_uda.cli import main
from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import structure_colour
from napari_uda.data.patients import Case
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.segmentation import read_segmentation
from napari_uda.data.volume import Volume, read_labels, read_volume, write_volume
from napari_uda.evaluation.report import evaluate_folders
from napari_uda.inference.predict import Prediction
from napari_uda.inference.results import check_format
from napari_uda.run.run import Run

SHAPE = (5, 12, 16)
NAMES = {1: "MYO", 3: "left kidney", 4: "Größe \\ Ω", 7: "liver"}
STUDY: dict[str, Any] = {
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.1.1",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.1.2",
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Müller^Jürgen",
    "PatientID": "P1",
    "PatientBirthDate": "19500101",
    "PatientSex": "F",
    "StudyDate": "20200102",
    "StudyTime": "101010",
    "StudyID": "1",
    "AccessionNumber": "A7",
}
OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)
WEIGHTS = "ab" * 32


def rgb(name: str, value: int) -> list[int]:
    """The colour in which every layer and picture shows the structure, 0 to 255."""
    return list(bytes.fromhex(structure_colour(name, value)[1:]))


def labels_by_hand() -> np.ndarray:
    """A ring with a hole, pixels that touch at a corner, one at the border; nothing in the first slice, no 7."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:9, 2:10] = 1
    labels[2, 4:6, 4:7] = 0
    labels[2, 10, 11] = labels[2, 11, 12] = labels[4, 0, 15] = 3
    labels[3:, 9:, :3] = 4
    return labels


def predicted(volume: Volume) -> Prediction:
    labels = labels_by_hand()
    entropy = np.full(SHAPE, 0.5, np.float32)
    return Prediction(
        labels, entropy, np.ones_like(labels), NAMES, volume, "p1", ModelOrigin("ct2mr", WEIGHTS)
    )


def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 900, SHAPE).astype(np.int16)


def series(folder: Path, **tags: Any) -> Path:
    """An oblique CT whose files are in another order than its slices."""
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    positions = [tuple(normal * 3 * number + (10, -20, 30)) for number in range(SHAPE[0])]
    order = [3, 0, 4, 2, 1]
    return write_slices(
        folder / "ct",
        pixels()[order],
        [positions[number] for number in order],
        **{**STUDY, "ImageOrientationPatient": list(OBLIQUE), **tags},
    )


def two_echoes(folder: Path) -> Path:
    """An enhanced MR of two echoes, slice by slice, from the head down."""
    heights = [height for height in (12.0, 9.0, 6.0, 3.0, 0.0) for _ in range(2)]
    study = {**STUDY, "ImageType": ["ORIGINAL", "PRIMARY"]}
    return write_frames(
        folder / "mr.dcm",
        np.repeat(pixels(), 2, axis=0),
        heights,
        [echo(2.3), echo(4.6)] * SHAPE[0],
        **study,
    )


@pytest.fixture
def ct(tmp_path: Path) -> Prediction:
    return predicted(read_volume(series(tmp_path)))


@pytest.fixture
def mr(tmp_path: Path) -> Prediction:
    return predicted(read_volume(two_echoes(tmp_path), series="echo time 4.6"))


def sound(file: Path) -> None:
    """Nothing is wrong for dciodvfy of dicom3tools, where that is installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        return
    said = subprocess.run([program, "-new", file], capture_output=True, text=True, check=False)
    wrong = [line for line in (said.stdout + said.stderr).splitlines() if "Error" in line]
    assert not wrong, "\n".join(wrong)


# --- 3D Slicer --------------------------------------------------------------------------------------


def test_seg_nrrd_has_the_labels_and_slicers_keys(ct: Prediction, tmp_path: Path) -> None:
    files = ct.save(tmp_path / "out", format="seg-nrrd")
    assert [file.name for file in files] == [
        "p1_labels.seg.nrrd",
        "p1_entropy.nii.gz",
        "p1_reliability.nii.gz",
    ]
    image = sitk.ReadImage(str(files[0]))
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ct.labels)
    np.testing.assert_allclose(read_volume(files[0]).affine, ct.volume.affine, atol=1e-12)
    keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    names = [keys[f"Segment{number}_Name"] for number in range(4)]
    assert names[:2] + names[3:] == ["MYO", "left kidney", "liver"]
    assert names[2].replace("\\\\", "\\") == NAMES[4]
    assert [keys[f"Segment{number}_LabelValue"] for number in range(4)] == ["1", "3", "4", "7"]
    assert {keys[f"Segment{number}_Layer"] for number in range(4)} == {"0"}
    assert "Segment4_Name" not in keys
    assert keys["Segment0_ID"] == "Segment_1"
    colour = [float(part) for part in keys["Segment1_Color"].split()]
    assert colour == pytest.approx([part / 255 for part in rgb("left kidney", 3)], abs=1e-5)
    assert keys["Segment0_Extent"] == "2 9 2 8 1 3"
    assert keys["Segment1_Extent"] == "11 15 0 11 2 4"
    assert keys["Segment3_Extent"] == "0 -1 0 -1 0 -1"
    assert keys["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert keys["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    assert (keys["napari_uda_model"], keys["napari_uda_weights_sha256"]) == ("ct2mr", WEIGHTS)


def test_seg_nrrd_of_a_sheared_grid_keeps_it(tmp_path: Path) -> None:
    affine = np.diag([0.7, 0.7, 2.0, 1.0])
    affine[1, 2] = 0.5
    found = predicted(Volume(pixels(), affine, "p1"))
    file = found.save(tmp_path, format="seg-nrrd")[0]
    np.testing.assert_allclose(read_volume(file).affine, affine, atol=1e-12)
    image = sitk.ReadImage(str(file))  # no format but NIfTI keeps ITK from opening sheared grids
    assert image.TransformIndexToPhysicalPoint((0, 0, 4)) == pytest.approx((0, -2, 8))


# --- DICOM SEG --------------------------------------------------------------------------------------


def of_segmentation(file: Path, planes: list[str | tuple[str, int]]) -> np.ndarray:
    """The labels as highdicom gives them for the source's slices: UIDs, or the UID and frames of one file."""
    found = hd.seg.segread(file)
    arguments = {"combine_segments": True, "assert_missing_frames_are_empty": True}
    if isinstance(planes[0], tuple):
        return np.asarray(
            found.get_pixels_by_source_frame(
                planes[0][0], [number for _, number in planes], **arguments
            )
        )
    return np.asarray(found.get_pixels_by_source_instance(planes, **arguments))


def test_dicom_seg_of_a_series(ct: Prediction, tmp_path: Path) -> None:
    file = ct.save(tmp_path / "out", format="dicom-seg")[0]
    assert file.name == "p1_labels.dcm"
    sound(file)
    headers = [pydicom.dcmread(one) for one in (tmp_path / "ct").iterdir()]
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    headers.sort(key=lambda header: normal @ np.array(header.ImagePositionPatient, float))
    got = of_segmentation(file, [header.SOPInstanceUID for header in headers])
    np.testing.assert_array_equal(np.array([0, 1, 3, 4, 7])[got], ct.labels)
    found = hd.seg.segread(file)
    assert (str(found.PatientName), found.PatientID) == ("Müller^Jürgen", "P1")
    assert found.StudyInstanceUID == STUDY["StudyInstanceUID"]
    assert found.FrameOfReferenceUID == STUDY["FrameOfReferenceUID"]
    assert found.SeriesInstanceUID != STUDY["SeriesInstanceUID"]
    described = [found.get_segment_description(number) for number in found.segment_numbers]
    labels = [one.segment_label for one in described]
    assert labels == ["MYO", "left kidney", "Größe / Ω", "liver"]
    assert [one.SegmentDescription for one in described] == [
        f"label value {value}" for value in NAMES
    ]
    kidney = described[1].SegmentedPropertyTypeCodeSequence[0]
    assert kidney.CodeMeaning == "Kidney"
    assert kidney.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    colour = hd.color.CIELabColor(*map(float, unscaled(described[0]))).to_rgb()
    assert np.abs(np.subtract(colour, rgb("MYO", 1))).max() <= 1
    algorithm = described[0].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "ct2mr"
    assert algorithm.AlgorithmParameters == f"weights_sha256={WEIGHTS}"


def unscaled(description: Any) -> np.ndarray:
    """L*, a* and b* of a segment, which DICOM stores as 16-bit numbers."""
    stored = np.array(description.RecommendedDisplayCIELabValue, float)
    return stored / 65535 * (100, 255, 255) - (0, 128, 128)


def test_dicom_seg_of_one_echo_in_a_file_of_two(mr: Prediction, tmp_path: Path) -> None:
    file = mr.save(tmp_path / "out", format="dicom-seg")[0]
    sound(file)
    uid = pydicom.dcmread(tmp_path / "mr.dcm").SOPInstanceUID
    # the volume runs upwards, the frames downwards, and every second one is of this echo
    got = of_segmentation(file, [(uid, number) for number in (10, 8, 6, 4, 2)])
    np.testing.assert_array_equal(np.array([0, 1, 3, 4, 7])[got], mr.labels)
    others = of_segmentation(file, [(uid, number) for number in (9, 7, 5, 3, 1)])
    assert not others.any()


@pytest.mark.parametrize("format", ["dicom-seg", "rtstruct"])
def test_nothing_found_is_a_sound_file_with_every_name(
    ct: Prediction, tmp_path: Path, format: Any
) -> None:
    empty = replace(ct, labels=np.zeros_like(ct.labels))
    file = empty.save(tmp_path / "out", format=format)[0]
    sound(file)
    found = pydicom.dcmread(file)
    if format == "rtstruct":
        assert next(roi.ROIName for roi in found.StructureSetROISequence) == "MYO"
        assert all("ContourSequence" not in roi for roi in found.ROIContourSequence)
    else:
        assert len(found.SegmentSequence) == 4
        assert not found.pixel_array.any()


# --- RTSTRUCT ---------------------------------------------------------------------------------------


def filled(file: Path, volume: Volume, uids: list[tuple[str, int]]) -> np.ndarray:
    """The labels of a structure set, its polygons filled by the even-odd rule in the slices they refer to."""
    dataset = pydicom.dcmread(file)
    to_index = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine)
    labels = np.zeros(volume.array.shape, np.uint8)
    for roi in dataset.ROIContourSequence:
        polygons: dict[int, list[np.ndarray]] = {}
        for contour in roi.get("ContourSequence", ()):
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            index = np.column_stack([points, np.ones(len(points))]) @ to_index.T
            (reference,) = contour.ContourImageSequence
            where = (reference.ReferencedSOPInstanceUID, reference.get("ReferencedFrameNumber", 1))
            place = uids.index(where)
            np.testing.assert_allclose(index[:, 2], place, atol=1e-4)  # in the plane of its slice
            polygons.setdefault(place, []).append(index[:, 1::-1])
        for place, found in polygons.items():
            labels[place][even_odd(found, labels.shape[1:])] = roi.ReferencedROINumber
    return labels


def test_rtstruct_of_a_series_filled_again_is_the_same(ct: Prediction, tmp_path: Path) -> None:
    file = ct.save(tmp_path / "out", format="rtstruct")[0]
    assert file.name == "p1_rtstruct.dcm"
    sound(file)
    headers = [pydicom.dcmread(one) for one in (tmp_path / "ct").iterdir()]
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    headers.sort(key=lambda header: normal @ np.array(header.ImagePositionPatient, float))
    uids = [(header.SOPInstanceUID, 1) for header in headers]
    np.testing.assert_array_equal(filled(file, ct.volume, uids), ct.labels)
    found = pydicom.dcmread(file)
    assert (str(found.PatientName), found.AccessionNumber) == ("Müller^Jürgen", "A7")
    assert [(roi.ROINumber, roi.ROIName) for roi in found.StructureSetROISequence] == [
        (1, "MYO"),
        (3, "left kidney"),
        (4, "Größe / Ω"),
        (7, "liver"),
    ]
    assert list(found.ROIContourSequence[0].ROIDisplayColor) == rgb("MYO", 1)
    assert found.StructureSetDescription == f"model ct2mr, weights sha256 {WEIGHTS}"
    (frame,) = found.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == STUDY["FrameOfReferenceUID"]
    (referred,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert {one.ReferencedSOPInstanceUID for one in referred.ContourImageSequence} == {
        uid for uid, _ in uids
    }
    hole = next(  # the ring's second slice: an outline, and one of its own for the hole
        contours
        for contours in [
            [
                one
                for one in found.ROIContourSequence[0].ContourSequence
                if one.ContourImageSequence[0].ReferencedSOPInstanceUID == uids[2][0]
            ]
        ]
    )
    assert [one.NumberOfContourPoints for one in hole] == [4, 4]
    assert {one.ContourGeometricType for one in hole} == {"CLOSED_PLANAR"}


def test_rtstruct_of_frames_refers_to_each(mr: Prediction, tmp_path: Path) -> None:
    file = mr.save(tmp_path / "out", format="rtstruct")[0]
    sound(file)
    uid = pydicom.dcmread(tmp_path / "mr.dcm").SOPInstanceUID
    uids = [(uid, number) for number in (10, 8, 6, 4, 2)]
    np.testing.assert_array_equal(filled(file, mr.volume, uids), mr.labels)


def test_the_edges_of_pixels_are_half_a_pixel_outside(tmp_path: Path) -> None:
    """Pixels of 0.75 x 1.5 mm; the first one's centre is at (-7, -9)."""
    found = predicted(read_volume(write_slices(tmp_path / "ct", pixels(), range(5), **STUDY)))
    labels = np.zeros_like(found.labels)
    labels[2, 3, 4] = 1
    file = replace(found, labels=labels).save(tmp_path, format="rtstruct")[0]
    (contour,) = pydicom.dcmread(file).ROIContourSequence[0].ContourSequence
    points = np.array(contour.ContourData, float).reshape(-1, 3)
    left, right = -7 + 3.5 * 0.75, -7 + 4.5 * 0.75
    front, back = -9 + 2.5 * 1.5, -9 + 3.5 * 1.5
    assert points.tolist() == [
        [left, front, 2.0],
        [right, front, 2.0],
        [right, back, 2.0],
        [left, back, 2.0],
    ]


def test_a_volume_that_was_turned_is_written_as_its_series_lies(
    ct: Prediction, tmp_path: Path
) -> None:
    order = ct.volume.canonical()
    turned = replace(ct, volume=order, labels=ct.volume.with_array(ct.labels).canonical().array)
    for format in ("dicom-seg", "rtstruct"):
        one, other = (
            pydicom.dcmread(given.save(tmp_path / name, format=format)[0])  # type: ignore[arg-type]
            for name, given in (("a", ct), ("b", turned))
        )
        if format == "dicom-seg":
            np.testing.assert_array_equal(one.pixel_array, other.pixel_array)
        else:
            assert one.ROIContourSequence == other.ROIContourSequence


# --- what the image does not allow ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "words"),
    [("dicom-seg", "a DICOM segmentation"), ("rtstruct", "a DICOM structure set")],
)
def test_without_dicom_it_is_refused_before_any_work(
    format: str,
    words: str,
    tiny_run: Run,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("it has begun")

    monkeypatch.setattr("napari_uda.inference.loaded.LoadedRun.load", work)
    out = tmp_path / "out"
    given = ["predict", str(tiny_run.path), str(two_domains[1]), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main([*given, "--format", format]))
    assert ended.value.code == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith(
            f"target_0.nii.gz: is no DICOM series, and {words} refers to one; take --format nifti or seg-nrrd, or "
            "give the DICOM folder that it was made from"
        )
    )
    assert not out.exists()
    volume = read_volume(two_domains[1] / "images" / "target_0.nii.gz")
    nothing = np.zeros(volume.array.shape, np.uint8)
    found = Prediction(
        nothing, nothing.astype(np.float32), nothing, NAMES, volume, "c", ModelOrigin("run")
    )
    with pytest.raises(InputError, match="is no DICOM series"):
        found.save(out, format=format)  # type: ignore[arg-type]
    assert not out.exists()


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"FrameOfReferenceUID": None}, "does not say its frame of reference (0020,0052)"),
        ({"SOPInstanceUID": "1.2.3.4"}, "two of its slices have the same number of its own"),
    ],
)
def test_headers_that_cannot_be_referred_to_are_named(
    tags: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    folder = series(tmp_path, **tags)
    read_volume(folder)
    for format in ("dicom-seg", "rtstruct"):
        with pytest.raises(InputError) as caught:
            check_format(format, [Case("p1", folder)])  # type: ignore[arg-type]
        assert sentence in str(caught.value)
        assert str(caught.value).endswith("take --format nifti or seg-nrrd")
    check_format("nifti", [Case("p1", folder)])


def test_headers_with_little_in_them_are_enough(tmp_path: Path) -> None:
    few = {key: value for key, value in STUDY.items() if key.endswith("UID")}
    strange = {"PatientSex": "U", "SeriesNumber": None, "StudyDate": "2020.01.02"}
    positions = range(SHAPE[0])
    with pydicom.config.disable_value_validation():
        folder = write_slices(tmp_path / "ct", pixels(), positions, **few, **strange)
    found = predicted(read_volume(folder))
    for format in ("dicom-seg", "rtstruct"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nobody is told what a hospital's headers lack
            file = found.save(tmp_path / "out", format=format)[0]  # type: ignore[arg-type]
        written = pydicom.dcmread(file)
        assert (written.PatientID, written.PatientSex) == ("", "")


@pytest.mark.parametrize("format", ["seg-nrrd", "dicom-seg", "rtstruct"])
def test_predict_writes_every_format_of_a_dicom_folder(
    format: str, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    image = read_volume(two_domains[1] / "images" / "target_0.nii.gz").canonical()
    array = np.ascontiguousarray(image.array[:, ::-1, ::-1]).astype(np.int16)
    folder = write_slices(tmp_path / "dicom", array, [4.0 * z for z in range(len(array))], **STUDY)
    out = tmp_path / "out"
    given = ["predict", tiny_run.path, folder, "--out", out, "--format", format, "--no-entropy"]
    main([*map(str, given), "--no-reliability"])
    names = {file.name for file in out.iterdir()}
    ending = {"seg-nrrd": "_labels.seg.nrrd", "dicom-seg": "_labels.dcm"}.get(
        format, "_rtstruct.dcm"
    )
    assert names == {f"dicom{ending}"}


def test_a_broken_series_does_not_keep_others_from_being_written(
    tiny_run: Run,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One misses a slice; of another the headers turn out to be refused by the library that writes."""
    image = read_volume(two_domains[1] / "images" / "target_0.nii.gz").canonical()
    array = np.ascontiguousarray(image.array[:, ::-1, ::-1]).astype(np.int16)
    for number in range(3):
        study = {**STUDY, "SeriesInstanceUID": f"{STUDY['SeriesInstanceUID']}.{number}"}
        heights = [4.0 * z for z in range(len(array))]
        write_slices(tmp_path / "all" / f"p{number}", array, heights, **study)
    sorted((tmp_path / "all" / "p0").iterdir())[2].unlink()
    segmentation = hd.seg.Segmentation

    def refuse(source_images: Any, **arguments: Any) -> Any:
        if source_images[0].SeriesInstanceUID.endswith(".1"):
            raise ValueError("a value of another kind")
        return segmentation(source_images=source_images, **arguments)

    monkeypatch.setattr(hd.seg, "Segmentation", refuse)
    given = ["predict", tiny_run.path, tmp_path / "all", "--out", tmp_path / "out"]
    words = [*map(str, given), "--format", "dicom-seg", "--no-reliability"]
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(words))
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 3 volumes could not be segmented: p0: its DICOM slices are" in said
    assert "p1: no DICOM segmentation can be made for it (a value of another kind)" in said
    assert [file.name for file in (tmp_path / "out").glob("*.dcm")] == ["p2_labels.dcm"]


def test_no_half_file_stays(
    ct: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = {file.name: file.read_bytes() for file in ct.save(out, format="dicom-seg")}

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    other = replace(ct, labels=np.roll(ct.labels, 1, axis=2))
    for format in ("dicom-seg", "rtstruct", "seg-nrrd", "nifti"):
        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", fail)
            with pytest.raises(InputError, match=r"cannot write the maps of p1 to .*no space left"):
                other.save(out, format=format)  # type: ignore[arg-type]
        assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_what_every_frame_states_for_itself_is_had_in_common(tmp_path: Path) -> None:
    """As some scanners write it; highdicom looks among the shared groups."""
    geometry = {
        "PlaneOrientationSequence": item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        "PixelMeasuresSequence": item(PixelSpacing=[1.5, 0.75], SliceThickness=3.0),
    }
    heights = [3.0 * number for number in range(SHAPE[0])]
    study = {**STUDY, "ImageType": ["ORIGINAL", "PRIMARY"]}
    write_frames(tmp_path / "mr.dcm", pixels(), heights, [geometry] * SHAPE[0], **study)
    made = predicted(read_volume(tmp_path / "mr.dcm"))
    file = made.save(tmp_path / "out", format="dicom-seg")[0]
    sound(file)
    volume = hd.seg.segread(file).get_volume(combine_segments=True)
    assert volume.spacing == (3.0, 1.5, 0.75)
    np.testing.assert_array_equal(read_labels(file, grid=made.volume).array, made.labels)


@pytest.mark.parametrize(
    "tags",
    [{"SliceThickness": None}, {"StudyDate": "2020-01-02"}, {"StudyTime": "25:00"},
     {"PatientBirthDate": "unknown"}],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_headers_that_anonymisers_leave_are_enough(tmp_path: Path, tags: Any, kind: Any) -> None:
    with pydicom.config.disable_value_validation():
        made = predicted(read_volume(series(tmp_path, **tags)))
    file = made.save(tmp_path / "out", format=kind)[0]
    sound(file)
    assert not any(pydicom.dcmread(file).get(keyword) for keyword in tags)
    np.testing.assert_array_equal(read_labels(file, grid=made.volume).array, made.labels)


@pytest.mark.parametrize("kind", ["nifti", "seg-nrrd", "dicom-seg", "rtstruct"])
def test_label_values_with_gaps_come_back_from_every_format(
    ct: Prediction, tmp_path: Path, kind: Any
) -> None:
    file = ct.save(tmp_path / "out", format=kind)[0]
    found = read_segmentation(file, grid=ct.volume)
    np.testing.assert_array_equal(found.labels.array, ct.labels)
    if kind == "seg-nrrd":
        assert found.names == NAMES
    elif kind == "dicom-seg":
        assert list(found.names) == [1, 3, 4, 7]


@pytest.mark.parametrize("kind", ["seg-nrrd", "dicom-seg", "rtstruct"])
def test_names_that_dicom_has_no_room_for_are_found_again(
    ct: Prediction, tmp_path: Path, kind: Any
) -> None:
    names = {1: "left " * 20, 3: "a\\b", 4: "right " * 20, 7: "right " * 20 + "lobe"}
    file = replace(ct, names=names).save(tmp_path / "out", format=kind)[0]
    wanted = {names[1]: 1, names[3]: 30, "spleen": 5}
    found = read_segmentation(file, grid=ct.volume, names=wanted)
    expected = np.select([ct.labels == 1, ct.labels == 3], [1, 30], 0)
    np.testing.assert_array_equal(found.labels.array, expected)
    assert found.names == {1: names[1], 30: names[3]}
    with pytest.raises(InputError, match="have none of the names"):  # two begin alike
        read_segmentation(file, grid=ct.volume, names={names[4] + "x": 1, names[7] + "y": 2})


def test_dicom_seg_of_a_tilted_gantry_is_read_without_its_image(tmp_path: Path) -> None:
    places = [(-7.0, -9.0 + 1.8 * number, 5.0 * number) for number in range(SHAPE[0])]
    made = predicted(read_volume(write_slices(tmp_path / "ct", pixels(), places, **STUDY)))
    file = made.save(tmp_path / "out", format="dicom-seg")[0]
    np.testing.assert_array_equal(read_labels(file, grid=made.volume).array, made.labels)
    alone = read_labels(file)  # slices 1 to 4 hold structures
    np.testing.assert_array_equal(alone.array, made.labels[1:])
    np.testing.assert_allclose(alone.affine[:3, :3], made.volume.affine[:3, :3], atol=1e-9)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"format": "dicom_sge"}, "format cannot be 'dicom_sge'; did you mean dicom-seg?"),
        ({"entropy_dtype": "f16"}, "entropy_dtype cannot be 'f16'; choose one of uint8, float32"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_before_writing(
    ct: Prediction, tmp_path: Path, choice: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        ct.save(tmp_path / "out", **choice)
    assert str(refused.value) == said
    assert not (tmp_path / "out").exists()


ENDINGS = {
    "nifti": "_labels.nii.gz",
    "seg-nrrd": "_labels.seg.nrrd",
    "dicom-seg": "_labels.dcm",
    "rtstruct": "_rtstruct.dcm",
}


@pytest.mark.parametrize("format", ENDINGS)
@pytest.mark.parametrize("kind", ["ct", "mr"])
def test_what_is_written_is_read_and_scored_as_what_was_meant(
    kind: str, format: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    names = {1: "MYO", 3: "left kidney", 4: "Größe", 7: "liver"}
    done = replace(request.getfixturevalue(kind), names=names)
    done.save(tmp_path / "out", format=format, entropy=False)
    values = {name: value for value, name in names.items()}
    file = tmp_path / "out" / f"p1{ENDINGS[format]}"
    assert (read_labels(file, grid=done.volume, names=values).array == done.labels).all()
    write_volume(tmp_path / "truth" / "p1.nii.gz", done.volume.with_array(done.labels))
    (tmp_path / "truth" / "dataset.json").write_text(json.dumps({"labels": values}))
    scores = evaluate_folders(tmp_path / "out", tmp_path / "truth")
    assert {row["name"]: row["dice"] for row in scores.rows if row["name"] != "liver"} == {
        name: 1.0 for name in values if name != "liver"
    }
