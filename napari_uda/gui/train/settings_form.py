"""SettingsForm: a form generated from any config, checked as one types.

A few basic settings stand first; all others are under Advanced, grouped as the config nests them, and
found by typing a part of their name. Names, bounds and tooltips are those of the config's fields. The
values live in the form, not in its editors, which are built when their group is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_uda.core.config import Config
from napari_uda.core.files import is_file, is_folder
from napari_uda.gui.kit.layout import form
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.setting_fields import make_editor, number_text
from napari_uda.gui.train.setting_problems import bounds, problems_by_field
from napari_uda.gui.train.setting_rows import WARNING, SettingGroup, SettingRow, disclosure

_UNITS = {"_mm": " (mm)", "_deg": " (°)", "_gib": " (GiB)", "_ml": " (mL)"}
_NOT_THERE = "there is no such file or folder; check the path"


class SettingsForm(QWidget):
    """Edits a config of any class; settings are named by dotted paths, such as `data.size`.

    Attributes:
        advanced: the button that opens the settings that are not basic.
        search: shows only settings whose name contains this text.
    """

    changed = Signal()

    def __init__(
        self,
        config: Config,
        *,
        basic: Collection[str] = (),
        hidden: Collection[str] = (),
        parent: QWidget | None = None,
    ) -> None:
        """Build.

        Args:
            config: the values to begin with, also those that `reset` returns to.
            basic: settings that stand first, in this order; names that the config lacks are skipped.
            hidden: settings that somebody else edits; they keep the values given with `set_values`.
            parent: owner.
        """
        super().__init__(parent)
        self._kind = type(config)
        self._values: dict[str, Any] = {}
        self._fields: dict[str, FieldInfo] = {}
        for path, field, value in _leaves(config):
            self._fields[path], self._values[path] = field, value
        self._reference = dict(self._values)
        self._rows: dict[str, SettingRow] = {}
        self._sections: dict[str, SettingGroup] = {}
        self._problems: dict[str, str] = {}
        self._config: Config | None = None
        shown = [path for path in self._fields if path not in hidden and not _is_fixed(self, path)]
        first = [path for path in basic if path in shown]
        rest = [path for path in shown if path not in first]
        self._shown = [*first, *rest]
        self._build(first, rest)
        self._check()

    # -- values -----------------------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """What the form holds, nested as the config is; a text that is no number stays a text."""
        return _nested(self._values)

    def config(self) -> Config | None:
        """The config of these values; None as long as one does not fit."""
        return self._config

    def set_values(self, values: Config | Mapping[str, Any]) -> None:
        """Show other values, those of a config or some of them as a nested mapping.

        Raises:
            KeyError: for a setting that the config lacks.
        """
        given = dict(_flat(values, self._fields))
        unknown = next((path for path in given if path not in self._fields), None)
        if unknown is not None:
            raise KeyError(unknown)
        for path, value in given.items():
            self._values[path] = value
            if path in self._rows:
                self._rows[path].editor.set_value(value)
        self._check()
        self.changed.emit()

    def set_reference(self, config: Config) -> None:
        """What `changes` and `reset` compare with; the values stay."""
        self._reference = {path: value for path, _, value in _leaves(config)}
        self._check()

    def changes(self) -> dict[str, Any]:
        """The values that differ from those to begin with, nested."""
        return _nested({path: self._values[path] for path in self._values if self._differs(path)})

    def adopt(self, values: Mapping[str, Any]) -> None:
        """Show values of another config, as far as this one has such settings and they fit."""
        given = {path: one for path, one in _flat(values, self._fields) if path in self._fields}
        before = self._judge(self._values)[1]
        while given:
            found = self._judge(self._values | given)[1].keys() - before.keys()
            if not found:
                break
            fitting = {path: one for path, one in given.items() if path not in found}
            given = fitting if len(fitting) < len(given) else {}
        self.set_values(_nested(given))

    def reset(self) -> None:
        """Return to the values to begin with."""
        self.set_values(_nested(self._reference))

    def problems(self) -> dict[str, str]:
        """What is wrong, by setting or group of settings, in the order of the form."""
        return dict(self._problems)

    # -- construction -----------------------------------------------------------------------------

    def _build(self, basic: list[str], rest: list[str]) -> None:
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        first = form()
        for path in basic:
            self._add_row(first, path, _words(path.removeprefix("method.")))
        outer.addLayout(first)
        self.advanced = disclosure(f"Advanced ({len(rest)} settings)")
        self.advanced.setObjectName("advanced")
        self.advanced.toggled.connect(self._on_advanced)
        self.advanced.setVisible(bool(rest))
        self.search = QLineEdit()
        self.search.setObjectName("search")
        self.search.setPlaceholderText("Find a setting")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._on_search)
        self._groups = QWidget()
        self._groups.setVisible(False)
        groups = QVBoxLayout(self._groups)
        groups.setContentsMargins(0, 0, 0, 0)
        groups.setSpacing(2)
        groups.addWidget(self.search)
        for path in rest:
            group = path.rpartition(".")[0]
            if group not in self._sections:
                section = SettingGroup(_words(group, " › ") or "general")
                section.setObjectName(f"group_{group}")
                section.opened.connect(self._build_section)
                self._sections[group] = section
                groups.addWidget(section)
            self._sections[group].paths.append(path)
        outer.addWidget(self.advanced)
        outer.addWidget(self._groups)
        self.problem = QLabel()
        self.problem.setObjectName("problem")
        self.problem.setWordWrap(True)
        self.problem.setVisible(False)
        outer.addWidget(self.problem)

    @guarded
    def _build_section(self, section: SettingGroup) -> None:
        """Editors of a group, the first time it is opened."""
        layout = section.form()
        for path in section.paths:
            if path not in self._rows:
                self._add_row(layout, path, _words(path.rpartition(".")[2]))
                self._show_state(path)

    def _add_row(self, layout: QFormLayout, path: str, title: str) -> None:
        field = self._fields[path]
        row = SettingRow(layout, title, make_editor(field.annotation, field.description or ""))
        row.editor.setObjectName(path)
        row.editor.set_value(self._values[path])
        row.editor.edited.connect(lambda: self._on_edited(path))
        self._rows[path] = row

    # -- reactions --------------------------------------------------------------------------------

    @guarded
    def _on_edited(self, path: str) -> None:
        self._values[path] = self._rows[path].editor.value()
        self._check()
        self.changed.emit()

    @guarded
    def _on_advanced(self, opened: bool) -> None:
        self._groups.setVisible(opened)

    @guarded
    def _on_search(self, text: str) -> None:
        wanted = text.strip().lower().replace("_", " ")
        for section in self._sections.values():
            found = [path for path in section.paths if wanted in _words(path).lower()]
            section.setVisible(bool(found))
            section.set_open(bool(wanted and found))
            for path in section.paths:
                if path in self._rows:
                    self._rows[path].set_visible(path in found)

    # -- checking ---------------------------------------------------------------------------------

    def _judge(self, values: Mapping[str, Any]) -> tuple[Config | None, dict[str, str]]:
        """What the config makes of these values, and what it says of each setting or group."""
        try:
            return self._kind.model_validate(_nested(values)), {}
        except ValidationError as error:
            problems: dict[str, str] = {}
            for path, sentence in problems_by_field(error).items():
                problems.setdefault(self._home(path), sentence)
            return None, problems

    def _check(self) -> None:
        """Let the config judge all values, and say what it says beside the settings it is about."""
        self._config, self._problems = self._judge(self._values)
        for path in self._shown:
            value = self._values[path]
            if isinstance(value, Path) and not (is_file(value) or is_folder(value)):
                self._problems.setdefault(path, _NOT_THERE)
        places = [*self._shown, *self._fields]  # as they stand, those of groups last
        order = {path: place for place, path in enumerate(dict.fromkeys(places))}
        found = sorted(self._problems.items(), key=lambda one: order.get(one[0], len(order)))
        self._problems = dict(found)
        for path in self._rows:
            self._show_state(path)
        for group, section in self._sections.items():
            section.set_warning(any(path in self._problems for path in section.paths))
            section.set_sentence(self._problems.get(group, "") if group else "")
        elsewhere = [
            text
            for path, text in self._problems.items()
            if path not in self._rows and (path not in self._sections or not path)
        ]
        self.problem.setText(WARNING + elsewhere[0] if elsewhere else "")
        self.problem.setVisible(bool(elsewhere))

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


def _leaves(config: Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    """Dotted path, field and value of every setting; nested configs are opened up, after the others."""
    fields = type(config).model_fields.items()
    own = [(name, field, getattr(config, name)) for name, field in fields]
    for name, field, value in own:
        if not isinstance(value, Config):
            yield f"{prefix}{name}", field, value
    for name, _, value in own:
        if isinstance(value, Config):
            yield from _leaves(value, f"{prefix}{name}.")


def _flat(
    values: Config | Mapping[str, Any], known: Collection[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Dotted paths and values; a mapping that is itself a setting stays whole."""
    if isinstance(values, Config):
        yield from ((path, value) for path, _, value in _leaves(values, prefix))
        return
    for name, value in values.items():
        path = f"{prefix}{name}"
        if path in known:
            yield path, value
        elif isinstance(value, (Config, Mapping)):
            yield from _flat(value, known, f"{path}.")
        else:
            yield path, value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *groups, name = path.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[name] = value
    return tree


def _is_fixed(form: SettingsForm, path: str) -> bool:
    """Whether a field can have one value only, such as the name of a method."""
    annotation = form._fields[path].annotation
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


def _words(path: str, between: str = " ") -> str:
    """A dotted path as people write it, the unit of its last part in brackets."""
    for ending, unit in _UNITS.items():
        if path.endswith(ending):
            path = path.removesuffix(ending) + unit
    return path.replace(".", between).replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    return "nothing" if value in (None, "", {}) else str(value)
