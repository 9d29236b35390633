"""Structures are compared by their names: whatever the numbers are, and whoever has to say it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_uda as uda
from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume, write_volume
from napari_uda.evaluation.inputs import read_pair
from napari_uda.evaluation.matching import (
    doubts,
    is_unnamed,
    match_structures,
    parse_matches,
    with_matched_prediction,
    with_matched_reference,
)
from napari_uda.evaluation.report import evaluate_folders, evaluate_slice


def pairs(predicted: dict, referenced: dict, chosen: dict | None = None) -> list[tuple]:
    return [
        (one.reference, one.prediction, one.how)
        for one in match_structures(predicted, referenced, chosen)
    ]


def test_names_go_before_numbers() -> None:
    predicted = {1: "liver", 2: "Left_Kidney", 3: "x"}
    referenced = {1: "left kidney", 2: "liver", 3: "spleen", 4: "bone"}
    assert pairs(predicted, referenced) == [
        ("left kidney", "Left_Kidney", "name"),
        ("liver", "liver", "name"),
        ("spleen", "x", "number"),
        ("bone", "", "none"),
    ]
    assert doubts(match_structures(predicted, referenced)) == [
        "Compared by number, since the names differ: x with spleen"
    ]


def test_a_choice_goes_before_both() -> None:
    predicted, referenced = {1: "LVC", 2: "MYO"}, {1: "MYO", 2: "ventricle", 3: "aorta"}
    assert pairs(predicted, referenced, {"ventricle": "LVC", "MYO": "", "of another case": "?"}) == [
        ("MYO", "", "chosen"), ("ventricle", "LVC", "chosen"), ("aorta", "", "none"),
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"'aorta' of the reference cannot.*did you mean MYO\?"):
        match_structures(predicted, referenced, {"aorta": "MYOO"})
    with pytest.raises(InputError, match="compared already"):
        match_structures(predicted, referenced, {"aorta": "LVC", "ventricle": "LVC"})


@pytest.mark.parametrize("name", ["label_3", "Label 3", "3", "structure 12", "segment-4"])
def test_numbers_are_no_names(name: str) -> None:
    assert is_unnamed(name)
    assert not is_unnamed("L3 vertebra")
    assert doubts(match_structures({3: name}, {3: "liver"})) == []


NAMES = ("heart", "liver", "spleen", "lung")
NUMBERS = st.permutations([1, 2, 3, 4])


@settings(max_examples=25, deadline=None)
@given(NUMBERS, NUMBERS)
def test_numbering_does_not_change_a_score(first: list[int], second: list[int]) -> None:
    cells = np.arange(16).reshape(1, 4, 4) // 4
    ours, theirs = cells.copy(), np.roll(cells, 1, axis=2)
    predicted = dict(zip(first, NAMES, strict=True))
    referenced = dict(zip(second, NAMES, strict=True))
    found = np.array(first, np.uint8)[ours]
    expected = np.array(second, np.uint8)[theirs]
    pair = read_pair(found, expected, spacing_mm=(1, 1, 1), names=referenced)
    as_reference = with_matched_prediction(pair, predicted)
    as_prediction = with_matched_reference(pair, predicted, referenced)
    assert as_reference.names == referenced
    assert as_prediction.names == predicted
    np.testing.assert_array_equal(as_reference.prediction, np.array(second, np.uint8)[ours])
    np.testing.assert_array_equal(as_prediction.reference, np.array(first, np.uint8)[theirs])
    np.testing.assert_array_equal(as_prediction.prediction, found)  # edits go on in these numbers


def test_what_has_no_partner_gets_a_number_of_its_own() -> None:
    """Number 1 means the liver here and the spleen there: neither is taken for the other."""
    found, expected = np.zeros((2, 1, 2, 2), np.uint8)
    found[0, 0], expected[0, 1] = 1, 2
    expected[0, 0] = 1
    pair = read_pair(found, expected, spacing_mm=(1, 1, 1), names={1: "spleen", 2: "liver"})
    matched = with_matched_prediction(pair, {1: "liver", 2: "bone"})
    assert matched.names == {1: "spleen", 2: "liver", 3: "bone"}
    assert set(np.unique(matched.prediction)) == {0, 2}  # the liver of the reference is number 2
    other = with_matched_reference(pair, {1: "liver"}, {1: "spleen", 2: "liver"})
    assert other.names == {1: "liver", 2: "spleen"}
    np.testing.assert_array_equal(other.reference[0], [[2, 2], [1, 1]])


def test_a_number_stands_in_for_a_name_that_is_missing() -> None:
    array = np.ones((1, 2, 2), np.uint8)
    pair = read_pair(array, array, spacing_mm=(1, 1, 1), names={})
    assert with_matched_reference(pair, {1: "label 1"}, {1: "liver"}).names == {1: "liver"}
    assert with_matched_reference(pair, {}, {1: "liver"}).names == {1: "liver"}
    assert with_matched_reference(pair, {1: "liver"}, {}).names == {1: "liver"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Labels liver 1, left ventricle 2; predictions of a run that numbers LVC 1 and liver 2."""
    predicted, reference = np.zeros((2, 2, 8, 8), np.uint8)
    reference[:, 1:4, 1:4], reference[:, 5:7, 5:7] = 1, 2
    predicted[:, 1:4, 1:4], predicted[:, 5:7, 5:7] = 2, 1
    for name, array in (("predictions/a_labels", predicted), ("data/labels/a", reference)):
        write_volume(tmp_path / f"{name}.nii.gz", Volume(array, np.eye(4), "a"))
    labels = {"labels": {"background": 0, "liver": 1, "left ventricle": 2}}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(labels))
    about = {"structures": [{"value": 1, "name": "LVC"}, {"value": 2, "name": "liver"}]}
    (tmp_path / "predictions" / "a.json").write_text(json.dumps(about))
    return tmp_path / "predictions", tmp_path / "data" / "labels"


def test_folders_are_scored_by_the_names_that_predict_wrote(folders: tuple[Path, Path]) -> None:
    rows = {row["name"]: row for row in evaluate_folders(*folders).rows}
    assert (rows["liver"]["label"], rows["liver"]["dice"]) == (1, 1)
    assert (rows["left ventricle"]["state"], rows["LVC"]["state"]) == ("missed", "invented")
    matched = evaluate_folders(*folders, match={"left ventricle": "LVC"}).rows
    assert [(row["name"], row["label"], row["dice"]) for row in matched] == [
        ("liver", 1, 1), ("left ventricle", 2, 1),
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"no structure 'left ventrikle'.*did you mean left ventr"):
        evaluate_folders(*folders, match={"left ventrikle": "LVC"})


def test_report_takes_the_same_choice(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = uda.report(*folders, out=tmp_path / "r.html", match={"left ventricle": "LVC"})
    assert "mean Dice 1.000" in out.read_text(encoding="utf-8")


def test_words_of_the_command() -> None:
    assert parse_matches(["left ventricle=LVC", "aorta="]) == {"left ventricle": "LVC", "aorta": ""}
    with pytest.raises(InputError, match=r"REFERENCE=PREDICTION, such as .* and not 'LVC'"):
        parse_matches(["LVC"])
    with pytest.raises(InputError, match="twice"):
        parse_matches(["a=b", "a=c"])


@dataclass(frozen=True)
class Segmented:
    """What a `Prediction` offers to be scored."""

    labels: np.ndarray
    names: dict[int, str]
    volume: Volume
    case: str = "a"

    @property
    def entropy(self) -> np.ndarray:
        return np.zeros(self.labels.shape, np.float32)


def test_python_compares_by_name_as_the_command_does(folders: tuple[Path, Path]) -> None:
    """A perfect prediction of a run with other numbers scores 1 from files, in memory, and as surfaces."""
    predictions, labels = folders
    files = predictions / "a_labels.nii.gz", labels / "a.nii.gz"
    assert {row["name"]: row["dice"] for row in uda.evaluate(*files).rows} == {
        "LVC": 0.0, "liver": 1.0, "left ventricle": 0.0,
    }  # fmt: skip
    names = {1: "Left_Ventricle", 2: "liver"}
    listed = [{"value": value, "name": name} for value, name in names.items()]
    (predictions / "a.json").write_text(json.dumps({"structures": listed}))
    volume = uda.read_volume(files[0])
    segmented = Segmented(volume.array, names, volume)
    for prediction in (files[0], segmented):
        rows = uda.evaluate(prediction, files[1]).rows
        assert [(row["label"], row["name"], row["dice"]) for row in rows] == [
            (1, "Left_Ventricle", 1.0), (2, "liver", 1.0),
        ]  # fmt: skip
        found = uda.surfaces(prediction, files[1])
        assert {name: float(np.abs(one.distance_mm).max()) for name, one in found.items()} == {
            "Left_Ventricle": 0.0, "liver": 0.0,
        }  # fmt: skip
        (row, _) = evaluate_slice(prediction, files[1], "z", 0)
        assert (row["name"], row["dice"]) == ("Left_Ventricle", 1.0)
    # names that are given say what the numbers of both sides mean
    given = uda.evaluate(segmented, files[1], names={1: "first", 2: "second"}).rows
    assert [(row["name"], row["dice"]) for row in given] == [("first", 0.0), ("second", 0.0)]
