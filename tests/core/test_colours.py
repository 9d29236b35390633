from __future__ import annotations

from napari_uda.core.colours import hexadecimal, readable, rgb


def test_shares_and_text_are_the_same_colour() -> None:
    assert hexadecimal((1, 0.5, 0)) == "#FF8000"
    assert hexadecimal((0, 0, 1, 0.5)) == "#0000FF80"
    assert hexadecimal(rgb("#FFD43B")) == "#FFD43B"
    assert rgb("#FF0033").tolist() == [1, 0, 0.2]


def test_yellow_is_darkened_on_a_light_background_and_kept_on_a_dark_one() -> None:
    assert readable("#FFD43B", "#262930") == "#FFD43B"
    darker = readable("#FFD43B", "#FFFFFF")
    assert int(darker[1:3], 16) < 0xFF
