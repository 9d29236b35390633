"""Several volumes at once: the table of a dock, and what it shows."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog
from test_segment_dock import endless, is_resting

import napari_uda as uda
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.segment.batch import BatchPanel
from napari_uda.gui.segment.dock import SegmentDock
from napari_uda.inference import predict as predict_module
from napari_uda.inference.cohort import SUMMARY, Row

WAIT_MS = 60_000


def read_summary(folder: Path) -> list[dict[str, str]]:
    with (folder / SUMMARY).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_table_of_rows(qtbot: QtBot) -> None:
    panel = BatchPanel()
    qtbot.addWidget(panel)
    assert panel.table.rowCount() == 0
    panel.show_rows(
        [
            Row("a", names={1: "MYO"}, volumes_ml={"MYO": 12.34}, mean_entropy=0.25, seconds=3),
            Row("b", problem="b is damaged; copy it again"),
        ]
    )
    cells = [
        [panel.table.item(row, column).text() for column in range(panel.table.columnCount())]
        for row in range(2)
    ]
    assert cells == [["a", "12.3", "0.250", "–", "3.0"], ["⚠ b", "–", "–", "–", "–"]]
    assert panel.table.item(1, 0).toolTip() == "b is damaged; copy it again"
    assert panel.about.text() == "1 failed: b is damaged; copy it again"


def test_buttons_say_why_they_are_off(qtbot: QtBot) -> None:
    panel = BatchPanel()
    qtbot.addWidget(panel)
    panel.set_obstacle("No model", 2)
    assert not panel.layers.isEnabled()
    assert panel.folder.toolTip() == "No model"
    panel.set_obstacle("", 0)
    assert (panel.layers.isEnabled(), panel.folder.isEnabled()) == (False, True)
    assert "No 3-D image" in panel.layers.toolTip()
    panel.set_obstacle("", 3)
    assert panel.layers.text() == "Open images (3)"
    assert panel.layers.isEnabled()


# --- in the dock ------------------------------------------------------------------------------------


@pytest.fixture
def dock(
    make_napari_viewer: Callable[[], Viewer], tiny_run: Path, qtbot: QtBot
) -> Iterator[SegmentDock]:
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari_uda", "Segment")
    widget.add_model(tiny_run)
    widget.reliability.setChecked(False)
    qtbot.waitUntil(lambda: "source_only" in widget.about.text(), timeout=WAIT_MS)
    yield widget
    qtbot.waitUntil(lambda: is_resting(widget), timeout=WAIT_MS)


def visible(dock: SegmentDock) -> list[str]:
    return [layer.name for layer in dock.viewer.layers if layer.visible]


def test_open_images_are_segmented_one_by_one(
    dock: SegmentDock, data_folder: Path, tiny_run: Path, qtbot: QtBot
) -> None:
    assert not dock.batch.layers.isEnabled()
    files = sorted((data_folder / "images").iterdir())
    for file in files:
        dock.viewer.open(str(file), plugin="napari_uda")
    assert dock.batch.layers.text() == "Open images (2)"
    dock.batch.layers.click()
    assert not dock.run.isEnabled()
    qtbot.waitUntil(lambda: is_resting(dock), timeout=WAIT_MS)
    assert dock.status.text() == "2 volumes segmented."
    assert dock.batch.table.rowCount() == 2
    assert visible(dock) == ["case_0", "case_0 · prediction · tiny"]
    expected = uda.predict(tiny_run, files[1], reliability=False)
    np.testing.assert_array_equal(
        dock.viewer.layers["case_1 · prediction · tiny"].data, expected.labels[::-1]
    )
    dock.batch.table.cellDoubleClicked.emit(1, 0)
    assert visible(dock) == ["case_1", "case_1 · prediction · tiny"]
    assert dock.results.results.layer.name == "case_1 · prediction · tiny"


def test_selected_images_only_when_several_are(
    dock: SegmentDock, data_folder: Path, qtbot: QtBot
) -> None:
    viewer = dock.viewer.__wrapped__
    for index in range(3):
        viewer.add_image(np.zeros((2, 8, 8)), name=f"image {index}")
    assert dock.batch.layers.text() == "Open images (3)"  # the newest alone is selected
    viewer.layers.selection = set(viewer.layers[:2])
    assert dock.batch.layers.text() == "Open images (2)"


def test_folder_is_segmented_into_another(
    dock: SegmentDock,
    data_folder: Path,
    tmp_path: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = iter([str(data_folder), str(tmp_path / "out")])
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: next(chosen))
    dock.batch.folder.click()
    qtbot.waitUntil(lambda: is_resting(dock), timeout=WAIT_MS)
    assert dock.status.text().startswith("2 volumes segmented; maps and summary.csv are in ")
    assert [row["case"] for row in read_summary(tmp_path / "out")] == ["case_0", "case_1"]
    assert not dock.viewer.layers  # a folder may be larger than memory
    dock.batch.table.cellDoubleClicked.emit(1, 0)
    qtbot.waitUntil(lambda: is_resting(dock), timeout=WAIT_MS)
    assert [tag(layer)["role"] for layer in dock.viewer.layers] == [
        "image",
        "prediction",
        "entropy",
    ]
    assert visible(dock) == ["case_1", "case_1 · prediction · tiny"]
    assert dock.results.results.layer.name == "case_1 · prediction · tiny"
    assert dock.legend.rowCount() == 2
    (tmp_path / "out" / "case_0_entropy.nii.gz").unlink()
    dock.batch.table.cellDoubleClicked.emit(0, 0)
    qtbot.waitUntil(lambda: is_resting(dock), timeout=WAIT_MS)
    assert "case_0_entropy.nii.gz" in dock.status.text()


def test_dialogs_that_are_cancelled_change_nothing(
    dock: SegmentDock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    dock.batch.folder.click()
    assert dock.is_settled


def test_folder_without_volumes_is_said(
    dock: SegmentDock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notifications: Callable[[], list[str]],
) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "gone"))
    dock.batch.folder.click()
    assert notifications() == ["gone: there is no such file or folder; check the path"]
    assert dock.is_settled


def test_cancel_stops_a_batch(
    dock: SegmentDock,
    data_folder: Path,
    tmp_path: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = threading.Event()

    def wait(*arguments: object, stop: threading.Event, **settings: object) -> None:
        started.set()
        endless(on_progress=lambda done, total: None, stop=stop)

    monkeypatch.setattr(predict_module, "predict", wait)
    dock.segment_folder(data_folder, tmp_path / "out")
    qtbot.waitUntil(started.is_set, timeout=WAIT_MS)
    dock.cancel.click()
    qtbot.waitUntil(lambda: is_resting(dock), timeout=WAIT_MS)
    assert dock.status.text() == "Cancelled; 0 volumes segmented."
    assert not (tmp_path / "out").exists()
    assert dock.run.toolTip().startswith("No image")
    assert dock.batch.folder.isEnabled()
