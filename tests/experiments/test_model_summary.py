"""What is said of a model before it is chosen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_cases import small_config

from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.experiments.model_summary import describe_model, describe_translator
from napari_uda.run.run import Run


def test_model_is_described(tiny_run: Run) -> None:
    first, second = describe_model(tiny_run.path).splitlines()
    method, domains, steps, date = first.split(" · ")
    assert (method, domains, steps) == ("se_asa", "CT → MR", "4 steps")
    assert len(date.split("-")) == 3
    assert second == "inner · outer"


def test_model_of_a_benchmark_tells_its_share_of_the_gap(tiny_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    run = Path(shutil.copytree(tiny_run.path, out / "runs" / "aaaa"))
    (out / "cells.csv").write_text("row,data,run\nse_asa,CT to MR,runs/aaaa\n")
    (out / "table.csv").write_text(
        "data,row,n_volumes,seeds,gap_recovered_percent\nCT to MR,se_asa,4,0,61.4\n"
    )
    assert describe_model(run).splitlines()[2:] == [
        "Recovers 61 % of the gap in mean Dice (row se_asa of benchmark bench, CT to MR, 4 volumes, 1 seed)"
    ]


def test_model_that_saw_labels_of_the_target_says_so(
    two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    config = small_config("target_supervised", *two_domains, steps=1)
    run = Run.create(tmp_path / "told", config)
    for _ in iterate(run):
        pass
    told = run.facts.target_supervision
    assert told.startswith("all")
    assert describe_model(run.path).splitlines()[2:] == [
        f"It was told of the target's labels: {told}"
    ]


def test_only_a_run_with_generators_is_described_as_one(tiny_run: Run) -> None:
    with pytest.raises(InputError, match="was trained with se_asa, which has no generators"):
        describe_translator(tiny_run.path)
