"""Dock `View`: window and level, sides of the patient, linked cuts, and what lies under the cursor."""

import napari.viewer
import numpy as np
from napari.layers import Image, Layer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_uda.core.errors import InputError
from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.canvas import free_in_canvas
from napari_uda.gui.kit.dock import Dock, bind_keys, share_place
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.jobs import Job
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layout import TwoParts
from napari_uda.gui.kit.navigation import AXIS_NAMES, go_to_slice
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.kit.sides import Sides, is_left_to_right, patient_directions, sides
from napari_uda.gui.view.canvas_text import CanvasText
from napari_uda.gui.view.cursor_reading import read_at
from napari_uda.gui.view.linked_views import LinkedViews
from napari_uda.gui.view.readout import Readout
from napari_uda.gui.view.window_drag import WindowDrag
from napari_uda.gui.view.window_level import Window, percentile_window
from napari_uda.gui.view.window_panel import DRAG_KEY, WindowPanel, window_text

CONVENTION_KEY = "N"
_READ_MS = 30
_PLACES = ("scale", "translate", "rotate", "shear", "affine")


class ViewDock(Dock):
    """Tools for looking at a volume; they change how layers are shown, never their values."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        share_place(self)
        free_in_canvas(napari_viewer)
        self._image: Image | None = None
        self._directions: np.ndarray | None = None  # of the viewer's axes in the patient
        self._position: tuple[float, ...] = ()  # last place of the mouse
        self._text = CanvasText(napari_viewer)
        self._drag = WindowDrag(napari_viewer, lambda: self._image)
        self._build()
        self._lay_out()
        self._connect()
        self._preload()

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.images = LayerChooser(self._viewer, _is_image, _rank)
        self.images.setObjectName("images")
        self.images.setToolTip("Image whose window and orientation are meant")
        self.window = WindowPanel()
        self.letters = QCheckBox("Sides of the patient")
        self.letters.setObjectName("letters")
        self.letters.setToolTip(
            "Letters on the four sides of the image, from its affine, and its window"
        )
        self.neurological = QPushButton(f"Neurological ({CONVENTION_KEY})")
        self.neurological.setObjectName("neurological")
        self.neurological.setCheckable(True)
        self.neurological.setToolTip(
            "Off: radiological, the patient's right is on the left of the screen.\n"
            "On: neurological, the patient's right is on the right."
        )
        self.planes = QButtonGroup(self)
        for axis, name in enumerate(AXIS_NAMES):
            button = QPushButton(name.partition(" · ")[2].capitalize(), self)  # a group owns none
            button.setCheckable(True)
            button.setToolTip(f"Show {button.text().lower()} slices in the canvas")
            self.planes.addButton(button, axis)
        self.linked = QCheckBox("Linked cuts")
        self.linked.setObjectName("linked")
        self.linked.setToolTip(
            "The two other cuts through one cursor: click into any of the three to move it"
        )
        self.views = LinkedViews(self._viewer, self._sides_of)
        self.readout = Readout()
        self._read = QTimer(self)
        self._read.setSingleShot(True)
        self._read.setInterval(_READ_MS)
        self._write = QTimer(self)
        self._write.setInterval(0)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Image", self.images)
        patient = QHBoxLayout()
        patient.addWidget(self.letters)
        patient.addWidget(self.neurological, 1)
        planes = QHBoxLayout()
        for button in self.planes.buttons():
            planes.addWidget(button, 1)
        controls = QWidget()
        above = QVBoxLayout(controls)
        above.setContentsMargins(0, 0, 0, 0)
        above.addLayout(form)
        above.addWidget(self.window)
        above.addLayout(patient)
        above.addLayout(planes)
        above.addWidget(self.readout)
        above.addWidget(self.linked)
        self._parts = TwoParts(controls, self.views)
        outer = QVBoxLayout(self)
        outer.addWidget(self._parts)

    def _connect(self) -> None:
        self.images.currentIndexChanged.connect(self._on_image_changed)
        self.window.window_chosen.connect(self._on_window)
        self.window.percentiles_chosen.connect(self._on_percentiles)
        self.window.drag_toggled.connect(self._on_drag)
        self.letters.toggled.connect(self._on_letters)
        self.neurological.toggled.connect(self._on_convention)
        self.planes.idClicked.connect(self._on_plane)
        self.linked.toggled.connect(self._on_linked)
        self.views.hovered.connect(self._on_moved)
        self._parts.turned.connect(self.views.lie)
        self._read.timeout.connect(self._show_reading)
        self._write.timeout.connect(self._write_text)
        viewer, turned, hovered = self._viewer, self._on_turned, self._on_cursor
        turns = (viewer.dims.events.order, viewer.dims.events.ndisplay)
        for event in turns:
            event.connect(turned)
        viewer.cursor.events.position.connect(hovered)
        drag, text, watch = self._drag, self._text, self._watch

        def leave() -> None:
            for event in turns:
                event.disconnect(turned)
            viewer.cursor.events.position.disconnect(hovered)
            watch(None)
            drag.leave()
            text.remove()
            viewer.scene.camera.orientation2d = ("down", "right")

        self.destroyed.connect(leave)
        bind_keys(
            viewer,
            self,
            {
                DRAG_KEY: (self.window.drag, self.window.drag.toggle),
                CONVENTION_KEY: (self.neurological, self.neurological.toggle),
            },
        )

    def _preload(self) -> None:
        """Get settings, and import what napari turns its camera with: up to a second, in a thread."""
        self._loading: Job | None = Job(
            "Prepare the view", lambda report, stop: _prepare(), self, quiet=True
        )
        self._loading.succeeded.connect(lambda settings: self._on_loaded(*settings))
        self._loading.start()

    @guarded
    def _on_loaded(self, letters: bool, convention: preferences.Convention) -> None:
        self._loading = None
        for box, wanted in (
            (self.letters, letters),
            (self.neurological, convention == "neurological"),
        ):
            box.blockSignals(True)
            box.setChecked(wanted)
            box.blockSignals(False)
        self._on_image_changed()

    @property
    def is_settled(self) -> bool:
        """Whether everything is shown as it is wanted."""
        resting = not self._write.isActive() and not self._read.isActive()
        return self._loading is None and resting and self.views.is_settled

    # -- the image --------------------------------------------------------------------------------

    @guarded
    def _on_image_changed(self) -> None:
        if self._loading is not None:
            return
        layer = self.images.layer
        image = layer if isinstance(layer, Image) else None
        if image is not self._image or self._directions is None:
            self._watch(image)
            self._find_directions()
            self._show_window()
            self._on_turned()
            self.views.show_image(image, self.linked.isChecked())
            self._show_reading()

    def _watch(self, image: Image | None) -> None:
        """Follow the contrast and the place of one image."""
        if self._image is not None:
            self._image.events.contrast_limits.disconnect(self._show_window)
            for name in _PLACES:
                getattr(self._image.events, name).disconnect(self._on_placed)
        self._image = image
        if image is not None:
            image.events.contrast_limits.connect(self._show_window)
            for name in _PLACES:
                getattr(image.events, name).connect(self._on_placed)

    @guarded
    def _on_placed(self) -> None:
        self._find_directions()
        self._on_turned()

    def _find_directions(self) -> None:
        self._directions = None
        if self._image is not None:
            try:
                self._directions = patient_directions(self._image)
            except InputError:  # a transform that cannot be inverted has no sides
                self._directions = None

    # -- window and level -------------------------------------------------------------------------

    @guarded
    def _show_window(self) -> None:
        window = None if self._image is None else Window.of(self._image)
        self.window.show_window(window)
        shown = window is not None and self.letters.isChecked()
        self._text.want_line(window_text(window) if window is not None and shown else "")
        self._write.start()

    @guarded
    def _on_window(self, window: Window) -> None:
        if self._image is not None:
            window.apply(self._image)

    @guarded
    def _on_percentiles(self, low: float, high: float) -> None:
        if self._image is not None:
            percentile_window(self._image, low, high).apply(self._image)

    @guarded
    def _on_drag(self, wanted: bool) -> None:
        self._drag.active = wanted

    # -- sides of the patient ---------------------------------------------------------------------

    def _sides_of(self, rows: int, columns: int) -> tuple[Sides | None, bool]:
        """Letters of a cut with these axes of the volume, and whether it is mirrored."""
        if self._directions is None:
            return None, False
        mirrored = self._is_mirrored(columns)
        shown = sides(self._directions, rows, columns, mirrored=mirrored)
        return (shown if self.letters.isChecked() else None), mirrored

    def _is_mirrored(self, columns: int) -> bool:
        """Whether the convention wants columns that run from left to right turned round."""
        if self._directions is None or not is_left_to_right(self._directions, columns):
            return False
        to_the_left = self._directions[columns, 0] < 0  # radiological as it is
        return bool(to_the_left == self.neurological.isChecked())

    @guarded
    def _on_turned(self) -> None:
        """Letters and mirroring of the canvas, and which plane's button is pressed."""
        dims = self._viewer.dims
        if self._loading is not None:
            return
        spare = dims.ndim - 3
        # two axes and less have no third one: everything below knows -1 as no axis of a volume
        cut, rows, columns = (*(-1,) * -spare, *(axis - spare for axis in dims.order))[-3:]
        flat = dims.ndisplay == 2 and min(cut, rows, columns) >= 0
        shown, mirrored = self._sides_of(rows, columns) if flat else (None, False)
        orientation = ("down", "left" if mirrored else "right")
        if tuple(map(str, self._viewer.scene.camera.orientation2d)) != orientation:
            self._viewer.scene.camera.orientation2d = orientation
        self._text.want_sides(shown)
        self._write.start()
        button = self.planes.button(cut)
        if button is not None:
            button.setChecked(True)
        for each in self.planes.buttons():
            each.setEnabled(self._image is not None)
        self.views.redraw()

    @guarded
    def _write_text(self) -> None:
        """One text per turn of the event loop."""
        if not self._text.step():
            self._write.stop()

    @guarded
    def _on_letters(self, wanted: bool) -> None:
        preferences.remember_letters(wanted)
        self._on_turned()
        self._show_window()

    @guarded
    def _on_convention(self, neurological: bool) -> None:
        preferences.remember_convention("neurological" if neurological else "radiological")
        self._on_turned()

    @guarded
    def _on_plane(self, axis: int) -> None:
        if self._image is not None:
            here = self._image.world_to_data(self._viewer.dims.point[-3:])
            go_to_slice(self._viewer, self._image, axis, round(float(here[axis])))

    @guarded
    def _on_linked(self, wanted: bool) -> None:
        self.views.show_image(self._image, wanted)

    # -- the cursor -------------------------------------------------------------------------------

    @guarded
    def _on_cursor(self) -> None:
        self._on_moved(tuple(self._viewer.cursor.position))

    @guarded
    def _on_moved(self, position: tuple[float, ...]) -> None:
        self._position = position
        if not self._read.isActive():
            self._read.start()

    @guarded
    def _show_reading(self) -> None:
        image, position = self._image, self._position
        known = image is not None and image in self._viewer.layers and len(position) >= 3
        flat = self._viewer.dims.ndisplay == 2
        reading = read_at(self._viewer, image, position) if known and flat else None
        self.readout.show_reading(reading)


def _prepare() -> tuple[bool, preferences.Convention]:
    """In the thread."""
    import scipy.spatial.transform  # noqa: F401

    return preferences.letters_wanted(), preferences.convention()


def _is_image(layer: Layer) -> bool:
    return (
        isinstance(layer, Image)
        and layer.ndim == 3
        and not layer.rgb
        and not layer.multiscale
        and tag(layer).get("role") not in ("entropy", "background")
        and tag(layer).get("part", "translated") in ("translated", "cycle")
    )


def _rank(layer: Layer) -> int:
    return 1 if tag(layer).get("role") == "image" else 0
