"""Small volumes for the viewer's tests."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.key_bindings import coerce_keybinding
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication, QWidget

from napari_uda.data.volume import Volume
from napari_uda.gui.kit import jobs

WAIT_MS = 60_000  # on a busy machine

LABELS = {"MYO": 1, "LVC": 2}
SHAPE = (6, 32, 40)


def ball_case(name: str, seed: int, affine: np.ndarray | None = None) -> tuple[Volume, Volume]:
    """An image and its labels: a bright ball in a ring, off centre."""
    z, y, x = np.indices(SHAPE)
    radius = np.hypot(y - 14, x - 18) + 0.5 * np.abs(z - 2)
    labels = np.select([radius < 5, radius < 9], [2, 1], 0).astype(np.uint8)
    noise = np.random.default_rng(seed).normal(0, 3, SHAPE)
    image = (40 + 60 * (labels == 1) + 120 * (labels == 2) + noise).astype(np.int16)
    affine = np.diag([-1.5, -1.5, 8.0, 1.0]) if affine is None else affine
    return Volume(image, affine, name), Volume(labels, affine, name)


def oblique(affine: np.ndarray) -> np.ndarray:
    """The affine turned by 11 degrees about two axes, rounded to float32 as NIfTI stores it."""
    turn = nib.eulerangles.euler2mat(0.2, 0.0, 0.15)
    tilted = affine.copy()
    tilted[:3, :3] = turn @ affine[:3, :3]
    return tilted.astype(np.float32).astype(np.float64)


def add_data(viewer: ViewerModel, data: Any, arguments: dict[str, Any], kind: str) -> list[Layer]:
    """Add what a reader returns, as napari does when it opens a file."""
    return [viewer.add_layer(Layer.create(data, arguments, kind))]


def let_events_pass(turns: int = 5) -> None:
    """Let the event loop do what is due now and what follows from it: for what must not happen."""
    for _ in range(turns):
        loop = QEventLoop()
        QTimer.singleShot(0, loop.quit)
        loop.exec_() if hasattr(loop, "exec_") else loop.exec()


def settle(widget: QWidget, qtbot: QtBot) -> None:
    """Wait until no thread is at work and nothing waits to start one."""
    qtbot.waitUntil(lambda: widget.is_settled and not jobs.running(), timeout=WAIT_MS)  # type: ignore[attr-defined]


def progress_bars() -> list[QWidget]:
    """What napari's activity dock shows of running work."""
    widgets = QApplication.allWidgets()
    return [one for one in widgets if type(one).__name__ == "QtLabeledProgressBar"]


def press_key(viewer: ViewerModel, key: str) -> None:
    """The key as napari's canvas handles it while no layer has it: the viewer's own come first."""
    keymap = {**ViewerModel.class_keymap, **viewer.keymap}
    keymap[coerce_keybinding(key)](viewer)
