"""Regular expressions from settings end when their time is over."""

from __future__ import annotations

import os

import pytest

from napari_uda.core import patterns
from napari_uda.core.errors import InputError
from napari_uda.core.patterns import check_pattern, search_all
from napari_uda.data.split import patients_of

posix = pytest.mark.skipif(os.name != "posix", reason="the alarm is of POSIX")


def test_matches_and_groups() -> None:
    assert search_all(r"(p(\d+))_(x)?", ["p12_x", "a p3_", "none", "ü"]) == [
        ["p12_x", "p12", "12", "x"], ["p3_", "p3", "3", None], None, None,
    ]  # fmt: skip
    assert search_all("a", []) == []
    assert search_all("é+", ["caféé"]) == [["éé"]]


@posix
def test_a_search_that_takes_longer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A harmless pattern that takes some tenths of a second, against a thousandth."""
    cases = ["a" * 200] * 2000
    assert search_all("(a|b|ab)*c", cases[:3]) == [None] * 3
    with pytest.raises(InputError) as caught:
        search_all("(a|b|ab)*c", cases, seconds=1e-3)
    assert str(caught.value) == (
        "the search for pattern '(a|b|ab)*c' takes longer than 0.001 seconds; write it without repeats "
        "inside of repeats"
    )
    monkeypatch.setattr(patterns, "SECONDS", 1e-3)
    with pytest.raises(InputError, match=r"takes longer than 0\.001 seconds"):
        patients_of(cases, "(a|b|ab)*c")


def test_what_is_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    for pattern, said in (("(a", "is no regular expression"), ("a" * 501, "at most 500 letters")):
        with pytest.raises(ValueError, match=said):
            check_pattern(pattern)
    check_pattern("a" * 500)
    with pytest.raises(
        InputError, match=r"pattern '\(a' cannot be searched \(.*[eE]rror: missing \)"
    ):
        search_all("(a", ["a"])
