"""The parts that docks are made of: guarded panels, jobs in one call, editors of fields."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from gui_cases import let_events_pass
from napari.components import ViewerModel
from napari.utils.events import EmitterGroup, Event
from pydantic import BaseModel
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject, QPoint, QPointF, Qt
from qtpy.QtGui import QImage, QWheelEvent
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.fields import folder_edit, make_editor, show_value
from napari_uda.gui.kit.jobs import Looking, Report, Turns, background, running
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layers import is_volume
from napari_uda.gui.kit.layout import column, form, row
from napari_uda.gui.kit.panel import Following, Panel, delay
from napari_uda.gui.kit.widgets import (
    DoubleSpinBox,
    Foldable,
    SearchableBox,
    SpinBox,
    button,
    check_box,
    combo_box,
)

# --- panels -----------------------------------------------------------------------------------------


class Counter(Panel):
    """Counts clicks; the second is one too many."""

    def __init__(self) -> None:
        super().__init__()
        self.clicks = 0
        self.more = button("More", "Count", self._on_more, "more")

    def _on_more(self) -> None:
        self.clicks += 1
        if self.clicks == 2:
            raise InputError("That is enough; stop")


class QuietCounter(Counter):
    """Overrides a slot."""

    def _on_more(self) -> None:
        self.clicks += 10


def test_an_error_in_a_slot_of_a_panel_becomes_a_notification(
    qtbot: QtBot, notifications: Callable[[], list[str]]
) -> None:
    counter = Counter()
    qtbot.addWidget(counter)
    assert (counter.more.objectName(), counter.more.toolTip()) == ("more", "Count")
    counter.more.click()
    assert notifications() == []
    counter.more.click()
    assert (counter.clicks, notifications()) == (2, ["That is enough; stop"])
    quiet = QuietCounter()
    qtbot.addWidget(quiet)
    quiet.more.click()
    assert quiet.clicks == 10


def test_events_are_followed_until_others_are_and_until_the_owner_goes(qtbot: QtBot) -> None:
    counter, events = Counter(), EmitterGroup(first=Event, second=Event)
    following = Following(counter, counter._on_more)
    following.follow(events.first)
    events.second()
    assert counter.clicks == 0
    events.first()
    assert counter.clicks == 1
    following.follow()
    events.first()
    assert counter.clicks == 1
    following.follow(events.second)
    with qtbot.waitSignal(counter.destroyed):
        counter.deleteLater()
    events.second()
    assert counter.clicks == 1


def test_an_event_that_napari_miscounts_some_times_is_followed(qtbot: QtBot) -> None:
    class Miscounting:
        tries = 0

        def connect(self, slot: Callable[..., None]) -> None:
            self.tries += 1
            if self.tries <= 3:
                raise RuntimeError("cannot place callback before None")

        def disconnect(self, slot: Callable[..., None]) -> None:
            pass

    counter, event = Counter(), Miscounting()
    qtbot.addWidget(counter)
    Following(counter, counter._on_more).follow(event)
    assert event.tries == 4


def test_a_delay_counts_from_its_last_start(qtbot: QtBot) -> None:
    counter = Counter()
    qtbot.addWidget(counter)
    timer = delay(counter, 1, counter._on_more)
    timer.start()
    timer.start()
    qtbot.waitUntil(lambda: not timer.isActive())
    assert counter.clicks == 1


def test_makers_connect_after_the_first_state_is_set(qtbot: QtBot) -> None:
    heard: list[Any] = []
    box = check_box("Wanted", "Why", heard.append, "wanted", checked=True)
    choice = combo_box([("one", 1), ("two", 2)], "Which", heard.append, "which")
    for widget in (box, choice):
        qtbot.addWidget(widget)
    assert (box.isChecked(), choice.currentData(), heard) == (True, 1, [])
    box.click()
    choice.setCurrentIndex(1)
    assert (heard, choice.currentData()) == ([False, 1], 2)


def test_long_choices_that_differ_at_their_end_look_different(qtbot: QtBot) -> None:
    def picture(text: str, *, ours: bool = True) -> QImage:
        box = combo_box([(text, 1)]) if ours else QComboBox()
        qtbot.addWidget(box)
        if not ours:
            box.addItem(text)
        box.resize(170, 26)
        box.show()
        return box.grab().toImage()

    before, after = (f"mr_02 · prediction · model {end}" for end in ("before it", "after it"))
    assert picture(before, ours=False) == picture(after, ours=False)  # Qt cuts both at one place
    assert picture(before) != picture(after)
    assert picture("MR", ours=False) == picture("MR")


def test_rows_columns_and_forms_hold_what_they_are_given(qtbot: QtBot) -> None:
    panel, first, second, field = QWidget(), QPushButton("1"), QPushButton("2"), QLineEdit()
    qtbot.addWidget(panel)
    column(row((first, 2), ..., second), form(("Name", field)), ..., of=panel, margin=3, spacing=5)
    panel.resize(400, 200)
    panel.show()
    outer = panel.layout()
    assert isinstance(outer, QVBoxLayout)
    assert (outer.contentsMargins().left(), outer.spacing(), outer.count()) == (3, 5, 3)
    assert first.geometry().right() < second.geometry().left()
    assert field.geometry().top() > first.geometry().bottom()


def test_what_is_folded_takes_no_room_and_what_is_open_all_it_needs(qtbot: QtBot) -> None:
    content = QWidget()
    inside = QVBoxLayout(content)
    inside.addWidget(QLabel("one"))
    fold, heard = Foldable("More", content, "fold"), []
    fold.toggled.connect(heard.append)
    qtbot.addWidget(fold)
    fold.show()
    closed = fold.sizeHint().height()
    assert not content.isVisible()
    qtbot.mouseClick(fold.toggleButton(), Qt.MouseButton.LeftButton)
    assert (content.isVisible(), heard) == (True, [True])
    for number in range(20):
        inside.addWidget(QLabel(f"line {number}"))
    qtbot.waitUntil(lambda: content.height() >= content.sizeHint().height())
    fold.set_open(False)
    assert (content.isVisible(), heard) == (False, [True, False])
    qtbot.waitUntil(lambda: fold.sizeHint().height() == closed)


# --- jobs -------------------------------------------------------------------------------------------


@pytest.fixture
def owner(qtbot: QtBot) -> QWidget:
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


def test_background_calls_what_it_was_given_in_order(qtbot: QtBot, owner: QWidget) -> None:
    said: list[Any] = []
    inner = QWidget(owner)

    def work(report: Report, stop: threading.Event) -> int:
        report(1, 1)
        return 7

    background(
        inner,
        "count",
        work,
        lambda value: said.append(value),
        ended=lambda: said.append("ended"),
        progressed=lambda done, total: said.append((done, total)),
    )
    assert len(running(owner)) == len(running()) == 1
    assert running(QWidget()) == []
    qtbot.waitUntil(lambda: not running(owner), timeout=60_000)
    assert said == [(1, 1), 7, "ended"]


def test_work_need_not_take_anything(qtbot: QtBot, owner: QWidget) -> None:
    said: list[str] = []
    background(owner, "say", lambda: "done", said.append, quiet=True)
    qtbot.waitUntil(lambda: said == ["done"], timeout=60_000)


def test_errors_of_work_and_of_its_listener_are_shown(
    qtbot: QtBot, owner: QWidget, notifications: Callable[[], list[str]]
) -> None:
    failed: list[str] = []

    def fail(_: object = None) -> None:
        raise InputError("There is none; choose one")

    background(owner, "fail", fail, failed=failed.append, quiet=True)
    qtbot.waitUntil(lambda: not running(), timeout=60_000)
    assert (failed, notifications()) == (["There is none; choose one"], [])
    background(owner, "succeed", lambda: 1, fail, quiet=True)
    qtbot.waitUntil(lambda: not running(), timeout=60_000)
    assert notifications() == ["There is none; choose one"]


def test_an_error_of_quiet_work_that_nobody_takes_is_shown(
    qtbot: QtBot, owner: QWidget, notifications: Callable[[], list[str]]
) -> None:
    def fail() -> None:
        raise InputError("There is none; choose one")

    background(owner, "fail", fail, quiet=True)
    qtbot.waitUntil(lambda: not running(), timeout=60_000)
    assert notifications() == ["There is none; choose one"]


# --- looking again and again --------------------------------------------------------------------------


def test_turns_take_row_after_row_and_go_on_after_an_error(
    qtbot: QtBot, owner: QWidget, notifications: Callable[[], list[str]]
) -> None:
    turns, taken = Turns(owner), []

    def steps(name: str, *, fails: bool = False) -> Iterator[None]:
        for number in range(2):
            taken.append(f"{name}{number}")
            yield
        if fails:
            raise InputError("That went wrong")

    with qtbot.waitSignal(turns.rested):
        turns.take(steps("a", fails=True))
        turns.take(steps("b"))
        assert turns.is_busy
        assert taken == []  # whoever asked is answered before
    assert taken == ["a0", "a1", "b0", "b1"]
    assert not turns.is_busy
    assert notifications() == ["That went wrong"]


def test_turns_that_are_dropped_or_whose_owner_goes_are_not_taken(qtbot: QtBot) -> None:
    owner, taken = QObject(), []
    turns = Turns(owner)

    def steps(name: str) -> Iterator[None]:
        taken.append(name)
        turns.drop()
        yield
        taken.append(f"{name} to the end")

    turns.take(steps("first"))
    qtbot.waitUntil(lambda: not turns.is_busy)
    turns.take(steps("second"))
    with qtbot.waitSignal(owner.destroyed):
        owner.deleteLater()
    let_events_pass()
    assert taken == ["first"]


def test_looking_tells_what_it_finds_until_it_is_stopped(qtbot: QtBot, owner: QWidget) -> None:
    found: list[int] = []
    looking = Looking(owner, "test look", found.append)
    numbers = iter([1, 2, 3, 4])

    def look() -> tuple[int, float | None]:
        number = next(numbers)
        if number == 2:
            raise OSError("gone for a moment")
        return number, 0.0 if number == 1 else None

    looking.start(look)
    qtbot.waitUntil(lambda: found == [1, 3], timeout=20_000)  # what fails is looked at again
    looking.again()
    qtbot.waitUntil(lambda: found == [1, 3, 4], timeout=20_000)
    assert "test look" in threads()
    looking.stop()
    qtbot.waitUntil(lambda: "test look" not in threads(), timeout=20_000)


def test_another_look_replaces_the_last_and_ends_with_its_owner(qtbot: QtBot) -> None:
    owner = QWidget()
    found: list[str] = []
    held, begun = threading.Event(), threading.Event()
    looking = Looking(owner, "test look", found.append)

    def slow() -> tuple[str, float | None]:
        begun.set()
        held.wait()
        return "old", 0.0

    looking.start(slow)
    assert begun.wait(20)
    looking.start(lambda: ("new", None))
    held.set()
    qtbot.waitUntil(lambda: threads().count("test look") == 1, timeout=20_000)
    qtbot.waitUntil(lambda: bool(found), timeout=20_000)
    assert found == ["new"]
    with qtbot.waitSignal(owner.destroyed, timeout=20_000):
        owner.deleteLater()
    qtbot.waitUntil(lambda: "test look" not in threads(), timeout=20_000)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


# --- fields -----------------------------------------------------------------------------------------


class Settings(BaseModel):
    """One field of each kind."""

    steps: int = 5
    rate: float = 2.5e-4
    limit: float | None = None
    fast: bool = False
    kind: Literal["a", "b"] = "a"
    often: Literal[1, 2] | None = None
    name: str = "x"
    folder: Path = Path("relative/place")
    range: tuple[float, float] = (0.0, 1e-5)
    labels: dict[str, int] = {}
    anything: list[int] = []


VALUES = {
    "steps": 7,
    "rate": 1e-7,
    "limit": 0.5,
    "fast": True,
    "kind": "b",
    "often": 2,
    "name": "a name",
    "folder": Path("other/place"),
    "range": (-1.0, 2.5e-6),
    "labels": {"MYO": 1, "LVC": 2},
    "anything": [1, 2],
}


@pytest.mark.parametrize("name", VALUES)
def test_an_editor_shows_a_value_and_gives_it_back(name: str, qtbot: QtBot) -> None:
    editor = make_editor(Settings.model_fields[name], name)
    qtbot.addWidget(editor.native)
    heard: list[Any] = []
    editor.changed.connect(heard.append)
    assert editor.native.objectName() == name
    for value in (getattr(Settings(), name), VALUES[name]):
        show_value(editor, value)
        assert (editor.value, type(editor.value)) == (value, type(value))
    assert heard == []


def line_of(native: QWidget) -> QLineEdit:
    line = native if isinstance(native, QLineEdit) else native.findChild(QLineEdit)
    assert line is not None
    return line


def test_what_is_typed_stays_as_it_was_typed(qtbot: QtBot) -> None:
    editor = make_editor(Settings.model_fields["rate"], "rate")
    qtbot.addWidget(editor.native)
    heard: list[Any] = []
    editor.changed.connect(lambda: heard.append(editor.value))
    line = line_of(editor.native)
    qtbot.keyClicks(line, "0.10")
    assert editor.value == heard[-1] == 0.1
    show_value(editor, 0.1)
    assert line.text() == "0.10"
    qtbot.keyClicks(line, "x")
    assert editor.value == "0.10x"


def test_an_empty_line_is_none_where_none_is_allowed(qtbot: QtBot) -> None:
    editor = make_editor(Settings.model_fields["limit"], "limit")
    qtbot.addWidget(editor.native)
    show_value(editor, 1.0)
    assert line_of(editor.native).text() == "1"
    line_of(editor.native).clear()
    assert editor.value is None


def test_a_folder_is_found_by_its_line_and_may_stay_empty(qtbot: QtBot, tmp_path: Path) -> None:
    folder = folder_edit("target", "Where the target is", "folder with images/")
    qtbot.addWidget(folder.native)
    line = folder.native.findChild(QLineEdit, "target")
    assert line is not None
    assert (folder.value, line.placeholderText()) == (None, "folder with images/")
    line.setText(str(tmp_path))
    assert folder.value == tmp_path
    assert folder.choose_btn.native.toolTip() == "Browse for a folder"


def test_what_is_typed_in_a_searchable_box_chooses_or_is_taken_back(qtbot: QtBot) -> None:
    heard: list[int] = []
    box = SearchableBox("which", heard.append, "which")
    qtbot.addWidget(box)
    box.addItems(["apple", "orange", "pineapple"])
    box.show()
    line = box.lineEdit()
    heard.clear()
    line.selectAll()
    qtbot.keyClicks(line, "RANG")
    assert (heard, box.completer().popup().model().rowCount()) == ([], 1)
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert (heard, box.currentText()) == ([1], "orange")
    line.selectAll()
    qtbot.keyClicks(line, "plum")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert (heard, line.text(), line.cursorPosition()) == ([1], "orange", 0)


@pytest.mark.parametrize(
    "style", ["", "QAbstractSpinBox { border: none; padding: 1px 10px; min-width: 70px; }"]
)
def test_a_number_is_as_wide_as_its_longest_text_with_prefix_and_suffix(
    qtbot: QtBot, style: str
) -> None:
    whole, part = SpinBox(), DoubleSpinBox()
    whole.setRange(0, 511)
    whole.setPrefix("slice ")
    part.setRange(0.1, 100)
    part.setSuffix(" mm")
    narrow = QWidget()
    narrow.setStyleSheet(style)
    qtbot.addWidget(narrow)
    row(whole, part, of=narrow)
    narrow.show()
    whole.setRange(0, 5110)
    narrow.resize(10, 10)
    for box, longest in ((whole, "slice 5110"), (part, "100.00 mm")):
        box.setValue(box.maximum())
        assert box.text() == longest
        line = box.lineEdit()
        assert line.width() > line.fontMetrics().horizontalAdvance(longest)


def test_a_wheel_that_passes_over_a_choice_does_not_change_it(qtbot: QtBot) -> None:
    editor = make_editor(Settings.model_fields["kind"], "kind")
    box = editor.native
    assert isinstance(box, QComboBox)
    qtbot.addWidget(box)
    wheel = QWheelEvent(
        QPointF(2, 2),
        QPointF(2, 2),
        QPoint(0, -120),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(box, wheel)
    assert editor.value == "a"


def test_chooser_takes_an_image_that_is_seen_before_a_hidden_one(qtbot: QtBot) -> None:
    viewer = ViewerModel()
    shown, hidden = (viewer.add_image(np.zeros((2, 3, 4)), name=name) for name in "ab")
    hidden.visible = False
    box = LayerChooser(viewer, is_volume, lambda layer: 0)
    qtbot.addWidget(box)
    assert box.layer is shown
    viewer.layers.move(0, 2)  # as a grid arranges them; the hidden one is never on top of the list
    viewer.layers.move(0, 2)
    assert box.layer is shown
    shown.visible, hidden.visible = False, True
    qtbot.waitUntil(lambda: box.layer is hidden)  # as a list of cases shows them
    hidden.visible = False  # to look at nothing is no wish for another one
    box.choose(shown)
    hidden.visible = True
    QApplication.processEvents()
    assert box.layer is shown
