"""Attack run folders in the ways that a bad disk, a bad copy or a bad neighbour does; count what gets through.

    python benchmarks/hostile.py --flips 1000 --kills 12

A small run is trained on phantoms. Then, each trial on a fresh copy of it:

- flips: one bit of one file of the run; half of them in the weights, and half of those in their header.
  A flip must be said, or what is read must be what was written, bit for bit.
- the pair before: where a flip hit the last checkpoint, its message must offer the one before it, and
  that one must be what resuming takes once the last one is removed.
- links: each name that a run writes becomes a link to a file or folder elsewhere; opening, resuming and
  watching the run must leave that place as it was.
- small files: each file of the run is replaced by a pipe, a folder, bytes that are no text, a list, an
  alias, one byte too much, one level too deep, a number beyond 64 bits; the run is opened, read, watched.
- bounds: a header one byte over the limit, a pattern against one millisecond.
- memory: a stand-in says in the words of every library that there is no more. Prediction and translation
  halve their batch and give the same, or say in one sentence that one slice is too much; a preview is left
  out; training keeps its checkpoint and its batch, and goes on when there is memory again.
- kills: predict, evaluate and train, see benchmarks/killed.py.

Nothing here harms other software: whatever is over a limit is over ours by one. A trial is lost if something
wrong was read in silence, a place elsewhere changed, or anything but one sentence came out. Exit code 1 when
one is.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from killed import kills
from trials import Campaign

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.core import small_files
from napari_uda.core.errors import InputError
from napari_uda.core.patterns import search_all
from napari_uda.inference.loaded import LoadedRun
from napari_uda.methods.registry import build_method
from napari_uda.phantom import write_phantom
from napari_uda.players.translator import Translator
from napari_uda.run import checkpoint
from napari_uda.run.folder import RunFolder
from napari_uda.run.reader import RunReader
from napari_uda.run.run import Run
from napari_uda.training import previews

SETTINGS: dict[str, Any] = {
    "data": {"size": 32},
    "segmentor": {"width": 4, "depth": 2},
    "method": {"adversary": {"width": 4}, "prototype_batches": 1, "warmup_steps": 1},
    "batch_size": 2, "steps": 4, "save_every": 2, "log_every": 1, "preview_every": 2, "device": "cpu",
}  # fmt: skip
WEIGHTS = f"checkpoints/{checkpoint.WEIGHTS}"
STATE = f"checkpoints/{checkpoint.STATE}"
FLIPPED = (WEIGHTS, WEIGHTS, STATE, "config.yaml", "data.json", "environment.json")
LINKED = (
    "config.yaml", "environment.json", "data.json", "metrics.jsonl", "events.jsonl", "log.txt",
    "output.txt", "heartbeat.json", "stop", "scores.csv", "scores.json", "slices.csv", "checkpoints",
    WEIGHTS, STATE, f"{WEIGHTS}.next", f"{STATE}.next", "checkpoints/previous.safetensors",
    "checkpoints/best.safetensors", "previews", "previews/request.json", "previews/slices.json",
    "predictions", "cache", "cache/source", "cache/target",
)  # fmt: skip
SMALL = (
    "config.yaml", "data.json", "environment.json", "metrics.jsonl", "events.jsonl", "heartbeat.json",
    "stop", "previews/request.json", "previews/slices.json", "previews/000004.npz", WEIGHTS, STATE,
)  # fmt: skip


def read_all(path: Path) -> dict[str, Any]:
    """Everything that predicting and resuming take from a run."""
    run = Run.open(path)
    facts = run.facts
    weights, bank = checkpoint.load_method_weights(run.weights_file())
    method = build_method(
        run.config.method,
        run.config.segmentor,
        neighbours=facts.grid.neighbours,
        num_classes=facts.num_classes,
        seed=run.config.seed,
    )
    optimizers = method.optimizers()
    checkpoint.refuse_damaged(run.checkpoints)
    step = checkpoint.resume(run.checkpoints, method, optimizers)
    states = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
    return {
        "config": run.config, "facts": facts, "weights": weights, "bank": bank, "step": step,
        "method": dict(method.state_dict()), "states": states,
    }  # fmt: skip


def same(first: Any, second: Any) -> bool:
    """Whether two trees are equal, tensors bit for bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def flips(run: Path, count: int, draw: random.Random) -> Iterator[Campaign]:
    """Single bits, and the offer of the pair before."""
    expected, flipped, offered = read_all(run), Campaign("flips"), Campaign("the pair before")
    for number in range(count):
        name = FLIPPED[number % len(FLIPPED)]
        file = run / name
        whole = file.read_bytes()
        end = len(whole)
        if name == WEIGHTS and number % 2:
            end = 8 + int.from_bytes(whole[:8], "little")
        byte, bit = draw.randrange(end), draw.randrange(8)
        content = bytearray(whole)
        content[byte] ^= 1 << bit
        file.write_bytes(content)
        what = f"{name} byte {byte} bit {bit}"
        outcome = flipped.trial(what, partial(read_again, run, expected))
        if name in (WEIGHTS, STATE) and outcome != "without effect":
            offered.trial(what, partial(offer, run))
        file.write_bytes(whole)
    yield flipped
    yield offered


def read_again(run: Path, expected: dict[str, Any]) -> str:
    """Read a run of which a bit is wrong."""
    return "without effect" if same(read_all(run), expected) else "lost: it was read as sound"


def offer(run: Path) -> str:
    """Whether the message offers the pair before, and resuming takes it after the last one's removal."""
    try:
        read_all(run)
    except InputError as error:
        if "the checkpoint before it, of step 2, is whole" not in str(error):
            return f"lost: no offer in {error}"
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(shutil.copytree(run, Path(folder) / "run"))
        for name in (WEIGHTS, STATE):
            (copied / name).unlink()
        step = read_all(copied)["step"]
    return "offered and taken" if step == 2 else f"lost: step {step}"


def content(place: Path) -> list[tuple[str, bytes]]:
    """All files of a place."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return [(str(file), file.read_bytes()) for file in files if file.is_file()]


def links(run: Path, work: Path) -> Iterator[Campaign]:
    """Names of the run that lead elsewhere."""
    campaign = Campaign("links")
    for number, name in enumerate(LINKED):
        copied = Path(shutil.copytree(run, work / f"link_{number}"))
        path, place = copied / name, work / f"elsewhere_{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rename(place)
        elif "." in path.name or name == "stop":
            place.write_text("mine", encoding="utf-8")
        else:
            place.mkdir()
            (place / "0.npy").write_text("mine", encoding="utf-8")
        path.symlink_to(place)
        for kind, use in USES.items():
            campaign.trial(f"{name} {kind}", partial(use_beside, use, copied, place))
        shutil.rmtree(copied)
    yield campaign


def use_beside(use: Callable[[Path], None], run: Path, place: Path) -> str:
    """Use a run; the place elsewhere must stay as it is."""
    before, outcome = content(place), "shown as damaged"
    try:
        use(run)
    except InputError:
        outcome = "refused in a sentence"
    return outcome if content(place) == before else "lost: the place changed"


def watch(run: Path) -> None:
    status = RunReader(run).look().status
    if "link to a place outside" not in status.reason:
        raise ValueError(f"the reader says {status}")


def resume(run: Path) -> None:
    list(iterate(Run.open(run)))


def predict(run: Path) -> None:
    LoadedRun.load(run, "cpu")


USES: dict[str, Callable[[Path], None]] = {"watch": watch, "resume": resume, "predict": predict}


def damages() -> dict[str, Callable[[Path], None]]:
    """Ways to replace a small file."""
    deep = "[" * (small_files.MOST_DEPTH + 1) + "]" * (small_files.MOST_DEPTH + 1)
    texts = {
        "no text": b"\xff\xfe\x00\x01" * 8,
        "empty": b"",
        "a list": b"[1, 2]\n",
        "an alias": b"a: &a 1\nb: *a\n",
        "one byte too much": b" " * (small_files.MOST_BYTES + 1),
        "one level too deep": deep.encode() + b"\n",
        "beyond 64 bits": f'{{"step": {2**63}, "seconds": 1}}\n'.encode(),
        "another kind": b'{"step": [], "seconds": {}, "labels": 3, "method": 7, "count": "many"}\n',
        "not finite": b'{"step": 1, "seconds": NaN, "time": 1e999, "pid": 1e999}\n',
    }
    found = {name: lambda file, text=text: file.write_bytes(text) for name, text in texts.items()}

    def pipe(file: Path) -> None:
        file.unlink(missing_ok=True)
        os.mkfifo(file)

    def folder(file: Path) -> None:
        file.unlink(missing_ok=True)
        file.mkdir()

    return {**found, "a pipe": pipe, "a folder": folder}


def files(run: Path, work: Path) -> Iterator[Campaign]:
    """Small files of any content."""
    opened, watched = Campaign("small files"), Campaign("watched")
    for number, name in enumerate(SMALL):
        for kind, damage in damages().items():
            copied = Path(shutil.copytree(run, work / f"small_{number}"))
            (copied / name).parent.mkdir(exist_ok=True)
            damage(copied / name)

            watched.trial(f"{name}, {kind}", partial(look, copied))
            opened.trial(f"{name}, {kind}", partial(use_all, copied))
            shutil.rmtree(copied)
    yield opened
    yield watched


def look(run: Path) -> str:
    """What the Watch tab and a list of runs read."""
    reader = RunReader(run)
    found = [reader.glance(), reader.look(), reader.look()][-1]
    RunFolder(run).preview_request()
    RunFolder(run).stop_request()
    return f"seen as {found.status.state}"


def use_all(run: Path) -> str:
    """Predict with a run, and go on with it."""
    read_all(run)
    resume(run)
    return "read without it"


def bounds(run: Path) -> Iterator[Campaign]:
    """Things that are over a limit by one."""
    campaign = Campaign("bounds")
    file = run / WEIGHTS
    length = int.from_bytes(file.read_bytes()[:8], "little")
    limit = checkpoint._MOST_HEADER_BYTES

    def header() -> str:
        checkpoint._MOST_HEADER_BYTES = length - 1
        try:
            checkpoint.load_weights(file)
        finally:
            checkpoint._MOST_HEADER_BYTES = limit
        return "lost: it was read"

    def pattern() -> str:
        search_all("(a|b|ab)*c", ["a" * 200] * 2000, seconds=1e-3)
        return "lost: it was searched"

    campaign.trial("a header one byte over the limit", header)
    campaign.trial("a pattern against a millisecond", pattern)
    yield campaign


WORDS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
    RuntimeError("could not create a primitive"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("bad allocation"),
    RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError(),
    MemoryError("Unable to allocate 7.28 TiB for an array with shape (10, 10)"),
)
"""How libraries say that memory ran out; nothing here takes any."""


@contextmanager
def hungry(owner: Any, name: str, error: Exception, most: int) -> Iterator[list[int]]:
    """Let a method that takes images first have memory for so many; yields the batches that it was given."""
    whole, batches = getattr(owner, name), []

    def limited(self: Any, image: torch.Tensor, *others: Any, **named: Any) -> Any:
        batches.append(len(image))
        if len(image) > most:
            raise error
        return whole(self, image, *others, **named)

    setattr(owner, name, limited)
    try:
        yield batches
    finally:
        setattr(owner, name, whole)


def memory(run: Path, phantom: tuple[Path, Path], work: Path) -> Iterator[Campaign]:
    """Everything that computes, short of memory in the words of every library."""
    campaign = Campaign("memory")
    image = next((phantom[1] / "images").iterdir())
    translating = work / "translating"
    small = {"data": SETTINGS["data"], "batch_size": 2, "steps": 2, "device": "cpu"}
    nets = {"translator": {"generator": {"width": 4, "blocks": 1}, "discriminator_width": 4}}
    uda.train(
        "cyclegan", source=phantom[0], target=phantom[1], run_dir=translating,
        segmentor=SETTINGS["segmentor"], method=nets, **small,
    )  # fmt: skip
    loaded = LoadedRun.load(run, "cpu")
    segmented = uda.predict(loaded, image)
    translated = uda.translate(translating, image, device="cpu")

    def predicted(error: Exception, most: int) -> str:
        with hungry(type(loaded.method), "predict", error, most) as batches:
            found = uda.predict(loaded, image, batch_size=8)
        halved = batches[0] == 8 and max(batches[3:]) <= most
        if not halved or not np.array_equal(found.labels, segmented.labels):
            return f"lost: batches {batches}"
        return "halved, same result"

    def rendered(error: Exception, most: int) -> str:
        with hungry(Translator, "with_attention", error, most) as batches:
            found = uda.translate(translating, image, device="cpu", batch_size=8)
        same_look = np.allclose(found.translated, translated.translated, atol=1e-3)
        return "halved, same result" if same_look and most in batches else f"lost: {batches}"

    def trained(error: Exception) -> str:
        copied = Run.create(work / f"hungry_{campaign.found.total()}", Run.open(run).config)
        kind = type(loaded.method)
        step, calls = kind.step, iter(range(99))

        def short(self: Any, *arguments: Any) -> Any:
            if next(calls) == 3:
                raise error
            return step(self, *arguments)

        kind.step = short  # type: ignore[method-assign]
        try:
            list(iterate(copied))
            return "lost: it was not stopped"
        except InputError as refused:
            if "--batch-size or --data.size" not in str(refused) or "\n" in str(refused):
                return f"lost: {refused}"
        finally:
            kind.step = step  # type: ignore[method-assign]
        resume(copied.path)
        same_batch = Run.open(copied.path).config.batch_size == SETTINGS["batch_size"]
        ended = same(read_all(copied.path)["weights"], read_all(run)["weights"])
        return "stopped, went on alike" if same_batch and ended else "lost: other weights"

    def previewed(error: Exception) -> str:
        copied = Run.create(work / f"hungry_{campaign.found.total()}", Run.open(run).config)
        arrays = previews.preview_arrays

        def short(*_: Any, **__: Any) -> Any:
            raise error

        previews.preview_arrays = short
        try:
            return f"finished without previews at {[p.step for p in iterate(copied)][-1]}"[:25]
        finally:
            previews.preview_arrays = arrays

    for error in WORDS:
        what = f"{type(error).__name__} {error}"
        for most in (4, 2, 1):
            campaign.trial(f"predict {most} {what}", partial(predicted, error, most))
            campaign.trial(f"translate {most} {what}", partial(rendered, error, most))
        campaign.trial(f"predict 0 {what}", partial(predicted, error, 0))
        campaign.trial(f"translate 0 {what}", partial(rendered, error, 0))
        campaign.trial(f"train {what}", partial(trained, error))
        campaign.trial(f"preview {what}", partial(previewed, error))
    yield campaign


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=12, help="of each command by each signal")
    parser.add_argument("--seed", type=int, default=0, help="of the places of flips and kills")
    options = parser.parse_args()
    logging.getLogger("napari_uda").setLevel(logging.ERROR)  # a batch that is halved says so
    lost = 0
    with tempfile.TemporaryDirectory(prefix="hostile_") as folder:
        work = Path(folder)
        source, target = write_phantom(work / "phantom", subjects=1, size=64)
        run = work / "run"
        uda.train("se_asa", source=source, target=target, run_dir=run, **SETTINGS)
        print("campaign         trials   lost       time   what came of the others", flush=True)
        draw = random.Random(options.seed)
        for campaigns in (
            flips(run, options.flips, draw),
            links(run, work),
            files(run, work),
            bounds(run),
            memory(run, (source, target), work),
            kills(run, (source, target), work, options.kills, draw),
        ):
            for campaign in campaigns:
                lost += len(campaign.lost)
                print(campaign.row(), flush=True)
    print(f"{lost} trials were lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
