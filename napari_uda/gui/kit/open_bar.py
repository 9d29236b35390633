"""OpenBar: the row at the top of a dock that opens a user's own files."""

from __future__ import annotations

from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.files import LayerData, read_layers
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layout import row
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import button


class OpenBar(Panel):
    """Opens volumes in a thread and shows them."""

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.volume = button(
            "Open volume…", "NIfTI, NRRD, MetaImage, MGZ", self._on_volume, "open_volume"
        )
        row(self.volume, ..., of=self, margin=0)

    def open(self, path: Path) -> None:
        """Read a volume in a thread and add it as a layer."""
        background(self, f"Open {path.name}", lambda: read_layers(path), self._on_read)

    def _on_volume(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Open a volume")
        if chosen:
            self.open(Path(chosen))

    def _on_read(self, content: LayerData) -> None:
        try:
            self.viewer.add_layer(Layer.create(*content))
        except ValueError as error:
            raise InputError(f"this volume cannot be shown: {error}") from error
