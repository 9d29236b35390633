"""A method with its data and runtime, ready to take steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tiny_cases import new_method, small_config
from torch import Tensor

from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import TrainingData
from napari_uda.methods.base import Method
from napari_uda.methods.registry import method_class
from napari_uda.run.config import RunConfig
from napari_uda.training.load import load_training_data
from napari_uda.training.loop import build_runtime

CPU = torch.device("cpu")


@dataclass
class Bench:
    """What the training loop holds between two steps."""

    config: RunConfig
    data: TrainingData
    method: Method[Any]
    runtime: Runtime

    def step(self) -> dict[str, Tensor]:
        """The next step, as the loop takes it."""
        with self.runtime.autocast():
            self.method.before_step(self.data, self.runtime)
            choose = self.method.choose_slices
            batch = self.data.batch(self.runtime.step, self.runtime.device, choose=choose)
            logs = self.method.step(batch, self.runtime)
            if self.runtime.step + 1 == self.runtime.steps:
                self.method.after_last_step(self.data, self.runtime)
        self.runtime.step += 1
        return logs

    def parameters_of(self, player: str) -> set[str]:
        """Names of the parameters that a player's optimiser moves."""
        groups = self.runtime._optimizers[player].param_groups
        ids = {id(p) for group in groups for p in group["params"]}
        return {n for n, p in self.method.named_parameters() if id(p) in ids}


def bench(name: str, domains: tuple[Path, Path], cache: Path, **settings: Any) -> Bench:
    """A freshly built method before its first step."""
    config = small_config(name, *domains, **settings)
    data = load_training_data(config, method_class(name), cache=cache)
    runtime = build_runtime(config)
    method = new_method(config, data.facts).place(runtime.device).train()
    runtime.attach(method.optimizers())
    return Bench(config, data, method, runtime)
