"""What training refuses before its first step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_cases import small_config

from napari_uda.core.errors import InputError
from napari_uda.training.checks import check_held_out, check_network


def test_a_network_needs_slices_that_it_can_halve(tmp_path: Path) -> None:
    config = small_config("source_only", tmp_path, tmp_path)  # a U-Net of depth 2
    check_network(config)
    odd = config.data.model_copy(update={"size": 34})
    refused = config.model_copy(update={"data": odd})
    with pytest.raises(InputError, match=r"34 pixels do not fit .* multiple of 4"):
        check_network(refused)
    check_network(refused.model_copy(update={"init": tmp_path}))  # its size is the other run's


def test_checking_a_network_makes_no_weights(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    check_network(small_config("source_only", tmp_path, tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("fraction", "cases", "problem"),
    [
        (0.5, ["a", "b"], ""),
        (0.0, ["a", "b"], "needs held-out labelled cases"),
        (0.5, [], "needs held-out labelled cases"),
    ],
)
def test_scores_need_cases_that_are_held_out(
    fraction: float, cases: list[str], problem: str, tmp_path: Path
) -> None:
    config = small_config("source_only", tmp_path, tmp_path, validate_every=1)
    data = config.data.model_copy(update={"validation_fraction": fraction})
    config = config.model_copy(update={"data": data})
    if problem:
        with pytest.raises(InputError, match=problem):
            check_held_out(config, cases)
    else:
        check_held_out(config, cases)
