"""StructurePanel: the legend, and how structures are drawn: outlines and opacity of all of them."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.segment.legend import Legend

_FIRST_OPACITY = 55
OUTLINE_KEY = "H"  # as in hollow; napari and its layers leave it free


class StructurePanel(QWidget):
    """Knows no viewer. `look_changed()` says that what is hidden, outlines or opacity changed."""

    look_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._opacity_chosen = False
        self.legend = Legend()
        self.outlines = QCheckBox(f"Outlines ({OUTLINE_KEY})")
        self.outlines.setObjectName("outlines")
        self.outlines.setToolTip("Draw predictions as outlines, so that the image inside is seen")
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setObjectName("opacity")
        self.opacity.setRange(0, 100)
        self.opacity.setValue(_FIRST_OPACITY)
        self.opacity.setToolTip("Opacity of all predictions and references, in percent")
        row = QHBoxLayout()
        row.addWidget(self.outlines)
        row.addWidget(QLabel("Opacity"))
        row.addWidget(self.opacity, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.legend, 1)
        layout.addLayout(row)
        self.legend.hidden_changed.connect(self._on_changed)
        self.outlines.toggled.connect(self._on_changed)
        self.opacity.valueChanged.connect(self._on_opacity)

    @property
    def chosen_opacity(self) -> float | None:
        """Opacity in [0, 1]; None until the user chose one: layers keep their own."""
        return self.opacity.value() / 100 if self._opacity_chosen else None

    @guarded
    def _on_changed(self) -> None:
        self.look_changed.emit()

    @guarded
    def _on_opacity(self) -> None:
        self._opacity_chosen = True
        self.look_changed.emit()
