"""The Train dock with real training processes: start, watch, stop, resume, cancel, go on, close napari."""

from __future__ import annotations

import json
import os
import signal
import sys
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
from qtpy.QtCore import QEvent, QEventLoop, QTimer
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox
from tiny_cases import small_config
from watch_cases import append_lines, beat, write_preview, write_run

from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layers import is_volume
from napari_uda.gui.train import dock as dock_module
from napari_uda.gui.train.dock import TrainDock, is_of_user
from napari_uda.gui.train.run_reader import RunReader
from napari_uda.gui.train.training_layers import PreviewLayers
from napari_uda.gui.train.training_process import TrainingProcess
from napari_uda.run.folder import RunFolder, SlicePlace
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
    for process in widget._processes.values():
        process.kill()
    qtbot.waitUntil(lambda: not widget._processes, timeout=WAIT_MS)
    widget._detach()
    widget.runs.hide()
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)


def start(
    dock: TrainDock, qtbot: QtBot, path: Path, domains: Domains, **settings: Any
) -> RunFolder:
    """Start a run as the form does, and wait until it trains."""
    config = small_config("source_only", *domains, **{"steps": CHILD_STEPS, **settings})
    dock.form.started.emit((path, config))
    qtbot.waitUntil(lambda: path in dock._processes, timeout=WAIT_MS)
    return RunFolder(path)


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
    assert beat_seen.pid == dock._processes[folder.path]._process.pid != os.getpid()
    viewer = dock._viewer
    qtbot.waitUntil(
        lambda: len(viewer.layers) == 12 and dock.previews._steps is None, timeout=WAIT_MS
    )
    assert viewer.canvas.grid.enabled
    # a second slice
    qtbot.waitUntil(dock.previews.slices.add.isEnabled, timeout=WAIT_MS)
    dock.previews.slices.add.click()
    shown = dock.previews._layers._layers["input"]
    qtbot.waitUntil(lambda: shown.data.shape[0] == 2, timeout=WAIT_MS)
    dock.previews.wanted.click()
    qtbot.waitUntil(lambda: dock.previews._steps is None, timeout=WAIT_MS)
    assert len(viewer.layers) == 0
    assert not viewer.canvas.grid.enabled
    assert folder.preview_request() is None


@pytest.mark.skipif(os.name != "posix", reason="the process is a shell script")
def test_resume_waits_for_a_process_that_is_about_to_end(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "ends_in_a_second"
    script.write_text("#!/bin/sh\nsleep 1\nexit 130\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    path = write_run(tmp_path / "run", "started", "stopped", lines=3).path
    dock._train(path)
    ending = dock._processes[path]
    wait_for(dock, qtbot, RunState.STOPPED)
    dock.watch.say("")  # what it says once the run has stopped
    dock.watch.resume.click()
    assert dock.watch.status.text() == "Resuming…"
    assert dock._processes[path] is ending
    qtbot.waitUntil(lambda: dock._processes.get(path) not in (None, ending), timeout=WAIT_MS)
    assert not ending.is_running


@pytest.mark.skipif(os.name != "posix", reason="the process is a shell script")
def test_resume_before_the_end_of_the_last_process_is_noticed(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "the_second_goes_on"
    script.write_text(f"#!/bin/sh\nmkdir {tmp_path}/first && exit 130\nsleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    path = write_run(tmp_path / "run", "started", "stopped", lines=3).path
    dock._train(path)
    ended = dock._processes[path]
    assert ended._process is not None
    assert ended._process.wait(30) == 130
    with qtbot.waitSignal(ended.destroyed, timeout=WAIT_MS):
        dock.watch.resume.setEnabled(True)
        dock.watch.resume.click()
    assert dock._processes[path].is_running  # it can be cancelled, and closing asks about it


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
    qtbot.waitUntil(lambda: not dock._processes, timeout=WAIT_MS)
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


@pytest.mark.slow
def test_closing_napari_leaves_the_process_alone_or_stops_it(
    dock: TrainDock,
    qtbot: QtBot,
    two_domains: Domains,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = start(dock, qtbot, tmp_path / "run", two_domains)
    wait_for_step(dock, qtbot, 1)
    asked: list[list[Path]] = []

    def close(answer: str) -> bool:
        """Whether the window would close."""

        def ask(running: list[Path]) -> str:
            asked.append(running)
            return answer

        monkeypatch.setattr(dock, "ask_about_closing", ask)
        monkeypatch.setattr(dock_module, "is_of_user", lambda event: True)
        return not dock.eventFilter(dock._window, QEvent(QEvent.Type.Close))

    assert not close("stay")
    assert close("go_on")
    assert asked == [[folder.path]] * 2
    assert dock._processes[folder.path].is_running
    assert not folder.stop_file.exists()
    assert close("stop")
    qtbot.waitUntil(lambda: not dock._processes, timeout=WAIT_MS)
    assert run_status(folder).state is RunState.STOPPED
    assert close("stay")  # nothing runs any more, nobody is asked
    assert len(asked) == 3


def test_nobody_is_asked_about_a_run_that_has_said_how_it_ended(
    dock: TrainDock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is still there for a moment."""
    folder = write_run(tmp_path / "run", "started", "stopped")
    process = dock._processes[folder.path] = TrainingProcess(folder.path, dock)
    monkeypatch.setattr(TrainingProcess, "is_running", True)
    process._earlier_events = 2
    asked: list[list[Path]] = []

    def ask(running: list[Path]) -> str:
        asked.append(running)
        return "stay"

    monkeypatch.setattr(dock, "ask_about_closing", ask)
    assert not dock._may_close(ask=True)  # resumed, it loads its libraries
    assert asked == [[folder.path]]
    assert dock._may_close(ask=False)  # closed by a script
    with folder.events_file.open("a") as file:
        for event in ("resumed", "finished"):
            file.write(json.dumps({"event": event}) + "\n")
    assert dock._may_close(ask=True)
    assert len(asked) == 1
    dock._processes.clear()


def test_a_script_that_closes_is_not_asked_but_a_user_is(qtbot: QtBot) -> None:
    said: list[bool] = []

    class Window(QMainWindow):
        def closeEvent(self, event: Any) -> None:
            said.append(is_of_user(event))

    window = Window()
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


def test_the_process_outlives_its_widget(two_domains: Domains, tmp_path: Path) -> None:
    """It leads a session of its own, writes to a file, and is not in ours."""
    folder = write_run(tmp_path / "run")
    process = TrainingProcess(folder.path)
    process.start()
    child = process._process
    assert child is not None
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    process.stop()  # before its first beat: there is nothing to save
    assert child.wait(60) == -signal.SIGKILL
    assert folder.output_file.exists()
    process._poll()
    process.kill()  # once more does no harm
    assert not process.is_running


def test_cancel_while_the_process_still_imports(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    folder = write_run(tmp_path / "run")
    dock._train(folder.path)
    child = dock._processes[folder.path]._process
    dock.watch.discard.click()
    assert dock.watch.status.text() == "Cancelling…"
    qtbot.waitUntil(lambda: not folder.path.exists(), timeout=WAIT_MS)
    assert child.returncode == -signal.SIGKILL
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


def test_a_run_without_weights_is_not_continued(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, notifications: Callable[[], list[str]]
) -> None:
    folder = write_run(tmp_path / "run", "started", "finished", lines=5)
    dock.continue_run(folder.path, 10)
    qtbot.waitUntil(lambda: bool(notifications()), timeout=WAIT_MS)
    assert not (tmp_path / "run_more").exists()
    assert dock._processes == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_dock_follows_the_theme(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path, theme: str
) -> None:
    dock.attach(write_run(tmp_path / "run", "finished", lines=5).path)
    qtbot.waitUntil(lambda: dock.watch.curves is not None, timeout=WAIT_MS)
    dock._viewer.theme = theme
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


def settle(dock: TrainDock, qtbot: QtBot) -> None:
    """Wait until the newest preview is drawn."""
    qtbot.waitUntil(
        lambda: dock.previews._steps is None and dock.previews._drawn is not None, timeout=WAIT_MS
    )


def layers(dock: TrainDock) -> dict[str, Any]:
    return {
        tag(layer)["part"]: layer
        for layer in dock._viewer.layers
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
    qtbot.waitUntil(lambda: len(dock._viewer.layers) == 0, timeout=WAIT_MS)


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
    before, drawn = layers(dock), dock.previews._drawn
    write_preview(watched, 9, fill=2)
    qtbot.waitUntil(lambda: dock.previews._drawn is not drawn, timeout=WAIT_MS)
    settle(dock, qtbot)
    after = layers(dock)
    assert all(after[part] is before[part] for part in before)
    assert after["prediction"].data[1, -1, -1] == 3
    # another number of slices keeps the layers too
    drawn = dock.previews._drawn
    write_preview(watched, 12, slices=3)
    qtbot.waitUntil(lambda: dock.previews._drawn is not drawn, timeout=WAIT_MS)
    settle(dock, qtbot)
    assert {layer.data.shape for layer in dock._viewer.layers} == {(3, 8, 8)}
    dock.previews.slices.chosen.setCurrentRow(2)
    assert dock._viewer.dims.point[0] == pytest.approx(4.0)  # third slice, 2 mm each


def test_deleted_and_renamed_layers(
    dock: TrainDock, qtbot: QtBot, watched: RunFolder, notifications: Callable[[], list[str]]
) -> None:
    shown = layers(dock)
    shown["entropy"].name = "mine"
    dock._viewer.layers.remove(shown["input"])
    drawn = dock.previews._drawn
    write_preview(watched, 9, fill=2)
    qtbot.waitUntil(lambda: dock.previews._drawn is not drawn, timeout=WAIT_MS)
    settle(dock, qtbot)
    assert "input" not in layers(dock)
    assert layers(dock)["prediction"].data.max() == 3
    dock.previews.slices.chosen.setCurrentRow(1)
    dock._viewer.layers.clear()
    dock.previews.wanted.click()
    qtbot.waitUntil(lambda: dock.previews._steps is None, timeout=WAIT_MS)
    assert notifications() == []


def test_previews_fill_their_cells_beside_a_larger_volume(
    dock: TrainDock, qtbot: QtBot, tmp_path: Path
) -> None:
    dock._viewer.add_image(np.zeros((4, 200, 200)), translate=(0, -500, 0))
    folder = write_run(tmp_path / "run", "started", lines=3)
    write_preview(folder, 3)
    dock.attach(folder.path)
    dock.previews.wanted.click()
    qtbot.waitUntil(lambda: dock.previews._drawn is not None, timeout=WAIT_MS)
    settle(dock, qtbot)
    assert dock._viewer.canvas.grid.shape == (2, 3)
    assert dock._viewer.camera.center[-2:] == pytest.approx((7.0, 7.0))  # 8 pixels of 2 mm


def test_other_layers_come_back(dock: TrainDock, qtbot: QtBot, tmp_path: Path) -> None:
    image = dock._viewer.add_image(np.zeros((4, 8, 8)), name="patient")
    hidden = dock._viewer.add_image(np.zeros((4, 8, 8)), visible=False)
    folder = write_run(tmp_path / "run", "started", lines=3)
    write_preview(folder, 3)
    dock.attach(folder.path)
    dock.previews.wanted.click()
    qtbot.waitUntil(lambda: dock.previews._drawn is not None, timeout=WAIT_MS)
    settle(dock, qtbot)
    assert not image.visible
    assert layers(dock)["input"].units == image.units  # or units would be switched off for all
    dock.previews.wanted.click()
    qtbot.waitUntil(lambda: dock.previews._steps is None, timeout=WAIT_MS)
    assert list(dock._viewer.layers) == [image, hidden]
    assert (image.visible, hidden.visible) == (True, False)


def test_previews_are_no_images_to_segment_or_translate(
    dock: TrainDock, watched: RunFolder
) -> None:
    assert len(dock._viewer.layers) == 12
    assert not any(is_volume(layer) for layer in dock._viewer.layers)


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
    viewer = ViewerModel()
    shown = PreviewLayers(viewer)
    for _ in shown.show(replace(preview, maps=maps), "run"):
        pass
    names = [layer.name for layer in viewer.layers if tag(layer).get("role") == "preview"]
    assert names[:3] == ["input", "translation", "prediction"]
    assert isinstance(shown._layers["translation"], Image)
    assert len(viewer.layers) == 14
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
