"""benchmarks/sweep_plan.py multiplies what a trial measured, and guesses nothing."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from benchmark_scripts import BENCHMARKS, benchmark_script

from napari_uda.core.errors import InputError
from napari_uda.core.small_files import dump_yaml
from napari_uda.experiments.spec import read_spec

RESULT = '{{"protocol": "recommended", "labels": "", "summary": {{}}, "cases": [], "predict_seconds": 36, "cost": {cost}}}'


@pytest.fixture(scope="module")
def sweep_plan() -> ModuleType:
    return benchmark_script("sweep_plan")


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    """The output of a trial in which one row is finished and another has no time of a step."""
    out = tmp_path / "trial"
    for folder in ("results", "runs/aa/checkpoints"):
        (out / folder).mkdir(parents=True)
    (out / "cells.csv").write_text("row,run\nsource_only,runs/aa\nadvent,runs/bb\nsfda,runs/cc\n")
    (out / "results" / "aa.json").write_text(RESULT.format(cost='{"seconds_per_step": 0.25}'))
    (out / "results" / "bb.json").write_text(RESULT.format(cost="{}"))
    (out / "runs" / "aa" / "checkpoints" / "weights").write_bytes(bytes(512 * 1024))
    (out / "runs" / "aa" / "log.txt").write_bytes(bytes(512 * 1024))
    return out


def test_hours_and_storage(sweep_plan: ModuleType, trial: Path, tmp_path: Path) -> None:
    folders = {"source": "s", "target": "t", "score": "t"}
    content = {
        "name": "Sweep",
        "data": [{"name": "one", **folders}, {"name": "two", **folders}],
        "seeds": [0, 1],
        "steps": 600,
        "rows": [
            {"name": "source_only", "method": "source_only", "settings": {"steps": 1200}},
            {"name": "advent", "method": "advent", "init": "source_only", "data": ["two"]},
        ],
    }
    file = tmp_path / "sweep.yaml"
    file.write_text(dump_yaml(content))
    lines = list(sweep_plan.table(read_spec(file), sweep_plan.read_trial(trial), 2))
    # 4 runs of (1200 steps of 0.25 s and 36 s) are 1344 s
    assert lines[2] == "| source_only | 4 | 4800 | 0.25 | 0.4 | 1 | 0.0 |"
    assert lines[3] == "| advent | 2 | 1200 | not in the trial | | | |"
    assert lines[4] == "| all | 6 | | | 0.4 | | 0.0 |"
    said = "0.2 hours on 2 devices that are never idle, 1 rows of unknown cost left out"
    assert lines[-1] == said


def test_the_shipped_sweep_is_what_the_page_says(sweep_plan: ModuleType) -> None:
    spec = read_spec(BENCHMARKS / "specs" / "sweep.yaml")
    steps = [sweep_plan.steps_of_runs(spec, row) for row in spec.rows]
    assert len(steps) == 16
    assert {len(one) for one in steps} == {5 * 3}
    trial = read_spec(BENCHMARKS / "specs" / "sweep_trial.yaml", only=["heart CT to MR"])
    assert [row.name for row in trial.rows] == [row.name for row in spec.rows]
    assert {step for row in trial.rows for step in sweep_plan.steps_of_runs(trial, row)} == {60}


def test_a_folder_that_is_no_trial(sweep_plan: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no cells\.csv; give the --out"):
        sweep_plan.read_trial(tmp_path)
