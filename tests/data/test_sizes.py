from __future__ import annotations

import numpy as np
import pytest

from napari_uda.data.sizes import slice_areas, structure_sizes


def _slices() -> np.ndarray:
    """Four slices of 4 x 5 pixels: class 1 has 2 and 6 pixels in two of them, class 2 never occurs."""
    labels = np.zeros((4, 4, 5), np.uint8)
    labels[1, 0, :2] = 1
    labels[2, :2, :3] = 1
    labels[2, 3, :] = 3
    return labels


def test_areas_count_pixels_per_slice() -> None:
    areas = slice_areas(_slices(), 4)
    assert areas.tolist() == [[20, 0, 0, 0], [18, 2, 0, 0], [9, 6, 0, 5], [20, 0, 0, 0]]


def test_sizes_are_means_over_the_slices_that_contain_it() -> None:
    sizes = structure_sizes(_slices(), ["first", "second", "third"], pixel_mm2=0.25)
    assert list(sizes) == ["first", "second", "third"]
    assert sizes["first"].area_mm2 == pytest.approx((2 + 6) / 2 * 0.25)
    assert sizes["first"].slice_share == 0.5
    assert (sizes["second"].area_mm2, sizes["second"].slice_share) == (0.0, 0.0)
    assert sizes["third"].area_mm2 == pytest.approx(5 * 0.25)
    assert sizes["third"].slice_share == 0.25


def test_their_product_is_the_mean_area_over_all_slices() -> None:
    size = structure_sizes(_slices(), ["first", "second", "third"], pixel_mm2=4.0)["first"]
    assert size.area_mm2 * size.slice_share == pytest.approx((_slices() == 1).mean() * 20 * 4)
