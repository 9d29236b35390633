"""Adaptation says which volumes moved, and warns where one moved far."""

from __future__ import annotations

import pytest

from napari_uda.core.errors import InputError
from napari_uda.data.volume_change import moved_text
from napari_uda.training.adapt import _noted
from napari_uda.training.adapt_config import build_adapt_config


def test_a_structure_that_lost_a_third_is_warned_of() -> None:
    volumes = {"RV": (50.0, 51.0), "LV": (90.0, 60.0), "MYO": (40.0, 60.0)}
    said = _noted(volumes, 1.25)
    assert said == (
        "adaptation moved LV 90.0 to 60.0 mL (-33 %), MYO 40.0 to 60.0 mL (+50 %): "
        "compare it with the result before"
    )
    assert _noted(volumes, 1.6) == ""
    assert _noted(volumes, 0) == ""
    assert _noted({"RV": (50.0, 51.0)}, 1.25) == ""


def test_the_farthest_stands_first_whatever_way_it_moved() -> None:
    said = _noted({"a": (20.0, 40.0), "b": (60.0, 10.0)}, 1.25)
    assert said.index(" b ") < said.index(" a ")


def test_a_few_voxels_more_are_no_change_by_a_large_factor() -> None:
    assert _noted({"a": (0.01, 0.1)}, 1.25) == ""


@pytest.mark.parametrize(
    ("was", "now", "text"),
    [
        (90.0, 60.0, "LV 90.0 to 60.0 mL (-33 %)"),
        (60.0, 60.0, "LV 60.0 to 60.0 mL (+0 %)"),
        (0.0, 5.0, "LV 0.0 to 5.0 mL (new)"),
        (0.0, 0.0, "LV 0.0 to 0.0 mL (none)"),
        (2.0, 19.0, "LV 2.0 to 19.0 mL (+850 %)"),
        (0.02, 3.0, "LV under 0.1 to 3.0 mL (x 150)"),
        (8.0, 0.0, "LV 8.0 to 0.0 mL (-100 %)"),
    ],
)
def test_a_volume_before_and_after(was: float, now: float, text: str) -> None:
    assert moved_text("LV", was, now) == text


def test_the_threshold_is_a_factor() -> None:
    assert build_adapt_config(noted_volume_change=0).noted_volume_change == 0
    with pytest.raises(
        InputError, match="noted_volume_change must be a factor above 1, or 0 to be"
    ):
        build_adapt_config(noted_volume_change=0.5)


def test_a_few_voxels_are_not_told_as_nothing() -> None:
    assert moved_text("LAC", 0.0, 0.0315, " -> ") == "LAC 0.0 -> under 0.1 mL (new)"
    assert moved_text("LAC", 0.05, 0.0) == "LAC 0.1 to 0.0 mL (-100 %)"
