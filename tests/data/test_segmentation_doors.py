"""Segmentations of every kind in data folders and folders of patients, paired by case name or by their series."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from segmentation_files import write_image, write_rtstruct, write_seg, write_seg_nrrd

from napari_uda.core.errors import InputError
from napari_uda.data.check import check_folder
from napari_uda.data.folder import DataFolder
from napari_uda.data.patients import find_patients
from napari_uda.data.segmentation import read_segmentation
from napari_uda.data.volume import Volume, read_volume, write_volume

LABELS = np.zeros((5, 4, 6), np.uint8)
LABELS[1, 1:3, 2:5] = 1
LABELS[3, 2:, 4:] = 2
NAMES = {1: "Liver", 2: "Spleen"}


def rtstruct(path: Path, **tags: object) -> Path:
    """The same as contours: corners between the centres, at (-7, -9) LPS for the first pixel."""

    def box(x: tuple[int, int], y: tuple[int, int], z: int) -> list[list[float]]:
        (left, right), (back, front) = (
            (-7 + 0.75 * (x[0] - 0.5), -7 + 0.75 * (x[1] + 0.5)),
            (-9 + 1.5 * (y[0] - 0.5), -9 + 1.5 * (y[1] + 0.5)),
        )
        corners = ((left, back), (right, back), (right, front), (left, front))
        return [[*corner, 3.0 * z] for corner in corners]

    liver, spleen = box((2, 4), (1, 2), 1), box((4, 5), (2, 3), 3)
    return write_rtstruct(path, [("Spleen", [spleen]), ("Liver", [liver])], **tags)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images, each with labels of another kind that number the structures differently."""
    root = tmp_path / "data"
    for number in range(1, 6):
        uid = f"1.2.3.{number}"
        write_image(root / "images" / f"p{number}", SeriesInstanceUID=uid, SOPInstanceUID=uid)
    image = root / "images" / "p1"
    labels = root / "labels"
    write_seg(labels / "p1.dcm", image, LABELS, NAMES)
    rtstruct(labels / "p2" / "RS.1.2.3")
    volume = read_volume(image)
    origin = volume.affine[:3, 3] * (-1, -1, 1)
    segments = [
        {"Name": "spleen", "LabelValue": "1", "Layer": "0"},
        {"Name": "Liver", "LabelValue": "9", "Layer": "0"},
    ]
    array = np.select([LABELS == 1, LABELS == 2], [9, 1], 0).astype(np.uint8)
    write_seg_nrrd(
        labels / "p3.seg.nrrd", array[1:], segments, np.add(origin, (0, 0, 3)), (0.75, 1.5, 3.0)
    )
    swapped = np.select([LABELS == 1, LABELS == 2], [2, 1], 0).astype(np.uint8)
    write_seg(labels / "p4.dcm", image, swapped, {1: "Spleen", 2: "Liver"}, "LABELMAP")
    write_volume(labels / "p5.nii.gz", volume.with_array(LABELS))
    return root


def test_every_kind_is_paired_and_read_by_names(folder: Path) -> None:
    (folder / "dataset.json").write_text(json.dumps({"labels": {"liver": 1, "spleen": 2}}))
    opened = DataFolder.open(folder)
    assert [case.label.name for case in opened.cases if case.label] == [
        "p1.dcm", "RS.1.2.3", "p3.seg.nrrd", "p4.dcm", "p5.nii.gz",
    ]  # fmt: skip
    for case in opened.cases:
        assert (case.read_labels().array == LABELS).all(), case.name
        image = case.read_image()
        assert (case.read_labels(image).affine == image.affine).all()
    shown = [len(case.files_to_show()) for case in opened.cases]
    assert shown == [2, 1, 2, 2, 2]  # contours need their image


def test_without_dataset_json_the_files_name(folder: Path) -> None:
    opened = DataFolder.open(folder)
    assert opened.labels == {}
    with pytest.raises(InputError, match="open which value of a label map is which"):
        opened.named()  # p5 says nothing
    (folder / "labels" / "p5.ctbl").write_text("1 Liver 1 2 3 255\n2 Spleen 4 5 6 255\n")
    named = opened.named()
    assert named.found_labels == {"Liver": 1, "Spleen": 2}
    for case in named.cases:
        assert (case.read_labels().array == LABELS).all(), case.name
    known = opened.named({"spleen": 7})
    assert (known.cases[0].read_labels().array == 7 * (LABELS == 2)).all()
    report = check_folder(folder, labelled=True)
    assert [(one.name, one.value, one.voxels, one.cases) for one in report.structures] == [
        ("Liver", 1, 30, 5),
        ("Spleen", 2, 20, 5),
    ]
    said = sorted(problem.sentence for problem in report.problems)
    assert said[0].startswith("p1, p2, p3, p4, p5 are the same image")
    assert said[1].startswith("the images are said to be CT, but no value is below 0")
    assert len(said) == 2


def test_a_check_names_labels_that_do_not_fit(folder: Path) -> None:
    (folder / "dataset.json").write_text(json.dumps({"labels": {"kidney": 1}}))
    report = check_folder(folder, labelled=True)
    found = {problem.file: problem.sentence for problem in report.problems if problem.fatal}
    assert "have none of the names kidney" in found["labels/p1.dcm"]
    assert not check_folder(folder, labelled=False).is_fatal


def test_a_hospitals_tree_pairs_by_series(tmp_path: Path) -> None:
    root = tmp_path / "hospital"
    for number in (1, 2):
        uid = f"1.2.3.{number}"
        write_image(root / f"p{number}" / "CT", SeriesInstanceUID=uid, SOPInstanceUID=uid)
    write_image(root / "p1" / "MR", SeriesInstanceUID="1.2.3.30", SOPInstanceUID="1.2.3.30")
    write_seg(root / "p1" / "SEG" / "1", root / "p1" / "CT", LABELS, NAMES)
    rtstruct(root / "p2" / "CT" / "rs.dcm", drawn_on="1.2.3.2")
    rtstruct(root / "p3" / "RT" / "rs.dcm", drawn_on="1.2.3.99")
    found = find_patients(root)
    assert [(case.name, case.label) for case in found.cases] == [
        ("p1_CT", root / "p1" / "SEG" / "1"),
        ("p1_MR", None),
        ("p2", root / "p2" / "CT" / "rs.dcm"),
    ]
    assert found.notes() == "passed over p3/RT/rs.dcm (a segmentation without its image)"
    (root / "dataset.json").write_text(json.dumps({"labels": {"liver": 1, "spleen": 2}}))
    for case in DataFolder.open(root).cases:
        if case.label is not None:
            assert (case.read_labels().array == LABELS).all()
    rtstruct(root / "p2" / "RT" / "rs.dcm", drawn_on="1.2.3.2")
    found = find_patients(root)
    assert found.cases[2].label is None
    assert "p2/CT/rs.dcm, p2/RT/rs.dcm (several segmentations of one image)" in found.notes()


def test_slicer_files_beside_an_image(tmp_path: Path) -> None:
    root = tmp_path / "data"
    image = read_volume(write_image(tmp_path / "ct"))
    for name in ("p1/p1.nii.gz", "p2/ct.nii.gz", "p3/a.nii.gz", "p3/b.nii.gz"):
        write_volume(root / name, image)
    for name in ("p1/p1", "p2/Segmentation", "p3/b"):
        write_seg_nrrd(root / f"{name}.seg.nrrd", LABELS, [{"Name": "x", "LabelValue": "1"}])
    found = find_patients(root)
    labels = {case.name: case.label and case.label.name for case in found.cases}
    assert labels == {
        "p1": "p1.seg.nrrd", "p2": "Segmentation.seg.nrrd", "p3_a": None, "p3_b": "b.seg.nrrd",
    }  # fmt: skip


def test_a_folder_with_two_is_open(tmp_path: Path) -> None:
    from napari_uda.data.volume import read_labels

    ct = write_image(tmp_path / "ct")
    for name in ("a.dcm", "b.dcm"):
        write_seg(tmp_path / "seg" / name, ct, LABELS, NAMES)
    with pytest.raises(InputError, match=r"seg: holds 2 segmentations \(a\.dcm, b\.dcm\); name"):
        read_labels(tmp_path / "seg", grid=read_volume(ct))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["liver"], "a list does not; give a dict"),
        ({1: "liver"}, "1 is no name; turn them round"),
        ({"liver": "1"}, "'1' of liver is no whole number from 0 on"),
        ({"liver": -1}, "-1 of liver is no whole number from 0 on"),
        ({"liver": 1.5}, "1.5 of liver is no whole number from 0 on"),
        ({"liver": 1, "spleen": 1}, "liver and spleen have the same one; make each unique"),
    ],
)
def test_names_that_say_no_values_are_refused(
    tmp_path: Path, names: dict[str, int], sentence: str
) -> None:
    file = tmp_path / "p1.nii.gz"
    write_volume(file, Volume(LABELS, np.eye(4)))
    with pytest.raises(InputError, match=rf"such as {{'liver': 1}}, and {re.escape(sentence)}$"):
        read_segmentation(file, names=names)
    assert read_segmentation(file, names={"liver": np.uint8(1)}).names == {1: "liver"}


def test_what_is_no_path_is_named(tmp_path: Path) -> None:
    for given in (LABELS, None, 3):
        kind = type(given).__name__
        with pytest.raises(InputError, match=f"^a {kind} is no path; give a volume file"):
            read_volume(given)
        with pytest.raises(InputError, match=f"^a {kind} is no path; give a file"):
            read_segmentation(given)


def test_a_series_is_chosen_by_its_number(tmp_path: Path) -> None:
    for number in (3, 4):
        image = write_image(tmp_path / str(number), count=number, SeriesNumber=number)
        for file in image.iterdir():
            (tmp_path / "both").mkdir(exist_ok=True)
            tags = {"SeriesInstanceUID": f"1.2.{number}", "SOPInstanceUID": f"1.2.{number}.1"}
            dataset = dcmread(file)
            for tag, value in tags.items():
                setattr(dataset, tag, value)
            dataset.save_as(tmp_path / "both" / f"{number}_{file.name}")
    assert len(read_volume(tmp_path / "both", series=4).array) == 4
