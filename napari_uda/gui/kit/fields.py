"""One editor for each field of a config, made by magicgui from the field's type.

An editor shows what was typed as it was typed: `2.5e-4` stays `2.5e-4`, which spin boxes round to 0. It
checks nothing; a text that is no number is handed on as text, for the config to refuse.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from magicgui.type_map import type_registered
from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, FileEdit, LineEdit, create_widget
from magicgui.widgets.bases import ValuedContainerWidget, ValueWidget
from pydantic.fields import FieldInfo
from qtpy.QtWidgets import QComboBox, QFileDialog, QLineEdit, QPushButton, QWidget

from napari_uda.core.errors import InputError
from napari_uda.core.small_files import parse_yaml
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.kit.widgets import ignore_wheel, make_narrow, named

Editor = ValueWidget[Any] | ValuedContainerWidget[Any]
"""Has `value`, `native` (the widget of Qt) and `changed`, which says that there is another value to read."""

_NARROWEST_PX = 84
_SMALLEST_PLAIN, _LARGEST_PLAIN = 1e-3, 1e7


def make_editor(field: FieldInfo, name: str) -> Editor:
    """The editor of a config's field; everything that is no plain type is written as YAML.

    Args:
        field: of a pydantic model. A docstring that speaks of a folder lets folders be browsed.
        name: of the editor and its Qt widget.
    """
    kind, optional = _without_none(field.annotation)
    origin, parts = get_origin(kind), get_args(kind)
    made: Any
    if origin is Literal:
        choices = (None, *parts) if optional else parts
        shown = [("none" if one is None else str(one), one) for one in choices]
        made = ComboBox(name=name, choices=shown, nullable=optional)
    elif kind is bool and not optional:
        made = CheckBox(name=name)
        made.native.setText("")  # magicgui takes the name for an empty text
    elif kind is Path:
        of_folder = "folder" in (field.description or "").lower()
        mode = FileDialogMode.EXISTING_DIRECTORY if of_folder else FileDialogMode.EXISTING_FILE
        made = PathEdit(mode=mode, name=name, nullable=optional)
    elif origin is tuple and parts and Ellipsis not in parts and not optional:
        with (
            type_registered(int, widget_type=IntegerEdit),
            type_registered(float, widget_type=NumberEdit),
        ):
            made = create_widget(annotation=kind, name=name)
    else:
        special = {int: IntegerEdit, float: NumberEdit, str: TextEdit}.get(kind)
        if special is None:
            special = MappingEdit if origin is dict else YamlEdit
        made = special(name=name, nullable=optional)
    _dress(made.native, name)
    return made


def folder_edit(name: str, tooltip: str, placeholder: str = "") -> PathEdit:
    """A line for a folder, which may stay empty, with a button that browses; `name` is the line's."""
    made = PathEdit(mode=FileDialogMode.EXISTING_DIRECTORY, nullable=True, tooltip=tooltip)
    _dress(made.native, "")
    line = named(made.line_edit.native, name)
    line.setPlaceholderText(placeholder)
    return made


def show_value(editor: Editor, value: Any) -> None:
    """Show a value without a signal; a text that means this value already is left as it is."""
    now = editor.value
    if type(now) is not type(value) or now != value:
        with editor.changed.blocked():
            editor.value = value


class TextEdit(LineEdit):
    """A line of text; where the field may be None, an empty line is None."""

    def get_value(self) -> Any:
        """The text, or what it reads as."""
        text = str(super().get_value() or "")
        return None if self._nullable and not text.strip() else self.read(text)

    def set_value(self, value: Any) -> None:
        """Write a value; of a long one the beginning is seen."""
        super().set_value("" if value is None else self.write(value))
        self.native.setCursorPosition(0)

    def read(self, text: str) -> Any:
        """What a text means; the text itself when it means nothing."""
        return text

    def write(self, value: Any) -> str:
        """The text of a value."""
        return str(value)


class NumberEdit(TextEdit):
    """A number as it was typed."""

    def read(self, text: str) -> Any:
        """The number, or the text that is none."""
        return _number(float, text)

    def write(self, value: Any) -> str:
        """The number as people write it."""
        return value if isinstance(value, str) else number_text(value)


class IntegerEdit(NumberEdit):
    """A whole number as it was typed."""

    def read(self, text: str) -> Any:
        """The number, or the text that is none."""
        return _number(int, text)


class YamlEdit(TextEdit):
    """Any plain value in one line of YAML."""

    def read(self, text: str) -> Any:
        """What YAML makes of it."""
        try:
            return parse_yaml(text.strip(), "the text")
        except InputError:
            return text

    def write(self, value: Any) -> str:
        """In one line."""
        text = yaml.safe_dump(
            list(value) if isinstance(value, tuple) else value,
            default_flow_style=True,
            sort_keys=False,
            allow_unicode=True,
            width=float("inf"),
        )
        return text.removesuffix("...\n").strip()


class MappingEdit(YamlEdit):
    """A mapping without its braces: `MYO: 1, LVC: 2`."""

    def read(self, text: str) -> Any:
        """The mapping, or the text that is none."""
        found = super().read(f"{{{text.strip().strip('{}')}}}")
        return found if isinstance(found, dict) else text

    def write(self, value: Any) -> str:
        """In one line."""
        return super().write(value)[1:-1] if isinstance(value, dict) else str(value)


class PathEdit(FileEdit):
    """A path, typed or browsed; it stays relative when it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._of_folder = self.mode is FileDialogMode.EXISTING_DIRECTORY
        self.choose_btn.text = "…"
        self.choose_btn.tooltip = f"Browse for a {'folder' if self._of_folder else 'file'}"
        self.choose_btn.changed.disconnect()  # magicgui asks without an owner, with "…" for a title
        self.choose_btn.changed.connect(guarded(self._browse))

    def _browse(self) -> None:
        start = self.line_edit.value
        if self._of_folder:
            chosen = QFileDialog.getExistingDirectory(self.native, "Choose a folder", start)
        else:
            chosen, _ = QFileDialog.getOpenFileName(self.native, "Choose a file", start)
        if chosen:
            self.value = Path(chosen)

    def get_value(self) -> Path | None:
        """The path; None for an empty line where the field may be None."""
        text = self.line_edit.value.strip()
        return None if self._nullable and not text else Path(text).expanduser()

    def set_value(self, value: Any) -> None:
        """Write a path."""
        self.line_edit.value = "" if value is None else str(value)
        self.line_edit.native.setCursorPosition(0)


def number_text(value: float) -> str:
    """The shortest text that reads back as this number, as people write it: 10, 0.003, 2.5e-4."""
    if isinstance(value, int):
        return str(value)
    size = abs(value)
    if size and not _SMALLEST_PLAIN <= size < _LARGEST_PLAIN:
        return format(Decimal(repr(value)).normalize(), "e").replace("e+", "e")
    return repr(value).removesuffix(".0")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """A type, and whether it may be None as well."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, False
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    optional = len(kinds) < len(get_args(annotation))
    return (kinds[0] if len(kinds) == 1 else annotation), optional


def _number(kind: type[int] | type[float], text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text


def _dress(native: QWidget, name: str) -> None:
    """Name the Qt widget, let it be narrow, and let the wheel scroll the form."""
    named(native, name)
    for part in native.findChildren(QWidget):
        if isinstance(part, QPushButton):
            part.setAccessibleName(f"Browse: {name.rpartition('.')[2].replace('_', ' ')}")
        elif not part.accessibleName():
            part.setAccessibleName(native.accessibleName())
    for box in (native, *native.findChildren(QComboBox)):
        if isinstance(box, QComboBox):
            ignore_wheel(make_narrow(box, 6))
    lines = [one for one in (native, *native.findChildren(QLineEdit)) if isinstance(one, QLineEdit)]
    for line in lines:
        line.setMinimumWidth(_NARROWEST_PX // len(lines))
