"""Fixtures of the viewer's tests: they need a display, and a tiny run made by the real engine."""

from __future__ import annotations

import functools
import gc
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gui_cases import LABELS, ball_case
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication, QEventLoop, QSettings

import napari_uda as uda
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.volume import write_volume
from napari_uda.gui.kit import jobs, preferences
from napari_uda.gui.view.dock import ViewDock
from napari_uda.inference.predict import Prediction


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark everything here as gui, for one process where all share a display; skip without one."""
    here = Path(__file__).parent
    shared = not config.pluginmanager.hasplugin("own_display")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gui)
            if shared:
                item.add_marker(pytest.mark.xdist_group("window"))
            if sys.platform == "linux" and not os.environ.get("DISPLAY"):
                item.add_marker(pytest.mark.skip(reason="no display; run under xvfb-run"))


def pytest_collection_finish() -> None:
    """Take what is loaded by now out of the garbage collector's rounds.

    napari's fixture asks for several rounds for each viewer, and the modules alone make one of them long.
    """
    importlib.import_module("napari.window")  # with all that it loads, before the first viewer does
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings, runs or notifications of this machine or of another test."""
    settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    monkeypatch.setattr(preferences, "settings", lambda: settings)
    monkeypatch.setattr(preferences, "napari_settings", lambda: None)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user_data"))  # journals of edits
    monkeypatch.chdir(tmp_path)
    notification_manager.records.clear()
    yield
    # a thread says that it has ended a moment after it has handed over what it found
    give_up_at = time.monotonic() + 60
    while jobs.running() and time.monotonic() < give_up_at:
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 100)
    assert not jobs.running(), "a job outlived its test"


@pytest.fixture
def qtbot(qtbot: QtBot) -> QtBot:
    """Waits a minute where nothing else is said: how fast a machine is proves nothing."""
    for name in ("waitUntil", "waitSignal", "waitSignals", "waitCallback"):
        setattr(qtbot, name, functools.partial(getattr(qtbot, name), timeout=60_000))
    return qtbot


@pytest.fixture
def linked_dock(
    viewer: ViewerModel, qtbot: QtBot, notifications: Callable[[], list[str]]
) -> Iterator[ViewDock]:
    """The View dock with linked cuts, for the viewer of a file of tests; nothing may be complained of."""
    widget = ViewDock(viewer)
    widget.resize(320, 900)
    widget.show()

    def is_settled() -> bool:
        return widget.is_settled and not jobs.running()

    qtbot.waitUntil(is_settled)
    widget.linked.click()
    qtbot.waitUntil(is_settled)
    yield widget
    qtbot.waitUntil(is_settled)
    with qtbot.waitSignal(widget.destroyed):
        widget.deleteLater()
    assert notifications() == []


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipe: a training process does nothing but wait for it, and ends with the code written to it."""
    if os.name != "posix":
        pytest.skip("the process is a shell script")
    pipe, script = tmp_path / "gate", tmp_path / "waits"
    os.mkfifo(pipe)
    script.write_text(f"#!/bin/sh\nread code < '{pipe}'\nexit $code\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return pipe


@pytest.fixture
def notifications() -> Callable[[], list[str]]:
    """Messages shown to the user since the test began."""
    return lambda: [record.message for record in notification_manager.records]


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases in the contract's layout."""
    folder = tmp_path_factory.mktemp("data") / "mr"
    for index in range(2):
        image, labels = ball_case(f"case_{index}", index)
        write_volume(folder / "images" / f"case_{index}.nii.gz", image)
        write_volume(folder / "labels" / f"case_{index}.nii.gz", labels)
    write_dataset_json(folder, LABELS, "MR")
    return folder


@pytest.fixture(scope="session")
def tiny_run(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a very small network after two steps."""
    run = uda.train(
        "source_only",
        source=data_folder,
        target=data_folder,
        run_dir=tmp_path_factory.mktemp("runs") / "tiny",
        steps=2,
        batch_size=2,
        data={"size": 32},
        segmentor={"name": "unet", "width": 4, "depth": 2},
    )
    return run.path


@pytest.fixture
def made_prediction() -> Prediction:
    """A prediction without a network: the labels one voxel off, entropy high at their border."""
    image, labels = ball_case("case_0", 0)
    predicted = np.roll(labels.array, 1, axis=2)
    entropy = (predicted != labels.array).astype(np.float32) * 0.75
    return Prediction(
        labels=predicted,
        entropy=entropy,
        reliability=np.where(entropy > 0.5, 2, 1).astype(np.uint8),
        names={value: name for name, value in LABELS.items()},
        volume=image,
        case="case_0",
        model=ModelOrigin("tiny", "ab" * 32, "2026-08-21"),
    )
