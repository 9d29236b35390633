"""Train says below its field what a data folder holds, and whether the run it starts from fits the images."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from gui_cases import ball_case
from pytestqt.qtbot import QtBot

from napari_uda.core.errors import Cancelled
from napari_uda.data.volume import Volume, write_volume
from napari_uda.gui.train.data_panel import DomainChooser
from napari_uda.gui.train.run_preparation import StartFit, judge_start
from napari_uda.gui.train.train_form import TrainForm
from napari_uda.inference.fit import Fit, judge_several

WAIT_MS = 20_000
BAD = Fit("does not fit", ("it is flipped",))
ODD = Fit("doubtful", ("small", "dark"))


@pytest.fixture
def chooser(qtbot: QtBot) -> DomainChooser:
    made = DomainChooser("Source", None)
    qtbot.addWidget(made)
    return made


def settle(chooser: DomainChooser, qtbot: QtBot) -> str:
    qtbot.waitUntil(lambda: bool(chooser.about.text()), timeout=WAIT_MS)
    assert not chooser.about.isHidden()
    return chooser.about.text()


def test_a_wrong_folder_is_said_below_its_field(
    chooser: DomainChooser, qtbot: QtBot, tmp_path: Path, data_folder: Path
) -> None:
    chooser.folder.value = tmp_path / "nowhere"
    said = settle(chooser, qtbot)
    assert said.startswith("⚠ ")
    assert "nowhere" in said
    (tmp_path / "empty").mkdir()
    chooser.folder.value = tmp_path / "empty"
    assert chooser.about.isHidden()  # what was said is of the other folder
    said = settle(chooser, qtbot)
    assert said.startswith("⚠ ")
    assert "empty" in said
    chooser.folder.value = data_folder
    assert settle(chooser, qtbot) == "2 cases, 2 with labels"


def test_a_single_case_without_labels_is_counted_in_words(
    chooser: DomainChooser, qtbot: QtBot, tmp_path: Path
) -> None:
    write_volume(tmp_path / "one" / "images" / "a.nii.gz", ball_case("a", 0)[0])
    chooser.set_folder(tmp_path / "one")
    assert settle(chooser, qtbot) == "1 case, 0 with labels"


def test_several_verdicts_give_the_gravest_and_a_reason_of_each() -> None:
    found = judge_several({"a": Fit("fits"), "b": ODD, "c": BAD})
    assert found == Fit("does not fit", ("c: it is flipped", "b: small"))
    assert judge_several({"a": Fit("fits", note="few")}) == Fit("fits", (), "few")
    assert judge_several({}).verdict == "not judged"


@pytest.mark.parametrize(
    ("fits", "words"),
    [
        ([Fit("fits")], "heart fits the image"),
        ([Fit("fits")] * 3, "heart fits all 3 images looked at"),
        ([BAD], "heart, as it is before training, does not fit the image"),
        (
            [BAD, BAD, ODD],
            "heart, as it is before training, does not fit 2 of 3 images looked at",
        ),
        (
            [Fit("fits"), ODD],
            "heart, as it is before training, is doubtful for 1 of 2 images looked at",
        ),
        ([Fit()], "heart, as it is before training, could not be judged for the image"),
    ],
)
def test_the_words_count_images(fits: list[Fit], words: str) -> None:
    whole = judge_several({str(index): fit for index, fit in enumerate(fits)})
    assert StartFit("heart", whole, tuple(fit.verdict for fit in fits)).words == words


def test_images_of_another_size_do_not_fit_the_run(tiny_run: Path, tmp_path: Path) -> None:
    image = ball_case("case_0", 0)[0]
    affine = image.affine @ np.diag([10.0, 10.0, 5.0, 1.0])
    write_volume(tmp_path / "big" / "images" / "a.nii.gz", Volume(image.array, affine, "a"))
    stop = threading.Event()
    found = judge_start(tiny_run, tmp_path / "big", stop)
    assert found.run == "tiny"
    assert found.fit.verdict == "does not fit"
    assert found.fit.reasons[0].startswith("a: it shows ")
    stop.set()
    with pytest.raises(Cancelled):
        judge_start(tiny_run, tmp_path / "big", stop)


def test_the_check_shows_it_and_another_run_takes_it_away(
    qtbot: QtBot, data_folder: Path, tiny_run: Path, tmp_path: Path
) -> None:
    form = TrainForm()
    qtbot.addWidget(form)
    form.show()
    qtbot.waitUntil(lambda: form.settings.form is not None, timeout=WAIT_MS)
    form.methods.choose("tent")
    form.data.target.set_folder(data_folder)
    form.data.init.value = tiny_run
    qtbot.waitUntil(lambda: form.is_settled and form.data.check.isEnabled(), timeout=WAIT_MS)
    form.data.check.click()
    qtbot.waitUntil(lambda: form.is_settled, timeout=WAIT_MS)
    line = form.data.start_fit
    assert not line.isHidden()
    assert "tiny" in line.text.text()
    shutil.copytree(tiny_run, tmp_path / "other")
    form.data.init.value = tmp_path / "other"
    assert line.isHidden()
    assert form.data.reports.domains  # the data are the same
    qtbot.waitUntil(lambda: form.is_settled, timeout=WAIT_MS)
