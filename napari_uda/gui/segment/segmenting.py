"""What the Segment dock does in a thread: read a model, segment one layer or several volumes, adapt. Knows no widget."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image

from napari_uda.core.setting_paths import leaves
from napari_uda.core.structure_colours import both_names, full_name
from napari_uda.data.volume_change import how_far, moved_text
from napari_uda.gui.kit.geometry import layer_volume
from napari_uda.gui.kit.jobs import Report, load_torch
from napari_uda.gui.kit.layers import preload

if TYPE_CHECKING:
    from napari_uda.inference.backend import Backend
    from napari_uda.inference.predict import Prediction
    from napari_uda.training.adapt import Adaptation
    from napari_uda.training.adapt_config import AdaptConfig

# beginnings of settings of `adapt`: labels and the auxiliary head are of training, a vote is the run's own
_NOT_FOR_A_VOLUME: tuple[str, ...] = (
    "together",
    "method.aux_weight",
    "method.corrected_weight",
    "method.ce_",
    "method.dice_weight",
    "method.reliability.",
)
_RATE = "method.segmentor_optimizer.lr"


@dataclass(frozen=True)
class Result:
    """A segmented layer.

    Attributes:
        prediction: what is shown; after adaptation, if there was one.
        unreliable: share of the structures' voxels; None when it was not asked for.
        seconds: how long it took.
        adaptation: what adaptation did, if there was one.
        volumes_ml: label value to millilitres, counted in the thread.
        before_ml: the same before an adaptation that was kept; None without one.
    """

    prediction: Prediction
    seconds: float
    unreliable: float | None = None
    adaptation: Adaptation | None = None
    volumes_ml: Mapping[int, float] = field(default_factory=dict)
    before_ml: Mapping[int, float] | None = None

    @property
    def sentence(self) -> str:
        """What was done, in one or two sentences."""
        if self.adaptation is not None:
            return _about(self.adaptation, self.seconds)
        part = self.unreliable or 0
        share = f"; {part:.1%} of the voxels of its structures are unreliable" if part > 0 else ""
        return f"{self.prediction.case}: segmented in {self.seconds:.1f} s{share}."


@dataclass(frozen=True)
class Way:
    """A method that can adapt a model to a volume.

    Attributes:
        summary: what it does.
        config: its settings for a volume.
        basic: those that stand first in a form.
        hidden: those that do nothing for one volume.
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
        structures: what it segments, by full name, a line each.
        ways: the methods that can adapt it to a volume, by name, the usual one first.
    """

    about: str
    structures: str
    ways: Mapping[str, Way]


def read_model(path: Path) -> Model:
    """Describe, and import early what the first run would wait for."""
    preload()
    from napari_uda.experiments.model_summary import describe_model
    from napari_uda.methods.registry import source_free_methods
    from napari_uda.run.run import Run
    from napari_uda.training.adapt_config import DEFAULT_METHOD

    names = sorted(source_free_methods(), key=lambda name: (name != DEFAULT_METHOD, name))
    structures = "\n".join(map(both_names, Run.open(path).facts.labels))
    return Model(describe_model(path), structures, {name: _way(name) for name in names})


def _way(name: str) -> Way:
    from napari_uda.losses.size_prior import has_size_prior
    from napari_uda.methods.registry import METHODS
    from napari_uda.training.adapt_config import build_adapt_config

    kind, config = METHODS[name], build_adapt_config(name)
    config = config.model_copy(update={"steps": config.training_steps})  # as a number to change
    hidden = _NOT_FOR_A_VOLUME
    hidden += kind.unused_settings()
    hidden += () if has_size_prior(config.method) else ("sizes_ml",)
    hidden += tuple(f"method.{key}" for one in kind.variants.values() for key in one)  # other data
    paths = [path for path, _, _ in leaves(config)]
    weights = [path for path in paths if path.endswith("_weight")]
    return Way(
        kind.summary,
        config,
        basic=("steps", "max_volume_change", "sizes_ml", *weights, _RATE, "reliability"),
        hidden=tuple(path for path in paths if path.startswith(hidden)),
    )


def segment(
    model: Path,
    layer: Image,
    report: Report,
    stop: threading.Event,
    *,
    vote: bool,
    backend: Backend = "auto",
) -> Result:
    """Segment, and make the reliability map if there is to be a `vote`."""
    load_torch()
    from napari_uda.inference.predict import predict

    start = time.perf_counter()
    volume = layer_volume(layer)
    prediction = predict(
        model, volume, backend=backend, reliability=vote, on_progress=report, stop=stop
    )
    return Result(
        prediction=prediction,
        seconds=time.perf_counter() - start,
        unreliable=prediction.unreliable_structures if vote else None,
        volumes_ml=volumes_by_value(prediction),
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
        unreliable=adaptation.after.unreliable_structures if config.reliability else None,
        adaptation=adaptation,
        volumes_ml=volumes_by_value(adaptation.after),
        before_ml=None if adaptation.reverted else volumes_by_value(adaptation.before),
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
        return f"{case}: no change: the unadapted result is kept, because {adaptation.reason}."
    said = f"{case}: adapted in {seconds:.1f} s; entropy {was:.3f} → {now:.3f}"
    if adaptation.warning:
        return f"{said}. Some volumes moved far: see below."
    volumes = adaptation.volumes_ml
    name = max(volumes, key=lambda name: how_far(*volumes[name]), default="")
    if not name or not how_far(*volumes[name]):
        return f"{said}; no volume changed."
    return f"{said}; {moved_text(full_name(name), *volumes[name], ' → ')} moved most."
