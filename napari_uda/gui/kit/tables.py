"""Tables in narrow docks: they show the columns there is room for, and come out into a window for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import QEvent, QModelIndex, QObject, QSize, Qt
from qtpy.QtWidgets import (
    QDialog,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
)

from napari_uda.gui.kit.layout import column, wrapped
from napari_uda.gui.kit.panel import Guarded, Panel, delay
from napari_uda.gui.kit.widgets import ANY_HEIGHT, button, label

_OUT = "In a window"
_WINDOW = 820, 420
_ROOMY = 400  # pixels of a table
_AROUND_TEXT = 28  # swatch and margins of a cell, in pixels
SHORT, LONG = Qt.ItemDataRole.UserRole + 1, Qt.ItemDataRole.UserRole + 2
"""Roles of a cell: its text in fewer letters, and in more; see `ShortTexts`."""
_ENOUGH = 90  # pixels; a long text ends in dots


class ShortTexts(QStyledItemDelegate):
    """Shows the long text of a cell where there is room for it, else the short one."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Choose between them by the width of the cell."""
        super().initStyleOption(option, index)
        long, short = index.data(LONG) or option.text, index.data(SHORT) or option.text
        room = option.rect.width() - _AROUND_TEXT
        option.text = long if option.fontMetrics.horizontalAdvance(long) <= room else short

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """In a dock that of the short text, in a window that of all."""
        table = option.widget
        if isinstance(table, QTableWidget) and table.width() >= _ROOMY:
            option.rect = table.rect()  # it has no place yet
        return super().sizeHint(option, index)


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

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            self._wait.start()
        return False

    def _on_change(self) -> None:
        table, header = self._table, self._table.horizontalHeader()
        room, left_out = table.viewport().width(), 0
        for index in self._order:
            if not table.isColumnHidden(index):  # hidden ones have no width
                hints = table.sizeHintForColumn(index), header.sectionSizeHint(index)
                stretches = header.sectionResizeMode(index) == QHeaderView.ResizeMode.Stretch
                wanted = min(hints[0], self._enough) if stretches else hints[0]
                self._widths[index] = max(wanted, hints[1])
            width = self._widths.get(index, 0)
            hidden = width > room and index != self._order[0]
            room -= 0 if hidden else width
            room = -1 if hidden else room  # no less important one slips in behind it
            left_out += hidden
            if table.isColumnHidden(index) != hidden:
                table.setColumnHidden(index, hidden)
        self._fitted(left_out)
