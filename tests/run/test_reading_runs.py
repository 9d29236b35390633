"""What is read from run folders and said about them."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from written_runs import CONFIG, append_lines, beat, write_preview, write_run

from napari_uda.run import reader as run_reader
from napari_uda.run.comparison import (
    common_scalars,
    different_settings,
    read_record,
    side_by_side,
)
from napari_uda.run.folder import RunFolder, SlicePlace
from napari_uda.run.hints import hints
from napari_uda.run.history import RunHistory, duration, is_share, time_text, title, trailing_mean
from napari_uda.run.reader import RunReader, RunScanner
from napari_uda.run.status import Beat, RunState, machine_text

# --- history --------------------------------------------------------------------------------------


def history_of(points: int = 40, **scalars: float) -> RunHistory:
    history = RunHistory()
    history.add({"step": i, "seconds": i / 2, **scalars} for i in range(1, points + 1))
    return history


def test_history_keeps_each_scalar_by_step() -> None:
    history = RunHistory()
    history.add(
        [{"step": 1, "seconds": 2.0, "a": 3}, {"step": 2, "seconds": 4.0, "a": 1.5, "b": 7}]
    )
    history.add([{"step": 2, "seconds": 4.0, "dice": 0.5}, {"note": "no step"}])
    assert history.names() == ["a", "b", "dice"]
    assert [list(values) for values in history.series("a")] == [[1, 2], [3.0, 1.5]]
    assert [len(values) for values in history.series("none")] == [0, 0]
    assert (history.step, history.seconds) == (2, 4.0)
    assert history.seconds_left(2, 12) == 20.0  # two seconds a step
    history.clear()
    assert (history.step, history.seconds_left(0, 12), history.names()) == (0, None, [])


def test_speed_is_that_of_the_newest_lines() -> None:
    history = RunHistory()
    history.add({"step": i, "seconds": float(i)} for i in range(1, 51))
    history.add({"step": 50 + i, "seconds": 50 + 3.0 * i} for i in range(1, 51))
    assert history.seconds_left(100, 110) == pytest.approx(30.0)


def test_trailing_mean_by_hand() -> None:
    values = np.array([1.0, 3.0, np.nan, 5.0])
    assert trailing_mean(values, 2).tolist() == [1.0, 2.0, 3.0, 5.0]
    assert trailing_mean(values, 9).tolist() == [1.0, 2.0, 2.0, 3.0]
    assert trailing_mean(values, 1) is values
    assert math.isnan(trailing_mean(np.array([np.nan]), 3)[0])
    assert trailing_mean(np.array([]), 3).size == 0


def test_titles() -> None:
    assert title("adversarial_main") == "adversarial main"
    assert "for watching, not for selection" in title("source_validation_dice")
    assert "selects the weights" in title("source_validation_dice", selects=True)
    assert [is_share(n) for n in ("structure_dice", "reliable_share", "dice_loss")] == [
        True,
        True,
        False,
    ]


# --- health ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scalars", "method", "level", "words"),
    [
        ({"discriminator_main": 0.01}, {}, "warning", "teaches nothing"),
        ({"discriminator_main": 0.5}, {}, None, ""),
        ({"discriminator_main": 0.69}, {}, "note", "as good as guessing"),
        ({"discriminator_main": 1.4}, {}, "warning", "worse than guessing"),
        # 0.24 is low for cross-entropy, and a coin's for least squares
        ({"discriminator_main": 0.24}, {"adversary": {"loss": "bce"}}, None, ""),
        ({"discriminator_main": 0.249}, {"adversary": {"loss": "ls"}}, "note", "guessing"),
        ({"discriminator_source": 0.249}, {"translator": {"loss": "ls"}}, "note", "guessing"),
        ({"reliable_share": 0.1}, {}, "warning", "Only 10%"),
        ({"reliable_share": 0.7}, {}, None, ""),
        ({"reliable_share": 0.999}, {}, "note", "99.9%"),
        ({"structure_dice": 0.3}, {}, "note", "may move anatomy"),
        ({"segmentation": float("nan")}, {}, "warning", "not finite since step 1;"),
        ({"adversarial_main": 5.0}, {}, None, ""),
    ],
)  # fmt: skip
def test_hints_about_scalars(
    scalars: dict[str, float], method: dict[str, object], level: str | None, words: str
) -> None:
    found = hints(history_of(**scalars), {"method": method})
    assert [hint.level for hint in found] == ([level] if level else [])
    assert all(words in hint.text for hint in found)


def test_too_few_points_say_nothing() -> None:
    assert hints(history_of(9, discriminator_main=0.001), {}) == []
    assert hints(RunHistory(), {}) == []


def test_divergence_and_order_of_hints() -> None:
    history = history_of(60, segmentation=0.2, reliable_share=0.999)
    history.add({"step": i, "seconds": i / 2, "segmentation": 4.0} for i in range(61, 90))
    found = hints(history, {})
    assert [hint.level for hint in found] == ["warning", "note"]
    assert "diverges" in found[0].text


def test_hints_about_foreground() -> None:
    nothing = {"MYO": np.zeros(2), "LVC": np.zeros(2)}
    assert "only background" in hints(RunHistory(), {}, nothing)[0].text
    one = {"MYO": np.array([0.0, 4.0]), "LVC": np.zeros(2)}
    assert [h.text for h in hints(RunHistory(), {}, one)] == [
        "Not found on the chosen slices: LVC."
    ]
    assert hints(RunHistory(), {}, {"MYO": np.ones(2)}) == []


# --- reader ---------------------------------------------------------------------------------------


def test_reader_hands_over_what_is_new(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started", lines=3)
    reader = RunReader(folder.path)
    first = reader.look()
    assert [line["step"] for line in first.lines] == [1, 2, 3]
    assert (first.total, first.method, first.status.state) == (100, "se_asa", RunState.BROKEN)
    assert reader.look().lines == []
    append_lines(folder, 4, 5)
    with folder.metrics_file.open("a") as file:
        file.write('{"step": 6, "sec')
    following = reader.look()
    assert [line["step"] for line in following.lines] == [4, 5]
    assert not following.restarted
    with folder.metrics_file.open("a") as file:
        file.write('onds": 3.0}\nnonsense\n')
    assert [line["step"] for line in reader.look().lines] == [6]


def test_reader_begins_again_after_a_rewind(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started", lines=5)
    reader = RunReader(folder.path)
    reader.look()
    kept = folder.metrics_file.read_text().splitlines(keepends=True)[:2]
    new = folder.path / "new"
    new.write_text("".join(kept))
    new.replace(folder.metrics_file)
    update = reader.look()
    assert update.restarted
    assert [line["step"] for line in update.lines] == [1, 2]
    folder.metrics_file.unlink()
    assert reader.look().restarted
    assert not reader.look().restarted


def test_a_long_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_reader, "MOST_BYTES", 500)
    reader = RunReader(write_run(tmp_path / "run", "finished", lines=50).path)
    steps, parts, more = [], 0, True
    while more:
        update = reader.look()
        steps += [line["step"] for line in update.lines]
        parts, more = parts + 1, update.more
    assert steps == list(range(1, 51))
    assert parts > 4


def test_reader_hands_over_each_preview_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started")
    reader = RunReader(folder.path)
    assert reader.look().preview is None
    write_preview(folder, 10, fill=2)
    update = reader.look()
    preview = update.preview
    assert preview is not None
    assert preview.step == 10
    assert preview.places == (SlicePlace("target", "mr_0", 0), SlicePlace("target", "mr_0", 1))
    assert preview.names == {1: "MYO", 3: "LVC"}
    assert set(np.unique(preview.maps["prediction"])) == {0, 3}  # class 2 has value 3
    assert preview.maps["input"].dtype == np.float32
    areas = {name: area.tolist() for name, area in preview.areas_mm2().items()}
    assert areas == {"MYO": [0, 0], "LVC": [24, 24]}  # 6 pixels of 4 mm²
    assert update.slices == {"target": {"mr_0": 6}, "source": {"ct_0": 4}}
    assert reader.look().preview is None
    (folder.previews / "000020.npz").write_bytes(b"half")
    assert reader.look().preview is None
    write_preview(folder, 20)
    again = reader.look().preview
    assert again is not None
    assert again.step == 20


@pytest.mark.parametrize("config", ["a: [", "just text", ""])
def test_unreadable_settings_make_a_broken_run(config: str, tmp_path: Path) -> None:
    update = RunReader(write_run(tmp_path / "run", "finished", config=config).path).look()
    assert update.status.state is RunState.BROKEN
    assert "config.yaml" in update.status.reason
    assert (update.total, update.method) == (0, "")


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    update = RunReader(tmp_path / "gone").look()
    assert update.status.state is RunState.BROKEN
    assert "no config.yaml" in update.status.reason


# --- words ----------------------------------------------------------------------------------------


# --- in words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "1 h"), (7500, "2 h 5 min"),
        (86400, "1 d"), (90000, "1 d 1 h"), (-3, "0 s"),
    ],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_progress_and_machine_in_words() -> None:
    assert time_text(61, None) == "1 min so far"
    assert time_text(61, 30) == "1 min so far, about 30 s left"
    assert time_text(61, None, is_running=False) == "trained for 1 min"  # whatever ended it
    assert machine_text(None) == ""
    gpu = Beat(device="cuda:0 (H100)", memory_mib=2048, gpu_memory_mib=3072, gpu_total_mib=81920)
    assert machine_text(gpu) == "cuda:0 (H100) · 3.0 of 80 GiB on the GPU · 2.0 GiB of memory"


# --- several runs ---------------------------------------------------------------------------------


def test_scanner_lists_runs_newest_first(tmp_path: Path) -> None:
    old = write_run(tmp_path / "runs" / "old", "started", "finished", lines=100)
    new = write_run(tmp_path / "runs" / "new", "started", lines=7)
    bad = write_run(tmp_path / "runs" / "bad", "finished", config="a: [")
    (tmp_path / "runs" / "other").mkdir()
    for age, folder in ((300, old), (0, new), (900, bad)):
        for file in (folder.metrics_file, folder.config_file):
            if file.exists():
                os.utime(file, (1e9 - age, 1e9 - age))
    beat(new, step=9)
    scanner = RunScanner()
    found = scanner.scan([tmp_path / "runs", new.path, tmp_path / "gone"])
    assert [run.path.name for run in found] == ["new", "old", "bad"]
    states = [run.status.state for run in found]
    assert states == [RunState.RUNNING, RunState.FINISHED, RunState.BROKEN]
    assert [(run.step, run.total) for run in found] == [(9, 100), (100, 100), (0, 0)]
    bad.config_file.write_text(CONFIG)
    assert {run.status.state for run in scanner.scan([bad.path])} == {RunState.FINISHED}


def scored(folder: RunFolder, *rows: tuple[str, float, float]) -> None:
    lines = ["case,label,name,state,dice,assd_mm,hd95_mm"]
    lines += [f"c{i},1,{name},both,{dice},{assd},nan" for i, (name, dice, assd) in enumerate(rows)]
    folder.scores_file.write_text("\n".join(lines) + "\n")


def test_differences_of_two_runs(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", "finished", lines=3, reliable_share=0.5)
    config = CONFIG.replace("steps: 100", "steps: 50").replace(", size: 32", "") + "extra: 1\n"
    second = write_run(tmp_path / "b", "finished", lines=2, config=config)
    scored(first, ("MYO", 0.5, 1.0), ("MYO", 0.7, 2.0), ("LVC", 0.9, math.nan))
    a, b = read_record(first.path), read_record(second.path)
    assert different_settings(a, b) == [
        ("data.size", "32", "–"), ("steps", "100", "50"), ("extra", "–", "1"),
    ]  # fmt: skip
    assert common_scalars(a, b) == ["segmentation", "reliable_share"]
    rows = {name: values for name, *values in side_by_side(a, b)}
    assert rows["MYO · Dice"] == ["0.600", "–"]
    assert rows["mean · Dice"] == ["0.750", "–"]
    assert rows["MYO · ASSD (mm)"] == ["1.50", "–"]
    assert "LVC · ASSD (mm)" not in rows
    assert not any("HD95" in name for name in rows)


def test_a_run_with_itself_differs_in_nothing(tmp_path: Path) -> None:
    record = read_record(write_run(tmp_path / "a", "finished", lines=1).path)
    assert different_settings(record, record) == []
    assert side_by_side(record, record) == []
    assert json.loads((tmp_path / "a" / "metrics.jsonl").read_text())["step"] == 1
