"""The row at the top of a dock: its dialogs, recent files, drops, progress, and the question about the reader."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_cases import ball_case
from napari.components import ViewerModel
from napari.plugins.utils import get_preferred_reader
from napari.qt import QtViewer
from napari.settings import get_settings
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QFileDialog, QWidget

from napari_uda.core.files import VOLUME_SUFFIXES
from napari_uda.core.progress import tell
from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import write_volume
from napari_uda.gui.data.dock import DataDock
from napari_uda.gui.data.session import save, states
from napari_uda.gui.kit import opening, preferences
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.open_bar import FILTERS, OpenBar
from napari_uda.gui.kit.widgets import tool_button

DOCKS = ("Data", "Translate", "View")


@pytest.fixture(autouse=True)
def _readers() -> Iterator[None]:
    """napari's own table of readers, as it is for a new user, and as it was for those after this test."""
    before = dict(get_settings().plugins.extension2reader)
    get_settings().plugins.extension2reader = {}
    yield
    get_settings().plugins.extension2reader = before


@pytest.fixture
def bar(qtbot: QtBot) -> Iterator[OpenBar]:
    dock = QWidget()
    qtbot.addWidget(dock)
    made = OpenBar(ViewerModel(), dock)
    dock.resize(436, 300)
    made.resize(418, 40)
    dock.show()
    yield made
    dock.hide()


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    write_volume(tmp_path / "a.nii.gz", ball_case("", 0)[0])
    return tmp_path / "a.nii.gz"


def settle(bar: OpenBar, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: bar.opening is None)


def drop(
    target: QWidget, path: Path, keys: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
) -> bool:
    """Drag a file onto a widget and let go; whether it was taken."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    left, copy = Qt.MouseButton.LeftButton, Qt.DropAction.CopyAction
    entering = QDragEnterEvent(QPoint(5, 5), copy, mime, left, keys)
    QApplication.sendEvent(target, entering)
    dropping = QDropEvent(QPointF(5, 5), copy, mime, left, keys)
    return entering.isAccepted() and QApplication.sendEvent(target, dropping)


def test_dialogs_open_what_is_chosen_and_remember_it(
    bar: OpenBar, volume: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def choose(_: QWidget, *words: str) -> Any:
        asked.append(words)
        return [str(volume)], ""

    def choose_folder(_: QWidget, *words: str) -> str:
        asked.append(words)
        return str(volume.parent)

    monkeypatch.setattr(QFileDialog, "getOpenFileNames", choose)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", choose_folder)
    bar.volume.click()
    assert not bar.volume.isEnabled()
    assert bar.cancel.isVisible()
    settle(bar, qtbot)
    assert [layer.name for layer in bar.viewer.layers] == ["a"]
    assert bar.status.text().startswith("a: 6 x 32 x 40 voxels")
    assert bar.volume.isEnabled()
    assert not bar.cancel.isVisible()
    for pressed in (bar.dicom, bar.case_folder):
        pressed.click()
        settle(bar, qtbot)
    here = str(volume.parent)
    assert asked == [
        ("Open volumes", "", FILTERS),
        ("Folder of a DICOM series or study", here),
        ("Folder of a case, or data folder", str(volume.parent.parent)),
    ]
    assert preferences.recent_files() == [volume.parent, volume]
    assert bar.status.text().startswith("a: 6 x 32 x 40 voxels")
    bar.viewer.layers["a"].visible = False  # such as for another case: the words only take room
    assert bar.status.text() == ""


def test_nothing_chosen_opens_nothing(bar: OpenBar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([], ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    for pressed in (bar.volume, bar.dicom, bar.case_folder):
        pressed.click()
        assert bar.opening is None


def test_every_format_can_be_chosen() -> None:
    everything = FILTERS.split(";;")[0]
    for suffix in (*VOLUME_SUFFIXES, ".img", ".dcm", ".ima"):
        assert f"*{suffix}" in everything.replace(")", " ").replace("(", " ").split()
    assert FILTERS.endswith("All files (*)")


def test_recent_files(bar: OpenBar, volume: Path, qtbot: QtBot) -> None:
    bar.recent_menu.aboutToShow.emit()
    (nothing,) = bar.recent_menu.actions()
    assert (nothing.text(), nothing.isEnabled()) == ("Nothing was opened yet", False)
    for number in range(12):
        preferences.remember_file(Path(f"/none/{number}.nii"))
    preferences.remember_file(volume)
    preferences.remember_file(volume)
    bar.recent_menu.aboutToShow.emit()
    actions = bar.recent_menu.actions()
    assert len(actions) == 10
    assert actions[0].text() == f"a.nii.gz  ({volume.parent})"
    assert actions[1].text() == f"11.nii  ({Path('/none/11.nii').absolute().parent})"
    actions[0].trigger()
    settle(bar, qtbot)
    assert len(bar.viewer.layers) == 1


def test_words_fit_the_width(bar: OpenBar) -> None:
    buttons = (bar.volume, bar.dicom, bar.case_folder)
    said = {}
    for width in (900, 418, 300, 200):
        bar.resize(width, 40)
        said[width] = [button.text() for button in buttons]
        for button in buttons:
            needed = button.fontMetrics().horizontalAdvance(button.text())
            assert button.width() >= needed, (width, button.text())
    assert said[900] == ["Open volume…", "Open DICOM…", "Open case folder…"]
    assert said[300] == ["Volume…", "DICOM…", "Case…"]
    assert said[200] == ["Volume", "DICOM", "Case"]
    assert bar.minimumSizeHint().width() <= 300
    assert [button.accessibleName() for button in buttons] == said[900]


def test_the_help_stands_alone_in_no_line(bar: OpenBar) -> None:
    more = tool_button("?", name="help")
    bar.add(more)
    more.show()
    lines = set()
    for width in range(160, 420, 4):
        bar.resize(width, 80)
        bar.layout().activate()
        assert bar.recent.y() + bar.recent.height() > more.y(), width
        assert more.x() + more.width() <= width
        lines.add(more.y())
    assert len(lines) > 1


def test_a_drop_on_the_dock(bar: OpenBar, volume: Path, qtbot: QtBot) -> None:
    dock = bar.parentWidget()
    assert drop(dock, volume)
    settle(bar, qtbot)
    assert [layer.name for layer in bar.viewer.layers] == ["a"]
    text = QMimeData()
    text.setText("words")
    nothing = Qt.KeyboardModifier.NoModifier
    left, copy = Qt.MouseButton.LeftButton, Qt.DropAction.CopyAction
    entering = QDragEnterEvent(QPoint(5, 5), copy, text, left, nothing)
    entering.ignore()
    QApplication.sendEvent(dock, entering)
    assert not entering.isAccepted()


def test_what_is_dropped_meanwhile_is_opened_after_it(
    bar: OpenBar, volume: Path, qtbot: QtBot, tmp_path: Path
) -> None:
    others = [tmp_path / f"{name}.nii.gz" for name in "bc"]
    for number, other in enumerate(others, start=1):
        write_volume(other, ball_case("", number)[0])
    assert drop(bar.parentWidget(), volume)
    assert drop(bar.parentWidget(), others[0])
    assert drop(bar.parentWidget(), others[1])
    assert bar.status.text() == "Open a.nii.gz, then b.nii.gz, c.nii.gz…"
    settle(bar, qtbot)
    assert [layer.name for layer in bar.viewer.layers] == ["a", "b", "c"]
    assert [layer.name for layer in bar.viewer.layers if layer.visible] == ["c"]
    assert [path.name for path in preferences.recent_files()] == [
        "c.nii.gz",
        "b.nii.gz",
        "a.nii.gz",
    ]


def test_cancel_says_so(
    bar: OpenBar, volume: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def endless(*_: Any) -> None:
        while True:
            tell(25, 100)
            begun.set()
            stopped.wait(0.01)

    monkeypatch.setattr(opening, "read_offer", endless)
    bar.open([volume])
    qtbot.waitUntil(lambda: bar.bar.maximum() == 1000)
    assert bar.bar.value() == 250
    bar.open([volume])  # while one is on its way
    bar.cancel.click()
    assert (bar.cancel.text(), bar.cancel.isEnabled()) == ("Cancelling…", False)
    settle(bar, qtbot)
    assert bar.status.text() == "Cancelled; nothing was opened."
    assert preferences.recent_files() == []
    assert not bar.viewer.layers


# --- the reader of napari ---------------------------------------------------------------------------


def test_asked_once_and_yes_is_written(bar: OpenBar, volume: Path, qtbot: QtBot) -> None:
    bar.open([volume])
    settle(bar, qtbot)
    question = bar.question
    assert question.isVisible()
    assert question.text.text().startswith("Open .nii.gz and other medical volumes with napari_uda")
    question.yes.click()
    assert not question.isVisible()
    readers = get_settings().plugins.extension2reader
    assert readers["*.nii.gz"] == readers["*.nii"] == readers["*.dcm"] == "napari_uda"
    assert "*.hdr" not in readers
    series = ("DICOM", "dicom/p1/03", "PA000001/ST000001/SE000001", "1.3.6.1.4.1.14519.5.2.1")
    for name in (*series, "study.zarr", "series", "version 1.2.3", "SEGMENTS"):
        (volume.parent / name).mkdir(parents=True, exist_ok=True)
        wanted = "napari_uda" if name in series else None
        assert get_preferred_reader(volume.parent / name) == wanted, name
    bar.open([volume])
    settle(bar, qtbot)
    assert not question.isVisible()
    other = volume.parent / "hospital" / "p1"
    write_volume(other / "b.nii.gz", ball_case("", 0)[0])
    bar.open([other])
    settle(bar, qtbot)
    assert readers.keys() < get_settings().plugins.extension2reader.keys()
    assert f"{other.parent.resolve()}/*/" in get_settings().plugins.extension2reader


def test_no_is_kept(bar: OpenBar, volume: Path, qtbot: QtBot) -> None:
    bar.open([volume])
    settle(bar, qtbot)
    bar.question.no.click()
    bar.open([volume])
    settle(bar, qtbot)
    assert not bar.question.isVisible()
    assert get_settings().plugins.extension2reader == {}
    assert preferences.reader_answer() == "no"


def test_who_has_chosen_the_reader_is_not_asked(bar: OpenBar, volume: Path, qtbot: QtBot) -> None:
    get_settings().plugins.extension2reader = {"*.nii.gz": "another-plugin"}
    bar.open([volume])
    settle(bar, qtbot)
    assert not bar.question.isVisible()


# --- in the window ----------------------------------------------------------------------------------


def test_in_a_window_the_docks_and_the_canvas_take_drops(
    make_napari_viewer: Callable[..., Viewer], volume: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    bars = {}
    for name in DOCKS:
        _, dock = viewer.window.add_plugin_dock_widget("napari_uda", name)
        bars[name] = dock.open_bar
        assert dock.acceptDrops()
        assert list(dock.findChildren(OpenBar)) == [dock.open_bar]
    (canvas,) = bars["Data"].window().findChildren(QtViewer)
    drop(canvas, volume)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1)
    assert viewer.layers[0].name == "a"
    qtbot.waitUntil(lambda: all(bar.opening is None for bar in bars.values()))
    np.save(tmp_path / "b.npy", np.zeros((4, 4)))
    drop(canvas, tmp_path / "b.npy")  # napari's own
    qtbot.waitUntil(lambda: len(viewer.layers) == 2)
    moved = np.diag([-1.5, -1.5, 8.0, 1.0])
    moved[2, 3] = 500
    write_volume(tmp_path / "c.nii.gz", ball_case("", 1, moved)[0])
    get_settings().plugins.extension2reader = {"*.nii.gz": "napari_uda"}
    QTimer.singleShot(0, lambda: viewer.open(str(tmp_path / "c.nii.gz"), plugin=None))
    qtbot.waitUntil(lambda: "a is hidden" in viewer.status)  # as File > Open does
    assert [layer.name for layer in viewer.layers if layer.visible] == ["b", "c"]
    at = viewer.layers["c"].world_to_data(viewer.dims.point)
    assert [round(one) for one in at] == [3, 16, 20]


def test_a_data_folder_that_any_dock_opens_is_listed(
    qtbot: QtBot, data_folder: Path, notifications: Callable[[], list[str]]
) -> None:
    window, viewer = QWidget(), ViewerModel()
    data, other = DataDock(viewer), QWidget()
    bar = OpenBar(viewer, other)
    column(data, other, bar, of=window)
    qtbot.addWidget(window)
    data.tabs.setCurrentWidget(data.models)
    notifications()
    bar.open([data_folder])
    settle(bar, qtbot)
    qtbot.waitUntil(lambda: data.is_settled and data.cases.found is not None)
    assert data.tabs.currentWidget() is data.cases
    assert data.cases.current is not None
    assert data.cases.current.name == "case_0"
    count = data.cases.table.rowCount()
    assert (count, data.cases.table.currentRow()) == (len(DataFolder.open(data_folder).cases), 0)
    before = list(viewer.layers)
    data.cases.next.click()
    qtbot.waitUntil(lambda: data.is_settled)
    data.cases.previous.click()
    qtbot.waitUntil(lambda: data.is_settled)
    assert [layer for layer in viewer.layers if layer.visible] == before
    bar.open([data_folder / "nowhere"])
    settle(bar, qtbot)
    assert notifications() == [bar.status.text()]


def test_a_run_and_a_session_open_in_the_data_dock(
    qtbot: QtBot, tiny_run: Path, data_folder: Path, tmp_path: Path
) -> None:
    window, viewer = QWidget(), ViewerModel()
    data, other = DataDock(viewer), QWidget()
    bar = OpenBar(viewer, other)
    column(data, other, bar, of=window)
    qtbot.addWidget(window)
    bar.open([tiny_run])
    qtbot.waitUntil(lambda: data.is_settled and data.cases.found is not None)
    assert bar.opening is None
    assert data.cases.found is not None
    assert data.cases.found.path == tiny_run
    assert [tag(layer)["case"] for layer in viewer.layers if layer.visible]
    found, session = states(viewer)
    save(tmp_path / "s.yaml", found, session, [], False)
    viewer.layers.clear()
    bar.open([tmp_path / "s.yaml"])
    qtbot.waitUntil(lambda: data.is_settled and len(viewer.layers) == len(found))
    assert data.session.status.text() == "s.yaml is shown."
    assert bar.status.text() == "s.yaml is opened in the Data dock."
    assert preferences.recent_files()[:2] == [tmp_path / "s.yaml", tiny_run]
