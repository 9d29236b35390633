from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uda.core.errors import InputError
from napari_uda.data.folder import MOST_DATASET_BYTES, Case, DataFolder, write_dataset_json
from napari_uda.data.volume import Volume, read_labels, read_volume, write_volume
from napari_uda.evaluation.inputs import structure_names


def touch(folder: Path, *names: str) -> None:
    """Create empty files: a data folder is listed without opening a volume."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        DataFolder.open(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "; " in sentence
    return sentence


def with_json(folder: Path, content: object) -> Path:
    touch(folder, "images/a.nii.gz")
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "dataset.json").write_text(text)
    return folder


def names(cases: Iterable[Case]) -> list[str]:
    return [case.name for case in cases]


# layouts


def test_contract_layout(tmp_path: Path) -> None:
    touch(tmp_path, "images/b.nii.gz", "images/a.nii", "images/c.nrrd", "labels/b.nii.gz")
    write_dataset_json(tmp_path, {"LV": 2, "MYO": 1}, "MR")
    folder = DataFolder.open(str(tmp_path))
    assert folder.path == tmp_path
    assert folder.cases == (
        Case("a", tmp_path / "images/a.nii", None),
        Case("b", tmp_path / "images/b.nii.gz", tmp_path / "labels/b.nii.gz"),
        Case("c", tmp_path / "images/c.nrrd", None),
    )
    assert list(folder.labels.items()) == [("MYO", 1), ("LV", 2)]
    assert folder.modality == "MR"


def test_images_alone_are_enough(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii.gz")
    folder = DataFolder.open(tmp_path)
    assert folder.cases == (Case("a", tmp_path / "images/a.nii.gz", None),)
    assert (folder.labels, folder.modality) == ({}, "")


def test_nnunet_raw_layout(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/la_003_0000.nii.gz", "imagesTr/la_010_0000.nii.gz")
    touch(tmp_path, "labelsTr/la_003.nii.gz", "imagesTs/la_001_0000.nii.gz")
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "atrium": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    folder = DataFolder.open(tmp_path)
    assert folder.cases == (
        Case(
            "la_003", tmp_path / "imagesTr/la_003_0000.nii.gz", tmp_path / "labelsTr/la_003.nii.gz"
        ),
        Case("la_010", tmp_path / "imagesTr/la_010_0000.nii.gz", None),
    )
    assert folder.labels == {"atrium": 1}
    assert folder.modality == "CT"


def test_the_older_nnunet_style(tmp_path: Path) -> None:
    content = {"modality": {"0": "MRI"}, "labels": {"0": "background", "2": "LV", "1": "MYO"}}
    folder = DataFolder.open(with_json(tmp_path, content))
    assert list(folder.labels.items()) == [("MYO", 1), ("LV", 2)]
    assert folder.modality == "MRI"


def test_numbers_as_names_are_names(tmp_path: Path) -> None:
    assert DataFolder.open(with_json(tmp_path, {"labels": {"1": 2, "2": 1}})).labels == {
        "2": 1,
        "1": 2,
    }


def test_hidden_and_foreign_files_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii.gz", "images/.DS_Store", "images/._a.nii.gz", "images/notes.txt")
    touch(tmp_path, "labels/a.nii.gz", "labels/._b.nii.gz", "labels/.DS_Store", "labels/a.csv")
    assert names(DataFolder.open(tmp_path).cases) == ["a"]


def test_a_subfolder_is_a_dicom_case(tmp_path: Path) -> None:
    touch(tmp_path, "images/patient_1/1.dcm", "images/patient_2/1.dcm", "labels/patient_2.nii.gz")
    assert DataFolder.open(tmp_path).cases == (
        Case("patient_1", tmp_path / "images/patient_1", None),
        Case("patient_2", tmp_path / "images/patient_2", tmp_path / "labels/patient_2.nii.gz"),
    )


def test_a_broken_link_stays_a_case(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii.gz")
    (tmp_path / "images/b.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    assert names(DataFolder.open(tmp_path).cases) == ["a", "b"]


# what is refused


def test_folders_that_are_none(tmp_path: Path) -> None:
    assert "there is no such folder" in refused(tmp_path / "absent")
    touch(tmp_path, "file")
    assert "is a file; give the folder that holds images/" in refused(tmp_path / "file")
    assert "is no data folder, it holds neither images nor imagesTr" in refused(tmp_path)
    (tmp_path / "images").mkdir()
    assert "images holds no volume; put files named <case>.nii.gz there" in refused(tmp_path)
    touch(tmp_path, "images/a.nii.gz", "imagesTr/a_0000.nii.gz")
    assert "holds both images and imagesTr; keep one" in refused(tmp_path)


def test_empty_nnunet_folder(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    assert "imagesTr holds no volume; put files named <case>_0000.nii.gz" in refused(tmp_path)


def test_labels_without_images(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz", "labels/b.nii.gz", "labels/c.nii.gz")
    assert refused(tmp_path).startswith(
        "labels: 2 label map(s) without an image in images (b, c); add the images"
    )


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_two_files_of_one_case(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "images/a.nii.gz", f"{kind}/a.nii.gz", f"{kind}/a.nii")
    assert refused(tmp_path) == f"{kind}: a.nii and a.nii.gz are both case a; keep one of them"


def test_several_channels(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz")
    assert "imagesTr/a_0001.nii.gz: is channel 0001 of a, and only one channel" in refused(tmp_path)


def test_a_missing_channel_number(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a.nii.gz", "imagesTr/b_0000.nii.gz")
    assert "lacks nnU-Net's channel number; name it a_0000.nii.gz" in refused(tmp_path)


def test_the_layout_of_the_decathlon(tmp_path: Path) -> None:
    names = ("liver_1", "liver_10")
    touch(tmp_path, *(f"{kind}Tr/{name}.nii.gz" for kind in ("images", "labels") for name in names))
    touch(tmp_path, "imagesTs/liver_2.nii.gz", "imagesTr/._liver_1.nii.gz")
    content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "cancer"}}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    folder = DataFolder.open(tmp_path)
    assert [(case.name, case.label.name) for case in folder.cases if case.label] == [
        (name, f"{name}.nii.gz") for name in names
    ]
    assert (folder.labels, folder.modality) == ({"liver": 1, "cancer": 2}, "CT")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not valid JSON (Expecting value: line 1 column 1"),
        ("{'labels': 1}", "is not valid JSON (Expecting property name"),
        ('{"labels": {"a": 1, "a": 2}}', "is not valid JSON (key 'a' is there twice)"),
        ("[" * 100_000, "is not valid JSON"),
        ("[1]", "holds a list, not an object"),
        ({"labels": ["LV"]}, "labels is a list; write names and values"),
        ({"labels": None}, "labels is a NoneType"),
        (
            {"labels": {"LV": 2**32}},
            "label 'LV' has the value 4294967296; use a whole number from 0 to 4294967295",
        ),
        ({"labels": {"LV": 1.5}}, "label 'LV' has the value 1.5; use a whole"),
        ({"labels": {"9" * 5000: "LV"}}, "has the value 'LV'; use a whole"),
        ({"labels": {"LV": -1}}, "label 'LV' has the value -1"),
        ({"labels": {"LV": 1.5}}, "label 'LV' has the value 1.5"),
        ({"labels": {"LV": True}}, "label 'LV' has the value True"),
        ({"labels": {"LV": "one"}}, "label 'LV' has the value 'one'"),
        ({"labels": {"LV": 1, "2": "RV"}}, "label '2' has the value 'RV'"),
        ({"labels": {"whole": [1, 2]}}, "label 'whole' is the region [1, 2]"),
        ({"labels": {"LV": 1, "RV": 1}}, "label 'RV' with value 1 repeats a name or a value"),
        ({"labels": {"1": "LV", "2": "LV"}}, "label 'LV' with value 2 repeats a name or a value"),
        ({"labels": {" ": 1}}, "the label with value 1 has no name"),
        ({"labels": {"background": 1}}, "background has the value 1; background must be 0"),
        ({"labels": {"LV": 1, "ignore": 2}}, "label 'ignore' (value 2) is nnU-Net's mark"),
        ({"channel_names": {"0": "T1", "1": "T2"}}, "names 2 channels (T1, T2), and only one"),
        ({"modality": 3}, "modality is 3; write a text"),
    ],
)  # fmt: skip
def test_malformed_dataset_json(tmp_path: Path, content: object, said: str) -> None:
    sentence = refused(with_json(tmp_path, content))
    assert re.match(r"(\S*/)?dataset\.json", sentence)
    assert said in sentence


def test_dataset_json_in_another_encoding(tmp_path: Path) -> None:
    with_json(tmp_path, "{}")
    (tmp_path / "dataset.json").write_bytes(b"\xff\xfe{}")
    assert "dataset.json is no UTF-8 text (byte 1); save it as UTF-8" in refused(tmp_path)
    (tmp_path / "dataset.json").write_bytes(b'\xef\xbb\xbf{"modality": "MR"}')
    assert DataFolder.open(tmp_path).modality == "MR"


BEYOND: dict[str, tuple[bytes, str]] = {
    "deep": (b"[" * 31 + b"]" * 31, "is nested too deeply"),
    "a large number": (
        f'{{"labels": {{"LV": {2**63}}}}}'.encode(),
        "a whole number beyond 64 bits",
    ),
    "large": (b" " * (MOST_DATASET_BYTES + 1), "is larger than 20 MB"),
}


@pytest.mark.parametrize("kind", [*BEYOND, "a pipe"])
def test_dataset_json_beyond_all_bounds_is_refused_at_both_doors(tmp_path: Path, kind: str) -> None:
    with_json(tmp_path, "{}")
    file = tmp_path / "dataset.json"
    content, said = BEYOND.get(kind, (b"", "is no plain file but a pipe"))
    if kind == "a pipe":
        file.unlink()
        os.mkfifo(file)  # nobody ever writes into it
    else:
        file.write_bytes(content)
    assert said in refused(tmp_path)
    with pytest.raises(InputError, match=re.escape(said)):
        structure_names(file)


def test_dataset_json_may_list_more_cases_than_settings_have_room_for(tmp_path: Path) -> None:
    cases = [{"image": f"./imagesTr/case_{n:05d}.nii.gz"} for n in range(25_000)]
    with_json(tmp_path, json.dumps({"labels": {"LV": 1}, "training": cases}))
    assert (tmp_path / "dataset.json").stat().st_size > 1_000_000
    assert DataFolder.open(tmp_path).labels == {"LV": 1}


# writing


@settings(deadline=None, max_examples=60)
@given(
    labels=st.dictionaries(
        st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8).filter(
            lambda name: name.lower() not in {"background", "ignore"}
        ),
        st.integers(1, 255),
        max_size=6,
    ),
    modality=st.text(st.characters(exclude_categories=["C"]), max_size=8),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, labels: dict[str, int], modality: str
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    touch(folder, "images/a.nii.gz")
    unique = {name: value for value, name in {v: n for n, v in labels.items()}.items()}
    write_dataset_json(folder, unique, modality)
    opened = DataFolder.open(folder)
    assert opened.labels == unique
    assert opened.modality == modality
    written = json.loads((folder / "dataset.json").read_text("utf-8"))
    assert written["labels"]["background"] == 0


def test_unreadable_labels_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label 'LV' has the value -3"):
        write_dataset_json(tmp_path, {"LV": -3}, "CT")
    assert list(tmp_path.iterdir()) == []


def test_a_volume_of_nnunets_folders_is_called_like_its_case(tmp_path: Path) -> None:
    """So that what is written of it, and asked for by case, has one name: for `benchmark`, too."""
    volume = Volume(np.zeros((2, 3, 4), np.uint8), np.eye(4))
    write_volume(tmp_path / "imagesTr" / "mr_001_0000.nii.gz", volume)
    write_volume(tmp_path / "labelsTr" / "mr_001.nii.gz", volume)
    (case,) = DataFolder.open(tmp_path).cases
    assert case.label is not None
    names = (case.name, read_volume(case.image).name, read_labels(case.label).name)
    assert names == ("mr_001", "mr_001", "mr_001")
    write_volume(tmp_path / "imagesTs" / "mr_002_0000.nii.gz", volume)
    assert read_volume(tmp_path / "imagesTs" / "mr_002_0000.nii.gz").name == "mr_002"
    write_volume(tmp_path / "images" / "mr_002_0000.nii.gz", volume)
    assert read_volume(tmp_path / "images" / "mr_002_0000.nii.gz").name == "mr_002_0000"
