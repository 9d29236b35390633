"""What training refuses before its first step, so that a form can refuse it before Start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from napari_uda.core import distributed
from napari_uda.core.errors import InputError
from napari_uda.data.split import split_cases
from napari_uda.methods.registry import method_class
from napari_uda.networks.build import build_segmentor, is_halved
from napari_uda.networks.segmentor import Segmentor
from napari_uda.networks.trial import try_network

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig

_LARGE = 32  # strides: as large as slices are wherever their size is not known


def check_network(config: RunConfig) -> None:
    """Refuse a network that does not exist, gives no map of classes or does not fit the size of the slices.

    A run that starts from another one sees slices as that one did.

    Raises:
        InputError: saying which.
    """
    size = config.data.size
    network = _network(config, "meta")  # no memory and no time for weights
    if config.init is None:
        check_size(size, network)
        check_norm(config, network, size)
    else:
        size = network.stride * _LARGE
    try:
        try_network(network, config.segmentor.name, size)
    except InputError:  # some layers cannot be tried without numbers
        try_network(_network(config, "cpu"), config.segmentor.name, size)


def _network(config: RunConfig, device: str) -> Segmentor:
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            return build_segmentor(config.segmentor, config.data.neighbours, 2, pretrained=False)
    except (RuntimeError, NotImplementedError, InputError):
        if device == "cpu":
            raise
        return _network(config, "cpu")  # some constructors compute


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


def check_norm(config: RunConfig, network: Segmentor, size: int) -> None:
    """Refuse slices of which the deepest layer sees a single pixel, where that cannot be normalised.

    Args:
        config: which normalisation, and how many slices take part in it.
        network: of the run.
        size: side of its slices in pixels.

    Raises:
        InputError: naming what to change.
    """
    if not is_halved(config.segmentor) or size > network.stride:
        return
    by_image = config.segmentor.norm == "instance"
    if not by_image and config.batch_size * distributed.world_size() > 1:
        return
    why = "instance normalisation" if by_image else "batch normalisation over one slice"
    more = "" if by_image else ", a --batch-size of 2"
    raise InputError(
        f"slices of {size} pixels are a single pixel where the network is deepest, which {why} cannot work "
        f"with; choose --data.size {2 * network.stride}{more} or a smaller --segmentor.depth"
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
        InputError: saying which setting is missing, or does not fit the method.
    """
    if config.validate_every and not has_held_out:
        raise InputError(
            "validate_every needs held-out labelled cases; set data.validation_fraction above 0"
        )
    if config.select != "last" and not config.validate_every:
        raise InputError(f"select {config.select} needs scores; set validate_every above 0")
    needs = method_class(config.method.name).needs_with(config.method)
    if config.select == "consistency" and "target" not in needs:
        raise InputError(
            f"select consistency looks at target slices, and {config.method.name} reads none; choose "
            "select source_validation"
        )
