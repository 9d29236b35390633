"""Where widgets stand: rows, columns, forms, and parts that lie or stand with the shape of their dock."""

from __future__ import annotations

from types import EllipsisType

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QBoxLayout,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLayout,
    QScrollArea,
    QScrollBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.kit.panel import Guarded, Panel, delay

Part = QWidget | QLayout
_LYING = 1.3  # width over height from which a widget lies
_CHANGES = (QEvent.Type.Resize, QEvent.Type.Show, QEvent.Type.Paint)
_LEAST_PIXELS = 80  # of controls that scroll


def row(
    *parts: Part | tuple[Part, int] | EllipsisType,
    of: QWidget | None = None,
    margin: int | None = None,
    spacing: int | None = None,
) -> QHBoxLayout:
    """Parts side by side.

    Args:
        parts: widgets and layouts, `(part, stretch)` for those that share the room, `...` for empty room.
        of: the widget that is laid out; none when the row is a part of something else.
        margin: pixels around.
        spacing: pixels between.
    """
    made = QHBoxLayout() if of is None else QHBoxLayout(of)
    _fill(made, parts, margin, spacing)
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


def form(
    *rows: tuple[str | QWidget, Part], of: QWidget | None = None, margin: int = 0
) -> QFormLayout:
    """Titles with their fields; a long title stands above its field when there is no room beside it."""
    made = QFormLayout() if of is None else QFormLayout(of)
    made.setContentsMargins(margin, margin, margin, margin)
    made.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    made.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    made.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    made.setVerticalSpacing(4)
    for title, field in rows:
        add_row(made, title, field)
    return made


def add_row(layout: QFormLayout, title: str | QWidget, field: Part) -> None:
    """Add a title and its field to a form."""
    # Qt has an overload for each pair of kinds, and none for "one or the other"
    if isinstance(title, str):
        if isinstance(field, QWidget):
            layout.addRow(title, field)
        else:
            layout.addRow(title, field)
    elif isinstance(field, QWidget):
        layout.addRow(title, field)
    else:
        layout.addRow(title, field)


def show_row(layout: QFormLayout, field: QWidget, visible: bool) -> None:
    """Show or hide a field with its title; Qt 5 has no call for it."""
    for widget in (layout.labelForField(field), field):
        if widget is not None:
            widget.setVisible(visible)


def _fill(
    layout: QBoxLayout,
    parts: tuple[Part | tuple[Part, int] | EllipsisType, ...],
    margin: int | None,
    spacing: int | None,
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
    """Lays two widgets along its longer side. `turned(bool)` says whether they lie side by side now."""

    turned = Signal(bool)

    def __init__(self, controls: QWidget, results: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        # napari pushes what does not expand to the top of a side dock
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._outer = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self._outer.setContentsMargins(0, 0, 0, 0)
        self._outer.addWidget(Scrolling(controls), 0)
        self._outer.addWidget(results, 1)
        LongerSide(self).turned.connect(self._on_turned)

    def _on_turned(self, wide: bool) -> None:
        ways = QBoxLayout.Direction
        self._outer.setDirection(ways.LeftToRight if wide else ways.TopToBottom)
        self.turned.emit(wide)


class Scrolling(QScrollArea):
    """Shows a widget as tall as it is where there is room, and scrolls it where there is not."""

    def __init__(self, content: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._content, self._bar = content, QScrollBar()
        self.setVerticalScrollBar(self._bar)
        self.setWidget(content)
        content.installEventFilter(self)

    def sizeHint(self) -> QSize:
        """The content's, at the width there is."""
        content = self._content
        hint = content.sizeHint()
        if content.hasHeightForWidth():
            height = content.heightForWidth(max(self.viewport().width(), hint.width()))
            # below its minimum the content would scroll by a few pixels
            hint.setHeight(max(height, content.minimumSizeHint().height()))
        frame = 2 * self.frameWidth()
        return hint + QSize(self._bar.sizeHint().width() + frame, frame)

    def minimumSizeHint(self) -> QSize:
        """Wide enough never to scroll sideways."""
        bar = self._bar.sizeHint().width()
        return QSize(self._content.minimumSizeHint().width() + bar, _LEAST_PIXELS)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Ask for another height when the content needs one."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return False
