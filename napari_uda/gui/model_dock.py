"""ModelDock: a dock that gives an image of the viewer to a trained run."""

from collections.abc import Collection
from pathlib import Path
from typing import TypeGuard

import napari.viewer
from napari.layers import Image, Layer
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_uda.gui.canvas_context import free_in_canvas
from napari_uda.gui.choosers import LayerChooser
from napari_uda.gui.geometry import tag
from napari_uda.gui.job_dock import JobDock
from napari_uda.gui.one_place import share_place
from napari_uda.gui.worker import guarded

NOT_IMAGES = ("entropy", "background", "preview")
"""Roles of image layers that are never segmented or translated."""


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
        parent: QWidget | None = None,
        *,
        wanted: str = "Run folder of a trained network",
        not_images: Collection[str] = NOT_IMAGES,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        share_place(self)
        free_in_canvas(viewer)
        self._wanted = wanted
        self.models = QComboBox()
        self.models.setObjectName("models")
        self.models.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.models.setMinimumContentsLength(12)
        self.models.setToolTip(wanted)
        self.models.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.browse = QPushButton("Browse…")
        self.browse.setToolTip("Choose a run folder (it holds a config.yaml)")
        self.about = QLabel()
        self.about.setObjectName("about")
        self.about.setWordWrap(True)
        self.images = LayerChooser(
            viewer, lambda layer: is_volume(layer, not_images), _rank_of_image
        )
        self.images.setObjectName("images")
        self.images.setToolTip("Image layer: one grey 3-D volume")
        self.browse.clicked.connect(self._on_browse)
        self.images.currentIndexChanged.connect(self._on_image_changed)

    @property
    def viewer(self) -> napari.viewer.Viewer:
        """Whose layers the dock offers and adds."""
        return self._viewer

    @property
    def model(self) -> Path | None:
        """The chosen run folder."""
        return self._model()

    def add_model(self, path: Path) -> None:
        """Choose a run folder, listed or not."""
        raise NotImplementedError

    def _form(self) -> QFormLayout:
        """Run and image, to be followed by what else can be chosen."""
        model = QHBoxLayout()
        model.addWidget(self.models, 1)
        model.addWidget(self.browse)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Model", model)
        form.addRow("", self.about)
        form.addRow("Image", self.images)
        return form

    def _model(self) -> Path | None:
        data = self.models.currentData()
        return Path(data) if data else None

    @guarded
    def _on_browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self._wanted)
        if chosen:
            self.add_model(Path(chosen))

    @guarded
    def _on_image_changed(self) -> None:
        self._update_buttons()


def is_volume(layer: Layer, not_images: Collection[str] = NOT_IMAGES) -> TypeGuard[Image]:
    """Whether a layer is a grey 3-D image of none of these roles."""
    own = tag(layer)
    return (
        isinstance(layer, Image)
        and layer.ndim == 3
        and not layer.rgb
        and not layer.multiscale
        and own.get("role") not in not_images
        and own.get("part", "translated") == "translated"  # no difference or attention map
    )


def _rank_of_image(layer: Layer) -> int:
    return 1 if tag(layer).get("role") == "image" else 0
