"""Kill training at random moments with SIGKILL, resume it, compare the final weights bit for bit.

    python benchmarks/kill_resume.py --kills 20 [--methods se_asa mpscl ...]

Every kill hits a run of its own: `python -m napari_uda train METHOD ...` on small phantoms, with networks as
small as in the tests of every method, all of its stages in every step, saving after each one. Moments are uniform over the training time; every second kill then waits for a save to begin,
because a save is a small part of a step. The run is then continued with `--resume` until it is done,
and its weights and training state are compared with those of a run that nobody disturbed. One line per
kill, then the verdict; exit code 1 when a single bit differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open

SETTINGS: dict[str, Any] = {
    "segmentor": {"width": 4, "depth": 3},
    "batch_size": 2,
    "save_every": 1,
    "log_every": 1,
    "device": "cpu",
    "augment": {"intensity": "bezier", "spatial": {"rotation_deg": 10}},
}
WARMUP_STEPS = 4
CHECKPOINT = ("last.safetensors", "last.state.safetensors")


@dataclass(frozen=True)
class Kill:
    """What one kill found and what came of it."""

    seconds: float
    step: int
    in_save: bool
    resumes: int
    equal: bool
    lines_equal: bool

    def row(self, number: int) -> str:
        """Its line of the table."""
        verdict = "identical" if self.equal and self.lines_equal else "DIFFERENT"
        where = "in a save" if self.in_save else "in a step"
        return f"{number:>4}  {self.seconds:>7.2f} s  {self.step:>5}  {where}  {self.resumes:>7}  {verdict}"


def train(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start `napari-uda train` in a process of its own."""
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "napari_uda", "train", *arguments],
            stdout=stream,
            stderr=stream,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def finish(arguments: list[str], log: Path) -> None:
    """Train to the end.

    Raises:
        RuntimeError: with what the child said, if it failed.
    """
    if train(arguments, log).wait(timeout=600) != 0:
        raise RuntimeError(f"training failed: {log.read_text(encoding='utf-8')[-2000:]}")


def steps_done(run: Path) -> int:
    """Whole lines of metrics.jsonl."""
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def kill_once(
    new_run: list[str],
    run: Path,
    reference: Path,
    wait: float,
    log: Path,
    finished: int,
    *,
    aim_at_save: bool,
) -> Kill | None:
    """Start a run, kill it `wait` seconds after training began, resume, compare; None if too late.

    With `aim_at_save` the kill waits for the next save to begin.
    """
    child = train([*new_run, "--run-dir", str(run)], log)
    while not (run / "events.jsonl").exists() and child.poll() is None:
        time.sleep(0.002)
    time.sleep(wait)
    folder = run / "checkpoints"
    while aim_at_save and child.poll() is None and not any(folder.glob("*.next")):
        pass  # a save is shorter than any sleep
    child.kill()
    if child.wait() == 0:
        return None
    step = steps_done(run)
    in_save = folder.exists() and any(folder.glob("*.next"))
    resumes = 0
    while steps_done(run) < finished or not resumes:
        finish(["--resume", str(run)], log)
        resumes += 1
    return Kill(
        wait,
        step,
        in_save,
        resumes,
        equal=all(same(folder / name, reference / "checkpoints" / name) for name in CHECKPOINT),
        lines_equal=losses(run) == losses(reference),
    )


def new_run_of(method: str, folders: list[str], work: Path, steps: int, size: int) -> list[str]:
    """The words that train a method anew, after the run that it starts from where it needs one."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from tiny_cases import small_settings

    from napari_uda.methods.registry import METHODS

    words = {}
    for name in ("source_only", method):
        own = small_settings(METHODS[name].config_class)
        if "warmup_steps" in METHODS[name].config_class.model_fields:
            own["warmup_steps"] = WARMUP_STEPS
        recipe = work / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump({**SETTINGS, "method": {"name": name, **own}}))
        words[name] = [name, *folders, "--recipe", str(recipe), "--data.size", str(size)]
    start: list[str] = []
    if METHODS[method].needs_init:
        run = work / "start"
        finish([*words["source_only"], "--steps", "1", "--run-dir", str(run)], work / "start.log")
        start = ["--init", str(run)]
    return [*words[method], *start, "--steps", str(steps)]


def same(first: Path, second: Path) -> bool:
    """Whether two files hold the same tensors, bit for bit, and the same step and settings."""
    with safe_open(first, "numpy") as one, safe_open(second, "numpy") as two:
        names = set(one.keys())
        return (
            names == set(two.keys())
            and one.metadata() == two.metadata()
            and all(one.get_tensor(n).tobytes() == two.get_tensor(n).tobytes() for n in names)
        )


def losses(run: Path) -> list[str]:
    """Lines of metrics.jsonl without the time, which differs."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [",".join(part for part in line.split(",") if "seconds" not in part) for line in lines]


def run_all(
    source: Path,
    target: Path,
    work: Path,
    *,
    kills: int,
    steps: int,
    size: int,
    seed: int,
    method: str = "se_asa",
) -> list[Kill]:
    """Train once undisturbed, then kill and resume `kills` runs; prints a line for each."""
    log = work / "children.log"
    folders = ["--data.source", str(source), "--data.target", str(target)]
    new_run = new_run_of(method, folders, work, steps, size)
    reference = work / "undisturbed"
    finish([*new_run, "--run-dir", str(reference)], log)
    seconds = float(
        json.loads((reference / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    )
    print(
        f"{method} undisturbed: {steps} steps in {seconds:.1f} s; kills fall uniformly into that time"
    )
    print("kill  moment     steps  where      resumes  final weights, state and losses", flush=True)
    moments = random.Random(seed)
    found: list[Kill] = []
    while len(found) < kills:
        run = work / f"killed_{len(found) + 1}"
        wait = moments.uniform(0, seconds)
        aim_at_save = len(found) % 2 == 1
        kill = kill_once(new_run, run, reference, wait, log, steps, aim_at_save=aim_at_save)
        if kill is not None:  # else it was done before its moment came
            found.append(kill)
            print(kill.row(len(found)), flush=True)
        shutil.rmtree(run)
    return found


def main() -> int:
    from napari_uda.phantom import write_phantom

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each method")
    parser.add_argument("--methods", nargs="+", default=["se_asa"])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--size", type=int, default=64, help="pixels per side of a slice")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill_resume_") as folder:
        work = Path(folder)
        source, target = write_phantom(work / "phantom", subjects=2, size=max(64, options.size))
        found: list[Kill] = []
        for method in options.methods:
            (work / method).mkdir()
            found += run_all(
                *(source, target, work / method),
                kills=options.kills,
                steps=options.steps,
                size=options.size,
                seed=options.seed,
                method=method,
            )
    good = sum(kill.equal and kill.lines_equal for kill in found)
    saves = sum(kill.in_save for kill in found)
    print(f"{good} of {len(found)} killed runs ended bit for bit the same; {saves} died in a save")
    return 0 if good == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
