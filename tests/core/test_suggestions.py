"""What somebody meant by a name that does not exist."""

from __future__ import annotations

import pytest

from napari_uda.core.errors import InputError
from napari_uda.core.suggestions import check_choice, listed, near, near_option, what_to_choose

METHODS = ["adaptsegnet", "advent", "bn_adapt", "se_asa", "sfda", "tent"]
OPTIONS = [
    "--steps",
    "--data.source",
    "--data.size",
    "--force",
    "--method.segmentor-optimizer.lr",
    "--method.adversary.optimizer.lr",
    "--reliability",
    "--no-reliability",
]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("seasa", ["se_asa"]),
        ("SE-ASA", ["se_asa"]),
        ("bn-adap", ["bn_adapt"]),
        ("advnet", ["advent"]),
        ("cyclegan", []),
        ("", []),
    ],
)
def test_names_that_look_alike(given: str, found: list[str]) -> None:
    assert near(given, METHODS) == found


def test_the_end_of_the_sentence() -> None:
    assert what_to_choose("sfad", METHODS) == "did you mean sfda?"
    assert what_to_choose("x", ["a_b", "c"]) == "choose one of a_b, c"
    assert [listed(list(names)) for names in ("a", "ab", "abc")] == ["a", "a or b", "a, b or c"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("--step", ["--steps"]),
        ("--size", ["--data.size"]),  # the last part is enough
        ("--data.sourca", ["--data.source"]),  # and not --force, which is less alike
        ("--lr", ["--method.segmentor-optimizer.lr", "--method.adversary.optimizer.lr"]),
        ("--segmentor.size", ["--data.size"]),  # in the wrong group
        ("--no_reliabilty", ["--no-reliability"]),
        ("--bogus", []),
    ],
)
def test_options_that_were_meant(given: str, found: list[str]) -> None:
    assert near_option(given, OPTIONS) == found


def test_a_word_that_is_no_choice() -> None:
    check_choice("tta", "flips", ("none", "flips"))
    with pytest.raises(InputError, match=r"^tta cannot be 'flip'; did you mean flips\?$"):
        check_choice("tta", "flip", ("none", "flips"))
    with pytest.raises(InputError, match=r"^tta cannot be 3; choose one of none, flips$"):
        check_choice("tta", 3, ("none", "flips"))
