"""What training refuses before its first step, so that a form can refuse it before Start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from napari_uda.core.errors import InputError
from napari_uda.data.split import split_cases
from napari_uda.networks.build import build_segmentor
from napari_uda.networks.segmentor import Segmentor

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig


def check_network(config: RunConfig) -> None:
    """Refuse a network that does not exist or does not fit the size of the slices.

    A run that starts from another one sees slices as that one did.

    Raises:
        InputError: saying which.
    """
    with torch.device("meta"):  # no memory and no time for weights
        network = build_segmentor(config.segmentor, config.data.neighbours, 2, pretrained=False)
    if config.init is None:
        check_size(config.data.size, network)


def check_size(size: int, network: Segmentor) -> None:
    """Refuse slices of a size, in pixels, that a network cannot halve as often as it does.

    Raises:
        InputError: naming sizes that fit.
    """
    if size % network.stride:
        raise InputError(
            f"slices of {size} pixels do not fit this network; choose a data.size that is a "
            f"multiple of {network.stride}"
        )


def check_held_out(config: RunConfig, labelled_cases: Sequence[str]) -> None:
    """Refuse a share of held-out patients that leaves none to train on, or none to score.

    Args:
        config: settings of the run.
        labelled_cases: names of the cases whose labels are read.

    Raises:
        InputError: saying which setting to change.
    """
    held_out: tuple[str, ...] = ()
    if labelled_cases:
        held_out = split_cases(
            labelled_cases,
            validation_fraction=config.data.validation_fraction,
            seed=config.seed,
            patient_pattern=config.data.patient_pattern,
        ).validation
    check_validation(config, has_held_out=bool(held_out))


def check_validation(config: RunConfig, *, has_held_out: bool) -> None:
    """Refuse to validate or select without cases to score.

    Raises:
        InputError: saying which setting is missing.
    """
    if config.validate_every and not has_held_out:
        raise InputError(
            "validate_every needs held-out labelled cases; set data.validation_fraction above 0"
        )
    if config.select == "source_validation" and not config.validate_every:
        raise InputError("select source_validation needs scores; set validate_every above 0")
