"""Words and the cross are drawn with the canvas: in every screenshot, where they belong, and at no price."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from napari import Viewer
from numpy.typing import NDArray
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QOpenGLWidget

from napari_uda.gui.kit.canvas_words import (
    ASIDE,
    CanvasWords,
    Line,
    Mark,
    Words,
    canvas_words,
    picture_of,
)

LEGEND = [Line("■ left atrium", "#FF0000"), Line("outline: reference")]


class Paints(QObject):
    count = 0

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        self.count += event.type() == QEvent.Type.Paint
        return False


def picture(viewer: Viewer) -> NDArray[np.int64]:
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)


def changed(viewer: Viewer, change: Callable[[], None]) -> tuple[slice, slice]:
    """Rows and columns of the canvas that a change paints over."""
    before = picture(viewer)
    change()
    rows, columns = np.nonzero(np.abs(picture(viewer) - before).max(axis=2))
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def test_a_slice_with_new_words_and_a_cross_is_painted_once(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(700, 500)
    image = np.zeros((9, 20, 20), np.uint8)
    image[:, 4, 15] = 200
    viewer.add_image(image, scale=(3, 1, 1), translate=(5, -40, 70), contrast_limits=(0, 100))
    words = canvas_words(viewer)
    assert canvas_words(viewer) is words
    assert words.parent() is viewer.window.main_menu.window()
    viewer.dims.set_point(range(3), (5, -36, 85))
    viewer.screenshot(canvas_only=False, flash=False)
    for side in ("right", "left"):  # mirrored, as radiologists look at it
        viewer.scene.camera.orientation2d = ("down", side)
        bright = np.argwhere(picture(viewer)[..., 0] > 150)
        rows, columns = changed(viewer, lambda: words.show_cross(True))
        middle = (rows.start + rows.stop - 1) / 2, (columns.start + columns.stop - 1) / 2
        assert np.abs(bright.mean(axis=0) - middle).max() <= 1
        words.show_cross(False)
        mark = Mark("7.0 mm", ((5, -36, 85), (8, -36, 85)))  # on the first two slices
        rows, columns = changed(viewer, lambda mark=mark: words.show_marks([mark]))
        assert 0 < bright[:, 0].mean() - rows.stop < 20
        assert np.abs(columns.start - bright[:, 1].mean()) < 5
        words.show_marks([])
    for index, seen in ((1, True), (2, False)):
        viewer.dims.set_current_step(0, index)
        without = picture(viewer)
        words.show_marks([mark])
        assert (picture(viewer) != without).any() == seen
        words.show_marks([])
    words.show_cross(True)
    viewer.dims.set_current_step(0, 0)
    viewer.screenshot(canvas_only=True, flash=False)
    paints = Paints()
    canvas = viewer.window.main_menu.window().findChild(QOpenGLWidget)
    qtbot.wait(1)
    canvas.installEventFilter(paints)
    for index in range(1, 5):
        viewer.dims.set_current_step(0, index)
        words.write("line", [Line(f"slice {index}")], "bottom_left")
        wanted = index
        qtbot.waitUntil(lambda wanted=wanted: paints.count >= wanted)
    for _ in range(3):
        qtbot.wait(1)
    assert paints.count == 4
    canvas.removeEventFilter(paints)


def test_the_legend_covers_no_title(make_napari_viewer: Callable[..., Viewer]) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(700, 500)
    words: CanvasWords = canvas_words(viewer)
    for number in range(3):
        viewer.add_image(np.full((9, 9), 50 + number), contrast_limits=(0, 200))
    viewer.canvas.grid.shape = (2, 2)
    viewer.canvas.grid.enabled = True
    viewer.screenshot(canvas_only=False, flash=False)
    height, width = picture(viewer).shape[:2]
    for titled in (False, True):  # with four panels no place is empty
        rows, columns = changed(viewer, lambda: words.write("legend", LEGEND, ASIDE))
        if not titled:
            assert rows.start > height / 2
            assert columns.start > width / 2
            words.write("legend", [], ASIDE)
            viewer.add_image(np.full((9, 9), 99), contrast_limits=(0, 200))
        else:
            assert rows.stop < height / 2
            assert columns.stop < width / 2
            legend = rows
    top = viewer.layers[0].name_overlay
    rows, _ = changed(viewer, lambda: setattr(top, "visible", True))
    assert rows.stop <= legend.start
    found = changed(viewer, lambda: words.write("side", [Line("R")], "middle_left", in_cells=True))
    assert found[1].stop > width / 2 > found[1].start  # a letter in each cell
    wide = [Line("x" * 30)] * 3
    line = changed(viewer, lambda: words.write("line", wide, "bottom_left"))
    above = slice(line[0].start - 40, line[0].start), line[1]
    before = picture(viewer)
    words.write("below", [Line("P")], "bottom_center", in_cells=True)
    after = picture(viewer)
    assert (after[line] == before[line]).all()
    assert (after[above] != before[above]).any()  # the letter of that cell
    viewer.canvas.grid.enabled = False
    rows, columns = changed(viewer, lambda: words.write("legend", [], ASIDE))
    assert rows.start < 30
    assert columns.start < 30


def test_a_sign_has_the_colour_that_it_explains_and_words_are_seen_on_any_canvas() -> None:
    for behind, dark in (("#000000", True), ("#FFFFFF", False)):
        drawn = picture_of(Words(tuple(LEGEND), "top_left", 12.0, False), behind)
        colours = {tuple(pixel) for pixel in drawn[..., :3].reshape(-1, 3).tolist()}
        assert (255, 0, 0) in colours
        seen = np.array(sorted(colours, key=sum)[-1 if dark else 0])
        assert (seen > 180).all() if dark else (seen < 70).all()
        assert picture_of(Words(tuple(LEGEND), "top_left", 12.0, False), behind, 2.0).shape[0] in (
            2 * len(drawn) - 1,
            2 * len(drawn),
            2 * len(drawn) + 1,
        )


def test_signs_of_pale_colours_are_seen_and_outlines_are_hollow() -> None:
    def sign(letter: str, colour: str, behind: str) -> NDArray[np.uint8]:
        words = Words((Line(letter, colour),), "top_left", 9.0, False)
        return picture_of(words, behind)[..., :3]

    assert (sign("■", "#FFFFFF", "#FFFFFF") < 70).any()
    assert (sign("■", "#000000", "#000000") > 180).any()
    red = [(sign(one, "#FF0000", "#FFFFFF") == (255, 0, 0)).all(axis=2).sum() for one in "■□▨"]
    assert red[0] > red[1] > red[0] / 2
    assert red[0] > red[2] > red[0] / 3
    assert (sign("▨", "#FFFF00", "#000000") == 0).all(axis=2).any()
