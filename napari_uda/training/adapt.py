"""Adapt a run to the volumes at hand, without any other data, and segment them before and after.

sfda lowers the entropy of the volume while its class ratios stay near the source run's
(`methods.sfda`). bn_adapt moves the statistics of batch normalisation towards the volume's, without a
gradient. tent also learns the affine parameters of batch normalisation by entropy (Wang et al., ICLR
2021). Every call starts from the run's weights, and the run is never changed.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from napari_uda.core.config import merged
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.precision import choose_device
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import TrainingData
from napari_uda.data.slices import SliceStore, fill_store
from napari_uda.data.volume import Volume, as_volume
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import Prediction, predict
from napari_uda.losses.entropy import minimum_entropy_loss
from napari_uda.methods.registry import method_class
from napari_uda.networks.normalisation import batch_statistics_only
from napari_uda.networks.segmentor import ParameterGroup, Segmentor, SegmentorOutput
from napari_uda.run.recipes import build_config
from napari_uda.run.run import Run, write_text
from napari_uda.training.loop import build_runtime, take_steps

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from torch import Tensor

    from napari_uda.data.facts import DataFacts
    from napari_uda.methods.base import Method
    from napari_uda.run.config import RunConfig

logger = logging.getLogger(__name__)

AdaptName = Literal["sfda", "bn_adapt", "tent"]
Image = Volume | str | os.PathLike[str]

STEPS: dict[AdaptName, int] = {"sfda": 60, "bn_adapt": 0, "tent": 10}
"""Steps unless given: a volume of 15 slices of 96 x 96 pixels stays well under a minute on two cores."""
SLICES_PER_STEP = 16
MAX_VOLUME_CHANGE = 4.0
SMALL_ML = 1.0
"""Added to both volumes before they are compared, so that a few voxels are no change by a large factor."""
SOURCE_SLICES = 16
"""How many slices of the volume weigh as much as the source's statistics (bn_adapt)."""
_SFDA: dict[str, Any] = {
    # hundreds of times the paper's rate: a volume gets tens of steps, not thousands (SF-D14)
    "segmentor_optimizer": {"kind": "adam", "lr": 2e-4, "weight_decay": 0.0},
    # sizes as they are segmented: see `losses.prior.predicted_log_ratio`
    "ratio": "argmax",
}
_TENT_RATE = 1e-3
_CLIP_NORM = 10.0


@dataclass(frozen=True, eq=False)
class Adaptation:
    """One volume before and after adaptation.

    Attributes:
        before: by the run's own weights.
        after: by the adapted weights; the same as `before` when `reverted`.
        entropy_before: mean normalised entropy in [0, 1].
        entropy_after: the same with the adapted weights, also when they were given up.
        volumes_ml: structure name to millilitres before and after, also when they were given up.
        reverted: whether the adapted weights were given up.
        reason: why, in one sentence; "" when they were not.
        method: sfda, bn_adapt or tent.
        steps: gradient steps taken.
        seconds: time of the adaptation, the two predictions not included.
        target_supervision: what the settings told it of the volume's labels, "none" unless asked for.
    """

    before: Prediction
    after: Prediction
    entropy_before: float
    entropy_after: float
    volumes_ml: dict[str, tuple[float, float]]
    reverted: bool
    reason: str
    method: AdaptName
    steps: int
    seconds: float
    target_supervision: str = "none"

    def summary(self) -> str:
        """One line: entropy and volumes before and after, and whether it was given up."""
        parts = [f"entropy {self.entropy_before:.3f} -> {self.entropy_after:.3f}"]
        parts += [f"{n} {was:.1f} -> {now:.1f} mL" for n, (was, now) in self.volumes_ml.items()]
        line = f"{self.before.case}: {', '.join(parts)}"
        return f"{line}; unadapted result kept: {self.reason}" if self.reverted else line

    def save(self, out: str | os.PathLike[str]) -> list[Path]:
        """Write `before/` and `after/` with the files of `Prediction.save`, and `<case>_adaptation.json`.

        The JSON comes last: where it is, the predictions are whole.

        Raises:
            InputError: if the folder cannot be written.
        """
        folder = Path(out)
        files = self.before.save(folder / "before") + self.after.save(folder / "after")
        report = folder / f"{self.before.case}_adaptation.json"
        write_text(report, json.dumps(self._report(), indent=2) + "\n")
        return [*files, report]

    def _report(self) -> dict[str, Any]:
        return {
            "case": self.before.case,
            "run": self.before.run,
            "method": self.method,
            "steps": self.steps,
            "seconds": round(self.seconds, 2),
            "target_supervision": self.target_supervision,
            "entropy": {"before": self.entropy_before, "after": self.entropy_after},
            "volumes_ml": {
                name: {"before": was, "after": now} for name, (was, now) in self.volumes_ml.items()
            },
            "reverted": self.reverted,
            "reason": self.reason,
        }


def adapt(
    run: Run | str | os.PathLike[str],
    image: Image | Sequence[Image],
    *,
    method: AdaptName = "sfda",
    steps: int = 0,
    max_volume_change: float = MAX_VOLUME_CHANGE,
    sizes_ml: Mapping[str, float] | None = None,
    settings: Mapping[str, Any] | None = None,
    together: bool = False,
    reliability: bool = False,
    device: str = "auto",
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> list[Adaptation]:
    """Adapt a run to volumes and segment them with the weights before and after.

    Args:
        run: run folder, or an opened run; it is not changed.
        image: a volume, or a file or DICOM folder to read, or several.
        method: sfda (a prior of the source run and entropy), bn_adapt (statistics only) or tent
            (statistics, and affine parameters by entropy).
        steps: gradient steps; 0 takes the method's own number. bn_adapt takes none.
        max_volume_change: a structure whose volume grows or shrinks by more than this factor makes the
            unadapted result be kept; 0 never does.
        sizes_ml: sfda: expected volume of each structure instead of the source run's sizes.
        settings: sfda: other settings of the method, as in `train`.
        together: adapt once to all volumes instead of to each from the run's weights.
        reliability: also vote (see `predict`).
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
        on_progress: called with parts of the work done and in all.
        stop: when set, `Cancelled` is raised before the next part.

    Returns:
        One result per volume, in their order.

    Raises:
        InputError: for an image or run that cannot be read, a network without batch normalisation
            where the method needs it, or a run without stored sizes for sfda.
        Cancelled: when `stop` was set.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    _check(opened, method, steps, max_volume_change, sizes_ml, settings)
    several = not isinstance(image, (Volume, str, os.PathLike))
    images: Sequence[Any] = image if several else [image]  # type: ignore[assignment]
    if not images:
        raise InputError("no volume given to adapt to; name at least one")
    volumes = [as_volume(one) for one in images]
    given = {"sizes_ml": dict(sizes_ml or {}), "settings": dict(settings or {})}
    groups = [volumes] if together else [[volume] for volume in volumes]
    counts = [sum(_slices(opened.facts, volume) for volume in group) for group in groups]
    wanted = 0 if method == "bn_adapt" else steps or STEPS[method]
    bar = _Bar(2 * sum(counts) + wanted * len(groups), on_progress, stop)
    where = choose_device(device)
    found: list[Adaptation] = []
    for group in groups:
        found += _adapt_group(
            opened,
            group,
            method,
            wanted,
            given,
            where,
            bar,
            max_volume_change=max_volume_change,
            reliability=reliability,
        )
    return found


def _check(
    run: Run,
    method: AdaptName,
    steps: int,
    max_volume_change: float,
    sizes_ml: Mapping[str, float] | None,
    settings: Mapping[str, Any] | None,
) -> None:
    if method not in STEPS:
        raise InputError(f"cannot adapt by {method!r}; choose one of {', '.join(STEPS)}")
    if steps < 0:
        raise InputError(f"steps is {steps}; give 0 (chosen for you) or more")
    if max_volume_change and not max_volume_change > 1:
        raise InputError(
            f"max_volume_change is {max_volume_change:g}; give a factor above 1, or 0 to keep every result"
        )
    if method != "sfda":
        if sizes_ml or settings:
            raise InputError(f"sizes and settings are for sfda, not for {method}; leave them out")
    elif not run.facts.sizes and not sizes_ml and not settings:
        raise InputError(
            f"{run.path} does not hold the sizes of its structures (it was trained by an older "
            "version); give sizes in mL, or adapt by bn_adapt or tent"
        )


class _Bar:
    """Counts parts of the work, and stops between them."""

    def __init__(
        self,
        total: int,
        report: Callable[[int, int], None] | None,
        stop: threading.Event | None,
    ) -> None:
        self.total, self.done, self.stop = total, 0, stop
        self._report = report

    def advance(self, parts: int = 1) -> None:
        """Some more parts are done.

        Raises:
            Cancelled: when the stop event is set.
        """
        self.done += parts
        if self._report is not None:
            self._report(self.done, self.total)
        if self.stop is not None and self.stop.is_set():
            raise Cancelled


def _adapt_group(
    run: Run,
    volumes: list[Volume],
    name: AdaptName,
    steps: int,
    given: dict[str, Any],
    device: torch.device,
    bar: _Bar,
    *,
    max_volume_change: float,
    reliability: bool,
) -> list[Adaptation]:
    """Adapt once to these volumes."""
    loaded = LoadedRun.load(run, str(device))
    method = loaded.method
    before = [_predict(loaded, volume, bar, reliability=reliability) for volume in volumes]
    began = time.perf_counter()
    store = _store(run.facts, volumes)
    failure, told = "", "none"
    try:
        if name == "sfda":
            told = _sfda(run, method, store, steps, given, device, bar)
        else:
            _adapt_normalisation(run, method, store, name, steps, device, bar)
    except FloatingPointError as error:
        failure = f"the loss was not finite ({error})"
    seconds = time.perf_counter() - began
    after = before
    if not failure:
        after = [_predict(loaded, volume, bar, reliability=reliability) for volume in volumes]
    outcomes = [
        _outcome(was, now, name, steps, seconds, max_volume_change, failure=failure)
        for was, now in zip(before, after, strict=True)
    ]
    return [replace(outcome, target_supervision=told) for outcome in outcomes]


def _outcome(
    before: Prediction,
    after: Prediction,
    name: AdaptName,
    steps: int,
    seconds: float,
    max_volume_change: float,
    *,
    failure: str,
) -> Adaptation:
    """Compare, and give the adapted result up where a structure's volume moved too far."""
    was, now = before.volumes_ml(), after.volumes_ml()
    volumes = {structure: (was[structure], now[structure]) for structure in was}
    reason = failure or _too_far(volumes, max_volume_change)
    if reason:
        remedy = "" if failure else "; a max_volume_change of 0 keeps the adapted one"
        logger.warning("%s: the unadapted result is kept: %s%s", before.case, reason, remedy)
    return Adaptation(
        before=before,
        after=before if reason else after,
        entropy_before=float(before.entropy.mean(dtype=np.float64)),
        entropy_after=float(after.entropy.mean(dtype=np.float64)),
        volumes_ml=volumes,
        reverted=bool(reason),
        reason=reason,
        method=name,
        steps=steps,
        seconds=seconds,
    )


def _too_far(volumes_ml: Mapping[str, tuple[float, float]], factor: float) -> str:
    """The structure whose volume moved most, as a sentence, if it moved by more than the factor."""
    moves = {
        name: abs(math.log((now + SMALL_ML) / (was + SMALL_ML)))
        for name, (was, now) in volumes_ml.items()
    }
    worst = max(moves, key=lambda name: moves[name], default="")
    if not factor or not worst or moves[worst] <= math.log(factor):
        return ""
    was, now = volumes_ml[worst]
    return f"{worst} went from {was:.1f} to {now:.1f} mL, more than {factor:g} times"


def _predict(loaded: LoadedRun, volume: Volume, bar: _Bar, *, reliability: bool) -> Prediction:
    """What `predict` gives, its slices counted by the bar."""
    done = 0

    def progress(slices: int, _: int) -> None:
        nonlocal done
        bar.advance(slices - done)
        done = slices

    return predict(loaded, volume, reliability=reliability, on_progress=progress, stop=bar.stop)


def _slices(facts: DataFacts, volume: Volume) -> int:
    return int(volume.canonical().array.shape[facts.grid.axis])


def _store(facts: DataFacts, volumes: list[Volume]) -> SliceStore:
    """The slices as in training: the window of the run's grid, in memory."""
    return fill_store(
        ((volume.name or "volume", volume, None) for volume in volumes),
        [_slices(facts, volume) for volume in volumes],
        facts.grid,
        facts.prediction_intensity,
        with_labels=False,
    )


def _settings(
    run: Run, steps: int, slices: int, method: Mapping[str, Any], device: torch.device
) -> RunConfig:
    """The settings of a training run that would do the same."""
    grid = run.facts.grid
    return build_config(
        "sfda",
        data={"size": grid.size, "neighbours": grid.neighbours},
        steps=max(1, steps),
        batch_size=min(SLICES_PER_STEP, slices),
        seed=run.config.seed,
        device=str(device),
        precision=run.config.precision,
        clip_norm=_CLIP_NORM,
        method=dict(method),
    )


def _sfda(
    run: Run,
    method: Method[Any],
    store: SliceStore,
    steps: int,
    given: Mapping[str, Any],
    device: torch.device,
    bar: _Bar,
) -> str:
    """Train `methods.sfda` on the volume's slices; `method`'s segmentor is what learns.

    Returns:
        What the settings told it of the volume's labels.
    """
    chosen = merged(_SFDA, given["settings"])
    if given["sizes_ml"]:
        chosen |= {"prior_sizes": "millilitres", "given_sizes": given["sizes_ml"]}
    config = _settings(run, steps, len(store), chosen, device)
    whole = _AsItPredicts(method)
    adapter = method_class("sfda")(config.method, whole, run.facts.num_classes).to(device).train()
    data = TrainingData(run.facts, None, store, (), config.seed, config.batch_size, config.augment)
    runtime = build_runtime(config)
    runtime.attach(adapter.optimizers())
    for _ in take_steps(adapter, data, runtime, config.method.lr_power):
        bar.advance()
    method.eval()
    return str(config.method.target_supervision)


class _AsItPredicts(Segmentor):
    """A trained method as a network to adapt: it computes what `predict` does, its segmentor learns.

    So a run that translates slices before it segments them is adapted on what its segmentor sees.
    """

    def __init__(self, method: Method[Any]) -> None:
        inner = method.segmentor
        super().__init__(
            inner.in_channels, method.num_classes, inner.feature_channels, inner.stride
        )
        self.method = method

    def forward(self, image: Tensor) -> SegmentorOutput:
        """Logits of `predict`; no auxiliary head and no features."""
        return SegmentorOutput(self.method.predict(image), None, image[:, :0])

    def parameter_groups(self, lr: float, backbone_multiplier: float = 1.0) -> list[ParameterGroup]:
        """Those of the segmentor inside."""
        return self.method.segmentor.parameter_groups(lr, backbone_multiplier)

    def train(self, mode: bool = True) -> _AsItPredicts:
        """Training mode for the segmentor inside alone."""
        self.training = mode
        self.method.eval()
        self.method.segmentor.train(mode)
        return self


def _adapt_normalisation(
    run: Run,
    method: Method[Any],
    store: SliceStore,
    name: AdaptName,
    steps: int,
    device: torch.device,
    bar: _Bar,
) -> None:
    """bn_adapt and tent."""
    layers = [layer for layer in method.segmentor.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        raise InputError(
            f"{name} changes batch normalisation, and the network of {run.path} has none; adapt by sfda"
        )
    runtime = build_runtime(_settings(run, steps, len(store), {"prior_weight": 0}, device))
    if name == "bn_adapt":
        share = len(store) / (len(store) + SOURCE_SLICES)
        _move_statistics(method, layers, store, runtime, share)
        return
    _tent(method, layers, store, steps, runtime, bar)
    # the paper predicts with the statistics of each batch, which would make the result depend on
    # how slices are batched; those of the whole volume take their place
    _move_statistics(method, layers, store, runtime, 1.0)


def _tent(
    method: Method[Any],
    layers: list[_BatchNorm],
    store: SliceStore,
    steps: int,
    runtime: Runtime,
    bar: _Bar,
) -> None:
    """Entropy by the affine parameters of batch normalisation, on statistics of the batch."""
    affine = [p for layer in layers for p in (layer.weight, layer.bias) if p is not None]
    for parameter in affine:
        parameter.requires_grad_(True)  # DeepLab trains with frozen ones
    runtime.attach({"segmentor": torch.optim.Adam(affine, lr=_TENT_RATE)})
    method.eval()
    method.segmentor.train()
    batches = _batches(store)
    for step in range(steps):
        runtime.step = step
        image = store.image(batches[step % len(batches)]).to(runtime.device)
        with batch_statistics_only(method.segmentor), runtime.autocast():
            logits = method.predict(image)
        runtime.minimise({"entropy": minimum_entropy_loss(logits)}, "segmentor")
        bar.advance()
    method.eval()


@torch.no_grad()
def _move_statistics(
    method: Method[Any],
    layers: list[_BatchNorm],
    store: SliceStore,
    runtime: Runtime,
    share: float,
) -> None:
    """Running statistics become `(1 - share)` their own plus `share` the volume's.

    With n slices of the volume and N that the source counts for, bn_adapt's share is n / (n + N)
    (Schneider et al., NeurIPS 2020, Eq. 2).
    """
    own = [(layer.running_mean, layer.running_var, layer.momentum) for layer in layers]
    for layer in layers:
        layer.running_mean = torch.zeros_like(_tensor(layer.running_mean))
        layer.running_var = torch.ones_like(_tensor(layer.running_var))
        layer.num_batches_tracked = torch.zeros_like(_tensor(layer.num_batches_tracked))
        layer.momentum = None  # the mean over batches
    method.eval()
    method.segmentor.train()
    for batch in _batches(store):
        with runtime.autocast():
            method.predict(store.image(batch).to(runtime.device))
    method.eval()
    for layer, (mean, variance, momentum) in zip(layers, own, strict=True):
        layer.running_mean = torch.lerp(_tensor(mean), _tensor(layer.running_mean), share)
        layer.running_var = torch.lerp(_tensor(variance), _tensor(layer.running_var), share)
        layer.momentum = momentum


def _tensor(value: Tensor | None) -> Tensor:
    assert value is not None  # no network here is built without running statistics
    return value


def _batches(store: SliceStore) -> list[Any]:
    """All slices once, in parts of equal size: each part weighs the same in the statistics."""
    parts = -(-len(store) // SLICES_PER_STEP)
    # neighbouring slices look alike, so a part takes every parts-th one
    return [np.arange(start, len(store), parts) for start in range(parts)]
