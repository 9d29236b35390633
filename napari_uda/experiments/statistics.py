"""Tests between rows: paired over (volume, structure) pairs, and over seeds.

Where a test has no answer (nothing differs, too few values) it says so instead of giving a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

FEWEST_DIFFERENCES = 6
"""With fewer pairs that differ no two-sided signed-rank p can be below 0.05 (2 / 2**5 = 0.0625)."""


_ROUNDING = 1e-12
"""Values that differ by less than this share differ by rounding alone."""


@dataclass(frozen=True)
class Test:
    """One comparison.

    Attributes:
        n: what was compared: pairs with both values defined, or the seeds of both rows together.
        statistic: of the test; None where it has no answer.
        p: two-sided; None where there is none.
        note: why there is none; "" otherwise.
    """

    n: int
    statistic: float | None = None
    p: float | None = None
    note: str = ""

    __test__ = False  # not one of pytest's


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> Test:
    """Wilcoxon's signed-rank test on pairs, two-sided; pairs that are equal are left out of the ranks.

    The p-value is exact up to 50 pairs without ties (Wilcoxon 1945; scipy.stats.wilcoxon).

    Args:
        first: values of one row.
        second: values of the other, in the same order; a pair with a NaN is dropped.
    """
    from scipy import stats

    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    defined = np.isfinite(a) & np.isfinite(b)
    a, b = a[defined], b[defined]
    difference = np.where(np.isclose(a, b, rtol=_ROUNDING, atol=0), 0, a - b)
    n, differing = int(defined.sum()), int(np.count_nonzero(difference))
    if n == 0:
        return Test(n, note="no pair of defined values")
    if differing == 0:
        return Test(n, note="all equal")
    if differing < FEWEST_DIFFERENCES:
        return Test(n, note=f"n too small: {differing} differ, {FEWEST_DIFFERENCES} needed")
    found = stats.wilcoxon(difference[difference != 0], alternative="two-sided")
    return Test(n, float(found.statistic), float(found.pvalue))


def welch(first: Sequence[float], second: Sequence[float]) -> Test:
    """Welch's t-test over seeds, two-sided, without assuming equal variances (scipy.stats).

    Args:
        first: one value per seed of one row.
        second: the same of the other row; the seeds need not be the same.
    """
    from scipy import stats

    a = [value for value in first if math.isfinite(value)]
    b = [value for value in second if math.isfinite(value)]
    n = len(a) + len(b)
    if min(len(a), len(b)) == 0:
        return Test(n, note="no defined value")
    if min(len(a), len(b)) == 1:
        return Test(n, note="one seed")
    if _equal([*a, *b]):
        return Test(n, note="all equal")
    if _equal(a) and _equal(b):
        return Test(n, note="no spread over seeds")
    found = stats.ttest_ind_from_stats(
        *(np.mean(a), np.std(a, ddof=1), len(a)),
        *(np.mean(b), np.std(b, ddof=1), len(b)),
        equal_var=False,
    )
    return Test(n, float(found.statistic), float(found.pvalue))


def _equal(values: Sequence[float]) -> bool:
    return bool(np.allclose(values, values[0], rtol=_ROUNDING, atol=0))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction: p-values that may be compared with a level as if there were one test.

    With p sorted upwards, the i-th of m becomes max over j <= i of min(1, (m - j) p_j), j from 0
    (Holm 1979). None stays None and does not count.
    """
    order = sorted((value, index) for index, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (value, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * value))
        corrected[index] = largest
    return corrected


@dataclass(frozen=True)
class Comparison:
    """Both tests between two rows on one metric.

    Attributes:
        first: a row.
        second: the other.
        paired: Wilcoxon over (volume, structure) pairs, each value the mean over a row's seeds.
        paired_holm: its p after Holm's correction over all pairs of rows that were tested.
        seeds: Welch over the seeds' averages.
    """

    first: str
    second: str
    paired: Test
    seeds: Test
    paired_holm: float | None = None


Pairs = Mapping[tuple[str, str], float]
"""Value of one metric by (volume, structure), NaN where it is undefined."""


def compare_rows(
    pairs: Mapping[str, Pairs],
    averages: Mapping[str, Sequence[float]],
    wanted: Sequence[tuple[str, str]],
) -> list[Comparison]:
    """Test pairs of rows.

    Args:
        pairs: per row the values by (volume, structure), already averaged over seeds.
        averages: per row the average of each seed.
        wanted: pairs of rows, all of them in both mappings.
    """
    found = []
    for first, second in wanted:
        keys = sorted(pairs[first].keys() & pairs[second].keys())
        paired = wilcoxon([pairs[first][k] for k in keys], [pairs[second][k] for k in keys])
        found.append(Comparison(first, second, paired, welch(averages[first], averages[second])))
    corrected = holm([each.paired.p for each in found])
    return [replace(each, paired_holm=p) for each, p in zip(found, corrected, strict=True)]
