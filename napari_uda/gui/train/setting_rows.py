"""Parts of a form of settings: a row with room for one sentence, and a group that opens and closes."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_uda.gui.kit.layout import form, show_row
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.setting_fields import FieldEditor

WARNING = "⚠ "
"""What a sentence on a problem begins with."""


class SettingRow:
    """A setting in a form: its name, its editor, and below both one sentence when it does not fit."""

    def __init__(self, layout: QFormLayout, title: str, editor: FieldEditor) -> None:
        self.editor = editor
        self.label = QLabel(title)
        self.label.setBuddy(editor)
        self._layout = layout
        self._sentence: QLabel | None = None
        layout.addRow(self.label, editor)

    @property
    def sentence(self) -> str:
        """The problem shown, "" without one."""
        return "" if self._sentence is None else self._sentence.text().removeprefix(WARNING)

    def show_state(self, problem: str, tooltip: str, *, changed: bool) -> None:
        """Say what is wrong ("" for nothing) and, in bold, whether the preset has another value."""
        self.label.setToolTip(tooltip)
        self.editor.setToolTip(tooltip)
        font = self.label.font()
        if font.bold() != changed:
            font.setBold(changed)
            self.label.setFont(font)
        if self._sentence is None and problem:
            self._sentence = QLabel()
            self._sentence.setObjectName(f"problem_{self.editor.objectName()}")
            self._sentence.setWordWrap(True)
            row, _ = self._layout.getWidgetPosition(self.editor)
            self._layout.insertRow(row + 1, self._sentence)
        if self._sentence is not None:
            self._sentence.setText(WARNING + problem if problem else "")
            self._sentence.setVisible(bool(problem) and not self.editor.isHidden())

    def set_visible(self, visible: bool) -> None:
        """Show or hide the row, its sentence with it."""
        show_row(self._layout, self.editor, visible)
        if self._sentence is not None:
            self._sentence.setVisible(visible and bool(self.sentence))


class SettingGroup(QWidget):
    """A group of settings that opens and closes; its editors are made when it first opens."""

    opened = Signal(object)

    def __init__(self, title: str) -> None:
        super().__init__()
        self.paths: list[str] = []
        self._title = title
        self._form: QFormLayout | None = None
        self.header = disclosure(title)
        self.header.toggled.connect(self._on_toggled)
        self._body = QWidget()
        self._body.setVisible(False)
        self._sentence = QLabel()
        self._sentence.setObjectName("problem_group")
        self._sentence.setWordWrap(True)
        self._sentence.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        layout.addWidget(self.header)
        layout.addWidget(self._sentence)
        layout.addWidget(self._body)

    def form(self) -> QFormLayout:
        """Where the rows go."""
        if self._form is None:
            self._form = form(of=self._body)
            self._form.setContentsMargins(14, 2, 0, 6)
        return self._form

    def set_open(self, wanted: bool) -> None:
        """Open or close."""
        self.header.setChecked(wanted)

    def set_warning(self, wanted: bool) -> None:
        """Mark the header: one of the settings does not fit."""
        self.header.setText(WARNING + self._title if wanted else self._title)

    def set_sentence(self, sentence: str) -> None:
        """What is wrong with the group as a whole, "" for nothing."""
        self._sentence.setText(WARNING + sentence if sentence else "")
        self._sentence.setVisible(bool(sentence))

    @guarded
    def _on_toggled(self, opened: bool) -> None:
        if opened:
            self.opened.emit(self)
        self._body.setVisible(opened)


def disclosure(title: str) -> QToolButton:
    """A button that opens what stands below it; its arrow follows."""
    button = QToolButton()
    button.setText(title)
    button.setCheckable(True)
    button.setAutoRaise(True)
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    button.setArrowType(_arrow(False))
    button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    button.toggled.connect(lambda opened: button.setArrowType(_arrow(opened)))
    return button


def _arrow(opened: bool) -> Qt.ArrowType:
    return Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow
