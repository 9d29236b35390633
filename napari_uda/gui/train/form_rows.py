"""Rows of a form that stay readable in a narrow dock, and that can be hidden one by one."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QWidget


def form_layout(parent: QWidget | None = None) -> QFormLayout:
    """A form without margins whose long names stand above their fields when there is no room beside."""
    layout = QFormLayout() if parent is None else QFormLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    layout.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    layout.setVerticalSpacing(4)
    return layout


def show_row(layout: QFormLayout, field: QWidget, visible: bool) -> None:
    """Show or hide a field with its name; Qt 5 has no call for it."""
    label = layout.labelForField(field)
    for widget in (label, field):
        if widget is not None:
            widget.setVisible(visible)
