"""In small windows: the canvas keeps its share, no text is cut off, and everything has a name and is reached by Tab."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from gui_cases import LABELS, add_data, ball_case, let_events_pass
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.key_bindings import coerce_keybinding
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QDialog,
    QDockWidget,
    QLabel,
    QLineEdit,
    QMainWindow,
    QPushButton,
    QScrollBar,
    QStyle,
    QStyleOptionComboBox,
    QTabBar,
    QTableWidget,
    QTabWidget,
    QTextBrowser,
    QToolButton,
    QWidget,
)

from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.dock import CANVAS_SHARE
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.keys import keys_of
from napari_uda.gui.kit.layers import show
from napari_uda.gui.workbench import DOCKS
from napari_uda.inference.predict import Prediction

LONGEST = 16
"""Letters of a choice that are always seen; longer ones are told by the tooltip."""
USED = (
    QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox, QAbstractSlider, QAbstractItemView, QTabBar,
)  # fmt: skip
PAGES = {
    "Data": ["Cases", "On screen", "Models"],
    "Train": ["New run", "Watch", "Runs"],
    "Segment": ["Structures", "Uncertainty", "Several"],
    "Translate": [""],
    "Score": ["Case", "Cohort", "Calibration", "Names"],
    "View": [""],
}


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Viewer], made_prediction: Prediction) -> Viewer:
    """A window of 1280 x 720 with an image, its result and its reference."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 720)
    show(viewer, made_prediction)
    add_data(viewer, *layer_data(ball_case("case_0", 0)[1], "reference", _names()))
    return viewer


def _names() -> dict[int, str]:
    return {value: name for name, value in LABELS.items()}


def opened(viewer: Viewer, name: str, qtbot: QtBot) -> tuple[QDockWidget, QWidget]:
    """A dock with all that it says once it has come to rest."""
    dock, widget = viewer.window.add_plugin_dock_widget("napari_uda", name)
    settle(widget, qtbot)
    if name == "Score":
        widget.score.click()
        widget.tools_fold.set_open(True)
    elif name == "View":
        widget.measuring.set_open(True)
        widget.measure.measure.click()
    settle(widget, qtbot)
    return dock, widget


def settle(widget: QWidget, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: widget.is_settled and not jobs.running())
    let_events_pass(8)


def pages(name: str, widget: QWidget, qtbot: QtBot) -> Iterator[str]:
    """Each tab of a dock in turn."""
    for title in PAGES[name]:
        for tabs in widget.findChildren(QTabWidget):
            for index in range(tabs.count()):
                if tabs.tabText(index) == title:
                    tabs.setCurrentIndex(index)
        settle(widget, qtbot)
        yield title


def shown(dock: QWidget, kinds: type | tuple[type, ...]) -> list[QWidget]:
    return [
        one
        for one in dock.findChildren(QWidget)
        if isinstance(one, kinds) and one.isVisible() and one.window() is dock.window()
    ]


def cut_off(dock: QWidget) -> list[str]:
    """Widgets of a dock whose text does not fit, or that stand out of it."""
    found = []
    for one in shown(dock, (QLabel, QPushButton, QToolButton, QAbstractButton)):
        if one.objectName().startswith(("QTitleBar", "qt_")) or not one.text():
            continue
        if isinstance(one, QLabel) and one.wordWrap():
            fits = one.heightForWidth(one.width()) <= one.height()
        else:
            fits = one.minimumSizeHint().width() <= one.width()
        if not fits:
            found.append(f"{type(one).__name__} {one.text()!r}")
    for one in shown(dock, (*USED, QLabel)):
        right = one.mapTo(dock, one.rect().topRight()).x()
        if right > dock.width() and not isinstance(one.parent(), QAbstractItemView):
            found.append(f"{type(one).__name__} {one.objectName()} stands out of the dock")
    for one in shown(dock, QTabBar):
        if one.count() and one.tabRect(one.count() - 1).right() > one.width():
            found.append(f"tab {one.tabText(one.count() - 1)}")
    for box in shown(dock, QComboBox):
        text = box.currentText()
        if len(text) <= LONGEST and text_pixels(box, text) > room_for_text(box):
            found.append(f"box {text!r} of {box.objectName()}")
    for table in shown(dock, QTableWidget):
        for row in range(table.rowCount()):
            for index in range(table.columnCount()):
                cell, place = table.item(row, index), table.model().index(row, index)
                if cell is None or not cell.text() or table.isColumnHidden(index):
                    continue
                hint = table.sizeHintForIndex(place).width()
                cut = hint > table.visualRect(place).width()
                if cut and cell.text() not in (cell.toolTip() or ""):
                    found.append(f"cell {cell.text()!r} of {table.objectName()}")
        header = table.horizontalHeader()
        for index in range(table.columnCount()):
            title = table.horizontalHeaderItem(index)
            if header.isSectionHidden(index) or title is None:
                continue
            end = header.sectionViewportPosition(index) + header.sectionSize(index)
            narrow = header.sectionSize(index) < header.sectionSizeHint(index)
            if narrow or end > table.viewport().width() + 1:
                found.append(f"header {title.text()!r} of {table.objectName()}")
    return found


def text_pixels(widget: QWidget, text: str) -> int:
    return int(widget.fontMetrics().horizontalAdvance(text))


def room_for_text(box: QComboBox) -> int:
    """Pixels that a style leaves for the text of a box."""
    asked = QStyleOptionComboBox()
    box.initStyleOption(asked)
    kinds = QStyle.ComplexControl.CC_ComboBox, QStyle.SubControl.SC_ComboBoxEditField
    icon = 0 if box.itemIcon(box.currentIndex()).isNull() else box.iconSize().width() + 4
    return int(box.style().subControlRect(kinds[0], asked, kinds[1], box).width()) - icon


def spoken(widget: QWidget) -> str:
    """What a screen reader calls a widget: a button has its text, tabs have theirs, signs are no words."""
    text = widget.text() if isinstance(widget, QAbstractButton) else ""
    if isinstance(widget, QTabBar):
        text = widget.tabText(0)
    return str(widget.accessibleName() or (text if any(map(str.isalpha, text)) else ""))


def unreachable(widget: QWidget) -> list[str]:
    """Widgets without a spoken name or out of the keyboard's reach, and letters that two of them want."""
    used = [
        one
        for one in shown(widget, USED)
        if not isinstance(one, QScrollBar)
        and not one.objectName().startswith("qt_")
        and not isinstance(one.parent(), QComboBox | QAbstractSpinBox | QTabBar | QTableWidget)
    ]
    title = {one: f"{type(one).__name__} {one.objectName()}" for one in used}
    found = [f"{title[one]} has no name" for one in used if not spoken(one)]
    found += [
        f"Tab skips {title[one]}"
        for one in used
        if not (one.focusPolicy() & Qt.FocusPolicy.TabFocus) and one.focusProxy() is None
    ]
    buttons = [one for one in used if isinstance(one, QAbstractButton)]
    letters = [QKeySequence.mnemonic(one.text()).toString() for one in buttons]
    return found + [one for one in set(letters) if one and letters.count(one) > 1]


@pytest.mark.parametrize("name", DOCKS)
def test_a_small_window_keeps_its_canvas_its_texts_and_the_keyboard(
    name: str, viewer: Viewer, qtbot: QtBot
) -> None:
    dock, widget = opened(viewer, name, qtbot)
    window = dock.parentWidget()
    assert isinstance(window, QMainWindow)
    for width, height in ((1280, 720), (1500, 900)):
        viewer.window.resize(width, height)
        let_events_pass(8)
        for title in pages(name, widget, qtbot):
            assert (window.width(), window.height()) == (width, height)  # no dock makes it larger
            assert cut_off(dock) == [], f"{title} at {width}"
            assert unreachable(widget) == [], title
            assert window.centralWidget().width() >= CANVAS_SHARE * width


def test_docks_that_open_one_after_the_other_leave_a_small_window_as_it_is(
    viewer: Viewer, qtbot: QtBot
) -> None:
    """napari adds each below the others before it joins them."""
    for name in DOCKS:
        dock, _ = opened(viewer, name, qtbot)
        window = dock.parentWidget()
        assert isinstance(window, QMainWindow)
        assert (window.width(), window.height()) == (1280, 720), name


def test_no_key_is_one_of_naparis_own(viewer: Viewer, qtbot: QtBot) -> None:
    keys = []
    for name in ("Data", "Segment", "Translate", "Score", "View"):
        _, widget = opened(viewer, name, qtbot)
        keys += [key for key, _ in keys_of(widget)]
        page = widget.findChild(QToolButton, "help")
        page.click()
        dialog = widget.findChild(QDialog, "help_page")
        text = dialog.findChild(QTextBrowser).toPlainText()
        assert all(f"{key}\n{what}" in text or what in text for key, what in keys_of(widget))
        dialog.close()
    shared = {".", ","}
    assert {*"WDUHKNGQJ.,", "PageUp", "PageDown"} == set(keys)
    assert len([key for key in keys if key not in shared]) == len(set(keys) - shared)
    for key in set(keys):
        binding = coerce_keybinding(key)
        assert binding not in Image.class_keymap
        assert binding not in Labels.class_keymap
        assert ViewerModel.class_keymap[binding].__name__.startswith("napari_uda")
