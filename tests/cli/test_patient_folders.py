"""What a hospital sends, through the commands: trees of DICOM, a series that is broken, NIfTI beside them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import echo, write_frames, write_slices

from napari_uda.cli import main
from napari_uda.inference.cases import list_cases
from napari_uda.run.run import Run

SIDE = 32
TINY = [
    *("--data.size", "32", "--segmentor.width", "4", "--segmentor.depth", "2"),
    *("--batch-size", "2", "--steps", "1", "--device", "cpu"),
]
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process: its exit code and what it said on stderr."""

    def run(*arguments: object) -> tuple[int, str]:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capsys.readouterr().err

    return run


def voxels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 900, (count, SIDE, SIDE)).astype("int16")


@pytest.fixture
def hospital(two_domains: tuple[Path, Path], tmp_path: Path) -> Path:
    """One echo of two in an enhanced file; two series; NIfTI; a series that lacks a slice."""
    root = tmp_path / "hospital"
    heights = [4.0 * n for n in range(6)]
    each = [echo(time) for time in (1.5, 3.0) for _ in heights]
    write_frames(root / "p1" / "IM_0001", voxels(12), heights * 2, each, SeriesDescription="dual")
    for number, name in enumerate(("T2 TSE", "echo time 3 T1")):
        write_slices(
            root / "p2" / f"S{number}", voxels(5 + number), heights[: 5 + number],
            SeriesInstanceUID=f"1.2.{number}", SeriesDescription=name, SeriesNumber=number + 1,
        )  # fmt: skip
    (root / "p3").mkdir()
    shutil.copy(two_domains[1] / "images" / "target_0.nii.gz", root / "p3" / "image.nii.gz")
    lacking = [*heights[:3], *heights[4:]]
    write_slices(root / "p4", voxels(5), lacking, SeriesDescription="echo time 3")
    (root / "p5").mkdir()
    return root


def test_predict_reads_what_it_can_and_names_the_rest(
    command: Command, tiny_run: Run, hospital: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, said = command("predict", tiny_run.path, hospital, "--out", out, "--no-reliability")
    assert code == 2
    assert "napari-uda: hospital: 5 volumes; passed over p5 (holds no volume)" in said
    last = said.splitlines()[-1]
    assert "2 of 5 volumes could not be segmented: p1: holds 2 DICOM volumes; choose one" in last
    assert "'1.1' dual, echo time 1.5 ms (MR, 6 x 32 x 32)" in last
    assert "p4: its DICOM slices are 4 to 8 mm apart" in last
    written = sorted(file.name for file in out.glob("*_labels.nii.gz"))
    assert written == ["p2_S0_labels.nii.gz", "p2_S1_labels.nii.gz", "p3_labels.nii.gz"]
    assert nib.load(out / "p2_S1_labels.nii.gz").shape == (SIDE, SIDE, 6)


def test_what_lies_among_patients_and_is_none_is_named(
    command: Command, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    root = tmp_path / "k" / os.fsdecode(b"k\xf6ln")  # a folder named so is read as any other
    root.mkdir(parents=True)
    image = two_domains[1] / "images" / "target_0.nii.gz"
    for name in ("p1.nii.gz", os.fsdecode(b"p\xfc.nii.gz")):
        shutil.copy(image, root / name)
    os.mkfifo(root / "p3.nii.gz")
    (root / "up").symlink_to("..")
    (root / "p4.nii.gz").symlink_to("p1.nii.gz")
    out = tmp_path / "out"
    code, said = command("predict", tiny_run.path, root, "--out", out, "--no-reliability")
    assert (code, sorted(file.name for file in out.glob("*.json"))) == (0, ["p1.json", "p4.json"])
    assert "2 volumes; passed over p3.nii.gz (a pipe, a socket or a device)" in said
    assert "p?.nii.gz (its name holds bytes that are no UTF-8; rename it)" in said
    assert "up (a link to a folder above)" in said
    case = list_cases(out).cases[0]
    assert case.read_image()[0].image.samefile(root / "p1.nii.gz")
    code, said = command(
        "predict", tiny_run.path, root / os.fsdecode(b"p\xfc.nii.gz"), "--out", out
    )
    assert (code, said.splitlines()[-1]) == (
        2,
        "napari-uda: p?.nii.gz: its name holds bytes that are no UTF-8; rename it",
    )


def test_evaluate_finds_the_labels_of_patients(
    command: Command, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    """Label maps scored against themselves; a patient without one is not scored."""
    for number in range(2):
        patient, label = tmp_path / "scans" / f"p{number}", f"target_{number}.nii.gz"
        patient.mkdir(parents=True)
        shutil.copy(two_domains[1] / "images" / label, patient / "image.nii.gz")
        shutil.copy(two_domains[1] / "labels" / label, patient / "label.nii.gz")
        (tmp_path / "out").mkdir(exist_ok=True)
        shutil.copy(patient / "label.nii.gz", tmp_path / "out" / f"p{number}_labels.nii.gz")
    (tmp_path / "scans" / "p9").mkdir()
    given = (tmp_path / "out", tmp_path / "scans", "--out", tmp_path / "scores")
    code, said = command("evaluate", *given)
    assert code == 0, said
    rows = (tmp_path / "scores" / "scores.csv").read_text().splitlines()
    columns = rows[0].split(",")
    found = [dict(zip(columns, row.split(","), strict=True)) for row in rows[1:]]
    assert {row["case"] for row in found} == {"p0", "p1"}
    assert {float(row["dice"]) for row in found if row["state"] == "both"} == {1.0}


@pytest.mark.parametrize("name", ["predict", "adapt"])
def test_one_series_of_every_patient(
    command: Command, name: str, tiny_run: Run, hospital: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = [name, tiny_run.path, hospital / "p1", hospital / "p2", hospital / "p3", "--out", out]
    given += ["--no-reliability"] if name == "predict" else ["--steps", "1"]
    code, said = command(*given, "--series", "Echo Time 3")
    assert code == 0, said
    assert "napari-uda: p2: 1 volume; passed over S0 (no series 'Echo Time 3')" in said
    written = sorted(file.name for file in out.rglob("*_labels.nii.gz"))
    expected = ["S1_labels.nii.gz", "image_labels.nii.gz", "p1_labels.nii.gz"]
    assert written == sorted(expected * (2 if name == "adapt" else 1))
    affine = nib.load(next(out.rglob("p1_labels.nii.gz"))).affine
    np.testing.assert_allclose(np.diag(affine), (-0.75, -1.5, 4, 1), atol=1e-6)


def test_train_on_patients(
    command: Command, two_domains: tuple[Path, Path], hospital: Path, tmp_path: Path
) -> None:
    shutil.rmtree(hospital / "p4")
    given = ("train", "advent", "--data.source", two_domains[0], "--data.target", hospital)
    code, said = command(*given, "--run-dir", tmp_path / "a", *TINY)
    assert code == 2
    assert "p1: holds 2 DICOM volumes; choose one with --series" in said
    code, said = command(*given, "--run-dir", tmp_path / "b", *TINY, "--series", "echo time 3")
    assert code == 0, said
    run = Run.open(tmp_path / "b")
    assert run.config.data.series == "echo time 3"
    assert run.facts.target.train == ("p1", "p2", "p3")
