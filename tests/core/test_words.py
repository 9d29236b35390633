from __future__ import annotations

from napari_uda.core.words import number_of, short_list


def test_a_number_and_its_word() -> None:
    said = [number_of(number, "more layer") for number in (0, 1, 2)]
    assert said == ["0 more layers", "1 more layer", "2 more layers"]


def test_a_long_list_is_cut() -> None:
    assert short_list(["a", "b"]) == "a, b"
    assert short_list((3, 5, 7), most=3) == "3, 5, 7"
    assert short_list("abcde", most=3) == "a, b, c and 2 more"
    assert short_list("abc", most=2, between="; ", last="; and ") == "a; b; and 1 more"
    assert not short_list([])
