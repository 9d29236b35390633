"""Shapes of structures by hand, over cases, and which ones are like them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_uda.data.case_shapes import CaseShapes, case_shapes, is_plausible, shape_features
from napari_uda.data.slices import SliceGrid, SliceStore

SPACING = (2.0, 1.0, 1.0)


def case_with(*boxes: tuple[slice, slice, slice]) -> np.ndarray:
    """A case of `(10, 20, 20)` voxels with structure 1 in some boxes."""
    classes = np.zeros((10, 20, 20), np.uint8)
    for box in boxes:
        classes[box] = 1
    return classes


def test_a_box_by_hand() -> None:
    box = (slice(2, 4), slice(10, 14), slice(4, 8))  # 4 x 4 x 4 mm: a cube of 64 mm3
    background, found, absent = shape_features(case_with(box), 3, SPACING)
    assert np.isnan(background).all()
    assert np.isnan(absent).all()
    assert found[0] == pytest.approx(math.log(32 / 4000))
    # centre at slice 2.5 of 0 to 9, row 11.5 and column 5.5 of 0 to 19
    assert found[1:4].tolist() == [-4.0, 2.0, -4.0]
    assert found[4] == pytest.approx(math.log(36 * math.pi * 64**2 / 96**3))
    assert found[5] == 1


def test_parts_that_count() -> None:
    large = (slice(0, 10), slice(0, 10), slice(0, 10))
    other, speck = (
        (slice(0, 2), slice(15, 20), slice(15, 20)),
        (slice(9, 10),) + (slice(19, 20),) * 2,
    )
    assert shape_features(case_with(large, other, speck), 2, SPACING)[1, 5] == 2


def test_shapes_of_cases() -> None:
    cases = [case_with((slice(2, 4), slice(r, r + 4), slice(4, 8))) for r in (8, 10, 12)]
    cases.append(case_with())
    store = SliceStore(
        np.zeros((40, 20, 20), np.float16),
        np.concatenate(cases),
        np.repeat(np.arange(4), 10),
        ("a", "b", "c", "d"),
        1,
        (2.0,) * 4,
        (1.0,) * 4,
    )
    grid = SliceGrid(axis=0, pixel_mm=1.0, size=20)
    shapes = case_shapes(store, grid, ["box", "never"])
    assert shapes["never"] == CaseShapes(cases=0)
    assert shapes["box"].cases == 3
    assert shapes["box"].mean[1:4] == (-4.0, 2.0, -4.0)
    assert shapes["box"].spread[2] == pytest.approx(math.sqrt(8 / 3), rel=1e-3)
    features = shape_features(cases[0], 3, SPACING)
    known = [shapes["box"], shapes["never"]]
    assert is_plausible(features, known).tolist() == [True, True, True]
    for feature, change in ((0, 0.61), (1, 15.1), (3, -15.1), (4, 0.61), (5, 3.1)):
        away = features.copy()
        away[1, feature] += change  # three of the least spreads
        assert is_plausible(away, known).tolist() == [True, False, True]
