"""Measure how quick napari stays with the docks at work, side by side with napari alone.

    tools/with-display python benchmarks/viewer.py [--quick] [--large] [--only PART ...]

Real windows, real docks, a real training and the shipped model. Each part runs in a process of its own, so
that every window is as cold as on a user's first click, and on settings of its own. Gaps are times between
two beats of a timer of 5 ms in the thread of the window. Prints one table; exit code 1 when a goal is missed.

train     gaps while a training runs in a child process and the Train dock watches it
segment   gaps while the Segment dock segments a volume and shows the result
scroll    time of a change of slice with all docks open, and in napari alone with the same arrays, in turns
edit      from a stroke of the brush until the Score dock shows its score
attach    the Watch tab turns to a run with 20 000 lines of metrics
large     with --large: results of 512 x 512 x 300 voxels are shown, side by side, and scrolled through, and the
          same in napari alone, in turns
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PARTS = ("train", "train_bare", "segment", "segment_bare", "scroll", "edit", "attach")
LARGE = "large"
"""A bare part adds the layers to napari alone that the part before it showed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller volumes, shorter phases")
    parser.add_argument("--large", action="store_true", help="only the part of a large volume")
    parser.add_argument("--only", nargs="+", metavar="PART", choices=PARTS, default=PARTS)
    parser.add_argument("--part", choices=(*PARTS, LARGE), help=argparse.SUPPRESS)
    parser.add_argument("--shared", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        from viewer_parts import measure

        rows = [vars(row) for row in measure(options.part, options.shared, quick=options.quick)]
        (options.shared / f"{options.part}.json").write_text(json.dumps(rows))
        return 0
    header = (
        f"{'milliseconds':<58}{'median':>8}{'p95':>8}{'p99':>8}{'max':>8}{'computed':>9}{'n':>7}"
    )
    print(header, flush=True)
    missed = False
    with tempfile.TemporaryDirectory(prefix="napari_uda_viewer_") as folder:
        for part in (LARGE,) if options.large else options.only:
            for row in run_part(part, Path(folder), quick=options.quick):
                print(line(row), flush=True)
                missed |= "MISSED" in str(row["verdict"])
    return 1 if missed else 0


def run_part(part: str, shared: Path, *, quick: bool) -> list[dict[str, object]]:
    """Measure one part in a process of its own, away from the settings and runs of the user."""
    home = shared / "home" / part
    home.mkdir(parents=True)
    environment = {
        **os.environ,
        "XDG_CONFIG_HOME": str(home),
        "XDG_DATA_HOME": str(home),
        "NAPARI_CONFIG": str(home / "napari.yaml"),
    }
    command = [sys.executable, __file__, "--part", part, "--shared", str(shared)]
    subprocess.run(
        command + ["--quick"] * quick, env=environment, cwd=home, check=True, stderr=_log(part)
    )
    rows: list[dict[str, object]] = json.loads((shared / f"{part}.json").read_text())
    return rows


def _log(part: str) -> int | None:
    """Warnings of napari are of no interest here, unless somebody asks for them."""
    return None if os.environ.get("VIEWER_VERBOSE") else subprocess.DEVNULL


def line(row: dict[str, object]) -> str:
    """A row as text."""
    numbers = (row[name] for name in ("median", "p95", "p99", "worst"))
    cells = "".join(f"{value:>8.1f}" for value in numbers)
    own = row["own"]
    computed = "" if not isinstance(own, float) or math.isnan(own) else f"{own:.1f}"
    return f"{row['what']!s:<58}{cells}{computed:>9}{row['count']:>7}  {row['verdict']}"


if __name__ == "__main__":
    sys.exit(main())
