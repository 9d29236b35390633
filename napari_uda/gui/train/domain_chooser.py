"""Where the volumes of a domain are: a data folder, or layers open in the viewer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_uda.core.files import refusal
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layout import form, show_row
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.setting_fields import CalmComboBox, PathEditor

_FOLDER, _LAYERS = "data folder", "layers in the viewer"
_MODALITIES = ("other", "CT", "MR")


@dataclass(frozen=True, eq=False)
class LayerDomain:
    """A domain of one case: an image layer and, for a labelled domain, its labels layer."""

    image: Image
    labels: Labels | None
    modality: str


class DomainChooser(QWidget):
    """Chooses the volumes of one domain; emits `changed()`.

    Attributes:
        kind: folder or layers.
        folder: editor of the data folder.
    """

    changed = Signal()

    def __init__(
        self, title: str, viewer: ViewerModel | None, parent: QWidget | None = None
    ) -> None:
        """Build.

        Args:
            title: the domain, such as "Source".
            viewer: whose layers to offer; None offers folders only.
            parent: owner.
        """
        super().__init__(parent)
        self._title = title
        self._labelled = True
        self.setObjectName(f"{title.lower()}_domain")
        self.kind = CalmComboBox()
        self.kind.setObjectName(f"{title.lower()}_kind")
        self.kind.addItems([_FOLDER] if viewer is None else [_FOLDER, _LAYERS])
        self.kind.setToolTip(f"Where the volumes of the {title.lower()} are")
        self.folder = PathEditor(folder=True)
        self.folder.line.setObjectName(f"{title.lower()}_folder")
        self.folder.line.setPlaceholderText("folder with images/ and labels/")
        self.folder.setToolTip(
            "Data folder: images/<case>.nii.gz, labels/<case>.nii.gz, dataset.json; or nnU-Net raw"
        )
        self.folder.edited.connect(self._on_changed)
        self.images: LayerChooser | None = None
        self.labels: LayerChooser | None = None
        self.modality = CalmComboBox()
        self._layers = QWidget()
        self._layer_rows = form(of=self._layers)
        if viewer is not None:
            self._add_layer_rows(viewer)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        kind = form()
        kind.addRow(title, self.kind)
        layout.addLayout(kind)
        layout.addWidget(self.folder)
        layout.addWidget(self._layers)
        self.kind.currentIndexChanged.connect(self._on_kind)
        self._show_rows()

    def _add_layer_rows(self, viewer: ViewerModel) -> None:
        images = LayerChooser(viewer, _is_image, _rank("image"))
        images.setToolTip("Image layer: one grey 3-D volume")
        labels = LayerChooser(viewer, _is_labels, _rank("reference"))
        labels.setToolTip("Labels layer on the image's grid")
        self.modality.addItems(_MODALITIES)
        self.modality.setToolTip("CT has fixed grey values, which auto intensities make use of")
        self._layer_rows.addRow("Image", images)
        self._layer_rows.addRow("Labels", labels)
        self._layer_rows.addRow("Modality", self.modality)
        for box in (images, labels):
            box.currentIndexChanged.connect(self._on_changed)
        self.images, self.labels = images, labels

    @property
    def uses_layers(self) -> bool:
        """Whether layers are chosen rather than a folder."""
        return self.kind.currentText() == _LAYERS

    def set_labelled(self, labelled: bool) -> None:
        """Whether labels are wanted of this domain."""
        self._labelled = labelled
        self._show_rows()

    def use_layers(self) -> None:
        """Choose layers of the viewer, where there is one."""
        self.kind.setCurrentIndex(self.kind.count() - 1)

    def set_folder(self, folder: Path) -> None:
        """Choose a data folder."""
        self.kind.setCurrentIndex(0)
        self.folder.set_value(folder)
        self.changed.emit()

    def chosen(self) -> Path | LayerDomain | None:
        """The folder or the layers; None as long as something is missing."""
        if self.images is None or self.labels is None or not self.uses_layers:
            folder: Path | None = self.folder.value()
            return folder
        image, labels = self.images.layer, self.labels.layer if self._labelled else None
        if image is None or (self._labelled and labels is None):
            return None
        modality = self.modality.currentText()
        assert isinstance(image, Image)
        assert labels is None or isinstance(labels, Labels)
        return LayerDomain(image, labels, "" if modality == _MODALITIES[0] else modality)

    def obstacle(self) -> str:
        """What is missing, in one sentence; "" for nothing."""
        chosen = self.chosen()
        if chosen is None and self.uses_layers:
            wanted = "an image layer and its labels layer" if self._labelled else "an image layer"
            return f"{self._title}: open {wanted}, or choose a data folder."
        if chosen is None:
            return f"{self._title}: choose a data folder."
        if isinstance(chosen, Path):
            try:
                is_there = chosen.is_dir()
            except OSError as error:
                return f"{self._title}: {refusal(error)}."
            if not is_there:
                return f"{self._title}: there is no folder {chosen}; check the path."
        return ""

    def _show_rows(self) -> None:
        self.folder.setVisible(not self.uses_layers)
        self._layers.setVisible(self.uses_layers)
        if self.labels is not None:
            show_row(self._layer_rows, self.labels, self._labelled)

    @guarded
    def _on_kind(self) -> None:
        self._show_rows()
        self.changed.emit()

    @guarded
    def _on_changed(self) -> None:
        self.changed.emit()


def _is_image(layer: Layer) -> bool:
    return (
        isinstance(layer, Image)
        and layer.ndim == 3
        and not layer.rgb
        and not layer.multiscale
        and tag(layer).get("role", "image") == "image"
    )


def _is_labels(layer: Layer) -> bool:
    role = tag(layer).get("role", "reference")
    return isinstance(layer, Labels) and layer.ndim == 3 and role in ("reference", "prediction")


def _rank(role: str) -> Callable[[Layer], int]:
    return lambda layer: 1 if tag(layer).get("role") == role else 0
