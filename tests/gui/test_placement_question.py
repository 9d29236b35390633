"""A file with two placements, opened in a window: the user says which one is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QMainWindow, QMessageBox

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.files import get_reader
from napari_uda.gui.kit.geometry import METADATA


@pytest.fixture
def two_placements(tmp_path: Path) -> str:
    scanner = np.diag([-1.5, -1.5, 3.0, 1.0])
    mni = scanner.copy()
    mni[:3, 3] += 3, 4, 12
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), mni)
    image.set_sform(mni, 4)
    image.set_qform(scanner, 1)
    nib.save(image, tmp_path / "a.nii.gz")
    return str(tmp_path / "a.nii.gz")


@pytest.fixture
def window(qtbot: QtBot) -> QMainWindow:
    window = QMainWindow()
    qtbot.addWidget(window)
    window.show()
    return window


def while_events_run(work: Callable[[], Any]) -> Any:
    """Do something as napari does it when its user asks for it."""
    loop, found = QEventLoop(), []

    def run() -> None:
        try:
            found.append(work())
        except InputError as error:
            found.append(error)
        loop.quit()

    QTimer.singleShot(0, run)
    loop.exec_() if hasattr(loop, "exec_") else loop.exec()
    if isinstance(found[0], InputError):
        raise found[0]
    return found[0]


def answer(monkeypatch: pytest.MonkeyPatch, word: str) -> list[str]:
    """Press the button that begins with a word; returns what the box says and offers."""
    said: list[str] = []

    def press(box: Any) -> int:
        said.append(box.text())
        said.extend(button.text() for button in box.buttons())
        next(b for b in box.buttons() if b.text().replace("&", "").startswith(word)).click()
        return 0

    monkeypatch.setattr(QMessageBox, "exec", press)
    return said


@pytest.mark.parametrize(("word", "z"), [("sform", 12.0), ("qform", 0.0)])
def test_the_answer_decides(
    monkeypatch: pytest.MonkeyPatch, two_placements: str, window: QMainWindow, word: str, z: float
) -> None:
    said = answer(monkeypatch, word)
    reader = get_reader(two_placements)
    assert reader is not None
    ((_, arguments, _),) = while_events_run(lambda: reader(two_placements))
    assert arguments["metadata"][METADATA]["affine"][2, 3] == pytest.approx(z)
    assert said[0] == "a.nii.gz says twice where it lies, up to 13 mm apart."
    assert {"sform: 4, MNI 152", "qform: 1, scanner"} <= set(said)


def test_no_answer_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, two_placements: str, window: QMainWindow
) -> None:
    answer(monkeypatch, "Cancel")
    reader = get_reader(two_placements)
    assert reader is not None
    with pytest.raises(InputError, match="its sform and qform disagree by 13 mm"):
        while_events_run(lambda: reader(two_placements))


@pytest.mark.parametrize("shown", [False, True])
def test_a_script_is_not_kept_waiting(
    monkeypatch: pytest.MonkeyPatch, two_placements: str, window: QMainWindow, shown: bool
) -> None:
    """Before events run, or without a visible window, there is nobody to answer."""
    window.setVisible(shown)
    said = answer(monkeypatch, "sform")
    reader = get_reader(two_placements)
    assert reader is not None
    with pytest.raises(InputError, match="its sform and qform disagree by 13 mm"):
        reader(two_placements) if shown else while_events_run(lambda: reader(two_placements))
    assert said == []
