"""Two checkouts beside each other: each in processes of its own, in turns, so that other load falls on both alike."""

from __future__ import annotations

import math
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def python_of(checkout: Path) -> str:
    """The interpreter of a checkout's own environment, where it has one, or this one."""
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if own.exists() and checkout != HERE else sys.executable


def run_in(checkout: Path, arguments: Sequence[str | os.PathLike[str]]) -> tuple[float, str]:
    """Run Python with the package of a checkout: seconds of CPU time, start included, and what it printed.

    Raises:
        RuntimeError: if it fails, with the last line that it said.
    """
    # not the checkout itself: its folder would come before PYTHONPATH
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [python_of(checkout), "-W", "ignore", *arguments],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise RuntimeError(f"{checkout.name} cannot do this ({said})")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done.stdout


def in_turns(
    base: Path, measure: Callable[[Path], dict[str, float]], repeats: int
) -> dict[str, tuple[float, float]]:
    """Medians of what is measured in the other checkout and here, by name; NaN for what a side does not have."""
    found: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    for _ in range(repeats):
        for checkout, taken in zip((base, HERE), found, strict=True):
            taken.append(measure(checkout))
    before, after = (
        {name: statistics.median(one[name] for one in taken) for name in taken[0]}
        for taken in found
    )
    return {
        name: (before.get(name, math.nan), after.get(name, math.nan)) for name in before | after
    }


def print_table(title: str, base: Path, times: dict[str, tuple[float, float]]) -> None:
    """Medians in seconds and their ratio, in Markdown."""
    print(f"| {title}, seconds of CPU time | {base.name} | here | ratio |")
    print("|---|---|---|---|")
    for name, (before, after) in times.items():
        line = f"| {name} | {before:.3f} | {after:.3f} | {before / after:.2f} |"
        print(line.replace(" nan ", " - "), flush=True)
