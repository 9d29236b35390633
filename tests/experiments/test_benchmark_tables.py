"""Tables hold the numbers worked out by hand, and published numbers only in columns of their own."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from benchmark_cases import run_tiny, tiny_spec

from napari_uda.core.csv_text import read_csv
from napari_uda.evaluation.protocols import METRICS
from napari_uda.experiments import tables
from napari_uda.experiments.fingerprints import labels_fingerprint
from napari_uda.experiments.plan import plan
from napari_uda.experiments.results import DataResults, collect
from napari_uda.experiments.spec import Spec
from napari_uda.experiments.store import Result, Store
from napari_uda.run.run import write_text

Domains = tuple[Path, Path]
ROWS = [
    {"name": "source_only", "method": "source_only"},
    {"name": "best | of all", "method": "source_only", "settings": {"batch_size": 3}},
    {"name": "target_supervised", "method": "target_supervised"},
]
PUBLISHED = [
    {
        "row": "source_only",
        "source": "Somebody et al. 2020, Table 1",
        "unit": "ASD in voxels",
        "dice": {"inner": 11.0, "outer": 22.0},
        "distance": {"inner": 1.0, "mean": 9.0},
    }
]
# Dice of inner and outer on three volumes, by row and seed
DICE = {
    "source_only": {0: ([0.1, 0.2, 0.3], [0.3, 0.4, 0.5]), 1: ([0.3, 0.4, 0.5], [0.3, 0.4, 0.5])},
    "best | of all": {0: ([0.4, 0.5, 0.6], [0.5, 0.6, 0.7]), 1: ([0.6, 0.7, 0.8], [0.5, 0.6, 0.7])},
    "target_supervised": {0: ([0.8, 0.8, 0.8], [0.9, 0.9, 0.9]), 1: ([0.8, 0.8, 0.8], [0.9, 0.9, 0.9])},
}  # fmt: skip


def fake_result(domain: Path, inner: list[float], outer: list[float], missed: int) -> Result:
    """A result as a cell writes it, with a distance of ten times (1 - Dice)."""
    cases, summary = [], {}
    for name, values in (("inner", inner), ("outer", outer)):
        for index, value in enumerate(values):
            numbers = {c: value if c == "dice" else 10 * (1 - value) for c in METRICS}
            cases.append({"case": f"c{index}", "name": name, "state": "both", **numbers})
        mean = sum(values) / len(values)
        summary[name] = {
            **{c: mean if c == "dice" else 10 * (1 - mean) for c in METRICS},
            "n_missing": missed,
        }
    return Result("recommended", labels_fingerprint(domain), summary, cases)


def collected(domains: Domains, folder: Path, **changes: Any) -> tuple[Spec, DataResults]:
    """Results that were written by hand instead of trained."""
    given = {"rows": ROWS, "seeds": [0, 1], "published": PUBLISHED, **changes}
    spec = tiny_spec(domains, folder, **given)
    store = Store(folder / "out")
    cells = plan(spec, store.out)
    for cell in cells:
        values = DICE[cell.row].get(cell.seed)
        if values is not None:
            missed = int(cell.row == "source_only" and cell.seed == 1)
            result = fake_result(domains[1], *values, missed)
            write_text(store.result_file(cell.key), json.dumps(vars(result)))
    (found,) = collect(spec, cells, store)
    return spec, found


def lines_of(table: tables.Table) -> dict[str, list[str]]:
    return {line[0]: line[1:] for line in table.body}


def test_scores_table_by_hand(two_domains: Domains, tmp_path: Path) -> None:
    spec, found = collected(two_domains, tmp_path)
    table = tables.scores_table(spec, found)
    lines = lines_of(table)
    # inner 20 and 40 (sd of two seeds: 20 / sqrt 2), outer 40 twice, average 30 and 40
    assert lines["source_only"][:3] == ["30.0 ± 14.1", "40.0 ± 0.0", "35.0 ± 7.1"]
    assert lines["source_only"][3:6] == ["7.00 ± 1.41", "6.00 ± 0.00", "6.50 ± 0.71"]
    # each of two structures is missed once, in one seed
    assert lines["source_only"][6:8] == ["2", "0, 1"]
    assert lines["best | of all"][2] == "60.0 ± 7.1"
    # (60 - 35) / (85 - 35)
    assert [lines[row["name"]][8] for row in ROWS] == ["0", "50", "100"]
    assert lines["source_only"][9:] == [
        "16.5",
        "9",
        "Somebody et al. 2020, Table 1 (ASD in voxels)",
    ]
    assert lines["best | of all"][9:] == ["", "", ""]


def test_caption_says_what_the_numbers_are(two_domains: Domains, tmp_path: Path) -> None:
    spec, found = collected(two_domains, tmp_path)
    caption = tables.scores_table(spec, found).caption
    for words in (
        "3 volumes scored, 3 of them among the target's training volumes",
        f"split {found.split}",
        "Protocol recommended",
        "ASSD (mm): mean over the border voxels",
        "sample standard deviation over seeds",
        "last weights",
        "not ours",
        "between source_only and target_supervised",
    ):
        assert words in caption


def test_one_seed_has_no_deviation_and_no_bounds_no_gap(
    two_domains: Domains, tmp_path: Path
) -> None:
    spec, found = collected(two_domains, tmp_path, rows=ROWS[:2], seeds=[0], published=[])
    table = tables.scores_table(spec, found)
    assert lines_of(table)["source_only"] == [
        "20.0",
        "40.0",
        "30.0",
        "8.00",
        "6.00",
        "7.00",
        "0",
        "0",
    ]
    assert found.recovered == {}
    names = [name for _, columns in table.header for name in columns]
    assert "gap recovered (%)" not in names
    assert "in" not in names


def test_upper_bound_below_the_lower_leaves_no_gap(two_domains: Domains, tmp_path: Path) -> None:
    spec, found = collected(two_domains, tmp_path, lower="target_supervised", upper="source_only")
    assert found.recovered == {}
    assert any("no gap" in note for note in tables.scores_table(spec, found).notes)


def test_structures_of_the_spec_alone_count(two_domains: Domains, tmp_path: Path) -> None:
    spec, found = collected(two_domains, tmp_path, structures=["outer"])
    assert lines_of(tables.scores_table(spec, found))["source_only"][:2] == ["40.0 ± 0.0"] * 2
    assert found.comparisons["dice"][0].paired.n == 3  # pairs of that structure


def test_matrix_has_both_tests(two_domains: Domains, tmp_path: Path) -> None:
    spec, found = collected(two_domains, tmp_path)
    table = tables.matrix_table(spec, found, "dice")
    lines = [line[2:] for line in table.body]
    # six pairs, all one way: 2 / 2**6, times three pairs of rows by Holm
    assert lines[0] == ["", f"{3 * 2 / 64:.4f}", f"{3 * 2 / 64:.4f}"]
    # Welch of averages 30, 40 against 55, 65: t = -25 / sqrt(25 + 25) with 2 degrees of freedom
    assert lines[1][0] == "0.0715"
    assert lines[2][2] == ""
    assert table.body[1][1] == "60.0 ± 7.1"
    assert "n = 6 pairs" in table.caption
    assert "over the 3 pairs of rows" in table.caption


def test_only_chosen_pairs_are_tested(two_domains: Domains, tmp_path: Path) -> None:
    spec, found = collected(two_domains, tmp_path, compare=[["target_supervised", "source_only"]])
    lines = [line[2:] for line in tables.matrix_table(spec, found, "assd_mm").body]
    assert lines[0] == ["", "", f"{2 / 64:.4f}"]
    assert lines[1] == ["", "", ""]
    assert lines[2][1:] == ["", ""]


def test_row_is_compared_with_the_one_it_has_to_beat(two_domains: Domains, tmp_path: Path) -> None:
    rows = [ROWS[0], {**ROWS[1], "against": "source_only"}, ROWS[2]]
    spec, found = collected(two_domains, tmp_path, rows=rows, published=[])
    table = tables.scores_table(spec, found)
    lines = {name: line[-3:] for name, line in lines_of(table).items()}
    # 60 - 35, and six pairs all one way; that pair alone is tested
    assert lines["best | of all"] == ["source_only", "+25.0", f"{2 / 64:.4f}"]
    assert lines["source_only"] == lines["target_supervised"] == ["", "", ""]
    assert "over n = 6 pairs" in table.caption
    assert "over the 1 pairs of rows" in table.caption
    assert tables.markdown(spec, [found]).count("\n## ") == 1  # no matrix of p-values
    line = tables.score_rows([found])[1]
    assert (line["against"], line["gain_dice_points"]) == ("source_only", pytest.approx(25))
    waiting, none = collected(two_domains, tmp_path, rows=rows, seeds=[7])
    shown = lines_of(tables.scores_table(waiting, none))["best | of all"]
    assert shown[8:11] == ["source_only", "-", "-"]


def test_cost_by_hand(two_domains: Domains, tmp_path: Path) -> None:
    spec, found = collected(two_domains, tmp_path)
    assert tables.cost_rows([found]) == []  # nothing was measured
    costs = [
        {"seconds_per_step": 0.5, "peak_mib": 100.0, "parameters": 3_000_000},
        {"seconds_per_step": 0.7, "peak_mib": 300.0, "parameters": 3_000_000},
    ]
    for result, cost in zip(found.rows[0].results.values(), costs, strict=True):
        result.cost.update(**cost, networks=["translator", "segmentor"], prediction_parameters=5e5)
    text = tables.cost_table(spec, [found]).markdown()
    assert "| source_only | 0.600 | 300 | 3.00 | translator + segmentor | 0.50 |" in text
    assert tables.cost_csv([found]).splitlines()[1] == (
        "source_only,0.6,300.0,3000000.0,translator + segmentor,500000.0"
    )


def test_markdown_has_as_many_cells_everywhere(two_domains: Domains, tmp_path: Path) -> None:
    spec, found = collected(two_domains, tmp_path)
    text = tables.markdown(spec, [found])
    assert text.startswith("# Blobs\n")
    for table in text.split("## ")[1:]:
        rows = [line.replace("\\|", "") for line in table.splitlines() if line.startswith("|")]
        assert len(rows) == 5
        assert len({row.count("|") for row in rows}) == 1


def test_latex_is_balanced_and_escaped(two_domains: Domains, tmp_path: Path) -> None:
    spec, found = collected(two_domains, tmp_path)
    text = tables.latex(spec, [found])
    assert r"best \textbar{} of all & " in text
    assert r"source\_only & 30.0 $\pm$ 14.1 & " in text
    body = [line for line in text.splitlines() if line.endswith(r" \\")]
    counts = {line.replace(r"\&", "").count("&") for line in body if "multicolumn" not in line}
    assert counts == {12, 4}  # the scores, and the matrices
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 3
    unescaped = text.replace(r"\%", "").replace(r"\_", "").partition("\n")[2]
    assert "%" not in unescaped
    assert "_" not in unescaped


def test_csv_keeps_published_numbers_apart(two_domains: Domains, tmp_path: Path) -> None:
    _, found = collected(two_domains, tmp_path)
    lines = list(csv.DictReader(io.StringIO(tables.scores_csv([found]))))
    first = lines[0]
    assert first["row"] == "source_only"
    assert float(first["dice_percent_inner"]) == pytest.approx(30)
    assert float(first["dice_percent_mean_sd"]) == pytest.approx(50**0.5)
    assert float(first["assd_mm_outer"]) == pytest.approx(6)
    assert first["n_missing"] == "2"
    assert first["published_dice_outer"] == "22.0"
    assert first["published_source"].startswith("Somebody")
    assert lines[1]["published_dice_outer"] == ""
    assert float(lines[1]["gap_recovered_percent"]) == pytest.approx(50)


def test_names_of_rows_and_reasons_are_no_formulas(two_domains: Domains, tmp_path: Path) -> None:
    _, found = collected(two_domains, tmp_path)
    row = dataclasses.replace(found.rows[0], name="=1+1")
    data = found.data.model_copy(update={"name": "@CT"})
    changed = dataclasses.replace(found, rows=[row, *found.rows[1:]], data=data, recovered={})
    text = tables.scores_csv([changed])
    first = next(csv.DictReader(io.StringIO(text)))
    assert (first["row"], first["data"]) == ("'=1+1", "'@CT")
    assert (read_csv(text)[0]["row"], read_csv(text)[0]["data"]) == ("=1+1", "@CT")


def test_tests_csv_says_n_and_why_not(two_domains: Domains, tmp_path: Path) -> None:
    _, found = collected(two_domains, tmp_path, seeds=[0])
    lines = list(csv.DictReader(io.StringIO(tables.pvalues_csv([found]))))
    assert len(lines) == 2 * 3 * 2  # columns, pairs, tests
    welch = [line for line in lines if line["test"] == "welch"]
    assert {(line["p"], line["note"], line["n"]) for line in welch} == {("", "one seed", "2")}
    paired = lines[0]
    assert (paired["test"], paired["n"]) == ("wilcoxon", "6")
    assert float(paired["p"]) == pytest.approx(2 / 64)
    assert float(paired["p_holm"]) == pytest.approx(6 / 64)


def test_unfinished_and_undefined_are_dashes(two_domains: Domains, tmp_path: Path) -> None:
    spec, found = collected(two_domains, tmp_path, seeds=[0, 7])
    table = tables.scores_table(spec, found)
    assert lines_of(table)["source_only"][7] == "0"
    assert "source_only is not finished yet for seed 7." in table.notes
    (tmp_path / "none").mkdir()
    spec, found = collected(two_domains, tmp_path / "none", seeds=[7])
    line = lines_of(tables.scores_table(spec, found))["source_only"]
    assert line[:8] == ["-"] * 7 + ["not run"]


def test_names_of_the_spec_stand_for_values(two_domains: Domains, tmp_path: Path) -> None:
    """Data without dataset.json call their structures label_1, ...; a spec may name them."""
    folder = Path(shutil.copytree(two_domains[1], tmp_path / "unnamed"))
    (folder / "dataset.json").unlink()
    data = {"name": "d", "source": str(two_domains[0]), "target": str(folder)}
    rows = [{"name": "source_only", "method": "source_only"}]
    plain = tiny_spec(two_domains, tmp_path, data=[data], rows=rows, steps=1)
    run_tiny(plain, tmp_path / "out")
    named = [{**data, "labels": {"MYO": 1, "LV": 3}}]
    spec = tiny_spec(two_domains, tmp_path, data=named, rows=rows, steps=1, structures=["LV"])
    store = Store(tmp_path / "out")
    tables = [collect(s, plan(s, store.out), store)[0] for s in (plain, spec)]
    assert [table.structures for table in tables] == [("label_1", "label_3"), ("LV",)]
    before, after = (
        table.rows[0].number("dice", name, table.structures)
        for table, name in zip(tables, ("label_3", "LV"), strict=True)
    )
    assert before == after  # the same cell under another name


def test_rows_that_used_labels_of_the_target_are_named(
    two_domains: Domains, tmp_path: Path
) -> None:
    file = tmp_path / "tags.json"
    file.write_text("{}")
    tagged = {"method": {"presence": "tags", "weak_labels": str(file)}}
    rows = [
        {"name": "source_only", "method": "source_only"},
        {"name": "tagged", "method": "sfda", "init": "source_only", "settings": tagged},
        {"name": "free", "method": "sfda", "init": "source_only"},
        {"name": "again", "method": "sfda", "init": "tagged"},
        {"name": "bound", "method": "target_supervised"},
    ]
    spec = tiny_spec(two_domains, tmp_path, rows=rows)
    (found,) = collect(spec, plan(spec, tmp_path / "out"), Store(tmp_path / "out"))
    used = [
        note for note in tables.scores_table(spec, found).notes if "labels of the target" in note
    ]
    assert used == [
        "tagged used labels of the target in training (weak: which structures each slice contains).",
        "again used labels of the target in training (in the run it starts from, "
        "weak: which structures each slice contains).",
        "bound used labels of the target in training (all: trained on them).",
    ]
