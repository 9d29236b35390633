"""The tab of models: cards of the runs that are known, export and import as one file, what the owner says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from gui_cases import let_events_pass
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_uda.core.small_files import read_yaml
from napari_uda.gui.data.models_panel import ModelsPanel
from napari_uda.gui.kit.files import MODEL
from napari_uda.gui.kit.models import recent_models, remember_model


@pytest.fixture
def panel(qtbot: QtBot, tiny_run: Path, tmp_path: Path) -> ModelsPanel:
    shutil.copytree(tiny_run, tmp_path / "runs" / "tiny")
    widget = ModelsPanel()
    qtbot.addWidget(widget)
    widget.show()
    qtbot.waitUntil(lambda: bool(widget.model) and widget.is_settled)
    return widget


def choose(panel: ModelsPanel, title: str, qtbot: QtBot) -> None:
    rows = [panel.table.item(row, 0).text() for row in range(panel.table.rowCount())]
    panel.table.selectRow(rows.index(title))
    qtbot.waitUntil(lambda: panel.is_settled)


def test_each_run_is_told_by_its_card(panel: ModelsPanel, qtbot: QtBot) -> None:
    assert panel.model == MODEL
    assert panel.purpose.text() == "Segments MYO, LAC, LVC, AA in MR"
    assert not panel.purpose.isEnabled()  # the shipped model is nobody's to rename
    assert "Weights: sha256 " in panel.card.text()
    panel.resize(230, 600)
    let_events_pass(8)
    assert panel.card.visibleRegion().boundingRect() == panel.card.rect()  # not cut, not scrolled
    choose(panel, "tiny (runs)", qtbot)
    assert panel.purpose.text() == "Segments MYO, LVC in MR"
    assert "Trained on: 2 MR cases with labels" in panel.card.text()
    assert panel.licence.text() == "not stated"


def test_what_the_owner_says_is_kept_in_the_run(panel: ModelsPanel, qtbot: QtBot) -> None:
    choose(panel, "tiny (runs)", qtbot)
    panel.licence.clear()
    qtbot.keyClicks(panel.licence, "CC-BY-4.0")
    qtbot.keyClick(panel.licence, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: panel.is_settled)
    assert read_yaml(Path("runs/tiny/card.yaml")) == {"licence": "CC-BY-4.0"}
    assert panel.licence.text() == "CC-BY-4.0"
    assert panel.model == Path("runs/tiny").resolve()


def test_a_run_goes_out_and_comes_in_as_one_file(
    panel: ModelsPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.zip"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(file), ""))
    choose(panel, "tiny (runs)", qtbot)
    panel.export.click()
    qtbot.waitUntil(lambda: panel.is_settled)
    assert panel.status.text() == "tiny.zip holds the model and its card."
    panel.take_in.click()
    qtbot.waitUntil(lambda: panel.is_settled and panel.model == Path("runs/tiny_2").resolve())
    assert recent_models() == [Path("runs/tiny_2").resolve()]  # Segment offers it
    assert panel.status.text().startswith("tiny_2 can be chosen in Segment now; it lies in ")
    assert "Weights: sha256 " in panel.card.text()


def test_a_file_that_is_no_model_is_refused_in_a_sentence(
    panel: ModelsPanel, qtbot: QtBot, tmp_path: Path
) -> None:
    (tmp_path / "photos.zip").write_bytes(b"no archive")
    panel.import_file(tmp_path / "photos.zip")
    qtbot.waitUntil(lambda: panel.is_settled)
    assert panel.status.text().lower().startswith("photos.zip is no packed run")
    assert not Path("runs/photos").exists()


def test_a_run_from_elsewhere_joins_the_list(qtbot: QtBot, tiny_run: Path) -> None:
    remember_model(tiny_run)
    widget = ModelsPanel()
    qtbot.addWidget(widget)
    widget.show()
    qtbot.waitUntil(lambda: bool(widget.model) and widget.is_settled)
    titles = [widget.table.item(row, 0).text() for row in range(widget.table.rowCount())]
    assert f"tiny ({tiny_run.parent.name})" in titles
