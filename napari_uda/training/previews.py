"""Previews: what the network makes of a few slices while it trains, on schedule and on request.

A preview is drawn between two steps in evaluation mode with random numbers of its own, so that a run that is
watched ends with the weights of one that is not. Whatever goes wrong with it is logged, and training goes on.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_uda.core.files import atomic_file
from napari_uda.data.classes import likeliest
from napari_uda.losses.entropy import entropy_map
from napari_uda.players.slice_translator import Direction
from napari_uda.run.folder import Domain, PreviewRequest, SlicePlace
from napari_uda.uncertainty.reliability import RELIABLE, UNRELIABLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.core.runtime import Runtime
    from napari_uda.data.batches import TrainingData
    from napari_uda.data.slices import SliceStore
    from napari_uda.methods.base import Method
    from napari_uda.run.run import Run
    from napari_uda.uncertainty.view_vote import ViewVote

logger = logging.getLogger(__name__)

_SHARE_OF_TIME = 0.1  # previews on request may slow a run down by this much


class Previews:
    """Writes `previews/<step>.npz` every `preview_every` steps, and as often as somebody asks."""

    def __init__(
        self, run: Run, method: Method[Any], vote: ViewVote, data: TrainingData, runtime: Runtime
    ) -> None:
        self._run, self._method, self._data, self._runtime = run, method, data, runtime
        self._vote = vote
        self._due = 0.0
        self._answered: PreviewRequest | None = None
        self._works = True

    def after_step(self, step: int, request: PreviewRequest | None) -> None:
        """Write a preview if it is time for one.

        Args:
            step: steps done.
            request: what somebody wants to see, or None.
        """
        every = self._run.config.preview_every
        scheduled = bool(every) and step % every == 0
        asked = request is not None and (request != self._answered or time.monotonic() >= self._due)
        if not self._works or not (scheduled or asked):
            return
        began = time.monotonic()
        try:
            self._write(step, request.slices if request is not None else ())
        except (RuntimeError, ValueError, OSError, MemoryError):  # out of memory, a full disk
            logger.warning(
                "a preview could not be made; there are no more previews until training is resumed",
                exc_info=True,
            )
            self._works = False
        took = time.monotonic() - began
        if request is not None:
            self._due = time.monotonic() + max(request.seconds, took / _SHARE_OF_TIME)
        self._answered = request

    def _write(self, step: int, wanted: tuple[SlicePlace, ...]) -> None:
        stores = _stores(self._data)
        if not self._run.slices_file.exists():
            choice = {domain: _slice_counts(store) for domain, store in stores.items()}
            with atomic_file(self._run.slices_file, follow=False) as file:
                file.write((json.dumps(choice, indent=2) + "\n").encode())
        known = [place for place in wanted if _row(stores, place) is not None]
        arrays = preview_arrays(
            self._method, self._vote, self._data, self._runtime, known or [_middle(stores)]
        )
        self._run.save_preview(step, arrays)


def preview_arrays(
    method: Method[Any],
    vote: ViewVote,
    data: TrainingData,
    runtime: Runtime,
    places: list[SlicePlace],
) -> dict[str, NDArray[np.generic]]:
    """What the network makes of some slices; its mode and statistics are left as they were.

    Args:
        method: the network in training.
        vote: the run's vote on reliability.
        data: where the slices are.
        runtime: device and precision.
        places: N slices that `data` has.

    Returns:
        Arrays `(N, H, W)` by name: `input`, `random_view`, `fourier_view` and, of methods with
        generators, `translation` (float16 in [-1, 1]), `prediction` (uint8, classes of the network),
        `entropy` (float16 in [0, 1]), `reliability` (uint8, 1 reliable, 2 unreliable), and the maps that the
        method has of its own (`Method.preview_maps`; uint8 or float16), and, where grey values are augmented,
        `grey.as trained on`. With them
        `domains`, `cases`, `slices` (N,) of the places, `pixel_mm` () and `pixel_mm2` (N,).
    """
    stores = _stores(data)
    slices = []
    training = method.training
    method.eval()
    try:
        for place in places:  # one by one: a preview must not need more memory than a step
            row = _row(stores, place)
            if row is None:
                raise ValueError(f"{place} is no slice of this run")
            image = stores[place.domain].image(np.array([row])).to(runtime.device)
            with torch.no_grad(), runtime.autocast():
                arrays = _one_slice(method, vote, image, place.domain, row)
            if data.augment.changes_grey_values:
                example = data.example(place.domain, row, runtime.step)
                arrays["grey.as trained on"] = _middle_channel(example)
            slices.append(arrays)
    finally:
        method.train(training)
    stacked: dict[str, NDArray[np.generic]] = {
        name: np.stack([one[name] for one in slices]) for name in slices[0]
    }
    return stacked | {
        "domains": np.array([place.domain for place in places]),
        "cases": np.array([place.case for place in places]),
        "slices": np.array([place.index for place in places]),
        "pixel_mm": np.array(data.facts.grid.pixel_mm),
        "pixel_mm2": np.array([_pixel_mm2(stores[place.domain], place) for place in places]),
    }


def _pixel_mm2(store: SliceStore, place: SlicePlace) -> float:
    return store.pixel_mm2[store.cases.index(place.case)]


def _one_slice(
    method: Method[Any], vote: ViewVote, image: Tensor, domain: Domain, row: int
) -> dict[str, NDArray[np.generic]]:
    """Arrays `(H, W)` of one slice `(1, K, H, W)`; its views are the same in every preview."""
    predict = method.predict_labelled if domain == "source" else method.predict
    logits = predict(image)
    views = vote.compare(predict, image, logits, np.array([row]))
    reliable = views.reliability().reliable[0]
    arrays = {
        "input": _middle_channel(image),
        "prediction": likeliest(logits)[0].to(torch.uint8).cpu().numpy(),
        "entropy": _half(entropy_map(logits)[0]),
        "reliability": np.where(reliable.cpu().numpy(), RELIABLE, UNRELIABLE).astype(np.uint8),
        "random_view": _middle_channel(views.random[:1]),
        "fourier_view": _middle_channel(views.fourier[:1]),
    }
    if method.translator is not None:
        there: Direction = "source_to_target" if domain == "source" else "target_to_source"
        arrays["translation"] = _middle_channel(method.translator.translate(image, there))
    for name, values in method.preview_maps(image, domain, row).items():
        is_labels = name.startswith("labels.")
        arrays[name] = values.to(torch.uint8).cpu().numpy() if is_labels else _half(values)
    return arrays


def _middle_channel(image: Tensor) -> NDArray[np.generic]:
    return _half(image[0, image.shape[1] // 2])


def _half(values: Tensor) -> NDArray[np.generic]:
    return values.float().cpu().numpy().astype(np.float16)


def _stores(data: TrainingData) -> dict[Domain, SliceStore]:
    both: tuple[tuple[Domain, SliceStore | None], ...] = (
        ("target", data.target),
        ("source", data.source),
    )
    return {domain: store for domain, store in both if store is not None}


def _slice_counts(store: SliceStore) -> dict[str, int]:
    counts = np.bincount(store.case_of, minlength=len(store.cases))
    return {case: int(count) for case, count in zip(store.cases, counts, strict=True)}


def _row(stores: dict[Domain, SliceStore], place: SlicePlace) -> int | None:
    """Row of a slice in its store; None when there is no such slice."""
    store = stores.get(place.domain)
    if store is None or place.case not in store.cases:
        return None
    rows = np.flatnonzero(store.case_of == store.cases.index(place.case))
    return int(rows[place.index]) if 0 <= place.index < len(rows) else None


def _middle(stores: dict[Domain, SliceStore]) -> SlicePlace:
    """The middle slice of a case of the target, or of the labelled domain where there is no target."""
    domain, store = next(iter(stores.items()))
    case = int(store.case_of[len(store) // 2])
    count = int(np.count_nonzero(store.case_of == case))
    return SlicePlace(domain, store.cases[case], count // 2)
