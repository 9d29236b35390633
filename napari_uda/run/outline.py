"""What a run's settings would build, by its sizes alone, before memory is taken for it.

A settings file of a few lines can ask for a network of hundreds of gigabytes. Where there are weights
already, they say how large the network really is.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_uda.core.errors import InputError
from napari_uda.methods.registry import build_method
from napari_uda.run.checkpoint import read_shapes
from napari_uda.run.run import remedy

if TYPE_CHECKING:
    from napari_uda.data.facts import DataFacts
    from napari_uda.methods.base import Method
    from napari_uda.run.config import RunConfig

logger = logging.getLogger(__name__)

_ALLOWED_ELEMENTS = 2**24
"""What a network may have beyond four times what its file has: parts that older versions did not store."""


def build_from(config: RunConfig, facts: DataFacts) -> Method[Any]:
    """The method of a run, whose weights are to be filled in."""
    return build_method(
        config.method,
        config.segmentor,
        neighbours=facts.grid.neighbours,
        num_classes=facts.num_classes,
        seed=config.seed,
        pretrained=False,
    )


def check_fits(file: Path, folder: Path, config: RunConfig, facts: DataFacts) -> None:
    """Refuse settings that describe another network than a weights file holds.

    Args:
        file: weights of the run.
        folder: the run.
        config: its settings.
        facts: what it measured on its data.

    Raises:
        InputError: naming the first tensor that has another shape, or if the file is missing or damaged.
    """
    stored = read_shapes(file)
    try:
        with torch.device("meta"):  # shapes without memory
            method = build_from(config, facts)
    except (
        RuntimeError,
        NotImplementedError,
    ) as error:  # of a network that needs its numbers at once
        logger.debug("the sizes of %s are not known beforehand (%s)", config.method.name, error)
        return
    # no buffers: pools and counts take the size that the file gives them
    wanted = {name: tuple(tensor.shape) for name, tensor in method.named_parameters()}
    other = next((n for n, shape in wanted.items() if stored.get(n, shape) != shape), None)
    advice = remedy(folder, "undo the changes in config.yaml, or use the version that trained it")
    if other is not None:
        raise InputError(
            f"{file} does not fit the run's settings ({other} is of shape {stored[other]} there and "
            f"{wanted[other]} by the settings); {advice}"
        )
    here, there = (sum(map(math.prod, shapes.values())) for shapes in (wanted, stored))
    if here > 4 * there + _ALLOWED_ELEMENTS:
        raise InputError(
            f"{file} does not fit the run's settings (it holds {there} numbers and they ask for {here}); "
            f"{advice}"
        )
