"""Cells are named by what their numbers depend on, run once, and fail without stopping the others."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_cases import ADVERSARY, SETTINGS, events_of_runs, merge, run_tiny, tiny_spec
from matplotlib.image import imread

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.volume import read_labels, read_volume, write_volume
from napari_uda.evaluation.report import evaluate_folders
from napari_uda.experiments import cells as cells_module
from napari_uda.experiments.cells import run_cell
from napari_uda.experiments.executors import Progress
from napari_uda.experiments.pictures import draw_grid
from napari_uda.experiments.plan import plan
from napari_uda.experiments.results import collect
from napari_uda.experiments.spec import Pictures
from napari_uda.experiments.store import Cell, Store, read_job, write_job
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.run.run import Run

pytestmark = pytest.mark.slow  # cells are trained

Domains = tuple[Path, Path]
SOURCE_ONLY = {"name": "source_only", "method": "source_only"}


def keys(domains: Domains, folder: Path, **changes: Any) -> dict[tuple[str, int], str]:
    """Key of every cell of a spec."""
    folder.mkdir(exist_ok=True)
    planned = plan(tiny_spec(domains, folder, **changes), folder / "out")
    return {(cell.row, cell.seed): cell.key for cell in planned}


def copied(domains: Domains, folder: Path) -> Domains:
    """The same data in another place."""
    for domain in domains:
        shutil.copytree(domain, folder / domain.name)
    return folder / domains[0].name, folder / domains[1].name


def test_key_does_not_know_where_things_lie(two_domains: Domains, tmp_path: Path) -> None:
    here = keys(two_domains, tmp_path / "a")
    there = keys(copied(two_domains, tmp_path), tmp_path / "b", device="auto", name="Other")
    assert here == there
    assert len(set(here.values())) == 2
    assert all(len(key) == 16 for key in here.values())


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"protocol": "sifa"}, True),
        ({"settings": {"save_every": 7, "log_every": 3, "data": {"cache_gib": 0}}}, True),
        ({"steps": 4}, False),
        ({"settings": {"augment": {"intensity": "gin"}}}, False),
        ({"settings": {"method": {"lr_power": 0}}}, False),
        ({"reliability": True}, False),
        ({"seeds": [1]}, False),
    ],
)
def test_key_holds_what_changes_numbers(
    two_domains: Domains, tmp_path: Path, change: dict[str, Any], same: bool
) -> None:
    base = keys(two_domains, tmp_path / "a", rows=[SOURCE_ONLY])
    if "settings" in change:
        change = {"settings": merge(SETTINGS, change["settings"])}
    other = keys(two_domains, tmp_path / "b", rows=[SOURCE_ONLY], **change)
    assert (set(base.values()) == set(other.values())) is same


def test_key_holds_the_content_of_the_data(two_domains: Domains, tmp_path: Path) -> None:
    rows = [SOURCE_ONLY, {"name": "upper", "method": "target_supervised"}]
    before = keys(two_domains, tmp_path / "a", rows=rows)
    source, target = copied(two_domains, tmp_path)
    file = target / "labels" / "target_0.nii.gz"
    labels = read_labels(file)
    write_volume(file, labels.with_array(np.zeros_like(labels.array)))
    changed_labels = keys((source, target), tmp_path / "b", rows=rows)
    # target labels are read by the upper bound alone
    assert changed_labels["source_only", 0] == before["source_only", 0]
    assert changed_labels["upper", 0] != before["upper", 0]
    shutil.copy(source / "labels" / "source_1.nii.gz", source / "labels" / "source_0.nii.gz")
    changed_source = keys((source, target), tmp_path / "b", rows=rows)
    assert changed_source["source_only", 0] != before["source_only", 0]
    assert changed_source["upper", 0] == changed_labels["upper", 0]


def test_start_is_part_of_the_key(two_domains: Domains, tmp_path: Path) -> None:
    row = {"name": "tuned", "method": "advent", "settings": ADVERSARY}
    from_first = [SOURCE_ONLY, {**row, "init": "source_only"}]
    longer = [{**SOURCE_ONLY, "settings": {"steps": 5}}, {**row, "init": "source_only"}]
    found = {
        keys(two_domains, tmp_path / name, rows=rows)["tuned", 0]
        for name, rows in (("a", from_first), ("b", longer), ("c", [SOURCE_ONLY, row]))
    }
    assert len(found) == 3


def test_only_methods_that_need_the_source_learn_where_it_lies(
    two_domains: Domains, tmp_path: Path
) -> None:
    rows = [SOURCE_ONLY, {"name": "upper", "method": "target_supervised"}]
    lower, upper = plan(tiny_spec(two_domains, tmp_path, rows=rows), tmp_path)
    assert lower.config.data.source == two_domains[0]
    assert upper.config.data.source is None


def test_job_file_brings_the_cell_back(two_domains: Domains, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    for cell in plan(tiny_spec(two_domains, tmp_path), store.out):
        assert read_job(write_job(store, cell)) == (store, cell)


def test_finished_cells_are_left_alone_and_rescored(two_domains: Domains, tmp_path: Path) -> None:
    rows = [
        SOURCE_ONLY,
        {"name": "the same", "method": "source_only"},
        {"name": "tuned", "method": "advent", "settings": ADVERSARY, "init": "source_only"},
    ]
    out = tmp_path / "out"
    seen: list[Progress] = []
    spec = tiny_spec(two_domains, tmp_path, rows=rows, seeds=[0, 1])
    first = run_tiny(spec, out, on_progress=seen.append)
    once = ["started", "finished"]
    assert list(events_of_runs(out).values()) == [once] * 4  # equal settings are one run
    assert seen[-1] == Progress(4, 4)
    assert {p.phase for p in seen if p.title} == {"train", "predict", "score"}
    assert ("source_only, CT to MR, seed 1", 3, 3) in {(p.title, p.done, p.of) for p in seen}

    seen.clear()
    assert run_tiny(spec, out, on_progress=seen.append).markdown == first.markdown
    assert list(events_of_runs(out).values()) == [once] * 4
    assert seen == [Progress(4, 4)]  # no table is written for each that is finished

    by_protocol = run_tiny(
        tiny_spec(two_domains, tmp_path, rows=rows, seeds=[0, 1], protocol="sifa"), out
    )
    assert "MASD (voxel)" in by_protocol.markdown
    assert list(events_of_runs(out).values()) == [once] * 4  # scored again, not trained

    tuned = next(cell for cell in plan(spec, out) if cell.row == "tuned")
    assert Run.open(out / "runs" / tuned.key).config.init == out / "runs" / tuned.start
    with (out / "cells.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [line["status"] for line in listed] == ["finished"] * 6
    assert len({line["run"] for line in listed}) == 4


def test_numbers_are_those_of_the_run_folders(two_domains: Domains, tmp_path: Path) -> None:
    spec = tiny_spec(two_domains, tmp_path, rows=[SOURCE_ONLY], seeds=[0, 1])
    run_tiny(spec, tmp_path / "out")
    planned = plan(spec, tmp_path / "out")
    (found,) = collect(spec, planned, Store(tmp_path / "out"))
    again = [
        evaluate_folders(tmp_path / "out" / "runs" / cell.key / "predictions", two_domains[1] / "labels")
        for cell in planned
    ]  # fmt: skip
    for column in ("dice", "assd_mm"):
        for structure in ("inner", "outer", "mean"):
            own = [scores.means(column)[structure] for scores in again]
            number = found.rows[0].number(column, structure, found.structures)
            assert number.mean == pytest.approx(np.mean(own))
            assert number.sd == pytest.approx(np.std(own, ddof=1))
    assert found.volumes == found.seen == 3  # scored on the target itself


def test_runs_are_scored_on_what_they_were_adapted_to(two_domains: Domains, tmp_path: Path) -> None:
    source, target = two_domains
    data = [
        {"name": "new", "source": str(source), "target": str(target), "score": str(source)},
        {"name": "adapted to", "runs_of": "new", "score": str(target)},
    ]
    small = {"generator": {"width": 4, "blocks": 1}, "discriminator_width": 4, "pool_size": 3}
    method = {"segment": "translated_target", "translator": small}
    rows = [
        SOURCE_ONLY,
        {"name": "upper", "method": "target_supervised"},
        {"name": "cyclegan", "method": "cyclegan", "settings": {"method": method}},
    ]
    spec, out = tiny_spec(two_domains, tmp_path, data=data, rows=rows, steps=2), tmp_path / "out"
    planned, store = plan(spec, out), Store(out)
    again = {cell.row: cell for cell in planned if cell.scores_start}
    assert again.keys() == {"source_only", "cyclegan"}  # never on labels that were learnt from
    assert planned.index(again["source_only"]) == 1  # at once after what it scores
    first = run_tiny(spec, out)
    assert first.failed == {}
    assert list(events_of_runs(out).values()) == [["started", "finished"]] * 3
    run = LoadedRun.load(out / "runs" / again["cyclegan"].start, "cpu")
    file = out / "runs" / again["cyclegan"].key / "predictions" / "target_1_labels.nii.gz"
    image = read_volume(target / "images" / "target_1.nii.gz")
    assert np.array_equal(read_labels(file).array, predict(run, image).labels)
    _, found = collect(spec, planned, store)
    assert found.seen == 3
    text = first.markdown.partition("adapted to")[2]
    assert next(x for x in text.splitlines() if x.startswith("| upper")).strip("| -") == "upper"
    assert "upper learnt from labels of these volumes and is not scored on them." in text
    assert "but for target_supervised" not in text

    costs = {cell.row: store.result(cell).cost for cell in planned if not cell.scores_start}  # type: ignore[union-attr]
    assert [costs[row["name"]]["networks"] for row in rows] == [
        ["segmentor"],
        ["segmentor"],
        ["translator", "segmentor"],
    ]
    plain, cycle = costs["source_only"], costs["cyclegan"]
    assert plain["parameters"] == sum(p.numel() for p in run.method.segmentor.parameters())
    one_generator = cycle["prediction_parameters"] - plain["prediction_parameters"]
    assert 0 < one_generator < cycle["parameters"] - plain["parameters"]
    assert all(cost["seconds_per_step"] > 0 < cost["peak_mib"] for cost in costs.values())

    store.result_file(again["cyclegan"].key).unlink()
    assert run_tiny(spec, out).markdown == first.markdown  # scored again, and nothing trained
    assert list(events_of_runs(out).values()) == [["started", "finished"]] * 3


def test_failed_cell_is_named_and_the_rest_goes_on(two_domains: Domains, tmp_path: Path) -> None:
    odd = {"data": {"size": 33}}  # not a multiple of the network's stride
    rows = [
        {"name": "odd", "method": "source_only", "settings": odd},
        {"name": "after odd", "method": "source_only", "init": "odd", "settings": odd},
        SOURCE_ONLY,
    ]
    spec = tiny_spec(two_domains, tmp_path, rows=rows)
    outcome = run_tiny(spec, tmp_path / "out")
    assert set(outcome.failed) == {"odd, CT to MR, seed 0", "after odd, CT to MR, seed 0"}
    assert outcome.of_input
    assert "33" in outcome.failed["odd, CT to MR, seed 0"]
    assert "has failed" in outcome.failed["after odd, CT to MR, seed 0"]
    lines = outcome.markdown.splitlines()
    assert any(line.startswith("| odd | - |") and "| failed |" in line for line in lines)
    assert any(line.startswith("- odd failed for seed 0: ") for line in lines)
    assert not next(line for line in lines if line.startswith("| source_only |")).count("-")


def test_failure_that_was_corrected_is_forgotten(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise FloatingPointError("loss is not finite")

    spec = tiny_spec(two_domains, tmp_path, rows=[SOURCE_ONLY])
    with monkeypatch.context() as patched:
        patched.setattr(cells_module, "_train", broken)
        outcome = run_tiny(spec, tmp_path / "out")
    assert list(outcome.failed.values()) == ["FloatingPointError: loss is not finite"]
    assert not outcome.of_input
    assert run_tiny(spec, tmp_path / "out").failed == {}


def test_stop_saves_and_the_same_call_goes_on(two_domains: Domains, tmp_path: Path) -> None:
    stop = threading.Event()
    spec = tiny_spec(two_domains, tmp_path, rows=[SOURCE_ONLY], steps=6)

    def after_two(progress: Progress) -> None:
        if progress.phase == "train" and progress.done == 2:
            stop.set()

    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        run_tiny(spec, out, on_progress=after_two, stop=stop)
    assert "| not run |" in (out / "table.md").read_text()
    whole = run_tiny(spec, tmp_path / "whole").markdown
    assert run_tiny(spec, out).markdown == whole
    assert list(events_of_runs(out).values()) == [["started", "stopped", "resumed", "finished"]]


def test_moved_benchmark_finds_its_cells(two_domains: Domains, tmp_path: Path) -> None:
    spec = tiny_spec(two_domains, tmp_path, rows=[SOURCE_ONLY])
    run_tiny(spec, tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    data = copied(two_domains, tmp_path)
    moved = tiny_spec(data, tmp_path, rows=[SOURCE_ONLY])
    assert run_tiny(moved, tmp_path / "moved").failed == {}
    assert list(events_of_runs(tmp_path / "moved").values()) == [["started", "finished"]]


def test_second_process_waits_and_finds_the_cell_finished(
    two_domains: Domains, tmp_path: Path
) -> None:
    spec = tiny_spec(two_domains, tmp_path, rows=[SOURCE_ONLY])
    store = Store(tmp_path / "out")
    (cell,) = plan(spec, store.out)
    workers = [threading.Thread(target=run_cell, args=(store, cell)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert list(events_of_runs(store.out).values()) == [["started", "finished"]]


def test_position_prior_sees_no_image(two_domains: Domains, tmp_path: Path) -> None:
    spec = tiny_spec(two_domains, tmp_path, rows=[SOURCE_ONLY], position_prior=True)
    outcome = run_tiny(spec, tmp_path / "out")
    line = next(x for x in outcome.markdown.splitlines() if x.startswith("| blind position prior"))
    assert line.endswith("| - |")  # it has no seed
    (folder,) = (tmp_path / "out" / "runs").glob("position_prior_*")
    first, *others = (read_labels(f).array for f in sorted(folder.glob("*_labels.nii.gz")))
    assert len(others) == 2
    assert all(np.array_equal(first, other) for other in others)  # volumes of one shape, one answer
    assert set(np.unique(first)) == {0, 1, 3}


def test_results_are_plain_json(two_domains: Domains, tmp_path: Path) -> None:
    spec = tiny_spec(two_domains, tmp_path, rows=[SOURCE_ONLY], protocol="sfda", steps=1)
    run_tiny(spec, tmp_path / "out")
    cell: Cell = plan(spec, tmp_path / "out")[0]
    text = Store(tmp_path / "out").result_file(cell.key).read_text()
    assert "NaN" not in text
    content = json.loads(text)
    assert list(content["summary"]) == ["inner", "outer"]
    assert {case["case"] for case in content["cases"]} == {"target_0", "target_1", "target_2"}
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_source_free_row_starts_from_the_run_alone(two_domains: Domains, tmp_path: Path) -> None:
    """The cell of sfda is trained after the source folder is gone."""
    source, target = copied(two_domains, tmp_path)
    rows = [SOURCE_ONLY, {"name": "sfda", "method": "sfda", "init": "source_only"}]
    spec = tiny_spec((source, target), tmp_path, rows=rows)
    store = Store(tmp_path / "out")
    lower, free = plan(spec, store.out)
    assert free.config.data.source is None
    run_cell(store, lower)
    shutil.rmtree(source)
    run_cell(store, free)
    assert store.result(free) is not None
    assert events_of_runs(store.out)[free.key] == ["started", "finished"]


def test_translations_are_kept_and_drawn(two_domains: Domains, tmp_path: Path) -> None:
    small = {
        "generator": {"width": 4, "blocks": 1},
        "discriminator_width": 4,
        "pool_size": 3,
    }
    row = {"name": "cyclegan", "method": "cyclegan", "settings": {"method": {"translator": small}}}
    spec = tiny_spec(two_domains, tmp_path, rows=[SOURCE_ONLY, row], steps=1)
    out = tmp_path / "out"
    assert run_tiny(spec, out).failed == {}
    planned = plan(spec, out)
    runs = {cell.row: out / "runs" / cell.key for cell in planned}
    assert len(list((runs["cyclegan"] / "translations").glob("*_translated.nii.gz"))) == 3
    assert not (runs["source_only"] / "translations").exists()
    (found,) = collect(spec, planned, Store(out))
    wide = imread(draw_grid(found, Pictures(count=1), tmp_path / "wide.png"))
    narrow = imread(draw_grid(found, Pictures(count=1, rows=("source_only",)), tmp_path / "n.png"))
    assert wide.shape[1] / narrow.shape[1] == pytest.approx(5 / 3, abs=0.01)  # one column more


def test_a_case_to_draw_that_no_data_set_scores_is_refused_before_anything_trains(
    two_domains: Domains, tmp_path: Path
) -> None:
    spec = tiny_spec(two_domains, tmp_path, pictures={"cases": ["target_1", "nobody"]})
    with pytest.raises(
        InputError, match=r"'nobody' is not scored; choose among target_0, target_1"
    ):
        plan(spec, tmp_path / "out")
