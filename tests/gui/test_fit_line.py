"""The verdict on a result in words, in the Segment dock and in the list of several volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gui_cases import ball_case
from napari.components import ViewerModel
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_uda.data.provenance import ModelOrigin
from napari_uda.gui.kit.fit_line import FitLine
from napari_uda.gui.kit.layers import show
from napari_uda.gui.segment.batch import BatchPanel
from napari_uda.gui.segment.entropy_panel import COUNTING, NO_MAP, NO_RESULT
from napari_uda.gui.segment.result_view import ResultView
from napari_uda.gui.segment.segmenting import Result
from napari_uda.inference.cohort import Row
from napari_uda.inference.fit import Fit
from napari_uda.inference.predict import Prediction
from napari_uda.training.adapt import Adaptation

WAIT_MS = 20_000
SIZE = "structures of unusual size: LVC 3 mL"
BAD = Fit("does not fit", ("it is flipped left to right", SIZE), "no flips")


@pytest.fixture
def line(qtbot: QtBot) -> FitLine:
    made = FitLine()
    qtbot.addWidget(made)
    return made


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (Fit("fits"), "✔ The model fits this image"),
        (Fit("doubtful", (SIZE,)), "▲ Doubtful whether the model fits this image"),
        (BAD, "✖ The model does not fit this image"),
        (Fit(), "– Not judged whether the model fits this image"),
    ],
)
def test_the_verdict_stands_in_words(fit: Fit, words: str, line: FitLine) -> None:
    line.show_fit(fit)
    assert not line.isHidden()
    assert words in line.text.text()
    for reason in fit.reasons[:1]:
        assert f": {reason}" in line.text.text()
    line.show_fit(None)
    assert line.isHidden()


def test_the_other_reasons_open_and_close(line: FitLine) -> None:
    line.show_fit(BAD)
    assert SIZE not in line.text.text()
    assert ">2 more<" in line.text.text()
    assert SIZE in line.text.toolTip()
    line.text.linkActivated.emit("#")
    assert SIZE in line.text.text()
    assert "no flips" in line.text.text()
    line.text.linkActivated.emit("#")
    assert SIZE not in line.text.text()


def test_names_from_files_are_no_markup(line: FitLine) -> None:
    line.show_fit(Fit("doubtful", ("<b>liver</b> & more",)))
    assert "&lt;b&gt;liver&lt;/b&gt; &amp; more" in line.text.text()


def test_the_result_that_is_chosen_shows_its_verdict(
    made_prediction: Prediction, qtbot: QtBot
) -> None:
    viewer = ViewerModel()
    view = ResultView(viewer)
    qtbot.addWidget(view)
    assert view.fit.isHidden()
    assert view.entropy.kept.text() == NO_RESULT
    show(viewer, replace(made_prediction, fit=BAD))
    assert "does not fit" in view.fit.text.text()
    assert view.results.currentText() == "case_0 · prediction · tiny (does not fit)"
    assert view.results.toolTip().startswith("tiny of 2026-08-21, weights abababab")
    show(viewer, replace(made_prediction, model=ModelOrigin("good"), fit=Fit("fits")))
    assert "The model fits" in view.fit.text.text()
    # what is said while it counts is no verdict on files that are there
    assert view.entropy.kept.text() == COUNTING
    qtbot.waitUntil(lambda: view.uncertainty is not None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not view.is_counting, timeout=WAIT_MS)
    assert view.entropy.kept.text().startswith("Kept: ")
    viewer.layers.remove("case_0 · entropy · good")
    assert view.entropy.kept.text() == COUNTING
    qtbot.waitUntil(lambda: not view.is_counting, timeout=WAIT_MS)
    assert view.entropy.kept.text() == NO_MAP
    viewer.layers.clear()
    assert view.entropy.kept.text() == NO_RESULT
    assert view.fit.isHidden()


def test_a_warning_stays_with_its_result(made_prediction: Prediction, qtbot: QtBot) -> None:
    viewer = ViewerModel()
    view = ResultView(viewer)
    qtbot.addWidget(view)
    first = show(viewer, made_prediction)[1]
    other = show(viewer, replace(made_prediction, model=ModelOrigin("other")))[1]
    assert isinstance(first, Labels)
    assert isinstance(other, Labels)
    view.show_result(first, made_prediction.names, {}, warning="LVC moved far.")
    assert view.warning.text() == "⚠ LVC moved far."
    view.results.choose(other)
    assert view.warning.isHidden()
    view.results.choose(first)
    assert not view.warning.isHidden()
    view.show_result(first, made_prediction.names, {})  # made anew, and nothing moved
    assert view.warning.isHidden()
    qtbot.waitUntil(lambda: not view.is_counting, timeout=WAIT_MS)


def test_several_volumes_are_marked_one_by_one(qtbot: QtBot) -> None:
    panel = BatchPanel()
    qtbot.addWidget(panel)
    rows = [
        Row("good", fit=Fit("fits"), volumes_ml={"LVC": 9.0}),
        Row("odd", fit=BAD, volumes_ml={"LVC": 3.0}),
        Row("gone", problem="the file is damaged"),
    ]
    panel.show_rows(rows)
    cases = [panel.table.item(row, 0).text() for row in range(3)]
    assert cases == ["good", "⚠ odd (does not fit)", "⚠ gone"]
    assert panel.table.item(1, 0).toolTip() == str(BAD)
    failed, odd = panel.about.text().splitlines()
    assert failed == "1 failed: the file is damaged"
    assert odd == "1 to be looked at with care: their tooltips say why."


def adaptation(prediction: Prediction, **changes: object) -> Adaptation:
    volumes = {"LVC": (90.0, 60.0), "MYO": (40.0, 40.01)}
    made = Adaptation(
        prediction, prediction, 0.042, 0.032, volumes, False, "", "sfda", steps=5, seconds=1.0
    )
    return replace(made, **changes)


def test_adaptation_says_which_volumes_moved(made_prediction: Prediction) -> None:
    said = Result(made_prediction, 2.0, adaptation=adaptation(made_prediction)).sentence
    assert said == (
        "case_0: adapted in 2.0 s; entropy 0.042 → 0.032;"
        " left ventricle cavity 90.0 → 60.0 mL (-33 %) moved most."
    )
    warned = adaptation(made_prediction, warning="adaptation moved LVC far")
    said = Result(made_prediction, 2.0, adaptation=warned).sentence
    assert said.endswith("0.042 → 0.032. Some volumes moved far: see below.")
    still = adaptation(made_prediction, volumes_ml={"LVC": (90.0, 90.0)})
    said = Result(made_prediction, 2.0, adaptation=still).sentence
    assert said.endswith("no volume changed.")


def test_unreliable_is_said_of_the_structures(made_prediction: Prediction) -> None:
    image, labels = ball_case("case_0", 0)
    inside = labels.array > 0
    vote = np.where(inside, 2, 1).astype(np.uint8)
    vote[inside] = np.arange(np.count_nonzero(inside)) % 4 // 3 + 1  # a quarter of the structures
    found = replace(made_prediction, labels=labels.array, reliability=vote)
    said = Result(found, 1.0, found.unreliable_structures).sentence
    share = np.count_nonzero(vote[inside] == 2) / np.count_nonzero(inside)
    assert f"{share:.1%} of the voxels of its structures are unreliable" in said
    assert image.array.shape == vote.shape
