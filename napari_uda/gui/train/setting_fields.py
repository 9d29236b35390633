"""One editor for each kind of setting: numbers, choices, switches, texts, paths, pairs, mappings.

An editor shows what was typed as it was typed: `2.5e-4` stays `2.5e-4`. It checks nothing; a text that
is no number is handed on as text, for the config to refuse.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from napari_uda.gui.kit.panel import guarded

_NARROWEST_PX = 84
_SMALLEST_PLAIN, _LARGEST_PLAIN = 1e-3, 1e7


def make_editor(annotation: Any, description: str = "") -> FieldEditor:
    """The editor for a field of this type.

    Args:
        annotation: as in the config: int, float, bool, str, Path, Literal, a tuple of fixed length of
            these, any of them or None; everything else is written as YAML.
        description: the field's docstring; one that speaks of a folder lets folders be browsed.
    """
    optional = False
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        optional = len(kinds) < len(get_args(annotation))
        if len(kinds) == 1:
            annotation = kinds[0]
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return ChoiceEditor((None, *choices) if optional else choices)
    if annotation is bool and not optional:
        return SwitchEditor()
    if annotation in (int, float):
        return NumberEditor(annotation, optional=optional)
    if annotation is str:
        return TextEditor(optional=optional)
    if annotation is Path:
        return PathEditor(folder="folder" in description.lower(), optional=optional)
    parts = get_args(annotation)
    if get_origin(annotation) is tuple and parts and Ellipsis not in parts and not optional:
        return TupleEditor(parts)
    return YamlEditor(mapping=get_origin(annotation) is dict)


class FieldEditor(QWidget):
    """What all editors share: `value`, `set_value` and the signal `edited()` for the user's changes."""

    edited = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)

    def value(self) -> Any:
        """The value, or the text that does not read as one."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show a value, without a signal; a text that means this value already is left as it is."""
        raise NotImplementedError


class TextEditor(FieldEditor):
    """A line of text; where the setting is optional, an empty line is None."""

    def __init__(self, *, optional: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._optional = optional
        self.line = QLineEdit()
        self.line.setMinimumWidth(_NARROWEST_PX)
        self.line.textEdited.connect(self._on_edited)
        self._layout.addWidget(self.line, 1)
        self.setFocusProxy(self.line)

    def value(self) -> Any:
        """The text, or what it reads as."""
        text = self.line.text()
        return None if self._optional and not text.strip() else self._read(text)

    def set_value(self, value: Any) -> None:
        """Write the value, unless the text means it already."""
        if type(self.value()) is not type(value) or self.value() != value:
            self.line.setText("" if value is None else self._write(value))
            self.line.setCursorPosition(0)

    def _read(self, text: str) -> Any:
        return text

    def _write(self, value: Any) -> str:
        return str(value)

    @guarded
    def _on_edited(self) -> None:
        self.edited.emit()


class NumberEditor(TextEditor):
    """A number as text: spin boxes round 2.5e-4 to 0."""

    def __init__(self, kind: type[int] | type[float], *, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self._kind = kind

    def _read(self, text: str) -> Any:
        try:
            return self._kind(text)
        except ValueError:
            return text

    def _write(self, value: Any) -> str:
        return value if isinstance(value, str) else number_text(value)


class YamlEditor(TextEditor):
    """Any plain value in one line of YAML; a mapping is written without braces: `MYO: 1, LVC: 2`."""

    def __init__(self, *, mapping: bool) -> None:
        super().__init__()
        self._mapping = mapping

    def _read(self, text: str) -> Any:
        bare = text.strip()
        try:
            return yaml.safe_load(f"{{{bare.strip('{}')}}}" if self._mapping else bare)
        except (yaml.YAMLError, RecursionError):
            return text

    def _write(self, value: Any) -> str:
        if self._mapping and not isinstance(value, dict):
            return str(value)
        text = yaml.safe_dump(
            list(value) if isinstance(value, tuple) else value,
            default_flow_style=True,
            sort_keys=False,
            allow_unicode=True,
            width=float("inf"),
        )
        text = text.removesuffix("...\n").strip()
        return text[1:-1] if self._mapping else text


class PathEditor(TextEditor):
    """A path, typed or browsed."""

    def __init__(self, *, folder: bool, optional: bool = True) -> None:
        super().__init__(optional=optional)
        self._folder = folder
        self.browse = QToolButton()
        self.browse.setText("…")
        self.browse.setToolTip("Browse for a folder" if folder else "Browse for a file")
        self.browse.clicked.connect(self._on_browse)
        self._layout.addWidget(self.browse)

    def _read(self, text: str) -> Path:
        return Path(text.strip()).expanduser()

    @guarded
    def _on_browse(self) -> None:
        start = self.line.text()
        if self._folder:
            chosen = QFileDialog.getExistingDirectory(self, "Choose a folder", start)
        else:
            chosen, _ = QFileDialog.getOpenFileName(self, "Choose a file", start)
        if chosen:
            self.line.setText(chosen)
            self.edited.emit()


class SwitchEditor(FieldEditor):
    """On or off."""

    def __init__(self) -> None:
        super().__init__()
        self.box = QCheckBox()
        self.box.clicked.connect(self._on_clicked)
        self._layout.addWidget(self.box)
        self._layout.addStretch(1)
        self.setFocusProxy(self.box)

    def value(self) -> bool:
        """Whether it is on."""
        return self.box.isChecked()

    def set_value(self, value: Any) -> None:
        """Switch."""
        self.box.setChecked(bool(value))

    @guarded
    def _on_clicked(self) -> None:
        self.edited.emit()


class CalmComboBox(QComboBox):
    """A combo box that a wheel passing over it does not change: forms are scrolled."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Leave the wheel to the scroll area."""
        if event is not None:
            event.ignore()


class ChoiceEditor(FieldEditor):
    """One of a few values, of any plain type."""

    def __init__(self, choices: tuple[Any, ...]) -> None:
        super().__init__()
        self._choices = choices
        self.box = CalmComboBox()
        self.box.addItems(["none" if choice is None else str(choice) for choice in choices])
        self.box.activated.connect(self._on_activated)
        self._layout.addWidget(self.box, 1)
        self.setFocusProxy(self.box)

    def value(self) -> Any:
        """The chosen one."""
        return self._choices[self.box.currentIndex()]

    def set_value(self, value: Any) -> None:
        """Choose."""
        self.box.setCurrentIndex(self._choices.index(value))

    @guarded
    def _on_activated(self) -> None:
        self.edited.emit()


class TupleEditor(FieldEditor):
    """A few values side by side, such as a lower and an upper bound."""

    def __init__(self, kinds: tuple[Any, ...]) -> None:
        super().__init__()
        self.parts = [make_editor(kind) for kind in kinds]
        for part in self.parts:
            if isinstance(part, TextEditor):
                part.line.setMinimumWidth(_NARROWEST_PX // len(self.parts))
            part.edited.connect(self._on_edited)
            self._layout.addWidget(part, 1)
        self.setFocusProxy(self.parts[0])

    def value(self) -> tuple[Any, ...]:
        """The values of the parts."""
        return tuple(part.value() for part in self.parts)

    def set_value(self, value: Any) -> None:
        """Show one value in each part."""
        for part, one in zip(self.parts, value, strict=True):
            part.set_value(one)

    @guarded
    def _on_edited(self) -> None:
        self.edited.emit()


def number_text(value: float) -> str:
    """The shortest text that reads back as this number, as people write it: 10, 0.003, 2.5e-4."""
    if isinstance(value, int):
        return str(value)
    size = abs(value)
    if size and not _SMALLEST_PLAIN <= size < _LARGEST_PLAIN:
        return format(Decimal(repr(value)).normalize(), "e").replace("e+", "e")
    return repr(value).removesuffix(".0")
