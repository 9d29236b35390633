"""What the canvas tells of itself is there with any dock, once, and goes with the last one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gui_cases import add_data, let_events_pass, settle
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel, QLineEdit

from napari_uda.data.volume import Volume
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
        settle(marks, qtbot)
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


def test_the_slider_counts_slices_as_their_file_does(
    make_napari_viewer: Callable[[], Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    window = viewer.window.main_menu.window()
    from_the_feet = Volume(np.zeros((5, 6, 7), np.float32), np.eye(4), "case_0")
    add_data(viewer, *layer_data(from_the_feet, "image", {}))

    def beside_the_slider() -> list[Any]:
        let_events_pass()  # napari deletes sliders later
        found = [window.findChildren(kind, "slice_label") for kind in (QLineEdit, QLabel)]
        beside = [one for some in found for one in some if one.parentWidget().axis == 0]
        return [one for one in beside if not one.isHidden()]

    def shown() -> list[str]:
        return [one.text() for one in beside_the_slider()]

    viewer.dims.set_current_step(0, 1)
    assert shown() == ["1", "4"]  # napari counts from the head
    dock, view = viewer.window.add_plugin_dock_widget("napari_uda", "View")
    settle(view, qtbot)
    assert shown() == ["3", "4"]
    assert "axial slice 3," in view.words.texts["line"]
    number_line, _ = beside_the_slider()
    number_line.selectAll()
    QTest.keyClicks(number_line, "0")
    QTest.keyClick(number_line, Qt.Key.Key_Return)
    assert viewer.dims.current_step[0] == 4
    assert "axial slice 0," in view.words.texts["line"]
    assert shown() == ["0", "4"]
    for typed, number in (("99", "4"), ("", "4"), ("x", "4"), ("0", "0")):
        number_line.selectAll()
        QTest.keyClick(number_line, Qt.Key.Key_Delete)
        QTest.keyClicks(number_line, typed)
        QTest.keyClick(number_line, Qt.Key.Key_Return)
        assert shown() == [number, "4"]
    viewer.layers["case_0"].visible = False  # no image, no file to count in
    assert shown() == ["4", "4"]
    viewer.layers["case_0"].visible = True
    viewer.add_image(np.zeros((2, 5, 6, 7)))  # napari makes a slider for another axis
    viewer.layers.pop()
    qtbot.waitUntil(lambda: view.is_settled, timeout=WAIT_MS)
    assert shown() == ["0", "4"]
    with qtbot.waitSignal(view.destroyed, timeout=WAIT_MS):
        viewer.window.remove_dock_widget(dock)
    assert shown() == ["4", "4"]
