"""The models a dock offers, and ModelDock, which gives an image of the viewer to one of them.

Offered are the shipped model, those used before, and run folders beside the user; by Segment every run, by
Translate those with generators.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import napari.viewer
from napari.layers import Layer
from qtpy.QtWidgets import QFileDialog, QFormLayout

from napari_uda.core.errors import InputError
from napari_uda.core.files import is_folder
from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.dock import JobDock
from napari_uda.gui.kit.files import MODEL, SAMPLES, TRANSLATOR
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.jobs import load_torch
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layers import NOT_IMAGES, is_volume
from napari_uda.gui.kit.layout import add_row, form, wrapped
from napari_uda.gui.kit.widgets import TallLabel, button, combo_box, named

_SHIPPED = {
    MODEL: "Shipped model (cardiac phantom)",
    TRANSLATOR: "Shipped translator (cardiac phantom)",
}
_RECENT = "segment/recent_models"
_MOST_RECENT = 5
_MOST_FOUND = 10


class ModelDock(JobDock):
    """The choice of run and image that Segment and Translate share; a subclass lists the runs.

    Attributes:
        models: run folders by title.
        browse: button that chooses another one.
        about: what the chosen run is.
        images: grey 3-D image layers of the viewer.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        *,
        wanted: str = "Run folder of a trained network",
        not_images: Collection[str] = NOT_IMAGES,
    ) -> None:
        super().__init__(viewer)
        self._wanted = wanted
        self.models = combo_box(tooltip=wanted, name="models")
        self.browse = button(
            "Browse…", "Choose a run folder (it holds a config.yaml)", self._on_browse
        )
        self.about = named(TallLabel(), "about")
        self.images = LayerChooser(
            viewer, lambda layer: is_volume(layer, not_images), _rank_of_image
        )
        named(self.images, "images", "Image layer: one grey 3-D volume")
        self.images.currentIndexChanged.connect(self._on_image_changed)

    @property
    def model(self) -> Path | None:
        """The chosen run folder."""
        data = self.models.currentData()
        return Path(data) if data else None

    def add_model(self, path: Path) -> None:
        """Choose a run folder, listed or not."""
        raise NotImplementedError

    def _model_obstacle(self) -> str:
        """Why nothing can be done with an image; empty when something can."""
        raise NotImplementedError

    def _obstacle(self) -> str:
        """Why the dock's work is not available; empty when it is."""
        obstacle = self._model_obstacle()
        if not obstacle and self.images.layer is None:
            return "No image: open a 3-D volume, for example from File > Open Sample."
        return obstacle

    def _form(self) -> QFormLayout:
        """Run and image, to be followed by what else can be chosen."""
        model = wrapped((self.models, 1), self.browse)
        rows = form(("Model", model))
        rows.addRow(self.about)  # its long lines take the room of a title, too
        add_row(rows, "Image", self.images)
        return rows

    def _on_browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self._wanted)
        if chosen:
            self.add_model(Path(chosen))

    def _on_image_changed(self) -> None:
        self._update_buttons()


def known_models() -> list[tuple[str, Path]]:
    """Title and run folder of every model to offer; the shipped ones first."""
    from napari_uda.run.run import Run

    shipped = Run.list(SAMPLES)
    found = [(title, path) for path, title in _SHIPPED.items() if path in shipped]
    runs = Run.list(Path("runs"))[:_MOST_FOUND] if is_folder("runs") else []
    seen = {path for _, path in found}
    for path in (*recent_models(), *(run.resolve() for run in runs)):
        if path not in seen:
            seen.add(path)
            found.append((title_of(path), path))
    return found


def recent_models() -> list[Path]:
    """Run folders the user chose before and that still exist, newest first."""
    stored = preferences.settings().value(_RECENT) or []
    paths = [stored] if isinstance(stored, str) else list(stored)
    return [Path(path) for path in paths if is_folder(path)]


def remember_model(path: Path) -> None:
    """Put a run folder at the head of the recent ones."""
    if path in _SHIPPED:
        return
    kept = [other for other in recent_models() if other != path]
    preferences.settings().setValue(_RECENT, [str(one) for one in [path, *kept][:_MOST_RECENT]])


def known_translators() -> list[tuple[str, Path, str]]:
    """Title, run folder and description of every run to offer that has generators.

    Slow, and it loads torch: for a worker thread.
    """
    found = []
    for title, path in known_models():
        with suppress(InputError):  # what is no run, or another kind of run, is not offered
            found.append((title, *read_translator(path)[1:]))
    return found


def read_translator(path: Path) -> tuple[str, Path, str]:
    """The same of one run.

    Raises:
        InputError: if the folder is no trained run or has no generators.
    """
    load_torch()
    from napari_uda.experiments.model_summary import describe_translator

    return title_of(path), path, describe_translator(path)


def is_shipped(path: Path) -> bool:
    """Whether a run folder came with napari_uda: nothing is written into it."""
    return path in _SHIPPED


def title_of(path: Path) -> str:
    """How a run folder is listed."""
    return _SHIPPED.get(path, f"{path.name} ({path.parent.name})")


def _rank_of_image(layer: Layer) -> int:
    return 1 if tag(layer).get("role") == "image" else 0
