"""Tiny volumes, settings and runs for the tests of the engine."""

from __future__ import annotations

import hashlib
import json
import shutil
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

from napari_uda.api import iterate
from napari_uda.data.facts import DataFacts
from napari_uda.data.volume import Volume
from napari_uda.inference.loaded import LoadedRun
from napari_uda.methods.base import Method
from napari_uda.methods.registry import METHODS, build_method
from napari_uda.run import checkpoint
from napari_uda.run.config import RunConfig
from napari_uda.run.recipes import build_config
from napari_uda.run.run import Run

LABELS = {"inner": 1, "outer": 3}  # values with a gap: classes 0, 1, 2
SHAPE = (6, 40, 40)
SPACING_MM = (4.0, 1.5, 1.5)

SMALL: dict[str, Any] = {
    "data": {"size": 32},
    "segmentor": {"width": 4, "depth": 2},
    "batch_size": 2,
    "log_every": 1,
    "better_by": 0,
    "device": "cpu",
}
SMALL_METHOD: dict[str, Any] = {"segmentor_optimizer": {"kind": "adam", "lr": 1e-3}}


SMALL_VALUES: dict[str, Any] = {
    "width": 4,
    "blocks": 1,
    "discriminator_width": 4,
    "score_width": 16,
    "ramp_epoch_steps": 0,
    "critic_width": 16,
    "critic_stages": 2,
    "pool_size": 3,
    "structure_every": 1,
    "prototype_batches": 1,
    "joint": True,  # all stages in every step
    "gate_accuracy": 0,  # and none of them behind a gate
}
"""Names of settings, of whichever method, and values with which a step takes a fraction of a second."""


def blob_case(name: str, seed: int, *, bright: bool) -> tuple[Volume, Volume]:
    """A ball in a shell, its place by seed; the grey values of the two domains are reversed."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE)
    row, column = rng.uniform(15, 24, 2)
    radius = np.hypot(y - row, x - column) + 0.7 * np.abs(z - 2.5)
    labels = np.select([radius < 6, radius < 11], [1, 3], 0).astype(np.uint8)
    level = 300 * (labels == 1) + 120 * (labels == 3)
    grey = (level if bright else 400 - level) + rng.normal(0, 15, SHAPE)
    affine = np.diag([*reversed(SPACING_MM), 1.0])
    affine[:3, 3] = rng.uniform(-20, 20, 3).round(1)
    return Volume(grey.astype(np.int16), affine, name), Volume(labels, affine, name)


def small_settings(kind: type[BaseModel]) -> dict[str, Any]:
    """For every setting in the tree, whatever the method, that makes a step large or rare: a small value."""
    settings: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            inside = small_settings(part)
            settings |= {name: inside} if inside else {}
        elif name in SMALL_VALUES:
            settings[name] = SMALL_VALUES[name]
    return settings


def small_config(method: str, source: Path, target: Path, /, **settings: Any) -> RunConfig:
    """The settings of a run that takes well under a second; nested parts are merged."""
    own = merge(SMALL_METHOD, small_settings(METHODS[method].config_class))
    base = {**SMALL, "method": own}
    base = merge(base, {"data": {"source": str(source), "target": str(target)}})
    merged = merge(base, settings)
    config = build_config(method, **merged)
    needs_start = METHODS[method].needs_start_with(config.method)
    if not needs_start or "init" in merged:
        return config
    return build_config(method, **merged, init=str(_started_run(source, target, merged)))


def _started_run(source: Path, target: Path, settings: dict[str, Any]) -> Path:
    """A source run of one step with the same network and slices, made once beside the data."""
    parts = {name: dict(settings[name]) for name in ("data", "segmentor")}
    parts["data"].pop("corrected", None)
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
    path = source.parent / f"started_{digest}"
    if not path.exists():
        config = small_config("source_only", source, target, steps=1, **parts)
        for _ in iterate(Run.create(path, config)):
            pass
    return path


def merge(base: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Both trees of settings, `layer` over `base`."""
    merged = dict(base)
    for key, value in layer.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both else value
    return merged


def metric_lines(run: Run) -> list[dict[str, Any]]:
    """`metrics.jsonl` without the seconds, which no two runs share."""
    lines = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def events(run: Run) -> list[str]:
    """Kinds of the run's events in their order."""
    return [json.loads(line)["event"] for line in run.events_file.read_text().splitlines()]


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    """The last weights that a run has saved."""
    return checkpoint.load_weights(run.checkpoints / checkpoint.WEIGHTS)


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    """Names of parameters and buffers that are no longer what they were, bit for bit."""
    return {n for n, tensor in module.state_dict().items() if not torch.equal(before[n], tensor)}


def assert_same_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """The same names with the same values, bit for bit."""
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, different


def all_orientations() -> list[tuple[tuple[int, int, int], tuple[bool, bool, bool]]]:
    """The 48 orders and flips of three axes."""
    return [(p, f) for p in permutations(range(3)) for f in product([False, True], repeat=3)]


def reoriented(
    volume: Volume, order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> Volume:
    """The same voxels in space stored in another axis order: every voxel keeps its place in mm.

    Worked out from the definition, voxel index to millimetres, without our `Orientation`.
    """
    array = volume.array.transpose(order)[tuple(slice(None, None, -1 if f else 1) for f in flips)]
    affine = np.eye(4)
    affine[:3, 3] = volume.affine[:3, 3]
    for new_axis, (old_axis, flip) in enumerate(zip(order, flips, strict=True)):
        column = volume.affine[:3, 2 - old_axis]  # array axis a is column 2 - a
        affine[:3, 2 - new_axis] = -column if flip else column
        if flip:
            affine[:3, 3] += column * (volume.array.shape[old_axis] - 1)
    return Volume(np.ascontiguousarray(array), affine, volume.name)


def new_method(config: RunConfig, facts: DataFacts) -> Method[Any]:
    """The method of these settings with its first weights, as training builds it."""
    return build_method(
        config.method,
        config.segmentor,
        neighbours=facts.grid.neighbours,
        num_classes=facts.num_classes,
        seed=config.seed,
    )


def trained_method(run: Run) -> Method[Any]:
    """The method of a trained run, on the CPU and in evaluation mode."""
    return LoadedRun.load(run, "cpu").method


WRITTEN_BY_0_1 = Path(__file__).parent / "run" / "version_0_1"
"""Runs that version 0.1 stopped half way, with their data (`run/test_version_0_1.py`)."""


def stored_run(name: str, folder: Path) -> Run:
    """A copy of a run of version 0.1; its settings name the data by the copy's place."""
    shutil.copytree(WRITTEN_BY_0_1, folder)
    for settings in folder.glob("runs/*/config.yaml"):
        text = settings.read_text(encoding="utf-8").replace("FOLDER", folder.as_posix())
        settings.write_text(text, encoding="utf-8")
    return Run.open(folder / "runs" / name)


def without_checksums(folder: Path) -> None:
    """Make a run one of version 0.1, which wrote no checksums: what a test changes in it is not noticed."""
    file = folder / "environment.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    kept = {name: value for name, value in stored.items() if not name.endswith("_sha256")}
    file.write_text(json.dumps(kept), encoding="utf-8")


def two_placements(folder: Path, out: Path) -> Path:
    """A copy whose qform lies 13 mm from the sform."""
    shutil.copytree(folder, out)
    for file in [*(out / "images").iterdir(), *(out / "labels").iterdir()]:
        image = nib.load(file)
        moved = image.affine.copy()
        moved[:3, 3] += 3, 4, 12
        image = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)
        image.set_sform(image.affine, 2)
        image.set_qform(moved, 1)
        nib.save(image, file)
    return out
