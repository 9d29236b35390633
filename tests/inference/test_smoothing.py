"""The mean over neighbouring slices: by hand, at the ends, over batches, and off where slices lie far apart."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_uda import report
from napari_uda.core.errors import InputError
from napari_uda.core.small_files import read_object
from napari_uda.data.volume import Volume
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.inference.smoothing import slices_in_reach, smoothed_over_slices
from napari_uda.run.run import Run

NEAR, FAR = math.exp(-0.5), math.exp(-2.0)
"""Weights of slices that lie one and two standard deviations away."""


def test_a_slice_becomes_the_weighted_mean_of_its_neighbours() -> None:
    shares = torch.zeros(7, 2, 1, 1)
    shares[:, 0] = 1
    shares[3, 0], shares[3, 1] = 0, 1  # one slice says otherwise
    found = smoothed_over_slices(shares, np.arange(10, 17), slice(11, 16), 1.0)[:, 1, 0, 0]
    weights = [1, NEAR, FAR, math.exp(-4.5)]
    whole = 1 + 2 * (NEAR + FAR + weights[3])
    first = whole - 2 * weights[3] - FAR + weights[3]  # of slice 11: one before it, five after it
    second = whole - weights[3]  # of slice 12: two before it
    expected = [FAR / first, NEAR / second, 1 / whole, NEAR / second, FAR / first]
    torch.testing.assert_close(found, torch.tensor(expected))
    both = smoothed_over_slices(shares, np.arange(7), slice(0, 7), 1.0)
    torch.testing.assert_close(both.sum(1), torch.ones(7, 1, 1))


def test_slices_have_a_say_up_to_three_standard_deviations() -> None:
    assert [slices_in_reach(2.0, mm) for mm in (1.0, 2.0, 6.0, 6.1)] == [6, 3, 1, 0]
    assert slices_in_reach(0.0, 1.0) == 0


@pytest.fixture
def run(tiny_run: Run) -> LoadedRun:
    return LoadedRun.load(tiny_run, "cpu")


def noisy(slice_mm: float) -> Volume:
    grey = np.random.default_rng(0).integers(0, 200, (9, 32, 32), dtype=np.int16)
    return Volume(grey, np.diag([1.0, 1.0, slice_mm, 1.0]), "case")


def test_batches_change_nothing(run: LoadedRun) -> None:
    image = noisy(2.0)
    plain = predict(run, image, reliability=False)
    whole, parts = (
        predict(run, image, reliability=True, smooth_mm=2.0, batch_size=size) for size in (9, 2)
    )
    assert (whole.entropy != plain.entropy).any()
    np.testing.assert_array_equal(whole.labels, parts.labels)
    np.testing.assert_allclose(whole.entropy, parts.entropy, atol=1e-5)
    assert whole.reliability is not None
    assert parts.reliability is not None
    unsmoothed = predict(run, image)
    for voted in (whole, parts):  # the vote is that of the run, and not smoothed
        np.testing.assert_array_equal(voted.reliability, unsmoothed.reliability)


def test_slices_far_apart_stay_as_they_are(run: LoadedRun) -> None:
    image = noisy(10.0)
    plain, smooth = (predict(run, image, reliability=False, smooth_mm=mm) for mm in (0.0, 3.0))
    np.testing.assert_array_equal(plain.entropy, smooth.entropy)


def test_a_width_that_is_none_is_refused(run: LoadedRun) -> None:
    for wrong in (-1.0, 20.5, math.nan):
        with pytest.raises(InputError, match=r"smooth_mm is .*from 0 \(off\) to 20"):
            predict(run, noisy(1.0), smooth_mm=wrong)


def test_the_result_and_its_report_say_so(run: LoadedRun, tmp_path: Path) -> None:
    predict(run, noisy(1.0), reliability=False, smooth_mm=2.5).save(tmp_path / "out")
    content = read_object(tmp_path / "out" / "case.json")
    assert content is not None
    assert content["smooth_mm"] == 2.5
    text = report(tmp_path / "out", out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<dt>smoothed across slices</dt><dd>by a Gaussian of 2.5 mm</dd>" in text
