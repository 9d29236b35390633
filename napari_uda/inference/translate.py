"""From a run and a volume to the same volume in the look of the other domain, on its own grid."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.notebook import html_table, shown_progress
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.slices import resample_plane
from napari_uda.data.volume import Volume, as_volume, write_maps
from napari_uda.inference.batches import check_finite, first_batch, smaller_batch
from napari_uda.inference.fit_image import looks_like_the_other
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.tiles import predict_any_size
from napari_uda.methods.registry import translating_methods
from napari_uda.players.slice_translator import Direction, SliceTranslator

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_uda.data.facts import DataFacts
    from napari_uda.data.intensity import Intensity
    from napari_uda.run.run import Run

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Translation:
    """A volume in the look of the other domain, on the grid of its input.

    Attributes:
        direction: target_to_source or source_to_target.
        translated: `(Z, Y, X)` float32, raw intensities of the domain it looks like: the network's
            -1 and 1 become the raw values that map to them in a typical training volume of that
            domain (the run's medians; for CT the fixed window), linearly. Nothing lies outside.
        cycle: `(Z, Y, X)` float32, translated there and back, in raw intensities of the input: -1 and
            1 become the values that map to them in this very volume. What the run's intensity mapping
            clips stays clipped.
        attention: name to `(Z, Y, X)` float32 in [0, 1], the gates' maps of the first translation,
            enlarged bilinearly (`Generator.with_attention`); empty without gates.
        volume: the image that was translated.
        case: its name.
        run: name of the run folder that translated it.
        slice_change: mean absolute change from a slice to the next, of the translated volume and of
            the input, both in the network's units (the range is 2); (0, 0) for a single slice. Slices
            are translated one by one, so a larger first number means flicker.
        model: the run that translated it: name, hash of its weights, date, folder; None where unknown.
    """

    direction: Direction
    translated: NDArray[np.float32]
    cycle: NDArray[np.float32]
    attention: dict[str, NDArray[np.float32]]
    volume: Volume
    case: str
    run: str
    slice_change: tuple[float, float]
    model: ModelOrigin | None = None

    def overview(self) -> dict[str, Any]:
        """What is worth knowing of it in short, as plain values: no array among them."""
        translated, given = self.slice_change
        return {
            "case": self.case,
            "run": self.run,
            "direction": self.direction,
            "shape": list(self.translated.shape),
            "spacing_mm": list(self.volume.spacing_mm),
            "slice_change": {"translated": translated, "input": given},
        }

    def __repr__(self) -> str:
        return f"<Translation of {self.case} by {self.run}: {self.direction}>"

    def __str__(self) -> str:
        return "\n  ".join([self._title(), *self._facts()])

    def _repr_html_(self) -> str:
        return html_table(self._title(), self._facts())

    def _title(self) -> str:
        start, end = self.direction.split("_to_")
        return f"Translation of {self.case} from {start} to {end} by the run {self.run}"

    def _facts(self) -> list[str]:
        translated, given = self.slice_change
        change = (
            f"change from slice to slice {translated:.4f} after translation, {given:.4f} before"
        )
        return [self.volume.size_text, change]

    def save(self, out: str | os.PathLike[str]) -> list[Path]:
        """Write `<case>_translated.nii.gz`, `<case>_cycle.nii.gz` and the attention maps, all or none.

        A map is `<case>_attention_<resolution>.nii.gz`, where the resolution (quarter, half, full) is
        that of its gate; the file lies on the input's grid like the others.

        Raises:
            InputError: if the folder cannot be written; no half file is left.
        """
        # the cycle last: where that file stands, the others do too
        maps = {"translated": self.translated, **self.attention, "cycle": self.cycle}
        return write_maps(out, self.case, self.volume, maps)


def translate(
    run: LoadedRun | Run | str | os.PathLike[str],
    image: Volume | str | os.PathLike[str],
    *,
    direction: Direction = "target_to_source",
    batch_size: int = 0,
    device: str = "auto",
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Translation:
    """Give one volume the look of the other domain.

    Args:
        run: run folder of a method with generators, or an opened run; a `LoadedRun`
            for several volumes in a row, whose weights are then read once.
        image: a volume of the domain that `direction` starts from, or a file or DICOM folder to read.
        direction: target_to_source or source_to_target.
        batch_size: slices per forward pass; 0 chooses by image size. It is halved, and the log says
            so, whenever memory runs out.
        device: cpu, cuda, ...; auto takes the first GPU when there is one; a loaded run stays where it is.
        on_progress: called with slices done and slices in all; a notebook shows a bar where it is left out.
        stop: when set, `Cancelled` is raised before the next batch.

    Returns:
        Translation, cycle reconstruction and attention maps on the image's grid.

    Raises:
        InputError: for a run without generators, an unknown direction, a folder that is no trained
            run, or an image that cannot be read.
        Cancelled: when `stop` was set.
    """
    if batch_size < 0:
        raise InputError(f"batch_size is {batch_size}; give 0 (chosen for you) or more")
    if direction not in get_args(Direction):
        raise InputError(f"direction is {direction!r}; choose target_to_source or source_to_target")
    loaded = LoadedRun.of(run, device)
    opened, method, where = loaded.run, loaded.method, loaded.device
    translator = check_translates(loaded)
    volume = as_volume(image)
    facts = opened.facts
    start: Literal["source", "target"]
    start, end = ("target", "source") if direction == "target_to_source" else ("source", "target")
    if looks_like_the_other(facts, volume, start):
        _logger.warning(
            "%s looks like the images of the %s, and is translated as one of the %s; the direction may be %s_to_%s",
            *(volume.name, end, start, end, start),
        )
    begins, _ = _mapping(facts, start, opened)
    _, typical = _mapping(facts, end, opened)
    canonical = volume.canonical().array
    with (
        torch.no_grad(),
        torch.autocast(where.type, torch.bfloat16, enabled=loaded.bf16),
        shown_progress(f"translate {volume.name}", "slice", on_progress) as report,
    ):
        planes: NDArray[np.float32] = facts.grid.cut(begins.apply(canonical))
        maps = _translate_planes(
            *(translator, direction, planes, facts.grid.plane_shape(volume), facts.grid.size),
            stride=method.segmentor.stride,
            device=where,
            batch_size=batch_size,
            case=volume.name,
            on_progress=report,
            stop=stop,
        )

    def to_file_grid(slices: NDArray[Any]) -> NDArray[np.float32]:
        return np.ascontiguousarray(volume.orientation.invert(facts.grid.stack(slices)))

    translated, cycle = maps.pop("translated"), maps.pop("cycle")
    return Translation(
        direction=direction,
        translated=to_file_grid(_raw(translated, typical)),
        cycle=to_file_grid(_raw(cycle, begins.raw_bounds(canonical))),
        attention={name: to_file_grid(attention) for name, attention in maps.items()},
        volume=volume,
        case=volume.name or "volume",
        run=opened.name,
        slice_change=(_slice_change(translated), _slice_change(planes)),
        model=loaded.origin,
    )


def check_translates(loaded: LoadedRun) -> SliceTranslator:
    """The generators of a run.

    Raises:
        InputError: for a run of a method that has none.
    """
    translator = loaded.method.translator
    if translator is None:
        raise InputError(
            f"{loaded.run.place} was trained with {loaded.run.config.method.name}, which has no generators; "
            f"give a run of {translating_methods()}"
        )
    return translator


def _mapping(facts: DataFacts, domain: str, run: Run) -> tuple[Intensity, tuple[float, float]]:
    """Intensity mapping of a domain, and the raw values of -1 and 1 in a typical volume of it."""
    intensity = getattr(facts, f"{domain}_intensity")
    bounds = getattr(facts, f"{domain}_range")
    if intensity is None or bounds is None:
        raise InputError(
            f"data.json of {run.place} does not say which intensities its {domain} has; retrain the run"
        )
    return intensity, bounds


def _raw(values: NDArray[np.float32], bounds: tuple[float, float]) -> NDArray[np.float32]:
    """[-1, 1] to raw intensities between `bounds`."""
    low, high = bounds
    return (np.float32(low) + (values + 1) * np.float32((high - low) / 2)).astype(np.float32)


def _slice_change(planes: NDArray[np.float32]) -> float:
    """Mean absolute difference of neighbouring slices of `(N, h, w)`."""
    if len(planes) < 2:
        return 0.0
    return float(np.mean([np.abs(b - a).mean() for a, b in pairwise(planes)]))


def _translate_planes(
    translator: SliceTranslator,
    direction: Direction,
    planes: NDArray[np.float32],
    shape: tuple[int, int],
    window: int,
    *,
    stride: int,
    device: torch.device,
    batch_size: int,
    case: str,
    on_progress: Callable[[int, int], None] | None,
    stop: threading.Event | None,
) -> dict[str, NDArray[np.float32]]:
    """`translated`, `cycle` and attention maps of `(N, h, w)` slices, by name, at their own size.

    As in prediction, the whole slice is resampled to the run's pixel size and padded to what the
    segmentor accepts, so that the translation is the one that a prediction is made from.
    """
    maps: dict[str, NDArray[np.float32]] = {}
    count = len(planes)
    pixels = max(shape[0] * shape[1], planes.shape[1] * planes.shape[2])
    size = batch_size or first_batch(device, pixels)
    start = 0
    while start < count:
        if stop is not None and stop.is_set():
            raise Cancelled
        batch = slice(start, min(start + size, count))
        image = torch.from_numpy(np.ascontiguousarray(planes[batch]))[:, None]
        try:
            resampled = resample_plane(image.to(device), shape)
            found = _translate_slices(translator, direction, resampled, window, stride)
            fine = {
                name: resample_plane(values, planes.shape[1:]) for name, values in found.items()
            }
        except (RuntimeError, MemoryError) as error:
            size = smaller_batch(error, len(image), case)
            continue
        for name, values in fine.items():
            check_finite(values, case)
            whole = maps.setdefault(name, np.empty(planes.shape, np.float32))
            whole[batch] = values.cpu().numpy()[:, 0]
        start = batch.stop
        if on_progress is not None:
            on_progress(start, count)
    return maps


def _translate_slices(
    translator: SliceTranslator, direction: Direction, image: Tensor, window: int, stride: int
) -> dict[str, Tensor]:
    """Maps `(B, 1, h, w)` float32 of resampled slices `(B, 1, h, w)`, by name; tiled when very large."""
    backwards: Direction = (
        "source_to_target" if direction == "target_to_source" else "target_to_source"
    )
    names: list[str] = []

    def stacked(tile: Tensor) -> Tensor:
        translated, attention = translator.with_attention(tile, direction)
        found = {
            "translated": translated,
            "cycle": translator.translate(translated, backwards),
            **attention,
        }
        names[:] = found
        return torch.cat(list(found.values()), dim=1)

    # translation and cycle, and with gates the three attention maps, as channels of one "network"
    maps = predict_any_size(stacked, image, 5 if translator.is_gated else 2, window, stride)
    return {name: maps[:, i : i + 1] for i, name in enumerate(names)}
