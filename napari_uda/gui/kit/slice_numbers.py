"""Beside napari's slider stands the number of the slice in its file: one numbering of slices everywhere.

napari counts from the head, the front and the patient's right, and over all layers together; a file may begin at the
feet. So its two numbers make room for those of the image that is seen.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QLabel, QLineEdit

from napari_uda.gui.kit.canvas import window_of
from napari_uda.gui.kit.panel import Guarded, listen

if TYPE_CHECKING:
    from napari.components import ViewerModel

_NAME = "slice_label"  # as napari calls its own; its look and width come with it


class SliceNumbers(Guarded, QObject):
    """The numbers beside the sliders of a window. `typed(text)` is the number of a slice to go to, if it is one."""

    typed = Signal(str)

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._sliders: list[_Slider] | None = None  # found when they are needed
        listen(self, self._on_axes, viewer.dims.events.ndim)

    def show(self, axis: int | None, number: int | None, last: int) -> None:
        """Show a number beside the slider of one axis, and napari's own beside the others.

        Args:
            axis: of the viewer; None for napari's own everywhere.
            number: of the slice in its file; None where that has none.
            last: number of the last one.
        """
        if self._sliders is None:
            window = window_of(self._viewer)
            lines = [] if window is None else window.findChildren(QLineEdit, _NAME)
            self._sliders = [_Slider(line, self) for line in lines if not isinstance(line, _Number)]
        for slider in self._sliders:
            with suppress(RuntimeError):  # napari deletes sliders of axes that are gone
                slider.show(slider.axis == axis, number, last)

    def leave(self) -> None:
        """Show napari's own numbers again."""
        for slider in self._sliders or ():
            slider.leave()
        self._sliders = []

    def _on_axes(self) -> None:
        """Napari has made other sliders."""
        self.leave()
        self._sliders = None


class _Number(QLineEdit):
    """Of the slice that is shown."""


class _Total(QLabel):
    """Of the last slice."""


class _Slider(Guarded, QObject):
    """One slider of napari, with its numbers and ours."""

    def __init__(self, line: QLineEdit, numbers: SliceNumbers) -> None:
        super().__init__(numbers)
        self._numbers = numbers
        self._widget: Any = line.parentWidget()
        labels = self._widget.findChildren(QLabel, _NAME)
        self._theirs = [line, *(one for one in labels if not isinstance(one, _Total))]
        self._number, self._total = self._ours = _Number(), _Total()
        layout: Any = self._widget.layout()
        for ours, theirs in zip(self._ours, self._theirs, strict=True):
            ours.setObjectName(_NAME)
            ours.setFixedWidth(theirs.width())
            ours.hide()
            layout.insertWidget(layout.indexOf(theirs), ours)
        self._number.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._number.setToolTip("Number of the slice in its file, from 0; type another to go there")
        self._total.setToolTip("Number of the last slice in the file")
        self._number.editingFinished.connect(self._on_typed)

    @property
    def axis(self) -> int:
        """Of the viewer; -1 for a slider that napari is about to delete, whose Python side is gone."""
        return int(getattr(self._widget, "axis", -1))

    def show(self, ours: bool, number: int | None, last: int) -> None:
        """Show our numbers, or napari's."""
        if self._number.isHidden() == ours:
            for own, napari in zip(self._ours, self._theirs, strict=True):
                own.setVisible(ours)
                napari.setVisible(not ours)
        if ours:
            if not self._number.isModified():  # else it is being typed into
                self._number.setText("" if number is None else str(number))
            self._total.setText(str(last))

    def leave(self) -> None:
        """Take ours away; napari may have deleted the slider."""
        with suppress(RuntimeError):
            self.show(False, None, 0)
            for one in self._ours:
                one.deleteLater()

    def _on_typed(self) -> None:
        if self._number.isModified():
            self._number.setModified(False)
            self._number.clearFocus()
            self._numbers.typed.emit(self._number.text())
