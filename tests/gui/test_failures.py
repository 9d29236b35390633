"""What the user sees when something outside fails: processes killed, disks full, folders locked, foreign files.

Each time one sentence, no half file, nothing lost, and a way on.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gui_cases import LABELS, add_data, ball_case
from napari.layers import Image, Labels
from napari.viewer import Viewer
from ordinary_user import as_ordinary_user, locked
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QLabel
from tiny_cases import small_config, without_checksums
from watch_cases import resume
from written_runs import write_run

from napari_uda.data.edit_journal import leftovers
from napari_uda.gui.kit import jobs, models
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import layer_volume, tag
from napari_uda.gui.kit.layers import show
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.segment.dock import SegmentDock
from napari_uda.gui.train.data_panel import DataPanel
from napari_uda.gui.train.dock import TrainDock
from napari_uda.gui.train.run_list import RunList
from napari_uda.inference.predict import Prediction
from napari_uda.run.folder import RunFolder
from napari_uda.run.status import RunState, read_beat, run_status

WAIT_MS = 90_000  # new processes import torch and napari on a busy machine
NAMES = {value: name for name, value in LABELS.items()}


def resting() -> bool:
    return not jobs.running()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let so many more files reach the disk."""

    def fill(passing: int) -> None:
        left = iter(range(2 * passing))  # a file, and its folder

        def full(descriptor: int) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)

    return fill


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- killed processes, and a disk that is full in training ---------------------------------------


@pytest.fixture
def train(make_napari_viewer: Callable[[], Viewer], qtbot: QtBot) -> Iterator[TrainDock]:
    viewer = make_napari_viewer()
    dock = TrainDock(viewer)
    viewer.window.add_dock_widget(dock, name="Train")
    yield dock
    for process in dock.processes.values():
        process.kill()
    qtbot.waitUntil(lambda: not dock.processes, timeout=WAIT_MS)
    dock.previews.watch(None)
    dock.watch.leave()
    dock.runs.hide()
    qtbot.waitUntil(resting, timeout=WAIT_MS)


def wait_for(dock: TrainDock, qtbot: QtBot, wanted: RunState) -> None:
    def is_there() -> bool:
        seen, watch = dock.watch.update_seen, dock.watch
        on_its_way = not (watch.stop.isEnabled() or watch.resume.isEnabled())
        return seen is not None and seen.status.state is wanted and not on_its_way

    qtbot.waitUntil(is_there, timeout=WAIT_MS)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_training_goes_on_after_a_full_disk_and_after_a_kill(
    train: TrainDock,
    qtbot: QtBot,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
    notifications: Callable[[], list[str]],
) -> None:
    import resource

    folder = RunFolder(tmp_path / "runs" / "one")
    settings = {"steps": 100_000, "save_every": 5}
    train.form.started.emit((folder.path, small_config("source_only", *two_domains, **settings)))
    qtbot.waitUntil(lambda: folder.path in train.processes, timeout=WAIT_MS)
    # no file of the training process may be longer than this from now on, and it still imports torch
    pid = train.processes[folder.path].pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    wait_for(train, qtbot, RunState.FAILED)
    qtbot.waitUntil(lambda: not train.processes, timeout=WAIT_MS)
    said = train.watch.status.text()
    assert "cannot be written" in said
    assert "free space there and resume" in said
    train.watch.resume.click()
    weights = folder.checkpoints / "last.safetensors"
    qtbot.waitUntil(weights.exists, timeout=WAIT_MS)
    saved = train.watch.history.step
    os.kill(train.processes[folder.path].pid, signal.SIGKILL)
    wait_for(train, qtbot, RunState.BROKEN)
    qtbot.waitUntil(lambda: len(notifications()) == 2 and resting(), timeout=WAIT_MS)
    assert "free space there and resume" in notifications()[0]
    assert "ended by signal 9" in notifications()[1]
    assert "Resume continues from the last checkpoint" in train.watch.status.text()
    before = len(folder.events())
    train.watch.resume.click()
    qtbot.waitUntil(lambda: len(folder.events()) > before, timeout=WAIT_MS)
    assert folder.events()[before]["event"] == "resumed"
    assert folder.events()[before]["step"] >= 5
    qtbot.waitUntil(lambda: train.watch.history.step > saved, timeout=WAIT_MS)


NAPARI = """
import sys
from pathlib import Path
tests, root, source, target = sys.argv[1:]
sys.path[:0] = [tests, str(Path(tests) / "gui")]
import napari
from gui_cases import add_data, ball_case
from qtpy.QtCore import QTimer
from tiny_cases import small_config
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.train.dock import TrainDock
from napari_uda.run.folder import RunFolder

run = RunFolder(Path(root) / "runs" / "one")
viewer = napari.Viewer()
for role in ("prediction", "reference"):
    add_data(viewer, *layer_data(ball_case("case_0", 0)[1], role, {1: "MYO", 2: "LVC"}))
train, score = TrainDock(viewer), ScoreDock(viewer)
viewer.window.add_dock_widget(train, name="Train")
viewer.window.add_dock_widget(score, name="Score")
config = small_config("source_only", Path(source), Path(target), steps=100_000)
train.form.started.emit((run.path, config))
layer = score.choices.predictions.layer
layer.mode = "paint"

def paint():
    if not score.is_settled:
        return
    if not score.save.isVisibleTo(score):  # nothing is edited yet
        layer.paint((2, 5, 30), 2)
    elif train.watch.history.step > 1:
        print("ready", flush=True)

timer = QTimer()
timer.timeout.connect(paint)
timer.start(50)
napari.run()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_training_and_unsaved_edits_outlive_a_kill_of_napari(
    train: TrainDock, qtbot: QtBot, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    tests = str(Path(__file__).parents[1])
    child = subprocess.Popen(
        [sys.executable, "-c", NAPARI, tests, str(tmp_path), *map(str, two_domains)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    folder = RunFolder(tmp_path / "runs" / "one")
    try:
        assert child.stdout is not None
        assert "ready\n" in child.stdout  # other lines are napari's
        assert leftovers() == []  # somebody is at work on it
        os.killpg(child.pid, signal.SIGKILL)  # napari and whatever belongs to it
        child.wait()
        train.runs.add_folder(folder.path.parent)
        qtbot.waitUntil(lambda: len(train.runs.runs) == 1, timeout=WAIT_MS)
        train.runs.select([folder.path])
        train.runs.watch.click()
        wait_for(train, qtbot, RunState.RUNNING)
        seen = train.watch.history.step
        qtbot.waitUntil(lambda: train.watch.history.step > seen, timeout=WAIT_MS)
        viewer = train.viewer
        score = ScoreDock(viewer)
        score.show()
        qtbot.waitUntil(score.banner.isVisible)
        assert "'case_0 · prediction', 1 stroke." in score.banner.text.text()
        score.banner.restore.click()
        qtbot.waitUntil(lambda: len(viewer.layers) == 2 and resting(), timeout=WAIT_MS)
        restored = next(layer for layer in viewer.layers if tag(layer).get("role") == "edited")
        assert restored.data[2, 5, 30] == 2
        train.watch.stop.click()
        wait_for(train, qtbot, RunState.STOPPED)
        with qtbot.waitSignal(score.destroyed, timeout=WAIT_MS):
            score.deleteLater()
    finally:
        child.kill()
        beat = read_beat(folder)
        if beat is not None and run_status(folder).state is RunState.RUNNING:
            os.kill(beat.pid, signal.SIGKILL)


def test_a_run_that_could_not_even_say_it_has_a_full_disk(
    train: TrainDock,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notifications: Callable[[], list[str]],
    gate: Path,
) -> None:
    folder = write_run(tmp_path / "run", "started", lines=3)

    def what_is_said_of_its_end() -> str:
        before = len(notifications())
        resume(train, qtbot, folder)
        gate.write_text("1\n")
        qtbot.waitUntil(lambda: len(notifications()) > before, timeout=WAIT_MS)
        assert train.watch.path == folder.path  # not taken back
        return notifications()[-1]

    assert what_is_said_of_its_end().startswith("run: The training process ended with code 1")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    said = what_is_said_of_its_end()
    assert said.startswith(f"run: The disk of {folder.path} is full")
    assert "free space there, and Resume continues" in said


# --- models --------------------------------------------------------------------------------------


@pytest.fixture
def segment(make_napari_viewer: Callable[[], Viewer], qtbot: QtBot) -> Iterator[SegmentDock]:
    viewer = make_napari_viewer()
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock, name="Segment")
    yield dock
    qtbot.waitUntil(lambda: resting() and dock.is_settled, timeout=WAIT_MS)


def newer(run: Path) -> str:
    without_checksums(run)  # as that version would have written its own
    with (run / "config.yaml").open("a") as file:
        file.write("colour: red\n")
    file = run / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "napari_uda": "99.0"}))
    return "there is no setting colour; it was made by napari_uda 99.0"


def unknown(run: Path) -> str:
    without_checksums(run)
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("name: source_only", "name: of_next_year"))
    return "unknown method 'of_next_year'"


def without_weights(run: Path) -> str:
    shutil.rmtree(run / "checkpoints")
    return "has no weights; train the run first"


def truncated(run: Path) -> str:
    file = run / "checkpoints" / "last.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return "last.safetensors is damaged"


def in_the_way(run: Path) -> str:
    shutil.rmtree(run)
    run.write_text("")
    return "is not a run folder"


@pytest.mark.parametrize("change", [newer, unknown, without_weights, truncated, in_the_way])
def test_a_model_that_cannot_be_used_says_why_before_it_is_run(
    change: Callable[[Path], str],
    segment: SegmentDock,
    tiny_run: Path,
    tmp_path: Path,
    qtbot: QtBot,
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "model"))
    wanted = change(run)
    segment.viewer.add_image(ball_case("case_0", 0)[0].array)
    segment.add_model(run)
    qtbot.waitUntil(lambda: wanted in segment.status.text(), timeout=WAIT_MS)
    assert "\n" not in segment.status.text()
    assert not segment.run.isEnabled()
    assert segment.about.text() == ""
    segment.add_model(tiny_run)
    qtbot.waitUntil(segment.run.isEnabled, timeout=WAIT_MS)


# --- layers --------------------------------------------------------------------------------------


def ready(segment: SegmentDock, run: Path, qtbot: QtBot, layer: Image) -> None:
    segment.viewer.add_layer(layer)
    segment.add_model(run)
    segment.reliability.setChecked(False)
    qtbot.waitUntil(segment.run.isEnabled, timeout=WAIT_MS)
    segment.run.click()
    qtbot.waitUntil(lambda: resting() and segment.is_settled, timeout=WAIT_MS)


def test_an_image_with_nan_is_refused(segment: SegmentDock, tiny_run: Path, qtbot: QtBot) -> None:
    array = ball_case("case_0", 0)[0].array.astype(np.float32)
    array[2, 3, 4] = np.nan
    ready(segment, tiny_run, qtbot, Image(array, name="scan"))
    wanted = "scan: 1 of its 7680 voxels are NaN or infinite; replace them"
    assert segment.status.text().startswith(wanted)
    assert [layer.name for layer in segment.viewer.layers] == ["scan"]


def test_an_image_of_any_shape_and_place_gets_its_result_there(
    segment: SegmentDock, tiny_run: Path, qtbot: QtBot
) -> None:
    array = np.random.default_rng(0).normal(100, 20, (3, 70, 55)).astype(np.float32)
    layer = Image(array, name="scan", scale=(5, 0.8, 1.2), rotate=[10, 0, 5], translate=(1, 2, 3))
    ready(segment, tiny_run, qtbot, layer)
    results = [one for one in segment.viewer.layers if isinstance(one, Labels)]
    assert [one.data.shape for one in results] == [(3, 70, 55)]
    np.testing.assert_allclose(layer_volume(results[0]).affine, layer_volume(layer).affine)


# --- full disks ----------------------------------------------------------------------------------


def test_predictions_that_do_not_fit_leave_nothing(
    segment: SegmentDock,
    tiny_run: Path,
    data_folder: Path,
    tmp_path: Path,
    qtbot: QtBot,
    full_disk: Callable[[int], None],
) -> None:
    out = tmp_path / "out"
    segment.add_model(tiny_run)
    segment.reliability.setChecked(False)
    qtbot.waitUntil(lambda: "source_only" in segment.about.text(), timeout=WAIT_MS)
    full_disk(2)
    segment.segment_folder(data_folder, out)
    qtbot.waitUntil(resting, timeout=WAIT_MS)
    wanted = f"cannot write summary.csv to {out}: no space left on device; free space there"
    assert segment.status.text().startswith(wanted)
    table = segment.batch.table
    problems = [table.item(row, 0).toolTip() for row in range(table.rowCount())]
    assert [problem.partition(";")[0] for problem in problems] == [
        f"cannot write the maps of case_{index} to {out}: no space left on device"
        for index in range(2)
    ]
    assert files_in(out) == []


def test_a_report_that_does_not_fit_leaves_whole_files(
    make_napari_viewer: Callable[[], Viewer],
    made_prediction: Prediction,
    tmp_path: Path,
    qtbot: QtBot,
    full_disk: Callable[[int], None],
) -> None:
    viewer = make_napari_viewer()
    show(viewer, made_prediction)
    add_data(viewer, *layer_data(ball_case("case_0", 0)[1], "reference", NAMES))
    dock = ScoreDock(viewer)
    viewer.window.add_dock_widget(dock, name="Score")
    dock.score.click()
    qtbot.waitUntil(lambda: resting() and bool(dock.results), timeout=WAIT_MS)
    full_disk(4)
    dock.export_to(tmp_path / "out")
    qtbot.waitUntil(resting, timeout=WAIT_MS)
    assert dock.status.text().startswith("cannot write report.html to ")
    assert "no space left on device; free space there" in dock.status.text()
    assert files_in(tmp_path / "out") == ["cohort.csv", "scores.csv", "scores.json", "slices.csv"]
    full_disk(99)
    dock.export_to(tmp_path / "out")
    qtbot.waitUntil(resting, timeout=WAIT_MS)
    assert "report.html" in files_in(tmp_path / "out")


# --- locked folders ------------------------------------------------------------------------------


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Threads that were there before do not open everything, either."""
    begin = jobs.Job.__init__

    def as_others(job: jobs.Job, title: str, work: jobs.Work, *others: Any, **options: Any) -> None:
        def restricted(report: jobs.Report, stop: threading.Event) -> Any:
            with as_ordinary_user():
                return work(report, stop)

        begin(job, title, restricted, *others, **options)

    start = jobs.Looking.start

    def start_as_others(looking: jobs.Looking, look: Callable[[], Any]) -> None:
        def restricted() -> Any:
            with as_ordinary_user():
                return look()

        start(looking, restricted)

    monkeypatch.setattr(jobs.Job, "__init__", as_others)
    monkeypatch.setattr(jobs.Looking, "start", start_as_others)
    file = tmp_path / "lock"
    file.write_text("")
    with locked(file):
        try:
            file.read_text()
        except PermissionError:
            return
    pytest.skip("locks do not hold here")


@pytest.mark.usefixtures("everywhere")
def test_a_locked_model_is_named(
    make_napari_viewer: Callable[[], Viewer], tiny_run: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "models" / "mine"))
    models.remember_model(run)
    viewer = make_napari_viewer()
    with locked(run.parent):
        dock = SegmentDock(viewer)  # it was used before
        viewer.window.add_dock_widget(dock, name="Segment")
        assert dock.models.findData(str(run)) < 0
        dock.add_model(run)
        wanted = (
            f"{run / 'config.yaml'} cannot be used (permission denied); ask its owner for access"
        )
        qtbot.waitUntil(lambda: dock.status.text().startswith(wanted), timeout=WAIT_MS)
        assert not dock.run.isEnabled()
        qtbot.waitUntil(resting, timeout=WAIT_MS)
    assert models.recent_models() == [run]


@pytest.mark.usefixtures("everywhere")
def test_locked_runs_are_named_in_list_and_watch(
    train: TrainDock, tmp_path: Path, qtbot: QtBot
) -> None:
    folder = write_run(tmp_path / "shared" / "run", "started", "stopped", lines=3)
    runs: RunList = train.runs
    runs.add_folder(folder.path.parent)
    qtbot.waitUntil(lambda: len(runs.runs) == 1 and resting(), timeout=WAIT_MS)
    note = runs.findChild(QLabel, "note")
    with locked(folder.path.parent):
        runs.look()
        wanted = f"{folder.path.parent} cannot be used (permission denied); ask its owner"
        qtbot.waitUntil(lambda: note.text().startswith(wanted), timeout=WAIT_MS)
        assert runs.runs == []
        train.attach(folder.path)
        wait_for(train, qtbot, RunState.BROKEN)
        assert "config.yaml cannot be used (permission denied)" in train.watch.status.text()
        qtbot.waitUntil(resting, timeout=WAIT_MS)
    wait_for(train, qtbot, RunState.STOPPED)  # as soon as it can be read
    runs.look()
    qtbot.waitUntil(lambda: len(runs.runs) == 1 and resting(), timeout=WAIT_MS)


@pytest.mark.usefixtures("everywhere")
def test_locked_data_is_named(data_folder: Path, tmp_path: Path, qtbot: QtBot) -> None:
    from napari_uda.data.check import check_folder

    data = Path(shutil.copytree(data_folder, tmp_path / "clinic" / "mr"))
    panel = DataPanel(None)
    qtbot.addWidget(panel)
    with locked(data.parent):
        panel.source.set_folder(data)
        wanted = f"Source: {data} cannot be used (permission denied); ask its owner for access"
        assert panel.source.obstacle().startswith(wanted)
    assert panel.source.obstacle() == ""
    with locked(data / "labels"):
        (problem,) = check_folder(data, labelled=True).problems
    assert problem.sentence == "mr: cannot be read (permission denied); check the folder"
    assert problem.fatal
