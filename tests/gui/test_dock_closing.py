"""A dock that the user closes: nothing of it stays behind, and the next one works like the first."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QWidget
from written_runs import beat, write_preview, write_run

from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.canvas import FreeingInCanvas, one_in_window
from napari_uda.gui.kit.canvas_words import CanvasWords
from napari_uda.gui.kit.dock import Dock
from napari_uda.gui.kit.hatching import Hatching
from napari_uda.gui.kit.large_in_3d import CoarseIn3D

WAIT_MS = 60_000
CLOSES = """
import napari, numpy as np
from qtpy.QtCore import QTimer
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.canvas import window_of
from napari_uda.gui.kit.canvas_marks import CanvasMarks

viewer = napari.Viewer()
viewer.add_image(np.random.rand(4, 32, 32), name="image")
for name in ("Train", "View"):
    viewer.window.add_plugin_dock_widget("napari_uda", name)
window = window_of(viewer)

def close():
    marks = window.findChild(CanvasMarks)
    if marks is not None and marks.is_loaded and marks.seen.image is not None and not jobs.running():
        timer.stop()
        window.close()

timer = QTimer()
timer.timeout.connect(close)
timer.start(50)
napari.run()
"""


def listeners(viewer: Viewer) -> Counter[str]:
    """Callbacks of every event of the viewer and its layers, its keys and what hears its mouse."""
    groups = {
        "viewer": viewer.events,
        "layers": viewer.layers.events,
        "selection": viewer.layers.selection.events,
        "dims": viewer.dims.events,
        "cursor": viewer.cursor.events,
        **{layer.name: layer.events for layer in viewer.layers},
    }
    found = Counter(
        {
            f"{title}.{name}": len(emitter.callbacks)
            for title, group in groups.items()
            for name, emitter in group.emitters.items()
        }
    )
    found["keys"], found["mouse"] = len(viewer.keymap), len(viewer.mouse_drag_callbacks)
    return found


def close(viewer: Viewer, dock: QWidget, qtbot: QtBot) -> None:
    """Close a dock as its cross does."""
    with qtbot.waitSignal(dock.inner_widget().destroyed, timeout=60_000):
        viewer.window.remove_dock_widget(dock)


@pytest.mark.parametrize("name", ["Data", "Train", "Segment", "Translate", "Score", "View"])
def test_a_closed_dock_takes_its_listeners_with_it(
    name: str, make_napari_viewer: Callable[[], Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((3, 8, 8)), name="image")
    viewer.add_labels(np.zeros((3, 8, 8), np.uint8), name="labels")
    # for as long as the window is there
    for kind in (FreeingInCanvas, CoarseIn3D, Hatching, CanvasWords):
        one_in_window(viewer, kind)
    before = listeners(viewer)
    dock, _ = viewer.window.add_plugin_dock_widget("napari_uda", name)
    assert listeners(viewer) > before
    close(viewer, dock, qtbot)
    # what marks the canvas for all docks goes a turn after the last of them
    qtbot.waitUntil(lambda: listeners(viewer) - before == Counter(), timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)


@pytest.mark.slow
def test_a_window_that_ends_says_nothing() -> None:
    """Its docks end after its canvas, which no mark may touch any more."""
    done = subprocess.run(
        [sys.executable, "-c", CLOSES], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_keys_of_a_dock_work_when_it_is_opened_again(
    make_napari_viewer: Callable[[], Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    for _ in range(2):
        dock, score = viewer.window.add_plugin_dock_widget("napari_uda", "Score")
        assert score.slices.worst.text().endswith("(W)")
        close(viewer, dock, qtbot)


def test_what_a_closed_dock_has_arranged_is_put_back(
    make_napari_viewer: Callable[[], Viewer], qtbot: QtBot, tmp_path: Path
) -> None:
    viewer = make_napari_viewer()
    dock, train = viewer.window.add_plugin_dock_widget("napari_uda", "Train")
    folder = write_run(tmp_path / "run", "started")
    beat(folder)
    write_preview(folder, 3)
    train.previews.wanted.setChecked(True)
    train.attach(folder.path)
    qtbot.waitUntil(lambda: len(viewer.layers) == 12, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: folder.preview_request() is not None, timeout=WAIT_MS)
    close(viewer, dock, qtbot)
    assert len(viewer.layers) == 0
    assert not viewer.canvas.grid.enabled
    assert folder.preview_request() is None
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)


def test_a_dock_that_is_put_elsewhere_lives_on(
    make_napari_viewer: Callable[[], Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    widget = Dock()
    viewer.window.remove_dock_widget(viewer.window.add_dock_widget(widget, name="first"))
    viewer.window.add_dock_widget(widget, name="second")
    other = Dock()
    with qtbot.waitSignal(other.destroyed):  # after which the first would be gone as well
        viewer.window.remove_dock_widget(viewer.window.add_dock_widget(other, name="third"))
    assert widget.parent() is not None
