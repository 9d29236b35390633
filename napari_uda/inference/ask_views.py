"""Views of slices and what the network says to them: all that a vote on reliability is made of."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_uda.core.errors import InputError
from napari_uda.core.seeds import generator
from napari_uda.data.slices import resample_plane, with_neighbours
from napari_uda.data.volume import Volume, as_volume
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.tiles import predict_any_size
from napari_uda.uncertainty.reliability import fourier_views, majority, random_views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.methods.base import Method
    from napari_uda.run.run import Run

AGREES, DISAGREES = 1, 2
"""Values of the maps of `SliceViews`."""


@dataclass(frozen=True, eq=False)
class Ballot:
    """Views of some slices, and whether they are segmented as the slices themselves.

    Attributes:
        random: `(N * B, K, h, w)` random transforms, view-major, float in [-1, 1].
        fourier: the same with source amplitudes.
        agrees_random: `(N, B, h, w)` bool, view by view: same class as the slice itself?
        agrees_fourier: the same for the Fourier views.
    """

    random: Tensor
    fourier: Tensor
    agrees_random: Tensor
    agrees_fourier: Tensor


def ask_views(
    method: Method[Any],
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    indices: NDArray[np.int64],
) -> Ballot:
    """Make the views of slices and segment them.

    The vote is training's, with amplitudes of un-augmented source slices from the run's bank. Fourier
    bins count from the slice's own size: where it is not the training window's, the mixed window
    covers slightly other wavelengths.

    Args:
        method: gives the bank and the strengths.
        predict: `(B, K, h, w)` of any size to logits of the same size.
        image: `(B, K, h, w)` in [-1, 1].
        label: `(B, h, w)`, classes of the slices themselves.
        indices: `(B,)`, place of each slice in its volume; its random numbers depend on that alone,
            so that the vote does not depend on how slices are batched.
    """
    settings = method.config.reliability
    generators = [generator(0, "views", int(index)) for index in indices]
    fourier = fourier_views(image, method.amplitude_bank, settings, generators)
    random = random_views(image, settings, generators)
    agrees_random, agrees_fourier = (
        torch.stack([predict(view).argmax(1) == label for view in views.chunk(settings.views)])
        for views in (random, fourier)
    )
    return Ballot(random, fourier, agrees_random, agrees_fourier)


def check_vote_fits(method: Method[Any], shape: tuple[int, int], case: str) -> None:
    """Refuse slices with fewer pixels than the Fourier window of the views.

    Raises:
        InputError: naming both sizes.
    """
    bins = 2 * method.config.reliability.fourier_half_width + 1
    if min(shape) < bins:
        raise InputError(
            f"{case or 'volume'}: its slices have {shape[0]} x {shape[1]} pixels where the vote on "
            f"reliability needs {bins} x {bins}; give a larger volume or leave the vote out"
        )


@dataclass(frozen=True, eq=False)
class SliceViews:
    """One slice of a volume with its views and their vote, all on the slice's own pixels.

    Attributes:
        image: `(h, w)` float32, as the network sees it, in [-1, 1].
        random: `(N, h, w)` float32, the random transforms.
        fourier: `(N, h, w)` float32, the Fourier views.
        labels: `(h, w)` uint8, label values.
        random_vote: `(h, w)` uint8, 1 where most random transforms agree with `labels`, 2 where most
            disagree, 0 for a tie.
        fourier_vote: the same for the Fourier views.
    """

    image: NDArray[np.float32]
    random: NDArray[np.float32]
    fourier: NDArray[np.float32]
    labels: NDArray[np.uint8]
    random_vote: NDArray[np.uint8]
    fourier_vote: NDArray[np.uint8]

    @property
    def reliable(self) -> NDArray[np.bool_]:
        """`(h, w)`, where most of both sets agree: the intersection."""
        both: NDArray[np.bool_] = (self.random_vote == AGREES) & (self.fourier_vote == AGREES)
        return both

    @property
    def unreliable(self) -> NDArray[np.bool_]:
        """`(h, w)`, where most of either set disagree: the union."""
        either: NDArray[np.bool_] = (self.random_vote == DISAGREES) | (
            self.fourier_vote == DISAGREES
        )
        return either


def slice_views(
    run: LoadedRun | Run | str | os.PathLike[str],
    image: Volume | str | os.PathLike[str],
    index: int,
    *,
    device: str = "auto",
) -> SliceViews:
    """What `predict` votes on in one slice of a volume, to be looked at.

    Args:
        run: run folder, opened or loaded run.
        image: a volume, or a file or DICOM folder to read.
        index: slice across the run's axis, in the canonical (S, A, R) order.
        device: cpu, cuda, ...; a loaded run stays where it is.

    Raises:
        InputError: for a folder that is no trained run, an image that cannot be read or is too small,
            or a slice that it does not have.
    """
    loaded = LoadedRun.of(run, device)
    method, facts = loaded.method, loaded.run.facts
    volume = as_volume(image)
    shape = facts.grid.plane_shape(volume)
    check_vote_fits(method, shape, volume.name)
    planes: NDArray[np.float32] = facts.grid.cut(
        facts.prediction_intensity.apply(volume.canonical().array)
    )
    if not 0 <= index < len(planes):
        raise InputError(
            f"{volume.name or 'volume'}: has no slice {index}; choose 0 to {len(planes) - 1}"
        )
    chosen = np.array([index])
    own = planes.shape[1:]

    def segment(slices: Tensor) -> Tensor:
        size, stride = facts.grid.size, method.segmentor.stride
        return predict_any_size(method.predict, slices, method.num_classes, size, stride)

    with (
        torch.no_grad(),
        torch.autocast(loaded.device.type, torch.bfloat16, enabled=loaded.bf16),
    ):
        slices = with_neighbours(planes, chosen, facts.grid.neighbours).to(loaded.device)
        slices = resample_plane(slices, shape)
        logits = segment(slices)
        ballot = ask_views(method, segment, slices, logits.argmax(1), chosen)
        classes = resample_plane(logits.float().softmax(1), own).argmax(1)[0]
        views = [_middle(resample_plane(v, own)) for v in (ballot.random, ballot.fourier)]
        votes = [_vote_map(a, own) for a in (ballot.agrees_random, ballot.agrees_fourier)]
    labels = facts.value_of_class()[classes.cpu().numpy()]
    return SliceViews(planes[index], views[0], views[1], labels, votes[0], votes[1])


def _middle(views: Tensor) -> NDArray[np.float32]:
    """The segmented slice of every view, `(N, K, h, w)` to `(N, h, w)`."""
    middle: NDArray[np.float32] = views[:, views.shape[1] // 2].float().cpu().numpy()
    return middle


def _vote_map(agrees: Tensor, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """`(N, 1, h, w)` bool to what most of them say, `shape` uint8."""
    agree, disagree = majority(agrees)
    said = AGREES * agree + DISAGREES * disagree
    nearest = F.interpolate(said[:, None].float(), shape, mode="nearest-exact")
    values: NDArray[np.uint8] = nearest[0, 0].to(torch.uint8).cpu().numpy()
    return values
