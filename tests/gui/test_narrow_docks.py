"""In small windows: the canvas keeps its share, no text is cut off, and everything has a name and is reached by Tab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from gui_cases import LABELS, SHAPE, add_data, ball_case, let_events_pass
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.key_bindings import coerce_keybinding
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtTest import QTest
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
    QMenuBar,
    QPushButton,
    QScrollBar,
    QStyle,
    QStyleOptionComboBox,
    QStyleOptionViewItem,
    QTabBar,
    QTableWidget,
    QTabWidget,
    QTextBrowser,
    QToolButton,
    QWidget,
)

from napari_uda.data.volume import Volume
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.grid import SideBySide
from napari_uda.gui.kit.keys import keys_of
from napari_uda.gui.kit.layers import show
from napari_uda.gui.kit.letters import digits_of
from napari_uda.gui.kit.place import CANVAS_SHARE
from napari_uda.gui.workbench import DOCKS, open_workbench
from napari_uda.inference.predict import Prediction

SHOTS = ("Alt+S", "Alt+C", "Alt+T")
"""napari's own, for screenshots and for how long it takes."""
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
    elif name == "Segment":  # as after an adaptation
        ml = dict.fromkeys(_names(), 114.8)
        widget.legend.show_structures(_names(), ml, ml)
        widget.legend.selectRow(0)
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
        beside = [one for one in shown(dock, QPushButton) if one.parent() is table.parent()]
        if any(one.geometry().intersects(table.geometry()) for one in beside):
            found.append(f"a button lies over {table.objectName()}")
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


def names_drawn(table: QTableWidget) -> list[str]:
    """What stands in the first column, of which no line is cut off."""
    texts = []
    for row in range(table.rowCount()):
        place, option = table.model().index(row, 0), QStyleOptionViewItem()
        option.initFrom(table)
        option.rect = table.visualRect(place)
        table.itemDelegateForColumn(0).initStyleOption(option, place)
        room = QRect(0, 0, option.rect.width() - 26, 1000)
        lines = option.fontMetrics.boundingRect(room, Qt.TextFlag.TextWordWrap, option.text)
        assert lines.width() <= room.width()
        assert lines.height() <= option.rect.height()
        texts.append(option.text)
    return texts


def columns_shown(owner: QWidget) -> list[str]:
    """Titles of the columns of its table that there is room for."""
    table = owner.table
    seen = (index for index in range(table.columnCount()) if not table.isColumnHidden(index))
    return [table.horizontalHeaderItem(index).text().replace("\n", " ") for index in seen]


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
    keys = list[str]()
    for one in used:
        if isinstance(one, QAbstractButton):
            keys.append(one.shortcut().toString())
            words = any(map(str.isalpha, one.text())) and not one.text().endswith(")")
            if words and one.isEnabled() and one.shortcut().isEmpty():
                found.append(f"{title[one]} has no letter")
    titles = [one for one in shown(widget, QLabel) if one.buddy() is not None]
    keys += [QKeySequence.mnemonic(QLabel.text(one)).toString() for one in titles]
    keys = [key for key in keys if key]
    naparis = [
        QKeySequence.mnemonic(action.text()).toString()
        for action in widget.window().findChild(QMenuBar).actions()
    ]
    found += [key for key in set(keys) if keys.count(key) > 1 or key in (*naparis, *SHOTS)]
    return found


def skipped(dock: QDockWidget, widget: QWidget) -> list[str]:
    """Walk through a dock with Tab: what it misses, and what comes before something above it or left of it."""
    wanted = [
        one
        for one in shown(widget, USED)
        if one.isEnabled() and one.focusPolicy() & Qt.FocusPolicy.TabFocus and not one.focusProxy()
        if not (isinstance(one, QAbstractButton) and one.group() is not None)  # its arrows
    ]
    window = dock.window()
    window.activateWindow()
    first = min(wanted, key=lambda one: one.mapTo(widget, one.rect().topLeft()).y())
    first.setFocus()
    walked = [window.focusWidget()]
    while len(walked) < 3 * len(wanted):
        QTest.keyClick(window.focusWidget(), Qt.Key.Key_Tab)
        if not widget.isAncestorOf(window.focusWidget()):
            break
        walked.append(window.focusWidget())
    found = [f"{type(one).__name__} {one.objectName()}" for one in wanted if one not in walked]
    for one, other in pairwise(walked):
        upper, lower = branches(one, other)
        if lower.bottom() < upper.top() or (
            lower.top() <= upper.top() and lower.right() < upper.left()
        ):
            found.append(f"{one.objectName()} before {other.objectName()}")
    return found


def branches(one: QWidget, other: QWidget) -> tuple[QRect, QRect]:
    """Where two widgets lie in the smallest one that holds both."""
    lines = []
    for end in (one, other):
        lines.append([end])
        while (parent := lines[-1][-1].parentWidget()) is not None:
            lines[-1].append(parent)
    depth = 1
    while all(len(line) > depth for line in lines) and lines[0][-depth] is lines[1][-depth]:
        depth += 1
    return lines[0][-depth].geometry(), lines[1][-depth].geometry()


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
            if name == "View":
                assert {"Structure", "mL", "Mean"} <= set(columns_shown(widget.measure.structures))
            if name == "Score" and title == "Case":
                assert {"Structure", "Dice", "ASSD mm"} <= set(columns_shown(widget))
            if name == "Score" and title in ("Case", "Names"):
                table = widget.table if title == "Case" else widget.choices.matches.table
                assert names_drawn(table)[:2] == [
                    "left ventricle myocardium",
                    "left ventricle cavity",
                ]
            if width == 1280:
                assert skipped(dock, widget) == [], title
            assert window.centralWidget().width() >= CANVAS_SHARE * width


def test_the_whole_bar_leaves_a_small_window_its_canvas_and_its_keys(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    """Beside napari's wide controls of every kind of layer."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 720)
    labels = (np.indices(SHAPE)[1] // 4 % 7).astype(np.uint8)
    names = {value: f"part {value}" for value in range(1, 6)}
    names[6] = "a part that has the longest name of them all"
    affine = np.diag([-1.5, -1.5, 8.0, 1.0])
    for role, array in (("reference", labels), ("prediction", np.roll(labels % 6, 1, axis=1))):
        add_data(viewer, *layer_data(Volume(array, affine, "case_0"), role, names))
    add_data(viewer, *layer_data(ball_case("case_0", 0)[0], "image", {}))
    viewer.add_points([[2, 10, 10]])
    viewer.add_shapes([[2, 10, 10], [2, 10, 20], [2, 20, 20]], shape_type="polygon")
    window = viewer.window.main_menu.window()
    assert isinstance(window, QMainWindow)
    open_workbench(viewer)
    qtbot.waitUntil(lambda: len(window.findChildren(QDockWidget)) > len(DOCKS))
    keys = []
    for name in DOCKS:
        dock, widget = opened(viewer, name, qtbot)
        for layer in viewer.layers:
            viewer.layers.selection = {layer}
            let_events_pass()
            assert (window.width(), window.height()) == (1280, 720), name
            assert window.centralWidget().width() >= CANVAS_SHARE * 1280, f"{name}, {layer}"
        if name == "Score":
            table = widget.table
            assert table.rowCount() == len(names) + 1
            assert table.viewport().height() >= 6 * table.rowHeight(0)
            assert not any(map(table.isColumnHidden, range(3)))  # name, state and Dice
            assert table.visibleRegion().boundingRect().height() == table.height()
            assert not widget.fold.isExpanded()  # for the rows
        assert cut_off(dock) == []
        keys += keys_of_page(widget, qtbot)
    image = next(one for one in viewer.layers if isinstance(one, Image))
    results = [one for one in viewer.layers if isinstance(one, Labels)]
    for _ in SideBySide(viewer, image, results).enter():
        pass
    for layer in viewer.layers:
        viewer.layers.selection = {layer}
        let_events_pass()
        assert window.centralWidget().width() >= CANVAS_SHARE * 1280, f"side by side, {layer}"
    shared = {".", ","}
    assert {*"WDUHKNGQJ.,", "PageUp", "PageDown"} == set(keys)
    assert len([key for key in keys if key not in shared]) == len(set(keys) - shared)
    for key in set(keys):
        binding = coerce_keybinding(key)
        assert binding not in Image.class_keymap
        assert binding not in Labels.class_keymap
        assert ViewerModel.class_keymap[binding].__name__.startswith("napari_uda")


def keys_of_page(widget: QWidget, qtbot: QtBot) -> list[str]:
    """The keys of a dock, all of which its help tells."""
    widget.findChild(QToolButton, "help").click()
    dialog = widget.findChild(QDialog, "help_page")
    text = dialog.findChild(QTextBrowser).toPlainText()
    with qtbot.waitSignal(dialog.destroyed):
        dialog.close()
    assert all(what in text for _, what in keys_of(widget))
    assert all(key in text and what in text for key, what in digits_of(widget))
    return [key for key, _ in keys_of(widget)]
