"""The first weights of a run: new ones, and those of the run that it starts from where they fit."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.core.errors import InputError
from napari_uda.run.checkpoint import load_method_weights
from napari_uda.run.run import Run
from napari_uda.uncertainty.view_vote import ViewVote

if TYPE_CHECKING:
    from torch import Tensor

    from napari_uda.data.batches import TrainingData
    from napari_uda.methods.base import Method

logger = logging.getLogger(__name__)


def take_over(method: Method[Any], init: Path) -> Tensor:
    """Give a new method the weights of a trained run where they fit; returns that run's amplitude bank.

    A discriminator or generator that does not fit as a whole starts anew; a segmentor has to fit.

    Raises:
        InputError: if there is no such run, or its network or generators are others.
    """
    start = Run.open(init)
    method.check_init(start.config.method)
    given, bank = load_method_weights(start.weights_file())
    own = method.state_dict()
    fitting = {
        name: tensor
        for name, tensor in given.items()
        if name in own and own[name].shape == tensor.shape and method.loads_from_init(name)
    }
    foreign = [n for n in own if n not in fitting]
    foreign += [n for n in given if n not in own]
    foreign = [n for n in foreign if n.startswith("segmentor.") and method.loads_from_init(n)]
    if foreign:
        raise InputError(
            f"the segmentation network of {init} is not that of this run ({foreign[0]} does not fit); "
            "give both runs the same segmentor settings"
        )
    for part in _whole_parts(own):
        misfits = [n for n in own if n not in fitting] + [n for n in given if n not in own]
        if any(n.startswith(part) for n in misfits):  # half of a network is none
            fitting = {k: v for k, v in fitting.items() if not k.startswith(part)}
            if any(n.startswith(part) for n in given):  # another method simply has none
                logger.warning(
                    "%s of %s does not fit and starts from new weights", part[:-1], init.name
                )
    method.load_state_dict({**own, **fitting})
    logger.info("%d of %d tensors taken from %s", len(fitting), len(own), init.name)
    return bank


def vote_of_new_run(
    method: Method[Any], data: TrainingData, init: Path | None, given: Tensor | None
) -> ViewVote:
    """The vote of a run: with the spectra of its own source, else with those of the run it starts from.

    Args:
        method: its settings say how many spectra, and how many bins.
        data: the run's slices.
        init: the run it starts from.
        given: the amplitude bank of that run.

    Raises:
        InputError: if there is no source and the given bank is of other settings.
    """
    settings = method.config.reliability
    if data.source is not None:
        return ViewVote.of_source(settings, data.source_slices(settings.bank_size))
    side = 2 * settings.fourier_half_width + 1
    shape = (settings.bank_size, method.segmentor.in_channels, side, side)
    if given is None or given.shape != shape:
        raise InputError(
            f"bank_size or fourier_half_width of reliability are not those of {init}, whose source "
            "spectra the votes need; give both runs the same"
        )
    return ViewVote(settings, given)


def _whole_parts(names: Iterable[str]) -> list[str]:
    """Prefixes of the discriminators and generators among the names of parameters and buffers."""
    found = set()
    for kind in ("discriminators.", "generators."):
        for name in names:
            if kind in name:
                found.add(name[: name.index(".", name.index(kind) + len(kind)) + 1])
    return sorted(found)
