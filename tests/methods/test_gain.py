"""Methods bridge a pair of domains that a source network cannot: grey values of other subjects are reversed."""

from __future__ import annotations

from pathlib import Path

import pytest
from gain_cases import ReversedPair, reversed_pair
from tiny_cases import trained_method

STEPS = {"synseg_net": 100, "pnp_adanet": 200}
"""Methods that gain within so few steps, with the rates of cpu_small; the others need more than a test has."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> ReversedPair:
    return reversed_pair(tmp_path_factory.mktemp("reversed"))


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_at_least_ten_dice_above_the_source_network(
    name: str, pair: ReversedPair, tmp_path: Path
) -> None:
    before = pair.dice(trained_method(pair.start))
    assert before < 10
    assert pair.dice(pair.adapted(name, tmp_path, steps=STEPS[name])) >= before + 10
