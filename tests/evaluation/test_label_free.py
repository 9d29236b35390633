"""Scores without a reference: worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_uda.evaluation.label_free import certainty, plausibility


def test_certainty_looks_at_the_structures_alone() -> None:
    labels, entropy = np.array([0, 1, 2, 0]), np.array([1.0, 0.2, 0.4, 0.9], np.float32)
    assert certainty(labels, entropy) == pytest.approx(0.7)
    assert certainty(np.zeros(4, int), entropy) == 0


def test_plausibility_falls_with_the_factor_outside_of_the_range() -> None:
    usual = {"a": (10.0, 20.0), "b": (1.0, 2.0)}
    assert plausibility({"a": 15.0, "b": 2.0}, usual) == 1
    # twice too large is half of the way to 4 times, on a logarithmic scale
    assert plausibility({"a": 40.0, "b": 2.0}, usual) == pytest.approx((0.5 + 1) / 2)
    assert plausibility({"a": 5.0, "b": 0.25}, usual) == pytest.approx((0.5 + 0) / 2)
    assert plausibility({"a": 0.0, "b": 100.0}, usual) == 0
    assert plausibility({"a": 30.0, "b": 1.0}, usual) == pytest.approx(
        1 - math.log(1.5) / math.log(4) / 2
    )
    assert plausibility({}, {}) == 1
