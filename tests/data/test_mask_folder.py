"""Folders of masks, one file for each structure: where they are found, how they are read, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_files import planes, write_slices

import napari_uda as uda
from napari_uda.core.errors import InputError
from napari_uda.data.check import check_folder
from napari_uda.data.folder import DataFolder
from napari_uda.data.patients import find_labels, find_patients
from napari_uda.data.segmentation import read_segmentation
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.evaluation.report import evaluate_folders
from napari_uda.run.offers import find_offers, read_offer

AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])
LABELS = np.zeros((4, 6, 6), np.uint8)
LABELS[1, 1:4, 1:4] = 1  # liver, 9 voxels
LABELS[2, 4:, 4:] = 2  # spleen, 4 voxels
NAMES = {"liver": 1, "spleen": 2}
IMAGE = Volume(np.arange(144, dtype=np.int16).reshape(4, 6, 6), AFFINE)


def write_masks(
    folder: Path, labels: np.ndarray = LABELS, *, inside: int = 1, **extra: np.ndarray
) -> Path:
    """`liver`, `spleen` and more as files of 0 and `inside`, all as uint8."""
    masks = {"liver": labels == 1, "spleen": labels == 2, **extra}
    for name, mask in masks.items():
        write_volume(folder / f"{name}.nii.gz", IMAGE.with_array(mask.astype(np.uint8) * inside))
    return folder


def test_masks_become_one_label_map(tmp_path: Path) -> None:
    folder = write_masks(
        tmp_path / "s9" / "segmentations", inside=255, aorta=np.zeros((4, 6, 6), bool)
    )
    (folder / "._liver.nii.gz").write_bytes(b"junk of a Mac")
    (folder / "statistics.json").write_text("{}")
    own = read_segmentation(folder)
    assert own.names == {1: "aorta", 2: "liver", 3: "spleen"}  # in the order of the alphabet
    assert np.array_equal(own.labels.array, np.choose(LABELS, [0, 2, 3]))
    assert np.array_equal(own.labels.affine, AFFINE)
    named = read_segmentation(folder, grid=IMAGE, names={"Spleen": 7})
    assert named.names == {7: "Spleen"}
    assert np.array_equal(named.labels.array, 7 * (LABELS == 2))


def test_only_masks_that_are_named_are_read(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "s9" / "segmentations")
    (folder / "body.nii.gz").write_bytes(b"no volume")
    assert np.array_equal(read_segmentation(folder, names=NAMES).labels.array, LABELS)
    with pytest.raises(InputError, match=r"^body\.nii\.gz: is not gzip-compressed"):
        read_segmentation(folder)


def test_masks_lie_on_the_image(tmp_path: Path) -> None:
    """A mask that is cropped and whose axes run the other way is put where it lies."""
    folder = write_masks(tmp_path / "s9" / "segmentations")
    turned = np.diag([-1.0, 1, 3, 1])
    turned[:3, 3] = 5, 3, 3
    part = (LABELS == 2)[1:, 3:, ::-1]
    write_volume(folder / "spleen.nii.gz", Volume(np.uint8(part), turned))
    found = read_segmentation(folder, grid=IMAGE, names=NAMES)
    assert np.array_equal(found.labels.array, LABELS)
    write_volume(folder / "spleen.nii.gz", Volume(np.uint8(LABELS == 2), np.diag([2.0, 1, 3, 1])))
    with pytest.raises(
        InputError,
        match=r"^s9/segmentations/spleen\.nii\.gz does not lie on the voxels of the image: its voxels are",
    ):
        read_segmentation(folder, grid=IMAGE, names=NAMES)


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (
            {"kidney": LABELS > 0},
            "s9/segmentations: kidney and liver overlap in 9 voxels .and so does another pair., and a label map holds "
            "one structure per voxel; name only structures that do not overlap",
        ),
        (
            {"all": LABELS},
            "s9/segmentations/all.nii.gz: holds the values 0, 1, 2, and a mask of one structure among others holds 0 "
            "and one other; keep either masks or one label map in a folder",
        ),
    ],
)
def test_what_is_no_set_of_masks_is_refused(
    tmp_path: Path, extra: dict[str, np.ndarray], sentence: str
) -> None:
    folder = write_masks(tmp_path / "s9" / "segmentations", **extra)
    with pytest.raises(InputError, match=f"^{sentence}"):
        read_segmentation(folder, grid=IMAGE)
    assert np.array_equal(read_segmentation(folder, names=NAMES).labels.array, LABELS)


def test_masks_have_no_numbers_to_go_by(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "p1")
    with pytest.raises(
        InputError, match=r"^p1: its segments \(liver, spleen\) have none of the names label_1"
    ):
        read_segmentation(folder, names={"label_1": 1})


def test_two_files_of_one_structure_are_refused(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "p1")
    shutil.copy(folder / "liver.nii.gz", folder / "Liver.nii.gz")
    with pytest.raises(InputError, match=r"^p1: Liver\.nii\.gz and liver\.nii\.gz are both liver"):
        read_segmentation(folder)


# where they are found


def test_patients_of_totalsegmentator_are_a_data_folder(tmp_path: Path) -> None:
    """`s1/ct.nii.gz` with `s1/segmentations`, also beside DICOM, and where a patient has one structure only."""
    for patient in ("s1", "s2"):
        write_volume(tmp_path / patient / "ct.nii.gz", IMAGE)
        write_masks(tmp_path / patient / "segmentations")
    (tmp_path / "s2" / "segmentations" / "liver.nii.gz").unlink()
    write_slices(tmp_path / "s3" / "CT", planes(4), [3.0 * number for number in range(4)])
    dicom = read_volume(tmp_path / "s3" / "CT")
    write_volume(
        tmp_path / "s3" / "masks" / "liver.nii.gz", dicom.with_array(np.uint8(dicom.array > 20))
    )
    folder = DataFolder.open(tmp_path)
    assert [(case.name, case.label) for case in folder.cases] == [
        ("s1", tmp_path / "s1" / "segmentations"),
        ("s2", tmp_path / "s2" / "segmentations"),
        ("s3", tmp_path / "s3" / "masks"),
    ]
    assert folder.passed_over == ()
    cases = folder.named().cases
    assert folder.named().found_labels == NAMES
    expected = [LABELS, 2 * (LABELS == 2), dicom.array > 20]
    for case, labels in zip(cases, expected, strict=True):
        assert np.array_equal(case.read_labels().array, labels), case.name
    report = check_folder(tmp_path, labelled=True)
    assert [(one.name, one.cases) for one in report.structures] == [("liver", 2), ("spleen", 2)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"spleen": 5}}))
    assert DataFolder.open(tmp_path).cases[0].read_labels().array.max() == 5


def test_a_label_map_alone_in_a_patients_folder_of_labels_is_taken(tmp_path: Path) -> None:
    write_volume(tmp_path / "p1" / "ct.nii.gz", IMAGE)
    file = tmp_path / "p1" / "labels" / "seg.nii.gz"
    write_volume(file, IMAGE.with_array(LABELS))
    assert [case.label for case in find_patients(tmp_path).cases] == [file]
    write_volume(file.with_name("mask.nii.gz"), IMAGE.with_array(LABELS))  # now nobody knows
    found = find_patients(tmp_path)
    assert [case.label for case in found.cases] == [None]
    assert found.passed_over == ("p1/labels (a folder of label maps)",)


def test_masks_that_belong_to_no_single_image_are_passed_over(tmp_path: Path) -> None:
    for name in ("t1", "t2"):
        write_volume(tmp_path / "p1" / f"{name}.nii.gz", IMAGE)
    assert DataFolder.open(tmp_path).where_labels_go == "put them into its subfolder labels"
    write_masks(tmp_path / "p1" / "masks")
    found = find_patients(tmp_path)
    assert [case.label for case in found.cases] == [None, None]
    assert found.passed_over == ("p1/masks (a folder of label maps)",)
    where = DataFolder.open(tmp_path).where_labels_go
    assert where.endswith("one folder of masks, such as segmentations/liver.nii.gz")


def test_masks_in_the_folder_of_labels(tmp_path: Path) -> None:
    """Where one patient has several files, the only file of another one is a mask as well."""
    for case in ("p1", "p2"):
        write_volume(tmp_path / "images" / f"{case}.nii.gz", IMAGE)
        write_masks(tmp_path / "labels" / case)
    (tmp_path / "labels" / "p2" / "liver.nii.gz").unlink()
    assert find_labels(tmp_path / "labels") == [
        ("p1", tmp_path / "labels" / "p1"),
        ("p2", tmp_path / "labels" / "p2"),
    ]
    first, second = DataFolder.open(tmp_path).named().cases
    assert np.array_equal(first.read_labels().array, LABELS)
    assert np.array_equal(second.read_labels().array, 2 * (LABELS == 2))


def test_a_patients_folder_opens_with_its_masks(tmp_path: Path) -> None:
    write_volume(tmp_path / "s1" / "ct.nii.gz", IMAGE)
    write_masks(tmp_path / "s1" / "segmentations")
    (offer,) = find_offers([tmp_path / "s1"]).offers
    image, labels = read_offer(offer)
    assert (image.role, labels.role) == ("image", "reference")
    assert labels.names == {1: "liver", 2: "spleen"}
    assert np.array_equal(labels.volume.array, LABELS)


# as what is scored and what it is scored against

SHIFTED = np.roll(LABELS, 1, axis=2)
"""A prediction: the liver shares 6 of its 9 voxels, 2 x 6 / 18; half of the spleen is on the other side, 2 x 2 / 8."""


def scored(predictions: Path, labels: Path) -> dict[str, float]:
    scores = evaluate_folders(predictions, labels)
    return {str(row["name"]): round(float(str(row["dice"])), 4) for row in scores.rows}


def test_masks_are_scored_by_their_names(tmp_path: Path) -> None:
    dice = {"liver": round(2 / 3, 4), "spleen": 0.5}
    references = write_masks(tmp_path / "refs" / "p1").parent
    predicted = write_masks(tmp_path / "out" / "p1", SHIFTED).parent
    assert scored(predicted, references) == dice  # folders of masks on both sides
    write_volume(tmp_path / "images" / "s" / "p1" / "ct.nii.gz", IMAGE)
    write_masks(tmp_path / "images" / "s" / "p1" / "segmentations")
    assert scored(predicted, tmp_path / "images" / "s") == dice  # and beside images
    swapped = Volume(np.choose(SHIFTED, [0, 2, 1]).astype(np.uint8), AFFINE)
    write_volume(tmp_path / "maps" / "p1_labels.nii.gz", swapped)
    with pytest.raises(
        InputError, match=r"^masks have names and no numbers, and the predictions have no names"
    ):
        evaluate_folders(tmp_path / "maps", references)
    said = {"structures": [{"value": 2, "name": "Liver"}, {"value": 1, "name": "Spleen"}]}
    (tmp_path / "maps" / "p1.json").write_text(json.dumps(said))
    assert scored(tmp_path / "maps", references) == dice
    scores = uda.evaluate(tmp_path / "maps" / "p1_labels.nii.gz", references / "p1")
    assert [round(float(str(row["dice"])), 4) for row in scores.rows] == [0.5, dice["liver"]]
    (tmp_path / "maps" / "p1.json").unlink()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"spleen": 1, "liver": 2}}))
    assert scored(tmp_path / "maps", references) == dict(reversed(dice.items()))


def test_masks_that_face_numbers_alone_are_refused(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "out" / "p1", SHIFTED)
    file = tmp_path / "refs" / "p1.nii.gz"
    write_volume(file, IMAGE.with_array(LABELS))
    with pytest.raises(
        InputError, match=r"^masks have names and no numbers, and the label maps have no names"
    ):
        evaluate_folders(masks.parent, file.parent)
    for other, what in ((file, "label maps"), (LABELS, "labels of the other side")):
        with pytest.raises(InputError, match=f"and the {what} have no names"):
            uda.evaluate(masks, other)
        names = {value: name for name, value in NAMES.items()}
        scores = uda.evaluate(masks, other, names=names)
        assert [row["name"] for row in scores.rows] == ["liver", "spleen"]
        assert float(str(scores.rows[1]["dice"])) == 0.5
