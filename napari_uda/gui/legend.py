"""The legend: colour, name and volume of every structure."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_uda.colours import structure_colour

_SWATCH_PIXELS = 14


class Legend(QTableWidget):
    """A small table: structure (with its colour) and volume in millilitres."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 2, parent)
        self.setObjectName("legend")
        self.setHorizontalHeaderLabels(["Structure", "Volume (mL)"])
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setShowGrid(False)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(24)
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.setToolTip("Structures of the last segmentation, in the colours of its layer")

    def show_structures(
        self,
        names: Mapping[int, str],
        volumes_ml: Mapping[int, float],
        before_ml: Mapping[int, float] | None = None,
    ) -> None:
        """Fill in.

        Args:
            names: label value to structure name.
            volumes_ml: label value to volume in millilitres.
            before_ml: volumes before a change, shown in front of the ones after it.
        """
        self.setRowCount(len(names))
        for row, (value, name) in enumerate(names.items()):
            structure = QTableWidgetItem(swatch(structure_colour(name, value)), name)
            structure.setData(Qt.ItemDataRole.UserRole, value)
            text = f"{volumes_ml.get(value, 0.0):.1f}"
            if before_ml is not None:
                text = f"{before_ml.get(value, 0.0):.1f} → {text}"
            volume = QTableWidgetItem(text)
            volume.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.setItem(row, 0, structure)
            self.setItem(row, 1, volume)


def swatch(colour: str) -> QIcon:
    """A filled square with rounded corners."""
    pixmap = QPixmap(_SWATCH_PIXELS, _SWATCH_PIXELS)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(colour))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.drawRoundedRect(0, 0, _SWATCH_PIXELS, _SWATCH_PIXELS, 3, 3)
    painter.end()
    return QIcon(pixmap)
