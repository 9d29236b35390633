"""What the outside sees of a run and asks of it: state, previews, stop; none of it changes training."""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_cases import assert_same_tensors, events, metric_lines, small_config, weights_of

from napari_uda.api import iterate
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.run import checkpoint
from napari_uda.run.folder import PreviewRequest, RunFolder, SlicePlace
from napari_uda.run.run import Run
from napari_uda.run.status import Beat, RunState, read_beat, run_status
from napari_uda.training import previews as preview
from napari_uda.training.heartbeat import Heartbeat

Domains = tuple[Path, Path]
CHOSEN = (SlicePlace("target", "target_1", 2), SlicePlace("source", "source_0", 5))


def new_run(folder: Path, domains: Domains, method: str = "source_only", **settings: Any) -> Run:
    return Run.create(folder, small_config(method, *domains, **settings))


def newest_preview(run: RunFolder) -> dict[str, np.ndarray]:
    with np.load(sorted(run.previews.glob("*.npz"))[-1]) as arrays:
        return dict(arrays)


# --- state ----------------------------------------------------------------------------------------


def test_a_run_beats_while_it_trains_and_says_how_it_ended(
    two_domains: Domains, tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run", two_domains, steps=3)
    assert run_status(run).state is RunState.NEW
    iterator = iterate(run)
    next(iterator)
    status = run_status(run)
    assert status.state is RunState.RUNNING
    assert status.beat is not None
    assert status.beat.count >= 1
    assert status.beat.memory_mib > 50
    assert abs(status.beat.time - time.time()) < 60
    list(iterator)
    assert run_status(run).state is RunState.FINISHED
    assert not run.heartbeat_file.exists()
    assert not [t for t in threading.enumerate() if "heartbeat" in t.name]


def test_the_beat_goes_on_during_a_long_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_uda.training.heartbeat.BEAT_SECONDS", 0.0)
    folder = RunFolder(tmp_path)
    with Heartbeat(folder) as heartbeat:
        heartbeat.step, heartbeat.device = 7, torch.device("cpu")
        end = time.monotonic() + 60
        while (read_beat(folder) or Beat()).step != 7 and time.monotonic() < end:
            time.sleep(0.01)
        beat = read_beat(folder)
    assert beat is not None
    assert (beat.step, beat.device.split(",")[0], beat.gpu_total_mib) == (7, "cpu", 0.0)


def test_no_beat_is_written_for_other_ranks(tmp_path: Path) -> None:
    with Heartbeat(RunFolder(tmp_path), active=False):
        assert list(tmp_path.iterdir()) == []


def _folder_with(tmp_path: Path, *kinds: str, beat: dict[str, Any] | None = None) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.config_file.write_text("steps: 1\n")
    lines = [json.dumps({"event": kind, "reason": "no memory"}) + "\n" for kind in kinds]
    folder.events_file.write_text("".join(lines))
    if beat is not None:
        whole = {"count": 3, "time": 1000.0, "pid": 1, "host": "elsewhere", "step": 5}
        rest = {"device": "cpu", "memory_mib": 1, "gpu_memory_mib": 0, "gpu_total_mib": 0}
        folder.write_beat({**whole, **rest, **beat})
    return folder


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        (("started", "finished"), RunState.FINISHED),
        (("started", "stopped"), RunState.STOPPED),
        (("started", "discarded"), RunState.STOPPED),
        (("started", "failed"), RunState.FAILED),
        (("started",), RunState.BROKEN),
        (("started", "stopped", "resumed"), RunState.BROKEN),
        ((), RunState.NEW),
    ],
)
def test_state_of_a_run_without_a_beat(
    kinds: tuple[str, ...], state: RunState, tmp_path: Path
) -> None:
    status = run_status(_folder_with(tmp_path, *kinds))
    assert status.state is state
    assert status.reason == {RunState.FAILED: "no memory"}.get(state, status.reason)
    assert bool(status.reason) == (
        state in (RunState.FAILED, RunState.BROKEN) or "disc" in str(kinds)
    )


def test_a_silent_beat_is_a_broken_run(tmp_path: Path) -> None:
    folder = _folder_with(tmp_path, "started", beat={})
    assert run_status(folder, now=1060.0).state is RunState.RUNNING
    assert run_status(folder, now=1100.0).state is RunState.BROKEN
    # the other machine's clock is an hour behind: only a beat that moves shows that it lives
    seen = read_beat(folder)
    assert run_status(folder, earlier=seen, now=4600.0).state is RunState.BROKEN
    moved = _folder_with(tmp_path, "started", beat={"count": 4, "time": 1002.0})
    assert run_status(moved, earlier=seen, now=4600.0).state is RunState.RUNNING
    # and one that is ahead makes no beat immortal
    assert run_status(folder, now=-3000.0).state is RunState.BROKEN


def test_a_process_that_this_machine_lost_is_broken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "here")
    gone = _folder_with(tmp_path, "started", beat={"host": "here", "pid": 2**22 + 1})
    assert run_status(gone, now=1010.0).state is RunState.BROKEN
    assert run_status(gone, now=1003.0).state is RunState.RUNNING


def test_a_run_is_not_trained_twice_at_once(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path / "run", two_domains, steps=2)
    other = subprocess.Popen(["sleep", "60"])
    beat = dataclasses.asdict(Beat(1, time.time(), other.pid, platform.node()))
    run.write_beat(beat)
    try:
        with pytest.raises(InputError, match=f"trained by process {other.pid}"):
            next(iterate(run))
    finally:
        other.kill()
        other.wait()
    assert run_status(run).state is RunState.RUNNING  # the other's beat is left alone
    assert [p.step for p in iterate(run)] == [1, 2]  # killed: nobody waits for it


def test_damaged_files_do_not_hide_a_run(tmp_path: Path) -> None:
    folder = _folder_with(tmp_path, "started", "finished")
    folder.heartbeat_file.write_text('{"count": "many"}')
    with folder.events_file.open("a") as file:
        file.write('nonsense\n{"event": "fai')
    assert run_status(folder).state is RunState.FINISHED
    folder.config_file.unlink()
    assert run_status(folder).state is RunState.BROKEN


def test_a_model_that_was_handed_on_is_finished(tmp_path: Path) -> None:
    folder = _folder_with(tmp_path)
    folder.checkpoints.mkdir()
    (folder.checkpoints / checkpoint.WEIGHTS).write_bytes(b"")
    assert run_status(folder).state is RunState.FINISHED


def test_a_killed_loop_leaves_a_broken_run(two_domains: Domains, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", two_domains, steps=3)
    iterator = iterate(run)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert run_status(run).state is RunState.BROKEN


# --- requests -------------------------------------------------------------------------------------


def obeyed(run: Run, request: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps until a run that is asked to stop after its first step has obeyed."""
    steps, heard = [], threading.Event()
    read = RunFolder.stop_request

    def listen(folder: RunFolder) -> Any:
        said = read(folder)
        if said:
            heard.set()
        return said

    monkeypatch.setattr(RunFolder, "stop_request", listen)
    for progress in iterate(run):
        steps.append(progress.step)
        if progress.step == 1:
            run.ask_to_stop(request)
            assert heard.wait(60)
    return steps


def test_a_stop_file_saves_and_the_run_resumes_exactly(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = new_run(tmp_path / "whole", two_domains, "se_asa", steps=12)
    list(iterate(whole))
    run = new_run(tmp_path / "run", two_domains, "se_asa", steps=12)
    steps = obeyed(run, "save", monkeypatch)
    assert 1 <= len(steps) < 12
    assert run_status(run).state is RunState.STOPPED
    assert not run.stop_file.exists()
    list(iterate(Run.open(run.path)))
    assert_same_tensors(weights_of(whole), weights_of(run))
    assert metric_lines(whole) == metric_lines(run)
    assert events(run) == ["started", "stopped", "resumed", "finished"]


def test_a_discard_request_saves_nothing(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path / "run", two_domains, steps=500)
    with pytest.raises(Cancelled, match="nothing was saved"):
        obeyed(run, "discard", monkeypatch)
    assert events(run) == ["started", "discarded"]
    assert checkpoint.newest(run.checkpoints) is None
    run.delete()
    assert not run.path.exists()


def test_a_request_to_a_killed_session_does_not_stop_the_next_one(
    two_domains: Domains, tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run", two_domains, steps=2)
    run.ask_to_stop()
    assert [p.step for p in iterate(run)] == [1, 2]
    assert events(run)[-1] == "finished"


def test_deleting_a_run_leaves_foreign_files(two_domains: Domains, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", two_domains, steps=1)
    list(iterate(run))
    (run.path / "notes.txt").write_text("mine")
    run.delete()
    assert [p.name for p in run.path.iterdir()] == ["notes.txt"]


# --- previews -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", ["se_asa", "attent", "target_supervised"])
def test_watching_does_not_change_training(
    method: str, two_domains: Domains, tmp_path: Path
) -> None:
    alone, watched = (
        new_run(tmp_path / name, two_domains, method, steps=4, preview_every=every)
        for name, every in (("alone", 0), ("watched", 1))
    )
    domain = "source" if method == "target_supervised" else "target"
    watched.ask_for_previews(PreviewRequest((SlicePlace(domain, "target_1", 2),), seconds=0))  # type: ignore[arg-type]
    list(iterate(alone))
    list(iterate(watched))
    assert_same_tensors(weights_of(alone), weights_of(watched))
    assert metric_lines(alone) == metric_lines(watched)
    arrays = newest_preview(watched)
    assert (str(arrays["cases"][0]), int(arrays["slices"][0])) == ("target_1", 2)
    assert ("translation" in arrays) == (method == "attent")


def test_a_preview_shows_the_slices_that_were_asked_for(
    two_domains: Domains, tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run", two_domains, "se_asa", steps=2)
    run.ask_for_previews(PreviewRequest(CHOSEN))
    list(iterate(run))
    arrays = newest_preview(run)
    assert list(zip(arrays["domains"], arrays["cases"], arrays["slices"], strict=True)) == [
        ("target", "target_1", 2),
        ("source", "source_0", 5),
    ]
    maps = {n: a for n, a in arrays.items() if a.ndim == 3}
    assert set(maps) == {
        "input", "prediction", "entropy", "reliability", "random_view", "fourier_view",
    }  # fmt: skip
    assert {a.shape for a in maps.values()} == {(2, 32, 32)}
    for name in ("input", "random_view", "fourier_view"):
        assert maps[name].dtype == np.float16
        assert -1 <= maps[name].min() < maps[name].max() <= 1
    assert set(np.unique(maps["prediction"])) <= {0, 1, 2}
    assert set(np.unique(maps["reliability"])) <= {1, 2}
    assert 0 <= maps["entropy"].min() <= maps["entropy"].max() <= 1
    assert float(arrays["pixel_mm"]) == 1.88
    assert not np.array_equal(maps["input"][0], maps["random_view"][0])
    choice = json.loads(run.slices_file.read_text())
    assert choice["target"] == {"target_0": 6, "target_1": 6, "target_2": 6}
    assert list(choice) == ["target", "source"]


def test_the_middle_slice_is_that_of_a_case_and_not_the_first_of_the_next(
    two_domains: Domains, tmp_path: Path
) -> None:
    source, target = two_domains
    two_cases = tmp_path / "target"
    shutil.copytree(target, two_cases)
    for file in two_cases.rglob("target_2*"):
        file.unlink()
    run = new_run(tmp_path / "run", (source, two_cases), "se_asa", steps=1, preview_every=1)
    list(iterate(run))
    arrays = newest_preview(run)
    assert (str(arrays["cases"][0]), int(arrays["slices"][0])) == ("target_1", 3)


def test_a_slice_that_does_not_exist_is_replaced_by_the_middle_one(
    two_domains: Domains, tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run", two_domains, "se_asa", steps=1)
    run.ask_for_previews(PreviewRequest((SlicePlace("target", "target_0", 6),)))
    list(iterate(run))
    arrays = newest_preview(run)
    assert (str(arrays["cases"][0]), int(arrays["slices"][0])) == ("target_1", 3)


def test_a_preview_that_fails_does_not_end_training(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def out_of_memory(*_: Any) -> None:
        calls.append(1)
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(preview, "preview_arrays", out_of_memory)
    run = new_run(tmp_path / "run", two_domains, steps=3, preview_every=1)
    list(iterate(run))
    assert events(run)[-1] == "finished"
    assert calls == [1]
    assert "there are no more previews" in run.log_file.read_text()


@pytest.mark.parametrize("text", ["", "[]", '{"slices": [{}]}', '{"seconds": "often"}', "{"])
def test_a_damaged_request_asks_for_nothing(text: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.previews.mkdir()
    folder.preview_request_file.write_text(text)
    assert folder.preview_request() is None


def test_a_request_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.ask_for_previews(PreviewRequest(CHOSEN, 3.0))
    assert folder.preview_request() == PreviewRequest(CHOSEN, 3.0)
    folder.ask_for_previews(PreviewRequest(CHOSEN * 20, 0.0))
    crowded = folder.preview_request()
    assert crowded is not None
    assert (len(crowded.slices), crowded.seconds) == (12, 0.5)
    folder.refuse_previews()
    assert folder.preview_request() is None


def test_previews_of_steps_that_a_resumed_run_repeats_are_dropped(
    two_domains: Domains, tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run", two_domains, steps=6, preview_every=1, save_every=2)
    iterator = iterate(run)
    for progress in iterator:
        if progress.step == 3:
            iterator.close()  # type: ignore[attr-defined]
            break
    run.rewind(2)
    assert sorted(p.stem for p in run.previews.glob("*.npz")) == ["000001", "000002"]
