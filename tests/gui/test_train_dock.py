"""The Train dock with real training processes: start, watch, stop, resume, cancel, go on, close napari."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow, QMessageBox
from tiny_cases import small_config
from watch_cases import resume
from written_runs import append_lines, beat, write_preview, write_run

from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.canvas_words import canvas_words
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layers import is_volume
from napari_uda.gui.train import dock as dock_module
from napari_uda.gui.train.dock import TrainDock, is_of_user
from napari_uda.gui.train.training_layers import PreviewLayers
from napari_uda.gui.train.training_process import TrainingProcess
from napari_uda.run.folder import RunFolder, SlicePlace
from napari_uda.run.reader import RunReader
from napari_uda.run.status import RunState, run_status

Domains = tuple[Path, Path]
WAIT_MS = 60_000  # importing torch in a new process on a busy machine takes its time
CHILD_STEPS = 100_000  # never done


@pytest.fixture
def dock(make_napari_viewer: Callable[[], Viewer], qtbot: QtBot) -> Iterator[TrainDock]:
    viewer = make_napari_viewer()
    widget = TrainDock(viewer)
    viewer.window.add_dock_widget(widget, name="Train")
    yield widget
    rest(widget, qtbot)


def rest(dock: TrainDock, qtbot: QtBot) -> None:
    """End what the dock has begun."""
    for process in dock.processes.values():
        process.kill()
    qtbot.waitUntil(lambda: not dock.processes, timeout=WAIT_MS)
    dock.previews.watch(None)
    dock.watch.leave()
    dock.runs.hide()
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)


def start(
    dock: TrainDock, qtbot: QtBot, path: Path, domains: Domains, **settings: Any
) -> RunFolder:
    """Start a run as the form does, and wait until it trains."""
    config = small_config("source_only", *domains, **{"steps": CHILD_STEPS, **settings})
    dock.form.started.emit((path, config))
    qtbot.waitUntil(lambda: path in dock.processes, timeout=WAIT_MS)
    return RunFolder(path)


def wait_for_exit(process: TrainingProcess) -> int:
    """Wait until the process has ended, with no turn of the event loop; returns its exit code."""
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_status


def state(dock: TrainDock) -> RunState | None:
    seen = dock.watch.update_seen
    return None if seen is None else seen.status.state


def wait_for(dock: TrainDock, qtbot: QtBot, wanted: RunState) -> None:
    qtbot.waitUntil(lambda: state(dock) is wanted, timeout=WAIT_MS)


def wait_for_step(dock: TrainDock, qtbot: QtBot, step: int) -> None:
    qtbot.waitUntil(lambda: dock.watch.history.step >= step, timeout=WAIT_MS)


@pytest.mark.slow
def test_a_real_run_shows_live_previews(
    dock: TrainDock, qtbot: QtBot, two_domains: Domains, tmp_path: Path
) -> None:
    folder = start(dock, qtbot, tmp_path / "runs" / "one", two_domains)
    assert dock.tabs.currentWidget() is dock.watch
    dock.previews.wanted.click()
    wait_for_step(dock, qtbot, 3)
    beat_seen = dock.watch.update_seen.status.beat
    assert beat_seen is not None
    assert beat_seen.pid == dock.processes[folder.path].pid != os.getpid()
    viewer = dock.viewer
    qtbot.waitUntil(lambda: len(viewer.layers) == 12 and dock.previews.is_settled, timeout=WAIT_MS)
    assert viewer.canvas.grid.enabled
    # a second slice
    qtbot.waitUntil(dock.previews.slices.add.isEnabled, timeout=WAIT_MS)
    dock.previews.slices.add.click()
    shown = layers(dock)["input"]
    qtbot.waitUntil(lambda: shown.data.shape[0] == 2, timeout=WAIT_MS)
    dock.previews.wanted.click()
    qtbot.waitUntil(lambda: dock.previews.is_settled, timeout=WAIT_MS)
    assert len(viewer.layers) == 0
    assert not viewer.canvas.grid.enabled
    assert folder.preview_request() is None


def test_resume_waits_for_a_process_that_is_about_to_end(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, gate: Path
) -> None:
    folder = write_run(tmp_path / "run", "started", "stopped", lines=3)
    ending = resume(dock, qtbot, folder)
    wait_for(dock, qtbot, RunState.STOPPED)
    dock.watch.say("")  # what it says once the run has stopped
    dock.watch.resume.click()
    assert dock.watch.status.text() == "Resuming…"
    assert dock.processes == {folder.path: ending}
    gate.write_text("130\n")
    qtbot.waitUntil(lambda: dock.processes.get(folder.path) not in (None, ending), timeout=WAIT_MS)
    assert not ending.is_running


def test_resume_before_the_end_of_the_last_process_is_noticed(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, gate: Path
) -> None:
    folder = write_run(tmp_path / "run", "started", "stopped", lines=3)
    ended = resume(dock, qtbot, folder)
    gate.write_text("130\n")
    assert wait_for_exit(ended) == 130
    with qtbot.waitSignal(ended.destroyed, timeout=WAIT_MS):
        dock.watch.resume.setEnabled(True)
        dock.watch.resume.click()
    assert dock.processes[folder.path].is_running  # it can be cancelled, and closing asks about it


@pytest.mark.slow
def test_stop_saves_resume_goes_on_and_cancel_deletes(
    dock: TrainDock, qtbot: QtBot, two_domains: Domains, tmp_path: Path
) -> None:
    folder = start(dock, qtbot, tmp_path / "runs" / "one", two_domains)
    wait_for_step(dock, qtbot, 3)
    dock.watch.stop.click()
    assert dock.watch.status.text().startswith("Saving")
    wait_for(dock, qtbot, RunState.STOPPED)
    stopped_at = folder.events()[-1]["step"]
    qtbot.waitUntil(lambda: not dock.processes, timeout=WAIT_MS)
    assert (folder.checkpoints / "last.safetensors").exists()
    dock.watch.resume.click()
    wait_for(dock, qtbot, RunState.RUNNING)
    wait_for_step(dock, qtbot, stopped_at + 1)
    assert [event["event"] for event in folder.events()] == ["started", "stopped", "resumed"]
    dock.discard(folder.path)
    qtbot.waitUntil(lambda: not folder.path.exists(), timeout=WAIT_MS)
    assert dock.watch.path is None
    assert not dock.watch.stop.isEnabled()


@pytest.mark.slow
def test_a_start_that_fails_is_taken_back(
    dock: TrainDock,
    qtbot: QtBot,
    two_domains: Domains,
    tmp_path: Path,
    notifications: Callable[[], list[str]],
) -> None:
    folder = start(dock, qtbot, tmp_path / "runs" / "bad", (tmp_path / "none", two_domains[1]))
    qtbot.waitUntil(lambda: not folder.path.exists(), timeout=WAIT_MS)
    qtbot.waitUntil(lambda: bool(notifications()), timeout=WAIT_MS)
    assert notifications()[0].startswith("bad: ")
    assert "none" in dock.watch.status.text()
    assert "InputError" not in dock.watch.status.text()
    assert dock.tabs.currentWidget() is dock.form


class Window(QMainWindow):
    """A window with a Train dock; `answer` is what the user says when it is about to close.

    Attributes:
        asked: the running trainings, each time that the user was asked.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.asked: list[list[Path]] = []
        self.dock = TrainDock(ViewerModel())
        self.answer, self.is_of_user = "stay", True
        monkeypatch.setattr(TrainDock, "ask_about_closing", lambda dock, paths: self._ask(paths))
        monkeypatch.setattr(dock_module, "is_of_user", lambda event: self.is_of_user)
        bar = QDockWidget()
        bar.setWidget(self.dock)
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, bar)

    def _ask(self, running: list[Path]) -> str:
        self.asked.append(running)
        return self.answer

    def closes(self, answer: str, *, by_user: bool = True) -> bool:
        """Whether it closes when somebody tries to."""
        self.show()
        self.answer, self.is_of_user = answer, by_user
        return bool(self.close())


@pytest.fixture
def window(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Window:
    window = Window(monkeypatch)
    qtbot.addWidget(window, before_close_func=lambda _: rest(window.dock, qtbot))
    return window


@pytest.mark.slow
def test_closing_napari_leaves_the_process_alone_or_stops_it(
    window: Window, qtbot: QtBot, two_domains: Domains, tmp_path: Path
) -> None:
    folder = start(window.dock, qtbot, tmp_path / "run", two_domains)
    wait_for_step(window.dock, qtbot, 1)
    assert not window.closes("stay")
    assert window.closes("go_on")
    assert window.asked == [[folder.path]] * 2
    assert window.dock.processes[folder.path].is_running
    assert not folder.stop_file.exists()
    assert window.closes("stop")
    qtbot.waitUntil(lambda: not window.dock.processes, timeout=WAIT_MS)
    assert run_status(folder).state is RunState.STOPPED
    assert window.closes("stay")  # nothing runs any more, nobody is asked
    assert len(window.asked) == 3


def test_nobody_is_asked_about_a_run_that_has_said_how_it_ended(
    window: Window, qtbot: QtBot, tmp_path: Path, gate: Path
) -> None:
    """Its process is still there for a moment."""
    folder = write_run(tmp_path / "run", "started", "stopped")
    process = resume(window.dock, qtbot, folder)
    assert not window.closes("stay")  # resumed, it loads its libraries
    assert window.asked == [[folder.path]]
    assert window.closes("stay", by_user=False)
    with folder.events_file.open("a") as file:
        for event in ("resumed", "finished"):
            file.write(json.dumps({"event": event}) + "\n")
    assert window.closes("stay")
    assert process.is_running
    assert len(window.asked) == 1


def test_a_script_that_closes_is_not_asked_but_a_user_is(qtbot: QtBot) -> None:
    said: list[bool] = []

    class Closed(QMainWindow):
        def closeEvent(self, event: Any) -> None:
            said.append(is_of_user(event))

    window = Closed()
    qtbot.addWidget(window)
    window.show()
    window.close()
    assert said == [False]
    window.show()
    loop = QEventLoop()  # as under napari.run(), where a menu or a key closes
    QTimer.singleShot(0, window.close)
    QTimer.singleShot(0, loop.quit)
    loop.exec_() if hasattr(loop, "exec_") else loop.exec()
    assert said == [False, True]


def test_the_process_outlives_its_widget(qtbot: QtBot, tmp_path: Path, gate: Path) -> None:
    """It leads a session of its own, writes to a file, and is not in ours."""
    folder = write_run(tmp_path / "run")
    process = TrainingProcess(folder.path)
    process.start()
    assert process.pid is not None
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    with qtbot.waitSignal(process.ended, timeout=WAIT_MS) as ended:
        process.stop()  # before its first beat: there is nothing to save
    assert ended.args == [-signal.SIGKILL]
    assert folder.output_file.exists()
    process.kill()  # once more does no harm
    assert not process.is_running


def test_cancel_while_the_process_still_imports(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Path
) -> None:
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    folder = write_run(tmp_path / "run")
    codes: list[int] = []
    resume(dock, qtbot, folder).ended.connect(codes.append)
    dock.watch.discard.click()
    assert dock.watch.status.text() == "Cancelling…"
    qtbot.waitUntil(lambda: not folder.path.exists(), timeout=WAIT_MS)
    assert codes == [-signal.SIGKILL]
    qtbot.waitUntil(lambda: not dock.findChildren(TrainingProcess), timeout=WAIT_MS)


def test_last_words_are_the_sentence(tmp_path: Path) -> None:
    process = TrainingProcess(tmp_path)
    assert process.last_words() == ""
    process.folder.output_file.write_text("bar 1%\rbar 2%\nnapari-uda: no labels\nbar 3%\r")
    assert process.last_words() == "no labels"
    process.folder.output_file.write_text("Traceback\n  File\nKeyError: 'x'\n")
    assert process.last_words() == "KeyError: 'x'"


# --- runs of others -------------------------------------------------------------------------------


def test_a_run_of_another_process_is_stopped_and_cancelled_by_request(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "remote", "started", lines=5)
    beat(folder, host="elsewhere")
    dock.attach(folder.path)
    wait_for(dock, qtbot, RunState.RUNNING)
    dock.watch.stop.click()
    qtbot.waitUntil(lambda: folder.stop_request() == "save", timeout=WAIT_MS)
    folder.stop_file.unlink()
    dock.watch.say("")
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    dock.watch.discard.click()
    qtbot.waitUntil(lambda: folder.stop_request() == "discard", timeout=WAIT_MS)
    assert folder.config_file.exists()  # until the other process has ended
    with folder.events_file.open("a") as file:
        file.write(json.dumps({"event": "discarded"}) + "\n")
    folder.heartbeat_file.unlink()
    qtbot.waitUntil(lambda: not folder.path.exists(), timeout=WAIT_MS)


def test_cancel_asks_first(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "run", "started", lines=5)
    beat(folder)
    dock.attach(folder.path)
    wait_for(dock, qtbot, RunState.RUNNING)
    asked: list[str] = []

    def no(*arguments: Any) -> Any:
        asked.append(arguments[2])
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", no)
    dock.watch.discard.click()
    assert str(folder.path) in asked[0]
    assert folder.stop_request() == ""
    assert dock.watch.stop.isEnabled()


def test_a_run_is_attached_from_the_list_and_deleted(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "runs" / "old", "started", "stopped", lines=5)
    dock.runs.look()  # as when its tab is shown
    qtbot.waitUntil(lambda: len(dock.runs.runs) == 1, timeout=WAIT_MS)
    dock.runs.select([folder.path])
    dock.runs.watch.click()
    assert dock.tabs.currentWidget() is dock.watch
    wait_for(dock, qtbot, RunState.STOPPED)
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    dock.runs.delete.click()
    qtbot.waitUntil(lambda: not folder.path.exists() and not dock.runs.runs, timeout=WAIT_MS)
    assert dock.watch.path is None


def test_the_list_leads_to_a_comparison_and_a_double_click_to_a_run(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path
) -> None:
    folders = [write_run(tmp_path / "runs" / name, "finished", lines=3) for name in ("a", "b")]
    dock.tabs.setCurrentIndex(2)
    dock.runs.look()
    qtbot.waitUntil(lambda: len(dock.runs.runs) == 2, timeout=WAIT_MS)
    dock.runs.select([folder.path for folder in folders])
    dock.runs.compare.click()
    assert dock.comparison.isVisibleTo(dock)
    qtbot.waitUntil(lambda: dock.comparison.curves.is_drawn, timeout=WAIT_MS)
    assert set(dock.comparison.heading.text().split()) >= {"a", "b"}
    dock.comparison.back.click()
    assert dock.runs.isVisibleTo(dock)
    row = [run.path for run in dock.runs.runs].index(folders[1].path)
    cell = dock.runs.table.visualItemRect(dock.runs.table.item(row, 0)).center()
    for press in (qtbot.mouseClick, qtbot.mouseDClick):  # as a hand does
        press(dock.runs.table.viewport(), Qt.MouseButton.LeftButton, pos=cell)
    qtbot.mouseRelease(dock.watch, Qt.MouseButton.LeftButton)  # the list is hidden by then
    assert dock.watch.path == folders[1].path
    assert dock.tabs.currentWidget() is dock.watch


def test_a_run_without_weights_is_not_continued(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, notifications: Callable[[], list[str]]
) -> None:
    folder = write_run(tmp_path / "run", "started", "finished", lines=5)
    dock.continue_run(folder.path, 10)
    qtbot.waitUntil(lambda: bool(notifications()), timeout=WAIT_MS)
    assert not (tmp_path / "run_more").exists()
    assert dock.processes == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_dock_follows_the_theme(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, theme: str
) -> None:
    dock.attach(write_run(tmp_path / "run", "finished", lines=5).path)
    qtbot.waitUntil(lambda: dock.watch.curves.is_drawn, timeout=WAIT_MS)
    dock.viewer.theme = theme
    background = dock.watch.curves.losses.backgroundBrush().color()
    assert (background.lightness() > 128) == (theme == "light")


# --- preview layers -------------------------------------------------------------------------------


@pytest.fixture
def watched(dock: TrainDock, qtbot: QtBot, tmp_path: Path) -> RunFolder:
    """A running run with a preview of two slices that the viewer shows."""
    folder = write_run(tmp_path / "run", "started", lines=3)
    beat(folder)
    write_preview(folder, 3)
    dock.attach(folder.path)
    wait_for(dock, qtbot, RunState.RUNNING)
    dock.previews.wanted.click()
    settle(dock, qtbot)
    return folder


def settle(dock: TrainDock, qtbot: QtBot, fill: int = 1, slices: int = 2) -> None:
    """Wait until the preview of these slices that draws class `fill` is shown."""
    most = {1: 1, 2: 3}[fill]  # the values of MYO and LVC

    def is_shown() -> bool:
        prediction = layers(dock).get("prediction")
        newest = prediction is not None and prediction.data.shape[0] == slices
        return newest and prediction.data.max() == most and dock.previews.is_settled

    qtbot.waitUntil(is_shown, timeout=WAIT_MS)


def layers(dock: TrainDock) -> dict[str, Any]:
    return {
        tag(layer)["part"]: layer
        for layer in dock.viewer.layers
        if tag(layer).get("role") == "preview"
    }


def test_previews_are_asked_for_as_long_as_somebody_looks(
    dock: TrainDock, qtbot: QtBot, watched: RunFolder
) -> None:
    qtbot.waitUntil(lambda: watched.preview_request() is not None, timeout=WAIT_MS)
    assert watched.preview_request().slices == ()
    dock.previews.slices.cases.setCurrentIndex(1)
    dock.previews.slices.add.click()
    wanted = (
        SlicePlace("target", "mr_0", 0), SlicePlace("target", "mr_0", 1), SlicePlace("source", "ct_0", 2),
    )  # fmt: skip
    qtbot.waitUntil(lambda: watched.preview_request().slices == wanted, timeout=WAIT_MS)
    dock.previews.wanted.click()
    assert watched.preview_request() is None
    qtbot.waitUntil(lambda: len(dock.viewer.layers) == 0, timeout=WAIT_MS)


def test_the_canvas_tells_what_previews_are(
    dock: TrainDock, qtbot: QtBot, watched: RunFolder, notifications: Callable[[], list[str]]
) -> None:
    words = canvas_words(dock.viewer)

    def says(name: str, text: str) -> None:
        qtbot.waitUntil(lambda: words.texts.get(name) == text, timeout=WAIT_MS)

    says("line", "This is a live preview: target, mr_0, slice 0.")
    assert [words.texts[side] for side in ("left", "right", "top", "bottom")] == list("RLAP")
    structures = ["■ left ventricle myocardium", "■ left ventricle cavity"]
    maps = ["entropy: 0 sure to 1 undecided", "■ reliable", "■ unreliable"]
    says("legend", "\n".join([*structures, *maps]))
    assert words.bars == (layers(dock)["entropy"],)
    dock.previews.slices.chosen.setCurrentRow(1)
    says("line", "This is a live preview: target, mr_0, slice 1.")
    write_preview(watched, 9, first=3)
    says("line", "This is a live preview: target, mr_0, slice 4.")
    dock.viewer.dims.order = (1, 0, 2)  # across several volumes
    assert "left" not in words.texts
    dock.previews.wanted.click()
    qtbot.waitUntil(lambda: "legend" not in words.texts, timeout=WAIT_MS)
    assert "line" not in words.texts
    assert notifications() == []


def test_layers_of_previews(dock: TrainDock, watched: RunFolder) -> None:
    shown = layers(dock)
    assert list(shown) == [
        "input", "prediction", "entropy", "reliability", "random_view", "fourier_view",
    ]  # fmt: skip
    for layer in shown.values():
        assert layer.data.shape == (2, 8, 8)
        assert layer.scale.tolist() == [2.0, 2.0, 2.0]
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert isinstance(shown["prediction"], Labels)
    # head, front and right first: the corner of the file is the opposite one on screen
    assert shown["prediction"].data[0, -1, -1] == 1
    assert shown["prediction"].data[0, 0, 0] == 0
    assert shown["input"].contrast_limits == [-1, 1]
    assert shown["entropy"].contrast_limits == [0, 1]


def test_previews_are_updated_in_place(dock: TrainDock, qtbot: QtBot, watched: RunFolder) -> None:
    before = layers(dock)
    write_preview(watched, 9, fill=2)
    settle(dock, qtbot, fill=2)
    after = layers(dock)
    assert all(after[part] is before[part] for part in before)
    assert after["prediction"].data[1, -1, -1] == 3
    # another number of slices keeps the layers too
    write_preview(watched, 12, slices=3)
    settle(dock, qtbot, slices=3)
    assert {layer.data.shape for layer in dock.viewer.layers} == {(3, 8, 8)}
    dock.previews.slices.chosen.setCurrentRow(2)
    assert dock.viewer.dims.point[0] == pytest.approx(4.0)  # third slice, 2 mm each


def test_deleted_and_renamed_layers(
    dock: TrainDock, qtbot: QtBot, watched: RunFolder, notifications: Callable[[], list[str]]
) -> None:
    shown = layers(dock)
    shown["entropy"].name = "mine"
    dock.viewer.layers.remove(shown["input"])
    write_preview(watched, 9, fill=2)
    settle(dock, qtbot, fill=2)
    assert "input" not in layers(dock)
    assert layers(dock)["prediction"].data.max() == 3
    dock.previews.slices.chosen.setCurrentRow(1)
    dock.viewer.layers.clear()
    dock.previews.wanted.click()
    qtbot.waitUntil(lambda: dock.previews.is_settled, timeout=WAIT_MS)
    assert notifications() == []


def test_previews_fill_their_cells_beside_a_larger_volume(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path
) -> None:
    dock.viewer.add_image(np.zeros((4, 200, 200)), translate=(0, -500, 0))
    folder = write_run(tmp_path / "run", "started", lines=3)
    write_preview(folder, 3)
    dock.attach(folder.path)
    dock.previews.wanted.click()
    settle(dock, qtbot)
    assert sorted(dock.viewer.canvas.grid.shape) == [2, 3]  # as the canvas allows
    assert dock.viewer.camera.center[-2:] == pytest.approx((7.0, 7.0))  # 8 pixels of 2 mm


def test_other_layers_come_back(dock: TrainDock, qtbot: QtBot, tmp_path: Path) -> None:
    image = dock.viewer.add_image(np.zeros((4, 8, 8)), name="patient")
    hidden = dock.viewer.add_image(np.zeros((4, 8, 8)), visible=False)
    folder = write_run(tmp_path / "run", "started", lines=3)
    write_preview(folder, 3)
    dock.attach(folder.path)
    dock.previews.wanted.click()
    settle(dock, qtbot)
    assert not image.visible
    assert layers(dock)["input"].units == image.units  # or units would be switched off for all
    dock.previews.wanted.click()
    qtbot.waitUntil(lambda: dock.previews.is_settled, timeout=WAIT_MS)
    assert list(dock.viewer.layers) == [image, hidden]
    assert (image.visible, hidden.visible) == (True, False)


def test_previews_are_no_images_to_segment_or_translate(
    dock: TrainDock, watched: RunFolder
) -> None:
    assert len(dock.viewer.layers) == 12
    assert not any(is_volume(layer) for layer in dock.viewer.layers)


def test_another_run_clears_the_previews(
    dock: TrainDock, qtbot: QtBot, watched: RunFolder, tmp_path: Path
) -> None:
    qtbot.waitUntil(lambda: watched.preview_request() is not None, timeout=WAIT_MS)
    dock.attach(write_run(tmp_path / "second", "finished", lines=3).path)
    assert watched.preview_request() is None
    qtbot.waitUntil(lambda: layers(dock) == {}, timeout=WAIT_MS)
    assert dock.previews.slices.places == ()


def test_translations_are_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started")
    write_preview(folder, 3)
    preview = RunReader(folder.path).look().preview
    assert preview is not None
    maps = {**preview.maps, "translation": preview.maps["input"] * -1}
    maps["labels.pseudo-labels"] = np.full_like(maps["prediction"], 255)  # of the method's own
    maps["grey.second image"] = maps["input"] / 2
    viewer = ViewerModel()
    shown = PreviewLayers(viewer)
    for _ in shown.show(replace(preview, maps=maps), "run"):
        pass
    previews = [layer for layer in viewer.layers if tag(layer).get("role") == "preview"]
    assert [layer.name for layer in previews[:3]] == ["input", "translation", "prediction"]
    assert isinstance(previews[1], Image)
    second, pseudo = previews[-2:]
    assert [second.name, pseudo.name] == ["second image", "pseudo-labels"]
    assert isinstance(second, Image)
    assert second.contrast_limits == [-1, 1]
    assert isinstance(pseudo, Labels)
    assert tag(pseudo)["names"] == {**preview.names, 255: "no label"}
    assert len(viewer.layers) == 18
    for _ in shown.hide():
        pass
    assert len(viewer.layers) == 0


def test_a_dock_that_is_removed_stops_looking(
    make_napari_viewer: Callable[[], Viewer], qtbot: QtBot, tmp_path: Path
) -> None:
    from test_watch_tab import watching

    viewer = make_napari_viewer()
    bar, dock = viewer.window.add_plugin_dock_widget("napari_uda", "Train")
    folder = write_run(tmp_path / "run", "started", lines=3)
    dock.attach(folder.path)
    qtbot.waitUntil(lambda: dock.watch.update_seen is not None, timeout=WAIT_MS)
    assert watching()
    viewer.window.remove_dock_widget(bar)
    dock.deleteLater()
    QApplication.processEvents()
    qtbot.waitUntil(lambda: not watching(), timeout=WAIT_MS)
    append_lines(folder, 4, 6)
    viewer.theme = "light"
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)
