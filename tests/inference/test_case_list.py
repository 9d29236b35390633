"""What a folder has of each case, and which image a prediction belongs to."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_cases import stored_run

import napari_uda as uda
from napari_uda.core.errors import InputError
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.evaluation.report import evaluate_folders
from napari_uda.experiments.model_card import read_card
from napari_uda.inference import cases
from napari_uda.inference.cases import list_cases, mean_dice
from napari_uda.inference.results import voxels_sha256
from napari_uda.run.comparison import read_record

NAMES = {"MYO": 1, "LVC": 2}


def volume(value: int, name: str = "") -> Volume:
    """Two slices of noise that depends on `value`."""
    noise = np.random.default_rng(value).integers(0, 90, (2, 5, 4)).astype(np.int16)
    return Volume(noise, np.diag([1.0, 1.5, 2.0, 1.0]), name)


def data_folder(folder: Path, cases: str = "abc", labelled: str = "ab") -> Path:
    """A data folder; each case has other voxels."""
    for name in cases:
        write_volume(folder / "images" / f"{name}.nii.gz", volume(ord(name)))
    for name in labelled:
        labels = volume(0).with_array(np.ones((2, 5, 4), np.uint8))
        write_volume(folder / "labels" / f"{name}.nii.gz", labels)
    write_dataset_json(folder, NAMES, "MR")
    return folder


def predicted(image: Path, out: Path) -> None:
    """The files of a prediction, as they are described in docs/commands.md."""
    grid = read_volume(image)
    maps = {"labels": np.uint8, "entropy": np.float32, "reliability": np.uint8}
    for role, kind in maps.items():
        ones = grid.with_array(np.ones(grid.array.shape, kind))
        write_volume(out / f"{grid.name}_{role}.nii.gz", ones)
    about = {
        "path": Path(os.path.relpath(image, out)).as_posix(),
        "voxels_sha256": voxels_sha256(grid.array),
        "shape_zyx": list(grid.array.shape),
    }
    (out / f"{grid.name}.json").write_text(json.dumps({"case": grid.name, "image": about}))


def table(file: Path, *rows: tuple[str, str]) -> Path:
    """A `scores.csv` with one structure per line."""
    file.write_text("case,label,name,dice\n" + "".join(f"{a},1,MYO,{b}\n" for a, b in rows))
    return file


def test_a_data_folder_says_what_each_case_has(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "mr")
    listed = uda.list_cases(data)
    assert [case.name for case in listed.cases] == ["a", "b", "c"]
    assert [case.labels is not None for case in listed.cases] == [True, True, False]
    assert listed.cases[0].names == {1: "MYO", 2: "LVC"}
    assert all(case.prediction is None and math.isnan(case.dice) for case in listed.cases)
    assert not listed.is_scored
    predicted(data / "images" / "b.nii.gz", tmp_path / "out")
    table(tmp_path / "out" / "scores.csv", ("b", "0.5"), ("b", "0.75"), ("b", ""), ("c", "nan"))
    listed = list_cases(data, predictions=tmp_path / "out")
    assert [case.prediction is not None for case in listed.cases] == [False, True, False]
    assert listed.cases[1].dice == pytest.approx(0.625)  # by hand: (0.5 + 0.75) / 2
    assert math.isnan(listed.cases[2].dice)
    assert listed.first.name == "b"
    assert set(listed.cases[1].maps) == {"entropy", "reliability"}


def test_listing_reads_no_volume(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "mr")
    predicted(data / "images" / "a.nii.gz", tmp_path / "out")
    for file in [*data.rglob("*.nii.gz"), *(tmp_path / "out").glob("*.nii.gz")]:
        file.write_bytes(b"")
    assert len(list_cases(data, predictions=tmp_path / "out").cases) == 3
    assert list_cases(tmp_path / "out").cases[0].image is not None


def test_predictions_find_their_images_wherever_they_are(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "far" / "mr")
    for name in "ab":
        predicted(data / "images" / f"{name}.nii.gz", tmp_path / "out")
    first, second = list_cases(tmp_path / "out").cases
    assert first.image is not None
    assert first.image.samefile(data / "images" / "a.nii.gz")
    assert first.labels is not None
    assert first.labels.samefile(data / "labels" / "a.nii.gz")
    assert first.names == {1: "MYO", 2: "LVC"}
    where, read = second.read_image()
    assert where.label is not None
    np.testing.assert_array_equal(read.array, volume(ord("b")).array)
    shutil.move(tmp_path / "far", tmp_path / "moved")  # the path leads nowhere now
    (lost, _) = list_cases(tmp_path / "out").cases
    assert lost.image is None
    with pytest.raises(InputError, match=r"a: its image \.\./far/mr/images/a\.nii\.gz is missing"):
        lost.read_image()
    found = list_cases(tmp_path / "moved" / "mr", predictions=tmp_path / "out").cases
    assert [case.name for case in found if case.prediction and case.image] == ["a", "b"]
    assert found[0].read_image()[1].name == "a"
    shutil.copy(tmp_path / "moved/mr/images/a.nii.gz", tmp_path / "out")  # beside it
    assert list_cases(tmp_path / "out").cases[0].read_image()[1].name == "a"


def test_a_folder_moved_with_its_images_still_finds_them(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "study" / "mr")
    predicted(data / "images" / "a.nii.gz", tmp_path / "study" / "out")
    shutil.move(tmp_path / "study", tmp_path / "elsewhere")
    (only,) = list_cases(tmp_path / "elsewhere" / "out").cases
    assert only.read_image()[1].name == "a"


def test_one_missing_image_takes_no_labels_from_the_others(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "mr")
    for name in "abc":
        predicted(data / "images" / f"{name}.nii.gz", tmp_path / "out")
    (data / "images" / "a.nii.gz").unlink()
    first, second, third = list_cases(tmp_path / "out").cases
    assert (first.image, third.labels) == (None, None)
    assert second.labels == data / "labels" / "b.nii.gz"
    where, image = second.read_image()
    assert where.read_labels(image).array.min() == 1


def test_another_image_of_that_name_is_not_taken(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "mr")
    image = data / "images" / "a.nii.gz"
    predicted(image, tmp_path / "out")
    write_volume(image, volume(77))
    (case,) = list_cases(tmp_path / "out").cases
    with pytest.raises(InputError, match=r"a\.nii\.gz in .* is not the image that the prediction"):
        case.read_image()
    write_volume(tmp_path / "a.nii.gz", volume(ord("a")))  # beside the folder of results
    where, read = list_cases(tmp_path / "out").cases[0].read_image()
    assert where.image == tmp_path / "a.nii.gz"
    np.testing.assert_array_equal(read.array, volume(ord("a")).array)


def test_a_run_lists_its_predictions_with_images_of_another_folder(tmp_path: Path) -> None:
    run = stored_run("se_asa", tmp_path / "stored")
    unseen = data_folder(tmp_path / "unseen", "x", "x")
    predicted(unseen / "images" / "x.nii.gz", run.predictions)
    table(run.path / "scores.csv", ("x", "0.25"))
    listed = list_cases(run.path)
    assert listed.first.name == "x"
    assert listed.first.dice == 0.25
    assert listed.first.labels is not None
    assert len(listed.cases) > 1  # those of its own data come, too


def test_scores_of_a_prediction_that_was_made_anew_do_not_count(tmp_path: Path) -> None:
    """Told by what the files hold, not by their times: a copy of a folder may turn these round."""
    run = stored_run("se_asa", tmp_path / "stored")
    data = data_folder(tmp_path / "mr", "xy", "xy")
    for name in "xy":
        predicted(data / "images" / f"{name}.nii.gz", run.predictions)
    evaluate_folders(run.predictions, data / "labels").write(run.path)
    os.utime(run.scores_file, (1, 1))  # older than the predictions, as after a copy
    listed = {case.name: case for case in list_cases(run.path).cases}
    assert listed["x"].dice == listed["y"].dice == 1
    assert (read_card(run.path).outdated, read_record(run.path).outdated) == (0, 0)
    two = read_volume(run.predictions / "x_labels.nii.gz")
    write_volume(run.predictions / "x_labels.nii.gz", two.with_array(2 * two.array))
    os.utime(run.predictions / "x_labels.nii.gz", (1, 1))
    listed = {case.name: case for case in list_cases(run.path).cases}
    assert (math.isnan(listed["x"].dice), listed["x"].outdated) == (True, True)
    assert (listed["y"].dice, listed["y"].outdated) == (1, False)
    card = read_card(run.path)
    told = "1 case was predicted anew since; napari-uda evaluate scores again"
    assert ("Scored before", told) in card.lines()
    assert read_record(run.path).outdated == 1


def test_a_tree_and_several_data_folders_are_listed(tmp_path: Path) -> None:
    for name in "pq":
        write_volume(tmp_path / "tree" / name / "image.nii.gz", volume(ord(name)))
    write_volume(tmp_path / "tree" / "q" / "label.nii.gz", volume(1))
    listed = list_cases(tmp_path / "tree")
    assert [(case.name, case.labels is not None) for case in listed.cases] == [
        ("p", False),
        ("q", True),
    ]
    data_folder(tmp_path / "two" / "ct", "a", "a")
    data_folder(tmp_path / "two" / "mr", "ab")
    assert [case.name for case in list_cases(tmp_path / "two").cases] == ["b", "ct", "mr_a"]


def test_what_cannot_be_listed_is_said(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "mr")
    with pytest.raises(InputError, match="there is no such file or folder"):
        list_cases(tmp_path / "none")
    with pytest.raises(InputError, match="holds no predictions"):
        list_cases(data, predictions=tmp_path)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no columns case and dice"):
        mean_dice(tmp_path / "other.csv")
    predicted(data / "images" / "a.nii.gz", tmp_path / "out")
    sidecar = tmp_path / "out" / "a.json"
    for entry in (None, [], {"path": 3}, {"path": "x\0y", "shape_zyx": "no"}):
        sidecar.write_text(json.dumps({"image": entry}))
        (case,) = list_cases(tmp_path / "out").cases
        with pytest.raises(InputError, match="it has no image; put a"):
            case.read_image()


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_folder(tmp_path / "mr")
    for name in "abc":
        predicted(data / "images" / f"{name}.nii.gz", tmp_path / "out")
    calls: list[Path] = []
    listed = cases._cases_in
    monkeypatch.setattr(cases, "_cases_in", lambda *a: (calls.append(a[0]), listed(*a))[1])
    assert len(list_cases(tmp_path / "out").cases) == 3
    assert len(calls) == 1
