"""evaluate_folders: pairing, names, entropy and refusals."""

from __future__ import annotations

import json
import logging
import os

import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.data import label_descriptions, segmentation
from napari_uda.data.volume import Volume, write_volume
from napari_uda.evaluation import evaluate, evaluate_folders
from napari_uda.evaluation.inputs import structure_names

AFFINE = np.diag([0.5, 0.75, 2.0, 1.0])


def labels(seed):
    field = np.random.default_rng(seed).integers(0, 3, (4, 6, 5))
    return field.astype(np.uint8)


def write(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, Volume(array, affine))


@pytest.fixture
def folders(tmp_path):
    """Two cases, one by each naming rule, one with an entropy map."""
    predictions, references = tmp_path / "predictions", tmp_path / "mr" / "labels"
    write(references / "case_b.nii.gz", labels(0))
    write(references / "case_a.nii.gz", labels(1))
    write(predictions / "case_a_labels.nii.gz", labels(2))
    write(predictions / "case_a_entropy.nii.gz", np.full((4, 6, 5), 0.25, np.float32))
    write(predictions / "case_a_reliability.nii.gz", np.ones((4, 6, 5), np.uint8))
    write(predictions / "case_b.nii.gz", labels(3))
    names = {"labels": {"background": 0, "MYO": 1, "LAC": 2, "AA": 4}}
    (tmp_path / "mr" / "dataset.json").write_text(json.dumps(names))
    return predictions, references


def test_names_that_are_no_text_are_refused(folders):
    for folder in folders:
        file = folder / os.fsdecode(b"p\xfc.nii.gz")
        write(file, labels(1))
        with pytest.raises(InputError, match=r"p\?\.nii\.gz: its name holds bytes .*; rename it"):
            evaluate_folders(*folders)
        file.unlink()


def test_pairs_names_and_entropy(folders):
    seen = []
    scores = evaluate_folders(*folders, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert [(row["case"], row["name"], row["state"]) for row in scores.rows] == [
        ("case_a", "MYO", "both"),
        ("case_a", "LAC", "both"),
        ("case_a", "AA", "absent"),
        ("case_b", "MYO", "both"),
        ("case_b", "LAC", "both"),
        ("case_b", "AA", "absent"),
    ]
    expected = evaluate(labels(2), labels(1), spacing_mm=(2.0, 0.75, 0.5)).rows[0]
    assert scores.rows[0]["assd_mm"] == pytest.approx(expected["assd_mm"])
    entropy = {row["case"]: row["mean_entropy"] for row in scores.slices if row["label"] == 1}
    assert entropy["case_a"] == 0.25
    assert entropy["case_b"] != entropy["case_b"]
    assert scores.summary()[2]["n_absent"] == 2


def test_one_file_finds_the_names_as_well(folders):
    predictions, references = folders
    scores = evaluate(predictions / "case_a_labels.nii.gz", str(references / "case_a.nii.gz"))
    assert [(row["case"], row["name"]) for row in scores.rows] == [
        ("case_a", "MYO"),
        ("case_a", "LAC"),
        ("case_a", "AA"),
    ]


def test_two_files_are_scored_as_their_folders_are(folders, tmp_path):
    predictions, references = folders
    prediction = predictions / "case_a_labels.nii.gz"
    alone = evaluate_folders(prediction, references / "case_a.nii.gz")
    both = evaluate_folders(predictions, references)
    expected = [row for row in both.rows if row["case"] == "case_a"]
    assert str(alone.rows) == str(expected)  # NaN is not equal to itself
    assert [row["mean_entropy"] for row in alone.slices if row["label"] == 1] == [0.25] * 4
    other = tmp_path / "other" / "by_another_reader.nii.gz"
    write(other, labels(1))
    renamed = evaluate_folders(prediction, other).rows
    assert [row["dice"] for row in renamed[:2]] == [row["dice"] for row in alone.rows[:2]]


def test_a_file_and_a_folder_are_no_pair(folders):
    predictions, references = folders
    prediction = predictions / "case_a_labels.nii.gz"
    for pair in ((prediction, references), (predictions, references / "case_a.nii.gz")):
        with pytest.raises(InputError, match=r"is a file beside a folder; give two folders, or"):
            evaluate_folders(*pair)
    with pytest.raises(InputError, match=r"prediction and label are one file"):
        evaluate_folders(prediction, prediction)


def test_labels_win_over_the_plain_name(folders):
    predictions, references = folders
    write(predictions / "case_a.nii.gz", labels(1))
    scores = evaluate_folders(predictions, references)
    assert scores.rows[0]["dice"] < 1


def test_a_folder_is_not_scored_against_itself(folders, tmp_path):
    """A slip in a path would give a perfect score."""
    predictions, references = folders
    link = tmp_path / "link"
    link.symlink_to(references)
    for labels_too in (references, link):
        with pytest.raises(InputError, match=r"^case_a: prediction and label are one file, case_a"):
            evaluate_folders(references, labels_too)
    assert evaluate_folders(predictions, references).rows


def test_a_label_without_prediction_is_refused(folders):
    predictions, references = folders
    (predictions / "case_b.nii.gz").unlink()
    with pytest.raises(
        InputError, match=r"1 of 2 labels in labels have no prediction .*\(case_b\)"
    ):
        evaluate_folders(predictions, references)


def test_a_prediction_without_label_is_logged(folders, caplog):
    predictions, references = folders
    write(predictions / "case_c_labels.nii.gz", labels(0))
    with caplog.at_level(logging.WARNING):
        scores = evaluate_folders(predictions, references)
    assert (
        "there are no labels for case_c_labels, so these predictions are not scored" in caplog.text
    )
    assert len(scores.rows) == 6


def test_folders_that_cannot_be_scored(folders, tmp_path):
    predictions, references = folders
    with pytest.raises(InputError, match="nothing: is not a folder"):
        evaluate_folders(tmp_path / "nothing", references)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no label volumes"):
        evaluate_folders(predictions, tmp_path / "empty")


def test_geometry_is_checked(folders):
    predictions, references = folders
    write(predictions / "case_b.nii.gz", labels(3), np.diag([0.5, 0.75, 2.5, 1.0]))
    with pytest.raises(InputError, match=r"case_b: .*2\.5"):
        evaluate_folders(predictions, references)


def test_geometry_of_the_entropy_map_is_checked(folders):
    predictions, references = folders
    write(predictions / "case_a_entropy.nii.gz", np.zeros((4, 6, 4), np.float32))
    with pytest.raises(InputError, match="case_a: entropy map and prediction do not match"):
        evaluate_folders(predictions, references)


@pytest.mark.parametrize(
    ("labels_entry", "expected"),
    [
        ({"background": 0, "liver": 1, "both": [1, 2]}, {1: "liver"}),
        ({"0": "background", "2": "spleen"}, {2: "spleen"}),
        ({}, {}),
    ],
)
def test_names(tmp_path, labels_entry, expected):
    path = tmp_path / "dataset.json"
    assert structure_names(path) == {}
    text = json.dumps({"labels": labels_entry})
    for encoding in (
        "utf-8",
        "utf-8-sig",
    ):  # with a byte order mark, as some Windows editors write it
        path.write_text(text, encoding=encoding)
        assert structure_names(path) == expected


@pytest.mark.parametrize("text", ["[]", '{"labels": {"liver": "one"}}', '{"labels": 3}'])
def test_names_that_cannot_be_read(tmp_path, text):
    path = tmp_path / "dataset.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"dataset\.json: its labels cannot be read"):
        structure_names(path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"dataset\.json is not valid JSON"):
        structure_names(path)


def test_predictions_named_after_nnunets_images_are_found(tmp_path):
    """`mr_001_0000` is the image of case `mr_001`."""
    predictions, references = tmp_path / "predictions", tmp_path / "mr" / "labelsTr"
    for case in ("mr_001", "mr_002", "mr_003"):
        write(references / f"{case}.nii.gz", labels(0))
    write(predictions / "mr_001_0000_labels.nii.gz", labels(0))
    write(predictions / "mr_001_0000_entropy.nii.gz", np.full((4, 6, 5), 0.25, np.float32))
    write(predictions / "mr_002_0000.nii.gz", labels(0))
    write(predictions / "mr_003.nii.gz", labels(0))
    write(predictions / "mr_003_0000_labels.nii.gz", labels(1))  # the plain name wins
    scores = evaluate_folders(predictions, references)
    assert [row["case"] for row in scores.rows] == [
        *("mr_001", "mr_001"),
        *("mr_002", "mr_002"),
        *("mr_003", "mr_003"),
    ]
    assert {row["dice"] for row in scores.rows} == {1.0}
    assert {row["mean_entropy"] for row in scores.slices if row["case"] == "mr_001"} == {0.25}


def test_two_sides_without_a_common_structure_are_named(folders, caplog):
    """Masks of 255 against masks of 1: every Dice is 0, and nothing was compared."""
    predictions, references = folders
    (references.parent / "dataset.json").unlink()
    for file in references.iterdir():
        write(file, (labels(1) > 0) * np.uint8(255))
    for file in ("case_a_labels.nii.gz", "case_b.nii.gz"):
        write(predictions / file, (labels(1) > 0) * np.uint8(1))
    said = "nothing was compared: the predictions hold label_1 and the references label_255, and"
    with caplog.at_level(logging.WARNING):
        scores = evaluate_folders(*folders)
    assert {row["dice"] for row in scores.rows} == {0.0}
    assert [said in message for message in caplog.messages] == [True]
    caplog.clear()
    evaluate(predictions / "case_b.nii.gz", references / "case_b.nii.gz")
    assert said in caplog.text
    caplog.clear()
    write(predictions / "case_b.nii.gz", (labels(1) > 0) * np.uint8(255))
    evaluate_folders(*folders)
    assert "nothing was compared" not in caplog.text


def test_a_data_folder_in_the_place_of_its_labels(folders):
    predictions, references = folders
    with pytest.raises(InputError, match=rf"holds no label volumes; give {references}$"):
        evaluate_folders(predictions, references.parent)


def test_a_folder_is_not_searched_for_every_case(folders, monkeypatch):
    """What names labels lies once beside thousands of them."""
    searched = []
    real = label_descriptions.descriptions_in

    def counted(folder):
        searched.append(folder)
        return real(folder)

    for module in (label_descriptions, segmentation):
        monkeypatch.setattr(module, "descriptions_in", counted)
    evaluate_folders(*folders)
    assert searched == []  # dataset.json says it
    (folders[1].parent / "dataset.json").unlink()
    evaluate_folders(*folders)
    assert searched == [folders[1]]


@pytest.mark.parametrize("spacing", [1, "5 1 1", (1, "x", 1)])
def test_what_is_no_voxel_size(spacing):
    with pytest.raises(InputError, match="is not a voxel size; give three positive millimetres"):
        evaluate(labels(0), labels(0), spacing_mm=spacing)


def test_what_cannot_be_scored(folders):
    given = {"spacing_mm": (1, 1, 1)}
    with pytest.raises(InputError, match="prediction: is a list; give a Prediction, a Volume"):
        evaluate(labels(0).tolist(), labels(0), **given)
    with pytest.raises(InputError, match=r"names are given by label.* and 'MYO' is no label; turn"):
        evaluate(labels(0), labels(0), names={"MYO": 1}, **given)
    with pytest.raises(InputError, match=r"such as \{'liver': 1\}, and 1 is no name; turn them"):
        segmentation.read_segmentation(folders[1] / "case_a.nii.gz", names={1: "MYO"})
