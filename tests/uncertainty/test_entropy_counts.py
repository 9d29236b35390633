"""Voxels counted by entropy: shares, Dice on both sides of a threshold, slices in order, contour levels."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.uncertainty.entropy_counts import STEPS, contour_levels, count_uncertainty, levels

NAMES = {1: "MYO", 2: "LVC"}


def test_shares_and_dice_by_hand() -> None:
    labels = np.array([[[1, 1, 1, 0]], [[2, 0, 0, 0]]])
    reference = np.array([[[1, 1, 0, 1]], [[2, 2, 0, 0]]])
    entropy = np.array([[[0.1, 0.6, 0.7, 0.2]], [[0.4, 0.9, 0.0, 1.0]]], np.float32)
    counted = count_uncertainty(labels, entropy, NAMES, axis=0, reference=reference)
    # below 0.5: 0.1, 0.2, 0.4, 0.0 of eight voxels; of the four predicted ones 0.1 and 0.4
    assert counted.kept(50) == 4 / 8
    assert counted.kept_of_structures(50) == 2 / 4
    # below: MYO predicted {0.1}, true {0.1, 0.2}; above: predicted {0.6, 0.7}, true {0.6}
    assert counted.dice(50, below=True) == pytest.approx({"MYO": 2 / 3, "LVC": 1.0})
    assert counted.dice(50, below=False) == pytest.approx({"MYO": 2 / 3, "LVC": 0.0})
    assert counted.has_reference
    # MYO 0.1, 0.6 and 0.7 in the first slice, LVC 0.4 in the second
    np.testing.assert_allclose(counted.slices, [(0.1 + 0.6 + 0.7) / 3, 0.4], rtol=1e-6)


def test_every_threshold_keeps_what_lies_below_it() -> None:
    random = np.random.default_rng(0)
    entropy = random.random((5, 6, 7), dtype=np.float32)
    labels = random.integers(0, 3, entropy.shape).astype(np.uint8)
    counted = count_uncertainty(labels, entropy, NAMES, axis=1)
    for step in range(1, STEPS):
        assert counted.kept(step) == (entropy < step / STEPS).mean()
        assert counted.kept_of_structures(step) == (entropy[labels > 0] < step / STEPS).mean()
    assert counted.kept(STEPS) == 1
    assert not counted.has_reference
    assert counted.dice(50, below=True) == {}
    assert len(counted.slices) == 6


def test_values_on_a_threshold_lie_above_it() -> None:
    steps = np.arange(STEPS, dtype=np.float32) / STEPS
    counted = count_uncertainty(np.ones((1, 1, STEPS), int), steps[None, None], NAMES, axis=0)
    np.testing.assert_array_equal(counted.voxels, np.ones(STEPS))


def test_slices_come_in_the_order_of_their_entropy() -> None:
    labels = np.array([1, 0, 2, 1]).reshape(4, 1, 1)
    entropy = np.array([0.2, 0.9, 0.8, 0.5], np.float32).reshape(4, 1, 1)
    counted = count_uncertainty(labels, entropy, NAMES, axis=0)
    assert counted.ranking() == [2, 3, 0]  # slice 1 has no structure
    assert [counted.after(index) for index in (None, 2, 3, 0, 1)] == [2, 3, 0, 2, 2]


def test_without_any_structure_there_is_nothing_to_rank() -> None:
    empty = count_uncertainty(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 3)), NAMES, axis=0)
    assert empty.ranking() == []
    assert empty.after(None) is None
    assert np.isnan(empty.kept_of_structures(50))
    assert empty.kept(50) == 1


def test_layers_of_two_volumes_are_refused() -> None:
    labels = np.zeros((2, 3, 3), np.uint8)
    with pytest.raises(InputError, match=r"entropy map has shape \(2, 3, 4\)"):
        count_uncertainty(labels, np.zeros((2, 3, 4)), NAMES, axis=0)
    with pytest.raises(InputError, match="reference has shape"):
        count_uncertainty(
            labels, np.zeros((2, 3, 3)), NAMES, axis=0, reference=np.zeros((1, 3, 3), int)
        )


def test_counting_stops_when_asked() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        count_uncertainty(np.zeros((2, 3, 3), int), np.zeros((2, 3, 3)), NAMES, axis=0, stop=stop)


def test_contours_lie_at_the_threshold_and_the_quarters_above_it() -> None:
    entropy = np.array([0.0, 0.29, 0.3, 0.5, 0.74, 0.75, 1.0], np.float32)
    assert levels(30) == [0.3, 0.5, 0.75]
    assert contour_levels(entropy, 30).tolist() == [0, 0, 1, 2, 2, 3, 3]
    assert levels(80) == [0.8]
    assert contour_levels(entropy, 80).tolist() == [0, 0, 0, 0, 0, 0, 1]
