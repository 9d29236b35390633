"""No harm: when an adapted network is given up, and what is then left of a training run."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_cases import merge, small_config

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.data.outcome import Outcome
from napari_uda.experiments.model_card import read_card
from napari_uda.run import checkpoint
from napari_uda.run.config import RunConfig
from napari_uda.run.reader import RunScanner
from napari_uda.run.run import Run
from napari_uda.run.status import RunState, run_status
from napari_uda.training import no_harm
from napari_uda.training.no_harm import too_far, usual_ml, why_no_better, why_no_change
from napari_uda.training.volume_score import PARTS

Domains = tuple[Path, Path]
STILL = {"method": {"segmentor_optimizer": {"lr": 1e-12}}}
"""Settings with which sfda changes nothing, so that the network becomes no better."""


@pytest.fixture(scope="module")
def start(two_domains: Domains, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has learnt a little of the source."""
    config = small_config(
        "source_only",
        *two_domains,
        steps=40,
        batch_size=6,
        method={"segmentor_optimizer": {"lr": 1e-2}},
    )
    return _trained(Run.create(tmp_path_factory.mktemp("runs") / "start", config))


def _trained(run: Run) -> Run:
    for _ in iterate(run):
        pass
    return run


def _adapted(
    start: Run, folder: Path, domains: Domains, name: str = "sfda", /, **given: Any
) -> Run:
    settings = merge({"steps": 2, "better_by": 0.4, "init": str(start.path)}, given)
    return _trained(Run.create(folder, small_config(name, *domains, **settings)))


# --- when it is given up ----------------------------------------------------------------------------


def test_too_far_names_the_worst_structure() -> None:
    volumes = {"a": (10.0, 30.0), "b": (99.0, 9.0), "c": (0.0, 0.5)}
    # with one millilitre on both sides: 31/11 = 2.8, 100/10 = 10, 1.5
    assert too_far(volumes, 3.0) == "b went from 99.0 to 9.0 mL, more than 3 times"
    assert too_far(volumes, 9.99).startswith("b ")
    assert too_far(volumes, 10.01) == ""
    assert too_far(volumes, 0) == ""
    assert too_far({}, 2.0) == ""
    # towards the size that the run knows is no reason, away from it is one, past it by as much as well
    said = "b went from 99.0 to 9.0 mL, more than 3 times and away from its usual size"
    assert too_far(volumes, 3.0, {"b": 200.0}) == said
    assert too_far(volumes, 3.0, {"b": 19.0}) == ""
    assert too_far(volumes, 2.0, {"b": 19.0}).startswith("a went from 10.0 to 30.0 mL")
    assert too_far({"b": (10.0, 1000.0)}, 3.0, {"b": 80.0}).startswith("b ")


def test_an_adapted_network_must_become_surer_by_the_share() -> None:
    still = {"a": (10.0, 10.0)}
    assert why_no_change((0.4, 0.36), still, {}, surer_by=0.1) == ""
    assert why_no_change((0.4, 0.37), still, {}, surer_by=0.1) == (
        "the network becomes by less than 10% surer of the structures (entropy inside them 0.400 -> 0.370)"
    )
    assert "does not become surer" in why_no_change((0.4, 0.4), still, {}, surer_by=0.1)
    assert why_no_change((0.4, 0.5), still, {}, surer_by=0) == ""
    nothing = (math.nan, math.nan)
    assert why_no_change(nothing, still, {}, surer_by=0.1) == "neither result has a structure"
    gone = {"a": (10.0, 0.0)}  # 11 times
    assert why_no_change((0.4, 0.1), gone, {}, surer_by=0.1).startswith("a went from 10.0 to 0.0")
    assert why_no_change((0.4, 0.1), gone, {}, surer_by=0.1, max_volume_change=0) == ""


def test_the_score_of_a_run_must_rise_by_the_share() -> None:
    def why(was: float, now: float) -> str:
        return why_no_better(was, now, 0.4)

    assert why(0.40, 0.57) == ""
    assert why(0.40, 0.55) == "the score without labels rises by less than 40% (0.400 -> 0.550)"
    assert why(0.4, 0.4) == "the score without labels does not rise (0.400 -> 0.400)"
    assert why(0.0, 0.0) == "the score without labels does not rise (0.000 -> 0.000)"
    assert why(0.0, 0.1) == ""


def test_a_run_that_was_given_up_by_its_entropy_still_says_why() -> None:
    former = {"entropy_inside": [0.4, 0.5], "volumes_ml": {"a": [1.0, 2.0]}, "no_change": "so"}
    outcome = Outcome.model_validate(former)
    assert (outcome.no_change, outcome.score) == ("so", None)
    with pytest.raises(ValueError, match="other"):
        Outcome.model_validate({"other": 1})


def test_the_usual_size_is_the_sources_share_of_each_slice(start: Run) -> None:
    size = start.facts.sizes["inner"]
    usual = usual_ml(start.facts, 24.0)
    assert usual["inner"] == pytest.approx(size.area_mm2 * size.slice_share * 24 / 1000)


# --- a training run ---------------------------------------------------------------------------------


def test_a_run_that_ends_no_better_predicts_with_its_start(
    start: Run, two_domains: Domains, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = _adapted(start, tmp_path / "sfda", two_domains, **STILL)
    assert run.weights_file() == run.checkpoints / checkpoint.START
    outcome = run.facts.outcome
    assert outcome is not None
    reason = outcome.no_change
    assert outcome.score is not None
    was, now = outcome.score
    assert now < 1.4 * was  # weights stay, but statistics of normalisation follow the target
    assert reason == why_no_better(was, now, 0.4) != ""
    (said,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert said == (
        f"no change: the run predicts with the weights that it starts from, because {reason}; train it with "
        "--better-by 0 to take the trained ones all the same"
    )
    image = two_domains[1] / "images" / "target_1.nii.gz"
    before, after = (uda.predict(one, image, reliability=False) for one in (start, run))
    np.testing.assert_array_equal(after.entropy, before.entropy)
    # the trained weights stay, and whoever looks at the run is told
    trained = checkpoint.load_weights(run.checkpoints / checkpoint.WEIGHTS)
    own = checkpoint.load_weights(run.weights_file())
    assert any(not torch.equal(trained[name], own[name]) for name in own)
    status = run_status(run)
    assert (status.state, status.reason) == (RunState.FINISHED, f"no change, {reason}")
    assert f"finished, no change, {reason}" in str(run)
    (listed,) = RunScanner().scan([tmp_path])
    assert (listed.state, listed.words) == ("no change", f"finished: no change, {reason}")
    assert ("No change", reason) in read_card(run.path).lines()

    packed = tmp_path / "packed.zip"
    uda.pack(run.path, packed)
    handed_on = uda.predict(packed, image, reliability=False)
    np.testing.assert_array_equal(handed_on.entropy, before.entropy)


def test_a_run_that_is_not_given_up_predicts_with_its_own_weights(
    start: Run, two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(no_harm, "why_no_better", lambda *_: "")
    run = _adapted(start, tmp_path / "tent", two_domains, "tent")
    assert run.weights_file() == run.checkpoints / checkpoint.WEIGHTS
    outcome = run.facts.outcome
    assert outcome is not None
    assert outcome.no_change == ""

    # the scores are those by which `select` ranks both
    found = uda.select([start, run], two_domains[1])
    before, after = (
        next(one for one in found.candidates if one.run == each.path) for each in (start, run)
    )
    for what in ("score", *PARTS):
        assert getattr(outcome, what) == pytest.approx(
            (before.mean(what), after.mean(what)), rel=1e-4
        )
    assert outcome.certainty is not None
    assert outcome.certainty[0] != outcome.certainty[1]


def test_of_many_cases_some_are_compared(
    start: Run, two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(no_harm, "_MOST_CASES", 2)
    run = _adapted(start, tmp_path / "tent", two_domains, "tent")
    (first,) = uda.select([start], two_domains[1]).candidates
    names = list(first.volumes)
    ends = [first.volumes[names[0]].score, first.volumes[names[-1]].score]
    assert run.facts.outcome is not None
    assert run.facts.outcome.score is not None
    assert run.facts.outcome.score[0] == pytest.approx(np.mean(ends), rel=1e-4)


def test_the_check_can_be_switched_off(start: Run, two_domains: Domains, tmp_path: Path) -> None:
    run = _adapted(start, tmp_path / "sfda", two_domains, better_by=0, **STILL)
    assert run.facts.outcome is None
    assert not (run.checkpoints / checkpoint.START).exists()
    assert run.weights_file() == run.checkpoints / checkpoint.WEIGHTS


def test_the_share_is_read_by_its_older_name_too() -> None:
    config = RunConfig.model_validate({"method": {"name": "tent"}, "surer_by": 0.2})
    assert config.better_by == 0.2
    assert "surer_by" not in config.model_dump()


def test_a_teacher_without_source_data_is_checked_too(
    start: Run, two_domains: Domains, tmp_path: Path
) -> None:
    alone = {"source_free": True, "mix": "mask", "segmentor_optimizer": {"lr": 1e-12}}
    run = _adapted(start, tmp_path / "alone", two_domains, "mean_teacher", method=alone)
    assert run.weights_file().name == checkpoint.START
    both = small_config("mean_teacher", *two_domains, steps=2, better_by=0.4, init=str(start.path))
    assert _trained(Run.create(tmp_path / "both", both)).facts.outcome is None


def test_a_run_that_was_killed_before_the_check_is_checked_when_it_goes_on(
    start: Run, two_domains: Domains, tmp_path: Path
) -> None:
    run = _adapted(start, tmp_path / "sfda", two_domains, **STILL)
    expected = run.facts.outcome
    run.write_facts(run.facts.model_copy(update={"outcome": None}))
    assert run.weights_file().name == checkpoint.WEIGHTS
    again = _trained(Run.open(run.path))
    assert again.facts.outcome == expected
    assert again.weights_file().name == checkpoint.START
