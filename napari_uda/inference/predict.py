"""From a run and a volume to labels, entropy and reliability on the volume's own grid."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.notebook import html_table, shown_progress
from napari_uda.core.scratch import each_plane, let_go, scratch_array
from napari_uda.core.side_by_side import pieces_at_once, side_by_side
from napari_uda.core.suggestions import check_choice
from napari_uda.core.words import short_list
from napari_uda.data.corrected import corrected_case
from napari_uda.data.entropy_steps import ENTROPY_SLOPE, EntropyType, in_steps
from napari_uda.data.intensity import to_unit_range
from napari_uda.data.plane import count_values
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.slices import resample_plane, with_neighbours
from napari_uda.data.volume import Volume, as_volume
from napari_uda.inference.averaging import (
    Network,
    TestTimeAugmentation,
    check_members,
    mean_prediction,
)
from napari_uda.inference.batches import check_finite, first_batch, smaller_batch
from napari_uda.inference.fit import Fit, judge
from napari_uda.inference.fit_structures import unreliable_share
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.results import ResultFormat, write_prediction
from napari_uda.inference.smoothing import (
    check_smoothing,
    slices_in_reach,
    smoothed_over_slices,
)
from napari_uda.inference.tiles import predict_any_size
from napari_uda.inference.voxels import classes_and_entropy
from napari_uda.run.run import each_run
from napari_uda.uncertainty.reliability import RELIABLE, UNRELIABLE
from napari_uda.uncertainty.view_vote import ViewVote

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_uda.data.facts import DataFacts
    from napari_uda.data.intensity import Intensity
    from napari_uda.inference.backend import Backend
    from napari_uda.methods.base import Method
    from napari_uda.run.run import Run

_PARTS = 8
"""Parts of a volume; after each of them what is mapped leaves memory."""
_ENOUGH = 4
"""Slices at once beyond which a CPU gains nothing: one takes a fifth longer, two a twentieth."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A segmented volume, on the grid of its input.

    Attributes:
        labels: `(Z, Y, X)` uint8, label values of the run's structures, 0 background.
        entropy: `(Z, Y, X)` float32, normalised to [0, 1]; uint8 in steps of 1/255 where `predict` was told so.
        reliability: `(Z, Y, X)` uint8, 1 reliable, 2 unreliable; None where no vote was asked for.
        names: label value to structure name.
        volume: the image that was segmented.
        case: its name.
        model: the run that segmented it: name, hash of its weights, date, folder.
        fit: whether the run fits the image, with a sentence for every reason against it.
        corrected: the corrected case that the image is, from whose labels the run has learnt; "" for none. Such
            a prediction is never scored.
        target_supervision: in words, which labels of the target the run was given; "none" if it was given none.
        ensemble: further runs whose probabilities were averaged with those of `model`.
        tta: views of each slice that they were averaged over.
        smooth_mm: standard deviation in mm of the mean over neighbouring slices; 0 where there was none.
        largest_parts: whether only the largest part of each structure was kept.
    """

    labels: NDArray[np.uint8]
    entropy: NDArray[np.float32] | NDArray[np.uint8]
    reliability: NDArray[np.uint8] | None
    names: dict[int, str]
    volume: Volume
    case: str
    model: ModelOrigin
    fit: Fit = field(default_factory=Fit)
    corrected: str = ""
    target_supervision: str = "none"
    ensemble: tuple[ModelOrigin, ...] = ()
    tta: TestTimeAugmentation = "none"
    smooth_mm: float = 0.0
    largest_parts: bool = False

    @property
    def run(self) -> str:
        """Name of the run folder that segmented it."""
        return self.model.name

    def volumes_ml(self) -> dict[str, float]:
        """Volume of each structure in millilitres, by name."""
        voxel_ml = self.volume.lattice.voxel_ml
        counts = count_values(self.labels, 256)
        return {name: float(counts[value]) * voxel_ml for value, name in self.names.items()}

    @property
    def unreliable_share(self) -> float:
        """Share of all voxels that are unreliable, most of them air; NaN without a vote. See `unreliable_structures`."""
        if self.reliability is None:
            return math.nan
        planes = each_plane(self.reliability)
        return (
            sum(int(np.count_nonzero(plane == UNRELIABLE)) for plane in planes) / self.labels.size
        )

    @property
    def mean_entropy(self) -> float:
        """Mean over all voxels, in [0, 1]."""
        step = ENTROPY_SLOPE if self.entropy.dtype == np.uint8 else 1.0
        total = sum(float(plane.sum(dtype=np.float64)) for plane in each_plane(self.entropy))
        return total * step / self.labels.size

    @property
    def unreliable_structures(self) -> float:
        """Share of the voxels of the structures found that are unreliable; NaN when none was found, or without a vote."""
        if self.reliability is None:
            return math.nan
        return unreliable_share(self.labels, self.reliability)

    def summary(self) -> str:
        """One line: whether the run fits the image and why not, and how much of the structures is unreliable."""
        share = self.unreliable_structures
        said = not share > 0 or any("unreliable" in reason for reason in self.fit.reasons)
        of = "" if said else f"; {share:.1%} of the voxels of structures are unreliable"
        return f"{self.case}: {self.fit}{of}"

    def overview(self) -> dict[str, Any]:
        """What is worth knowing of it in short, as plain values: no array among them."""
        return {
            "case": self.case,
            "run": self.run,
            "shape": list(self.labels.shape),
            "spacing_mm": list(self.volume.spacing_mm),
            "volumes_ml": self.volumes_ml(),
            "mean_entropy": self.mean_entropy,
            "unreliable_share": self.unreliable_share,
            "unreliable_structures": self.unreliable_structures,
            "fit": self.fit.verdict,
            "fit_reasons": list(self.fit.reasons),
            "fit_note": self.fit.note,
        }

    def __repr__(self) -> str:
        return f"<Prediction of {self.case} by {self.run}: {len(self.names)} structures>"

    def __str__(self) -> str:
        found = [f"{name} {volume:.1f} mL" for name, volume in self.volumes_ml().items()]
        return "\n".join(
            [self._title(), *(f"  {fact}" for fact in self._facts()), f"  {short_list(found)}"]
        )

    def _repr_html_(self) -> str:
        rows = [(name, f"{volume:.1f}") for name, volume in self.volumes_ml().items()]
        return html_table(self._title(), self._facts(), ("structure", "volume (mL)"), rows)

    def _title(self) -> str:
        return f"Prediction of {self.case} by the run {self.run}"

    def _facts(self) -> list[str]:
        entropy = f"mean entropy {self.mean_entropy:.3f} (0 to 1)"
        share = self.unreliable_structures
        unreliable = f", {share:.1%} of the voxels of structures unreliable" if share > 0 else ""
        return [self.volume.size_text, entropy + unreliable, str(self.fit)]

    def save(
        self,
        out: str | os.PathLike[str],
        *,
        format: ResultFormat = "nifti",
        entropy: bool = True,
        entropy_dtype: EntropyType = "uint8",
    ) -> list[Path]:
        """Write the labels, the maps and what they were made from and by, all of it or nothing.

        The files are `<case>_labels.nii.gz`, `<case>_entropy.nii.gz`, `<case>_reliability.nii.gz` where there was
        a vote, and `<case>.json`, which names structures, model and image. In another format the labels are
        `<case>_labels.seg.nrrd`, `<case>_labels.dcm` or `<case>_rtstruct.dcm`, and these say it themselves.

        Args:
            out: the folder; it is created when missing.
            format: of the labels: nifti, seg-nrrd (3D Slicer), dicom-seg or rtstruct. The last two refer to the
                DICOM series that the image was read from.
            entropy: whether to write the entropy map.
            entropy_dtype: uint8 in steps of 1/255, which every reader scales back to [0, 1]; or float32.

        Returns:
            The files.

        Raises:
            InputError: if the folder cannot be written, or the image was not read from DICOM and the format
                needs that; no half file is left.
        """
        return write_prediction(
            self, Path(out), format=format, entropy=entropy, entropy_dtype=entropy_dtype
        )


@dataclass(frozen=True, eq=False)
class _Maps:
    labels: NDArray[np.uint8]
    entropy: NDArray[Any]
    reliability: NDArray[np.uint8] | None


def predict(
    run: LoadedRun | Run | str | os.PathLike[str],
    image: Volume | str | os.PathLike[str],
    *,
    batch_size: int = 0,
    device: str = "auto",
    backend: Backend = "auto",
    reliability: bool = True,
    ensemble: Sequence[LoadedRun | Run | str | os.PathLike[str]] = (),
    tta: TestTimeAugmentation = "none",
    smooth_mm: float = 0.0,
    largest_parts: bool = False,
    entropy_dtype: EntropyType = "float32",
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Prediction:
    """Segment one volume.

    Args:
        run: run folder, or an opened run; a `LoadedRun` for several volumes in a row, whose weights
            are then read once.
        image: a volume, or a file or DICOM folder to read.
        batch_size: slices per forward pass; 0 chooses by image size. It is halved, and the log says
            so, whenever memory runs out.
        device: cpu, cuda, ...; auto takes the first GPU when there is one; a loaded run stays where it is.
        backend: torch, openvino, or auto, which takes OpenVINO where it is installed and a CPU computes; a loaded
            run stays with its own (`LoadedRun.for_prediction`).
        reliability: whether to vote (7 forward passes per slice instead of 1); without it nothing is said of
            reliability.
        ensemble: further runs, of the same structures, grid and grey values; probabilities are the mean over
            all of them. The vote, and whether the image fits, are those of `run`.
        tta: views of each slice that the mean is over, too (test-time augmentation); see
            `TestTimeAugmentation`.
        smooth_mm: standard deviation, in millimetres, of a Gaussian by which probabilities are averaged over
            neighbouring slices, from 0 (off) to 20; slices that lie far apart stay as they are.
        largest_parts: keep of each structure only the largest part that hangs together; the rest becomes
            background.
        entropy_dtype: how entropy is held: float32, or uint8 in steps of 1/255 as files have it, in a quarter of the
            memory.
        on_progress: called with slices done and slices in all; a notebook shows a bar where it is left out.
        stop: when set, `Cancelled` is raised before the next batch.

    Returns:
        Labels, entropy and reliability on the image's grid.

    Raises:
        InputError: for a folder that is no trained run, runs that cannot be an ensemble, an image that cannot be
            read, or a backend that is not installed or cannot compute there.
        Cancelled: when `stop` was set.
    """
    if batch_size < 0:
        raise InputError(f"batch_size is {batch_size}; give 0 (chosen for you) or more")
    check_smoothing(smooth_mm)
    check_choice("entropy_dtype", entropy_dtype, get_args(EntropyType))
    volume = as_volume(image)
    members = [_ready(one, device, backend) for one in (run, *each_run(ensemble))]
    check_members(members)
    loaded = members[0]
    facts = loaded.run.facts
    with shown_progress(f"predict {volume.name}", "slice", on_progress) as report:
        maps = segment_volume(
            loaded.method,
            facts,
            volume,
            facts.prediction_intensity,
            loaded.device,
            batch_size=batch_size,
            bf16=loaded.bf16,
            vote=loaded.vote if reliability else None,
            network=mean_prediction([member.predict for member in members], tta),
            at_once=_at_once(members),
            smooth_mm=smooth_mm,
            entropy_dtype=entropy_dtype,
            on_progress=report,
            stop=stop,
        )
    if largest_parts:
        from napari_uda.data.label_edits import keep_largest_parts

        keep_largest_parts(maps.labels)
    return Prediction(
        labels=maps.labels,
        entropy=maps.entropy,
        reliability=maps.reliability,
        names=facts.names(),
        volume=volume,
        case=volume.name or "volume",
        model=loaded.origin,
        fit=judge(facts, volume, maps.labels, maps.reliability),
        corrected=corrected_case(facts.corrected_cases, volume.name, volume),
        target_supervision=facts.target_supervision,
        ensemble=tuple(member.origin for member in members[1:]),
        tta=tta,
        smooth_mm=smooth_mm,
        largest_parts=largest_parts,
    )


def _ready(
    run: LoadedRun | Run | str | os.PathLike[str], device: str, backend: Backend
) -> LoadedRun:
    """A run to predict with; a loaded one as it is."""
    return (
        run if isinstance(run, LoadedRun) else LoadedRun.load(run, device).for_prediction(backend)
    )


def _at_once(members: Sequence[LoadedRun]) -> int:
    """Batches that may be worked on at a time: on a CPU, where no slice depends on those before it."""
    alone = all(one.method.segments_each_alone and one.device.type == "cpu" for one in members)
    return pieces_at_once() if alone else 1


def _batch_for(
    method: Method[Any], device: torch.device, shape: tuple[int, int], given: tuple[int, ...]
) -> int:
    """Slices of `shape` that go through the network at once; their maps are of the shape given."""
    if device.type == "cpu" and method.segments_each_alone:  # their maps are made one by one
        return min(_ENOUGH, first_batch(device, math.prod(shape)))
    return first_batch(device, max(math.prod(shape), math.prod(given)))


def segment_volume(
    method: Method[Any],
    facts: DataFacts,
    volume: Volume,
    intensity: Intensity,
    device: torch.device,
    *,
    batch_size: int = 0,
    bf16: bool = False,
    vote: ViewVote | None = None,
    network: Network | None = None,
    labelled_domain: bool = False,
    at_once: int = 1,
    smooth_mm: float = 0.0,
    entropy_dtype: EntropyType = "float32",
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> _Maps:
    """Segment a volume with a method that is already in memory; see `predict`.

    The whole slice is segmented, not only the training window: it is resampled to the run's pixel
    size, padded to what the network accepts, and probabilities are resampled back. A volume of the
    labelled domain is segmented by `Method.predict_labelled`, and any by `network` where one is given, which is
    made of the method itself, in an ensemble or in several views; the vote is for target volumes.
    `at_once` batches are worked on at a time, each in a thread of its own. With `smooth_mm` a batch is segmented
    with the neighbours that have a say in it.
    """
    grid, given = facts.grid, volume.array.shape
    maps = _Maps(
        scratch_array(given, np.uint8),
        scratch_array(given, np.dtype(entropy_dtype)),
        None if vote is None else scratch_array(given, np.uint8),
    )

    def slices_of(array: NDArray[Any]) -> NDArray[Any]:
        """The `(N, h, w)` slices of an array on the file's grid, a view: what is put there needs no turning."""
        return grid.cut(volume.orientation.apply(array))

    # raw grey values at the volume's own pixels; `shape` is the size of a slice at the run's pixels
    planes = slices_of(volume.array)
    labels, entropy = slices_of(maps.labels), slices_of(maps.entropy)
    reliable = None if maps.reliability is None else slices_of(maps.reliability)
    bounds = intensity.raw_bounds(volume.canonical().array)
    mapped = [volume.array, maps.labels, maps.entropy]
    mapped += [] if maps.reliability is None else [maps.reliability]
    shape = grid.plane_shape(volume)
    if vote is not None:
        vote.check_slices(shape, volume.name)
    count = len(planes)
    slice_mm = volume.canonical().lattice.gaps_mm[grid.axis]
    reach = slices_in_reach(smooth_mm, slice_mm)
    part = -(-count // _PARTS)
    size = batch_size or _batch_for(method, device, shape, planes.shape[1:])
    value_of_class = facts.value_of_class()
    same = np.array_equal(value_of_class, np.arange(value_of_class.size))
    if network is None:
        network = method.predict_labelled if labelled_domain else method.predict
    training = method.training

    def segment_some(batch: NDArray[np.int64]) -> None:
        # (B, K, h, w) in [-1, 1], these slices alone: a volume of floats is twice as large as most images
        here = slice(int(batch[0]), int(batch[-1]) + 1)
        asked = np.arange(max(0, here.start - reach), min(count, here.stop + reach))
        own = slice(here.start - int(asked[0]), here.stop - int(asked[0]))  # the batch among them
        first = max(0, int(asked[0]) - grid.neighbours // 2)
        near = to_unit_range(planes[first : int(asked[-1]) + 1 + grid.neighbours // 2], bounds)
        image = with_neighbours(near, asked - first, grid.neighbours)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            image = resample_plane(image.to(device), shape)
            logits, agreed = _segment_slices(method, network, image, asked, grid.size, vote)
        # probabilities, not logits: they stay probabilities between the pixels (B, C, h, w)
        probabilities = logits.float().contiguous().softmax(1)
        check_finite(probabilities, volume.name)
        if reach:
            probabilities = smoothed_over_slices(probabilities, asked, here, slice_mm / smooth_mm)
        found = classes_and_entropy(probabilities, planes.shape[1:])
        for index, (classes, shares) in enumerate(found, here.start):
            labels[index] = classes if same else value_of_class.take(classes)
            entropy[index] = shares if entropy_dtype == "float32" else in_steps(shares)
        if agreed is not None and reliable is not None:
            # a vote of views is yes or no, so it is not interpolated
            nearest = F.interpolate(
                agreed[own, None].float(), planes.shape[1:], mode="nearest-exact"
            )
            reliable[here] = np.where(nearest[:, 0].cpu().numpy() > 0, RELIABLE, UNRELIABLE)

    def segment_batch(batch: NDArray[np.int64]) -> int:
        """Segment the slices, fewer at once when memory runs out; returns the last one's successor."""
        nonlocal size
        while len(batch):
            if stop is not None and stop.is_set():
                raise Cancelled
            some = batch[:size]
            try:
                segment_some(some)
            except (RuntimeError, MemoryError) as error:
                size = smaller_batch(error, len(some), volume.name)
            else:
                batch, done = batch[len(some) :], int(some[-1]) + 1
        return done

    method.eval()
    try:
        batches = [np.arange(first, min(first + size, count)) for first in range(0, count, size)]
        for done in side_by_side(segment_batch, batches, at_once):
            if done % part < size:
                for array in mapped:
                    let_go(array)
            if on_progress is not None:
                on_progress(done, count)
    finally:
        method.train(training)

    return maps


def _segment_slices(
    method: Method[Any],
    network: Network,
    image: Tensor,
    indices: NDArray[np.int64],
    window: int,
    vote: ViewVote | None,
) -> tuple[Tensor, Tensor | None]:
    """Logits `(B, C, h, w)` and reliable pixels `(B, h, w)` bool of resampled slices."""

    def segment(slices: Tensor) -> Tensor:
        stride = method.segmentor.stride
        return predict_any_size(network, slices, method.num_classes, window, stride)

    logits = segment(image)
    if vote is None:
        return logits, None
    found = vote.compare(segment, image, logits, indices)
    return logits, found.reliability().reliable
