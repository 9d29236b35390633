"""Draw the pictures of README.md: real windows on the sample data with the shipped model.

    tools/with-display .venv/bin/python tools/pictures.py

It does what a person would: opens the sample, presses Run in the Segment dock, scores in the Score dock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
from qtpy.QtWidgets import QApplication, QPushButton

from napari_uda.gui.geometry import tag
from napari_uda.gui.launch import close_notices

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"


def main() -> None:
    """Write segment.png and score.png."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(title="napari_uda")
    viewer.window.resize(1500, 900)
    viewer.open_sample("napari_uda", "mr_labelled")
    segment_dock, segment = viewer.window.add_plugin_dock_widget("napari_uda", "Segment")
    press(segment, "run")
    wait_until(lambda: layer_of(viewer, "reliability") is not None)
    wait(1.0)
    segment.views.click()
    wait(2.0)
    viewer.dims.set_current_step(0, viewer.dims.nsteps[0] // 2)
    picture(viewer, "segment.png")
    segment.views.click()
    viewer.window.remove_dock_widget(segment_dock)
    _, score = viewer.window.add_plugin_dock_widget("napari_uda", "Score")
    press(score, "score")
    wait_until(lambda: score.table.rowCount() > 0)
    wait(2.0)
    score.table.cellClicked.emit(0, 0)
    picture(viewer, "score.png")
    viewer.close()


def press(dock: Any, name: str) -> None:
    """Press a button as soon as it can be pressed."""
    button = dock.findChild(QPushButton, name)
    wait_until(button.isEnabled)
    button.click()


def layer_of(viewer: napari.Viewer, role: str) -> Any:
    """The layer of this role, or None."""
    return next((layer for layer in viewer.layers if tag(layer).get("role") == role), None)


def wait(seconds: float) -> None:
    """Let the window live for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def wait_until(ready: Callable[[], bool], seconds: float = 120.0) -> None:
    """Let the window live until something is true."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError("the window did not get there")
        wait(0.1)


def picture(viewer: napari.Viewer, name: str) -> None:
    """Save the whole window."""
    wait(1.0)
    close_notices()
    viewer.screenshot(str(IMAGES / name), canvas_only=False, flash=False)


if __name__ == "__main__":
    main()
