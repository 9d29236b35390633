"""What a graphics card gives: the same numbers as the CPU, and how fast. Writes one JSON and prints tables.

    python benchmarks/gpu.py [--device cuda] [--out gpu.json] [--minutes 5.5]
    python benchmarks/gpu.py --device cpu --tiny

Nothing is downloaded; the data are phantoms. With `--tiny` all networks and slices are small, to see on a CPU that
everything here works. The sections:

- parity: one step of every method on the CPU and on the device, from the same weights on the same batch. The
  optimisers are plain SGD, since Adam turns the rounding of a gradient near zero into a step. `losses` is the largest
  relative difference of what the step logs, `weights` that of its changes of the weights (of running statistics for
  a method that changes only these). A card rounds the products of its fp32 convolutions to 10 bits unless it is told
  otherwise: `fp32` is without that, `tf32` with it, as training and prediction do. On the CPU both sides are the same.
- se_asa: a step of the paper's settings as it is here, and written naively as in the released code
  (`training_step.py`): one forward per view, views made one by one on the CPU with numpy.
- predict: slices per second of `predict` beside the network alone on slices that are on the device already; with
  the vote the network sees each slice and its views.
- resume: whether a run that was stopped and resumed ends with the weights of one that was not, bit for bit. With
  `deterministic` off a card may add up gradients in another order each time.
- memory: what is said and done with room for fewer and fewer slices than there are at once. On a card the room is
  limited for this process; on the CPU the networks claim that memory has run out.
- presets: time and most memory of a step of the papers' settings, by `training.estimate`. A method that trains in
  stages is in its first one. What no time is left for is named.

The exit status is 1 where a difference is larger than `LIMITS`, a deterministic run is not resumed exactly or a
shortage of memory ends in anything but the same labels, a finished run or one sentence.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import math
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from method_cases import Bench, bench
from tiny_cases import SMALL, merge, small_config, small_settings, snapshot
from training_step import NaiveSEASA, measure, prepare, slices, take_step

from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.data.volume import Volume, read_volume
from napari_uda.inference.batches import first_batch
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.methods.registry import METHODS, method_class
from napari_uda.methods.se_asa import SEASA
from napari_uda.networks.segmentor import Segmentor
from napari_uda.phantom.generate import write_phantom
from napari_uda.phantom.scene import LABELS
from napari_uda.run import checkpoint
from napari_uda.run.config import RunConfig
from napari_uda.run.recipes import build_config, recipe_table
from napari_uda.run.run import Run
from napari_uda.training.estimate import estimate

Row = dict[str, Any]
MIB = 2**20
LIMITS = {"fp32": 1e-2, "tf32": 0.3, "bf16": 1.0}
"""Largest relative differences that are no fault, by how convolutions are rounded.

On one CPU the gradient of a first step in bf16 lies 0.3 to 0.9 from that in fp32, since the networks are new; a share
of few pixels jumps. Products in tf32 have 3 bits more than in bf16, and in fp32 16 more.
"""
NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"name": "unet", "width": 16, "depth": 4},
    "deeplabv2_resnet101": {"name": "deeplabv2_resnet101"},
}
SMALL_NETWORK: dict[str, Any] = {"name": "unet", **SMALL["segmentor"]}
STRUCTURES = LABELS["cardiac"]
"""Those of the phantom."""
RESUMED = ("se_asa", "attent")
ROOM = (8.0, 4.0, 1.0, 0.5)
"""For how many slices there is memory, one after the other."""


@dataclass(frozen=True)
class Machine:
    """Where it is measured, on what, and until when."""

    device: torch.device
    tiny: bool
    folder: Path
    small: tuple[Path, Path]
    """Data folders of both domains, with slices of 64 pixels."""
    domains: tuple[Path, Path]
    """The same with slices of 256 pixels, unless all is tiny."""
    deadline: float

    @property
    def precisions(self) -> tuple[str, ...]:
        """How convolutions may be rounded here."""
        return ("fp32", "tf32", "bf16") if self.device.type == "cuda" else ("fp32", "bf16")

    @property
    def size(self) -> int:
        """Pixels of a side in training."""
        return 64 if self.tiny else 256

    def new_folder(self) -> Path:
        """A folder of its own for a run."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / "run"

    def peak_mib(self, work: Callable[[], object]) -> float | None:
        """The most of a card's memory that some work needs on top of what is there before; None on a CPU."""
        gc.collect()
        if self.device.type != "cuda":
            work()
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        work()
        return (torch.cuda.max_memory_allocated(self.device) - before) / MIB

    def start(self, method: str, /, **settings: Any) -> Run:
        """A run of one step, to predict with or to start from; made once."""
        path = self.folder / f"start_{abs(hash(json.dumps([method, settings], sort_keys=True)))}"
        if path.exists():
            return Run.open(path)
        source, target = self.domains
        data = {"data": {"source": str(source), "target": str(target)}}
        config = build_config(method, **merge(settings, data), steps=1, device=str(self.device))
        run = Run.create(path, config)
        for _ in iterate(run):
            pass
        return run


@contextlib.contextmanager
def convolutions_in(precision: str) -> Iterator[None]:
    """Let a card round the products of fp32 convolutions (tf32) or not (all else)."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


# --- parity ---------------------------------------------------------------------------------------


def parity(machine: Machine) -> Iterator[Row]:
    """One step of every method, on the CPU and on the device."""
    for name in METHODS:
        for precision in machine.precisions:
            with convolutions_in(precision):
                yield _compare(machine, name, precision)


def _compare(machine: Machine, name: str, precision: str) -> Row:
    settings: dict[str, Any] = {
        "precision": "bf16" if precision == "bf16" else "fp32",
        "method": _plain_optimisers(METHODS[name].config_class()),  # type: ignore[call-arg]
    }
    if not machine.tiny:
        settings |= {"data": {"size": 64}, "segmentor": {"width": 8, "depth": 4}}
    here, there = (
        bench(name, machine.small, machine.folder / "cache", device=device, **settings)
        for device in ("cpu", str(machine.device))
    )
    before = snapshot(here.method)
    logs, same_logs = here.step(), there.step()
    assert logs.keys() == same_logs.keys()
    differences = {n: _relative(float(logs[n]), float(same_logs[n])) for n in logs}
    term, losses = max(differences.items(), key=lambda pair: pair[1], default=("", 0.0))
    weights = _apart(before, _learnt(here), _learnt(there))
    good = max(losses, weights) <= LIMITS[precision]
    return {
        "method": name,
        "precision": precision,
        "losses": losses,
        "most in": term,
        "weights": weights,
        "good": good,
    }


def _plain_optimisers(config: BaseModel) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in config:
        if isinstance(value, OptimizerConfig):
            settings[name] = {"kind": "sgd", "lr": 1e-2, "momentum": 0, "weight_decay": 0}
        elif isinstance(value, BaseModel):
            inside = _plain_optimisers(value)
            settings |= {name: inside} if inside else {}
    return settings


def _relative(expected: float, found: float) -> float:
    return abs(found - expected) / max(abs(expected), 1e-3)


def _learnt(stand: Bench) -> dict[str, Tensor]:
    """What a step is there to change."""
    learns = type(stand.method).learns
    named = stand.method.named_parameters() if learns else stand.method.named_buffers()
    return {n: t.detach().cpu().double() for n, t in named if t.is_floating_point()}


def _apart(before: Mapping[str, Tensor], here: Mapping[str, Tensor], there: Any) -> float:
    """Difference of two changes, relative to the first, all tensors together."""
    changed = math.sqrt(sum(float((t - before[n]).square().sum()) for n, t in here.items()))
    apart = math.sqrt(sum(float((t - there[n]).square().sum()) for n, t in here.items()))
    return apart / changed if changed else math.inf


# --- the step written naively ---------------------------------------------------------------------


def se_asa(machine: Machine) -> Iterator[Row]:
    """A step of SE-ASA as here and as in the released code."""
    small: dict[str, Any] = {}
    if machine.tiny:
        small = {"segmentor": SMALL_NETWORK, "method": small_settings(SEASA.config_class)}
    for precision in machine.precisions:
        config = build_config(
            recipe="se_asa_ct2mr",
            device=str(machine.device),
            precision="bf16" if precision == "bf16" else "fp32",
            **merge(small, {"method": {"prototype_batches": 0}}),
        )
        row: Row = {"precision": precision, "network": config.segmentor.name}
        with convolutions_in(precision):
            for title, kind in (("ours", SEASA), ("naive", NaiveSEASA)):
                method, runtime = prepare(kind, config)
                batch = slices(config.batch_size, machine.size, runtime.device)

                def step(
                    method: SEASA = method, runtime: Any = runtime, batch: Any = batch
                ) -> None:
                    take_step(method, batch, runtime)

                measure(
                    step, 2, runtime.device
                )  # what is made at first: momentum, choice of kernels
                row[f"{title} MiB"] = machine.peak_mib(step)
                seconds = measure(step, 3 if machine.tiny else 10, runtime.device)
                row[f"{title} ms"] = statistics.median(seconds) * 1e3
                del method, runtime, batch
        row["times faster"] = row["naive ms"] / row["ours ms"]
        yield row


# --- prediction -----------------------------------------------------------------------------------


def prediction(machine: Machine) -> Iterator[Row]:
    """Slices per second of `predict`, and of the network alone."""
    networks = {"unet": SMALL_NETWORK} if machine.tiny else NETWORKS
    for name, network in networks.items():
        loaded = LoadedRun.load(
            machine.start("source_only", data={"size": machine.size}, segmentor=dict(network)),
            str(machine.device),
        )
        volume = _volume(machine, 16 if machine.tiny else 256)
        for voting in (False, True):
            yield {"network": name, **_speeds(machine, loaded, volume, voting=voting)}


def _speeds(machine: Machine, loaded: LoadedRun, volume: Volume, *, voting: bool) -> Row:
    views = 1 + 2 * loaded.run.config.method.reliability.views if voting else 1
    count = len(loaded.run.facts.grid.cut(volume.canonical().array))
    ours = _seconds(machine, lambda: predict(loaded, volume, reliability=voting))
    alone = _seconds(machine, lambda: _network_alone(loaded, volume, views))
    return {
        "vote": voting,
        "predict slices/s": count / ours,
        "network slices/s": count / alone,
        "ratio": ours / alone,
    }


def _volume(machine: Machine, thickness: int) -> Volume:
    """A target volume of so many slices at least, whichever axis they are cut across."""
    volume = read_volume(next((machine.domains[1] / "images").iterdir()))
    repeats = [
        max(1, -(-thickness // side)) if side < thickness else 1 for side in volume.array.shape
    ]
    return replace(volume, array=np.tile(volume.array, repeats))


def _seconds(machine: Machine, work: Callable[[], object]) -> float:
    return statistics.median(measure(work, 4, machine.device)[1:])


@torch.no_grad()
def _network_alone(loaded: LoadedRun, volume: Volume, views: int) -> None:
    grid = loaded.run.facts.grid
    stride = loaded.method.segmentor.stride
    height, width = (-(-side // stride) * stride for side in grid.plane_shape(volume))
    count = len(grid.cut(volume.canonical().array)) * views
    size = first_batch(loaded.device, height * width)
    image = torch.zeros(size, grid.neighbours, height, width, device=loaded.device)
    with torch.autocast(loaded.device.type, torch.bfloat16, enabled=loaded.bf16):
        for first in range(0, count, size):
            loaded.method.predict(image[: count - first])


# --- resume ---------------------------------------------------------------------------------------


def resume(machine: Machine) -> Iterator[Row]:
    """Two steps and two more beside four."""
    for deterministic in (False, True):
        for name in RESUMED:
            config = small_config(
                name,
                *machine.small,
                steps=4,
                device=str(machine.device),
                deterministic=deterministic,
            )
            runs = [Run.create(machine.new_folder(), config) for _ in range(2)]
            for _ in iterate(runs[0]):
                pass
            stop = threading.Event()
            for _ in iterate(runs[1], stop=stop):
                stop.set()
            for _ in iterate(Run.open(runs[1].path)):
                pass
            one, two = (checkpoint.load_weights(r.checkpoints / checkpoint.WEIGHTS) for r in runs)
            same = one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one)
            yield {
                "method": name,
                "deterministic": deterministic,
                "same weights": same,
                "good": same or not deterministic,
            }
    torch.use_deterministic_algorithms(False)


# --- memory ---------------------------------------------------------------------------------------


def memory(machine: Machine) -> Iterator[Row]:
    """Prediction and training with room for fewer and fewer slices."""
    network = SMALL_NETWORK if machine.tiny else NETWORKS["deeplabv2_resnet101"]
    loaded = LoadedRun.load(
        machine.start("source_only", data={"size": machine.size}, segmentor=dict(network)),
        str(machine.device),
    )
    volume = _volume(machine, 16)
    eight: dict[str, Any] = {"batch_size": 8, "reliability": False}
    of_a_slice = (machine.peak_mib(partial(predict, loaded, volume, **eight)) or 0) / 8
    expected = predict(loaded, volume, **eight).labels
    for room in ROOM:
        with _short_of_memory(machine, room, of_a_slice) as halved:
            try:
                found = predict(loaded, volume, batch_size=16, reliability=False).labels
                same = float((found == expected).mean())
                end, good = f"{same:.2%} of the labels are the same", same > 0.999
            except InputError as error:
                end, good = str(error), True
            except Exception as error:  # noqa: BLE001 - what must not happen is reported, too
                end, good = f"{type(error).__name__}: {error}", False
        row = {"work": "predict 16 slices at once", "room for": room}
        yield {**row, "batch halved": len(halved), "end": end, "good": good}
    del loaded
    yield _training(machine, network, of_a_slice)


def _training(machine: Machine, network: Mapping[str, Any], of_a_slice: float) -> Row:
    """A run that memory runs out for after its second step, and that is resumed once there is some."""
    source, target = (str(folder) for folder in machine.domains)
    config = build_config(
        "source_only",
        data={"source": source, "target": target, "size": machine.size},
        segmentor=dict(network),
        device=str(machine.device),
        steps=4,
        save_every=2,
        batch_size=4,
    )
    run = Run.create(machine.new_folder(), config)
    steps = iterate(run)
    for _ in range(2):
        next(steps)
    end, good = "it went on", False
    try:
        with _short_of_memory(machine, 0.5, of_a_slice):
            next(steps)
    except InputError as error:
        end, good = str(error).replace(str(run.path), "RUN"), True
    except Exception as error:  # noqa: BLE001 - as above
        end = f"{type(error).__name__}: {error}"
    done = [progress.step for progress in iterate(Run.open(run.path))]
    resumed = f"; then resumed with step {done[0]} to {done[-1]}" if done else "; not resumed"
    row = {"work": "train 4 slices at once", "room for": 0.5, "batch halved": 0}
    return {**row, "end": end + resumed, "good": good and done == [3, 4]}


@contextlib.contextmanager
def _short_of_memory(
    machine: Machine, room: float, mib_of_a_slice: float
) -> Iterator[list[logging.LogRecord]]:
    """Memory for so many slices and no more; what is said about smaller batches meanwhile."""
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign]
    batches = logging.getLogger("napari_uda.inference.batches")
    batches.addHandler(handler)
    batches.propagate = False
    try:
        if machine.device.type == "cuda":
            with _card_with_room(machine.device, room * mib_of_a_slice * MIB):
                yield said
        else:
            with _claims_to_be_short(room):
                yield said
    finally:
        batches.removeHandler(handler)
        batches.propagate = True


@contextlib.contextmanager
def _card_with_room(device: torch.device, room: float) -> Iterator[None]:
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    share = (torch.cuda.memory_reserved(device) + room) / total
    torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


@contextlib.contextmanager
def _claims_to_be_short(room: float) -> Iterator[None]:
    def refuse(module: nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(module, Segmentor) and len(given[0]) > room:
            raise torch.OutOfMemoryError("out of memory: there is room for less in this benchmark")

    hook = nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        yield
    finally:
        hook.remove()


# --- presets --------------------------------------------------------------------------------------


def presets(machine: Machine) -> Iterator[Row]:
    """A step of the settings of each paper, in fp32 as torch rounds it, and in bf16."""
    for name in paper_presets():
        row: Row = {"preset": name}
        for precision in ("fp32", "bf16"):
            if time.monotonic() > machine.deadline:
                row["left out"] = "no time left"
                break
            config = _preset(machine, name, precision)
            row |= {"method": config.method.name, "network": config.segmentor.name}
            row["batch"] = config.batch_size
            if getattr(config.method, "given_sizes", {}).keys() - STRUCTURES.keys():
                row["left out"] = "is for structures that the phantom does not have"
                break
            found: list[float] = []
            mib = machine.peak_mib(
                lambda c=config, f=found: f.append(estimate(c, STRUCTURES).step_seconds)
            )
            row |= {f"{precision} ms": found[0] * 1e3, f"{precision} MiB": mib}
        yield row


def paper_presets() -> list[str]:
    """The presets with the settings of a paper, one direction of each; no ablations."""
    return [
        recipe["name"]
        for recipe in recipe_table()
        if recipe["method"] and ("paper" in recipe["name"] or recipe["name"].endswith("_ct2mr"))
    ]


def _preset(machine: Machine, name: str, precision: str) -> RunConfig:
    settings: dict[str, Any] = {"device": str(machine.device), "precision": precision}
    config = build_config(recipe=name)
    kind = method_class(config.method.name)
    if machine.tiny:
        settings |= {"data": {"size": machine.size}, "segmentor": {"width": 4}, "batch_size": 2}
        if config.segmentor.name == "deeplabv2_resnet101":
            settings["segmentor"] = SMALL_NETWORK
        settings["method"] = small_settings(kind.config_class)
    elif "prototype_batches" in kind.config_class.model_fields:
        settings["method"] = {"prototype_batches": 1}  # before the first step, which is not timed
    config = build_config(recipe=name, **settings)
    # generators are trained in a run of their own where these settings have no step for them
    translates = getattr(config.method, "translation_steps", 1) == 0
    if not translates and not kind.needs_start_with(config.method):
        return config
    data = {"axis", "size", "neighbours", "source_intensity", "target_intensity"}
    before = config.model_dump(mode="json", include={"segmentor": True, "data": data})
    if translates:
        before["method"] = config.method.model_dump(mode="json", include={"translator"})
        before["batch_size"] = config.batch_size
    start = machine.start("cyclegan" if translates else "source_only", **before)
    return build_config(recipe=name, **settings, init=str(start.path))


# --- the report -----------------------------------------------------------------------------------

SECTIONS: dict[str, Callable[[Machine], Iterator[Row]]] = {
    "parity": parity,
    "se_asa": se_asa,
    "predict": prediction,
    "resume": resume,
    "memory": memory,
    "presets": presets,
}


def table(rows: list[Row]) -> str:
    """Rows as a table in Markdown; what all rows know between them are its columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_shown(row.get(name, "")) for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def describe(device: torch.device) -> Row:
    """What it is measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "tf32 by default": torch.backends.cudnn.allow_tf32,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and slices")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the JSON to write")
    parser.add_argument("--minutes", type=float, default=5.5, help="no preset begins after these")
    parser.add_argument("--sections", nargs="*", default=list(SECTIONS), choices=SECTIONS)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no graphics card here; give --device cpu --tiny to try the script")

    began = time.monotonic()
    found: dict[str, Any] = describe(device)
    print(f"{found['device']}, torch {found['torch']}" + (", tiny" if options.tiny else ""))
    with tempfile.TemporaryDirectory() as folder:
        small = domains = write_phantom(Path(folder) / "small", subjects=2, size=64)
        if not options.tiny:
            domains = write_phantom(Path(folder) / "large", subjects=1, size=256)
        deadline = began + 60 * options.minutes
        machine = Machine(device, options.tiny, Path(folder), small, domains, deadline)
        for name in options.sections:
            section = time.monotonic()
            found[name] = list(SECTIONS[name](machine))
            print(
                f"\n{name} ({time.monotonic() - section:.0f} s)\n\n{table(found[name])}", flush=True
            )
    found["seconds"] = time.monotonic() - began
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\n{found['seconds']:.0f} s in all; {options.out}")
    rows = [row for name in options.sections for row in found[name]]
    return 0 if all(row.get("good", True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
