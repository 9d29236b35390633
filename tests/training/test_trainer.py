"""Runs from their first step to their last: exact resume, their folder, what they may read."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_cases import (
    LABELS,
    assert_same_tensors,
    blob_case,
    events,
    metric_lines,
    new_method,
    small_config,
    snapshot,
    trained_method,
    weights_of,
    without_checksums,
)

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.core.files import temporary_path
from napari_uda.core.leftovers import own_name
from napari_uda.core.processes import this_machine
from napari_uda.core.small_files import read_json
from napari_uda.core.version import commit
from napari_uda.data import volume
from napari_uda.data.batches import Unlabelled
from napari_uda.data.volume import read_volume, write_volume
from napari_uda.methods.registry import METHODS, method_class
from napari_uda.run import checkpoint
from napari_uda.run.run import Run
from napari_uda.run.status import Beat
from napari_uda.training.load import load_training_data
from napari_uda.training.loop import Progress

ROOT = Path(__file__).parents[2]
Domains = tuple[Path, Path]


def _train(run: Run, *, stop_after: int = 0, kill_after: int = 0) -> list[Progress]:
    """Drive a run to its end, stop it, or leave it as a kill would."""
    stop, seen = threading.Event(), []
    if stop_after == 1:
        stop.set()
    iterator = iterate(run, stop=stop)
    for progress in iterator:
        seen.append(progress)
        if progress.step == stop_after - 1:
            stop.set()  # seen after the next step
        if progress.step == kill_after:
            iterator.close()  # type: ignore[attr-defined]
            break
    return seen


def _new(folder: Path, config: Any) -> Run:
    return Run.create(folder, config)


def _state(run: Run) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(run.checkpoints / checkpoint.STATE)


def _assert_same_run(first: Run, second: Run) -> None:
    assert_same_tensors(weights_of(first), weights_of(second))
    assert_same_tensors(_state(first), _state(second))
    assert metric_lines(first) == metric_lines(second)


# --- exact resume ---------------------------------------------------------------------------------

AUGMENTED = {"intensity": "gin", "spatial": {"rotation_deg": 10, "scale": 0.1}}
VARIANTS: dict[str, dict[str, Any]] = {
    "warm-up ends after the stop": {"method": {"warmup_steps": 4}},
    "warm-up ends at the stop": {"method": {"warmup_steps": 3}},
    "warm-up ends before the stop": {"method": {"warmup_steps": 2}},
    "lines are not written at every step": {"log_every": 4, "augment": AUGMENTED},
    "scores at some steps": {
        "data": {"validation_fraction": 0.34},
        "validate_every": 4,
        "select": "consistency",
    },
    "neighbours, clipping, views move the statistics": {
        "data": {"neighbours": 3},
        "clip_norm": 1.0,
        "method": {"view_statistics": "update", "entropy_view": "original"},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_six_steps_are_three_and_three(name: str, two_domains: Domains, tmp_path: Path) -> None:
    config = small_config("se_asa", *two_domains, steps=6, **VARIANTS[name])
    whole, parts = (_new(tmp_path / folder, config) for folder in ("whole", "parts"))
    _train(whole)
    seen = _train(parts, stop_after=3)
    assert [(p.step, p.stopped) for p in seen] == [(1, False), (2, False), (3, True)]
    seen = _train(Run.open(parts.path))
    assert [(p.step, p.stopped) for p in seen] == [(4, False), (5, False), (6, False)]
    _assert_same_run(whole, parts)
    assert events(parts) == ["started", "stopped", "resumed", "finished"]
    best = [run.checkpoints / checkpoint.BEST for run in (whole, parts)]
    assert best[0].exists() == best[1].exists() == ("scores" in name)
    if best[0].exists():
        assert_same_tensors(*(checkpoint.load_weights(file) for file in best))


@pytest.mark.slow
@pytest.mark.parametrize("killed", [1, 2, 5])
def test_a_killed_run_begins_again_at_its_checkpoint(
    killed: int, two_domains: Domains, tmp_path: Path
) -> None:
    config = small_config("se_asa", *two_domains, steps=6, save_every=2, method={"warmup_steps": 1})
    whole, parts = (_new(tmp_path / folder, config) for folder in ("whole", "parts"))
    _train(whole)
    _train(parts, kill_after=killed)
    with parts.metrics_file.open("a") as file:
        file.write('{"step": 99, "half a li')
    seen = _train(Run.open(parts.path))
    assert seen[0].step == killed // 2 * 2 + 1
    _assert_same_run(whole, parts)


def test_a_finished_run_stays_as_it_is(tiny_run: Run, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(tiny_run.path, tmp_path / "copy"))
    assert _train(run) == []
    _assert_same_run(tiny_run, run)


def test_a_run_killed_in_its_last_save_is_whole_once_it_was_resumed(
    tiny_run: Run, tmp_path: Path
) -> None:
    """Both files are written, neither has its name: what reads weights by their name must find the last ones."""
    run = Run.open(shutil.copytree(tiny_run.path, tmp_path / "copy"))
    for name in (checkpoint.WEIGHTS, checkpoint.STATE):
        (run.checkpoints / name).rename(run.checkpoints / f"{name}.next")
    assert _train(run) == []
    _assert_same_run(tiny_run, run)


def test_the_seed_decides_everything(two_domains: Domains, tmp_path: Path) -> None:
    first, again, other = (
        _new(tmp_path / name, small_config("source_only", *two_domains, steps=2, seed=seed))
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    torch.manual_seed(1)
    _train(first)
    torch.manual_seed(2)  # torch's own state has no say
    _train(again)
    _train(other)
    _assert_same_run(first, again)
    assert metric_lines(first)[0] != metric_lines(other)[0]


def test_training_leaves_torchs_random_state_alone(two_domains: Domains, tmp_path: Path) -> None:
    config = small_config("se_asa", *two_domains, steps=1)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    _train(_new(tmp_path / "run", config))
    assert torch.equal(torch.random.get_rng_state(), before)


# --- the folder -----------------------------------------------------------------------------------


def test_what_a_run_folder_holds(two_domains: Domains, tmp_path: Path) -> None:
    config = small_config("se_asa", *two_domains, steps=5, log_every=2, preview_every=2)
    run = _new(tmp_path / "run", config)
    seen = _train(run)
    files = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    assert files == {
        "config.yaml",
        "data.json",
        "environment.json",
        "events.jsonl",
        "log.txt",
        "metrics.jsonl",
        "checkpoints/last.safetensors",
        "checkpoints/last.state.safetensors",
        "previews/000002.npz",
        "previews/000004.npz",
        "previews/slices.json",
    }
    page = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
    assert [f for f in files if re.sub(r"\d{6}", "<step>", f"RUN/{f}") not in page] == []
    assert read_json(run.path / "environment.json")["commit"] == commit()
    assert [line["step"] for line in metric_lines(run)] == [2, 4, 5]
    assert [p.step for p in seen] == [1, 2, 3, 4, 5]
    assert all(p.total == 5 for p in seen)
    assert [p.seconds for p in seen] == sorted(p.seconds for p in seen)
    opened = Run.open(run.path)
    assert opened.config == config
    assert opened.labels == LABELS
    with np.load(run.path / "previews" / "000004.npz") as arrays:
        assert arrays["prediction"].shape == (1, 32, 32)
    with safe_open(run.checkpoints / checkpoint.WEIGHTS, framework="pt") as file:
        assert file.metadata()["step"] == "5"


def test_facts_say_what_was_measured(tiny_run: Run) -> None:
    facts = tiny_run.facts
    # 40 pixels of 1.5 mm over 32 pixels: 1.875, rounded up; slices are 4 mm apart along z
    assert (facts.grid.axis, facts.grid.pixel_mm, facts.grid.size) == (0, 1.88, 32)
    assert facts.source_intensity is not None
    assert facts.target_intensity is not None
    assert facts.source_intensity.mode == "window"  # its dataset.json says CT
    assert facts.target_intensity.mode == "percentile"
    assert facts.source is not None
    assert facts.source.train == ("source_0", "source_1", "source_2")
    assert facts.class_of_value()[[0, 1, 2, 3]].tolist() == [0, 1, 0, 2]
    assert facts.value_of_class().tolist() == [0, 1, 3]
    assert facts.target_supervision == "none"


def test_facts_say_what_was_told_of_target_labels(two_domains: Domains, tmp_path: Path) -> None:
    """Weights that were trained on target labels keep that in every run that starts from them."""

    def told(name: str, method: str, **settings: Any) -> str:
        run = Run.create(tmp_path / name, small_config(method, *two_domains, steps=2, **settings))
        next(iterate(run)), list(iterate(run))  # as one that was killed and resumed
        return Run.open(run.path).facts.target_supervision

    assert told("bound", "target_supervised") == "all: trained on them"
    for name, start in (("once", "bound"), ("twice", "once")):
        after = told(name, "sfda", init=tmp_path / start)
        assert after == "in the run it starts from, all: trained on them"
    other = {"data": {"target": str(two_domains[0])}}  # there the source has labels, not the target
    assert told("away", "sfda", init=tmp_path / "bound", **other) == "none"


def test_facts_hold_the_sizes_of_the_source_labels(
    tiny_run: Run, two_domains: Domains, tmp_path: Path
) -> None:
    data = load_training_data(
        small_config("source_only", *two_domains), METHODS["source_only"], cache=tmp_path
    )
    assert data.source is not None
    assert data.source.labels is not None
    sizes = tiny_run.facts.sizes
    assert list(sizes) == ["inner", "outer"]
    for index, name in enumerate(sizes, start=1):
        pixels = (data.source.labels == index).sum((1, 2))
        assert sizes[name].slice_share == np.mean(pixels > 0)
        assert sizes[name].area_mm2 == pytest.approx(pixels[pixels > 0].mean() * 1.88**2)
    # in millimetres they are those of the files: the grid's pixels are larger than the files'
    files = [read_volume(f).array for f in sorted((two_domains[0] / "labels").iterdir())]
    outer = np.concatenate([(array == 3).sum((1, 2)) * 1.5**2 for array in files])
    assert sizes["outer"].area_mm2 == pytest.approx(outer[outer > 0].mean(), rel=0.05)


def test_facts_hold_what_images_of_both_domains_look_like(
    tiny_run: Run, two_domains: Domains, tmp_path: Path
) -> None:
    facts = tiny_run.facts
    for statistics, folder in zip(
        (facts.source_statistics, facts.target_statistics), two_domains, strict=True
    ):
        assert statistics is not None
        assert statistics.volumes == 3
        assert statistics.spacing_mm == ((4, 4), (1.5, 1.5), (1.5, 1.5))
        assert statistics.extent_mm == ((24, 24), (60, 60), (60, 60))
        images = [read_volume(file).array for file in sorted((folder / "images").iterdir())]
        medians = [float(np.median(image)) for image in images]
        assert statistics.grey[1] == pytest.approx((min(medians), max(medians)))
    # volumes of the labels in the files, whose pixels are smaller than the grid's
    labels = [read_volume(file).array for file in sorted((two_domains[0] / "labels").iterdir())]
    millilitres = [(array == 3).sum() * 1.5 * 1.5 * 4 / 1000 for array in labels]
    outer = facts.structures["outer"]
    assert outer.case_share == 1
    assert outer.volume_ml == pytest.approx((min(millilitres), max(millilitres)), rel=0.05)
    # a ball round (2.5, row, column): in the middle along z, and off centre as it is drawn
    centres_mm = [(np.argwhere(array > 0).mean(0)[1:] - 19.5) * 1.5 for array in labels]
    assert outer.centre_mm == pytest.approx((0, *np.mean(centres_mm, 0)), abs=0.3)


def test_held_out_cases_are_no_training_images(two_domains: Domains, tmp_path: Path) -> None:
    config = small_config("source_only", *two_domains, data={"validation_fraction": 0.34})
    data = load_training_data(config, METHODS["source_only"], cache=tmp_path)
    assert len(data.held_out) == 1
    assert data.facts.source_statistics is not None
    assert data.facts.source_statistics.volumes == 2


def test_a_run_without_source_keeps_the_statistics_of_the_one_it_starts_from(
    two_domains: Domains, tmp_path: Path
) -> None:
    config = small_config("sfda", *two_domains, steps=1)
    assert config.init is not None
    start = Run.open(config.init).facts
    facts = load_training_data(config, METHODS["sfda"], cache=tmp_path).facts
    assert facts.structures == start.structures != {}
    assert facts.source_statistics == start.source_statistics is not None
    assert facts.target_statistics is not None


def test_a_run_from_before_sizes_were_stored_still_opens(tiny_run: Run, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.path, tmp_path / "old")
    file = tmp_path / "old" / "data.json"
    stored = json.loads(file.read_text())
    for name in ("sizes", "target_supervision", "structures"):
        del stored[name]
    del stored["source_statistics"], stored["target_statistics"]
    file.write_text(json.dumps(stored))
    without_checksums(tmp_path / "old")
    facts = Run.open(tmp_path / "old").facts
    assert facts.sizes == {}
    assert facts.target_statistics is None
    assert facts.labels == tiny_run.facts.labels
    trained_method(Run.open(tmp_path / "old"))


def test_only_the_newest_previews_stay(two_domains: Domains, tmp_path: Path) -> None:
    run = _new(
        tmp_path / "run", small_config("source_only", *two_domains, steps=8, preview_every=1)
    )
    _train(run)
    names = sorted(p.name for p in (run.path / "previews").glob("*.npz"))
    assert names == [f"{step:06d}.npz" for step in range(4, 9)]


def test_a_folder_with_other_files_is_left_alone(two_domains: Domains, tmp_path: Path) -> None:
    """They would be deleted with the run."""
    mine = tmp_path / "results" / "predictions" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("weeks of work")
    config = small_config("source_only", two_domains[0], tmp_path / "nowhere")
    with (
        pytest.raises(
            InputError, match=r"holds other files \(predictions\); choose a new or empty"
        ),
        uda.api.new_run(tmp_path / "results", config),
    ):
        pass
    assert mine.read_text() == "weeks of work"
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["predictions"]


def test_resume_passes_over_damaged_lines_and_leaves_predictions_alone(
    two_domains: Domains, tmp_path: Path
) -> None:
    run = _new(tmp_path / "run", small_config("source_only", *two_domains, steps=4, save_every=2))
    _train(run, kill_after=3)
    with run.metrics_file.open("ab") as file:
        file.write(b"\0\0\0\n[3]\n")
    run.predictions.mkdir()
    unfinished = temporary_path(run.predictions)  # of a process that predicts right now
    unfinished.mkdir()
    of_library = (
        run.checkpoints / ".tmpA1b2C3"
    )  # what safetensors called its files under version 0.1
    of_library.write_bytes(b"x")
    of_killed = [
        folder / own_name().replace(f"-{os.getpid()}-", "-4194304-")
        for folder in (run.path, run.checkpoints, run.previews, run.predictions)
    ]
    for path in of_killed:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    _train(Run.open(run.path))
    assert [line["step"] for line in run.metrics()] == [1, 2, 3, 4]
    hidden = [path for path in run.path.rglob("*") if path.name.startswith(".")]
    assert hidden == [unfinished]


def test_a_second_trainer_leaves_the_cache_of_the_first_one_alone(
    two_domains: Domains, tmp_path: Path
) -> None:
    """It was removed when the second one was refused."""
    run = _new(tmp_path / "run", small_config("source_only", *two_domains))
    run.cache.mkdir()
    beat = Beat(pid=os.getppid(), machine=this_machine(), time=time.time())
    run.write_beat(asdict(beat))
    with pytest.raises(InputError, match="is being trained by process"):
        _train(run)
    assert run.cache.is_dir()


def test_a_new_run_does_not_replace_an_old_one(tiny_run: Run) -> None:
    with pytest.raises(InputError, match="holds a run already"):
        Run.create(tiny_run.path, tiny_run.config)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _new(tmp_path / "run", small_config("source_only", *two_domains, steps=6, save_every=2))
    kind = method_class("source_only")
    supervised_loss = kind.supervised_loss
    calls = iter(range(99))

    def spoiled(self: Any, output: Any, label: Any) -> torch.Tensor:
        loss: torch.Tensor = supervised_loss(self, output, label)
        return loss * float("nan") if next(calls) == 2 else loss

    monkeypatch.setattr(kind, "supervised_loss", spoiled)
    with pytest.raises(FloatingPointError, match="at step 2"):
        _train(run)
    assert events(run) == ["started", "failed"]
    assert "FloatingPointError" in run.events_file.read_text()
    pair = checkpoint.newest(run.checkpoints)
    assert pair is not None
    assert pair[0] == 2
    monkeypatch.undo()
    _train(run)
    assert events(run)[-1] == "finished"


def test_a_full_disk_is_said_even_when_nothing_can_be_logged(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _new(tmp_path / "run", small_config("source_only", *two_domains, steps=2, save_every=1))
    iterator = iterate(run)
    next(iterator)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def refused(*_: Any, **__: Any) -> None:
        raise InputError("events.jsonl cannot be written")

    monkeypatch.setattr(checkpoint, "save_file", full)
    monkeypatch.setattr(Run, "event", refused)
    with pytest.raises(InputError, match="checkpoint of step 2 cannot be written"):
        next(iterator)


# --- what a method may read -----------------------------------------------------------------------


def _copy(domains: Domains, folder: Path) -> Domains:
    source, target = (shutil.copytree(d, folder / d.name) for d in domains)
    return source, target


@pytest.mark.parametrize("budget_gib", [4.0, 0.0])
@pytest.mark.parametrize("method", ["se_asa", "target_supervised"])
def test_every_training_file_is_read_once(
    method: str,
    budget_gib: float,
    two_domains: Domains,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether voxels wait in memory or on the disk, and when names of structures are looked for."""
    source, target = _copy(two_domains, tmp_path)
    for folder in (source, target):
        (folder / "dataset.json").unlink()
    opened: list[Path] = []
    read = volume.read_volume  # which reads label maps, too
    monkeypatch.setattr(
        volume,
        "read_volume",
        lambda path, *more, **named: opened.append(path) or read(path, *more, **named),
    )
    config = small_config(method, source, target, data={"cache_gib": budget_gib})
    data = load_training_data(config, METHODS[method], cache=tmp_path / "cache")
    assert sorted(opened) == sorted(set(opened))
    assert len(opened) == (3 * 3 if method == "se_asa" else 3 * 2)
    assert not (tmp_path / "cache" / "waiting" / "0").exists()
    plain = load_training_data(
        small_config(method, source, target), METHODS[method], cache=tmp_path / "other"
    )
    for store, other in ((data.source, plain.source), (data.target, plain.target)):
        if store is not None and other is not None:
            np.testing.assert_array_equal(store.images, other.images)
    assert data.facts == plain.facts


@pytest.mark.parametrize("method", METHODS)
def test_target_labels_are_read_by_target_supervised_alone(
    method: str, two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = _copy(two_domains, tmp_path)
    for file in (target / "labels").iterdir():
        file.write_bytes(b"unreadable")
    opened: list[Path] = []
    read_labels = volume.read_labels

    def watched(path: Path, **options: Any) -> Any:
        opened.append(Path(path))
        return read_labels(path, **options)

    run = _new(tmp_path / "run", small_config(method, source, target, steps=1))
    monkeypatch.setattr(volume, "read_labels", watched)
    if "target_labels" in METHODS[method].needs:
        with pytest.raises(InputError, match="target_0"):
            _train(run)
        return
    _train(run)
    assert len(opened) == (3 if "source" in METHODS[method].needs else 0)
    assert {path.parent for path in opened} <= {source / "labels"}


@pytest.mark.parametrize("method", METHODS)
def test_batches_hold_no_target_labels(method: str, two_domains: Domains, tmp_path: Path) -> None:
    config = small_config(method, *two_domains)
    data = load_training_data(config, METHODS[method], cache=tmp_path)
    batch = data.batch(0, torch.device("cpu"))
    needs = METHODS[method].needs
    assert [field.name for field in dataclasses.fields(Unlabelled)] == [
        "image",
        "index",
        "matrices",
    ]
    assert (batch.target is not None) == ("target" in needs)
    if data.target is not None:
        assert data.target.labels is None
    assert "target_labels" in needs or data.source is None or data.source.cases[0] == "source_0"
    if "target_labels" in needs:
        assert data.source is not None
        assert data.source.cases == ("target_0", "target_1", "target_2")
        assert data.target is None
    assert (batch.source is not None) == bool(needs & {"source", "target_labels"})
    if batch.source is None:
        return
    labelled = batch.labelled()
    assert labelled.image.shape == (2, 1, 32, 32)
    assert labelled.image.dtype == torch.float32
    assert labelled.image.abs().max() <= 1
    assert set(labelled.label.unique().tolist()) <= {0, 1, 2}


def test_methods_read_no_folder_that_they_do_not_need(two_domains: Domains, tmp_path: Path) -> None:
    source, target = two_domains
    nowhere = tmp_path / "nowhere"
    alone = small_config("source_only", source, nowhere, steps=1, data={"target": None})
    _train(_new(tmp_path / "a", alone))
    run = _new(tmp_path / "b", small_config("target_supervised", nowhere, target, steps=1))
    _train(run)
    assert run.facts.source_intensity is not None
    assert run.facts.source_intensity.mode == "percentile"  # the target's settings: MR
    with pytest.raises(InputError, match=r"needs --data\.target"):
        uda.train("se_asa", source=source, run_dir=tmp_path / "c")
    assert not (tmp_path / "c").exists()


# --- validation -----------------------------------------------------------------------------------


def test_held_out_cases_are_scored_and_select_the_weights(
    two_domains: Domains, tmp_path: Path
) -> None:
    config = small_config(
        "source_only",
        *two_domains,
        steps=6,
        validate_every=2,
        select="source_validation",
        data={"validation_fraction": 0.34, "target": None},  # so that predict maps as the source
        method={"segmentor_optimizer": {"lr": 3e-2}},
    )
    run = _new(tmp_path / "run", config)
    _train(run)
    split = run.facts.source
    assert split is not None
    assert len(split.train) == 2
    assert len(split.validation) == 1
    assert not set(split.train) & set(split.validation)
    dice = {
        line["step"]: line["source_validation_dice"]
        for line in metric_lines(run)
        if "source_validation_dice" in line
    }
    assert list(dice) == [2, 4, 6]
    assert all(0 <= value <= 1 for value in dice.values())
    best = max(dice, key=lambda step: dice[step])  # the first one, when there are several
    assert run.weights_file() == run.checkpoints / checkpoint.BEST
    with safe_open(run.weights_file(), framework="pt") as file:
        assert int(file.metadata()["step"]) == best
    # the score is that of predicting the held-out case, seen from outside
    case = split.validation[0]
    prediction = uda.predict(
        run, two_domains[0] / "images" / f"{case}.nii.gz", device="cpu", reliability=False
    )
    scores = uda.evaluate(prediction, two_domains[0] / "labels" / f"{case}.nii.gz")
    assert np.mean([row["dice"] for row in scores.rows]) == pytest.approx(dice[best], abs=1e-6)


def test_agreement_with_itself_selects_the_weights_too(
    two_domains: Domains, tmp_path: Path
) -> None:
    config = small_config(
        "mean_teacher",
        *two_domains,
        steps=4,
        validate_every=1,
        select="consistency",
        data={"validation_fraction": 0.34},
        method={"segmentor_optimizer": {"lr": 3e-2}},
    )
    run = _new(tmp_path / "run", config)
    _train(run)
    lines = [line for line in metric_lines(run) if "target_inconsistency" in line]
    score = {
        line["step"]: line["source_validation_dice"] - line["target_inconsistency"] / 2
        for line in lines
    }
    assert list(score) == [1, 2, 3, 4]
    with safe_open(run.weights_file(), framework="pt") as file:
        assert int(file.metadata()["step"]) == max(score, key=lambda step: score[step])


def test_values_that_are_no_structure_of_the_run_are_not_scored(
    two_domains: Domains, tmp_path: Path
) -> None:
    data = {"validation_fraction": 0.34, "labels": {"shell": 3}, "target": None}
    settings = {"data": data, "validate_every": 2}
    run = _new(tmp_path / "run", small_config("source_only", *two_domains, steps=2, **settings))
    _train(run)
    assert run.facts.num_classes == 2
    assert run.facts.source is not None
    name = f"{run.facts.source.validation[0]}.nii.gz"
    prediction = uda.predict(run, two_domains[0] / "images" / name, device="cpu", reliability=False)
    shell = read_volume(two_domains[0] / "labels" / name).array == 3
    predicted = prediction.labels == 3
    dice = 2 * (shell & predicted).sum() / (shell.sum() + predicted.sum())
    assert metric_lines(run)[-1]["source_validation_dice"] == pytest.approx(dice, abs=1e-6)


def test_scoring_changes_no_weight(two_domains: Domains, tmp_path: Path) -> None:
    settings = {"steps": 4, "data": {"validation_fraction": 0.34}}
    plain, scored = (
        _new(tmp_path / name, small_config("se_asa", *two_domains, **settings, **more))
        for name, more in (("plain", {}), ("scored", {"validate_every": 1, "preview_every": 1}))
    )
    _train(plain)
    _train(scored)
    assert_same_tensors(weights_of(plain), weights_of(scored))
    assert scored.weights_file() == scored.checkpoints / checkpoint.WEIGHTS


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"validate_every": 1}, "validate_every needs held-out labelled cases"),
        (
            {"select": "source_validation", "data": {"validation_fraction": 0.34}},
            "select source_validation needs scores",
        ),
        (
            {"select": "consistency", "validate_every": 1, "data": {"validation_fraction": 0.34}},
            "looks at target slices, and source_only reads none",
        ),
        ({"data": {"size": 33}}, "choose a data.size that is a multiple of 4"),
        ({"data": {"validation_fraction": 0.9}}, "leaves none of 3 patients"),
        ({"data": {"labels": {"a": 1, "b": 1}}}, "must be different"),
        ({"device": "toaster"}, "device 'toaster' cannot be used"),
    ],
)
def test_settings_that_do_not_fit_leave_nothing_behind(
    settings: dict[str, Any], sentence: str, two_domains: Domains, tmp_path: Path
) -> None:
    config = small_config("source_only", *two_domains, steps=1, **settings)
    with pytest.raises(InputError, match=sentence), uda.api.new_run(tmp_path / "r", config) as run:
        _train(run)
    assert not (tmp_path / "r").exists()


# --- init -----------------------------------------------------------------------------------------

FROZEN = {"kind": "sgd", "lr": 1e-30, "weight_decay": 0.0}
"""One step at this rate leaves every float32 weight where it is."""


def _parameters(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    running = ("running_mean", "running_var", "num_batches_tracked")
    return {n: t for n, t in weights.items() if n.startswith(prefix) and not n.endswith(running)}


def _next_run(
    folder: Path, init: Run, domains: Domains, method: str = "se_asa", **settings: Any
) -> Run:
    own = {"segmentor_optimizer": FROZEN, **settings}
    if method != "source_only":
        own["discriminator_optimizer"] = FROZEN
    run = _new(folder, small_config(method, *domains, steps=1, init=str(init.path), method=own))
    _train(run)
    return run


@pytest.fixture(scope="module")
def advent_run(two_domains: Domains, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = small_config(
        "advent",
        *two_domains,
        steps=2,
        seed=11,
        method={"adversary": {"discriminator": "patch_bn"}},
    )
    run = _new(tmp_path_factory.mktemp("init") / "advent", config)
    _train(run)
    return run


@pytest.mark.parametrize("keep", [True, False])
def test_a_run_starts_from_the_weights_of_another(
    keep: bool, advent_run: Run, two_domains: Domains, tmp_path: Path
) -> None:
    run = _next_run(tmp_path / "run", advent_run, two_domains, keep_discriminators=keep)
    given, taken = weights_of(advent_run), weights_of(run)
    assert_same_tensors(_parameters(given, "segmentor."), _parameters(taken, "segmentor."))
    discriminators = [_parameters(w, "adversary.") for w in (given, taken)]
    assert discriminators[0].keys() == discriminators[1].keys()
    same = [torch.equal(t, discriminators[1][n]) for n, t in discriminators[0].items()]
    assert all(same) if keep else not all(same)
    assert "started" in events(run)


def test_the_second_stage_keeps_grid_labels_and_intensities(
    advent_run: Run, tmp_path: Path
) -> None:
    folders = []
    for domain, bright in (("source", True), ("target", False)):
        folder = tmp_path / domain
        for index in range(2):
            image, label = blob_case(f"new_{index}", 50 + index, bright=bright)
            image = image.with_array(image.array * 3)  # would fit other windows
            write_volume(folder / "images" / f"new_{index}.nii.gz", image)
            write_volume(folder / "labels" / f"new_{index}.nii.gz", label)
        folders.append(folder)
    run = _next_run(tmp_path / "run", advent_run, (folders[0], folders[1]))
    first, second = advent_run.facts, run.facts
    assert second.grid == first.grid
    assert second.labels == first.labels
    assert second.sizes != first.sizes  # its own source's
    assert second.source_intensity == first.source_intensity
    assert second.target_intensity == first.target_intensity
    assert second.source is not None
    assert second.source.train == ("new_0", "new_1")


def test_the_amplitude_bank_is_the_new_runs_source(
    advent_run: Run, two_domains: Domains, tmp_path: Path
) -> None:
    run = _next_run(tmp_path / "run", advent_run, two_domains, reliability={"bank_size": 5})
    bank = weights_of(run)["amplitude_bank"]
    assert bank.shape == (5, 1, 5, 5)
    assert (bank.flatten(1).amax(1) > 0).all()
    assert (weights_of(advent_run)["amplitude_bank"].flatten(1).amax(1) > 0).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"segmentor": {"width": 8}}, "is not that of this run"),
        ({"segmentor": {"norm": "instance"}}, "is not that of this run"),
        ({"data": {"size": 64}}, "data.size is 64 here and 32 in the run it starts from"),
        ({"data": {"neighbours": 3}}, "data.neighbours is 3 here and 1"),
        ({"data": {"axis": "y"}}, "data.axis is y here and z"),
        ({"data": {"labels": {"heart": 1}}}, "are not those of the run it starts from"),
        (
            {"data": {"target_intensity": {"mode": "zscore"}}},
            "data.target_intensity asks for zscore and the run this one starts from maps by percentile",
        ),
    ],
)
def test_init_from_a_run_that_does_not_fit_is_refused(
    settings: dict[str, Any],
    sentence: str,
    advent_run: Run,
    two_domains: Domains,
    tmp_path: Path,
) -> None:
    config = small_config("se_asa", *two_domains, steps=1, init=str(advent_run.path), **settings)
    with pytest.raises(InputError, match=re.escape(sentence)):
        _train(_new(tmp_path / "run", config))


def test_target_supervised_predicts_with_the_mapping_it_learnt_with(
    advent_run: Run, two_domains: Domains, tmp_path: Path
) -> None:
    config = small_config("target_supervised", *two_domains, steps=1, init=str(advent_run.path))
    run = _new(tmp_path / "run", config)
    _train(run)
    assert run.facts.source_intensity == run.facts.prediction_intensity
    assert run.facts.prediction_intensity == advent_run.facts.target_intensity


def test_without_a_source_the_amplitude_bank_must_fit(two_domains: Domains, tmp_path: Path) -> None:
    config = small_config("sfda", *two_domains, steps=1, method={"reliability": {"bank_size": 5}})
    with pytest.raises(InputError, match="bank_size or fourier_half_width of reliability are not"):
        _train(_new(tmp_path / "run", config))


def test_init_from_no_run_is_refused(two_domains: Domains, tmp_path: Path) -> None:
    config = small_config("source_only", *two_domains, steps=1, init=str(tmp_path))
    with pytest.raises(InputError, match="is not a run folder"):
        _train(_new(tmp_path / "run", config))


def test_discriminators_that_do_not_fit_start_anew(
    advent_run: Run, two_domains: Domains, tmp_path: Path
) -> None:
    """Half of a discriminator is none: no tensor is taken where any does not fit."""
    run = _next_run(tmp_path / "run", advent_run, two_domains, adversary={"width": 8})
    config = run.config.model_copy(update={"init": None})
    fresh = snapshot(new_method(config, run.facts))
    taken = weights_of(run)
    names = [n for n in _parameters(fresh, "adversary.") if "weight" in n or "bias" in n]
    assert names
    for name in names:  # biases of 0 move by 1e-31
        torch.testing.assert_close(taken[name], fresh[name], atol=1e-20, rtol=0)
    given = weights_of(advent_run)
    assert_same_tensors(_parameters(given, "segmentor."), _parameters(taken, "segmentor."))


# --- large data, changed data ---------------------------------------------------------------------


@pytest.mark.parametrize("method", ["se_asa", "target_supervised"])
def test_data_mapped_on_disk_train_the_same(
    method: str, two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, mapped = (
        _new(tmp_path / name, small_config(method, *two_domains, steps=3, data={"cache_gib": gib}))
        for name, gib in (("memory", 4), ("mapped", 0))
    )
    _train(memory)
    mapped_files: list[str] = []
    iterator = iterate(mapped)
    next(iterator)
    mapped_files = sorted(p.name for p in mapped.cache.rglob("*.npy"))
    for _ in iterator:
        pass
    assert mapped_files == (
        ["images.npy", "images.npy", "labels.npy"]
        if method == "se_asa"
        else ["images.npy", "labels.npy"]
    )
    assert not mapped.cache.exists()
    _assert_same_run(memory, mapped)


def test_a_resumed_run_refuses_other_volumes(two_domains: Domains, tmp_path: Path) -> None:
    source, target = _copy(two_domains, tmp_path)
    run = _new(tmp_path / "run", small_config("se_asa", source, target, steps=4))
    _train(run, stop_after=2)
    for folder in ("images", "labels"):
        file = target / folder / "target_1.nii.gz"
        file.rename(file.with_name("target_9.nii.gz"))
    with pytest.raises(InputError, match="are not those that it began with"):
        _train(Run.open(run.path))
    before = weights_of(run)
    for folder in ("images", "labels"):
        (target / folder / "target_9.nii.gz").rename(target / folder / "target_1.nii.gz")
    _train(Run.open(run.path))
    assert events(run)[-1] == "finished"
    assert before.keys() == weights_of(run).keys()


def test_a_resumed_run_refuses_damaged_checkpoints(two_domains: Domains, tmp_path: Path) -> None:
    run = _new(tmp_path / "run", small_config("source_only", *two_domains, steps=4))
    _train(run, stop_after=2)
    lines = metric_lines(run)
    file = run.checkpoints / checkpoint.WEIGHTS
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(InputError, match="is damaged"):
        _train(Run.open(run.path))
    with pytest.raises(InputError, match="is damaged"):
        trained_method(run)
    assert metric_lines(run) == lines
    file.write_bytes(whole)
    _train(Run.open(run.path))
    assert [line["step"] for line in metric_lines(run)] == [1, 2, 3, 4]


def test_labels_on_another_grid_are_refused(two_domains: Domains, tmp_path: Path) -> None:
    source, target = _copy(two_domains, tmp_path)
    _, label = blob_case("source_1", 3, bright=True)
    write_volume(source / "labels" / "source_1.nii.gz", label)  # its own, other, origin
    run = _new(tmp_path / "run", small_config("se_asa", source, target, steps=1))
    with pytest.raises(InputError, match="labels of source_1 do not lie on the image's grid"):
        _train(run)


def test_classes_come_from_the_label_files_when_nothing_names_them(
    two_domains: Domains, tmp_path: Path
) -> None:
    source, target = _copy(two_domains, tmp_path)
    (source / "dataset.json").unlink()
    run = _new(tmp_path / "run", small_config("source_only", source, target, steps=1))
    _train(run)
    assert run.labels == {"label_1": 1, "label_3": 3}


def test_batches_of_a_step_do_not_depend_on_what_came_before(
    two_domains: Domains, tmp_path: Path
) -> None:
    config = small_config("se_asa", *two_domains, augment=AUGMENTED, data={"neighbours": 3})
    kind = method_class("se_asa")
    first, second = (load_training_data(config, kind, cache=tmp_path) for _ in range(2))
    for step in (0, 1, 2):
        first.batch(step, torch.device("cpu"))
    for step in (3, 0):
        batches = [data.batch(step, torch.device("cpu")) for data in (first, second)]
        images = [(b.labelled().image, b.unlabelled().image) for b in batches]
        assert all(torch.equal(*pair) for pair in zip(*images, strict=True))
        assert torch.equal(batches[0].labelled().label, batches[1].labelled().label)
    other = first.batch(3, torch.device("cpu"), stream="-prototypes")
    assert not torch.equal(
        other.labelled().image, first.batch(3, torch.device("cpu")).labelled().image
    )


def test_a_run_says_what_it_measured_in_plain_json(tiny_run: Run) -> None:
    stored = json.loads((tiny_run.path / "data.json").read_text())
    assert stored["labels"] == LABELS
    assert stored["target"]["validation"] == []
    assert (
        snapshot(trained_method(tiny_run)).keys() | {"amplitude_bank"}
        == weights_of(tiny_run).keys()
    )
