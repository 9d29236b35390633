"""One slice of a volume with the views that `predict` votes on, to be looked at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_uda.core.errors import InputError
from napari_uda.data.slices import resample_plane, with_neighbours
from napari_uda.data.volume import Volume, as_volume
from napari_uda.inference.batches import check_finite
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.tiles import predict_any_size
from napari_uda.uncertainty.reliability import majority

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.run.run import Run

AGREES, DISAGREES = 1, 2
"""Values of the maps of `SliceViews`."""


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

    def __repr__(self) -> str:
        height, width = self.image.shape
        return f"<SliceViews of {height} x {width} pixels: {len(self.random)} random, {len(self.fourier)} Fourier>"

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
    loaded.vote.check_slices(shape, volume.name)
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
        found = loaded.vote.compare(segment, slices, logits, chosen)
        fine = resample_plane(logits.float().softmax(1), own)
        check_finite(fine, volume.name)
        classes = fine.argmax(1)[0]
        views = [_middle(resample_plane(v, own)) for v in (found.random, found.fourier)]
        votes = [_vote_map(a, own) for a in (found.agrees_random, found.agrees_fourier)]
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
