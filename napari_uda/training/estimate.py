"""How long a training would take: a few of its own steps, on made-up slices of the right size."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from napari_uda.core.errors import Cancelled
from napari_uda.core.files import temporary_folder
from napari_uda.core.precision import choose_device
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import Volume, write_volume
from napari_uda.methods.registry import method_class
from napari_uda.run.run import Run
from napari_uda.training.loop import train_run

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig

_MEASURED_STEPS = 3
_MOST_SECONDS = 10.0
_CASES = 2


@dataclass(frozen=True)
class Estimate:
    """Seconds of a step, and of the run.

    Attributes:
        step_seconds: of one step, once the first one is done.
        steps: of the run.
        device: on which it was measured.
    """

    step_seconds: float
    steps: int
    device: str

    @property
    def seconds(self) -> float:
        """Of all steps; reading data, scoring and checkpoints come on top."""
        return self.step_seconds * self.steps


def estimate(
    config: RunConfig, labels: Mapping[str, int], *, stop: threading.Event | None = None
) -> Estimate:
    """Measure a few steps of a run that is not made.

    The steps are those of the run's method, network, slices and device, on noise. A method that trains in
    stages is measured in its first one.

    Args:
        config: of the run; its data folders are not read.
        labels: structures, by name.
        stop: ends the measurement after the step that is on its way.

    Raises:
        InputError: for settings that cannot be trained.
        Cancelled: if `stop` was set.
    """
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        run = Run.create(folder / "run", _on_noise(config, folder, labels))
        began, first = perf_counter(), 0.0
        progress = train_run(run, stop=stop, findings="log")
        done = 0
        try:
            for step in progress:
                now = perf_counter()
                if stop is not None and stop.is_set():
                    raise Cancelled
                if not done:
                    first, began = now - began, now  # what is loaded and compiled at first
                done = step.step
                # the first one says nothing: reading and loading belong to it
                if done > _MEASURED_STEPS or (done > 1 and now - began > _MOST_SECONDS):
                    break
        finally:
            progress.close()  # type: ignore[attr-defined] # a generator
        seconds = (now - began) / (done - 1) if done > 1 else first
    return Estimate(seconds, config.steps, str(choose_device(config.device)))


def _on_noise(config: RunConfig, folder: Path, labels: Mapping[str, int]) -> RunConfig:
    """The settings with data folders of noise, and nothing between the steps."""
    needs = method_class(config.method.name).needs_with(config.method)
    folders: dict[str, Path | None] = {"source": None, "target": None}
    if "source" in needs:
        folders["source"] = _write_noise(folder / "source", config, labels)
    if needs & {"target", "target_labels"} or config.data.target is not None:
        folders["target"] = _write_noise(folder / "target", config, labels)
    data = {"validation_fraction": 0.0, "patient_pattern": "", "series": "", "labels": dict(labels)}
    between = {"validate_every": 0, "preview_every": 0, "select": "last", "save_every": 10**6}
    return config.model_copy(
        update={"data": config.data.model_copy(update={**folders, **data}), **between}
    )


def _write_noise(folder: Path, config: RunConfig, labels: Mapping[str, int]) -> Path:
    """Cases with enough slices for a batch; every structure is in every slice."""
    random = np.random.default_rng(0)
    slices = max(-(-config.batch_size // _CASES), 4)
    shape = (slices, config.data.size, config.data.size)
    affine = np.diag([-1.0, -1.0, 4.0, 1.0])
    values = np.array([0, *labels.values()], np.uint8)
    for case in (f"noise_{number}" for number in range(_CASES)):
        image = random.normal(0, 100, shape).astype(np.int16)
        label = values[np.arange(shape[1]) * len(values) // shape[1]]
        write_volume(folder / "images" / f"{case}.nii.gz", Volume(image, affine, case))
        write_volume(
            folder / "labels" / f"{case}.nii.gz",
            Volume(np.broadcast_to(label[:, None], shape), affine, case),
        )
    write_dataset_json(folder, labels, "noise")
    return folder
