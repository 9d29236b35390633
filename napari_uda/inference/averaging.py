"""The mean of several predictions: of several networks (an ensemble), and of several views of a slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.core.suggestions import check_choice

if TYPE_CHECKING:
    from napari_uda.data.facts import DataFacts
    from napari_uda.inference.loaded import LoadedRun

Network = Callable[[Tensor], Tensor]
"""`(B, K, h, w)` in [-1, 1] to logits `(B, C, h, w)`."""
TestTimeAugmentation = Literal["none", "flips", "looks"]
"""Views of a slice that are segmented with it: none; flips, its mirror images along rows, columns and both;
looks, the same slice with brighter and with darker middle greys."""

_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
_LOOKS = (1.0, 0.7, 1 / 0.7)
"""Exponents of grey values that go from 0 to 1."""


def mean_prediction(networks: Sequence[Network], tta: TestTimeAugmentation = "none") -> Network:
    """A network whose probabilities are the mean over networks and views; one by itself stays as it is.

    Args:
        networks: with the same classes, at least one.
        tta: which views of a slice each of them sees.

    Returns:
        A network that gives logarithms of mean probabilities, which are logits of these.

    Raises:
        InputError: for an unknown `tta`.
    """
    check_choice("tta", tta, get_args(TestTimeAugmentation))
    if len(networks) == 1 and tta == "none":
        return networks[0]

    def mean(image: Tensor) -> Tensor:
        views = _views(image, tta)
        found = [
            back(network(view).float().softmax(1)) for view, back in views for network in networks
        ]
        # what no network gives any probability keeps some: its logarithm is a number then
        return torch.stack(found).mean(0).clamp_min(torch.finfo(torch.float32).tiny).log()

    return mean


def _views(
    image: Tensor, tta: TestTimeAugmentation
) -> list[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """Views of slices in [-1, 1], each with what brings probabilities back to the slice's own pixels."""
    if tta == "flips":
        return [(image.flip(sides), partial(torch.flip, dims=sides)) for sides in _FLIPS]
    exponents = _LOOKS if tta == "looks" else (1.0,)
    grey = ((image + 1) / 2).clamp_min(0)  # resampled slices fall short of -1 by a rounding error
    return [
        (image if power == 1 else 2 * grey**power - 1, lambda found: found) for power in exponents
    ]


def check_members(runs: Sequence[LoadedRun]) -> None:
    """Refuse an ensemble of runs with different structures, or that see slices in different ways.

    Raises:
        InputError: two have the same weights; or naming the first run that differs from the first one, and in what.
    """
    first = runs[0].run
    for other in (loaded.run for loaded in runs[1:]):
        own, given = _seen_by(first.facts), _seen_by(other.facts)
        for what in own:
            if own[what] != given[what]:
                raise InputError(
                    f"{shown(other.path)}: has {what} other than {shown(first.path)}, and only predictions of the "
                    "same kind have a mean; give runs that were trained on the same data with the same data settings"
                )
    for one, other_one in combinations(runs, 2):
        if _have_same_weights(one.method, other_one.method):
            raise InputError(
                f"{shown(other_one.run.path)}: has the weights of {shown(one.run.path)}, which would count twice in the "
                "mean; give each run once"
            )


def _have_same_weights(one: nn.Module, other: nn.Module) -> bool:
    own, given = one.state_dict(), other.state_dict()
    return own.keys() == given.keys() and all(torch.equal(own[name], given[name]) for name in own)


def _seen_by(facts: DataFacts) -> dict[str, object]:
    """What all members of an ensemble must have in common, by its name."""
    grid = facts.grid
    return {
        "structures": facts.names(),
        "a slice direction": grid.axis,
        "a pixel size": grid.pixel_mm,
        "a number of neighbouring slices": grid.neighbours,
        "a mapping of grey values": facts.prediction_intensity,
    }
