"""WindowPanel: presets, width and level of the image in numbers, and the button that lets a drag change them."""

from __future__ import annotations

import math

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.view.window_level import CT_PRESETS, PERCENTILES, Window

DRAG_KEY = "G"
_LARGEST = 1e9


class WindowPanel(QWidget):
    """Knows no viewer.

    Signals: `window_chosen(object)`, a `Window`; `percentiles_chosen(float, float)`;
    `drag_toggled(bool)`.
    """

    window_chosen = Signal(object)
    percentiles_chosen = Signal(float, float)
    drag_toggled = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.presets = QComboBox()
        self.presets.setObjectName("presets")
        self.presets.addItem("Preset…")
        for low, high in PERCENTILES:
            self.presets.addItem(f"MR · {low:g} to {high:g} %", (low, high))
        for name, window in CT_PRESETS.items():
            text = f"CT · {name} ({window.width:g} / {window.level:g})"
            self.presets.addItem(text, window)
        self.presets.setToolTip(
            "MR: black and white are percentiles of the volume.\n"
            "CT: width and level in Hounsfield units."
        )
        self.width_box, self.level_box = QDoubleSpinBox(), QDoubleSpinBox()
        self.width_box.setObjectName("window_width")
        self.width_box.setRange(0, _LARGEST)
        self.width_box.setToolTip("Width: intensities from black to white")
        self.level_box.setObjectName("window_level")
        self.level_box.setRange(-_LARGEST, _LARGEST)
        self.level_box.setToolTip("Level: the intensity in the middle, a medium grey")
        for box in (self.width_box, self.level_box):
            box.setKeyboardTracking(False)  # a number counts once it is typed to its end
        self.drag = QPushButton(f"Drag in the image ({DRAG_KEY})")
        self.drag.setObjectName("window_drag")
        self.drag.setCheckable(True)
        self.drag.setToolTip(
            "While pressed, dragging with the left button changes the window instead of moving the\n"
            "image: to the right wider, downwards darker"
        )
        numbers = QHBoxLayout()
        for text, box in (("W", self.width_box), ("L", self.level_box)):
            numbers.addWidget(QLabel(text))
            numbers.addWidget(box, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.presets)
        layout.addLayout(numbers)
        layout.addWidget(self.drag)
        self.presets.activated.connect(self._on_preset)
        self.width_box.valueChanged.connect(self._on_numbers)
        self.level_box.valueChanged.connect(self._on_numbers)
        self.drag.toggled.connect(self._on_drag)

    def show_window(self, window: Window | None) -> None:
        """Show the numbers of an image without a signal; None disables all."""
        for widget in (self.presets, self.width_box, self.level_box, self.drag):
            widget.setEnabled(window is not None)
        if window is None:
            return
        decimals = 0 if window.width >= 50 else 2 if window.width >= 0.5 else 5
        for box, value in ((self.width_box, window.width), (self.level_box, window.level)):
            if box.hasFocus() and box.value() == round(value, box.decimals()):
                continue
            box.blockSignals(True)
            box.setDecimals(decimals)
            box.setSingleStep(max(window.width / 50, 10.0**-decimals))
            box.setValue(value)
            box.blockSignals(False)

    @guarded
    def _on_preset(self, index: int) -> None:
        chosen = self.presets.itemData(index)
        if isinstance(chosen, Window):
            self.window_chosen.emit(chosen)
        elif chosen is not None:
            self.percentiles_chosen.emit(*chosen)

    @guarded
    def _on_numbers(self) -> None:
        if self.width_box.value() > 0:
            self.window_chosen.emit(Window(self.width_box.value(), self.level_box.value()))

    @guarded
    def _on_drag(self, wanted: bool) -> None:
        self.drag_toggled.emit(wanted)


def window_text(window: Window) -> str:
    """`W 400  L 40`, with as many digits as the width needs."""
    decimals = 0 if window.width >= 50 else 2 if window.width >= 0.5 else 5
    level = window.level + math.copysign(1e-9, window.level)  # a half away from zero, as Qt rounds
    return f"W {window.width:.{decimals}f}  L {level:.{decimals}f}"
