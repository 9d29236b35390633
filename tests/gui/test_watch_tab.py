"""The widgets of the Train dock that need no window of napari, driven by run folders written by hand."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from pyqtgraph import PlotWidget
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton
from watch_cases import line_of
from written_runs import CONFIG, append_lines, beat, write_preview, write_run

import napari_uda as uda
from napari_uda.gui.kit import jobs
from napari_uda.gui.train import live_previews, watch_tab
from napari_uda.gui.train.live_previews import LivePreviews, SliceChoice
from napari_uda.gui.train.loss_curves import LossCurves
from napari_uda.gui.train.run_comparison import RunComparison
from napari_uda.gui.train.run_list import RunList, known_folders
from napari_uda.gui.train.watch_tab import WatchTab
from napari_uda.run import reader
from napari_uda.run.folder import RunFolder, SlicePlace
from napari_uda.run.history import Curve
from napari_uda.run.reader import RunReader, RunScanner
from napari_uda.run.status import RunState
from napari_uda.training.select import select

WAIT_MS = 20_000
BUTTONS = ("stop", "discard", "resume", "more", "open_folder")


@pytest.fixture
def tab(qtbot: QtBot) -> Iterator[WatchTab]:
    widget = WatchTab(ViewerModel())
    qtbot.addWidget(widget)
    widget.resize(320, 700)
    widget.show()
    yield widget
    widget.leave()
    qtbot.waitUntil(lambda: not watching(), timeout=WAIT_MS)


def watching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "napari_uda watch"]


def look(qtbot: QtBot, tab: WatchTab, path: Path) -> None:
    """Attach and wait for the first look."""
    tab.attach(path)
    qtbot.waitUntil(lambda: tab.update_seen is not None, timeout=WAIT_MS)


def enabled(tab: WatchTab) -> list[str]:
    return [name for name in BUTTONS if tab.findChild(QPushButton, name).isEnabled()]


# --- watching -------------------------------------------------------------------------------------


def test_nothing_is_watched_at_first(tab: WatchTab) -> None:
    assert enabled(tab) == []
    assert "No run" in tab.heading.text()
    assert not tab.step_bar.isVisible()
    assert watching() == []


@pytest.mark.parametrize(
    ("kinds", "words", "buttons"),
    [
        (("started", "finished"), "se_asa · finished", ["more", "open_folder"]),
        (("started", "stopped"), "can be resumed", ["resume", "open_folder"]),
        (("started", "failed"), "failed: InputError: no labels", ["resume", "open_folder"]),
        (
            ("started",),
            "broken off: The training process ended without saying why",
            ["resume", "open_folder"],
        ),
        ((), "not started", ["resume", "open_folder"]),
    ],
)
def test_state_and_buttons(
    kinds: tuple[str, ...],
    words: str,
    buttons: list[str],
    tab: WatchTab,
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    look(qtbot, tab, write_run(tmp_path / "run", *kinds, lines=4).path)
    assert words in tab.status.text()
    assert enabled(tab) == buttons
    assert tab.step_bar.text() == "step 4 of 100"
    assert "left" not in tab.time_bar.text()


def test_a_stopped_run_shows_the_step_that_was_saved(
    tab: WatchTab, qtbot: QtBot, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", "started", lines=4)
    with folder.events_file.open("a") as file:
        file.write('{"event": "stopped", "step": 9}\n')
    look(qtbot, tab, folder.path)
    assert tab.step_bar.text() == "step 9 of 100"
    (run,) = RunScanner().scan([tmp_path])
    assert run.step == 9


def test_a_running_run_is_followed(tab: WatchTab, qtbot: QtBot, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started", lines=20, reliable_share=0.6)
    beat(folder, step=22)
    look(qtbot, tab, folder.path)
    assert enabled(tab) == ["stop", "discard", "open_folder"]
    assert tab.step_bar.text() == "step 22 of 100"
    assert tab.time_bar.text() == "10 s so far, about 39 s left"  # 78 steps of half a second
    assert tab.machine.text().startswith("cpu, 2 threads · 0.5 GiB of memory")
    assert tab.curves.is_drawn
    assert keys(tab.curves.losses) + keys(tab.curves.shares) == ["segmentation", "reliable_share"]
    append_lines(folder, 21, 40, reliable_share=0.6)
    beat(folder, 2, step=40)
    qtbot.waitUntil(lambda: tab.history.step == 40, timeout=WAIT_MS)
    assert line_of(tab.curves, "segmentation")[0] == list(range(1, 41))
    # the trainer ends in good order
    folder.heartbeat_file.unlink()
    with folder.events_file.open("a") as file:
        file.write('{"event": "stopped"}\n')
    qtbot.waitUntil(lambda: "can be resumed" in tab.status.text(), timeout=WAIT_MS)
    assert enabled(tab) == ["resume", "open_folder"]


def test_a_long_file_is_drawn_when_its_last_part_is_read(
    tab: WatchTab, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "run", "started", "finished", lines=40)
    # five parts, the last of which ends with the file: nothing tells that there is no sixth
    lines = folder.metrics_file.read_text().splitlines()
    width = max(map(len, lines))
    folder.metrics_file.write_text("".join(f"{line:{width}}\n" for line in lines))
    monkeypatch.setattr(reader, "MOST_BYTES", 8 * (width + 1))
    judged: list[int] = []
    monkeypatch.setattr(watch_tab, "hints", lambda history, *_: judged.append(history.step) or [])
    tab.attach(folder.path)
    qtbot.waitUntil(lambda: tab.curves.is_drawn, timeout=WAIT_MS)
    assert line_of(tab.curves, "segmentation")[0] == list(range(1, 41))
    assert judged == [40]


def test_previews_give_areas_and_hints(tab: WatchTab, qtbot: QtBot, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started", lines=20, discriminator_main=0.01)
    write_preview(folder, 10)
    look(qtbot, tab, folder.path)
    assert tab.areas.text() == "Drawn at step 10: MYO 0.2 cm², LVC 0.0 cm² a slice"
    assert "⚠ discriminator main is 0.010" in tab.hints.text()
    assert "• Not found on the chosen slices: LVC." in tab.hints.text()


def test_a_message_stays_until_the_state_it_waits_for(
    tab: WatchTab, qtbot: QtBot, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", "started", "stopped", lines=1)
    tab.attach(folder.path)
    tab.say("Starting…", until=(RunState.RUNNING,))
    qtbot.waitUntil(lambda: tab.update_seen is not None, timeout=WAIT_MS)
    assert tab.status.text() == "Starting…"
    assert enabled(tab) == ["discard", "open_folder"]  # nobody waits for what he does not want
    beat(folder)
    qtbot.waitUntil(lambda: tab.status.text() == "se_asa · training", timeout=WAIT_MS)
    assert enabled(tab) == ["stop", "discard", "open_folder"]
    assert tab.step_bar.text() == "step 1 of 100"


def test_another_run_replaces_everything(tab: WatchTab, qtbot: QtBot, tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", "started", lines=20, discriminator_main=0.01)
    look(qtbot, tab, first.path)
    look(qtbot, tab, write_run(tmp_path / "second", "finished", lines=2).path)
    assert tab.heading.text() == "<b>second</b>"
    assert tab.history.names() == ["segmentation"]
    assert not tab.hints.isVisible()
    qtbot.waitUntil(lambda: len(watching()) == 1, timeout=WAIT_MS)


def test_the_folder_disappears(tab: WatchTab, qtbot: QtBot, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "finished", lines=2)
    look(qtbot, tab, folder.path)
    folder.delete()
    qtbot.waitUntil(lambda: "no config.yaml" in tab.status.text(), timeout=WAIT_MS)


def test_buttons_say_what_is_wanted(tab: WatchTab, qtbot: QtBot, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "started", lines=1)
    beat(folder)
    look(qtbot, tab, folder.path)
    with qtbot.waitSignal(tab.stop.clicked):
        tab.stop.click()
    with qtbot.waitSignal(tab.discard.clicked):
        tab.discard.click()


def test_a_narrow_tab_stands_and_a_wide_one_lies(
    tab: WatchTab, qtbot: QtBot, tmp_path: Path
) -> None:
    look(qtbot, tab, write_run(tmp_path / "run", "finished", lines=3, reliable_share=0.5).path)
    qtbot.waitUntil(lambda: tab.curves.is_drawn, timeout=WAIT_MS)
    assert tab.curves.is_drawn
    tab.resize(320, 900)
    qtbot.waitUntil(lambda: tab.curves.y() > tab.more.y(), timeout=WAIT_MS)
    for button in (tab.stop, tab.more, tab.open):
        assert button.mapTo(tab, button.rect().bottomRight()).x() < 320  # nothing is cut off
    tab.resize(1200, 300)
    qtbot.waitUntil(lambda: tab.curves.x() > tab.more.x(), timeout=WAIT_MS)


# --- curves ---------------------------------------------------------------------------------------

STEPS = np.arange(1, 5)
LOSS = Curve("loss", "loss", STEPS, np.array([4.0, 2.0, 0.0, 2.0]), "#56B4E9")
DICE = Curve("dice", "Dice", STEPS, np.array([0.1, 0.2, 0.3, 0.4]), "#E69F00", share=True)


@pytest.fixture
def curves(qtbot: QtBot) -> LossCurves:
    widget = LossCurves()
    qtbot.addWidget(widget)
    widget.show()
    widget.smoothing.setValue(1)
    widget.show_curves([LOSS, DICE])
    return widget


def drawn(curves: LossCurves, key: str) -> list[float]:
    return line_of(curves, key)[1]


def keys(plot: PlotWidget) -> list[str]:
    """The curves of a plot that are seen."""
    return [item.name() for item in plot.listDataItems() if item.isVisible()]


def test_losses_and_shares_have_plots_of_their_own(curves: LossCurves) -> None:
    assert drawn(curves, "loss") == [4.0, 2.0, 0.0, 2.0]
    assert (keys(curves.losses), keys(curves.shares)) == (["loss"], ["dice"])
    assert curves.shares.isVisible()
    curves.show_curves([LOSS])
    assert not curves.shares.isVisible()


def test_smoothing_and_log_scale(curves: LossCurves) -> None:
    curves.smoothing.setValue(2)
    assert drawn(curves, "loss") == [4.0, 3.0, 1.0, 1.0]
    curves.smoothing.setValue(1)
    curves.log.click()
    assert np.isnan(drawn(curves, "loss")[2])
    assert drawn(curves, "loss")[0] == 4.0
    assert drawn(curves, "dice")[0] == 0.1
    assert curves.losses.plotItem.getAxis("left").logMode
    assert not curves.shares.plotItem.getAxis("left").logMode


def test_a_hidden_curve_stays_hidden(curves: LossCurves) -> None:
    curves.legend.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert keys(curves.losses) == []
    curves.set_theme("#FFFFFF", "#000000")
    assert keys(curves.losses) == []
    assert curves.legend.item(0).checkState() == Qt.CheckState.Unchecked


# --- choice of slices -----------------------------------------------------------------------------


def test_slices_are_chosen(qtbot: QtBot) -> None:
    choice = SliceChoice()
    qtbot.addWidget(choice)
    assert not choice.add.isEnabled()
    choice.set_choices({"target": {"a": 6}, "source": {"b": 4}})
    choice.set_places([SlicePlace("target", "a", 3)])
    assert choice.places == ()  # the trainer's choice
    assert (choice.number.value(), choice.number.maximum()) == (3, 5)
    choice.cases.setCurrentIndex(1)
    with qtbot.waitSignal(choice.changed):
        choice.add.click()
    assert choice.places == (SlicePlace("target", "a", 3), SlicePlace("source", "b", 2))
    choice.set_places([SlicePlace("target", "a", 0)])  # an older preview
    assert len(choice.places) == 2
    with qtbot.waitSignal(choice.chosen.currentRowChanged, check_params_cb=lambda row: row == 0):
        choice.chosen.setCurrentRow(0)
    with qtbot.waitSignal(choice.changed):
        choice.remove.click()
    assert choice.places == (SlicePlace("source", "b", 2),)
    assert not choice.remove.isEnabled()
    choice.clear()
    assert choice.places == ()
    assert choice.cases.count() == choice.chosen.count() == 0


# --- list and comparison --------------------------------------------------------------------------


@pytest.fixture
def runs(qtbot: QtBot, tmp_path: Path) -> Iterator[RunList]:
    first = write_run(tmp_path / "runs" / "first", "finished", lines=3)
    write_run(tmp_path / "runs" / "second", "started", lines=2, config=CONFIG.replace("100", "7"))
    widget = RunList()
    qtbot.addWidget(widget)
    widget.show()  # the folder `runs` of the working directory is looked at without being added
    qtbot.waitUntil(lambda: len(widget.runs) == 2 and not jobs.running(), timeout=WAIT_MS)
    yield widget
    assert first.config_file.exists()


def test_runs_are_listed(runs: RunList, qtbot: QtBot, tmp_path: Path) -> None:
    rows = [[runs.table.item(r, c).text() for c in range(4)] for r in range(2)]
    assert sorted(rows) == [
        ["first", "finished", "se_asa", "3 / 100"],
        ["second", "broken", "se_asa", "2 / 7"],
    ]
    write_run(tmp_path / "elsewhere" / "third", "finished")
    runs.add_folder(tmp_path / "elsewhere")
    qtbot.waitUntil(lambda: len(runs.runs) == 3, timeout=WAIT_MS)
    assert known_folders() == [tmp_path / "elsewhere"]


def test_marked_runs_are_ranked_without_labels(
    runs: RunList, qtbot: QtBot, tmp_path: Path, tiny_run: Path, data_folder: Path
) -> None:
    worse = tmp_path / "trained" / "other"
    shutil.copytree(tiny_run, worse.with_name("tiny"))
    tiny: dict[str, Any] = {
        "data": {"size": 32},
        "segmentor": {"name": "unet", "width": 4, "depth": 2},
    }
    uda.train(
        "source_only",
        source=data_folder,
        target=data_folder,
        run_dir=worse,
        steps=1,
        seed=3,
        **tiny,
    )
    runs.add_folder(worse.parent)
    qtbot.waitUntil(lambda: len(runs.runs) == 4, timeout=WAIT_MS)
    runs.select([worse])
    assert not runs.rank.isEnabled()
    assert runs.rank.toolTip() == "Mark several runs to rank them"
    runs.select([worse, worse.with_name("tiny")])
    runs.rank.click()
    assert runs.rank.text() == "Cancel"
    qtbot.waitUntil(lambda: runs.rank.text() == "Rank", timeout=WAIT_MS)
    found = select([worse, worse.with_name("tiny")])
    assert runs.note.text() == f"Without labels, {found.choice.run.name} comes first."
    cells = {run.path.name: runs.table.item(row, 4) for row, run in enumerate(runs.runs)}
    for place, one in enumerate(found.candidates, start=1):
        assert cells[one.run.name].text() == f"{place} ({one.score:.3f})"
        assert f"certainty {one.mean('certainty'):.3f}" in cells[one.run.name].toolTip()
    assert cells["first"].text() == ""
    runs.refresh.click()
    assert runs.rank.isEnabled()
    runs.select([tmp_path / "runs" / "first", worse])  # the first has never trained
    runs.rank.click()
    qtbot.waitUntil(lambda: runs.rank.text() == "Rank", timeout=WAIT_MS)
    assert "first" in runs.note.text()


def test_equal_runs_share_a_place_and_one_handed_on_has_no_steps(
    runs: RunList, qtbot: QtBot, tmp_path: Path, tiny_run: Path
) -> None:
    here = tmp_path / "trained"
    for name in ("tiny", "twin"):
        shutil.copytree(tiny_run, here / name)
    for kept in ("events.jsonl", "metrics.jsonl", "heartbeat.json"):
        (here / "twin" / kept).unlink(missing_ok=True)
    runs.add_folder(here)
    qtbot.waitUntil(lambda: len(runs.runs) == 4, timeout=WAIT_MS)
    runs.select([here / "tiny", here / "twin"])
    runs.rank.click()
    qtbot.waitUntil(lambda: runs.rank.text() == "Rank", timeout=WAIT_MS)
    assert re.fullmatch(
        r"Without labels, t\w+ comes first, and 1 more with the same score\.", runs.note.text()
    )
    cells = {
        run.path.name: [runs.table.item(row, column).text() for column in (1, 3, 4)]
        for row, run in enumerate(runs.runs)
    }
    assert cells["twin"][:2] == ["finished", ""]
    assert cells["tiny"][1] != ""
    assert cells["twin"][2] == cells["tiny"][2]
    assert cells["twin"][2].startswith("1 (")


def test_what_can_be_done_with_marked_runs(runs: RunList, qtbot: QtBot, tmp_path: Path) -> None:
    first, second = tmp_path / "runs" / "first", tmp_path / "runs" / "second"
    assert not any(b.isEnabled() for b in (runs.watch, runs.compare, runs.delete))
    runs.select([second])
    assert runs.selected() == [second]
    for button in (runs.watch, runs.delete):
        with qtbot.waitSignal(button.clicked):
            button.click()
    assert not runs.compare.isEnabled()
    runs.select([first, second])
    assert not runs.watch.isEnabled()
    assert set(runs.selected()) == {first, second}
    with qtbot.waitSignal(runs.compare.clicked):
        runs.compare.click()
    runs.select([second])
    beat(RunFolder(second))
    runs.refresh.click()
    qtbot.waitUntil(lambda: not runs.delete.isEnabled(), timeout=WAIT_MS)
    assert runs.selected() == [second]  # the mark stays
    assert runs.delete.toolTip() == "Stop the run first"


def test_two_runs_are_compared(qtbot: QtBot, tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", "finished", lines=3)
    second = write_run(tmp_path / "b", "finished", lines=5, config=CONFIG.replace("100", "7"))
    first.scores_file.write_text("case,label,name,dice,assd_mm,hd95_mm\nc,1,MYO,0.5,1,2\n")
    widget = RunComparison()
    qtbot.addWidget(widget)
    widget.compare(first.path, second.path)
    qtbot.waitUntil(lambda: widget.curves.is_drawn, timeout=WAIT_MS)
    assert widget.heading.text() == "a (line) and b (dashes)"
    assert widget.curves.is_drawn
    lengths = [len(item.xData) for item in widget.curves.losses.listDataItems()]
    assert lengths == [3, 5]
    cells = [widget.settings.item(0, column).text() for column in range(3)]
    assert cells == ["steps", "100", "7"]
    assert widget.settings.rowCount() == 1
    assert [widget.scores.item(0, column).text() for column in range(3)] == [
        "MYO · Dice",
        "0.500",
        "–",
    ]
    assert "There is no scores.csv in b;" in widget.no_scores.text()
    with qtbot.waitSignal(widget.back.clicked):
        widget.back.click()


def test_comparing_with_a_run_that_is_gone(
    qtbot: QtBot, tmp_path: Path, notifications: Callable[[], list[str]]
) -> None:
    widget = RunComparison()
    qtbot.addWidget(widget)
    widget.compare(write_run(tmp_path / "a", "finished", lines=1).path, tmp_path / "gone")
    qtbot.waitUntil(lambda: widget.curves.is_drawn, timeout=WAIT_MS)
    assert widget.settings.item(0, 2).text() == "–"
    assert notifications() == []


def test_a_request_on_its_way_is_not_made_after_leaving(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that asks may come to it only after the dock has closed."""
    late: list[Callable[[], None]] = []
    monkeypatch.setattr(
        live_previews, "background", lambda owner, title, work, *then, **more: late.append(work)
    )
    folder = write_run(tmp_path / "run", "started")
    beat(folder)
    previews = LivePreviews(ViewerModel())
    qtbot.addWidget(previews)
    previews.watch(folder.path)
    previews.wanted.setChecked(True)
    update = RunReader(folder.path).look()
    previews.take(update)
    previews.end()
    previews.take(update)  # a look that was on its way, too
    late[0]()
    assert (len(late), folder.preview_request()) == (1, None)
    previews.watch(folder.path)
    previews.take(update)
    late[1]()
    assert folder.preview_request() is not None
