"""`--placement`: files whose sform and qform disagree, through every command that reads images."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_uda.cli import main
from napari_uda.data.check import check_folder
from napari_uda.experiments.fingerprints import scored_cases
from napari_uda.run.run import Run

TINY = [
    *("--data.size", "32", "--segmentor.width", "4", "--segmentor.depth", "2"),
    *("--batch-size", "2", "--steps", "3", "--device", "cpu"),
]


def two_placements(folder: Path, out: Path) -> Path:
    """A copy whose qform lies 13 mm from the sform."""
    shutil.copytree(folder, out)
    for file in [*(out / "images").iterdir(), *(out / "labels").iterdir()]:
        image = nib.load(file)
        moved = image.affine.copy()
        moved[:3, 3] += 3, 4, 12
        image = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)
        image.set_sform(image.affine, 2)
        image.set_qform(moved, 1)
        nib.save(image, file)
    return out


def exit_code(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_every_command_takes_the_users_word(
    two_domains: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = (
        two_placements(folder, tmp_path / name)
        for folder, name in zip(two_domains, ("source", "target"), strict=True)
    )
    run, out = tmp_path / "run", tmp_path / "out"
    data = ("--data.source", source, "--data.target", target)
    train = ("train", "source_only", *data, "--run-dir", run, *TINY)
    assert exit_code(*train) == 2
    assert "sform and qform disagree by 13 mm (sform_code 2, aligned" in capsys.readouterr().err
    assert exit_code(*train, "--placement", "qform") == 0
    assert Run.open(run).config.data.placement == "qform"
    given = nib.load(target / "images" / "target_0.nii.gz").header
    for placement in ("sform", "qform"):
        there = ("--placement", placement)
        predict = ("predict", run, target, "--out", out, "--no-reliability")
        assert exit_code(*predict) == 2
        assert exit_code(*predict, *there) == 0
        written = nib.load(out / "target_0_labels.nii.gz")
        for form in ("sform", "qform"):  # a result lies wherever a program takes its image to lie
            got, code = getattr(written.header, f"get_{form}")(coded=True)
            expected, wanted = getattr(given, f"get_{form}")(coded=True)
            np.testing.assert_array_equal(got, expected)
            assert code == wanted
        evaluate = ("evaluate", out, target / "labels", "--out", out)
        assert exit_code(*evaluate) == 2
        assert exit_code(*evaluate, *there) == 0
        assert "target_0" in (out / "scores.csv").read_text()
        tags = ("tags", run, target, "--out", tmp_path / "tags.json")
        assert exit_code(*tags) == 2
        assert exit_code(*tags, *there) == 0
        adapt = ("adapt", run, target / "images" / "target_0.nii.gz", "--out", tmp_path / "adapted")
        assert exit_code(*adapt, "--method", "bn_adapt") == 2
        assert exit_code(*adapt, "--method", "bn_adapt", *there) == 0
        before = nib.load(tmp_path / "adapted" / "before" / "target_0_labels.nii.gz")
        np.testing.assert_array_equal(before.affine, written.affine)
        shutil.rmtree(out)
        shutil.rmtree(tmp_path / "adapted")


def test_the_data_check_and_the_benchmark_read_as_training_does(
    two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = two_placements(two_domains[0], tmp_path / "source")
    assert check_folder(folder, labelled=True).is_fatal
    assert not check_folder(folder, labelled=True, placement="qform").is_fatal
    assert {case.placement for case in scored_cases(folder, placement="sform")} == {"sform"}
