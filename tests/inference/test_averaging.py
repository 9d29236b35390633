"""The mean over networks and over views of a slice, and what a result says of it."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_cases import without_checksums
from torch import Tensor

from napari_uda import report
from napari_uda.cli.dispatch import main
from napari_uda.core.errors import InputError
from napari_uda.core.small_files import read_object
from napari_uda.data.label_edits import keep_largest_parts
from napari_uda.data.volume import Volume, write_volume
from napari_uda.inference.averaging import check_members, mean_prediction
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.run.run import Run


def constant(*shares: float):
    """A network that gives every pixel these probabilities."""
    logits = torch.tensor(shares).log().view(1, -1, 1, 1)
    return lambda image: logits.expand(len(image), -1, *image.shape[-2:])


def from_grey(image: Tensor) -> Tensor:
    """Logits 0 and the grey value: pixel by pixel, so it goes with every flip."""
    return torch.cat([torch.zeros_like(image), image], 1)


def from_place(image: Tensor) -> Tensor:
    """Sure of class 1 in the first column and of class 0 elsewhere, whatever is seen."""
    logits = torch.zeros(len(image), 2, *image.shape[-2:])
    logits[:, 0] = 100.0
    logits[:, 1, :, 0] = 200.0
    return logits


def test_the_mean_of_members_by_hand() -> None:
    mean = mean_prediction([constant(0.9, 0.1), constant(0.2, 0.8), constant(0.1, 0.9)])
    shares = mean(torch.zeros(2, 1, 4, 4)).softmax(1)
    torch.testing.assert_close(shares[:, 0], torch.full((2, 4, 4), 0.4))
    torch.testing.assert_close(shares[:, 1], torch.full((2, 4, 4), 0.6))


def test_one_network_without_views_stays_itself() -> None:
    assert mean_prediction([from_grey]) is from_grey


def test_flips_leave_a_network_that_goes_with_them_and_average_one_that_does_not() -> None:
    image = torch.rand(2, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    there = mean_prediction([from_grey], "flips")(image)
    torch.testing.assert_close(there.softmax(1), from_grey(image).softmax(1))
    shares = mean_prediction([from_place], "flips")(image).softmax(1)[:, 1]
    expected = torch.zeros(2, 4, 6)
    expected[..., [0, -1]] = 0.5  # two of the four views have the first column there
    torch.testing.assert_close(shares, expected)


def test_looks_by_hand() -> None:
    image = torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3)
    grey = mean_prediction([from_grey], "looks")(image).softmax(1)[0, 1, 0]
    middle = [2 * 0.5**power - 1 for power in (1.0, 0.7, 1 / 0.7)]
    expected = [
        1 / (1 + math.e),
        sum(1 / (1 + math.exp(-value)) for value in middle) / 3,
        math.e / (1 + math.e),
    ]
    torch.testing.assert_close(grey, torch.tensor(expected))
    below = torch.full((1, 1, 1, 1), -1 - 1e-6)  # resampling rounds
    torch.testing.assert_close(
        mean_prediction([from_grey], "looks")(below),
        mean_prediction([from_grey], "looks")(-torch.ones_like(below)),
    )


def test_a_class_without_any_probability_has_a_finite_logit() -> None:
    mean = mean_prediction([constant(1.0, 0.0), constant(1.0, 0.0)])
    assert torch.isfinite(mean(torch.zeros(1, 1, 2, 2))).all()


def test_unknown_views_are_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match=r"tta cannot be 'flip'.*flips"):
        mean_prediction([from_grey], "flip")  # type: ignore[arg-type]


def test_only_the_largest_part_of_each_structure_is_kept() -> None:
    labels = np.zeros((3, 6, 6), np.uint8)
    labels[0, :2, :2], labels[2, 4, 4] = 1, 1  # four voxels, and one apart
    labels[1, 5, :3], labels[0, 5, 5] = 7, 7
    expected = labels.copy()
    expected[2, 4, 4] = expected[0, 5, 5] = 0
    keep_largest_parts(labels)
    np.testing.assert_array_equal(labels, expected)


@pytest.fixture
def runs(tiny_run: Run) -> list[LoadedRun]:
    """The same run twice, the weights of the second one changed in memory."""
    loaded = [LoadedRun.load(tiny_run, "cpu") for _ in range(2)]
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in loaded[1].method.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=noise)
    return loaded


def test_a_result_is_the_mean_of_its_members_and_names_them(
    runs: list[LoadedRun], tmp_path: Path
) -> None:
    image = Volume(
        np.random.default_rng(0).integers(0, 200, (3, 32, 32), dtype=np.int16), np.eye(4), "case"
    )
    one, two = (predict(run, image, reliability=False) for run in runs)
    assert (one.labels != two.labels).any()
    both = predict(runs[0], image, reliability=False, ensemble=[runs[1]], largest_parts=True)
    turned = predict(runs[1], image, reliability=False, ensemble=[runs[0]], largest_parts=True)
    np.testing.assert_array_equal(both.labels, turned.labels)
    np.testing.assert_allclose(both.entropy, turned.entropy, atol=1e-6)
    both.save(tmp_path)
    content = read_object(tmp_path / "case.json")
    assert content is not None
    assert [model["name"] for model in content["ensemble"]] == [runs[1].origin.name]
    assert (content["largest_parts"], "tta" in content) == (True, False)
    one.save(tmp_path / "plain")
    plain = read_object(tmp_path / "plain" / "case.json")
    assert plain is not None
    assert not {"ensemble", "tta", "largest_parts"} & set(plain)


def test_runs_that_see_slices_differently_are_no_ensemble(
    runs: list[LoadedRun], tiny_run: Run, tmp_path: Path
) -> None:
    check_members(runs)
    with pytest.raises(InputError, match=r"has the weights of .* which would count twice"):
        check_members([*runs, runs[0]])
    shutil.copytree(tiny_run.path, tmp_path / "coarse")
    without_checksums(tmp_path / "coarse")
    facts = tmp_path / "coarse" / "data.json"
    text = facts.read_text(encoding="utf-8")
    changed = re.sub(r'"pixel_mm": [0-9.]+', '"pixel_mm": 9.0', text, count=1)
    assert changed != text
    facts.write_text(changed, encoding="utf-8")
    coarse = LoadedRun.load(tmp_path / "coarse", "cpu")
    with pytest.raises(InputError, match=r"has a pixel size other than .*same data settings"):
        check_members([runs[0], coarse])
    images = tmp_path / "image.nii.gz"
    write_volume(images, Volume(np.zeros((3, 32, 32), np.int16), np.eye(4), "case"))
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "predict",
                str(tiny_run.path),
                str(images),
                "--out",
                str(out),
                "--ensemble",
                str(tmp_path / "coarse"),
            ]
        )
    assert stopped.value.code == 2
    assert not out.exists()


def test_the_report_says_what_was_averaged(runs: list[LoadedRun], tmp_path: Path) -> None:
    image = Volume(np.zeros((3, 32, 32), np.int16), np.eye(4), "case")
    options = {"ensemble": [runs[1]], "tta": "looks", "largest_parts": True}
    predict(runs[0], image, reliability=False, **options).save(tmp_path / "out")
    text = report(tmp_path / "out", out=tmp_path / "r.html").read_text(encoding="utf-8")
    for entry, words in {
        "averaged with": runs[1].origin.name,
        "test-time augmentation": "mean over looks of each slice",
        "after segmentation": "only the largest part of each structure was kept",
    }.items():
        assert f"<dt>{entry}</dt><dd>{words}</dd>" in text


def test_an_ensemble_that_is_none_is_refused_before_any_image(
    tiny_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images = str(tiny_run.path), [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
    for image in images:
        write_volume(image, Volume(np.zeros((3, 32, 32), np.int16), np.eye(4)))
    with pytest.raises(SystemExit):
        main(["predict", run, *map(str, images), "--out", str(tmp_path / "o"), "--ensemble", run])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"napari-uda: {tiny_run.path.name}: has the weights of ")
    with pytest.raises(
        InputError, match="is one path where several runs are expected; give a list"
    ):
        predict(tiny_run, images[0], ensemble=run)
    with pytest.raises(InputError, match="entropy_dtype cannot be 'float16'"):
        predict(tiny_run, images[0], entropy_dtype="float16")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="backend cannot be 'tf'; choose one of auto, torch"):
        predict(tiny_run, images[0], backend="tf")  # type: ignore[arg-type]
