"""Published reference vectors, to the digits they are printed with."""

from __future__ import annotations

import numpy as np
import pytest

from napari_uda.evaluation.overlap import dice
from napari_uda.evaluation.report import evaluate
from napari_uda.evaluation.surface import SurfaceDistances, surface_distances

UNIT = (1.0, 1.0, 1.0)


def ball(centre, radius, spacing=UNIT, size=64):
    grid = np.ogrid[:size, :size, :size]
    squares = (((g - c) * s) ** 2 for g, c, s in zip(grid, centre, spacing, strict=True))
    return sum(squares) <= radius**2


def cube(low, high, size=32):
    mask = np.zeros((size, size, size), bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


BALL = ball((32, 32, 32), 20)


@pytest.mark.parametrize(
    ("connectivity", "expected"), [(1, 0.596622), (2, 0.389366), (3, 0.333807)]
)
def test_ball_shifted_by_one_voxel(connectivity, expected):
    shifted = ball((32, 32, 33), 20)
    distances = surface_distances(shifted, BALL, UNIT, connectivity=connectivity)
    assert distances.assd() == pytest.approx(expected, abs=5e-7)
    assert dice(shifted, BALL) == pytest.approx(0.962366, abs=5e-7)
    if connectivity == 1:
        assert distances.masd() == pytest.approx(0.596622, abs=5e-7)


def test_ball_with_a_far_island():
    prediction = BALL | ball((6, 6, 6), 4)
    distances = surface_distances(prediction, BALL, UNIT)
    assert dice(prediction, BALL) == pytest.approx(0.99617, abs=5e-6)
    assert distances.assd() == pytest.approx(0.415977, abs=5e-7)
    assert distances.masd() == pytest.approx(0.409278, abs=5e-7)
    assert distances.directed() == pytest.approx(0.8186, abs=5e-5)
    assert distances.backward.max() == 0
    assert distances.hausdorff() == pytest.approx(28.879, abs=5e-4)
    assert distances.hd95("pooled") == distances.hd95("max") == 0
    assert distances.nsd(2) == pytest.approx(0.98363, abs=5e-6)


def test_small_ball_inside():
    small = ball((32, 32, 32), 10)
    distances = surface_distances(BALL, small, UNIT)
    assert dice(BALL, small) == pytest.approx(0.22193, abs=5e-6)
    assert distances.assd() == pytest.approx(9.73643, abs=5e-6)
    assert distances.masd() == pytest.approx(9.71822, abs=5e-6)


def test_cube_around_cube():
    outer, inner = cube((8, 8, 8), (24, 24, 24)), cube((10, 10, 10), (22, 22, 22))
    distances = surface_distances(outer, inner, UNIT)
    assert dice(outer, inner) == pytest.approx(0.593407, abs=5e-7)
    assert distances.assd() == pytest.approx(2.112395, abs=5e-7)
    assert distances.masd() == pytest.approx(2.086458, abs=5e-7)
    assert distances.directed() == pytest.approx(2.172915, abs=5e-7)
    assert distances.backward.mean() == pytest.approx(2.0, abs=5e-7)


def test_cube_shifted_by_three():
    a, b = cube((8, 8, 8), (24, 24, 24)), cube((8, 8, 11), (24, 24, 27))
    distances = surface_distances(a, b, UNIT)
    assert dice(a, b) == 0.8125
    assert distances.assd() == pytest.approx(1.026627, abs=5e-7)
    assert distances.hausdorff() == distances.hd95() == distances.hd95("max") == 3


def test_two_planes():
    a, b = np.zeros((2, 20, 20, 20), bool)
    a[5], b[10] = True, True
    distances = surface_distances(a, b, (2.0, 1.0, 1.0))
    assert dice(a, b) == 0
    assert (distances.assd(), distances.masd(), distances.hausdorff()) == (10, 10, 10)


def test_two_voxels():
    a, b = np.zeros((2, 16, 16, 16), bool)
    a[5, 5, 5], b[5, 5, 8] = True, True
    distances = surface_distances(a, b, UNIT)
    assert (distances.assd(), distances.masd(), distances.nsd(2), distances.nsd(3)) == (3, 3, 0, 1)


@pytest.mark.parametrize(("connectivity", "expected"), [(1, 2.91429), (2, 2.4022), (3, 2.2039)])
def test_anisotropic_ball_one_slice_off(connectivity, expected):
    spacing = (5.0, 1.0, 1.0)
    reference = ball((32, 32, 32), 20, spacing)
    prediction = np.roll(reference, 1, axis=0)
    distances = surface_distances(prediction, reference, spacing, connectivity=connectivity)
    digits = 5e-6 if connectivity == 1 else 5e-5
    assert distances.assd() == pytest.approx(expected, abs=digits)
    assert distances.masd() == pytest.approx(expected, abs=digits)
    assert dice(prediction, reference) == pytest.approx(0.81049, abs=5e-6)
    if connectivity == 1:
        assert distances.nsd(2) == pytest.approx(0.419, abs=5e-4)


def test_object_that_touches_the_border():
    full = np.ones((16, 16, 16), bool)
    most = full.copy()
    most[:2] = False
    distances = surface_distances(most, full, UNIT)
    assert dice(most, full) == pytest.approx(0.93333, abs=5e-6)
    assert distances.assd() == pytest.approx(0.35294, abs=5e-6)
    assert distances.masd() == pytest.approx(0.34953, abs=6e-6)


def test_two_dimensions_against_three():
    """Ball r 20 against a ball r 18 one voxel aside: 3-D scores and means over slices."""
    prediction, reference = ball((32, 32, 33), 18).astype(np.uint8), BALL.astype(np.uint8)
    scores = evaluate(prediction, reference, spacing_mm=UNIT, axes="z")
    (row,) = scores.rows
    assert row["dice"] == pytest.approx(0.844, abs=5e-4)
    assert row["assd_mm"] == pytest.approx(1.91, abs=5e-3)
    dices = np.array([slice_["dice"] for slice_ in scores.slices])
    assert np.nanmean(dices) == pytest.approx(0.702, abs=5e-4)
    assert np.nan_to_num(dices, nan=1).mean() == pytest.approx(0.809, abs=5e-4)
    assert np.nan_to_num(dices, nan=0).mean() == pytest.approx(0.450, abs=5e-4)
    distances = np.array([slice_["assd_mm"] for slice_ in scores.slices])
    assert np.isfinite(distances).sum() == 37
    assert np.nanmean(distances) == pytest.approx(2.76, abs=5e-3)


def test_one_missed_case_is_never_cheaper_than_a_good_one():
    """The cohort of section 2.3: one case with HD95 1, one where the organ was not found."""
    good = evaluate(
        ball((32, 32, 33), 20).astype(np.uint8), BALL.astype(np.uint8), spacing_mm=UNIT, case="a"
    )
    missed = evaluate(np.zeros_like(BALL), BALL, spacing_mm=UNIT, case="b")
    structure, _ = good.join([good, missed]).summary()
    diagonal = 64 * 3**0.5
    assert good.rows[0]["hd95_mm"] == 1
    assert structure["hd95_mm"]["mean"] == pytest.approx((1 + diagonal) / 2)
    assert (structure["hd95_mm"]["n"], structure["hd95_mm"]["n_missing"]) == (2, 1)
    assert structure["dice"]["mean"] == pytest.approx(0.962366 / 2, abs=5e-7)


def test_percentile_rules_differ():
    """Directed 95th percentiles 0 and 4, joined: rank 0.95 * 39 = 37.05 of forty values."""
    forward = np.zeros(20)
    backward = np.r_[np.zeros(17), 4.0, 4.0, 4.0]
    distances = SurfaceDistances(forward, backward)
    assert distances.hd95("max") == 4
    assert distances.hd95("pooled") == 4
    assert SurfaceDistances(np.zeros(40), backward).hd95("pooled") == pytest.approx(0.2)
