"""The measured table ranks methods, and what it does not tell recommends nothing."""

from __future__ import annotations

from pathlib import Path

from napari_uda.experiments.recommendation import FILE, read_measured
from napari_uda.methods.registry import METHODS


def test_methods_are_ranked_by_their_mean_dice(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("data,row,dice_percent_mean\nA,tent,41.5\nA,se_asa,73.25\nA,sfda,\n")
    assert list(read_measured(file).items()) == [("se_asa", 73.25), ("tent", 41.5)]


def test_a_table_that_cannot_be_read_recommends_nothing(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("something else\n1\n")
    assert read_measured(tmp_path / "table.csv") == {}
    assert read_measured(tmp_path / "none.csv") == {}


def test_the_shipped_table_knows_methods_that_there_are() -> None:
    found = read_measured(FILE)
    assert len(found) >= 5
    assert found.keys() <= METHODS.keys()
