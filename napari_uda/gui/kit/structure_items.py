"""How structures are called in tables and boxes: in full, with their colour; the name in files is in the tooltip."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QTableWidgetItem

from napari_uda.core.structure_colours import full_name, structure_colour
from napari_uda.gui.kit.widgets import SHORT, swatch


def structure_cell(name: str, value: int, more: str = "") -> QTableWidgetItem:
    """A cell with a structure, which knows its label value.

    Args:
        name: as files have it.
        value: its label.
        more: what the tooltip says besides.
    """
    cell = QTableWidgetItem(swatch(structure_colour(name, value)), full_name(name))
    cell.setData(SHORT, name)
    cell.setData(Qt.ItemDataRole.UserRole, value)
    cell.setToolTip(f"{_about(name, value)}{more}")
    return cell


def add_structure(box: QComboBox, name: str, value: int, data: object) -> None:
    """Add a structure to a box; where its full name has no room, the name in files stands there."""
    box.addItem(swatch(structure_colour(name, value)), full_name(name), data)
    place = box.count() - 1
    box.setItemData(place, name, SHORT)
    box.setItemData(place, _about(name, value), Qt.ItemDataRole.ToolTipRole)


def _about(name: str, value: int) -> str:
    return f"{full_name(name)}: {name} in files, label value {value}"
