"""SettingsPanel: the settings of a run for one method: presets, files, and the form they fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.layout import column, form, row
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.settings_form import SettingsForm, SettingsPlace
from napari_uda.gui.kit.widgets import SearchableBox, button, label

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig

_ELSEWHERE = ("data.source", "data.target", "data.corrected", "init")  # chosen in the data panel
_PREVIEWS = 100


@dataclass(frozen=True)
class Preset:
    """A recipe: `recipe` is what `build_config` takes, `method` the one it is for ("" for any)."""

    title: str
    recipe: str
    method: str
    about: str


def read_presets() -> list[Preset]:
    """The shipped recipes. Reads files and loads torch: for a worker thread."""
    from napari_uda.run.recipes import list_recipes

    return [read_preset(file, name) for name, file in list_recipes().items()]


def read_preset(file: Path, recipe: str = "") -> Preset:
    """A recipe file as a preset.

    Args:
        file: any part of the settings tree as YAML.
        recipe: its name when it is a shipped one.

    Raises:
        InputError: if it cannot be read or is no recipe.
    """
    from napari_uda.methods.registry import method_name
    from napari_uda.run.recipes import read_recipe

    read = read_recipe(file)
    method = method_name(read.method) if read.method else ""
    return Preset(recipe or file.name, recipe or str(file), method, read.about)


class PresetPicker(Panel):
    """Chooses one preset or two, the second changing the first; emits `chosen()`.

    Attributes:
        first: the preset.
        second: what is laid over it.
        about: what the presets say of themselves.
    """

    chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._presets: list[Preset] = []
        self._method = ""
        self.first = SearchableBox(
            "Settings to begin with; each can be changed below", self._on_chosen, "preset"
        )
        self.second = SearchableBox(
            "A second preset, whose settings go over those of the first",
            self._on_chosen,
            "second_preset",
        )
        self.about = label(name="about_preset")
        boxes = form(("Preset", self.first), ("then", self.second))
        column(boxes, self.about, of=self, margin=0, spacing=4)

    @property
    def recipe(self) -> str | None:
        """What `build_config` takes: names or files with a comma between, None for no preset."""
        chosen = [box.currentData() for box in (self.first, self.second)]
        return ",".join(one.recipe for one in chosen if one is not None) or None

    def set_presets(self, presets: Sequence[Preset], method: str, wanted: str = "") -> None:
        """Offer presets for a method, and choose the one of this name."""
        self._presets = list(presets)
        self._method = method
        self._offer((wanted, ""))

    def set_method(self, method: str) -> None:
        """Offer what fits another method; choices that fit are kept. No signal."""
        if method != self._method:
            self._method = method
            self._offer((self.first.currentText(), self.second.currentText()))

    def add(self, preset: Preset) -> None:
        """Offer one more and choose it, alone. No signal.

        Raises:
            InputError: if it is for another method than the one chosen.
        """
        if preset.method not in ("", self._method):
            raise InputError(
                f"{preset.title} is for {preset.method}, not {self._method}; choose that method first"
            )
        self._presets = [one for one in self._presets if one.recipe != preset.recipe] + [preset]
        self._offer((preset.title, ""))

    def _offer(self, wanted: tuple[str, str]) -> None:
        fitting = [one for one in self._presets if one.method in ("", self._method)]
        for box, title, none in zip(
            (self.first, self.second), wanted, ("method's defaults", "nothing else"), strict=True
        ):
            box.blockSignals(True)
            box.clear()
            box.add(none)
            for one in fitting:
                box.add(one.title, one, one.about)
            box.setCurrentIndex(max(0, box.findText(title)))
            box.blockSignals(False)
            box.show_chosen()
        self._describe()

    def _on_chosen(self) -> None:
        self._describe()
        self.chosen.emit()

    def _describe(self) -> None:
        texts = [box.currentData().about for box in (self.first, self.second) if box.currentData()]
        self.about.setText(" ".join(text for text in texts if text))
        self.about.setVisible(bool(self.about.text()))


class SettingsPanel(SettingsPlace):
    """Edits the settings of a run but for its data; emits `changed()`.

    Attributes:
        presets: the recipes.
        load, save, reset: buttons; who owns the panel reads and writes the files.
    """

    def __init__(self) -> None:
        super().__init__()
        self._method = ""
        self._variant: Mapping[str, Any] = {}
        self.presets = PresetPicker()
        self.load = button(
            "Load…", "Begin with a YAML file: a recipe or a config.yaml", name="load"
        )
        self.save = button("Save…", "Write all settings into a YAML file", name="save")
        self.reset = button("Reset", "Return to the values of the preset", self._on_reset, "reset")
        buttons = row(self.load, self.save, self.reset)
        column(self.presets, buttons, self.place, of=self, margin=0)
        self.presets.chosen.connect(self._on_preset)
        self.allow(loading=False)

    def set_presets(self, presets: Sequence[Preset], wanted: str) -> None:
        """Offer these from the next method on, and begin with the one of this name."""
        self.presets.set_presets(presets, "", wanted)

    def set_method(self, name: str, variant: Mapping[str, Any]) -> None:
        """Settings of another method; what the user changed is kept where both have it.

        Args:
            name: of the method.
            variant: settings of it that go over those of every preset.
        """
        self._method, self._variant = name, variant
        self.presets.set_method(name)
        self._show(self._of_preset(), keep_changes=True)

    def begin_with(self, config: RunConfig, preset: Preset) -> None:
        """Show settings from a file, of the method chosen last, and offer the file as a preset.

        Raises:
            InputError: if the preset is for another method.
        """
        self.presets.add(preset)
        self._show(_for_watching(config))
        self.changed.emit()

    def allow(self, *, loading: bool) -> None:
        """Enable the buttons that make sense."""
        self.load.setEnabled(loading)
        self.save.setEnabled(self.config() is not None)
        self.reset.setEnabled(self.form is not None and bool(self.form.changes()))

    def _of_preset(self) -> RunConfig:
        from napari_uda.run.recipes import build_config

        recipe, variant = self.presets.recipe, dict(self._variant)
        return _for_watching(build_config(self._method, recipe=recipe, method=variant))

    def _show(self, config: RunConfig, *, keep_changes: bool = False) -> None:
        from napari_uda.run.basic_settings import basic_settings, unused_settings

        hidden = (*_ELSEWHERE, *unused_settings(config))
        made = SettingsForm(config, basic=basic_settings(config), hidden=hidden)
        self.put(made, keep_changes=keep_changes)

    def _on_preset(self) -> None:
        self._show(self._of_preset())
        self.changed.emit()

    def _on_reset(self) -> None:
        if self.form is not None:
            self.form.reset()


def _for_watching(config: RunConfig) -> RunConfig:
    """The settings with previews to look at while training, unless they ask for some themselves."""
    if config.preview_every:
        return config
    return config.model_copy(update={"preview_every": max(1, config.steps // _PREVIEWS)})
