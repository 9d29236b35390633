"""What the docks say in each state is true at that moment: idle, busy, cancelled, failed, done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_uda.data.provenance import ModelOrigin
from napari_uda.gui.kit.layers import show
from napari_uda.gui.score.dock import _about_dice
from napari_uda.gui.score.score_plots import CalibrationPanel
from napari_uda.gui.segment.result_view import ResultView
from napari_uda.gui.segment.structures import Legend
from napari_uda.gui.train.live_previews import LivePreviews
from napari_uda.gui.train.run_list import RunList
from napari_uda.inference.predict import Prediction
from napari_uda.run.reader import RunUpdate
from napari_uda.run.status import RunState, RunStatus

WAIT_MS = 20_000


def test_the_legend_shows_no_volumes_of_another_result(
    made_prediction: Prediction, qtbot: QtBot
) -> None:
    viewer = ViewerModel()
    view = ResultView(viewer)
    qtbot.addWidget(view)
    first = show(viewer, made_prediction)[1]
    qtbot.waitUntil(lambda: not view.is_counting, timeout=WAIT_MS)
    counted = view.legend.item(0, 1).text()
    assert float(counted) > 0
    nothing = np.zeros_like(made_prediction.labels)
    show(viewer, replace(made_prediction, labels=nothing, model=ModelOrigin("other")))
    assert view.legend.item(0, 1).text() == "…"  # not the volume of the first one
    qtbot.waitUntil(lambda: not view.is_counting, timeout=WAIT_MS)
    assert view.legend.item(0, 1).text() == "0.0"
    assert isinstance(first, Labels)
    view.results.choose(first)
    qtbot.waitUntil(lambda: not view.is_counting, timeout=WAIT_MS)
    assert view.legend.item(0, 1).text() == counted


def test_volumes_before_and_after_come_with_their_share(qtbot: QtBot) -> None:
    legend = Legend()
    qtbot.addWidget(legend)
    names = {1: "LVC", 2: "RV", 3: "LA"}
    legend.show_structures(names, {1: 60.0, 2: 5.0, 3: 0.0}, {1: 90.0, 2: 0.0, 3: 0.0})
    texts = [legend.item(row, 1).text() for row in range(3)]
    assert texts == ["60.0 (-33 %)", "5.0 (new)", "0.0 (none)"]
    about = legend.item(0, 1).toolTip()
    assert about == "90.0 mL before the adaptation, 60.0 mL after it"


def test_the_list_of_runs_looks_before_it_denies(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = RunList()
    qtbot.addWidget(runs)
    assert runs.note.text() == "Looking for runs…"
    runs.show()
    qtbot.waitUntil(lambda: runs.note.text().startswith("No runs yet"), timeout=WAIT_MS)


def test_live_previews_say_why_none_is_seen(qtbot: QtBot, tmp_path: Path) -> None:
    previews = LivePreviews(ViewerModel())
    qtbot.addWidget(previews)
    previews.wanted.setChecked(True)
    assert previews.problem.isHidden()  # there is no run yet, as the heading says
    previews.watch(tmp_path)
    assert "not training now" in previews.problem.text()
    previews.take(RunUpdate(tmp_path, RunStatus(RunState.RUNNING)))
    assert previews.problem.text() == "Waiting for the first preview of this run…"
    previews.take(RunUpdate(tmp_path, RunStatus(RunState.FAILED)))
    assert "has left no preview" in previews.problem.text()
    previews.wanted.setChecked(False)
    assert previews.problem.isHidden()


@pytest.mark.parametrize(
    ("mean", "words"), [(0.8, "mean Dice 0.800"), (float("nan"), "no structure to score")]
)
def test_no_dice_is_said_in_words(mean: float, words: str) -> None:
    assert _about_dice(mean) == words


def test_calibration_without_an_entropy_map_says_so(qtbot: QtBot) -> None:
    panel = CalibrationPanel()
    qtbot.addWidget(panel)
    panel.show_calibrations([])
    assert panel.numbers.text() == "No entropy map was scored with this prediction."
