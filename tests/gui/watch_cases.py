"""What tests do with the Watch tab and read from it."""

from __future__ import annotations

from pytestqt.qtbot import QtBot

from napari_uda.gui.train.dock import TrainDock
from napari_uda.gui.train.loss_curves import LossCurves
from napari_uda.gui.train.training_process import TrainingProcess
from napari_uda.run.folder import RunFolder


def resume(dock: TrainDock, qtbot: QtBot, folder: RunFolder) -> TrainingProcess:
    """Press Resume for a run at rest; returns its process, which has just been started."""
    dock.attach(folder.path)
    qtbot.waitUntil(dock.watch.resume.isEnabled, timeout=60_000)
    dock.watch.resume.click()
    return dock.processes[folder.path]


def line_of(curves: LossCurves, key: str) -> tuple[list[float], list[float]]:
    """Steps and values of a curve, as they are drawn before any logarithm."""
    items = [item for plot in (curves.losses, curves.shares) for item in plot.listDataItems()]
    steps, values = next(item for item in items if item.name() == key).getOriginalDataset()
    return list(steps), list(values)
