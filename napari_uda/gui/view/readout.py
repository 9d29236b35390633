"""Readout: what lies under the cursor, in words that keep their place."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

from napari_uda.gui.view.cursor_reading import Reading

_DASH = "–"
_ROWS = ("Voxel (x, y, z)", "Position (mm)", "Intensity", "Structure", "Entropy")
_SIDES = (("R", "L"), ("A", "P"), ("S", "I"))


class Readout(QWidget):
    """Five lines; knows no viewer."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(2)
        self._values = {title: QLabel() for title in _ROWS}
        for title, value in self._values.items():
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            value.setMinimumWidth(120)
            form.addRow(title, value)
        self._values["Structure"].setWordWrap(True)
        self.show_reading(None)

    @property
    def texts(self) -> dict[str, str]:
        """Title to what is shown."""
        return {title: value.text() for title, value in self._values.items()}

    def show_reading(self, reading: Reading | None) -> None:
        """Show a reading; None outside of the image."""
        texts = dict.fromkeys(_ROWS, _DASH)
        if reading is not None:
            texts |= {
                "Voxel (x, y, z)": ", ".join(map(str, reading.voxel)),
                "Position (mm)": position_text(reading.position_mm),
                "Intensity": f"{reading.intensity:.5g}",
                "Structure": _structures(reading.structures),
                "Entropy": _DASH if reading.entropy is None else f"{reading.entropy:.3f}",
            }
        for title, text in texts.items():
            self._values[title].setText(text)


def position_text(position_mm: tuple[float, float, float]) -> str:
    """Millimetres with the side of the patient instead of a sign."""
    parts = zip(position_mm, _SIDES, strict=True)
    return "  ".join(
        f"{plus if value >= 0 else minus} {abs(value):.1f}" for value, (plus, minus) in parts
    )


def _structures(structures: dict[str, str]) -> str:
    """One name if all layers agree, else each with its layer."""
    names = set(structures.values())
    if not names:
        return _DASH
    if len(names) == 1:
        return names.pop()
    return "\n".join(f"{name} ({layer})" for layer, name in structures.items())
