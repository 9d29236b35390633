"""Scores in words, as HTML, and as a table of pandas."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

import napari_uda as uda
from napari_uda.evaluation.scores import SCORE_COLUMNS, SLICE_COLUMNS


def scores(names: dict[int, str] | None = None) -> uda.Scores:
    """A cube that is right, one that is missed."""
    reference = np.zeros((3, 8, 8), np.uint8)
    reference[1, 1:4, 1:4] = 1
    reference[1, 5:7, 5:7] = 2
    found = np.where(reference == 2, 0, reference).astype(np.uint8)
    known = names or {1: "heart", 2: "<i>liver</i>"}
    return uda.evaluate(found, reference, spacing_mm=(2, 1, 1), names=known, case="mr")


def test_scores_in_words() -> None:
    text = str(scores())
    assert text.splitlines()[0] == "Scores of 1 case, protocol recommended"
    assert text.splitlines()[1:] == scores().table().splitlines()
    assert repr(scores()) == "<Scores of 1 case, protocol recommended, 2 rows>"


def test_many_structures_are_cut_and_the_mean_is_kept() -> None:
    many = str(scores({value: f"s{value}" for value in range(1, 100)})).splitlines()
    assert len(many) == 24
    assert many[-2] == "... 79 more structures"
    assert many[-1].startswith("mean ")


def test_html_escapes_names() -> None:
    page = scores()._repr_html_()
    assert "<i>" not in page
    assert "&lt;i&gt;liver&lt;/i&gt;</td>" in page
    assert ">1.000</td>" in page


def test_tables_of_pandas() -> None:
    pytest.importorskip("pandas")
    rows = scores().to_dataframe()
    assert tuple(rows.columns) == SCORE_COLUMNS
    assert rows["dice"].tolist() == [1.0, 0.0]
    assert rows["state"].tolist() == ["both", "missed"]
    assert math.isnan(rows["assd_mm"][1]) or rows["assd_mm"][1] > 0
    slices = scores().to_dataframe("slices")
    assert tuple(slices.columns) == SLICE_COLUMNS
    assert len(slices) == 6
    with pytest.raises(uda.InputError, match="no table 'cases'; choose rows or slices"):
        scores().to_dataframe("cases")  # type: ignore[arg-type]


def test_without_pandas_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        uda.InputError, match=r"^to_dataframe needs pandas; install it: pip install"
    ):
        scores().to_dataframe()


def test_pandas_is_not_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, numpy as np, napari_uda as uda\n"
        "ones = np.ones((2, 2, 2), np.uint8)\n"
        "found = uda.evaluate(ones, ones, spacing_mm=(1, 1, 1))\n"
        "str(found), found._repr_html_()\n"
        "sys.exit('pandas' in sys.modules or 'IPython' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_slices_of_the_volume_are_counted_as_structures_are_done() -> None:
    seen: list[tuple[int, int]] = []
    ones = np.ones((5, 4, 4), np.uint8)
    uda.evaluate(
        *(ones, ones),
        spacing_mm=(2, 1, 1),
        names={1: "a", 2: "b"},
        on_progress=lambda done, of: seen.append((done, of)),
    )
    assert seen == [(2, 5), (5, 5)]
