"""`napari-uda check`: what training would find, as a table and as JSON, with the exit code of its verdict."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_uda.cli import main
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import Volume, write_volume

LPS = np.diag([-1.0, -1.0, 4.0, 1.0])


def exit_code(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def heart(tmp_path: Path) -> Path:
    root = tmp_path / "heart"
    for index in range(2):
        name = f"p{index}"
        grey = np.random.default_rng(index).integers(0, 100, (4, 8, 8)).astype(np.int16)
        labels = np.zeros((4, 8, 8), np.uint8)
        labels[1:3, 2:6, 2:6] = 1
        write_volume(root / "images" / f"{name}.nii.gz", Volume(grey, LPS, name))
        write_volume(root / "labels" / f"{name}.nii.gz", Volume(labels, LPS, name))
    write_dataset_json(root, {"LV": 1}, "MR")
    return root


def test_a_sound_folder_is_a_table_and_exit_code_0(
    heart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("check", heart, "--strict") == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.strip().splitlines()] == [
        "heart",
        "cases 2, 2 with labels",
        "modality MR",
        "voxels (z, y, x) 4 x 8 x 8",
        "spacing in mm 4 x 1 x 1",
        "stored as LPS (2)",
        "grey values 0 to 99",
        "structure label voxels cases",
        "LV 1 64 2",
        "nothing odd was found",
    ]


def test_warnings_are_exit_code_2_with_strict_alone(
    heart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("check", heart, heart) == 0
    out = capsys.readouterr().out
    assert "source: heart" in out
    assert "2 with labels (not read)" in out
    assert "warning  source and target are the same images" in out
    assert exit_code("check", heart, heart, "--strict") == 2
    assert "--strict takes the warning above for errors" in capsys.readouterr().err


def test_errors_are_exit_code_2_and_all_named(
    heart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("p0", "p1"):
        (heart / "images" / f"{name}.nii.gz").write_bytes(b"broken")
    assert exit_code("check", heart) == 2
    said = capsys.readouterr()
    assert said.out.count("\n  error  ") == 2
    assert "training would refuse this data (the 2 errors above)" in said.err
    assert exit_code("check", tmp_path / "nowhere") == 2
    assert "there is no such folder" in capsys.readouterr().out


def test_json_says_the_same(heart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset_json(heart, {"LV": 1, "RV": 2}, "MR")
    assert exit_code("check", heart, "--json") == 0
    (report,) = json.loads(capsys.readouterr().out).values()
    assert (report["name"], report["cases"], report["cases_with_labels"]) == ("heart", 2, 2)
    assert report["structures"][0] == {"name": "LV", "label": 1, "voxels": 64, "cases": 2}
    assert report["images"][0]["structures_mm"] == [8, 4, 4]
    assert report["problems"] == [
        {
            "kind": "warning",
            "file": "",
            "sentence": "no case has RV (label 2); check names and values",
        }
    ]


def test_a_folder_without_labels_is_no_error_by_itself(
    heart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (heart / "labels").iterdir():
        file.unlink()
    assert exit_code("check", heart) == 0
    assert "2, 0 with labels" in capsys.readouterr().out
    assert exit_code("check", heart, heart) == 2  # a source must have some
    assert "error    heart has no label maps" in capsys.readouterr().out


def test_what_reading_warns_of_is_said_once(
    heart: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    image = nib.load(heart / "images" / "p0.nii.gz")
    image.header["sform_code"] = image.header["qform_code"] = 0
    plain = nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header)
    plain.header["sform_code"] = plain.header["qform_code"] = 0
    nib.save(plain, heart / "images" / "p0.nii.gz")
    (heart / "labels" / "p0.nii.gz").unlink()
    assert exit_code("check", heart) == 0
    assert capsys.readouterr().out.count("its orientation is a guess") == 1
    assert caplog.records == []
