"""What a benchmark's tables tell of one of its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_uda.experiments.gap_recovered import share_of_gap

CELLS = """\
row,data,seed,run,status,train_seconds,predict_seconds,reason
source_only,CT to MR,0,runs/aaaa,finished,1.0,0.1,
se_asa,CT to MR,0,runs/bbbb,finished,1.0,0.1,
se_asa,MR to CT,0,runs/cccc,finished,1.0,0.1,
"""
TABLE = """\
data,row,n_volumes,seeds,dice_percent_mean,gap_recovered_percent
CT to MR,source_only,4,0 1,40.0,0.0
CT to MR,se_asa,4,0 1,70.0,61.4
MR to CT,se_asa,3,0,70.0,
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "bench"
    for key in ("aaaa", "bbbb", "cccc", "dddd"):
        (folder / "runs" / key).mkdir(parents=True)
    (folder / "cells.csv").write_text(CELLS)
    (folder / "table.csv").write_text(TABLE)
    return folder


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            "bbbb",
            "Recovers 61 % of the gap in mean Dice (row se_asa of benchmark bench, CT to MR, 4 volumes, "
            "2 seeds)",
        ),
        (
            "aaaa",
            "Recovers 0 % of the gap in mean Dice (row source_only of benchmark bench, CT to MR, "
            "4 volumes, 2 seeds)",
        ),
        ("cccc", ""),  # without both bounds there is no gap
        ("dddd", ""),  # of another spec
    ],
)
def test_the_share_is_that_of_the_row_and_data_set(out: Path, key: str, said: str) -> None:
    assert share_of_gap(out / "runs" / key) == said


def test_names_that_tables_keep_as_text_are_said_as_they_are(out: Path) -> None:
    for name in ("cells.csv", "table.csv"):
        text = (
            (out / name).read_text().replace("se_asa,", "'=se_asa,").replace(",se_asa", ",'=se_asa")
        )
        (out / name).write_text(text)
    assert "(row =se_asa of benchmark bench, CT to MR" in share_of_gap(out / "runs" / "bbbb")


@pytest.mark.parametrize("content", ["", "row\n", "gap_recovered_percent\nx\n", None])
def test_other_tables_tell_nothing(out: Path, content: str | None) -> None:
    file = out / "table.csv"
    file.unlink()
    if content is not None:
        file.write_text(content)
    assert share_of_gap(out / "runs" / "bbbb") == ""


def test_a_run_elsewhere_is_of_no_benchmark(out: Path, tmp_path: Path) -> None:
    assert share_of_gap(tmp_path / "mine") == ""
    moved = (out / "runs" / "bbbb").rename(out / "bbbb")
    assert share_of_gap(moved) == ""
