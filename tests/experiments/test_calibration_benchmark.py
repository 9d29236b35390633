"""What `benchmarks/calibration.py` and `benchmarks/published_scorers.py` compute, by hand."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from benchmark_scripts import BENCHMARKS, benchmark_script


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    return _script("calibration")


@pytest.fixture(scope="module")
def scorers() -> ModuleType:
    return _script("published_scorers")


def _script(name: str) -> ModuleType:
    sys.path.insert(
        0, str(BENCHMARKS)
    )  # as it is when the script runs, which imports its neighbours
    try:
        return benchmark_script(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_the_area_under_the_risk_coverage_curve(calibration: ModuleType) -> None:
    wrong = np.array([True, False, False, True])
    area = calibration.risk_coverage_area
    # the surest first: right, right, wrong, wrong -> risks 0, 0, 1/3, 1/2
    assert area(np.array([0.9, 0.1, 0.2, 0.8]), wrong) == pytest.approx(100 * (1 / 3 + 1 / 2) / 4)
    # wrong ones first: 1, 1, 2/3, 1/2
    assert area(np.array([0.1, 0.9, 0.8, 0.2]), wrong) == pytest.approx(
        100 * (2 + 2 / 3 + 1 / 2) / 4
    )
    # all equally sure: half are wrong at any coverage
    assert area(np.zeros(4), wrong) == pytest.approx(50)
    # two ties: (right, wrong), then (right, wrong)
    assert area(np.array([0, 0, 1, 1]), wrong) == pytest.approx(50)
    assert area(wrong, wrong) == pytest.approx(100 * (1 / 3 + 1 / 2) / 4)


def test_dice_by_labels_and_by_probabilities(calibration: ModuleType) -> None:
    labels, truth = np.array([0, 1, 1, 2]), np.array([0, 1, 0, 2])
    # 1: 2 * 1 / 3; 2: 1; 3 is in neither
    assert calibration.mean_dice(labels, truth, 4) == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert calibration.mean_dice(np.zeros(4), np.zeros(4), 3) == 0
    probabilities = torch.tensor([[0.8, 0.4], [0.2, 0.6]])[None, :, None]  # two pixels, two classes
    # labels 0 and 1: 2 * 0.6 / (1 + 0.2 + 0.6)
    assert calibration.expected_dice(probabilities) == pytest.approx(100 * 1.2 / 1.8)
    assert calibration.expected_dice(1 - probabilities[..., :0]) == 0


def test_the_rising_curve_pools_what_falls(calibration: ModuleType) -> None:
    told, true = np.array([0.3, 0.1, 0.2]), np.array([60.0, 50.0, 20.0])
    # in order 50, 20, 60: the first two become 35
    found = calibration.rising_curve(told, true, np.array([0.0, 0.15, 0.25, 0.9]))
    np.testing.assert_allclose(found, [35, 35, 47.5, 60])


def test_published_scores_of_four_pixels(scorers: ModuleType) -> None:
    sure = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert scorers.entropy(sure) == pytest.approx(0, abs=1e-6)
    assert scorers.entropy(torch.full((4, 2), 0.5)) == pytest.approx(-1)
    # both classes alike and every pixel sure: all that there is to know
    assert scorers.infomax(sure) == pytest.approx(1)
    assert scorers.infomax(sure[:2]) == pytest.approx(0, abs=1e-6)  # a constant network
    # each pixel is near one other alone; where all are alike, near three
    assert scorers.neighbourhood_density(sure) == pytest.approx(0, abs=1e-5)
    assert scorers.neighbourhood_density(sure[[0, 0, 0, 0]]) == pytest.approx(np.log(3))


def test_embedded_validation_weights_the_source_that_looks_like_the_target(
    scorers: ModuleType,
) -> None:
    known = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    losses = torch.tensor([2.0, 2.0, 0.5, 0.5])
    # with the same features on both sides every weight is 1
    alike = scorers.embedded_validation(known, losses, known)
    assert alike == pytest.approx(1.25, abs=1e-3)
    found = scorers.embedded_validation(known, losses, torch.ones(4, 1))
    assert found < 0.8
    odds = scorers.target_odds(known, torch.ones(4, 1))
    assert odds[2] == odds[3] > 1 > odds[0]
