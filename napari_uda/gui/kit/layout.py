"""Where widgets stand: rows, columns, forms, and parts that lie or stand with the shape of their dock."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

from qtpy.QtCore import QEvent, QObject, QRect, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QBoxLayout,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLayout,
    QLayoutItem,
    QScrollArea,
    QScrollBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.kit.letters import Title
from napari_uda.gui.kit.panel import Guarded, Panel, delay
from napari_uda.gui.kit.widgets import TallLabel

Part = QWidget | QLayout
_LYING = 1.3  # width over height from which a widget lies
_CHANGES = (QEvent.Type.Resize, QEvent.Type.Show, QEvent.Type.Paint)
_LEAST_PIXELS = 80  # of controls that scroll


def row(
    *parts: Part | tuple[Part, int] | EllipsisType,
    of: QWidget | None = None,
    margin: int | None = None,
) -> QHBoxLayout:
    """Parts side by side.

    Args:
        parts: widgets and layouts, `(part, stretch)` for those that share the room, `...` for empty room.
        of: the widget that is laid out; none when the row is a part of something else.
        margin: pixels around.
    """
    made = QHBoxLayout() if of is None else QHBoxLayout(of)
    _fill(made, parts, margin)
    return made


def wrapped(*parts: QWidget | tuple[QWidget, int], spacing: int = 6) -> WrappedRow:
    """Widgets side by side as far as there is room, and the others in lines below.

    Args:
        parts: widgets, `(widget, stretch)` for those that share the room that their line leaves.
        spacing: pixels between.
    """
    made = WrappedRow(spacing)
    for given in parts:
        part, stretch = given if isinstance(given, tuple) else (given, 0)
        made.add(part, stretch)
    return made


def column(
    *parts: Part | tuple[Part, int] | EllipsisType,
    of: QWidget | None = None,
    margin: int | None = None,
    spacing: int | None = None,
) -> QVBoxLayout:
    """Parts below each other; see `row`."""
    made = QVBoxLayout() if of is None else QVBoxLayout(of)
    _fill(made, parts, margin, spacing)
    return made


def form(*rows: tuple[str | QWidget, Part], of: QWidget | None = None) -> QFormLayout:
    """Titles with their fields; a long title stands above its field when there is no room beside it."""
    made = QFormLayout() if of is None else QFormLayout(of)
    made.setContentsMargins(0, 0, 0, 0)
    made.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    made.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    made.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    made.setVerticalSpacing(4)
    for title, field in rows:
        add_row(made, title, field)
    return made


def add_row(layout: QFormLayout, title: str | QWidget, field: Part) -> None:
    """Add a title and its field to a form."""
    if isinstance(title, str):
        widgets = [field] if isinstance(field, QWidget) else _widgets_of(field)
        title = Title(title)
        for one in widgets[:1]:
            title.setBuddy(one)
    # Qt has an overload for each kind, and none for "one or the other"
    if isinstance(field, QWidget):
        layout.addRow(title, field)
    else:
        layout.addRow(title, field)


def _widgets_of(layout: QLayout) -> list[QWidget]:
    items = (layout.itemAt(index) for index in range(layout.count()))
    return [one for one in (item.widget() for item in items if item is not None) if one is not None]


def show_row(layout: QFormLayout, field: QWidget, visible: bool) -> None:
    """Show or hide a field with its title; Qt 5 has no call for it."""
    for widget in (layout.labelForField(field), field):
        if widget is not None:
            widget.setVisible(visible)


def _fill(
    layout: QBoxLayout,
    parts: tuple[Part | tuple[Part, int] | EllipsisType, ...],
    margin: int | None,
    spacing: int | None = None,
) -> None:
    if margin is not None:
        layout.setContentsMargins(margin, margin, margin, margin)
    if spacing is not None:
        layout.setSpacing(spacing)
    for given in parts:
        if isinstance(given, EllipsisType):
            layout.addStretch(1)
            continue
        part, stretch = given if isinstance(given, tuple) else (given, 0)
        if isinstance(part, QWidget):
            layout.addWidget(part, stretch)
        else:
            layout.addLayout(part, stretch)


class WrappedRow(Guarded, QLayout):
    """A row that breaks into lines, so that a narrow dock cuts nothing off."""

    _width = _height = 0  # laid out for, and taken; Qt asks before all is made

    def __init__(self, spacing: int) -> None:
        super().__init__()
        self._items: list[QLayoutItem] = []
        self._shares: list[int] = []
        self._gap = spacing
        self.setContentsMargins(0, 0, 0, 0)

    def add(self, part: QWidget, share: int = 0) -> None:
        """Add a widget; `share` is its part of the room that its line leaves."""
        self._shares.append(share)
        self.addWidget(part)

    def addItem(self, item: QLayoutItem) -> None:
        """For Qt."""
        self._items.append(item)

    def count(self) -> int:
        """For Qt."""
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:  # type: ignore[override]
        """For Qt, which asks until there is none."""
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:  # type: ignore[override]
        """For Qt, which asks until there is none."""
        if not 0 <= index < len(self._items):
            return None
        del self._shares[index]
        return self._items.pop(index)

    def expandingDirections(self) -> Any:
        """It is as wide as there is room, and as high as it needs."""
        return Qt.Orientation.Horizontal

    def hasHeightForWidth(self) -> bool:
        """A narrow one has more lines."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Pixels that all lines take."""
        return self._place(QRect(0, 0, width, 0), move=False)

    def sizeHint(self) -> QSize:
        """In one line."""
        shown = [item.sizeHint() for item in self._items if not item.isEmpty()]
        gaps = self._gap * max(0, len(shown) - 1)
        height = max((one.height() for one in shown), default=0)
        return QSize(sum(one.width() for one in shown) + gaps, height)

    def minimumSize(self) -> QSize:
        """With a widget in each line."""
        least = QSize()
        for item in self._items:
            if not item.isEmpty():
                least = least.expandedTo(item.minimumSize())
        if self._width:  # splitters and docks do not ask for the height at a width
            least.setHeight(max(least.height(), self.heightForWidth(self._width)))
        return least

    def setGeometry(self, place: QRect) -> None:
        """Lay out."""
        super().setGeometry(place)
        self._height = self._place(place, move=True)
        if place.width() != self._width:
            self._width = place.width()
            QTimer.singleShot(0, self._on_wider)

    def invalidate(self) -> None:
        """A part became wider or narrower: with more lines or fewer, what is below moves."""
        super().invalidate()
        if self._width and self.heightForWidth(self._width) != self._height:
            QTimer.singleShot(0, self._on_wider)

    def _on_wider(self) -> None:
        self.update()

    def _place(self, place: QRect, *, move: bool) -> int:
        """Lay out or only measure; the height of all lines."""
        lines: list[list[int]] = []
        used = 0
        for index, item in enumerate(self._items):
            if item.isEmpty():
                continue
            width = item.minimumSize().width()
            if not lines or used + self._gap + width > place.width():
                lines.append([])
                used = -self._gap
            lines[-1].append(index)
            used += self._gap + width
        if len(lines) > 1 and len(lines[-1]) == 1 and len(lines[-2]) > 1:
            alone, other = lines[-1][0], lines[-2][-1]
            both = sum(self._items[one].minimumSize().width() for one in (alone, other))
            if not self._shares[alone] and both + self._gap <= place.width():
                lines[-1].insert(0, lines[-2].pop())  # nothing small stands alone
        top = place.top()
        for line in lines:
            top += self._place_line(line, place, top, move=move) + self._gap
        return max(0, top - self._gap - place.top())

    def _place_line(self, line: list[int], place: QRect, top: int, *, move: bool) -> int:
        items = [self._items[index] for index in line]
        shares = [self._shares[index] for index in line]
        widths = [item.minimumSize().width() for item in items]
        spare = place.width() - sum(widths) - self._gap * (len(line) - 1)
        total: int = sum(shares)
        if spare > 0 and total:
            given = (spare * share // total for share in shares)
            widths = [width + more for width, more in zip(widths, given, strict=True)]
        pairs = list(zip(items, widths, strict=True))
        height = max(
            item.heightForWidth(width) if item.hasHeightForWidth() else item.sizeHint().height()
            for item, width in pairs
        )
        left = place.left()
        for item, width in pairs:
            if move:
                item.setGeometry(QRect(left, top, width, height))
            left += width + self._gap
        return height


class LongerSide(Guarded, QObject):
    """Watches the shape of a widget while it is seen. `turned(bool)` says that it lies from now on, or stands.

    A widget stands until it is told otherwise. The shapes of one that is hidden mean nothing: napari
    squeezes the docks of a side when one more joins them, and behind a tab they keep that shape; laid out
    for it, they would hold the whole side as wide as a bottom dock.
    """

    turned = Signal(bool)

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._lies = False
        self._timer = delay(self, 0, self._on_rest)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look at the shape once what changes it has come to rest."""
        if event.type() in _CHANGES and self._is_lying() != self._lies:
            self._timer.start()
        return False

    def _is_lying(self) -> bool:
        return self._widget.width() > _LYING * self._widget.height()

    def _on_rest(self) -> None:
        lies = self._is_lying()
        if lies != self._lies and not self._widget.visibleRegion().isEmpty():
            self._lies = lies
            self.turned.emit(lies)


class TwoParts(Panel):
    """Lays two widgets along its longer side. `turned(bool)` says whether they lie side by side now.

    Args:
        controls: scroll where there is no room.
        results: the other part.
        told: a label among the controls; see `Scrolling`.
    """

    turned = Signal(bool)

    def __init__(self, controls: QWidget, results: QWidget, told: TallLabel | None = None) -> None:
        super().__init__()
        # napari pushes what does not expand to the top of a side dock
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._outer = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self._outer.setContentsMargins(0, 0, 0, 0)
        self._outer.addWidget(Scrolling(controls, told), 0)
        self._outer.addWidget(results, 1)
        LongerSide(self).turned.connect(self._on_turned)

    def _on_turned(self, wide: bool) -> None:
        ways = QBoxLayout.Direction
        self._outer.setDirection(ways.LeftToRight if wide else ways.TopToBottom)
        self.turned.emit(wide)


class Scrolling(Guarded, QScrollArea):
    """Shows a widget as tall as it is where there is room, and scrolls it where there is not.

    Args:
        content: the widget.
        told: a label in it; once it has other words it stays in sight, whatever grows, until the user scrolls.
    """

    def __init__(self, content: QWidget, told: TallLabel | None = None) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._content, self._bar = content, QScrollBar()
        self._wanted: tuple[QSize, QSize] | None = None
        self._told, self._stays, self._is_fitting = told, False, False
        self._sight = delay(self, 0, self._on_rest)
        self.setVerticalScrollBar(self._bar)
        self.setWidget(content)
        content.installEventFilter(self)
        self._bar.actionTriggered.connect(self._on_scrolled)
        if told is not None:
            told.retold.connect(self._on_told)

    def sizeHint(self) -> QSize:
        """The content's, at the width there is."""
        content = self._content
        hint = content.sizeHint()
        if content.hasHeightForWidth():
            width = self.width() if self.isVisible() else max(self.width(), hint.width())
            hint.setHeight(self._height_at(width))
        frame = 2 * self.frameWidth()
        return hint + QSize(self._bar.sizeHint().width() + frame, frame)

    def minimumSizeHint(self) -> QSize:
        """Wide enough never to scroll sideways."""
        bar = self._bar.sizeHint().width()
        return QSize(self._content.minimumSizeHint().width() + bar, _LEAST_PIXELS)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Lines are broken elsewhere at another width."""
        super().resizeEvent(event)
        self._show_bar_if_needed()
        if self._stays:
            self._sight.start()
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Ask for another height when the content needs one."""
        if event.type() == QEvent.Type.LayoutRequest:
            self._show_bar_if_needed()
            wanted = self.sizeHint(), self.minimumSizeHint()
            if wanted != self._wanted:  # else the whole window is laid out anew for another text
                self._wanted = wanted
                self.updateGeometry()
        if self._stays and event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
            self._sight.start()
        if self._is_fitting:  # words that are shorter for want of room would change it without end
            return False
        self._is_fitting = True
        try:
            return super().eventFilter(watched, event)  # which makes the content higher
        finally:
            self._is_fitting = False

    def _on_told(self) -> None:
        self._stays = True
        self._sight.start()

    def _on_scrolled(self) -> None:
        self._stays = False

    def _on_rest(self) -> None:
        if self._told is None or not (self._told.text() and self._told.isVisible()):
            self._stays = False
        else:
            self.ensureWidgetVisible(self._told, 0, 0)

    def _height_at(self, width: int) -> int:
        """Pixels the content needs; below its minimum it would scroll by a few of them."""
        content = self._content
        height = content.heightForWidth(width) if content.hasHeightForWidth() else 0
        return max(height, content.minimumSizeHint().height())

    def _show_bar_if_needed(self) -> None:
        """Qt 6 keeps a bar for which alone there is not enough room: beside it lines are broken earlier."""
        policy = Qt.ScrollBarPolicy
        fits = self._height_at(self.width()) <= self.height()
        wanted = policy.ScrollBarAlwaysOff if fits else policy.ScrollBarAsNeeded
        if self.verticalScrollBarPolicy() != wanted:
            self.setVerticalScrollBarPolicy(wanted)
