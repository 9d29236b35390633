"""What was missed is said in words, and what was not measured is counted; the numbers of the files stay."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

import napari_uda as uda
from napari_uda.core.csv_text import csv_text
from napari_uda.data.slice_position import slice_name
from napari_uda.data.volume import Volume
from napari_uda.evaluation.cohort import write_cohort
from napari_uda.evaluation.protocols import Protocol
from napari_uda.evaluation.report import evaluate_slice
from napari_uda.evaluation.score_words import (
    counted,
    counted_structures,
    mean_cell,
    penalty_note,
    plus_minus,
    score_cell,
)
from napari_uda.evaluation.scores import SLICE_COLUMNS, Scores

NAMES = {1: "heart", 2: "liver", 3: "spleen", 4: "gallbladder"}
DISTANCES = ("assd_mm", "hd95_mm")


def scored(
    case: str = "a", *, missed: bool = True, protocol: str | Protocol = "recommended"
) -> Scores:
    """A heart that is right, a liver that is missed or right, a spleen that is invented."""
    reference = np.zeros((3, 8, 8), np.uint8)
    reference[1, 1:4, 1:4] = 1
    reference[1, 5:7, 5:7] = 2
    found = reference.copy()
    if missed:
        found[found == 2] = 0
        found[2, :2, :2] = 3
    return uda.evaluate(
        found, reference, spacing_mm=(2, 1, 1), names=NAMES, case=case, protocol=protocol
    )


def test_a_missing_structure_is_not_shown_as_measured() -> None:
    heart, liver, spleen, gallbladder = scored().rows
    diagonal = math.hypot(6, 8, 8)
    assert liver["assd_mm"] == spleen["hd95_mm"] == pytest.approx(diagonal)  # the file's number
    assert [score_cell(row, "assd_mm", 2) for row in (heart, liver, spleen, gallbladder)] == [
        "0.00", "missed", "–", "–",
    ]  # fmt: skip
    assert score_cell(liver, "dice", 3) == "0.000"  # a Dice of 0 is what was measured
    assert penalty_note(liver, DISTANCES) == (
        f"No distance can be measured: missed. {diagonal:.2f} mm enters the mean as a penalty."
    )
    assert penalty_note(spleen, DISTANCES).startswith("No distance can be measured: not in the ref")
    assert penalty_note(heart, DISTANCES) == penalty_note(gallbladder, DISTANCES) == ""


def test_penalties_are_counted_beside_the_mean() -> None:
    joined = Scores.join([scored("a"), scored("b", missed=False), scored("c", missed=False)])
    heart, liver, spleen, _, mean = joined.summary()
    assert counted(heart, DISTANCES) == "3"
    assert counted(liver, DISTANCES) == counted(mean, DISTANCES) == "3, 1 penalised"
    assert (spleen["assd_mm"]["n"], spleen["assd_mm"]["n_penalised"]) == (1, 1)
    assert liver["dice"]["n_penalised"] == 0
    assert mean_cell(liver, "assd_mm", 2).startswith("4.27 ± ")  # two are 0, one is the diagonal
    assert mean_cell(spleen, "assd_mm", 2) == "–"  # nothing of it was measured
    assert mean_cell(mean, "assd_mm", 2) != "–"
    assert counted_structures(scored().rows, DISTANCES) == "n 3, 2 penalised"
    assert "3, 1 penalised" in joined.table()
    assert "3, 1 penalised" in joined._repr_html_()


def test_a_protocol_that_leaves_distances_out_penalises_nothing() -> None:
    left_out = uda.evaluate(
        np.zeros((1, 4, 4), np.uint8),
        np.ones((1, 4, 4), np.uint8),
        spacing_mm=(1, 1, 1),
        protocol=scored().protocol.model_copy(update={"empty": "nan"}),
    )
    (row,) = left_out.rows
    assert (score_cell(row, "assd_mm", 2), penalty_note(row, DISTANCES)) == ("missed", "")
    assert counted(left_out.summary()[0], DISTANCES) == "1"


def test_slices_that_are_penalised_are_counted_where_slices_are_averaged() -> None:
    rules = scored().protocol.model_copy(update={"scope": "slice"})
    liver = scored(protocol=rules).summary()[1]
    assert liver["assd_mm"]["n_penalised"] == liver["assd_mm"]["n"] == 1  # in one of three slices


def test_cohort_file_counts_penalties_in_its_last_column(tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort.csv", [("m", scored())])
    lines = list(csv.DictReader(io.StringIO((tmp_path / "cohort.csv").read_text())))
    assert [line["n_penalised"] for line in lines] == ["0", "1", "1", "0", "1"]
    assert list(lines[0])[-1] == "n_penalised"


def test_one_case_has_no_deviation() -> None:
    one = {"mean": 0.5, "sd": math.nan, "n": 1, "n_missing": 0, "n_penalised": 0}
    assert plus_minus(one, 2) == "0.50"
    assert plus_minus({**one, "mean": math.nan}, 2) == "–"
    assert plus_minus({**one, "sd": 0.25}, 2) == "0.50 ± 0.25"


@pytest.mark.parametrize("flip", [1, -1])
def test_slices_are_named_as_the_docks_name_them(flip: int) -> None:
    affine = np.diag([-2.0, 3.0, 4.0 * flip, 1.0])
    affine[:3, 3] = 5, -7, 11
    volume = Volume(np.ones((3, 4, 5), np.uint8), affine, "mr")
    rows = uda.evaluate(volume, volume, axes=("z", "y", "x")).slices
    shape = (5, 4, 3)
    for row in rows:
        axis = "xyz".index(str(row["axis"]))
        assert row["slice_name"] == slice_name(affine, shape, axis, int(row["slice"]))
    assert rows[2]["slice_name"] == f"axial slice 2, {'S 19.0' if flip > 0 else 'S 3.0'} mm"
    assert SLICE_COLUMNS[-1] == "slice_name"  # a new column at the end
    again = evaluate_slice(volume, volume, "z", 2)
    assert again[0]["slice_name"] == rows[2]["slice_name"]


def test_slices_of_bare_arrays_are_named_by_their_axis() -> None:
    row = scored().slices[1]
    assert row["slice_name"] == "slice 1 along z, 2.0 mm"
    assert csv_text(SLICE_COLUMNS, [[row[key] for key in SLICE_COLUMNS]]).endswith('2.0 mm"\n')
