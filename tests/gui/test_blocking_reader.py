"""What napari's File > Open reads: a script gets layers or a sentence, a window stays alive and may cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dicom_files import planes, write_slices
from gui_cases import ball_case
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication, QMainWindow
from segmentation_files import write_image, write_rtstruct

from napari_uda.core.errors import InputError
from napari_uda.core.progress import tell
from napari_uda.data.volume import write_volume
from napari_uda.gui.kit import reader
from napari_uda.gui.kit.files import get_reader, is_ours
from napari_uda.gui.kit.reader import Waiting
from napari_uda.gui.kit.series_choice import SeriesDialog

SQUARE = [(-6.5, -8.0, 3.0), (-3.5, -8.0, 3.0), (-3.5, -5.0, 3.0), (-6.5, -5.0, 3.0)]


def read(path: Path) -> list[Any]:
    opened = get_reader(str(path))
    assert opened is not None
    return list(opened(str(path)))


def in_window(qtbot: QtBot, work: Callable[[], Any]) -> Any:
    """Do something as napari does it when the user of its window asks for it."""
    window = QMainWindow()
    qtbot.addWidget(window)
    window.show()
    loop, found = QEventLoop(), []

    def run() -> None:
        try:
            found.append(work())
        finally:
            loop.quit()

    QTimer.singleShot(0, run)
    loop.exec_() if hasattr(loop, "exec_") else loop.exec()
    return found[0]


def two_series(folder: Path) -> Path:
    for number, count in ((1, 2), (2, 4)):
        own = {"SeriesInstanceUID": f"1.{number}", "SeriesDescription": f"S{number}"}
        heights = [3.0 * height for height in range(count)]
        write_slices(folder, planes(count), heights, SeriesNumber=number, **own)
    return folder


def test_the_window_of_an_image_comes_with_it(tmp_path: Path) -> None:
    write_slices(tmp_path, planes(2), [0.0, 5], WindowWidth=350, WindowCenter=50)
    ((_, arguments, kind),) = read(tmp_path)
    assert kind == "image"
    assert arguments["contrast_limits"] == (-125, 225)


def test_contours_are_read_with_their_image(tmp_path: Path) -> None:
    write_image(tmp_path / "p" / "CT")
    drawn = write_rtstruct(tmp_path / "p" / "rs.dcm", [("Liver", [SQUARE])])
    (image, _, kind), (structures, _, other) = read(drawn)
    assert (kind, other) == ("image", "labels")
    assert image.shape == structures.shape


def test_a_script_is_told_what_to_choose_from(tmp_path: Path, qtbot: QtBot) -> None:
    folder = two_series(tmp_path / "p1")
    with pytest.raises(InputError, match=r"p1: holds 2 volumes: p1_S1 \(S1\), p1_S2 \(S2\); give"):
        read(folder)


def test_in_a_window_the_user_chooses(
    tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = two_series(tmp_path / "p1")
    monkeypatch.setattr(SeriesDialog, "exec", lambda _: True)
    ((data, _, _),) = in_window(qtbot, lambda: read(folder))
    assert data.shape == (4, 4, 6)
    monkeypatch.setattr(SeriesDialog, "exec", lambda _: False)
    assert in_window(qtbot, lambda: read(folder)) == [(None,)]  # npe2: read, and nothing to add


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_slow_file_shows_how_far_it_is(
    tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    path, go_on, gone = tmp_path / "a.nii.gz", threading.Event(), threading.Event()
    write_volume(path, ball_case("", 0)[0])
    reads, seen = reader.read_offer, []

    def slow(*given: Any) -> Any:
        try:
            while not go_on.is_set():
                tell(3, 4)
                go_on.wait(0.01)
        finally:
            gone.set()
        return reads(*given)

    def look() -> None:
        dialog = QApplication.activeModalWidget()
        if isinstance(dialog, Waiting) and dialog.bar.value() == 750:
            seen.append(dialog.windowTitle())
            timer.stop()
            if cancelled:
                dialog.cancel.click()
            else:
                go_on.set()

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(10)
    monkeypatch.setattr(reader, "read_offer", slow)
    found = in_window(qtbot, lambda: read(path))
    assert seen == ["Open a.nii.gz…"]
    assert [len(one) for one in found] == [1 if cancelled else 3]  # of (None,), or of a layer
    qtbot.waitUntil(gone.is_set)  # the thread, too


def test_what_is_ours(tmp_path: Path) -> None:
    write_slices(tmp_path / "study" / "CT", planes(2), [0.0, 5])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.tif").write_bytes(b"II*\0")
    (tmp_path / "short.dcm").write_bytes(b"no")
    assert is_ours(tmp_path / "study" / "CT")
    assert is_ours(tmp_path / "study")
    assert not is_ours(tmp_path / "photos")
    assert not is_ours(tmp_path / "short.dcm")
    assert not is_ours(tmp_path / "gone")
    assert get_reader(str(tmp_path / "photos")) is None
