"""`--placement`: files whose sform and qform disagree, through every command that reads images."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny_cases import two_placements

from napari_uda.cli import main
from napari_uda.data.check import check_folder
from napari_uda.experiments.fingerprints import scored_cases
from napari_uda.run.run import Run

TINY = [
    *("--data.size", "32", "--segmentor.width", "4", "--segmentor.depth", "2"),
    *("--batch-size", "2", "--steps", "3", "--device", "cpu"),
]


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


def test_convert_takes_the_users_word(
    two_domains: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A release of one CT, the structures by two of its codes."""
    folder = two_placements(two_domains[0], tmp_path / "source")
    release = tmp_path / "release"
    release.mkdir()
    for role, name in (("images", "image"), ("labels", "label")):
        file = folder / role / "source_0.nii.gz"
        labels = nib.load(file)
        voxels = np.asanyarray(labels.dataobj)
        voxels = (
            np.where(voxels == 3, 205, np.where(voxels == 1, 500, 0))
            if role == "labels"
            else voxels
        )
        labels.set_data_dtype(np.int16)
        saved = nib.Nifti1Image(voxels.astype(np.int16), None, labels.header)
        nib.save(saved, release / f"ct_train_1001_{name}.nii.gz")
    convert = ("convert", "mmwhs", release)
    assert exit_code(*convert, tmp_path / "out") == 2
    assert "sform and qform disagree" in capsys.readouterr().err
    assert exit_code(*convert, tmp_path / "out", "--placement", "qform") == 0
    (image,) = (tmp_path / "out").rglob("images/*.nii.gz")
    original = nib.load(two_domains[0] / "images" / "source_0.nii.gz").affine[:3, 3]
    np.testing.assert_allclose(
        nib.load(image).affine[:3, 3], original + np.array([3, 4, 12]), atol=1e-4
    )
