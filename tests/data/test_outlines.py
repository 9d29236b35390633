"""Outlines along the edges of pixels: by hand, and filled again by the even-odd rule."""

from __future__ import annotations

import numpy as np
import pytest
from even_odd import area, even_odd
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from napari_uda.data.outlines import outlines


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "x" for letter in row] for row in rows])


def test_a_pixel_is_a_square_half_a_pixel_around_its_centre() -> None:
    (corners,) = outlines(drawn("...", ".x.", "..."))
    assert corners.tolist() == [[0.5, 0.5], [0.5, 1.5], [1.5, 1.5], [1.5, 0.5]]


def test_a_square_has_its_area_and_four_corners() -> None:
    """Ten by ten pixels are 100, neither the 81 between their centres nor 121."""
    mask = np.zeros((14, 15), bool)
    mask[2:12, 3:13] = True
    (corners,) = outlines(mask)
    assert corners.tolist() == [[1.5, 2.5], [1.5, 12.5], [11.5, 12.5], [11.5, 2.5]]
    assert area(corners) == 100


def test_a_hole_is_an_outline_the_other_way() -> None:
    outer, hole = outlines(drawn("xxxx", "x..x", "xxxx"))
    assert area(outer) == 12
    assert area(hole) == -2
    assert sorted(hole.tolist()) == [[0.5, 0.5], [0.5, 2.5], [1.5, 0.5], [1.5, 2.5]]


def test_an_island_in_a_hole() -> None:
    mask = drawn("xxxxx", "x...x", "x.x.x", "x...x", "xxxxx")
    assert sorted(area(one) for one in outlines(mask)) == [-9, 1, 25]


def test_pixels_that_touch_at_a_corner_stay_apart() -> None:
    for mask in (drawn("x.", ".x"), drawn(".x", "x.")):
        assert [area(one) for one in outlines(mask)] == [1, 1]


def test_nothing_has_no_outline() -> None:
    assert outlines(np.zeros((3, 4), bool)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (4, 5)])
def test_all_pixels_up_to_the_border(shape: tuple[int, int]) -> None:
    (corners,) = outlines(np.ones(shape, bool))
    assert area(corners) == shape[0] * shape[1]


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_filled_again_it_is_the_same_mask(mask: np.ndarray) -> None:
    found = outlines(mask)
    np.testing.assert_array_equal(even_odd(found, mask.shape), mask)
    assert sum(area(one) for one in found) == mask.sum()
    for corners in found:
        steps = np.roll(corners, -1, axis=0) - corners
        assert (np.count_nonzero(steps, axis=1) == 1).all()  # along edges, never across a pixel
