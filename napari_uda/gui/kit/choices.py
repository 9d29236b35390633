"""What is chosen in a dock, by the names of its widgets: to be kept in a session, and chosen again."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QCheckBox,
    QComboBox,
    QTabWidget,
    QToolButton,
    QWidget,
)

from napari_uda.gui.kit.dock import Dock
from napari_uda.gui.kit.layer_chooser import LayerChooser

Choice = bool | int | str | list[str]
LATER = "chosen_later"
"""Property of a combo box: the text to choose once it is offered."""


def choices(dock: Dock) -> dict[str, Choice]:
    """State of the widgets that the dock wants to be kept; what is not there or empty is left out."""
    found = {name: _state(dock.findChild(QWidget, name)) for name in dock.kept}
    return {name: state for name, state in found.items() if state is not None}


def choose(dock: Dock, wanted: Mapping[str, Choice]) -> None:
    """Choose the same again, as far as it is offered; in the order of `dock.kept`."""
    for name in dock.kept:
        widget = dock.findChild(QWidget, name)
        if widget is not None and name in wanted and _state(widget) != wanted[name]:
            _set(widget, wanted[name])


def _state(widget: QWidget | None) -> Choice | None:
    if isinstance(widget, LayerChooser):
        return None if widget.layer is None else str(widget.layer.name)
    if isinstance(widget, QComboBox):
        return widget.currentText() or None
    if isinstance(widget, QTabWidget):
        return widget.tabText(widget.currentIndex())
    if isinstance(widget, QToolButton) and widget.menu() is not None:
        return [action.text() for action in _offered(widget) if action.isChecked()]
    if isinstance(widget, QAbstractButton):
        return widget.isChecked()
    return widget.value() if isinstance(widget, QAbstractSlider) else None


def _offered(button: QToolButton) -> list[QAction]:
    """What can be ticked in the menu of a button, which is filled when it opens."""
    menu = button.menu()
    menu.aboutToShow.emit()
    return [action for action in menu.actions() if action.isCheckable()]


def _set(widget: QWidget, wanted: Choice) -> None:
    if isinstance(widget, LayerChooser):
        layers = [widget.itemData(index) for index in range(widget.count())]
        same = next((one for one in layers if one is not None and one.name == wanted), None)
        if same is not None:
            widget.choose(same)
    elif isinstance(widget, QComboBox):
        index = widget.findText(str(wanted))
        if index >= 0:
            widget.setCurrentIndex(index)
            widget.activated.emit(index)
        else:
            widget.setProperty(LATER, str(wanted))
    elif isinstance(widget, QTabWidget):
        titles = [widget.tabText(index) for index in range(widget.count())]
        if wanted in titles:
            widget.setCurrentIndex(titles.index(str(wanted)))
    elif isinstance(widget, QCheckBox):  # also one that waits for something to be made
        widget.setChecked(bool(wanted))
    elif isinstance(widget, QToolButton) and isinstance(wanted, list):
        for action in _offered(widget):
            action.setChecked(action.text() in wanted)
    elif isinstance(widget, QAbstractButton):
        if widget.isEnabled():
            widget.click()
    elif isinstance(widget, QAbstractSlider) and isinstance(wanted, int):
        widget.setValue(wanted)
