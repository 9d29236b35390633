"""Segmentations as references and as predictions: files, folders and volumes in memory."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from segmentation_files import write_image, write_rtstruct, write_seg, write_seg_nrrd

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.evaluation.report import evaluate, evaluate_folders

LABELS = np.zeros((5, 4, 6), np.uint8)
LABELS[1, 1:3, 2:5] = 1
LABELS[3, 2:, 4:] = 2
SWAPPED = np.select([LABELS == 1, LABELS == 2], [2, 1], 0).astype(np.uint8)


def dice(rows: list) -> dict[str, float]:  # type: ignore[type-arg]
    return {str(row["name"]): float(row["dice"]) for row in rows}


@pytest.fixture
def image(tmp_path: Path) -> Volume:
    return read_volume(write_image(tmp_path / "ct"))


def test_one_file_by_name(tmp_path: Path, image: Volume) -> None:
    seg = write_seg(tmp_path / "seg.dcm", tmp_path / "ct", SWAPPED, {1: "Spleen", 2: "Liver"})
    prediction = image.with_array(LABELS)
    scores = evaluate(prediction, seg, names={1: "liver", 2: "spleen"})
    assert dice(scores.rows) == {"liver": 1.0, "spleen": 1.0}
    write_volume(tmp_path / "p.nii.gz", prediction)
    scores = evaluate(tmp_path / "p.nii.gz", seg, names={1: "liver", 2: "spleen"})
    assert dice(scores.rows) == {"liver": 1.0, "spleen": 1.0}
    scores = evaluate(seg, tmp_path / "p.nii.gz", names={1: "liver", 2: "spleen"})
    assert dice(scores.rows) == {"liver": 1.0, "spleen": 1.0}


def test_without_names_the_numbers_count_and_it_is_said(
    tmp_path: Path, image: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    seg = write_seg(tmp_path / "seg.dcm", tmp_path / "ct", LABELS, {1: "Liver", 2: "Spleen"})
    assert dice(evaluate(image.with_array(LABELS), seg).rows) == {"Liver": 1.0, "Spleen": 1.0}
    assert "seg.dcm numbers its structures itself (1 Liver, 2 Spleen); give names" in caplog.text


def test_contours_take_the_grid_of_the_prediction(tmp_path: Path, image: Volume) -> None:
    left, right, back, front = -5.875, -3.625, -8.25, -5.25
    corners = [[left, back, 3], [right, back, 3], [right, front, 3], [left, front, 3]]
    rs = write_rtstruct(tmp_path / "rs.dcm", [("Liver", [corners])])
    scores = evaluate(image.with_array(LABELS), rs, names={1: "liver"})
    assert dice(scores.rows) == {"liver": 1.0, "label_2": 0.0}
    seg = write_seg(tmp_path / "seg.dcm", tmp_path / "ct", LABELS, {1: "Liver", 2: "Spleen"})
    for pair in ((rs, seg), (seg, rs)):
        assert dice(evaluate(*pair, names={1: "liver"}).rows) == {"liver": 1.0}
    with pytest.raises(InputError, match="on the grid of their image only"):
        evaluate(LABELS, rs)


def test_two_that_store_a_part_each_meet(tmp_path: Path, image: Volume) -> None:
    origin, spacing = image.affine[:3, 3] * (-1, -1, 1), (0.75, 1.5, 3.0)
    names = [{"Name": "Liver", "LabelValue": "1"}, {"Name": "Spleen", "LabelValue": "2"}]
    part = write_seg_nrrd(
        tmp_path / "a.seg.nrrd", LABELS[:2, 1:, 1:], names, np.add(origin, (0.75, 1.5, 0)), spacing
    )
    seg = write_seg(tmp_path / "b.dcm", tmp_path / "ct", LABELS, {1: "Liver", 2: "Spleen"})
    assert dice(evaluate(part, seg).rows) == {"Liver": 1.0, "Spleen": 0.0}
    assert dice(evaluate(seg, part).rows) == {"Liver": 1.0, "Spleen": 0.0}


def test_folders(tmp_path: Path, image: Volume, caplog: pytest.LogCaptureFixture) -> None:
    predictions, labels = tmp_path / "predictions", tmp_path / "data" / "labels"
    for case in ("p1", "p2", "p3"):
        write_volume(predictions / f"{case}_labels.nii.gz", image.with_array(LABELS))
    write_seg(labels / "p1.dcm", tmp_path / "ct", LABELS, {1: "Liver", 2: "Spleen"})
    write_seg(labels / "p2" / "1", tmp_path / "ct", SWAPPED, {1: "Spleen", 2: "Liver"})
    write_volume(labels / "p3.nii.gz", image.with_array(LABELS))
    with pytest.raises(InputError, match=r"number their structures differently \(Liver among"):
        evaluate_folders(predictions, labels)
    structures = [{"value": 1, "name": "Liver"}, {"value": 2, "name": "Spleen"}]
    for case in ("p1", "p2", "p3"):  # what `predict` says of its numbers; of p3.nii.gz nobody knows
        (predictions / f"{case}.json").write_text(json.dumps({"structures": structures}))
    with pytest.raises(InputError, match="open which value of a label map is which"):
        evaluate_folders(predictions, labels)
    (labels.parent / "dataset.json").write_text(json.dumps({"labels": {"liver": 1, "spleen": 2}}))
    rows = evaluate_folders(predictions, labels).rows
    assert [(row["case"], row["name"], row["dice"]) for row in rows] == [
        (case, name, 1.0) for case in ("p1", "p2", "p3") for name in ("liver", "spleen")
    ]


def test_folders_whose_files_name_alike(tmp_path: Path, image: Volume) -> None:
    predictions, labels = tmp_path / "predictions", tmp_path / "data" / "labels"
    names = {1: "Spleen", 2: "Liver"}
    write_seg(labels / "p1.dcm", tmp_path / "ct", LABELS, {1: "Liver", 2: "Spleen"})
    write_seg(predictions / "p1_labels.dcm", tmp_path / "ct", SWAPPED, names, "LABELMAP")
    assert dice(evaluate_folders(predictions, labels).rows) == {"Liver": 1.0, "Spleen": 1.0}
    (labels / "p1.dcm").unlink()
    write_volume(labels / "p1.nii.gz", image.with_array(LABELS))
    (labels / "names.ctbl").write_text("1 Liver 1 2 3 255\n2 Spleen 4 5 6 255\n3 Heart 7 8 9 255\n")
    assert dice(evaluate_folders(predictions, labels).rows) == {"Liver": 1.0, "Spleen": 1.0}


def test_predictions_that_name_their_structures_meet_files_that_number_apart(
    tmp_path: Path, image: Volume
) -> None:
    predictions, labels = tmp_path / "predictions", tmp_path / "data" / "labels"
    structures = [{"value": 1, "name": "spleen"}, {"value": 2, "name": "liver"}]
    for case in ("p1", "p2"):
        write_volume(predictions / f"{case}_labels.nii.gz", image.with_array(SWAPPED))
        (predictions / f"{case}.json").write_text(json.dumps({"structures": structures}))
    write_seg(labels / "p1.dcm", tmp_path / "ct", LABELS, {1: "Liver", 2: "Spleen"})
    write_seg(labels / "p2.dcm", tmp_path / "ct", SWAPPED, {1: "Spleen", 2: "Liver"})
    rows = evaluate_folders(predictions, labels).rows
    assert [(row["case"], row["name"], row["dice"]) for row in rows] == [
        (case, name, 1.0) for case in ("p1", "p2") for name in ("Liver", "Spleen")
    ]


def test_label_values_above_255(tmp_path: Path, image: Volume) -> None:
    predictions, labels = tmp_path / "predictions", tmp_path / "data" / "labels"
    large = np.select([LABELS == 1, LABELS == 2], [500, 205], 0).astype(np.uint16)
    small = np.select([LABELS == 1, LABELS == 2], [1, 205], 0).astype(np.uint8)
    labels.mkdir(parents=True)
    predictions.mkdir()
    for case, predicted in (("a", large), ("b", small)):
        for folder, array in ((labels, large), (predictions, predicted)):
            stored = nib.Nifti1Image(array.T, image.affine)
            nib.save(stored, folder / f"{case}.nii.gz")
    with pytest.raises(InputError, match=r"holds label values above 255 \(500\); name those"):
        evaluate_folders(predictions, labels)
    names = {"LV": 500, "MYO": 205}
    (labels.parent / "dataset.json").write_text(json.dumps({"labels": names}))
    rows = evaluate_folders(predictions, labels).rows
    assert [(row["case"], row["label"], row["name"], row["dice"]) for row in rows] == [
        (case, value, name, 1.0) for case in "ab" for value, name in ((1, "LV"), (205, "MYO"))
    ]
    by_value = {500: "LV", 205: "MYO"}
    for prediction in (large, small, image.with_array(large), predictions / "a.nii.gz"):
        scores = evaluate(prediction, image.with_array(large), names=by_value)
        assert dice(scores.rows) == {"LV": 1.0, "MYO": 1.0}


def test_a_tree_of_dicom_with_segmentations(tmp_path: Path, image: Volume) -> None:
    predictions, tree = tmp_path / "predictions", tmp_path / "hospital"
    for number in (1, 2, 3):
        uid, patient = f"1.2.3.{number}", tree / f"p{number}"
        write_image(patient / "CT", SeriesInstanceUID=uid, SOPInstanceUID=uid)
        write_volume(predictions / f"p{number}_labels.nii.gz", image.with_array(LABELS))
    write_seg(tree / "p1" / "SEG" / "1", tree / "p1" / "CT", LABELS, {1: "Liver", 2: "Spleen"})
    write_seg(tree / "p2" / "CT" / "9.dcm", tree / "p2" / "CT", SWAPPED, {1: "Spleen", 2: "Liver"})
    (tree / "dataset.json").write_text(json.dumps({"labels": {"liver": 1, "spleen": 2}}))
    rows = evaluate_folders(predictions, tree).rows
    assert [(row["case"], row["name"], row["dice"]) for row in rows] == [
        (case, name, 1.0) for case in ("p1", "p2") for name in ("liver", "spleen")
    ]


def test_predicted_contours_lie_on_the_grid_of_the_map_beside_them(
    tmp_path: Path, image: Volume
) -> None:
    """The references store a part of the grid, or contours themselves."""
    predictions, labels = tmp_path / "predictions", tmp_path / "data" / "labels"
    left, right, back, front = -7.375, -3.625, -9.75, -5.25
    corners = [[left, back, 12], [right, back, 12], [right, front, 12], [left, front, 12]]
    write_rtstruct(predictions / "p1_rtstruct.dcm", [("Liver", [corners])])
    seg = write_seg(labels / "p1.dcm", tmp_path / "ct", LABELS, {1: "Liver", 2: "Spleen"})
    (labels.parent / "dataset.json").write_text(json.dumps({"labels": {"liver": 1}}))
    with pytest.raises(InputError, match="beyond the outermost voxels"):
        evaluate_folders(predictions, labels)
    write_volume(predictions / "p1_reliability.nii.gz", image.with_array(np.ones_like(LABELS)))
    (row,) = evaluate_folders(predictions, labels).rows
    assert (row["name"], row["dice"], row["state"]) == ("liver", 0.0, "both")
    assert row["volume_prediction_ml"] == pytest.approx(15 * 0.75 * 1.5 * 3 / 1000)
    write_rtstruct(seg, [("Liver", [corners])])
    (row,) = evaluate_folders(predictions, labels).rows
    assert (row["name"], row["dice"]) == ("liver", 1.0)


def test_two_label_maps_of_one_case_are_refused(tmp_path: Path, image: Volume) -> None:
    """One may be an older prediction, of another model and in another format."""
    predictions, labels = tmp_path / "predictions", tmp_path / "labels"
    write_volume(labels / "p1.nii.gz", image.with_array(LABELS))
    write_volume(predictions / "p1_labels.nii.gz", image.with_array(LABELS))
    write_volume(predictions / "p1.nii.gz", image)  # the image
    assert dice(evaluate_folders(predictions, labels).rows) == {"label_1": 1.0, "label_2": 1.0}
    for other, both in (
        ("p1_labels.dcm", "p1_labels.dcm and p1_labels.nii.gz"),
        ("p1_rtstruct.dcm", "p1_labels.nii.gz and p1_rtstruct.dcm"),
    ):
        file = write_seg(predictions / other, tmp_path / "ct", SWAPPED, {1: "a", 2: "b"})
        with pytest.raises(InputError, match=f"^predictions: {both} are both case p1; keep one"):
            evaluate_folders(predictions, labels)
        file.unlink()
    write_volume(labels / "p1.nii", image.with_array(LABELS))
    with pytest.raises(InputError, match=r"^labels: p1.nii and p1.nii.gz are both case p1"):
        evaluate_folders(predictions, labels)


def test_a_mixture_of_patients_is_scored_whole(tmp_path: Path, image: Volume) -> None:
    """One has a file beside its image, the others segmentations somewhere below."""
    root, predictions = tmp_path / "hospital", tmp_path / "predictions"
    uid = "1.2.3.50"
    ct = write_image(root / "p1" / "CT", SeriesInstanceUID=uid, SOPInstanceUID=uid)
    write_seg(root / "p1" / "SEG" / "1.dcm", ct, LABELS, {1: "Liver", 2: "Spleen"})
    write_image(root / "p2" / "CT", SeriesInstanceUID="1.2.3.51", SOPInstanceUID="1.2.3.51")
    names = [{"Name": "Liver", "LabelValue": "1"}, {"Name": "Spleen", "LabelValue": "2"}]
    origin = image.affine[:3, 3] * (-1, -1, 1)
    file = root / "p2" / "CT" / "a.seg.nrrd"
    write_seg_nrrd(file, LABELS, names, tuple(origin), (0.75, 1.5, 3.0))
    write_volume(root / "p3" / "image.nii.gz", image)
    write_volume(root / "p3" / "label.nii.gz", image.with_array(LABELS))
    for case in ("p1", "p2", "p3"):
        write_volume(predictions / f"{case}_labels.nii.gz", image.with_array(LABELS))
    rows = evaluate_folders(predictions, root).rows
    assert [(row["case"], row["name"], row["dice"]) for row in rows] == [
        (case, name, 1.0) for case in ("p1", "p2", "p3") for name in ("Liver", "Spleen")
    ]
    (predictions / "p1_labels.nii.gz").unlink()
    with pytest.raises(InputError, match="1 of 3 labels in hospital have no prediction"):
        evaluate_folders(predictions, root)
