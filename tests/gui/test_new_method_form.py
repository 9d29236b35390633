"""A method of another package in the docks: offered like one of ours, and missed in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gui_cases import settle
from napari import Viewer
from new_method_cases import NAME, PACKAGE, install_new_method, python
from pytestqt.qtbot import QtBot

from napari_uda.gui.kit import jobs
from napari_uda.gui.segment.dock import SegmentDock
from napari_uda.gui.train.dock import TrainDock
from napari_uda.gui.translate.dock import TranslateDock

# a process of its own, for this one has looked for methods already
FORM = """
import json, os, sys
from pathlib import Path
from qtpy.QtCore import QEventLoop, QSettings
from qtpy.QtWidgets import QApplication
from napari_uda.gui.kit import jobs, preferences

folder, name = Path(sys.argv[1]), sys.argv[2]
os.chdir(folder)
settings = QSettings(str(folder / "settings.ini"), QSettings.Format.IniFormat)
preferences.settings = lambda: settings
preferences.napari_settings = lambda: None
application = QApplication([])

from napari_uda.gui.kit.settings_form import SettingGroup
from napari_uda.gui.train.train_form import TrainForm

def wait_until(what):
    while not what():
        application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 100)

form = TrainForm()
form.show()
wait_until(lambda: form.settings.form is not None)
box = form.methods.methods
offered = [box.itemText(row) for row in range(box.count()) if box.itemData(row) == name]
form.methods.choose(name)
shown = form.settings.form
for group in shown.findChildren(SettingGroup):
    group.set_open(True)
editors = shown.editors
editor = editors["method.sure_share"]
editor.value = 0.25
config = shown.config()
wait_until(lambda: not jobs.running())
print(json.dumps({
    "offered": offered,
    "editors": sorted(editors),
    "tip": editor.native.toolTip(),
    "method": config.method.model_dump(mode="json"),
    "problems": shown.problems(),
}))
"""


@pytest.mark.slow
def test_the_form_of_training_offers_it(tmp_path: Path) -> None:
    environment = install_new_method(tmp_path)
    said = python("-c", FORM, tmp_path, NAME, environment=environment)
    (line,) = [line for line in said.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(line)
    (offered,) = found["offered"]
    assert offered == (
        f"{NAME}: trains on source in target style, then on the surest target pixels of each class"
    )
    assert {
        "method.translation_steps",
        "method.pseudo_weight",
        "method.sure_share",
        "method.threshold_every",
        "method.threshold_slices",
        "method.translator.generator.width",
        "method.translator.cycle_weight",
    } <= set(found["editors"])
    assert "Share of the pixels of each class that are sure enough to be learnt." in found["tip"]
    assert (found["method"]["name"], found["method"]["sure_share"]) == (NAME, 0.25)
    assert found["problems"] == {}


# --- runs whose package is not installed ----------------------------------------------------------


@pytest.fixture
def lost(tiny_run: Path, tmp_path: Path) -> Path:
    """A run that says it was made by the package, which this process does not have."""
    run = Path(shutil.copytree(tiny_run, tmp_path / "lost"))
    config, environment = run / "config.yaml", run / "environment.json"
    config.write_text(config.read_text().replace("name: source_only", f"name: {NAME}"))
    stored = json.loads(environment.read_text())
    environment.write_text(json.dumps({**stored, "method_package": f"{PACKAGE} 1.0"}))
    return run


def sentence(run: Path) -> str:
    return (
        f"{run}: the run was made by the method {NAME} of the package {PACKAGE} 1.0, which is not "
        f"installed here; install it (pip install {PACKAGE})"
    )


@pytest.mark.parametrize("kind", [SegmentDock, TranslateDock])
def test_a_dock_that_is_given_such_a_run_says_what_to_install(
    kind: type[SegmentDock | TranslateDock],
    make_napari_viewer: Callable[[], Viewer],
    lost: Path,
    qtbot: QtBot,
) -> None:
    viewer = make_napari_viewer()
    dock = kind(viewer)
    viewer.window.add_dock_widget(dock)
    dock.add_model(lost)
    qtbot.waitUntil(lambda: sentence(lost) in dock.status.text())
    settle(dock, qtbot)


@pytest.fixture
def train(make_napari_viewer: Callable[[], Viewer], qtbot: QtBot) -> Iterator[TrainDock]:
    viewer = make_napari_viewer()
    dock = TrainDock(viewer)
    viewer.window.add_dock_widget(dock)
    yield dock
    qtbot.waitUntil(lambda: not dock.processes)
    dock.watch.leave()
    dock.runs.hide()
    qtbot.waitUntil(lambda: not jobs.running())


def test_continue_of_such_a_run_is_a_notification(
    train: TrainDock, lost: Path, qtbot: QtBot, notifications: Callable[[], list[str]]
) -> None:
    train.continue_run(lost, 2)
    qtbot.waitUntil(lambda: bool(notifications()))
    assert notifications() == [sentence(lost)]
    assert not lost.with_name("lost_more").exists()


@pytest.mark.slow
def test_resume_of_such_a_run_is_a_notification(
    train: TrainDock, lost: Path, qtbot: QtBot, notifications: Callable[[], list[str]]
) -> None:
    events = lost / "events.jsonl"
    events.write_text(events.read_text().replace('"finished"', '"stopped"'))
    train.attach(lost)
    qtbot.waitUntil(train.watch.resume.isEnabled)
    train.watch.resume.click()
    qtbot.waitUntil(lambda: bool(notifications()))
    (said,) = notifications()
    assert sentence(lost) in said
