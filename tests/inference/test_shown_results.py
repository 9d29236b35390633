"""What `print` and notebooks show of results: a few lines, never an array."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_cases import SHAPE, small_config

import napari_uda as uda
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.volume import Volume

AFFINE = np.diag([1.5, 1.5, 4.0, 1.0])


def volume(name: str = "mr_001") -> Volume:
    return Volume(np.zeros(SHAPE, np.float32), AFFINE, name)


def prediction(**changes: Any) -> uda.Prediction:
    """1000 voxels of 9 mm3 are 9 mL of heart; 96 of 9600 voxels are unreliable."""
    labels = np.zeros(SHAPE, np.uint8)
    labels.flat[:1000] = 1
    reliability = np.ones(SHAPE, np.uint8)
    reliability.flat[:96] = 2
    made = uda.Prediction(
        labels=labels,
        entropy=np.full(SHAPE, 0.25, np.float32),
        reliability=reliability,
        names={1: "heart", 2: "<b>liver</b>"},
        volume=volume(),
        case="mr_001",
        model=ModelOrigin("ct2mr"),
    )
    return replace(made, **changes)


def translation() -> uda.Translation:
    image = np.zeros(SHAPE, np.float32)
    return uda.Translation(
        *("target_to_source", image, image, {}, volume(), "mr_001", "ct2mr", (0.05, 0.04))
    )


def adaptation() -> uda.Adaptation:
    return uda.Adaptation(
        before=prediction(),
        after=prediction(),
        entropy_before=0.5,
        entropy_after=0.25,
        volumes_ml={"heart": (9.0, 12.0)},
        reverted=True,
        reason="heart went from 9.0 to 90.0 mL, more than 4 times",
        method="tent",
        steps=50,
        seconds=2.0,
    )


def test_a_prediction_in_words() -> None:
    assert str(prediction()).splitlines() == [
        "Prediction of mr_001 by the run ct2mr",
        "  6 x 40 x 40 voxels (z, y, x) of 4 x 1.5 x 1.5 mm",
        "  mean entropy 0.250 (0 to 1), 9.6% of the voxels of structures unreliable",
        "  not judged",
        "  heart 9.0 mL, <b>liver</b> 0.0 mL",
    ]
    without_vote = prediction(reliability=None)
    assert str(without_vote).splitlines()[2] == "  mean entropy 0.250 (0 to 1)"
    assert without_vote.summary() == "mr_001: not judged"
    assert np.isnan(without_vote.overview()["unreliable_share"])
    assert np.isnan(without_vote.overview()["unreliable_structures"])
    assert repr(prediction()) == "<Prediction of mr_001 by ct2mr: 2 structures>"
    assert prediction().overview() == {
        "case": "mr_001",
        "run": "ct2mr",
        "shape": [6, 40, 40],
        "spacing_mm": [4.0, 1.5, 1.5],
        "volumes_ml": {"heart": 9.0, "<b>liver</b>": 0.0},
        "mean_entropy": 0.25,
        "unreliable_share": 0.01,
        "unreliable_structures": pytest.approx(96 / 1000),
        "fit": "not judged",
        "fit_reasons": [],
        "fit_note": "",
    }


def test_many_structures_are_not_all_listed() -> None:
    many = prediction(names={value: f"s{value}" for value in range(1, 105)})
    text = str(many)
    assert text.splitlines()[-1].endswith("s12 0.0 mL and 92 more")
    assert len(text) < 500


def test_a_translation_and_an_adaptation_in_words() -> None:
    assert str(translation()).splitlines() == [
        "Translation of mr_001 from target to source by the run ct2mr",
        "  6 x 40 x 40 voxels (z, y, x) of 4 x 1.5 x 1.5 mm",
        "  change from slice to slice 0.0500 after translation, 0.0400 before",
    ]
    assert str(adaptation()).splitlines() == [
        "Adaptation of the run ct2mr (tent, 50 steps, 2.0 s)",
        "  mr_001: entropy 0.500 -> 0.250, heart 9.0 -> 12.0 mL (+33 %); no change, the unadapted "
        "result is kept: heart went from 9.0 to 90.0 mL, more than 4 times",
    ]
    assert repr([adaptation()]) == "[<Adaptation of ct2mr to mr_001 by tent>]"
    assert repr(volume()) == (
        "<Volume mr_001: 6 x 40 x 40 voxels (z, y, x) of 4 x 1.5 x 1.5 mm, float32>"
    )


@pytest.mark.parametrize("make", [prediction, translation, adaptation])
def test_notebooks_get_a_small_table(make: Any) -> None:
    page = make()._repr_html_()
    assert "mr_001" in page
    assert "<b>liver" not in page
    assert len(page) < 3000
    assert "array" not in repr(make()) + str(make()) + page


def test_the_table_of_a_prediction_escapes_names() -> None:
    page = prediction()._repr_html_()
    assert "&lt;b&gt;liver&lt;/b&gt;</td>" in page
    assert ">9.0</td>" in page


def test_a_run_says_how_far_it_is(
    tmp_path: Path, two_domains: tuple[Path, Path], tiny_run: uda.Run
) -> None:
    source, target = two_domains
    fresh = uda.Run.create(tmp_path / "new", small_config("se_asa", source, target, steps=7))
    assert str(fresh).splitlines() == [
        f"Run {tmp_path / 'new'}: se_asa, not trained yet (7 steps)",
        f"  source {source}",
        f"  target {target}",
        "  network unet, 32 pixels",
    ]
    assert repr(fresh) == f"<Run {tmp_path / 'new'}: se_asa>"
    assert "se_asa, 4 steps, finished" in str(tiny_run)
    assert "se_asa, 4 steps, finished" in tiny_run._repr_html_()
    fresh.event("stopped", step=3)
    assert "stopped at step 3 of 7" in str(fresh)
    fresh.event("failed", reason="InputError: <no> space")
    assert "se_asa, failed: InputError: <no> space" in str(fresh)
    assert "&lt;no&gt;" in fresh._repr_html_()
