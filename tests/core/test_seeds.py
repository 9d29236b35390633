"""Which slices a step uses."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uda.core.seeds import batch_indices, generator


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    population=st.integers(1, 23),
    batch=st.integers(1, 9),
    passes=st.integers(1, 4),
)
def test_every_slice_is_seen_equally_often(seed, population, batch, passes) -> None:
    needed = -(-population * passes // batch)
    drawn = np.concatenate([batch_indices(seed, "s", t, population, batch) for t in range(needed)])
    for number in range(passes):
        one_pass = drawn[number * population : (number + 1) * population]
        np.testing.assert_array_equal(np.sort(one_pass), np.arange(population))


def test_passes_come_in_different_orders() -> None:
    first, second = (batch_indices(0, "source", step, 50, 50) for step in (0, 1))
    assert (first != second).sum() > 25


def test_two_ranks_halves_are_the_batch_of_one() -> None:
    # rank r of 2 with batch 3 takes [3 r, 3 r + 3) of what one rank with batch 6 takes
    for step in range(9):
        whole = batch_indices(5, "target", step, 13, 6)
        again = batch_indices(5, "target", step, 13, 3 * 2)
        np.testing.assert_array_equal(np.r_[again[:3], again[3:]], whole)
        # and batches of 3 in one process walk through the same order
        halves = [batch_indices(5, "target", 2 * step + half, 13, 3) for half in (0, 1)]
        np.testing.assert_array_equal(np.concatenate(halves), whole)


def test_a_step_depends_on_seed_stream_and_step_alone() -> None:
    expected = batch_indices(3, "source", 40, 17, 4)
    np.random.default_rng().random(10)
    for step in (0, 99, 7):  # steps in any order leave no trace
        batch_indices(3, "source", step, 17, 4)
    np.testing.assert_array_equal(batch_indices(3, "source", 40, 17, 4), expected)
    streams = [batch_indices(s, n, 40, 1000, 8) for s, n in ((4, "source"), (3, "target"))]
    assert all((other != batch_indices(3, "source", 40, 1000, 8)).any() for other in streams)


def test_generators_are_independent_by_name_and_key() -> None:
    keys = [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1), (0, "a", 1, 3)]
    numbers = {key: generator(*key).random() for key in keys}
    assert len(set(numbers.values())) == len(keys)
    assert generator(0, "a", 1).random() == numbers[0, "a", 1]
    # pinned: a change would give every seed another run
    np.testing.assert_array_equal(batch_indices(0, "source", 0, 10, 5), [2, 3, 1, 6, 5])
