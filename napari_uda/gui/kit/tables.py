"""Tables in narrow docks: they show the columns there is room for, and come out into a window for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import QEvent, QModelIndex, QObject, QRect, QSize, Qt
from qtpy.QtGui import QFontMetrics
from qtpy.QtWidgets import (
    QDialog,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
)

from napari_uda.gui.kit.layout import column, wrapped
from napari_uda.gui.kit.panel import Guarded, Panel, delay
from napari_uda.gui.kit.widgets import ANY_HEIGHT, SHORT, button, label

_OUT = "In a window"
_WINDOW = 820, 420
_ROOMY = 400  # pixels of a table
_AROUND_TEXT = 26  # swatch and margins of a cell, in pixels
_ENOUGH = 90  # pixels; a long text ends in dots
NAME_PIXELS = 110
"""Of names of structures, at most; a longer word must not take the room of numbers."""


class ShortTexts(QStyledItemDelegate):
    """Shows the text of a cell where there is room for it, else the short one."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Choose between them by the width of the cell."""
        super().initStyleOption(option, index)
        short, needed = index.data(SHORT), self.pixels(option.fontMetrics, option.text)
        if short and needed > option.rect.width() - _AROUND_TEXT:
            option.text = short

    @staticmethod
    def pixels(metrics: QFontMetrics, text: str) -> int:
        """What a text needs at least."""
        return metrics.horizontalAdvance(text)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """In a dock that of the short text, in a window that of all."""
        table = option.widget
        if isinstance(table, QTableWidget) and table.width() >= _ROOMY:
            option.rect = table.rect()  # it has no place yet
        return super().sizeHint(option, index)


class _TextsInLines(ShortTexts):
    """Of a column whose rows are as high as their lines: a text needs no more than its longest word."""

    @staticmethod
    def pixels(metrics: QFontMetrics, text: str) -> int:
        """What the longest word needs."""
        return max(map(metrics.horizontalAdvance, text.split()), default=0)


class TextsInLines(Guarded, QObject):
    """Lets the texts of a column be read whole: long ones break into lines, for which their rows grow."""

    def __init__(self, table: QTableWidget, column: int = 0) -> None:
        super().__init__(table)
        self._table, self._column = table, column
        table.setWordWrap(True)
        table.setItemDelegateForColumn(column, _TextsInLines(table))
        self._wait = delay(self, 0, self._on_change)
        table.horizontalHeader().sectionResized.connect(self._wait.start)
        model = table.model()
        for signal in (model.rowsInserted, model.dataChanged):
            signal.connect(self._wait.start)

    def _on_change(self) -> None:
        least = self._table.verticalHeader().defaultSectionSize()
        for row in range(self._table.rowCount()):
            metrics, text = _words(self._table, row, self._column)
            room = self._table.columnWidth(self._column) - _AROUND_TEXT
            height = least
            if text and _TextsInLines.pixels(metrics, text) <= room:
                place = QRect(0, 0, room, ANY_HEIGHT)
                lines = metrics.boundingRect(place, Qt.TextFlag.TextWordWrap, text)
                height += max(0, lines.height() - metrics.lineSpacing())
            self._table.setRowHeight(row, height)


def _words(table: QTableWidget, row: int, column: int) -> tuple[QFontMetrics, str]:
    """The text of a cell and its letters; none of a heading across several columns."""
    cell = table.item(row, column) or QTableWidgetItem()
    heading = table.columnSpan(row, column) > 1
    font = cell.font().resolve(table.font())
    return QFontMetrics(font), "" if heading else cell.text()


class TablePlace(Panel):
    """A table in its dock, with the button that takes it out into a window; closing that brings it back.

    Attributes:
        table: the table.
        out: the button.
    """

    def __init__(
        self,
        table: QTableWidget,
        title: str,
        order: Sequence[int] = (),
        enough: int = _ENOUGH,
    ) -> None:
        """Build.

        Args:
            table: what is shown.
            title: of the window.
            order: columns from the most to the least important; without it all are always shown.
            enough: pixels of a column that takes the room that is left, if its header needs no more.
        """
        super().__init__()
        self.table = table
        self._title = title
        self._window: QDialog | None = None
        self._highest = ANY_HEIGHT  # of the table in the dock
        self._away = label(f"{title} is in a window of its own; closing that brings it back here.")
        self._away.hide()
        self.out = button(
            _OUT,
            "The table with all its columns, in a window of its own",
            self._on_out,
            "table_out",
        )
        self._place = column((table, 1), (self._away, 1), wrapped(self.out), of=self, margin=0)
        self._fitting = _Fitting(table, order, enough, self._on_fitted) if order else None

    def set_order(self, order: Sequence[int]) -> None:
        """Change which columns are the most important ones; the first one stays."""
        if self._fitting is not None:
            self._fitting.set_order(order)

    def _on_fitted(self, left_out: int) -> None:
        more = f" ({left_out} more)"
        self.out.setText(_OUT + more if left_out and self._window is None else _OUT)

    def _on_out(self) -> None:
        if self._window is not None:
            self._window.raise_()
            self._window.activateWindow()
            return
        self._window = window = QDialog(self)
        window.setObjectName("table_window")
        window.setWindowTitle(self._title)
        window.finished.connect(self._on_back)
        self._highest = self.table.maximumHeight()
        self.table.setMaximumHeight(ANY_HEIGHT)
        column(self.table, of=window)
        self._away.show()
        window.resize(*_WINDOW)
        window.show()

    def _on_back(self) -> None:
        window, self._window = self._window, None
        if window is not None:
            self._place.insertWidget(0, self.table, 1)
            self.table.setMaximumHeight(self._highest)
            self._away.hide()
            window.deleteLater()


class _Fitting(Guarded, QObject):
    """Hides the least important columns of a table that would be cut off."""

    def __init__(
        self,
        table: QTableWidget,
        order: Sequence[int],
        enough: int,
        fitted: Callable[[int], object],
    ) -> None:
        super().__init__(table)
        self._table, self._order, self._enough, self._fitted = table, order, enough, fitted
        self._widths: dict[int, int] = {}
        self._wait = delay(self, 0, self._on_change)
        table.viewport().installEventFilter(self)
        model = table.model()
        for signal in (model.rowsInserted, model.rowsRemoved, model.dataChanged):
            signal.connect(self._wait.start)

    def set_order(self, order: Sequence[int]) -> None:
        """From the most to the least important column."""
        if tuple(order) != tuple(self._order):
            self._order = order
            self._wait.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            self._wait.start()
        return False

    def _on_change(self) -> None:
        table, header = self._table, self._table.horizontalHeader()
        room, left_out = min(table.viewport().width(), header.viewport().width()), 0
        for index in self._order:
            if not table.isColumnHidden(index):  # hidden ones have no width
                hints = table.sizeHintForColumn(index), header.sectionSizeHint(index)
                stretches = header.sectionResizeMode(index) == QHeaderView.ResizeMode.Stretch
                wanted = min(self._least(index, hints[0]), self._enough) if stretches else hints[0]
                self._widths[index] = max(wanted, hints[1], header.minimumSectionSize())
            width = self._widths.get(index, 0)
            hidden = width > room and index != self._order[0]
            room -= 0 if hidden else width
            room = -1 if hidden else room  # no less important one slips in behind it
            left_out += hidden
            if table.isColumnHidden(index) != hidden:
                table.setColumnHidden(index, hidden)
        self._fitted(left_out)

    def _least(self, index: int, whole: int) -> int:
        """Pixels of a column that takes the room that is left: of its longest word where texts break into lines."""
        if not isinstance(self._table.itemDelegateForColumn(index), _TextsInLines):
            return whole
        texts = [_words(self._table, row, index) for row in range(self._table.rowCount())]
        return max((_TextsInLines.pixels(*text) for text in texts), default=0) + _AROUND_TEXT
