"""Which preset: the shipped recipes and settings files that fit a method, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.layout import form
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.setting_fields import CalmComboBox

_LONGEST_ABOUT = 220


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
    return Preset(recipe or file.name, recipe or str(file), method, _header(file))


class PresetPicker(QWidget):
    """Chooses one preset or two, the second changing the first; emits `chosen()`.

    Attributes:
        first: the preset.
        second: what is laid over it.
        about: what the presets say of themselves.
    """

    chosen = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._presets: list[Preset] = []
        self._method = ""
        self.first, self.second = CalmComboBox(), CalmComboBox()
        self.first.setObjectName("preset")
        self.first.setToolTip("Settings to begin with; each can be changed below")
        self.second.setObjectName("second_preset")
        self.second.setToolTip("A second preset, whose settings go over those of the first")
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.about.setObjectName("about_preset")
        chosen = form()
        chosen.addRow("Preset", self.first)
        chosen.addRow("then", self.second)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(chosen)
        layout.addWidget(self.about)
        for box in (self.first, self.second):
            box.currentIndexChanged.connect(self._on_chosen)

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
            box.addItem(none, None)
            for one in fitting:
                box.addItem(one.title, one)
                box.setItemData(box.count() - 1, one.about, Qt.ItemDataRole.ToolTipRole)
            box.setCurrentIndex(max(0, box.findText(title)))
            box.blockSignals(False)
        self._describe()

    @guarded
    def _on_chosen(self) -> None:
        self._describe()
        self.chosen.emit()

    def _describe(self) -> None:
        texts = [box.currentData().about for box in (self.first, self.second) if box.currentData()]
        self.about.setText(" ".join(text for text in texts if text))
        self.about.setVisible(bool(self.about.text()))


def _header(file: Path) -> str:
    """The first sentences of the comment that a recipe begins with."""
    lines: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    text = " ".join(lines)
    if len(text) <= _LONGEST_ABOUT:
        return text
    whole = text[:_LONGEST_ABOUT].rpartition(". ")[0]
    return f"{whole}." if whole else text[:_LONGEST_ABOUT] + "…"
