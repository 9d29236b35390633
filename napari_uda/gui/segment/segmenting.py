"""What the Segment dock does in a thread: read a model, segment one layer or several volumes, adapt. Knows no widget."""

from __future__ import annotations

import csv
import io
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.files import atomic_file, case_name
from napari_uda.core.setting_paths import leaves
from napari_uda.data.folder import find_volumes
from napari_uda.data.volume import Volume, read_volume
from napari_uda.gui.kit.geometry import layer_volume
from napari_uda.gui.kit.jobs import Report, load_torch
from napari_uda.gui.kit.layers import preload
from napari_uda.gui.kit.models import describe_model
from napari_uda.gui.kit.panel import sentence

if TYPE_CHECKING:
    from napari_uda.inference.predict import Prediction
    from napari_uda.training.adapt import Adaptation
    from napari_uda.training.adapt_config import AdaptConfig

logger = logging.getLogger(__name__)

SUMMARY = "summary.csv"
# beginnings of settings of `adapt`. Labels, the auxiliary head and the method's own vote are of training,
# and the dock has a box for the reliability map
_NOT_FOR_A_VOLUME: tuple[str, ...] = (
    "together",
    "reliability",
    "method.aux_weight",
    "method.ce_",
    "method.dice_weight",
    "method.reliability.",
)
_OF_TRAINING = ("steps", "method.backbone_lr", "method.lr_power", "method.segmentor_optimizer.")

# -- one layer -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """A segmented layer.

    Attributes:
        prediction: what is shown; after adaptation, if there was one.
        unreliable: share of the voxels; None when it was not asked for.
        seconds: how long it took.
        adaptation: what adaptation did, if there was one.
    """

    prediction: Prediction
    seconds: float
    unreliable: float | None = None
    adaptation: Adaptation | None = None

    @property
    def sentence(self) -> str:
        """What was done, in one or two sentences."""
        if self.adaptation is not None:
            return _about(self.adaptation, self.seconds)
        share = f"; {self.unreliable:.1%} of the voxels unreliable" if self.unreliable else ""
        return f"{self.prediction.case}: segmented in {self.seconds:.1f} s{share}."


@dataclass(frozen=True)
class Way:
    """A method that can adapt a model to a volume.

    Attributes:
        summary: what it does.
        config: its settings for a volume.
        basic: those that stand first in a form.
        hidden: those that do nothing for one volume, or that the dock chooses itself.
    """

    summary: str
    config: AdaptConfig
    basic: tuple[str, ...]
    hidden: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """What is known of a model before it is used.

    Attributes:
        about: what it is.
        ways: the methods that can adapt it to a volume, by name, the usual one first.
    """

    about: str
    ways: Mapping[str, Way]


def read_model(path: Path) -> Model:
    """Describe, and import early what the first run would wait for."""
    preload()
    about = describe_model(path)
    from napari_uda.methods.registry import source_free_methods
    from napari_uda.training.adapt_config import DEFAULT_METHOD

    names = sorted(source_free_methods(), key=lambda name: (name != DEFAULT_METHOD, name))
    return Model(about, {name: _way(name) for name in names})


def _way(name: str) -> Way:
    from napari_uda.losses.size_prior import has_size_prior
    from napari_uda.methods.registry import METHODS
    from napari_uda.training.adapt_config import build_adapt_config

    kind, config = METHODS[name], build_adapt_config(name)
    config = config.model_copy(update={"steps": config.training_steps})  # as a number to change
    hidden = _NOT_FOR_A_VOLUME
    hidden += () if kind.learns else _OF_TRAINING
    hidden += () if has_size_prior(config.method) else ("sizes_ml",)
    paths = [path for path, _, _ in leaves(config)]
    weights = [path for path in paths if path.endswith("_weight")]
    return Way(
        kind.summary,
        config,
        basic=("steps", "max_volume_change", "sizes_ml", *weights, "method.segmentor_optimizer.lr"),
        hidden=tuple(path for path in paths if path.startswith(hidden)),
    )


def segment(
    model: Path, layer: Image, report: Report, stop: threading.Event, *, vote: bool
) -> Result:
    """Segment, and make the reliability map if there is to be a `vote`."""
    load_torch()
    from napari_uda.inference.predict import predict

    start = time.perf_counter()
    volume = layer_volume(layer)
    prediction = predict(model, volume, reliability=vote, on_progress=report, stop=stop)
    return Result(
        prediction=prediction,
        seconds=time.perf_counter() - start,
        unreliable=_unreliable(prediction) if vote else None,
    )


def adapt_and_segment(
    model: Path, layer: Image, report: Report, stop: threading.Event, *, config: AdaptConfig
) -> Result:
    """Adapt, and segment before and after."""
    load_torch()
    from napari_uda.training.adapt import adapt

    start = time.perf_counter()
    (adaptation,) = adapt(model, layer_volume(layer), config, on_progress=report, stop=stop)
    return Result(
        prediction=adaptation.after,
        seconds=time.perf_counter() - start,
        unreliable=_unreliable(adaptation.after) if config.reliability else None,
        adaptation=adaptation,
    )


def volumes_by_value(prediction: Prediction) -> dict[int, float]:
    """Label value to millilitres."""
    volumes = prediction.volumes_ml()
    return {value: volumes[name] for value, name in prediction.names.items()}


def _about(adaptation: Adaptation, seconds: float) -> str:
    """What adaptation did, in one or two sentences."""
    was, now = adaptation.entropy_before, adaptation.entropy_after
    case = adaptation.before.case
    if adaptation.reverted:
        return (
            f"{case}: the unadapted result is kept, because {adaptation.reason}. "
            f"Entropy would have gone from {was:.3f} to {now:.3f}."
        )
    return f"{case}: adapted in {seconds:.1f} s; entropy {was:.3f} → {now:.3f}."


# -- several volumes ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """A volume to segment: its case, and how to get it."""

    case: str
    read: Callable[[], Volume]
    image: Path | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """What came out for one volume.

    Attributes:
        case: name of the volume.
        image: its file, if it came from one.
        names: label value to structure name; empty if it failed.
        volumes_ml: structure name to millilitres.
        mean_entropy: over the voxels of all structures; NaN without any.
        unreliable: share of all voxels; NaN when it was not asked for.
        seconds: how long it took.
        problem: one sentence if it failed.
        prediction: kept unless it was written to files.
    """

    case: str
    image: Path | None = None
    names: dict[int, str] = field(default_factory=dict)
    volumes_ml: dict[str, float] = field(default_factory=dict)
    mean_entropy: float = math.nan
    unreliable: float = math.nan
    seconds: float = math.nan
    problem: str = ""
    prediction: Prediction | None = None


def files_of(folder: Path) -> list[Item]:
    """The volumes of a folder, or of its `images`.

    Raises:
        InputError: if there are none, or two would be written to the same files.
    """
    files = find_volumes([folder])
    cases = [case_name(file) for file in files]
    twice = next((case for case in cases if cases.count(case) > 1), None)
    if twice is not None:
        raise InputError(f"{folder.name} holds {twice} twice; keep one of the two files")
    return [
        Item(case, partial(read_volume, file), file)
        for case, file in zip(cases, files, strict=True)
    ]


def segment_several(
    model: Path,
    items: Sequence[Item],
    out: Path | None,
    vote: bool,
    rows: list[Row],
    report: Report,
    stop: threading.Event,
) -> None:
    """Segment volume by volume; one that fails does not keep the others from theirs.

    Args:
        model: run folder.
        items: the volumes.
        out: folder for the maps of every case and `summary.csv`; None keeps the predictions in `rows`.
        vote: whether to make the reliability map.
        rows: gets a row as soon as a volume is done; another thread may read it meanwhile.
        report: progress in volumes.
        stop: when set, the volume at work is given up. The ones before keep their rows and files.

    Raises:
        InputError: if the model cannot be used or `out` cannot be written.
        Cancelled: when `stop` was set.
    """
    load_torch()
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.predict import predict

    run = LoadedRun.load(model)
    structures = list(run.run.facts.names().values())
    try:
        for index, item in enumerate(items):
            report(index, len(items))
            start = time.perf_counter()
            try:
                prediction = predict(run, item.read(), reliability=vote, stop=stop)
                if out is not None:
                    prediction.save(out)
            except Cancelled:
                raise
            except Exception as error:
                if not isinstance(error, InputError):
                    logger.exception("%s failed", item.case)
                rows.append(Row(item.case, item.image, problem=sentence(error)))
                continue
            rows.append(_row(item, prediction, vote, time.perf_counter() - start, out is None))
    finally:
        if out is not None and rows:
            write_summary(out / SUMMARY, rows, structures)
    report(len(items), len(items))


def write_summary(file: Path, rows: Sequence[Row], structures: Sequence[str]) -> None:
    """Write the table as CSV, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    volumes = [f"volume_{name}_ml" for name in structures]
    writer.writerow(["case", *volumes, "mean_entropy", "unreliable", "seconds", "problem"])
    for row in rows:
        numbers = [*(row.volumes_ml.get(name, math.nan) for name in structures)]
        numbers += [row.mean_entropy, row.unreliable, row.seconds]
        cells = ["" if math.isnan(number) else f"{number:.6g}" for number in numbers]
        writer.writerow([row.case, *cells, row.problem])
    with atomic_file(file) as stream:
        stream.write(text.getvalue().encode())


def _row(item: Item, prediction: Prediction, vote: bool, seconds: float, keep: bool) -> Row:
    inside = prediction.labels > 0
    return Row(
        case=item.case,
        image=item.image,
        names=prediction.names,
        volumes_ml=prediction.volumes_ml(),
        mean_entropy=float(prediction.entropy[inside].mean()) if inside.any() else math.nan,
        unreliable=_unreliable(prediction) if vote else math.nan,
        seconds=seconds,
        prediction=prediction if keep else None,
    )


def _unreliable(prediction: Prediction) -> float:
    """Share of the voxels."""
    return float((prediction.reliability == 2).mean())
