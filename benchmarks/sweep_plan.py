"""Hours and storage of a benchmark before it is run, from a short trial of its rows.

    napari-uda benchmark TRIAL.yaml --data FOLDER --only DATA_SET --out trial
    python benchmarks/sweep_plan.py SPEC.yaml trial [--devices 8]

TRIAL.yaml includes SPEC.yaml and says fewer steps; `benchmarks/specs/sweep_trial.yaml` does. Hours of a row: what a step of its
trial took, times the steps of all its runs, and what the trial took to segment, once for each run. Storage: the size of the
trial's run folder, once for each run; it does not grow with the steps, but for the log. The data need not be there. A row
that the trial has not finished says so, and nothing is guessed for it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_uda.core.csv_text import read_csv
from napari_uda.core.errors import InputError
from napari_uda.experiments.plan import cell_config
from napari_uda.experiments.spec import Row, Spec, read_spec
from napari_uda.experiments.store import Store, read_result

_MIB = 2**20
_ANY_RUN = Path("run")


@dataclass(frozen=True)
class Trial:
    """What the trial measured of a row: seconds of a step, seconds to segment, size of the run folder."""

    step_seconds: float
    predict_seconds: float
    mib: float


def read_trial(folder: Path) -> dict[str, Trial]:
    """The rows that a trial has finished, by name; the last one counts where it has several runs of a row.

    Raises:
        InputError: if the folder is not the output of a benchmark.
    """
    listed, store, found = folder / "cells.csv", Store(folder), {}
    if not listed.is_file():
        raise InputError(f"{folder} has no cells.csv; give the --out of napari-uda benchmark")
    for line in read_csv(listed.read_text(encoding="utf-8")):
        key = Path(line["run"]).name
        result = read_result(store.result_file(key))
        if result is not None and "seconds_per_step" in result.cost:
            size = sum(f.stat().st_size for f in store.run(key).rglob("*") if f.is_file())
            seconds = result.cost["seconds_per_step"]
            found[line["row"]] = Trial(seconds, result.predict_seconds, size / _MIB)
    return found


def steps_of_runs(spec: Spec, row: Row) -> list[int]:
    """The steps of every run of a row."""
    start = _ANY_RUN if row.init else None
    return [
        cell_config(spec, row, data, seed, start).steps
        for data in spec.data
        if not data.runs_of and data.has_row(row)
        for seed in spec.seeds_of(row)
    ]


def table(spec: Spec, trial: Mapping[str, Trial], devices: int) -> Iterator[str]:
    """The plan in Markdown, a line for each row and one for all."""
    yield "| row | runs | steps | seconds per step | hours | MiB per run | GiB |"
    yield "|---|---|---|---|---|---|---|"
    all_runs, all_hours, all_gib, missing = 0, 0.0, 0.0, 0
    for row in spec.rows:
        steps = steps_of_runs(spec, row)
        all_runs += len(steps)
        one = trial.get(row.name)
        if one is None:
            missing += 1
            yield f"| {row.name} | {len(steps)} | {sum(steps)} | not in the trial | | | |"
            continue
        hours = (sum(steps) * one.step_seconds + len(steps) * one.predict_seconds) / 3600
        gib = len(steps) * one.mib / 1024
        all_hours, all_gib = all_hours + hours, all_gib + gib
        yield (
            f"| {row.name} | {len(steps)} | {sum(steps)} | {one.step_seconds:.4g} | {hours:.1f} "
            f"| {one.mib:.0f} | {gib:.1f} |"
        )
    yield f"| all | {all_runs} | | | {all_hours:.1f} | | {all_gib:.1f} |"
    yield ""
    without = f", {missing} rows of unknown cost left out" if missing else ""
    yield f"{all_hours / devices:.1f} hours on {devices} devices that are never idle{without}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("spec", type=Path, help="the benchmark to plan")
    parser.add_argument("trial", type=Path, help="output folder of its trial")
    parser.add_argument("--devices", type=int, default=1, help="GPUs that work at once")
    options = parser.parse_args()
    try:
        for line in table(read_spec(options.spec), read_trial(options.trial), options.devices):
            print(line)
    except InputError as error:
        print(f"sweep_plan: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
