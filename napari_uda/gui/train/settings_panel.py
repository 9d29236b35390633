"""SettingsPanel: the settings of a run for one method: presets, files, and the form they fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.preset_picker import Preset, PresetPicker
from napari_uda.gui.train.settings_form import SettingsForm

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig

_BASIC = (
    "steps",
    "batch_size",
    "data.size",
    "segmentor.name",
    "method.segmentor_optimizer.lr",
)
_BASIC_LAST = ("data.validation_fraction", "validate_every", "device", "seed")
_ELSEWHERE = ("data.source", "data.target", "init")  # chosen in the data panel
_OWN_BASIC = ("_weight", "_steps")
_PREVIEWS = 100
_FILES = "YAML (*.yaml *.yml)"


class SettingsPanel(QWidget):
    """Edits the settings of a run but for its data.

    Emits `changed()`; `load_requested(Path)` and `save_requested(Path)` for the file the user chose.

    Attributes:
        presets: the recipes.
        load, save, reset: buttons.
        form: the settings; None until there is a method.
    """

    changed = Signal()
    load_requested = Signal(object)
    save_requested = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._method = ""
        self.form: SettingsForm | None = None
        self.presets = PresetPicker()
        self.load = _button("Load…", "load", "Begin with a YAML file: a recipe or a config.yaml")
        self.save = _button("Save…", "save", "Write all settings into a YAML file")
        self.reset = _button("Reset", "reset", "Return to the values of the preset")
        files = QHBoxLayout()
        for button in (self.load, self.save, self.reset):
            files.addWidget(button)
        self._place = QVBoxLayout()  # of the form
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.presets)
        layout.addLayout(files)
        layout.addLayout(self._place)
        self.presets.chosen.connect(self._on_preset)
        self.load.clicked.connect(self._on_load)
        self.save.clicked.connect(self._on_save)
        self.reset.clicked.connect(self._on_reset)
        self.allow(loading=False)

    def config(self) -> RunConfig | None:
        """The settings without data; None as long as one does not fit."""
        config: Any = None if self.form is None else self.form.config()
        return config

    def obstacle(self) -> str:
        """The first setting that does not fit, in one sentence; "" for none."""
        problems = {} if self.form is None else self.form.problems()
        for path, sentence in problems.items():
            return f"{path}: {sentence}." if path else f"{sentence}."
        return ""

    def set_presets(self, presets: Sequence[Preset], wanted: str) -> None:
        """Offer these from the next method on, and begin with the one of this name."""
        self.presets.set_presets(presets, "", wanted)

    def set_method(self, name: str) -> None:
        """Settings of another method; what the user changed is kept where both have it."""
        changes = {} if self.form is None else self.form.changes()
        self._method = name
        self.presets.set_method(name)
        self._show(self._of_preset(), changes)

    def begin_with(self, config: RunConfig, preset: Preset | None = None) -> None:
        """Show settings from a file or a run, of the method chosen last.

        Raises:
            InputError: if the preset is for another method.
        """
        if preset is not None:
            self.presets.add(preset)
        self._show(_for_watching(config), {})

    def allow(self, *, loading: bool) -> None:
        """Enable the buttons that make sense."""
        self.load.setEnabled(loading)
        self.save.setEnabled(self.config() is not None)
        self.reset.setEnabled(self.form is not None and bool(self.form.changes()))

    def _of_preset(self) -> RunConfig:
        from napari_uda.run.recipes import build_config

        return _for_watching(build_config(self._method, recipe=self.presets.recipe))

    def _show(self, config: RunConfig, changes: Mapping[str, Any]) -> None:
        """A form of these settings in the place of the one before."""
        opened = False
        if self.form is not None:
            opened = self.form.advanced.isChecked()
            self._place.removeWidget(self.form)
            self.form.hide()
            self.form.deleteLater()
        self.form = SettingsForm(config, basic=_basic(config), hidden=_ELSEWHERE)
        self.form.setObjectName("settings")
        self.form.adopt(changes)
        self.form.advanced.setChecked(opened)
        self.form.changed.connect(self._on_changed)
        self._place.addWidget(self.form)

    @guarded
    def _on_changed(self) -> None:
        self.changed.emit()

    @guarded
    def _on_preset(self) -> None:
        self._show(self._of_preset(), {})
        self.changed.emit()

    @guarded
    def _on_reset(self) -> None:
        if self.form is not None:
            self.form.reset()

    @guarded
    def _on_load(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Settings", "", _FILES)
        if chosen:
            self.load_requested.emit(Path(chosen))

    @guarded
    def _on_save(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(self, "Settings", f"{self._method}.yaml", _FILES)
        if chosen:
            self.save_requested.emit(Path(chosen))


def _for_watching(config: RunConfig) -> RunConfig:
    """The settings with previews to look at while training, unless they ask for some themselves."""
    if config.preview_every:
        return config
    return config.model_copy(update={"preview_every": max(1, config.steps // _PREVIEWS)})


def _basic(config: RunConfig) -> list[str]:
    """Settings that stand first: those everybody asks for, and the weights and lengths of the method."""
    from napari_uda.core.config import Config
    from napari_uda.methods.base import MethodConfig

    own = []
    for name in type(config.method).model_fields:
        value = getattr(config.method, name)
        if name in MethodConfig.model_fields:
            continue
        if isinstance(value, Config):
            fields = type(value).model_fields
            own += [f"method.{name}.{field}" for field in fields if field.endswith("_weight")]
        elif name.endswith(_OWN_BASIC):
            own.append(f"method.{name}")
    return [*_BASIC, *own, *_BASIC_LAST]


def _button(text: str, name: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.setToolTip(tip)
    return button
