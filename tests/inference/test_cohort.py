"""Several volumes in a row: rows, files and the table of what came out."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import numpy as np
import pytest
from tiny_cases import blob_case

from napari_uda.core.csv_text import read_csv
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.inference.cohort import (
    SUMMARY,
    Item,
    Row,
    files_of,
    segment_several,
    write_summary,
)
from napari_uda.inference.fit import Fit
from napari_uda.inference.predict import predict
from napari_uda.run.run import Run


def quiet(done: int, total: int) -> None:
    """No progress."""


def read_summary(folder: Path) -> list[dict[str, str]]:
    with (folder / SUMMARY).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_bad_volume_does_not_keep_the_others_from_theirs(
    tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    image = two_domains[1] / "images" / "target_0.nii.gz"

    def damaged() -> Volume:
        raise InputError("bad.nii.gz: is damaged; copy it again")

    items = [
        Item("bad", damaged),
        Item("case_0", lambda: read_volume(image), image),
    ]
    rows: list[Row] = []
    steps: list[tuple[int, int]] = []
    segment_several(
        tiny_run.path,
        items,
        tmp_path / "out",
        False,
        rows,
        lambda *step: steps.append(step),
        threading.Event(),
    )
    expected = predict(tiny_run, image, reliability=False)
    bad, good = rows
    assert bad.problem == "bad.nii.gz: is damaged; copy it again"
    assert good.volumes_ml == expected.volumes_ml()
    assert good.mean_entropy == pytest.approx(expected.entropy[expected.labels > 0].mean())
    assert good.prediction is None  # it is in the files
    assert steps == [(0, 2), (1, 2), (2, 2)]
    saved = read_volume(tmp_path / "out" / "target_0_labels.nii.gz")
    np.testing.assert_array_equal(saved.array, expected.labels)
    first, second = read_summary(tmp_path / "out")
    assert first == {
        "case": "bad",
        "volume_inner_ml": "",
        "volume_outer_ml": "",
        "mean_entropy": "",
        "unreliable": "",
        "seconds": "",
        "problem": bad.problem,
        "unreliable_structures": "",
        "fit": "",
        "fit_reasons": "",
    }
    assert float(second["volume_inner_ml"]) == pytest.approx(good.volumes_ml["inner"], rel=1e-5)
    assert second["unreliable"] == ""
    assert second["unreliable_structures"] == ""  # there was no vote
    assert good.fit == expected.fit
    assert second["fit"] == expected.fit.verdict
    assert second["fit_reasons"] == "; ".join(expected.fit.reasons)


def test_the_table_says_how_much_of_the_structures_is_unreliable(tmp_path: Path) -> None:
    fit = Fit("doubtful", ("first, with a comma", "second"))
    row = Row("a", unreliable=0.006, unreliable_structures=0.75, fit=fit)
    write_summary(tmp_path / SUMMARY, [row], ["inner"])
    (read,) = read_summary(tmp_path)
    assert (read["unreliable"], read["unreliable_structures"]) == ("0.006", "0.75")
    assert (read["fit"], read["fit_reasons"]) == ("doubtful", "first, with a comma; second")
    old = ["case", "volume_inner_ml", "mean_entropy", "unreliable", "seconds", "problem"]
    assert list(read)[: len(old)] == old  # as in 0.1; what is new comes after


def test_what_is_done_before_a_stop_is_kept(
    tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    stop = threading.Event()
    items = files_of(two_domains[1])
    assert [item.case for item in items] == ["target_0", "target_1", "target_2"]
    rows: list[Row] = []

    def stop_at_the_second(done: int, total: int) -> None:
        if done == 1:
            stop.set()

    with pytest.raises(Cancelled):
        segment_several(tiny_run.path, items, tmp_path, False, rows, stop_at_the_second, stop)
    assert [row.case for row in rows] == ["target_0"]
    assert [row["case"] for row in read_summary(tmp_path)] == ["target_0"]


def test_folders_that_cannot_be_segmented_are_named(tmp_path: Path, tiny_run: Run) -> None:
    image, _ = blob_case("a", 0, bright=True)
    write_volume(tmp_path / "two" / "a.nii.gz", image)
    write_volume(tmp_path / "two" / "a.nii", image)
    with pytest.raises(InputError, match="two holds a twice"):
        files_of(tmp_path / "two")
    with pytest.raises(InputError, match="is not a run folder"):
        segment_several(tmp_path, [], None, False, [], quiet, threading.Event())


def test_names_in_the_summary_are_no_formulas(tmp_path: Path) -> None:
    write_summary(tmp_path / SUMMARY, [Row("=case", problem="-1 is no label")], ["inner"])
    (row,) = read_summary(tmp_path)
    assert (row["case"], row["problem"]) == ("'=case", "'-1 is no label")
    (row,) = read_csv((tmp_path / SUMMARY).read_text())
    assert (row["case"], row["problem"]) == ("=case", "-1 is no label")


def test_summary_needs_a_folder_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write summary\.csv"):
        write_summary(tmp_path / "file" / SUMMARY, [Row("a")], ["inner"])
