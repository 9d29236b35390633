"""Offers edits of an earlier session that were never saved: Restore or Discard."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_uda.gui.kit.panel import guarded

if TYPE_CHECKING:
    from napari_uda.gui.score.edit_journal import Leftover


class EditBanner(QFrame):
    """Shows one leftover at a time; emits `restore_pressed(leftover)` and `discard_pressed(leftover)`."""

    restore_pressed = Signal(object)
    discard_pressed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._waiting: list[Leftover] = []
        self.setObjectName("edit_banner")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.restore = QPushButton("Restore")
        self.restore.setObjectName("restore")
        self.restore.setToolTip("Open the labels as they were and as they were edited")
        self.discard = QPushButton("Discard")
        self.discard.setObjectName("discard")
        self.discard.setToolTip("Delete these edits for good")
        buttons = QHBoxLayout()
        buttons.addWidget(self.restore)
        buttons.addWidget(self.discard)
        buttons.addStretch(1)
        outer = QVBoxLayout(self)
        outer.addWidget(self.text)
        outer.addLayout(buttons)
        self.restore.clicked.connect(self._on_restore)
        self.discard.clicked.connect(self._on_discard)
        self.hide()

    def offer(self, leftovers: list[Leftover]) -> None:
        """Show the first of these, the others after it; nothing when there is none."""
        self._waiting = list(leftovers)
        self._show_next()

    def _show_next(self) -> None:
        self.setVisible(bool(self._waiting))
        if self._waiting:
            self.text.setText(_sentence(self._waiting[0], len(self._waiting) - 1))

    @guarded
    def _on_restore(self) -> None:
        leftover = self._waiting.pop(0)
        self._show_next()
        self.restore_pressed.emit(leftover)

    @guarded
    def _on_discard(self) -> None:
        leftover = self._waiting.pop(0)
        self._show_next()
        self.discard_pressed.emit(leftover)


def _sentence(leftover: Leftover, more: int) -> str:
    about = leftover.about
    try:
        begun = f" of {datetime.fromisoformat(about.begun):%d %B %Y, %H:%M}"
    except ValueError:
        begun = ""
    strokes = "1 stroke" if leftover.strokes == 1 else f"{leftover.strokes} strokes"
    rest = f" {more} more after this." if more else ""
    return f"Unsaved edits{begun}: '{about.name}', {strokes}.{rest}"
