"""Cases that a run has learnt from with corrected labels are not scored, and a sentence says so."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume, write_volume
from napari_uda.evaluation.learnt import learnt_from
from napari_uda.evaluation.report import evaluate, evaluate_folders


def folders(tmp_path: Path, learnt: tuple[str, ...]) -> tuple[Path, Path]:
    """Predictions and labels of the cases a, b and c; those that were learnt from have it beside them."""
    predictions, labels = tmp_path / "predictions", tmp_path / "labels"
    array = np.zeros((3, 8, 8), np.uint8)
    array[1, 2:5, 2:5] = 1
    for case in "abc":
        volume = Volume(array, np.diag([1.0, 1.0, 4.0, 1.0]), case)
        write_volume(predictions / f"{case}_labels.nii.gz", volume)
        write_volume(labels / f"{case}.nii.gz", volume)
        said = {"case": case, **({"corrected": case} if case in learnt else {})}
        (predictions / f"{case}.json").write_text(json.dumps(said))
    return predictions, labels


def test_the_others_are_scored_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictions, labels = folders(tmp_path, ("a", "c"))
    with caplog.at_level(logging.WARNING):
        scores = evaluate_folders(predictions, labels)
    assert [row["case"] for row in scores.rows] == ["b"]
    assert (
        "a, c are left out of the scores, because the run has learnt from corrected labels of these cases"
        in caplog.text
    )


def test_a_folder_of_nothing_else_is_refused(tmp_path: Path) -> None:
    predictions, labels = folders(tmp_path, ("a", "b", "c"))
    with pytest.raises(InputError, match=r"no other case is there; predict and score other cases"):
        evaluate_folders(predictions, labels)


def test_a_single_one_is_refused_and_damaged_files_say_nothing(tmp_path: Path) -> None:
    predictions, labels = folders(tmp_path, ("a",))
    with pytest.raises(InputError, match=r"a is left out of the scores.*this case; score other"):
        evaluate(predictions / "a_labels.nii.gz", labels / "a.nii.gz")
    assert learnt_from(predictions / "b_labels.nii.gz") == ""
    assert learnt_from(np.zeros((1, 1, 1))) == ""
    for text in ("{", "[]", '{"corrected": 5}'):
        (predictions / "a.json").write_text(text)
        assert learnt_from(predictions / "a_labels.nii.gz") == ""
    assert evaluate(predictions / "a_labels.nii.gz", labels / "a.nii.gz").rows
