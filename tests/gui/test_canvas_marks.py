"""What the canvas tells of itself is there with any dock, once, and goes with the last one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gui_cases import add_data
from napari import Viewer
from pytestqt.qtbot import QtBot

from napari_uda.data.volume import Volume
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.canvas_marks import CanvasMarks
from napari_uda.gui.kit.files import layer_data

WAIT_MS = 60_000


def test_any_dock_brings_legend_line_and_letters_and_the_last_one_takes_them(
    make_napari_viewer: Callable[[], Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    window = viewer.window.main_menu.window()
    array = np.zeros((4, 6, 6), np.float32)
    add_data(viewer, *layer_data(Volume(array, np.eye(4), "case_0"), "image", {}))
    labels = Volume((array + 1).astype(np.uint8), np.eye(4), "case_0")
    add_data(viewer, *layer_data(labels, "prediction", {1: "MYO"}))
    names = ("Segment", "View", "Score")
    docks = {}

    def settled() -> CanvasMarks:
        (marks,) = window.findChildren(CanvasMarks)
        qtbot.waitUntil(lambda: marks.is_settled and not jobs.running(), timeout=WAIT_MS)
        return marks

    for name in names:
        docks[name] = viewer.window.add_plugin_dock_widget("napari_uda", name)
        words = settled().words
        assert words.texts["legend"] == "■ left ventricle myocardium"
        assert words.texts["line"].startswith("case_0")
        assert words.texts["left"] == "R"
    docks["View"][1].legend.click()  # the one switch
    for name in ("View", "Segment", "Score"):
        assert set(settled().words.texts) == {"line", "left", "right", "top", "bottom"}
        with qtbot.waitSignal(docks[name][1].destroyed, timeout=WAIT_MS):
            viewer.window.remove_dock_widget(docks[name][0])
    assert words.texts == {}
    assert not window.findChildren(CanvasMarks)
