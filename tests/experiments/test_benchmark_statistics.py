"""Tests between rows against numbers worked out by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from napari_uda.experiments.statistics import compare_rows, holm, welch, wilcoxon

NAN = math.nan


def test_wilcoxon_by_hand() -> None:
    """All six differences are positive: of 2**6 signs only two are as extreme, p = 2/64."""
    found = wilcoxon([2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6])
    assert found.statistic == 0  # the smaller sum of ranks
    assert found.p == pytest.approx(2 / 64)
    assert found.n == 6


def test_wilcoxon_by_counting_signs() -> None:
    """Every one of the 2**7 signs of the ranks is counted."""
    difference = np.array([3.0, -1.0, 4.0, 7.0, -2.0, 5.0, 6.0])
    ranks = stats.rankdata(abs(difference))
    observed = min(ranks[difference > 0].sum(), ranks[difference < 0].sum())
    signs = (np.arange(2**7)[:, None] >> np.arange(7)) & 1
    sums = signs @ ranks
    p = (np.minimum(sums, ranks.sum() - sums) <= observed).mean()
    found = wilcoxon(difference, np.zeros(7))
    assert (found.statistic, found.p) == (observed, pytest.approx(p))


def test_wilcoxon_against_scipy_with_equal_and_undefined_pairs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(30), rng.random(30)
    a[:3], b[3:5] = b[:3], NAN  # three equal, two undefined
    found = wilcoxon(list(a), list(b))
    expected = stats.wilcoxon(a[5:] - b[5:])
    assert found.n == 28
    assert found.p == pytest.approx(expected.pvalue)
    assert found.statistic == pytest.approx(expected.statistic)


@pytest.mark.parametrize(
    ("first", "second", "n", "note"),
    [
        ([1, 2, 3], [1, 2, 3], 3, "all equal"),
        ([0.3] * 9, [0.1 + 0.2] * 9, 9, "all equal"),
        ([1, 2, 3, 4, 5], [2, 3, 4, 5, 7], 5, "n too small: 5 differ, 6 needed"),
        ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 8], 7, "n too small: 1 differ, 6 needed"),
        ([NAN], [1], 0, "no pair of defined values"),
        ([], [], 0, "no pair of defined values"),
    ],
)
def test_wilcoxon_says_why_there_is_no_number(
    first: list[float], second: list[float], n: int, note: str
) -> None:
    found = wilcoxon(first, second)
    assert (found.n, found.p, found.statistic, found.note) == (n, None, None, note)


def test_welch_by_hand() -> None:
    """Means 2 and 6, variances 1 and 4, n = 3: t = -4 / sqrt(5/3), and Welch's degrees of freedom."""
    found = welch([1, 2, 3], [4, 6, 8])
    t = -4 / math.sqrt(1 / 3 + 4 / 3)
    freedom = (5 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 3) ** 2 / 2)
    assert found.statistic == pytest.approx(t)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    assert found.n == 6


def test_welch_against_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = list(rng.random(4)), list(rng.random(3) + 0.2)
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert welch(a, b).p == pytest.approx(expected.pvalue)
    assert welch([*a, NAN], b).p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(
    ("first", "second", "note"),
    [
        ([1], [1, 2], "one seed"),
        ([1, 2], [3], "one seed"),
        ([], [1, 2], "no defined value"),
        ([2, 2], [2, 2], "all equal"),
        ([2, 2], [3, 3], "no spread over seeds"),
        ([0.3, 0.1 + 0.2], [0.7, 0.7], "no spread over seeds"),
    ],
)
def test_welch_says_why_there_is_no_number(
    first: list[float], second: list[float], note: str
) -> None:
    found = welch(first, second)
    assert (found.p, found.note) == (None, note)


def test_holm_by_hand() -> None:
    """4 x 0.01, 3 x 0.02, then 2 x 0.03 and 1 x 0.04, neither below the ones before."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([None, 0.02, None, 0.01]) == [None, pytest.approx(0.02), None, pytest.approx(0.02)]
    assert holm([]) == []


def test_rows_are_paired_by_volume_and_structure() -> None:
    """Pairs are matched by their names, not by their order, and only those of both rows count."""
    keys = [(f"case{i}", name) for i in range(4) for name in ("MYO", "LV")]
    a = {key: 0.5 + 0.01 * i for i, key in enumerate(keys)}
    b = {key: value - 0.001 * (i + 1) for i, (key, value) in enumerate(reversed(a.items()))}
    b["other", "MYO"] = 0.9
    (found,) = compare_rows({"a": a, "b": b}, {"a": [0.5], "b": [0.4]}, [("a", "b")])
    assert found.paired.n == 8
    assert found.paired.p == pytest.approx(2 / 2**8)  # all differences have one sign
    assert found.paired_holm == found.paired.p
    assert found.seeds.note == "one seed"


def test_correction_is_over_the_pairs_of_rows_that_were_tested() -> None:
    rng = np.random.default_rng(2)
    pairs = {
        name: {(f"c{i}", "x"): float(v) for i, v in enumerate(rng.random(12) + shift)}
        for name, shift in (("a", 0.0), ("b", 0.3), ("c", 0.9))
    }
    averages = {name: [1.0, 2.0] for name in pairs}
    all_three = compare_rows(pairs, averages, [("a", "b"), ("a", "c"), ("b", "c")])
    alone = compare_rows(pairs, averages, [("a", "b")])[0]
    assert alone.paired_holm == alone.paired.p
    assert [each.paired_holm for each in all_three] == holm([e.paired.p for e in all_three])
    assert all_three[0].paired_holm > alone.paired_holm  # type: ignore[operator]
