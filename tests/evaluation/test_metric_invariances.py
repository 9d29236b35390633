"""What must not change a score, and how scores must change."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import ndimage

from napari_uda.evaluation.overlap import dice, label_boxes
from napari_uda.evaluation.report import evaluate
from napari_uda.evaluation.surface import SurfaceDistances, Surfaces, surface_distances

SPACING = (2.5, 0.7, 0.9)


@pytest.fixture(params=[(9, 10, 11), (40, 44, 48)], ids=["small", "large"])
def pair(request):
    rng = np.random.default_rng(5)
    fields = ndimage.gaussian_filter(rng.standard_normal((2, *request.param)), (0, 2, 2, 2))
    fields[1] += fields[0]
    a, b = fields > 0
    return a, b


def numbers(a, b, spacing=SPACING):
    found = surface_distances(a, b, spacing)
    return np.array([dice(a, b), found.assd(), found.masd(), found.hd95(), found.nsd(1.5)])


def test_swap(pair):
    a, b = pair
    assert numbers(a, b) == pytest.approx(numbers(b, a), abs=1e-12)
    assert surface_distances(a, b, SPACING).hd95("max") == surface_distances(b, a, SPACING).hd95(
        "max"
    )


def test_itself(pair):
    assert numbers(pair[0], pair[0]).tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize("axis", range(3))
def test_flip(pair, axis):
    flipped = [np.flip(mask, axis) for mask in pair]
    assert numbers(*flipped) == pytest.approx(numbers(*pair), abs=1e-12)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_axis_permutation(pair, order):
    turned = [mask.transpose(order) for mask in pair]
    spacing = tuple(SPACING[axis] for axis in order)
    assert numbers(*turned, spacing) == pytest.approx(numbers(*pair), abs=1e-12)


def test_zero_padding(pair):
    padded = [np.pad(mask, ((0, 3), (5, 1), (2, 0))) for mask in pair]
    assert numbers(*padded) == pytest.approx(numbers(*pair), abs=1e-12)


def test_spacing_scale(pair):
    """Lengths scale with the voxels; Dice does not, NSD does not when its tolerance scales."""
    scaled = numbers(*pair, tuple(3 * step for step in SPACING))
    assert scaled[:4] == pytest.approx(numbers(*pair)[:4] * [1, 3, 3, 3], abs=1e-9)
    triple = surface_distances(*pair, tuple(3 * step for step in SPACING))
    assert triple.nsd(4.5) == pytest.approx(numbers(*pair)[4], abs=1e-12)


def test_label_renumbering():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, (2, 6, 7, 8)).astype(np.uint8)
    other = np.array([0, 9, 200, 4], np.uint8)[labels]
    rows = {row["label"]: row["assd_mm"] for row in evaluate(*labels, spacing_mm=SPACING).rows}
    again = {row["label"]: row["assd_mm"] for row in evaluate(*other, spacing_mm=SPACING).rows}
    assert [rows[1], rows[2], rows[3]] == [again[9], again[200], again[4]]


def test_dilation_never_brings_the_border_closer():
    """Dilating a ball step by step: Dice falls and every distance grows."""
    grid = np.ogrid[:40, :40, :40]
    ball = sum((g - 20) ** 2 for g in grid) <= 10**2
    steps = [ndimage.binary_dilation(ball, iterations=count) for count in (1, 2, 4, 6)]
    found = np.array([numbers(step, ball, (1.0, 1.0, 1.0)) for step in steps])
    assert (np.diff(found[:, 0]) < 0).all()
    assert (np.diff(found[:, 1:4], axis=0) > 0).all()


def test_nsd_at_the_tolerance_counts_as_within():
    """20 voxels of 0.1 mm make 2.0000000000000004 mm: within 2 mm all the same."""
    a, b = np.zeros((2, 1, 1, 30), bool)
    a[..., 3], b[..., 23] = True, True
    assert surface_distances(a, b, (1.0, 1.0, 0.1)).nsd(2.0) == 1


def test_undefined_distances():
    full, empty = np.ones((3, 3, 3), bool), np.zeros((3, 3, 3), bool)
    missed, absent = (surface_distances(empty, other, SPACING) for other in (full, empty))
    for found in (missed, absent):
        values = [found.assd(), found.masd(), found.hd95(), found.hd95("max"), found.hausdorff()]
        assert np.isnan([*values, found.directed()]).all()
    assert missed.nsd(2) == 0
    assert np.isnan(absent.nsd(2))
    assert np.isnan(dice(empty, empty))
    assert dice(empty, full) == 0


def test_ill_fitting_masks_are_refused():
    with pytest.raises(ValueError, match="do not fit together"):
        surface_distances(np.ones((3, 3), bool), np.ones((3, 4), bool), (1.0, 1.0))
    surfaces = Surfaces.of(np.ones((3, 3), bool), np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="slice_axis"):
        surfaces.by_slice(SurfaceDistances(np.zeros(8), np.zeros(8)), 0, 3)


@pytest.mark.parametrize("label", [7, 15, 16, 255])
def test_label_boxes(label):
    a, b = np.zeros((2, 6, 7, 8), np.uint8)
    a[1:3, 2:4, 5] = label
    b[2:5, 2, 4] = label
    b[0, 0, 0] = 3
    boxes = label_boxes(a, b)
    assert boxes == {
        3: (slice(0, 1), slice(0, 1), slice(0, 1)),
        label: (slice(1, 5), slice(2, 4), slice(4, 6)),
    }
    assert label_boxes(np.zeros_like(a), np.zeros_like(a)) == {}
