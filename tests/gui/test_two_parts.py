"""Controls and results: along the longer side, and never cut off."""

from __future__ import annotations

from gui_cases import let_events_pass
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QAbstractSlider, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_uda.gui.kit.layout import Scrolling, TwoParts, column, form, row, wrapped
from napari_uda.gui.kit.widgets import Foldable, TallLabel


def controls() -> QWidget:
    widget = QWidget()
    layout = QVBoxLayout(widget)
    for number in range(8):
        layout.addWidget(QPushButton(f"Button with a long text {number}"))
    return widget


def test_parts_lie_along_the_longer_side(qtbot: QtBot) -> None:
    first, second = controls(), QLabel("results")
    parts = TwoParts(first, second)
    qtbot.addWidget(parts)
    parts.resize(300, 700)
    parts.show()
    assert second.mapTo(parts, second.rect().topLeft()).y() >= first.height()
    with qtbot.waitSignal(parts.turned) as turned:
        parts.resize(1200, 350)
    assert turned.args == [True]
    qtbot.waitUntil(lambda: second.mapTo(parts, second.rect().topLeft()).x() >= first.width())
    with qtbot.waitSignal(parts.turned) as turned:
        parts.resize(300, 700)
    assert turned.args == [False]


def test_controls_scroll_only_where_there_is_no_room(qtbot: QtBot) -> None:
    scroll = Scrolling(controls())
    qtbot.addWidget(scroll)
    scroll.resize(scroll.sizeHint())
    scroll.show()
    assert scroll.verticalScrollBar().maximum() == 0
    scroll.resize(scroll.minimumSizeHint())
    qtbot.waitUntil(lambda: scroll.verticalScrollBar().maximum() > 0)
    assert scroll.widget().width() <= scroll.viewport().width()  # nothing is cut off at the side


def test_taller_controls_ask_for_more_room(qtbot: QtBot) -> None:
    content = controls()
    scroll = Scrolling(content)
    qtbot.addWidget(scroll)
    scroll.show()
    before = scroll.sizeHint().height()
    content.layout().addWidget(QPushButton("one more"))
    qtbot.waitUntil(lambda: scroll.sizeHint().height() > before)


def test_news_come_into_sight_and_numbers_let_the_reader_scroll(qtbot: QtBot) -> None:
    content, told = controls(), TallLabel()
    content.layout().addWidget(told)
    parts = TwoParts(content, QLabel("results"), told)
    qtbot.addWidget(parts)
    parts.resize(300, 150)
    parts.show()
    bar = parts.findChild(Scrolling).verticalScrollBar()
    assert bar.value() == 0
    told.setText("Slice 1 of 24, and more words than there is room for in one line of a dock")
    qtbot.waitUntil(lambda: told.visibleRegion().boundingRect() == told.rect())
    parts.resize(300, 120)  # the results take more room
    let_events_pass(4)
    assert told.visibleRegion().boundingRect() == told.rect()
    told.setText("")
    let_events_pass(4)
    bar.setValue(0)
    parts.resize(300, 150)
    let_events_pass(4)
    assert bar.value() == 0  # nothing is told any more
    told.setText("Slice 1 of 24")
    qtbot.waitUntil(lambda: told.visibleRegion().boundingRect() == told.rect())
    bar.triggerAction(QAbstractSlider.SliderAction.SliderToMinimum)
    told.setText(told.text().replace("1", "2"))
    let_events_pass(4)
    assert bar.value() == 0


def test_a_told_line_gives_back_the_room_of_a_longer_one(qtbot: QtBot) -> None:
    told = TallLabel("one line")
    qtbot.addWidget(told)
    told.resize(120, 30)
    told.show()
    before = told.minimumHeight()
    told.setText("many more words than there is room for in a single line")
    assert told.minimumHeight() > 1.5 * before
    told.setText("another")
    assert told.minimumHeight() == before


def test_nothing_small_stands_alone_in_a_line(qtbot: QtBot) -> None:
    parts = [QPushButton() for _ in range(3)]
    for part, pixels in zip(parts, (100, 100, 20), strict=True):
        part.setFixedWidth(pixels)
    place = QWidget()
    place.setLayout(wrapped((parts[0], 1), (parts[1], 1), parts[2], spacing=4))
    qtbot.addWidget(place)
    place.show()
    for width, lines in ((300, [0, 0, 0]), (210, [0, 1, 1]), (110, [0, 1, 2])):
        place.resize(width, 200)
        let_events_pass(4)
        tops = sorted({part.y() for part in parts})
        assert [tops.index(part.y()) for part in parts] == lines


def test_another_text_of_the_same_size_lays_nothing_out_around_it(qtbot: QtBot) -> None:
    content, number = QWidget(), QLabel("1")
    number.setFixedWidth(40)
    column(number, QLabel("a longer line"), of=content)
    asked: list[QEvent.Type] = []

    class Window(QWidget):
        def event(self, event: QEvent | None) -> bool:
            asked.extend([] if event is None else [event.type()])
            return super().event(event)

    window = Window()
    qtbot.addWidget(window)
    column(Scrolling(content), of=window)
    window.show()
    for text in ("2", "3"):  # the first one after it was shown may find other sizes
        asked.clear()
        number.setText(text)
        let_events_pass()
    assert QEvent.Type.LayoutRequest not in asked
    number.setFixedWidth(400)
    qtbot.waitUntil(lambda: QEvent.Type.LayoutRequest in asked)


def test_words_that_are_broken_in_a_narrow_dock_get_the_room_there_is(qtbot: QtBot) -> None:
    words, results = QLabel("Some words of the controls. " * 20), QLabel("results")
    words.setWordWrap(True)
    first = QWidget()
    column(row(words, QPushButton("Button with a long text")), of=first)
    parts = TwoParts(first, results)
    qtbot.addWidget(parts)
    parts.show()
    bar = parts.findChild(Scrolling).verticalScrollBar()
    for width in (320, 250, 400):
        parts.resize(width, 1600)
        qtbot.waitUntil(lambda: first.height() == first.heightForWidth(parts.width()))
        qtbot.waitUntil(lambda: bar.maximum() == 0)


def test_a_narrow_fold_leaves_every_row_its_place(qtbot: QtBot) -> None:
    """Titles go above their fields and rows break: no button may come to lie under the next one."""
    pairs = [[QPushButton(f"Button {number} of {row}") for number in range(2)] for row in range(2)]
    last, content, outer = QPushButton("Last"), QWidget(), QWidget()
    fields = form(*((f"Field {at}", wrapped(*pair)) for at, pair in enumerate(pairs)))
    column(fields, last, of=content, margin=0)
    column(Foldable("Tools", content, "tools", opened=True), ..., of=outer, margin=0)
    scroll = Scrolling(outer)
    qtbot.addWidget(scroll)
    least = scroll.minimumSizeHint().width()
    scroll.resize(3 * least, 90)
    scroll.show()
    for width in range(3 * least, least - 1, -5):
        scroll.resize(width, 90)
        let_events_pass(8)
        ends = [one.geometry().bottom() for pair in pairs for one in pair]
        assert max(ends) < last.geometry().top(), width
