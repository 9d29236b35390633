"""select: what is told of a run without labels, which one is chosen, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_cases import small_config
from torch.nn.functional import cross_entropy

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.cli import main
from napari_uda.core.errors import InputError
from napari_uda.core.seeds import generator
from napari_uda.data.appearance import augment_intensity
from napari_uda.data.slices import window_slices
from napari_uda.data.volume import read_volume
from napari_uda.inference.loaded import LoadedRun
from napari_uda.losses.entropy import entropy_map
from napari_uda.run.run import Run
from napari_uda.training.select import Candidate, Selection
from napari_uda.training.volume_score import VIEWS, VolumeScore, score_volume

Domains = tuple[Path, Path]


@pytest.fixture(scope="module")
def runs(two_domains: Domains, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run of one step, and one that has learnt a little."""
    folder, made = tmp_path_factory.mktemp("runs"), []
    for name, steps in (("new", 1), ("learnt", 40)):
        config = small_config(
            "source_only",
            *two_domains,
            steps=steps,
            batch_size=6,
            validate_every=steps,
            data={"validation_fraction": 0.3},
            method={"segmentor_optimizer": {"lr": 1e-2}},
        )
        for _ in iterate(Run.create(folder / name, config)):
            pass
        made.append(folder / name)
    return made


def test_scores_are_those_of_the_slices_that_the_network_sees(
    runs: list[Path], two_domains: Domains
) -> None:
    loaded = LoadedRun.load(runs[1], "cpu")
    facts = loaded.run.facts
    volume = read_volume(two_domains[1] / "images" / "target_1.nii.gz")
    slices = window_slices(volume, facts.prediction_intensity, facts.grid)
    image = torch.from_numpy(slices.astype(np.float32))[:, None]
    losses = []
    with torch.no_grad():
        logits = loaded.method.predict(image)
        labels = logits.argmax(1)
        for view in range(VIEWS):
            draws = [generator(view, "consistency", row) for row in range(len(image))]
            changed = augment_intensity(image, "gin_ipa", draws)
            losses.append(float(cross_entropy(loaded.method.predict(changed), labels)))
    entropy = float(entropy_map(logits)[labels > 0].mean())
    pixel_ml = facts.grid.pixel_mm**2 * 4.0 / 1000
    parts = []
    for index, name in enumerate(("inner", "outer"), start=1):
        low, high = facts.structures[name].volume_ml
        found = float((labels == index).sum()) * pixel_ml
        times = 4.0 if not found else max(low / found, found / high, 1.0)
        parts.append(1 - min(1.0, math.log(times) / math.log(4)))

    scores = score_volume(loaded, volume)
    assert scores.consistency == pytest.approx(math.exp(-np.mean(losses)), rel=1e-4)
    assert scores.certainty == pytest.approx(1 - entropy, rel=1e-4)
    assert scores.plausibility == pytest.approx(np.mean(parts), rel=1e-3)
    product = math.sqrt(scores.consistency) * scores.certainty * scores.plausibility
    assert scores.score == pytest.approx(product)


def test_the_best_run_comes_first_and_no_label_is_read(
    runs: list[Path], two_domains: Domains, tmp_path: Path
) -> None:
    found = uda.select(runs)  # the target that both runs name
    assert {one.run for one in found.candidates} == set(runs)
    first, second = found.candidates
    assert first.score >= second.score
    assert list(first.volumes) == ["target_0", "target_1", "target_2"]
    assert first.score == pytest.approx(np.mean([one.score for one in first.volumes.values()]))
    assert found.choice is first
    logged = [m for m in Run.open(runs[1]).metrics() if "source_validation_dice" in m]
    learnt = next(one for one in found.candidates if one.run == runs[1])
    assert learnt.source_dice == pytest.approx(logged[-1]["source_validation_dice"])

    images = tmp_path / "images"
    shutil.copytree(two_domains[1] / "images", images)
    again = uda.select(runs[::-1], images)
    assert [one.score for one in again.candidates] == [one.score for one in found.candidates]


def test_the_reason_names_the_numbers() -> None:
    def candidate(name: str, consistency: float) -> Candidate:
        return Candidate(Path(name), "", math.nan, {"a": VolumeScore(consistency, 0.5, 1.0)})

    both = Selection((candidate("good", 0.81), candidate("bad", 0.64)))
    assert both.reason == (
        "good has the highest score, 0.450 (consistency 0.81, certainty 0.50, plausibility 1.00); the next is "
        "bad with 0.400"
    )
    assert str(Selection((candidate("one", 0.81), candidate("other", 0.81)))) == (
        "one and other have the same score, 0.450 (consistency 0.81, certainty 0.50, plausibility 1.00); take either"
    )
    assert str(Selection((candidate("good", 0.80),))) == (
        "good is the only one (consistency 0.80, certainty 0.50, plausibility 1.00)"
    )


def test_checkpoints_of_a_run_are_ranked_too(two_domains: Domains, tmp_path: Path) -> None:
    config = small_config("source_only", *two_domains, steps=4, save_every=2)
    for _ in iterate(Run.create(tmp_path / "run", config)):
        pass
    found = uda.select([tmp_path / "run"], checkpoints=True)
    assert {one.weights for one in found.candidates} == {"last.safetensors", "previous.safetensors"}
    assert found.choice.name == f"{tmp_path / 'run'} ({found.choice.weights})"


def test_what_cannot_be_compared_is_refused(
    runs: list[Path], two_domains: Domains, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no run given to choose from"):
        uda.select([])
    config = small_config("source_only", *two_domains, steps=1)
    data = config.data.model_copy(update={"labels": {"inner": 1}, "target": None})
    for _ in iterate(Run.create(tmp_path / "other", config.model_copy(update={"data": data}))):
        pass
    with pytest.raises(InputError, match=r"segments inner, and .* inner, outer; give runs"):
        uda.select([runs[0], tmp_path / "other"])
    with pytest.raises(InputError, match="none of the runs names a target; give the folder"):
        uda.select([tmp_path / "other"])


def test_the_command_prints_a_table_and_the_choice(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["select", *map(str, runs), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["choice"] == said["runs"][0]["run"]
    assert said["reason"].startswith(f"{said['choice']} has the highest score")
    assert said["runs"][0].keys() == {
        "run", "score", "consistency", "certainty", "plausibility", "source Dice",
    }  # fmt: skip
    main(["select", *map(str, runs)])
    heading, first, _, reason = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["run", "score", "consistency"]
    assert first.startswith(f"{said['choice']}  {said['runs'][0]['score']:.3f}")
    assert reason == said["reason"]
