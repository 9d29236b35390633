"""Kill a benchmark three times with SIGKILL, let it finish, compare it with one that nobody disturbed.

    python benchmarks/kill_benchmark.py [--kills 3] [--seed 0]

`python -m napari_uda benchmark` runs a small spec on phantoms: three rows, one of which starts from
another, two seeds. The kills fall at random moments, one into each part of the training. Started again,
the same command must go on where it was: a cell that was finished keeps its very files, no cell finishes
twice, and the tables of both folders are the same to the byte. Prints one line; exit code 1 when not so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from napari_uda.core.small_files import dump_yaml

TABLES = ("table.md", "table.csv", "table.tex", "tests.csv")
ROWS = (
    {"name": "source_only", "method": "source_only"},
    {"name": "advent", "method": "advent", "settings": {"method": {"adversary": {"width": 4}}}},
    {"name": "sfda", "method": "sfda", "init": "source_only"},
)
SEEDS = (0, 1)
STEPS = 12
SETTINGS = {
    "data": {"size": 64},
    "segmentor": {"width": 4, "depth": 3},
    "batch_size": 2,
    "log_every": 1,
    "save_every": 3,
}


def write_spec(folder: Path) -> Path:
    """The spec and its data."""
    from napari_uda.phantom import write_phantom

    source, target = write_phantom(folder / "data", subjects=2, size=64)
    content = {
        "name": "Killed",
        "data": [{"name": "CT to MR", "source": str(source), "target": str(target)}],
        "rows": list(ROWS),
        "seeds": list(SEEDS),
        "settings": SETTINGS,
        "steps": STEPS,
        "device": "cpu",
    }
    file = folder / "spec.yaml"
    file.write_text(dump_yaml(content), encoding="utf-8")
    return file


def start(spec: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start the benchmark in a process of its own, what it says goes to a file beside `out`."""
    arguments = ["benchmark", str(spec), "--out", str(out), "--no-pictures"]
    with out.with_suffix(".log").open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "napari_uda", *arguments],
            stdout=stream,
            stderr=stream,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def finish(spec: Path, out: Path) -> None:
    """Run the benchmark to its end.

    Raises:
        RuntimeError: with what it said, if it failed.
    """
    if start(spec, out).wait(timeout=1800):
        said = out.with_suffix(".log").read_text(encoding="utf-8")
        raise RuntimeError(f"the benchmark failed: {said[-2000:]}")


def steps_done(out: Path) -> int:
    """Training steps logged in all runs together."""
    return sum(file.read_bytes().count(b"\n") for file in out.glob("runs/*/metrics.jsonl"))


def finished_cells(out: Path) -> dict[str, tuple[int, int]]:
    """Result files that are there, with inode and time of change: a second result would be another file."""
    found = {}
    for file in out.glob("results/*.json"):
        status = file.stat()
        found[file.name] = status.st_ino, status.st_mtime_ns
    return found


def kill_at(spec: Path, out: Path, step: int) -> bool:
    """Start the benchmark and kill it once that many steps are logged; False when it was done before."""
    process = start(spec, out)
    while steps_done(out) < step and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    return process.wait() != 0


def times_finished(out: Path) -> dict[str, int]:
    """How often each run says that it was finished."""
    return {
        file.parent.name: sum(
            json.loads(line)["event"] == "finished" for line in file.read_text().splitlines()
        )
        for file in out.glob("runs/*/events.jsonl")
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    cells = len(ROWS) * len(SEEDS)
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="kill_benchmark_") as temporary:
        work = Path(temporary)
        spec = write_spec(work)
        undisturbed, killed = work / "undisturbed", work / "killed"
        finish(spec, undisturbed)

        found: list[tuple[int, dict[str, tuple[int, int]]]] = []
        for number in range(options.kills):
            part = STEPS * cells / options.kills
            step = round((number + moments.uniform(0.1, 0.9)) * part)
            if not kill_at(spec, killed, step):
                print(f"the benchmark ended before kill {number + 1}; nothing is shown")
                return 1
            found.append((steps_done(killed), finished_cells(killed)))
        finish(spec, killed)

        last = finished_cells(killed)
        kept = all(last[name] == file for _, files in found for name, file in files.items())
        ends = times_finished(killed)
        once = len(ends) == cells and set(ends.values()) == {1}
        same = all(
            (undisturbed / name).read_bytes() == (killed / name).read_bytes() for name in TABLES
        )
    where = ", ".join(f"{step} steps and {len(files)} cells" for step, files in found)
    print(
        f"{cells} cells of {STEPS} steps, killed {len(found)} times (after {where}): "
        f"{'no cell computed twice' if kept and once else 'A CELL WAS COMPUTED TWICE'}, "
        f"tables {'identical' if same else 'DIFFER'}"
    )
    return 0 if kept and once and same else 1


if __name__ == "__main__":
    sys.exit(main())
