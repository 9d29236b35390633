"""Widgets made in one line: with their text, tooltip and name, and with the slot that hears of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from qtpy.QtCore import QEvent, QObject, QRect, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QHelpEvent,
    QIcon,
    QPainter,
    QPalette,
    QPixmap,
    QResizeEvent,
    QShowEvent,
    QStandardItemModel,
)
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QStyleOptionComboBox,
    QStyleOptionSpinBox,
    QStylePainter,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QToolButton,
    QToolTip,
    QWidget,
)
from superqt import QCollapsible, QSearchableComboBox

from napari_uda.gui.kit import letters, preferences
from napari_uda.gui.kit.panel import Guarded, delay

Slot = Callable[..., None]
Widget = TypeVar("Widget", bound=QWidget)
Button = TypeVar("Button", bound=QAbstractButton)

ANY_HEIGHT = 16_777_215
"""Qt's QWIDGETSIZE_MAX, which the bindings do not name."""
SHORT = Qt.ItemDataRole.UserRole + 1
"""Role of an item of a table or a box: its text in fewer letters, for where the whole one has no room."""
_MOST_LETTERS = 16
_NUMBERS = re.compile(r"\d+")
_SWATCH_PIXELS = 14
_ARROW_PIXELS, _ARROW_COLOUR = 12, "#909090"
# napari's own colours of a checked button are those of something that is switched on
_TITLE_STYLE = "text-align: left; border: none; outline: none; background: transparent;"
_CURSOR_PIXELS = 4
_ARROW_ROOM = 46  # of a combo box, with the frame


def named(widget: Widget, name: str, tooltip: str = "") -> Widget:
    """Give a widget the name it is found by, a tooltip, and what screen readers call it.

    That is the first line of the tooltip, or else the name in words; of what has a text of its own, Qt tells
    the text.
    """
    if name:
        widget.setObjectName(name)
    if tooltip:
        widget.setToolTip(tooltip)
    spoken = tooltip.partition("\n")[0] or name.rpartition(".")[2].replace("_", " ")
    has_text = isinstance(widget, QPushButton | QCheckBox | QLabel)
    if spoken and not has_text:
        widget.setAccessibleName(spoken)
    return widget


def button(text: str, tooltip: str = "", slot: Slot | None = None, name: str = "") -> QPushButton:
    """A button; `slot` is called when it is clicked."""
    return _clicked(named(letters.Button(text), name, tooltip), slot)


def tool_button(
    text: str, tooltip: str = "", slot: Slot | None = None, name: str = ""
) -> QToolButton:
    """A button no wider than its text."""
    return _clicked(named(letters.ToolButton(text), name, tooltip), slot)


def check_box(
    text: str,
    tooltip: str = "",
    slot: Slot | None = None,
    name: str = "",
    *,
    checked: bool = False,
) -> QCheckBox:
    """A check box; `slot` is called with every change of its state, not with the first one."""
    made = named(letters.CheckBox(text), name, tooltip)
    made.setChecked(checked)
    if slot is not None:
        made.toggled.connect(slot)
    return made


def combo_box(
    items: Iterable[tuple[Any, ...]] = (),
    tooltip: str = "",
    slot: Slot | None = None,
    name: str = "",
    *,
    least_letters: int = 8,
) -> QComboBox:
    """A choice among items, as narrow as `least_letters`; `slot` hears of every change.

    Items are texts with their data, and a tooltip of their own where they have one.
    """
    made = make_narrow(named(QComboBox(), name, tooltip), least_letters)
    for text, data, *own in items:
        made.addItem(text, data)
        made.setItemData(made.count() - 1, "".join(own), Qt.ItemDataRole.ToolTipRole)
    if slot is not None:
        made.currentIndexChanged.connect(slot)
    return made


def make_narrow(box: QComboBox, least_letters: int = 8, *, asks: bool = True) -> QComboBox:
    """Let a combo box be narrower than its longest item, and as wide as there is room.

    It `asks` for what a chosen text of up to 16 letters needs; so a form puts its title above it where both have no room.
    In a cell of a table it does not, for cells give what they have.
    """
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(least_letters)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    box.installEventFilter(_WholeText(box, asks))
    return box


def label(text: str = "", name: str = "", tooltip: str = "", *, wrap: bool = True) -> QLabel:
    """Words; they wrap unless told otherwise."""
    made = named(QLabel(text), name, tooltip)
    made.setWordWrap(wrap)
    return made


def compact(tabs: QTabWidget, padding: int = 4) -> QTabWidget:
    """Tabs with little around their words, so that several fit into a narrow dock."""
    tabs.currentChanged.connect(lambda: letters.look_again(tabs))
    tabs.setStyleSheet(f"QTabBar::tab {{ padding: 3px {padding}px; margin: 0; border: 0; }}")
    return tabs


def text_table(
    headers: Sequence[str], name: str = "", *, row_pixels: int = 22, wide: Sequence[int] = ()
) -> QTableWidget:
    """A table to read: it shows whole rows, and `wide` columns take the room that the others leave."""
    made = named(QTableWidget(0, len(headers)), name)
    made.setHorizontalHeaderLabels(list(headers))
    made.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    made.setTabKeyNavigation(False)  # Tab leaves a table, the arrows walk in it
    made.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    made.setShowGrid(False)
    made.setWordWrap(False)
    rows, columns = made.verticalHeader(), made.horizontalHeader()
    rows.setVisible(False)
    rows.setDefaultSectionSize(row_pixels)
    columns.setMinimumSectionSize(40)
    columns.setHighlightSections(False)
    columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    for index in wide:
        columns.setSectionResizeMode(index, QHeaderView.ResizeMode.Stretch)
    return made


def right_aligned(text: str) -> QTableWidgetItem:
    """A cell of a table with a number in it."""
    cell = QTableWidgetItem(text)
    cell.setTextAlignment(int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter))
    return cell


class TallLabel(QLabel):
    """Wraps, and is as tall as its lines: a form under Qt 6 gives those of a narrow dock too little.

    `retold()` says that it has other words, not only other numbers.
    """

    retold = Signal()

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setWordWrap(True)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Other lines."""
        super().resizeEvent(event)
        self._fit()

    def setText(self, text: str) -> None:
        """Other lines."""
        before = self.text()
        super().setText(text)
        self._fit()
        if text and _NUMBERS.sub("", text) != _NUMBERS.sub("", before):
            self.retold.emit()

    def _fit(self) -> None:
        room = QRect(0, 0, self.width(), ANY_HEIGHT)
        lines = self.fontMetrics().boundingRect(room, Qt.TextFlag.TextWordWrap, self.text())
        if lines.height() < self.minimumHeight() - self.fontMetrics().height() // 2:
            self.setMinimumHeight(0)  # or Qt counts it, and lays out the window for every text
        self.setMinimumHeight(max(0, self.heightForWidth(self.width())))


class Foldable(QCollapsible):
    """A title that opens and closes what stands below it; `toggled(bool)` says which.

    With `remembered`, the user's last click counts in later sessions.

    The content may grow and shrink while it is open. One that is made late is filled in by a slot of
    `toggled`.
    """

    def __init__(
        self,
        title: str,
        content: QWidget,
        name: str = "",
        *,
        opened: bool = False,
        remembered: bool = False,
    ) -> None:
        super().__init__(title, expandedIcon=_arrow("▼"), collapsedIcon=_arrow("▶"))
        named(self, name)
        self.toggleButton().setStyleSheet(_TITLE_STYLE)
        letters.adopt(self.toggleButton())
        self.setDuration(0)  # at once: what is animated is cut off meanwhile
        # superqt's Maximum would be the height of rows in one line, and these wrap
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        outer, former = self.layout(), self.content()
        if outer is not None:
            outer.removeWidget(former)
            outer.setContentsMargins(0, 0, 0, 0)
            outer.setSpacing(1)
            outer.setAlignment(Qt.AlignmentFlag(0))  # aligned, rows that wrap would be squeezed
        former.deleteLater()
        self.setContent(content)
        self.toggled.connect(self._fit)
        if remembered:
            key = f"folds/{name}"
            opened = preferences.settings().value(key, opened) in (True, "true")
            self.toggleButton().clicked.connect(
                lambda now: preferences.settings().setValue(key, now)
            )
        self.set_open(opened)
        self._fit(opened)

    def eventFilter(self, a0: QObject, a1: QEvent) -> bool:
        """Nothing: superqt would cap the content at a height that is none for rows that wrap."""
        return False

    def text(self) -> str:
        """The title."""
        return letters.plain(super().text())

    def setText(self, text: str) -> None:
        """Another title."""
        super().setText(text)
        letters.look_again(self)

    def set_open(self, wanted: bool) -> None:
        """Open or close."""
        if wanted != self.isExpanded():
            (self.expand if wanted else self.collapse)(animate=False)

    def _fit(self, opened: bool) -> None:
        self.content().setVisible(opened)
        self.content().setMaximumHeight(ANY_HEIGHT)


class SearchableBox(QSearchableComboBox):
    """A choice among many items, found by typing any part of one; Return takes the first that has it.

    Whoever changes the items while signals are blocked calls `show_chosen` after that.
    """

    def __init__(
        self,
        tooltip: str = "",
        slot: Slot | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        ignore_wheel(make_narrow(named(self, name, tooltip)))
        self._line = QLineEdit()
        self.setLineEdit(self._line)
        self.setCompleter(self.completer_object)
        self._line.returnPressed.connect(self._choose_first)
        self._line.editingFinished.connect(self.show_chosen)
        self.currentIndexChanged.connect(self.show_chosen)
        if slot is not None:
            self.currentIndexChanged.connect(slot)

    def add(self, text: str, data: object = None, tooltip: str = "") -> None:
        """Add an item that can be chosen."""
        self.insertItem(self.count(), text, data)
        self.setItemData(self.count() - 1, tooltip, Qt.ItemDataRole.ToolTipRole)

    def add_title(self, text: str) -> None:
        """Add the title of the items that follow; it cannot be chosen."""
        self.add(text)
        model = self.model()
        assert isinstance(model, QStandardItemModel)  # as long as nobody gives another one
        title = model.item(model.rowCount() - 1)
        title.setFlags(Qt.ItemFlag.NoItemFlags)
        font = title.font()
        font.setBold(True)
        title.setFont(font)

    def showPopup(self) -> None:
        """Open the list, its titles in the theme's colour of words: Qt greys what cannot be chosen."""
        words = self.view().palette().brush(QPalette.ColorGroup.Active, QPalette.ColorRole.Text)
        model = self.model()
        assert isinstance(model, QStandardItemModel)
        for row in range(model.rowCount()):
            if not model.item(row).isEnabled():
                model.item(row).setForeground(words)
        super().showPopup()

    def show_chosen(self) -> None:
        """Show the beginning of the chosen item, also in the place of a text that is no item."""
        self.setEditText(self.itemText(self.currentIndex()))
        self._line.setCursorPosition(0)

    def _choose_first(self) -> None:
        typed, model = self._line.text().strip().lower(), self.model()
        for index in range(self.count()):
            can_be_chosen = model.flags(model.index(index, 0)) & Qt.ItemFlag.ItemIsEnabled
            if typed and can_be_chosen and typed in self.itemText(index).lower():
                self.setCurrentIndex(index)
                return


class _WholeNumbers:
    """Of a spin box: never narrower than its longest text, whatever least width a theme gives it."""

    def setRange(self: Any, minimum: Any, maximum: Any) -> None:
        """Other limits, which may be longer."""
        super().setRange(minimum, maximum)  # type: ignore[misc]
        self._fit()

    def changeEvent(self: Any, event: QEvent) -> None:
        """Another style or font."""
        super().changeEvent(event)  # type: ignore[misc]
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._fit()

    def showEvent(self: Any, event: QShowEvent) -> None:
        """The style is known now."""
        super().showEvent(event)  # type: ignore[misc]
        self._fit()

    def _fit(self: Any) -> None:
        option = QStyleOptionSpinBox()
        self.initStyleOption(option)
        control, field = QStyle.ComplexControl.CC_SpinBox, QStyle.SubControl.SC_SpinBoxEditField
        line = self.style().subControlRect(control, option, field, self)
        ends = [self.textFromValue(end) for end in (self.minimum(), self.maximum())]
        texts = [f"{self.prefix()}{end}{self.suffix()}" for end in ends]
        longest = max(self.fontMetrics().horizontalAdvance(text) for text in texts)
        around = option.rect.width() - line.width()
        self.setMinimumWidth(longest + around + _CURSOR_PIXELS)


class SpinBox(_WholeNumbers, QSpinBox):
    """A whole number that is never cut off."""


class DoubleSpinBox(_WholeNumbers, QDoubleSpinBox):
    """A number that is never cut off."""


def swatch(colour: str) -> QIcon:
    """The small square that shows a colour beside a name, with rounded corners."""
    pixmap = QPixmap(QSize(_SWATCH_PIXELS, _SWATCH_PIXELS))
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(colour))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.drawRoundedRect(0, 0, _SWATCH_PIXELS, _SWATCH_PIXELS, 3, 3)
    painter.end()
    return QIcon(pixmap)


def _arrow(letter: str) -> QIcon:
    """An arrow in a grey that is seen on the dark and on the light theme of napari."""
    pixmap = QPixmap(_ARROW_PIXELS, _ARROW_PIXELS)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setPen(QColor(_ARROW_COLOUR))
    painter.drawText(pixmap.rect(), Qt.AlignmentFlag.AlignCenter, letter)
    painter.end()
    return QIcon(pixmap)


def ignore_wheel(widget: Widget) -> Widget:
    """Let a wheel that passes over a field scroll the form instead of changing the field."""
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(_NoWheel(widget))
    return widget


class _WholeText(Guarded, QObject):
    """Asks for room for the text of a combo box; one that has none is shortened, and begins the tooltip."""

    def __init__(self, box: QComboBox, asks: bool) -> None:
        super().__init__(box)
        self._box, self._asks = box, asks
        self._fit = delay(self, 0, self._on_other_text)

    def _on_other_text(self) -> None:
        self._box.setMinimumWidth(self._wanted())

    def _wanted(self) -> int:
        """Pixels; what Qt counts from letters it keeps from the first time."""
        box = self._box
        icon = 0 if box.itemIcon(box.currentIndex()).isNull() else box.iconSize().width() + 4
        words = box.currentText()[:_MOST_LETTERS]
        return box.fontMetrics().horizontalAdvance(words) + icon + _ARROW_ROOM if words else 0

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is not self._box:
            return False
        if event.type() == QEvent.Type.Paint:
            if self._asks and self._box.minimumWidth() != self._wanted():
                self._fit.start()
            if not self._box.isEditable():
                self._paint()
                return True
        if isinstance(watched, QComboBox) and isinstance(event, QHelpEvent):
            text, tip = watched.currentText(), watched.toolTip()
            cut = watched.fontMetrics().horizontalAdvance(text) > watched.width() - _ARROW_ROOM
            if text and cut and event.type() == QEvent.Type.ToolTip:
                QToolTip.showText(event.globalPos(), f"{text}\n{tip}".strip(), watched)
                return True
        return False

    def _paint(self) -> None:
        """As Qt does, but a long text gives way to its short one, or is shortened in its middle.

        What tells names apart is often their end.
        """
        box, option, style = self._box, QStyleOptionComboBox(), self._box.style()
        box.initStyleOption(option)
        place = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, box
        )
        icon = 0 if option.currentIcon.isNull() else option.iconSize.width() + 4
        room = place.width() - icon - 2  # Qt leaves a pixel on either side
        middle, metrics = Qt.TextElideMode.ElideMiddle, box.fontMetrics()
        if metrics.horizontalAdvance(option.currentText) > room:
            option.currentText = box.currentData(SHORT) or option.currentText
        option.currentText = metrics.elidedText(option.currentText, middle, room)
        painter = QStylePainter(box)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()


class _NoWheel(QObject):
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel:
            event.ignore()
            return True
        return False


def _clicked(made: Button, slot: Slot | None) -> Button:
    if slot is not None:
        made.clicked.connect(slot)
    return made
