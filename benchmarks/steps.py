"""Time training steps here and in another checkout, in turns: process CPU time, one thread each.

    python benchmarks/steps.py --base ../napari_uda_95e2373 [--steps 7] [--precision auto] [--kinds cyclegan]
    python benchmarks/steps.py --base ../napari_uda_95e2373 --volumes 50

The other checkout is made by `git worktree add --detach ../napari_uda_95e2373 95e2373`. Each side trains a run
of `cpu_small` on the same phantoms in a process of its own; after each step the other side has its turn, so that
other load on the machine falls on both alike. A step is all that the loop does: slices, augmentation, losses,
optimisers, losses written every few steps. With `--volumes` the time from an opened run to its first step is
compared instead, in new processes; reading the data is nearly all of it. `sum of weights` is the sum of the
absolute weights of the segmentation network at the end: equal where both sides compute the same bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from checkouts import python_of

UNTIMED = 2
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "se_asa, warm-up": ("se_asa", {}),
    "se_asa, votes": ("se_asa", {"warmup_steps": 0, "prototype_batches": 1}),
    "cyclegan": ("cyclegan", {}),
    "attent, translation": ("attent", {}),
    "attent, alignment": ("attent", {"translation_steps": 1}),
    "mean_teacher": ("mean_teacher", {}),
}
"""Method and settings that make every timed step of one kind."""


def work(name: str, data: Path, precision: str) -> None:
    """Train in this process: a step for each line that comes in, answered by its seconds of CPU time.

    Uses nothing but names that the checkouts to compare with have, too.
    """
    import torch

    torch.set_num_threads(1)
    from napari_uda.api import iterate, new_run
    from napari_uda.networks.unet import UNet

    try:  # where settings were built before 0.1.0
        from napari_uda.api import build_config
    except ImportError:
        from napari_uda.run.recipes import build_config

    networks: list[UNet] = []
    construct = UNet.__init__

    def kept(network: UNet, *args: Any, **settings: Any) -> None:
        networks.append(network)
        construct(network, *args, **settings)

    UNet.__init__ = kept  # type: ignore[method-assign]
    kind, settings = KINDS[name]
    domains = {"source": str(data / "ct"), "target": str(data / "mr")}
    config = build_config(
        kind, recipe="cpu_small", data=domains, precision=precision, method=settings, device="cpu"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        new_run(Path(folder) / "run", config) as run,
        contextlib.redirect_stdout(sys.stderr),
    ):
        steps = iterate(run)
        for line in sys.stdin:
            if line.strip() == "end":
                break
            cpu, wall = time.process_time(), time.perf_counter()
            next(steps)
            seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
            print(json.dumps(seconds), file=sys.__stdout__, flush=True)
        total = sum(float(p.detach().double().abs().sum()) for p in networks[0].parameters())
        print(json.dumps({"weights": total}), file=sys.__stdout__, flush=True)
        steps.close()


class Side:
    """One checkout at work in a process of its own."""

    def __init__(self, checkout: Path, name: str, data: Path, precision: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        command = [python_of(checkout), "-W", "ignore", str(Path(__file__).resolve())]
        command += ["--work", name, "--data", str(data), "--precision", precision]
        self._checkout = checkout
        self._process = subprocess.Popen(
            command,
            cwd=checkout,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def say(self, word: str) -> dict[str, float]:
        """Let it take a step, or `end`; what it answers.

        Raises:
            RuntimeError: if it has failed.
        """
        given, taken = self._process.stdin, self._process.stdout
        assert given is not None
        assert taken is not None
        self._write(given, word)
        answer = taken.readline()
        if not answer:
            raise RuntimeError(f"no answer from {self._checkout.name}: does it have this method?")
        found: dict[str, float] = json.loads(answer)
        return found

    def end(self) -> float:
        """Let it end; the sum of its weights."""
        total = self.say("end")["weights"]
        self._process.wait()
        return total

    @staticmethod
    def _write(stream: IO[str], word: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # its silence is told of
            stream.write(word + "\n")
            stream.flush()


def compare_steps(
    base: Path, here: Path, name: str, data: Path, options: argparse.Namespace
) -> str:
    """A line of the table of steps."""
    sides = [Side(checkout, name, data, options.precision) for checkout in (base, here)]
    times: list[list[float]] = [[], []]
    for step in range(options.steps + UNTIMED):
        for side, seconds in zip(sides, times, strict=True):
            taken = side.say("step")["cpu"]
            if step >= UNTIMED:
                seconds.append(taken)
    before, after = (statistics.median(seconds) for seconds in times)
    weights = [side.end() for side in sides]
    same = "the same" if weights[0] == weights[1] else f"{weights[1] / weights[0] - 1:+.1e}"
    return (
        f"| {name} | {before * 1e3:.0f} ms | {after * 1e3:.0f} ms | {before / after:.2f} | {same} |"
    )


def compare_starts(
    base: Path, here: Path, name: str, data: Path, options: argparse.Namespace
) -> str:
    """The line of the table of first steps: without the time that a second step takes."""
    times: list[list[float]] = [[], []]
    for _ in range(options.rounds):
        for checkout, seconds in zip((base, here), times, strict=True):
            side = Side(checkout, name, data, options.precision)
            first, second = side.say("step"), side.say("step")
            seconds.append(first["cpu"] - second["cpu"])
            side.end()
    before, after = (statistics.median(seconds) for seconds in times)
    return f"| {name} | {before:.2f} s | {after:.2f} s | {before / after:.2f} | |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", type=Path, help="the other checkout")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="which lines")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--steps", type=int, default=7, help="timed steps of each side")
    parser.add_argument("--volumes", type=int, default=0, help="compare first steps, with as many")
    parser.add_argument("--rounds", type=int, default=5, help="starts of each side")
    parser.add_argument("--data", type=Path, help="folder with the phantoms ct and mr")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.data, options.precision)
        return 0
    if options.base is None:
        parser.error("--base is needed: the checkout to compare with")

    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        data = options.data
        if data is None:
            from napari_uda.phantom.generate import write_phantom

            data = Path(folder)
            write_phantom(data, subjects=-(-options.volumes // 2) or 4, size=96)
        what = f"first step of {options.volumes} volumes" if options.volumes else "step"
        print(f"| {what} | {options.base.name} | here | ratio | sum of weights |")
        print("|---|---|---|---|---|")
        compare = compare_starts if options.volumes else compare_steps
        for name in ["se_asa, warm-up"] if options.volumes else options.kinds:
            try:
                line = compare(options.base.resolve(), here, name, data, options)
            except RuntimeError as error:  # such as a method that the other checkout has not
                line = f"| {name} | {error} | | | |"
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
