"""Run folders written by hand, as a trainer leaves them."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from napari_uda.run.folder import RunFolder

CONFIG = """\
method: {name: se_asa, adversary: {loss: bce}, warmup_steps: 0}
data: {source: /data/ct, target: /data/mr, size: 32}
steps: 100
seed: 0
select: last
"""


def write_run(
    path: Path, *kinds: str, lines: int = 0, config: str = CONFIG, **scalars: float
) -> RunFolder:
    """A run with these events and so many lines of a falling loss."""
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path)
    folder.config_file.write_text(config)
    folder.facts_file.write_text(json.dumps({"labels": {"MYO": 1, "LVC": 3}, "grid": {"axis": 0}}))
    folder.events_file.write_text(
        "".join(
            json.dumps({"event": kind, "reason": "InputError: no labels"}) + "\n" for kind in kinds
        )
    )
    if lines:
        append_lines(folder, 1, lines, **scalars)
    return folder


def append_lines(folder: RunFolder, first: int, last: int, **scalars: float) -> None:
    """Lines of steps `first` to `last`, half a second each."""
    with folder.metrics_file.open("a") as file:
        for step in range(first, last + 1):
            line = {"step": step, "seconds": step / 2, "segmentation": 1 / step, **scalars}
            file.write(json.dumps(line) + "\n")


def beat(folder: RunFolder, count: int = 1, **changes: Any) -> None:
    """A beat of this very process, which is alive."""
    content = {
        "count": count,
        "time": time.time(),
        "pid": os.getpid(),
        "host": platform.node(),
        "step": 0,
        "device": "cpu, 2 threads",
        "memory_mib": 512.0,
        "gpu_memory_mib": 0.0,
        "gpu_total_mib": 0.0,
    }
    folder.write_beat(content | changes)


def write_preview(
    folder: RunFolder, step: int, slices: int = 2, fill: int = 1, first: int = 0
) -> None:
    """A preview as the trainer writes it: class `fill` in a corner of each slice, `first` and those after it."""
    shape = (slices, 8, 8)
    grey = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float16).reshape(shape)
    prediction = np.zeros(shape, np.uint8)
    prediction[:, :2, :3] = fill
    folder.previews.mkdir(exist_ok=True)
    folder.slices_file.write_text(json.dumps({"target": {"mr_0": 6}, "source": {"ct_0": 4}}))
    np.savez(
        folder.previews / f"{step:06d}.npz",
        input=grey,
        random_view=-grey,
        fourier_view=grey / 2,
        entropy=np.full(shape, 0.25, np.float16),
        prediction=prediction,
        reliability=np.ones(shape, np.uint8),
        domains=np.array(["target"] * slices),
        cases=np.array(["mr_0"] * slices),
        slices=np.arange(first, first + slices),
        pixel_mm=np.array(2.0),
    )
