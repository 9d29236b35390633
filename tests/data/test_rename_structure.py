"""A new name of a structure is read again wherever its label map is, and nothing else changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.data.rename_structure import rename_in_folder, rename_structure
from napari_uda.run.roles import names_beside

NAMES = {1: "MYO", 2: "left atrium"}


def labels(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), file)
    return file


@pytest.mark.parametrize("by_value", [False, True])
def test_case_of_a_data_folder(tmp_path: Path, by_value: bool) -> None:
    file = labels(tmp_path / "labels" / "a.nii.gz")
    (tmp_path / "images").mkdir()
    entries = {"background": 0, "MYO": 1, "LAC": 2}
    turned = {str(value): name for name, value in entries.items()}
    content = {"modality": "CT", "labels": turned if by_value else entries, "more": [1, 2]}
    dataset = tmp_path / "dataset.json"
    dataset.write_text(json.dumps(content), encoding="utf-8")
    assert rename_structure(file, 2, NAMES) == dataset
    assert names_beside(file) == NAMES
    after = json.loads(dataset.read_text(encoding="utf-8"))
    assert (after["modality"], after["more"]) == ("CT", [1, 2])
    assert len(after["labels"]) == 3
    with pytest.raises(InputError, match="no label of value 7"):
        rename_structure(file, 7, {7: "tumour"})


def test_result_gets_a_description_and_its_record_follows(tmp_path: Path) -> None:
    file = labels(tmp_path / "out" / "a_labels.nii.gz")
    record = tmp_path / "out" / "a.json"
    structures = [{"value": 1, "name": "MYO"}, {"value": 2, "name": "LAC", "colour": "#03695E"}]
    record.write_text(json.dumps({"case": "a", "structures": structures}), encoding="utf-8")
    assert names_beside(file) == {1: "MYO", 2: "LAC"}  # as `predict` wrote them
    assert rename_structure(file, 2, NAMES).name == "a_labels.label"
    assert names_beside(file) == NAMES
    after = json.loads(record.read_text(encoding="utf-8"))
    assert [one["name"] for one in after["structures"]] == ["MYO", "left atrium"]
    assert after["structures"][1]["colour"] == "#03695E"
    rename_structure(file, 1, {**NAMES, 1: "heart muscle"})
    assert names_beside(file) == {1: "heart muscle", 2: "left atrium"}


def test_data_folder_with_and_without_its_file(tmp_path: Path) -> None:
    file = labels(tmp_path / "labels" / "a.nii.gz")
    (tmp_path / "images").mkdir()
    assert rename_in_folder(tmp_path, 2, NAMES, "CT") == tmp_path / "dataset.json"
    assert names_beside(file) == NAMES
    rename_in_folder(tmp_path, 2, {**NAMES, 2: "LAC"}, "")
    assert names_beside(file) == {1: "MYO", 2: "LAC"}
    assert json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))["modality"] == "CT"
    with pytest.raises(InputError, match="another structure"):
        rename_in_folder(tmp_path, 2, {1: "MYO", 2: "MYO"}, "")


@pytest.mark.parametrize("name", ["", "  ", 'a "b"', "a\nb", "left atrium", "background", "12"])
def test_names_that_could_not_be_told_apart_are_refused(tmp_path: Path, name: str) -> None:
    file = labels(tmp_path / "a.nii.gz")
    with pytest.raises(InputError):
        rename_structure(file, 1, {**NAMES, 1: name})
    assert [one.name for one in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_read_only_folder_is_said_in_a_sentence(tmp_path: Path) -> None:
    file = labels(tmp_path / "a.nii.gz")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot write"):
            rename_structure(file, 1, {**NAMES, 1: "muscle"})
    finally:
        tmp_path.chmod(0o700)
