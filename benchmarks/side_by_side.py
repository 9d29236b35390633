"""50 training steps of every method, and `predict`, in two checkouts side by side.

usage: python benchmarks/side_by_side.py OTHER_CHECKOUT [--pairs 15] [--size 48]

Each pair runs both checkouts one after the other, in an order that changes from pair to pair, each in a
process of its own that trains on phantoms with one thread. What is compared is the processor's time, so that
other work on the machine disturbs little. The table gives the median of the ratios this / other, and an
interval of 95 % for it by resampling the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[1]
WARM_UP, STEPS = 5, 50

CHILD = """
import json, sys, time
from pathlib import Path
import torch
import napari_uda as uda
from napari_uda.api import iterate

work, size, names, warm_up, steps = json.loads(sys.argv[1])
work = Path(work)
torch.set_num_threads(1)
settings = {
    "data": {"source": str(work / "data/ct"), "target": str(work / "data/mr"), "size": size},
    "segmentor": {"width": 8, "depth": 3}, "batch_size": 2, "device": "cpu",
    "log_every": 1000, "save_every": 1000,
}
own = {
    "se_asa": {"prototype_batches": 1},
    "attent": {"joint": True, "translator": {"generator": {"width": 4, "blocks": 1}, "discriminator_width": 4}},
    "cyclegan": {"translator": {"generator": {"width": 4, "blocks": 1}, "discriminator_width": 4}},
}

def train(name, folder, count, **more):
    config = uda.build_config(name, method=own.get(name, {}), steps=count, **settings, **more)
    run = uda.Run.create(folder, config)
    for progress in iterate(run):
        yield progress.step

start = work / "start"
if not start.exists():
    for _ in train("source_only", start, 3):
        pass
    print(json.dumps([method["name"] for method in uda.list_methods()]))
    sys.exit()
seconds = {}
out = work / f"runs_{time.monotonic_ns()}"
for method in uda.list_methods():
    name = method["name"]
    if name not in names:
        continue
    more = {"init": str(start)} if "a trained run" in method["needs"] else {}
    began = 0.0
    for step in train(name, out / name, warm_up + steps, **more):
        if step == warm_up:
            began = time.process_time()
        elif step == warm_up + steps - 1:  # the last step also saves
            seconds[name] = time.process_time() - began
image = sorted((work / "data/mr/images").iterdir())[0]
uda.predict(start, image, device="cpu")
began = time.process_time()
for _ in range(3):
    uda.predict(start, image, device="cpu")
seconds["predict"] = time.process_time() - began
print(json.dumps(seconds))
"""


def in_checkout(checkout: Path, work: Path, size: int, names: list[str]) -> Any:
    """What CHILD says in a process that imports the package of one checkout.

    First the names of its methods, having trained the run that others start from; then seconds by name.
    """
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([str(work), size, names, WARM_UP, STEPS])],
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
        cwd=work,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("other", type=Path, help="checkout to compare with")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--size", type=int, default=48, help="side of a slice in pixels")
    options = parser.parse_args()
    other = options.other.resolve()
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        subprocess.run(
            [*(sys.executable, "-m", "napari_uda", "phantom", str(work / "data")),
             *("--subjects", "2", "--size", "64")],
            env={**os.environ, "PYTHONPATH": str(HERE)}, check=True, capture_output=True,
        )  # fmt: skip
        names = in_checkout(other, work, options.size, [])
        for pair in range(options.pairs):
            order = (HERE, other) if pair % 2 else (other, HERE)
            seconds = {path: in_checkout(path, work, options.size, names) for path in order}
            for name, theirs in seconds[other].items():
                if name in seconds[HERE]:
                    ratios.setdefault(name, []).append(seconds[HERE][name] / theirs)
            print(f"pair {pair + 1} of {options.pairs}", file=sys.stderr, flush=True)
    rng = np.random.default_rng(0)
    print(
        f"| row | median ratio this / other, {options.pairs} pairs | 95 % interval |\n|---|---|---|"
    )
    for name, values in ratios.items():
        drawn = rng.choice(values, (2000, len(values)))
        low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
        print(f"| {name} | {np.median(values):.3f} | {low:.3f} to {high:.3f} |")


if __name__ == "__main__":
    main()
