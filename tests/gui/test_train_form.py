"""A new run from the form, by clicks and keys: what is offered, what is refused, what Start hands on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_uda.gui.train_form import TrainForm

WAIT_MS = 60_000


@pytest.fixture
def make_form(qtbot: QtBot) -> Callable[..., TrainForm]:
    """A form whose methods are read."""

    def make(viewer: ViewerModel | None = None) -> TrainForm:
        form = TrainForm(viewer)
        qtbot.addWidget(form)
        form.show()
        qtbot.waitUntil(lambda: form.settings is not None, timeout=WAIT_MS)
        return form

    return make


@pytest.fixture
def ready(make_form: Callable[..., TrainForm], data_folder: Path, tmp_path: Path) -> TrainForm:
    """A form that could be started."""
    form = make_form()
    form.source.set_folder(data_folder)
    form.target.set_folder(data_folder)
    form.run_dir.set_value(tmp_path / "run")
    form._update_buttons()
    return form


def test_start_hands_on_run_folder_and_settings(
    ready: TrainForm, qtbot: QtBot, tmp_path: Path, data_folder: Path
) -> None:
    assert ready.settings is not None
    ready.settings.set_values({"steps": 5})
    assert ready.status.text() == ""
    with qtbot.waitSignal(ready.started, timeout=WAIT_MS) as started:
        ready.start.click()
    run_dir, config = started.args[0]
    assert run_dir == tmp_path / "run"
    assert (config.data.source, config.data.target) == (data_folder, data_folder)
    assert (config.method.name, config.steps) == ("adaptsegnet", 5)
    assert not run_dir.exists()  # whoever trains makes it
