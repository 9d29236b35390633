"""The legend: colour, name and volume of every structure, each with an eye and a solo button."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QWidget,
)

from napari_uda.core.structure_colours import structure_colour
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.kit.widgets import swatch

_BUTTON_PIXELS = 24
_NAME, _VOLUME, _EYE, _SOLO = range(4)


class Legend(QTableWidget):
    """A small table: structure (with its colour), volume in millilitres, eye, solo.

    `hidden_changed()` is emitted when the user hides, shows or singles out a structure;
    `structure_chosen(int)` with a label value when a row is double-clicked.
    """

    hidden_changed = Signal()
    structure_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 4, parent)
        self._names: dict[int, str] = {}
        self._eyes: dict[int, EyeButton] = {}
        self._solos: dict[int, QToolButton] = {}
        self.setObjectName("legend")
        self.setHorizontalHeaderLabels(["Structure", "Volume (mL)", "", ""])
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setShowGrid(False)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(_BUTTON_PIXELS)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(_BUTTON_PIXELS)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(_VOLUME, QHeaderView.ResizeMode.ResizeToContents)
        for column in (_EYE, _SOLO):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(column, _BUTTON_PIXELS + 4)
        self.setToolTip(
            "Structures of the result, in the colours of its layer; double-click shows the largest slice"
        )
        self.cellDoubleClicked.connect(self._on_double_clicked)

    @property
    def hidden(self) -> frozenset[int]:
        """Label values that are not to be seen."""
        alone = {value for value, button in self._solos.items() if button.isChecked()}
        if alone:
            return frozenset(self._names) - alone
        return frozenset(value for value, eye in self._eyes.items() if not eye.isChecked())

    def show_structures(
        self,
        names: Mapping[int, str],
        volumes_ml: Mapping[int, float],
        before_ml: Mapping[int, float] | None = None,
    ) -> None:
        """Fill in; what was hidden stays hidden as long as the structures are the same.

        Args:
            names: label value to structure name.
            volumes_ml: label value to volume in millilitres.
            before_ml: volumes before a change, shown in front of the ones after it.
        """
        if dict(names) != self._names:
            self._make_rows(names)
        for row, value in enumerate(names):
            text = f"{volumes_ml.get(value, 0.0):.1f}"
            if before_ml is not None:
                text = f"{before_ml.get(value, 0.0):.1f} → {text}"
            self.item(row, _VOLUME).setText(text)

    def _make_rows(self, names: Mapping[int, str]) -> None:
        self._names = dict(names)
        self._eyes, self._solos = {}, {}
        self.setRowCount(0)
        self.setRowCount(len(names))
        for row, (value, name) in enumerate(names.items()):
            structure = QTableWidgetItem(swatch(structure_colour(name, value)), name)
            structure.setData(Qt.ItemDataRole.UserRole, value)
            volume = QTableWidgetItem()
            volume.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            eye = EyeButton()
            eye.setObjectName(f"eye_{value}")
            eye.setToolTip(f"Show or hide {name}")
            eye.toggled.connect(self._on_toggled)
            solo = QToolButton()
            solo.setObjectName(f"solo_{value}")
            solo.setText("S")
            solo.setCheckable(True)
            solo.setAutoRaise(True)
            solo.setFixedSize(_BUTTON_PIXELS, _BUTTON_PIXELS - 2)
            solo.setToolTip(f"Solo: show only {name}, and others with their S pressed")
            solo.toggled.connect(self._on_toggled)
            self._eyes[value], self._solos[value] = eye, solo
            self.setItem(row, _NAME, structure)
            self.setItem(row, _VOLUME, volume)
            self.setCellWidget(row, _EYE, eye)
            self.setCellWidget(row, _SOLO, solo)

    @guarded
    def _on_toggled(self) -> None:
        self.hidden_changed.emit()

    @guarded
    def _on_double_clicked(self, row: int) -> None:
        self.structure_chosen.emit(int(self.item(row, _NAME).data(Qt.ItemDataRole.UserRole)))


class EyeButton(QToolButton):
    """An open eye while it is pressed, a crossed one otherwise, drawn in the theme's text colour."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.setAutoRaise(True)
        self.setFixedSize(_BUTTON_PIXELS, _BUTTON_PIXELS - 2)

    def sizeHint(self) -> QSize:
        """A square."""
        return QSize(_BUTTON_PIXELS, _BUTTON_PIXELS - 2)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """The eye."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = self.palette().color(QPalette.ColorRole.WindowText)
        if not self.isChecked():
            colour.setAlphaF(0.4)
        middle = QPointF(self.width() / 2, self.height() / 2)
        painter.setPen(QPen(colour, 1.4))
        painter.drawEllipse(QRectF(middle.x() - 7, middle.y() - 4, 14, 8))
        if self.isChecked():
            painter.setBrush(colour)
            painter.drawEllipse(middle, 2.2, 2.2)
        else:
            painter.drawLine(middle + QPointF(-6, 6), middle + QPointF(6, -6))
        painter.end()
