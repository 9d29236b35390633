"""Adapt a run to the volumes at hand, without any other data, and segment them before and after.

Any source-free method can do it: it trains on the slices of the volumes, in memory, by the steps that
`train` takes. What it needs to know is in `AdaptConfig`. Every call starts from the run's weights, and the
run is never changed.
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
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_uda.core.errors import Cancelled, InputError, NotFiniteError
from napari_uda.core.notebook import html_table, shown_progress
from napari_uda.core.precision import choose_precision
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, TrainingData, Unlabelled
from napari_uda.data.slices import SliceStore, fill_store
from napari_uda.data.volume import Volume, as_volume
from napari_uda.data.volume_change import how_far, moved_text
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import Prediction, predict
from napari_uda.losses.size_prior import has_size_prior
from napari_uda.methods.registry import METHODS
from napari_uda.networks.segmentor import ParameterGroup, Segmentor, SegmentorOutput
from napari_uda.run.run import Run, write_text
from napari_uda.training.adapt_config import (
    DEFAULT_METHOD,
    AdaptConfig,
    build_adapt_config,
    methods_without_sizes,
)
from napari_uda.training.loop import take_steps
from napari_uda.training.no_harm import usual_ml, why_no_change

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from torch import Tensor

    from napari_uda.data.batches import ChooseSlices
    from napari_uda.data.facts import DataFacts
    from napari_uda.methods.base import Method

logger = logging.getLogger(__name__)

Image = Volume | str | os.PathLike[str]

SLICES_PER_STEP = 16
_CLIP_NORM = 10.0


@dataclass(frozen=True, eq=False)
class Adaptation:
    """One volume before and after adaptation.

    Attributes:
        before: by the run's own weights.
        after: by the adapted weights; the maps of `before` when `reverted`.
        entropy_before: mean normalised entropy in [0, 1].
        entropy_after: the same with the adapted weights, also when they were given up.
        entropy_inside: both for the voxels that either result gives to a structure; NaN where there are none.
        volumes_ml: structure name to millilitres before and after, also when they were given up.
        reverted: whether the adapted weights were given up, so that adaptation changed nothing.
        reason: why, in one sentence; "" when they were not.
        method: name of the method.
        steps: training steps taken.
        seconds: time of the adaptation, the two predictions not included.
        target_supervision: what the settings told it of the volume's labels, "none" unless asked for.
        warning: which structures moved far though the result was not given up, in one sentence; "" for none.
    """

    before: Prediction
    after: Prediction
    entropy_before: float
    entropy_after: float
    volumes_ml: dict[str, tuple[float, float]]
    reverted: bool
    reason: str
    method: str
    steps: int
    seconds: float
    target_supervision: str = "none"
    warning: str = ""
    entropy_inside: tuple[float, float] = (math.nan, math.nan)

    def __repr__(self) -> str:
        return f"<Adaptation of {self.before.run} to {self.before.case} by {self.method}>"

    def __str__(self) -> str:
        taken = f"{self.method}, {self.steps} steps, {self.seconds:.1f} s"
        return f"Adaptation of the run {self.before.run} ({taken})\n  {self.summary()}"

    def _repr_html_(self) -> str:
        title = f"Adaptation of the run {self.before.run} to {self.before.case} by {self.method}"
        rows = [
            ("entropy", f"{self.entropy_before:.3f}", f"{self.entropy_after:.3f}"),
            ("entropy inside structures", *(f"{value:.3f}" for value in self.entropy_inside)),
            *(
                (f"{name} (mL)", f"{was:.1f}", f"{now:.1f}")
                for name, (was, now) in self.volumes_ml.items()
            ),
        ]
        facts = [f"{self.steps} steps, {self.seconds:.1f} s"]
        facts += [f"no change, the unadapted result is kept: {self.reason}"] * self.reverted
        facts += [self.warning] * bool(self.warning)
        return html_table(title, facts, ("", "before", "after"), rows)

    def summary(self) -> str:
        """One line: entropy and volumes before and after, and whether it was given up."""
        parts = [f"entropy {self.entropy_before:.3f} -> {self.entropy_after:.3f}"]
        parts += [moved_text(name, *pair, " -> ") for name, pair in self.volumes_ml.items()]
        line = f"{self.before.case}: {', '.join(parts)}"
        if self.reverted:
            return f"{line}; no change, the unadapted result is kept: {self.reason}"
        return f"{line}; {self.warning}" if self.warning else line

    def save(self, out: str | os.PathLike[str]) -> list[Path]:
        """Write `before/` and `after/` with the files of `Prediction.save`, and `<case>_adaptation.json`.

        The JSON comes last: where it is, the predictions are whole.

        Raises:
            InputError: if the folder cannot be written.
        """
        folder = Path(out)
        files = self.before.save(folder / "before") + self.after.save(folder / "after")
        report = folder / f"{self.before.case}_adaptation.json"
        write_text(report, json.dumps(self.report(), indent=2) + "\n")
        return [*files, report]

    def report(self) -> dict[str, Any]:
        """What `<case>_adaptation.json` holds."""
        return {
            "case": self.before.case,
            "run": self.before.run,
            "method": self.method,
            "steps": self.steps,
            "seconds": round(self.seconds, 2),
            "target_supervision": self.target_supervision,
            "entropy": {"before": self.entropy_before, "after": self.entropy_after},
            "entropy_inside": None
            if math.isnan(self.entropy_inside[0])
            else dict(zip(("before", "after"), self.entropy_inside, strict=True)),
            "volumes_ml": {
                name: {"before": was, "after": now} for name, (was, now) in self.volumes_ml.items()
            },
            "reverted": self.reverted,
            "reason": self.reason,
            "warning": self.warning,
            "fit": self.after.fit.verdict,
            "fit_reasons": list(self.after.fit.reasons),
            "fit_note": self.after.fit.note,
        }


def adapt(
    run: Run | str | os.PathLike[str],
    image: Image | Sequence[Image],
    config: AdaptConfig | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
    **options: Any,
) -> list[Adaptation]:
    """Adapt a run to volumes and segment them with the weights before and after.

        adapt(run, "mr.nii.gz", method="tent", steps=20)
        adapt(run, "mr.nii.gz", sizes_ml={"liver": 1500}, settings={"presence": "all"})

    Args:
        run: run folder, or an opened run; it is not changed.
        image: a volume, or a file or DICOM folder to read, or several.
        config: how; the defaults when left out.
        on_progress: called with parts of the work done and in all; a notebook shows a bar where it is
            left out.
        stop: when set, `Cancelled` is raised before the next part.
        options: instead of `config`: fields of `AdaptConfig` by name, and `settings` of the method.

    Returns:
        One result per volume, in their order.

    Raises:
        InputError: for an option that does not fit, an image or run that cannot be read, a network without
            batch normalisation where the method needs it, or a run without stored sizes for sfda.
        Cancelled: when `stop` was set.
    """
    if config is not None and options:
        raise InputError(f"{', '.join(options)} and a config are given; put all into the config")
    if config is None:
        config = build_adapt_config(options.pop("method", None) or DEFAULT_METHOD, **options)
    opened = run if isinstance(run, Run) else Run.open(run)
    _check_sizes(opened, config)
    several = isinstance(image, Sequence) and not isinstance(image, str)
    images: Sequence[Any] = image if several else [image]  # type: ignore[assignment]
    if not images:
        raise InputError("no volume given to adapt to; name at least one")
    volumes = [as_volume(one) for one in images]
    groups = [volumes] if config.together else [[volume] for volume in volumes]
    counts = [sum(_slices(opened.facts, volume) for volume in group) for group in groups]
    found: list[Adaptation] = []
    with shown_progress("adapt", "part", on_progress) as report:
        bar = _Bar(2 * sum(counts) + config.training_steps * len(groups), report, stop)
        for group in groups:
            found += _adapt_group(opened, group, config, bar)
    return found


def _check_sizes(run: Run, config: AdaptConfig) -> None:
    method = config.method_with_sizes
    if has_size_prior(method) and method.reads_run_sizes and not run.facts.sizes:
        raise InputError(
            f"{run.place} does not hold the sizes of its structures (it was trained by an older "
            f"version); give sizes in mL, or adapt by {methods_without_sizes()}"
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
    run: Run, volumes: list[Volume], config: AdaptConfig, bar: _Bar
) -> list[Adaptation]:
    """Adapt once to these volumes."""
    loaded = LoadedRun.load(run, config.device)

    def segmented(ready: LoadedRun) -> list[Prediction]:
        return [_predict(ready, one, bar, reliability=config.reliability) for one in volumes]

    # both are computed as `predict` computes: the first is its very result, and no rounding sets them apart
    before = segmented(loaded.for_prediction())
    began = time.perf_counter()
    failure = ""
    try:
        _train(loaded, _store(run.facts, volumes), config, bar)
    except FloatingPointError as error:
        failure = f"the loss was not finite ({error})"
    seconds = time.perf_counter() - began
    after = before
    if not failure:
        try:
            after = segmented(loaded.for_prediction(adapted=True))
        except NotFiniteError:
            failure = "the adapted network's result is not finite"
    return [
        _outcome(
            *(was, now, config, seconds),
            usual=usual_ml(run.facts, _height_mm(run.facts, one)),
            failure=failure,
        )
        for one, was, now in zip(volumes, before, after, strict=True)
    ]


def _height_mm(facts: DataFacts, volume: Volume) -> float:
    """Of all slices together, across them."""
    canonical, axis = volume.canonical(), facts.grid.axis
    return float(canonical.array.shape[axis] * canonical.spacing_mm[axis])


def _outcome(
    before: Prediction,
    after: Prediction,
    config: AdaptConfig,
    seconds: float,
    *,
    usual: Mapping[str, float],
    failure: str,
) -> Adaptation:
    """Compare, and give the adapted result up where a volume moved too far or the network is no surer."""
    was, now = before.volumes_ml(), after.volumes_ml()
    volumes = {structure: (was[structure], now[structure]) for structure in was}
    inside = _entropy_inside(before, after)
    reason = failure
    if not reason and config.max_volume_change:
        reason = why_no_change(
            *(inside, volumes, usual),
            surer_by=config.surer_by,
            max_volume_change=config.max_volume_change,
        )
    if reason:
        remedy = "" if failure else "; a max_volume_change of 0 keeps the adapted one"
        logger.warning(
            "%s: no change, the unadapted result is kept: %s%s", before.case, reason, remedy
        )
    warning = "" if reason else _noted(volumes, config.noted_volume_change)
    return Adaptation(
        before=before,
        after=_fitted(before, no_change_by=config.method.name)
        if reason
        else _fitted(after, adapted_by=config.method.name),
        entropy_before=float(before.entropy.mean(dtype=np.float64)),
        entropy_after=float(after.entropy.mean(dtype=np.float64)),
        volumes_ml=volumes,
        reverted=bool(reason),
        reason=reason,
        method=config.method.name,
        steps=config.training_steps,
        seconds=seconds,
        target_supervision=config.method_with_sizes.target_supervision,
        warning=warning,
        entropy_inside=inside,
    )


def _entropy_inside(before: Prediction, after: Prediction) -> tuple[float, float]:
    """Mean entropy before and after of the voxels that either result gives to a structure.

    The voxels are the same for both, so that a structure does not become surer by losing its border.
    """
    inside = (before.labels > 0) | (after.labels > 0)
    if not inside.any():
        return math.nan, math.nan
    was, now = (float(one.entropy[inside].mean(dtype=np.float64)) for one in (before, after))
    return was, now


def _fitted(prediction: Prediction, **by: str) -> Prediction:
    return replace(prediction, model=replace(prediction.model, **by))


def _noted(volumes_ml: Mapping[str, tuple[float, float]], factor: float) -> str:
    """The structures that moved by more than the factor, the farthest first, and what to do about them."""
    moved = [
        name for name, pair in volumes_ml.items() if factor and how_far(*pair) > math.log(factor)
    ]
    if not moved:
        return ""
    moved.sort(key=lambda name: -how_far(*volumes_ml[name]))
    said = ", ".join(moved_text(name, *volumes_ml[name]) for name in moved)
    return f"adaptation moved {said}: compare it with the result before"


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


def _train(loaded: LoadedRun, store: SliceStore, config: AdaptConfig, bar: _Bar) -> None:
    """Train a source-free method on the slices; the segmentor of the loaded run is what learns."""
    run, settings = loaded.run, config.method_with_sizes
    kind = METHODS[settings.name]
    method = kind(settings, _AsItPredicts(loaded.method), run.facts.num_classes).train()
    # batch normalisation is given batches that each stand for the whole
    drawn = _EvenlySpread if kind.needs_batch_norm else TrainingData
    batch_size = min(SLICES_PER_STEP, len(store))
    data = drawn(run.facts, None, store, seed=run.config.seed, batch_size=batch_size)
    runtime = Runtime(
        loaded.device,
        precision=choose_precision(run.config.precision, loaded.device),
        clip_norm=_CLIP_NORM,
        seed=run.config.seed,
        steps=config.training_steps or 1,
    )
    runtime.attach(method.optimizers())
    for _ in take_steps(method, data, runtime, settings.lr_power):
        if kind.learns:
            bar.advance()
    method.eval()


class _EvenlySpread(TrainingData):
    """Batches that take turns: of three, the first has every third slice, and so on."""

    def batch(
        self,
        step: int,
        device: torch.device,
        stream: str = "",
        choose: ChooseSlices | None = None,
    ) -> Batch:
        """The slices of one step, which share the volume evenly with those of the next."""
        assert self.target is not None
        parts = self.target.parts(self.batch_size)
        part = parts[step % len(parts)]
        image = self.target.image(part).to(device)
        return Batch(target=Unlabelled(image, torch.from_numpy(part).to(device)))


class _AsItPredicts(Segmentor):
    """A trained method as a network to adapt: it computes what `predict` does, its segmentor learns.

    So a run that translates slices before it segments them is adapted on what its segmentor sees, and
    its generators are no part of what is adapted.
    """

    def __init__(self, method: Method[Any]) -> None:
        inner = method.segmentor
        super().__init__(
            inner.in_channels, method.num_classes, inner.feature_channels, inner.stride
        )
        self.segmentor = inner
        self._predict = method.predict

    def forward(self, image: Tensor) -> SegmentorOutput:
        """Logits of `predict`; no auxiliary head and no features."""
        return SegmentorOutput(self._predict(image), None, image[:, :0])

    def parameter_groups(self, lr: float, backbone_multiplier: float = 1.0) -> list[ParameterGroup]:
        """Those of the segmentor inside."""
        return self.segmentor.parameter_groups(lr, backbone_multiplier)
