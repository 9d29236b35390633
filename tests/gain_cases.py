"""A tiny pair that adaptation has to bridge: phantom subjects, and others whose grey values are reversed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from method_cases import CPU
from tiny_cases import merge, new_method, small_settings

from napari_uda.api import iterate
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.slices import SliceStore
from napari_uda.data.volume import read_volume, write_volume
from napari_uda.methods.base import Method
from napari_uda.methods.registry import METHODS, method_class
from napari_uda.phantom.generate import write_phantom
from napari_uda.phantom.scene import LABELS
from napari_uda.run.config import RunConfig
from napari_uda.run.recipes import build_config
from napari_uda.run.run import Run
from napari_uda.training.load import load_training_data
from napari_uda.training.loop import build_runtime, take_steps
from napari_uda.training.start import take_over

SETTINGS: dict[str, Any] = {
    "data": {"size": 32},
    "segmentor": {"width": 8, "depth": 3},
    "batch_size": 4,
    "steps": 200,
    "device": "cpu",
    "precision": "fp32",
    "augment": {"spatial": {"rotation_deg": 0, "scale": 0, "shear": 0, "shift": 0}},
}
"""No augmentation: with it, a source network alone bridges such a pair."""


@dataclass(frozen=True, eq=False)
class ReversedPair:
    """Folders of both domains, the labelled slices of the target, and a run of source_only."""

    source: Path
    target: Path
    truth: SliceStore
    start: Run

    def config(self, name: str, **settings: Any) -> RunConfig:
        """Settings of a method that the pair is bridged with."""
        data = {"source": str(self.source), "target": str(self.target)}
        return _config(name, data, str(self.start.path), **settings)

    def dice(self, method: Method[Any]) -> float:
        """Mean Dice of the structures over all target slices together, in percent."""
        rows = np.arange(len(self.truth))
        method.eval()
        with torch.no_grad():
            found = method.predict(self.truth.image(rows)).argmax(1)
        label = self.truth.label(rows)
        scores = [
            200
            * int(((found == c) & (label == c)).sum())
            / int((found == c).sum() + (label == c).sum())
            for c in range(1, method.num_classes)
        ]
        return float(np.mean(scores))

    def adapted(self, name: str, cache: Path, **settings: Any) -> Method[Any]:
        """The method after its training on the pair."""
        config = self.config(name, **settings)
        data = load_training_data(config, method_class(name), cache=cache)
        method = new_method(config, data.facts)
        if config.init is not None:
            take_over(method, config.init)
        method.place(CPU).train()
        runtime = build_runtime(config)
        runtime.attach(method.optimizers())
        for _ in take_steps(method, data, runtime, config.method.lr_power):
            pass
        return method


def _config(name: str, data: dict[str, str], start: str, **settings: Any) -> RunConfig:
    """The rates of cpu_small; networks, steps and stages as small as in the tests of every method."""
    own = small_settings(METHODS[name].config_class)
    base = {**SETTINGS, "data": {**SETTINGS["data"], **data}, "method": merge(own, _quick(own))}
    config = build_config(name, recipe="cpu_small", **merge(base, settings))
    if METHODS[name].needs_init:
        return config.model_copy(update={"init": Path(start)})
    return config


def _quick(settings: dict[str, Any]) -> dict[str, Any]:
    """No checks of structures, and networks that are wide enough to learn."""
    chosen = {"structure_every": 0, "width": 8, "discriminator_width": 8, "blocks": 2}
    return {
        name: _quick(value) if isinstance(value, dict) else chosen.get(name, value)
        for name, value in settings.items()
    }


def reversed_pair(folder: Path) -> ReversedPair:
    """Two labelled subjects, and two others with `-x` for every grey value `x`."""
    _, subjects = write_phantom(folder / "phantom", subjects=4, size=64)
    sides = {"source": folder / "source", "target": folder / "target"}
    for number, image in enumerate(sorted((subjects / "images").iterdir())):
        side = "source" if number < 2 else "target"
        volume = read_volume(image)
        if side == "target":
            volume = volume.with_array(-volume.array)
        write_volume(sides[side] / "images" / image.name, volume)
        label = subjects / "labels" / image.name
        write_volume(sides[side] / "labels" / image.name, read_volume(label))
    for side in sides.values():
        write_dataset_json(side, LABELS["cardiac"], "MR")
    data = {name: str(path) for name, path in sides.items()}
    supervised = _config("target_supervised", data, "")
    truth = load_training_data(
        supervised, method_class("target_supervised"), cache=folder / "truth"
    ).source
    assert truth is not None
    start = Run.create(folder / "start", _config("source_only", data, ""))
    for _ in iterate(start):
        pass
    return ReversedPair(sides["source"], sides["target"], truth, start)
