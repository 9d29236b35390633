"""Commands that are killed at random moments, and what the next command finds; part of benchmarks/hostile.py.

Each trial starts `predict`, `evaluate` or `train` as its user would, over results of an earlier call. After a
random time, or as soon as the first file changes and a moment more, it gets SIGKILL or SIGTERM. Then

- every file under a visible name is whole: the maps of each case, and the three files of scores, are all of
  the earlier call or all of this one once the next command has been there;
- the next command, the same one again or `napari-uda clean`, leaves nothing hidden;
- the same command, in the end, gives the results of one that nobody disturbed, training bit for bit;
- SIGTERM ends with exit code 130 and one sentence, never with a traceback.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trials import Campaign

import napari_uda as uda
from napari_uda.run import checkpoint

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
STEPS = 12
_MOST_SECONDS = 300.0


@dataclass(frozen=True)
class Killable:
    """A command over earlier results.

    Attributes:
        name: what the table calls it.
        words: its words but for where it writes.
        option: the option that says where it writes.
        again: its words when it is given again, where they differ.
        before: what lies there before; None for nothing.
        expected: what lies there after it, undisturbed.
        seconds: how long it takes.
        state: what a folder holds, by group of files that belong together.
    """

    name: str
    words: tuple[str, ...]
    option: str
    again: tuple[str, ...]
    before: Path | None
    expected: Path
    seconds: float
    state: Callable[[Path], dict[str, str]]


def start(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "napari_uda", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def call(*words: str) -> float:
    """Seconds that a command takes, which must end well."""
    began, process = time.monotonic(), start(*words)
    said = process.communicate(timeout=_MOST_SECONDS)[1]
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit code {process.returncode}: {said}")
    return time.monotonic() - began


def groups(out: Path) -> dict[str, str]:
    """A checksum of all files that belong together: the maps of a case, the tables of an evaluation."""
    found: dict[str, list[bytes]] = {}
    for file in sorted(out.iterdir()) if out.is_dir() else []:
        if not file.name.startswith("."):
            name = file.name.rpartition("_")[0] if file.name.endswith(".nii.gz") else "tables"
            found.setdefault(name, []).append(file.name.encode() + file.read_bytes())
    return {name: hashlib.sha256(b"".join(parts)).hexdigest() for name, parts in found.items()}


def weights(run: Path) -> dict[str, str]:
    """A checksum of the weights of a run that has some."""
    file = run / "checkpoints" / checkpoint.WEIGHTS
    if not file.exists():
        return {}
    tensors = checkpoint.load_weights(file)
    parts = [name.encode() + tensors[name].numpy().tobytes() for name in sorted(tensors)]
    return {"weights": hashlib.sha256(b"".join(parts)).hexdigest()}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


def stamps(folder: Path) -> set[tuple[str, int]]:
    found = set()
    for path in folder.rglob("*"):
        try:
            found.add((path.name, path.lstat().st_mtime_ns))
        except OSError:
            found.add((path.name, 0))
    return found


def kill(command: Killable, out: Path, number: int, draw: random.Random) -> tuple[int, str]:
    """Start it and end it somewhere; its exit code and what it said on stderr."""
    process = start(*command.words, command.option, str(out))
    if draw.random() < 0.5:
        time.sleep(draw.uniform(0, command.seconds))
    else:
        before, end = stamps(out), time.monotonic() + _MOST_SECONDS
        while process.poll() is None and time.monotonic() < end and stamps(out) == before:
            time.sleep(0.0005)
        time.sleep(draw.expovariate(1 / 0.02))
    process.send_signal(number)
    said = process.communicate(timeout=_MOST_SECONDS)[1]
    return process.returncode, said


def trial(command: Killable, work: Path, number: int, draw: random.Random) -> str:
    """Kill it, look, let the next command come, look again."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    out = work / "out"
    if command.before is not None:
        shutil.copytree(command.before, out)
    code, said = kill(command, out, number, draw)
    if "Traceback" in said:
        return f"lost: {said}"
    # a process whose Python has not begun, or is about to end, goes by the signal itself
    if number == signal.SIGTERM and code not in (0, 130, -signal.SIGTERM):
        return f"lost: exit code {code}: {said}"
    if (
        code == 130 and "napari-uda: " not in said.strip().splitlines()[-1]
    ):  # a bar may stand before it
        return f"lost: it ended with {said}"
    old = command.state(command.before) if command.before else {}
    new = command.state(command.expected)
    by_signal = number == signal.SIGTERM and code == -signal.SIGTERM
    if by_signal and command.state(out) not in (old, new):
        return "lost: it went by the signal in the middle of its work"
    left = bool(hidden(out))
    if draw.random() < 0.5 and out.is_dir():
        call("clean", str(out))
        if hidden(out):
            return f"lost: clean has left {hidden(out)}"
        there = command.state(out)
        for name, found in there.items():
            if command.name != "train" and found not in (old.get(name), new.get(name)):
                return f"lost: the files of {name} are of two calls"
    if command.again and (out / "config.yaml").exists():
        call(*command.again, str(out))
    else:
        call(*command.words, command.option, str(out))
    if hidden(out):
        return f"lost: the next command has left {hidden(out)}"
    if command.state(out) != new:
        return "lost: the results are others"
    if code == 0:
        return "ended before"
    return "left something, which went" if left else "left nothing"


def commands(run: Path, phantom: tuple[Path, Path], work: Path) -> Iterator[Killable]:
    """The three commands, with what they give undisturbed."""
    images, labels = phantom[1] / "images", phantom[1] / "labels"
    other = work / "other"
    uda.train(
        "source_only", source=phantom[0], target=phantom[1], run_dir=other, steps=2, device="cpu",
        data={"size": 32}, segmentor={"width": 4, "depth": 2}, batch_size=2,
    )  # fmt: skip
    # as deep as the folders of trials: beside the maps it is said where the image lies as seen from there
    maps_before, maps = work / "before" / "maps", work / "whole" / "maps"
    call("predict", str(other), str(images), "--out", str(maps_before))
    seconds = call("predict", str(run), str(images), "--out", str(maps))
    yield Killable(
        "predict", ("predict", str(run), str(images)), "--out", (), maps_before, maps, seconds, groups,
    )  # fmt: skip
    words = ("evaluate", str(maps), str(labels))
    call("evaluate", str(maps_before), str(labels), "--out", str(work / "scores_before"))
    seconds = call(*words, "--out", str(work / "scores"))
    yield Killable(
        "evaluate", words, "--out", (), work / "scores_before", work / "scores", seconds, groups
    )
    words = (
        "train", "source_only", "--data.source", str(phantom[0]), "--data.target", str(phantom[1]),
        "--steps", str(STEPS), "--save-every", "1", "--log-every", "1", "--device", "cpu",
        "--batch-size", "2", "--data.size", "32", "--segmentor.width", "4", "--segmentor.depth", "2",
        "--preview-every", "2",
    )  # fmt: skip
    seconds = call(*words, "--run-dir", str(work / "trained"))
    yield Killable(
        "train", words, "--run-dir", ("train", "--resume"), None, work / "trained", seconds, weights
    )


def kills(
    run: Path, phantom: tuple[Path, Path], work: Path, count: int, draw: random.Random
) -> Iterator[Campaign]:
    """Each command killed by each signal so many times."""
    folder = work / "kills"
    folder.mkdir()
    for command in commands(run, phantom, folder):
        for number in SIGNALS:
            campaign = Campaign(f"{number.name} {command.name}")
            for index in range(count):
                what = f"{command.name} {number.name} {index}"
                campaign.trial(what, partial(trial, command, folder / "trial", number, draw))
            yield campaign
