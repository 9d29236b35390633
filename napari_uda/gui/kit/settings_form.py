"""SettingsForm: a form generated from any config, checked as one types.

A few basic settings stand first; all others are under Advanced, grouped as the config nests them, and
found by typing a part of their name. Names, bounds and tooltips are those of the config's fields. The
values live in the form, not in its editors, which are built when their group is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QLineEdit, QSizePolicy, QVBoxLayout, QWidget

from napari_uda.core.config import Config
from napari_uda.core.files import is_file, is_folder
from napari_uda.core.setting_paths import bounds, by_path, leaves, nested, problems_by_field
from napari_uda.core.setting_words import setting_title, setting_words
from napari_uda.gui.kit.fields import Editor, make_editor, number_text, show_value
from napari_uda.gui.kit.layout import column, form, show_row
from napari_uda.gui.kit.panel import Panel, delay, guarded
from napari_uda.gui.kit.widgets import Foldable, TallLabel, label, named

WARNING = "⚠ "
"""What a sentence on a problem begins with."""

_AS_TALL_AS_ROWS = (QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)  # some wrap
_LONG = 20  # letters that a narrow dock has no room for in one line
_NOT_THERE = "there is no such file or folder; check the path"


class SettingRow:
    """A setting in a form: its name, its editor, and below both one sentence when it does not fit."""

    def __init__(self, layout: QFormLayout, place: int, title: str, editor: Editor) -> None:
        self.editor = editor
        self.label = TallLabel(title) if len(title) > _LONG else label(title, wrap=False)
        self.label.setBuddy(editor.native)
        self._layout = layout
        self._sentence: QLabel | None = None
        layout.insertRow(place, self.label, editor.native)

    @property
    def end(self) -> int:
        """The place in the layout below the row and its sentence."""
        last = self.editor.native if self._sentence is None else self._sentence
        return int(self._layout.getWidgetPosition(last)[0]) + 1

    def show_state(self, problem: str, tooltip: str, *, changed: bool) -> None:
        """Say what is wrong ("" for nothing) and, in bold, whether the preset has another value."""
        native = self.editor.native
        self.label.setToolTip(tooltip)
        native.setToolTip(tooltip)
        font = self.label.font()
        if font.bold() != changed:
            font.setBold(changed)
            self.label.setFont(font)
        if self._sentence is None and problem:
            sentence = label(name=f"problem_{native.objectName()}")
            self._layout.insertRow(self.end, sentence)
            self._sentence = sentence
        if self._sentence is not None:
            _say(self._sentence, problem, visible=not native.isHidden())

    def set_visible(self, visible: bool) -> None:
        """Show or hide the row, its sentence with it."""
        show_row(self._layout, self.editor.native, visible)
        if self._sentence is not None:
            self._sentence.setVisible(visible and bool(self._sentence.text()))


class SettingGroup(Foldable):
    """A group of settings that opens and closes; its rows are made when they are first to be seen.

    Attributes:
        paths: the settings.
        rows: where their rows go.
    """

    def __init__(self, title: str, name: str) -> None:
        body = QWidget()
        super().__init__(title, body, name)
        self.setSizePolicy(*_AS_TALL_AS_ROWS)
        self.paths: list[str] = []
        self.rows = form(of=body)
        self.rows.setContentsMargins(14, 2, 0, 6)
        self._title = title
        self._sentence = label(name="problem_group")
        self._sentence.setVisible(False)
        layout = self.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.insertWidget(1, self._sentence)

    def show_state(self, sentence: str, *, warning: bool) -> None:
        """Say what is wrong with the group as a whole, and mark one with a setting that does not fit."""
        self.setText(WARNING + self._title if warning else self._title)
        _say(self._sentence, sentence)


class SettingsForm(Panel):
    """Edits a config of any class; settings are named by dotted paths, such as `data.size`.

    Attributes:
        advanced: the settings that are not basic.
        search: shows only settings whose name contains this text.
        problem: what is wrong with a setting that is not in sight.
    """

    changed = Signal()

    def __init__(
        self,
        config: Config,
        *,
        basic: Collection[str] = (),
        hidden: Collection[str] = (),
    ) -> None:
        """Build.

        Args:
            config: the values to begin with, also those that `reset` returns to.
            basic: settings that stand first, in this order; names that the config lacks are skipped.
            hidden: settings that somebody else edits; they keep the values given with `set_values`.
        """
        super().__init__()
        self._kind = type(config)
        fields = {path: field for path, field, _ in leaves(config)}
        self._values = {path: value for path, _, value in leaves(config)}
        self._reference = dict(self._values)
        self._carried: dict[str, Any] = {}
        self._rows: dict[str, SettingRow] = {}
        self._problems: dict[str, str] = {}
        self._config: Config | None = None
        self._to_open: list[SettingGroup] = []
        self._turn = delay(self, 0, self._on_turn)
        shown = [path for path in fields if path not in hidden and not _is_fixed(fields[path])]
        first = [path for path in basic if path in shown]
        rest = [path for path in shown if path not in first]
        self._shown = [*first, *rest]
        self._fields = {path: fields[path] for path in dict.fromkeys([*self._shown, *fields])}
        self._found = set(shown)  # by the search
        self._groups = self._make_groups(rest)
        self.search = named(QLineEdit(), "search")
        self.search.setPlaceholderText("Find a setting")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._on_search)
        others = QWidget()
        column(self.search, *self._groups.values(), of=others, margin=0, spacing=2)
        self.advanced = Foldable(f"Advanced ({len(rest)})", others, "advanced")
        self.advanced.setSizePolicy(*_AS_TALL_AS_ROWS)
        self.advanced.setVisible(bool(rest))
        self.problem = label(name="problem")
        rows = form()
        column(rows, self.advanced, self.problem, of=self, margin=0)
        for path in first:
            self._add_row(rows, -1, path, setting_title(path))
        self._check()

    def _make_groups(self, paths: Collection[str]) -> dict[str, SettingGroup]:
        """Groups by the path that their settings share; empty until they are opened."""
        groups: dict[str, SettingGroup] = {}
        for path in paths:
            name = path.rpartition(".")[0]
            if name not in groups:
                groups[name] = SettingGroup(
                    setting_words(name, " › ") or "general", f"group_{name}"
                )
                groups[name].toggled.connect(guarded(partial(self._fill, groups[name])))
            groups[name].paths.append(path)
        return groups

    def _fill(self, group: SettingGroup) -> None:
        """Make the rows of an open group that are found and not there yet."""
        missing = [path for path in group.paths if path in self._found and path not in self._rows]
        if not (missing and group.isExpanded()):
            return
        group.content().hide()  # or each row would be laid out and shown by itself
        place = 0
        for path in group.paths:
            if path in missing:
                self._add_row(group.rows, place, path, setting_title(path, grouped=True))
                self._show_state(path)
            if path in self._rows:
                place = self._rows[path].end
        group.content().show()

    def _add_row(self, layout: QFormLayout, place: int, path: str, title: str) -> None:
        editor = make_editor(self._fields[path], path)
        show_value(editor, self._values[path])
        editor.changed.connect(guarded(lambda: self._edit(path)))
        self._rows[path] = SettingRow(layout, place, title, editor)

    # -- values -----------------------------------------------------------------------------------

    @property
    def editors(self) -> dict[str, Editor]:
        """The editors that were built, by setting."""
        return {path: row.editor for path, row in self._rows.items()}

    def values(self) -> dict[str, Any]:
        """What the form holds, nested as the config is; a text that is no number stays a text."""
        return nested(self._values)

    def config(self) -> Config | None:
        """The config of these values; None as long as one does not fit."""
        return self._config

    def set_values(self, values: Config | Mapping[str, Any]) -> None:
        """Show other values, those of a config or some of them as a nested mapping.

        Raises:
            KeyError: for a setting that the config lacks.
        """
        given = by_path(values, self._fields)
        unknown = next((path for path in given if path not in self._fields), None)
        if unknown is not None:
            raise KeyError(unknown)
        for path, value in given.items():
            self._values[path] = value
            if path in self._rows:
                show_value(self._rows[path].editor, value)
        self._check()
        self.changed.emit()

    def changes(self) -> dict[str, Any]:
        """The values that differ from those to begin with, nested."""
        return nested({path: self._values[path] for path in self._values if self._differs(path)})

    def changes_to_carry(self) -> dict[str, Any]:
        """The changes, with those that were adopted and have no place here: for the next form, nested."""
        own = {path: self._values[path] for path in self._shown if self._differs(path)}
        return nested(self._carried | own)

    def adopt(self, values: Mapping[str, Any]) -> None:
        """Show values of another config, as far as this one shows such settings and they fit."""
        offered = by_path(values, self._fields)
        given = {path: one for path, one in offered.items() if path in self._shown}
        self._carried |= {path: one for path, one in offered.items() if path not in self._shown}
        before = self._judge(self._values)[1]
        while given:
            found = self._judge(self._values | given)[1].keys() - before.keys()
            if not found:
                break
            fitting = {path: one for path, one in given.items() if path not in found}
            given = fitting if len(fitting) < len(given) else {}
        self.set_values(nested(given))

    def reset(self) -> None:
        """Return to the values to begin with."""
        self._carried = {}
        self.set_values(nested(self._reference))

    def problems(self) -> dict[str, str]:
        """What is wrong, by setting or group of settings, in the order of the form."""
        return dict(self._problems)

    # -- reactions --------------------------------------------------------------------------------

    def _edit(self, path: str) -> None:
        self._values[path] = self._rows[path].editor.value
        self._check()
        self.changed.emit()

    def _on_search(self, text: str) -> None:
        wanted = text.strip().lower().replace("_", " ")
        self._found = {path for path in self._shown if wanted in _searched(path)}
        self._to_open = []
        for group in self._groups.values():
            found = not self._found.isdisjoint(group.paths)
            group.setVisible(found)
            if wanted and found:
                self._to_open.append(group)
            else:
                group.set_open(False)
            for path in group.paths:
                if path in self._rows:
                    self._rows[path].set_visible(path in self._found)
        self._on_turn()

    def _on_turn(self) -> None:
        """Open what was found, at most one group that needs editors: they take their time."""
        while self._to_open:
            group, before = self._to_open.pop(0), len(self._rows)
            group.set_open(True)
            self._fill(group)
            if len(self._rows) > before:
                self._turn.start()
                return

    # -- checking ---------------------------------------------------------------------------------

    def _judge(self, values: Mapping[str, Any]) -> tuple[Config | None, dict[str, str]]:
        """What the config makes of these values, and what it says of each setting or group."""
        try:
            return self._kind.model_validate(nested(values)), {}
        except ValidationError as error:
            problems: dict[str, str] = {}
            for path, sentence in problems_by_field(error).items():
                problems.setdefault(self._home(path), sentence)
            return None, problems

    def _check(self) -> None:
        """Let the config judge all values, and say what it says beside the settings it is about."""
        self._config, found = self._judge(self._values)
        for path in self._shown:
            value = self._values[path]
            if isinstance(value, Path) and not (is_file(value) or is_folder(value)):
                found.setdefault(path, _NOT_THERE)
        places = dict.fromkeys([*self._fields, *found])  # as they stand, those of groups last
        self._problems = {path: found[path] for path in places if path in found}
        for path in self._rows:
            self._show_state(path)
        for name, group in self._groups.items():
            group.show_state(
                self._problems.get(name, "") if name else "",
                warning=any(path in self._problems for path in group.paths),
            )
        beside = self._rows.keys() | self._groups.keys() - {""}
        _say(self.problem, next((found[path] for path in self._problems if path not in beside), ""))

    def _home(self, path: str) -> str:
        """The setting or group that an error is about: its own path, or the longest known part."""
        while path and path not in self._fields and not self._is_group(path):
            path = path.rpartition(".")[0]
        return path

    def _is_group(self, path: str) -> bool:
        return any(field.startswith(f"{path}.") for field in self._fields)

    def _differs(self, path: str) -> bool:
        return bool(self._values[path] != self._reference[path])

    def _show_state(self, path: str) -> None:
        problem, changed = self._problems.get(path, ""), self._differs(path)
        self._rows[path].show_state(problem, self._tooltip(path), changed=changed)

    def _tooltip(self, path: str) -> str:
        field = self._fields[path]
        lines = [field.description or "", bounds(field)]
        if self._differs(path):
            lines.append(f"Changed; the preset has {_shown(self._reference[path])}.")
        lines.append(f"--{path.replace('_', '-')}")
        return "".join(f"<p>{escape(line)}</p>" for line in lines if line)


class SettingsPlace(Panel):
    """Holds one form at a time; what the user changed goes on into the next. Emits `changed()`.

    Attributes:
        form: the settings; None until there are some.
        place: where the form stands, for a subclass or an owner to lay out.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.form: SettingsForm | None = None
        self.place = QVBoxLayout()

    def config(self) -> Any:
        """The config of the settings; None as long as one does not fit."""
        return None if self.form is None else self.form.config()

    def obstacle(self) -> str:
        """The first setting that does not fit, in one sentence; "" for none."""
        problems = {} if self.form is None else self.form.problems()
        for path, sentence in problems.items():
            return f"{path}: {sentence}." if path else f"{sentence}."
        return ""

    def put(self, made: SettingsForm, *, keep_changes: bool = True) -> None:
        """A form in the place of the one before, with what was changed there if this one has it too."""
        before, self.form = self.form, named(made, "settings")
        if before is not None:
            if keep_changes:
                made.adopt(before.changes_to_carry())
            made.advanced.set_open(before.advanced.isExpanded())
            self.place.removeWidget(before)
            before.hide()
            before.deleteLater()
        made.changed.connect(self.changed)
        self.place.addWidget(made)


def _searched(path: str) -> str:
    """What a search looks into: the words that the form shows, and those of the path in files."""
    return f"{setting_title(path)}\n{setting_words(path)}".lower()


def _is_fixed(field: FieldInfo) -> bool:
    """Whether a field can have one value only, such as the name of a method."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _say(sentence: QLabel, problem: str, *, visible: bool = True) -> None:
    sentence.setText(WARNING + problem if problem else "")
    sentence.setVisible(visible and bool(problem))


def _shown(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    return "nothing" if value in (None, "", {}) else str(value)
