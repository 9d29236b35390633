"""A spec is read whole, or refused in one sentence that says what to correct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmark_cases import tiny_content, tiny_spec, write_spec

from napari_uda.core.errors import InputError
from napari_uda.experiments.plan import cell_config, plan
from napari_uda.experiments.spec import read_spec
from napari_uda.methods.registry import METHODS

Domains = tuple[Path, Path]
ROW = {"name": "source_only", "method": "source_only"}


def test_folders_are_relative_to_the_spec_or_to_data(two_domains: Domains, tmp_path: Path) -> None:
    content = tiny_content(two_domains)
    content["data"] = [{"name": "d", "source": "ct", "target": "mr"}]
    file = write_spec(tmp_path / "spec.yaml", content)
    assert read_spec(file).data[0].source == tmp_path / "ct"
    moved = read_spec(file, data=tmp_path / "elsewhere").data[0]
    assert moved.target == tmp_path / "elsewhere" / "mr"
    assert moved.score == moved.target  # none is named


def test_rows_come_after_those_they_start_from(two_domains: Domains, tmp_path: Path) -> None:
    rows = [
        {"name": "third", "method": "advent", "init": "second"},
        {"name": "second", "method": "advent", "init": "first"},
        {"name": "first", "method": "source_only"},
    ]
    spec = tiny_spec(two_domains, tmp_path, rows=rows)
    assert [row.name for row in spec.in_order()] == ["first", "second", "third"]
    assert [row.name for row in spec.rows] == ["third", "second", "first"]  # as in the table


def test_rows_run_in_their_order_but_for_what_they_start_from(
    two_domains: Domains, tmp_path: Path
) -> None:
    rows = [
        {"name": "a", "method": "advent", "init": "start"},
        {"name": "b", "method": "source_only"},
        {"name": "start", "method": "source_only"},
    ]
    spec = tiny_spec(two_domains, tmp_path, rows=rows)
    assert [row.name for row in spec.in_order()] == ["start", "a", "b"]


def test_included_file_says_what_the_spec_does_not(two_domains: Domains, tmp_path: Path) -> None:
    shared = {"rows": [ROW, {**ROW, "name": "b"}], "steps": 7, "seeds": [4]}
    (tmp_path / "shared").mkdir()
    write_spec(tmp_path / "shared" / "rows.yaml", shared)
    own = tiny_content(two_domains)
    own = {name: own[name] for name in ("name", "data")} | {"include": "shared/rows.yaml"}
    spec = read_spec(write_spec(tmp_path / "spec.yaml", {**own, "steps": 5}))
    assert (spec.steps, spec.seeds, [row.name for row in spec.rows]) == (
        5,
        (4,),
        ["source_only", "b"],
    )
    with pytest.raises(InputError, match=r"gone\.yaml cannot be used"):
        read_spec(write_spec(tmp_path / "spec.yaml", {**own, "include": "gone.yaml"}))


def test_data_that_scores_runs_of_another_is_filled_and_kept_with_it(
    two_domains: Domains, tmp_path: Path
) -> None:
    content = tiny_content(two_domains)
    content["data"] += [
        {"name": "again", "runs_of": "CT to MR", "score": "other"},
        {"name": "MR to CT", "source": "a", "target": "b"},
    ]
    file = write_spec(tmp_path / "spec.yaml", content)
    again = read_spec(file).data[1]
    assert (again.source, again.target, again.score) == (*two_domains, tmp_path / "other")
    for only in (["CT to MR"], ["again"], ["CT to MR", "again"]):
        assert [each.name for each in read_spec(file, only=only).data] == ["CT to MR", "again"]
    with pytest.raises(
        InputError, match="no data set 'gone'; choose among CT to MR, again, MR to CT"
    ):
        read_spec(file, only=["gone"])


AGAIN = {"name": "again", "runs_of": "CT to MR"}
FIRST = {"name": "CT to MR", "source": "a", "target": "b"}
BAD: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"rows": []}, ("rows",)),
    ({"rows": [ROW, ROW]}, ("row 'source_only' is there twice", "a name of its own")),
    ({"rows": [{**ROW, "init": "nobody"}]}, ("init 'nobody'", "source_only")),
    ({"rows": [{**ROW, "init": "source_only"}]}, ("circle",)),
    ({"rows": [{**ROW, "data": ["MR to CT"]}]}, ("'MR to CT'", "CT to MR")),
    ({"rows": [{**ROW, "seeds": [1, 1]}]}, ("seeds [1, 1]",)),
    ({"rows": [{**ROW, "settings": {"seed": 1}}]}, ("seed has its own place",)),
    ({"rows": [{**ROW, "settings": {"data": {"source": "x"}}}]}, ("data.source",)),
    ({"rows": [{**ROW, "colour": "red"}]}, ("rows (entry 1).colour",)),
    ({"rows": [{"name": "blind position prior", "method": "advent"}]}, ("position_prior: true",)),
    ({"seeds": []}, ("seeds", "at least one")),
    ({"seeds": [-1]}, ("not negative",)),
    ({"steps": -1}, ("steps",)),
    ({"protocol": "medpy"}, ("protocol", "'medpy'", "recommended")),
    ({"compare": [["source_only", "se_asa"]]}, ("'se_asa'", "advent")),
    ({"compare": [["advent", "advent"]]}, ("two different rows",)),
    ({"published": [{"row": "sifa", "source": "x"}]}, ("'sifa'",)),
    ({"published": [{"row": "advent"}]}, ("published (entry 1).source",)),
    ({"pictures": {"rows": ["sifa"]}}, ("pictures", "'sifa'")),
    ({"nonsense": 1}, ("nonsense",)),
    ({"rows": [{**ROW, "against": "se_asa"}]}, ("against 'se_asa'",)),
    ({"rows": [{**ROW, "against": "source_only"}]}, ("against itself",)),
    ({"data": [FIRST, {**AGAIN, "source": "c"}]}, ("'again'", "another source")),
    ({"data": [FIRST, {**FIRST, "name": "x", "runs_of": "gone"}]}, ("runs_of 'gone'",)),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_spec_is_one_sentence(
    two_domains: Domains, tmp_path: Path, change: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        tiny_spec(two_domains, tmp_path, **change)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(str(tmp_path / "spec.yaml"))
    for word in words:
        assert word in said


PLANNED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"rows": [{"name": "a", "method": "nothing"}]}, ("row 'a'", "nothing")),
    ({"rows": [{"name": "a", "method": "advent", "recipe": "none"}]}, ("row 'a'", "'none'")),
    ({"rows": [{**ROW, "settings": {"steps": 0}}]}, ("row 'source_only'", "steps")),
    (
        {"rows": [ROW, {"name": "b", "method": "advent", "init": "source_only", "seeds": [0, 4]}]},
        ("'b'", "no seed 4"),
    ),
    ({"structures": ["inner", "heart"]}, ("'heart'", "inner, outer")),
    ({"data": [{"name": "d", "source": "gone", "target": "gone"}]}, ("gone",)),
]


@pytest.mark.parametrize(("change", "words"), PLANNED)
def test_what_cannot_run_is_said_before_training(
    two_domains: Domains, tmp_path: Path, change: dict[str, Any], words: tuple[str, ...]
) -> None:
    spec = tiny_spec(two_domains, tmp_path, **change)
    with pytest.raises(InputError) as caught:
        plan(spec, tmp_path / "out")
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_no_spec_at_all(tmp_path: Path) -> None:
    for text, word in (("- a\n", "rows:"), ("a: [\n", "not valid YAML")):
        (tmp_path / "spec.yaml").write_text(text)
        with pytest.raises(InputError, match=word):
            read_spec(tmp_path / "spec.yaml")
    with pytest.raises(InputError, match=r"gone\.yaml cannot be used \(no such file"):
        read_spec(tmp_path / "gone.yaml")


SHIPPED = sorted((Path(__file__).parents[2] / "benchmarks" / "specs").glob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_specs_fit_recipes_and_methods(file: Path, tmp_path: Path) -> None:
    """Every row of every shipped spec makes settings, and starts from a row that has its seeds."""
    spec = read_spec(file, data=tmp_path)
    by_name = {row.name: row for row in spec.rows}
    for row in spec.rows:
        for data in spec.data:
            start = tmp_path / "run" if row.init else None
            config = cell_config(spec, row, data, spec.seeds_of(row)[0], start)
            assert config.data.target == data.target
        if row.init:
            assert set(spec.seeds_of(row)) <= set(spec.seeds_of(by_name[row.init]))


@pytest.mark.parametrize("file", [f for f in SHIPPED if "table1" in f.stem], ids=lambda f: f.stem)
def test_rows_have_to_beat_a_source_row_of_the_same_steps_and_augmentation(
    file: Path, tmp_path: Path
) -> None:
    spec = read_spec(file, data=tmp_path)
    by_name = {row.name: row for row in spec.rows}
    start = tmp_path / "run"
    configs = {row.name: cell_config(spec, row, spec.data[0], 0, start) for row in spec.rows}
    for row in spec.rows:
        config, other = configs[row.name], configs.get(row.against)
        wanted = "gin_ipa" if "augm" in row.name and row.method != "sfda" else "none"
        assert config.augment.intensity == wanted
        assert config.batch_size == 4
        begun = configs[row.init].steps if row.init else 0
        assert config.steps + begun == (400 if row.name in SOURCES else 800)
        if other is None:
            assert row.method in ("source_only", "target_supervised")
        else:
            assert other.augment.intensity == configs[row.init].augment.intensity
            assert (other.steps, by_name[row.against].init) == (config.steps, row.init)
    adapted = {row.method for row in spec.rows if row.against}
    left_out = {"source_only", "target_supervised", "tent", "bn_adapt"}
    assert (
        adapted <= set(METHODS) - left_out
        if "seeds" in file.stem
        else adapted == set(METHODS) - left_out
    )


def test_the_rows_with_a_second_seed_are_those_of_the_table(tmp_path: Path) -> None:
    two, one = (
        read_spec(next(f for f in SHIPPED if f.stem == stem), data=tmp_path)
        for stem in ("se_asa_table1_seeds", "se_asa_table1")
    )
    assert all(row in one.rows for row in two.rows)
    assert two.data == one.data[:2]
    assert (two.recipe, two.steps, two.settings) == (one.recipe, one.steps, one.settings)


SOURCES = ("source_only", "source_only + augmentation")


def test_recipe_of_the_data_wins_over_that_of_the_row(tmp_path: Path) -> None:
    """In the other direction the intensity ranges of the paper's recipe are those of the data."""
    spec = read_spec(next(f for f in SHIPPED if f.stem == "mmwhs_paper"), data=tmp_path)
    row = next(row for row in spec.rows if row.name == "se_asa")
    to_mr, to_ct = (cell_config(spec, row, data, 0, tmp_path).data for data in spec.data)
    assert to_mr.source_intensity == to_ct.target_intensity
    assert to_mr.source_intensity != to_ct.source_intensity
    assert (to_mr.size, to_mr.axis) == (256, "y")
