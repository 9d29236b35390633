"""Dock `View`: window and level, sides of the patient, linked cuts, and what lies under the cursor."""

from contextlib import suppress

import napari.viewer
import numpy as np
from napari.layers import Image, Layer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QButtonGroup, QWidget
from superqt.utils import signals_blocked

from napari_uda.core.errors import InputError
from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.canvas import free_in_canvas
from napari_uda.gui.kit.dock import Dock, bind_keys, share_place
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.help import help_button
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layers import is_volume
from napari_uda.gui.kit.layout import TwoParts, column, form, wrapped
from napari_uda.gui.kit.navigation import AXIS_NAMES, go_to_slice
from napari_uda.gui.kit.panel import Following, delay, listen
from napari_uda.gui.kit.widgets import button, check_box, named
from napari_uda.gui.view.canvas_text import CanvasText
from napari_uda.gui.view.linked_views import LinkedViews
from napari_uda.gui.view.readout import Readout, read_at
from napari_uda.gui.view.sides import Sides, is_left_to_right, patient_directions, sides
from napari_uda.gui.view.window import WindowPanel

CONVENTION_KEY, PLANE_KEY = "N", "J"
_READ_MS = 30
_PLACES = ("scale", "translate", "rotate", "shear", "affine")
_NOT_LOOKED_AT = ("entropy", "background")
_PARTS = ("translated", "cycle")  # of a translation
_HELP = (
    "Sets window and level of the chosen image, by preset, by number, or by dragging in the image.",
    "Writes the sides of the patient on the edges of the image.",
    "Turns the canvas to axial, coronal or sagittal cuts.",
    "Linked cuts shows the two other cuts through one cursor; click into any of the three to move it.",
    "The readout tells position, value, structure and entropy under the mouse.",
)


class ViewDock(Dock):
    """Tools for looking at a volume; they change how layers are shown, never their values."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        share_place(self)
        free_in_canvas(napari_viewer)
        self._loaded = False  # the settings
        self._image: Image | None = None
        self._directions: np.ndarray | None = None  # of the viewer's axes in the patient
        self._position: tuple[float, ...] = ()  # last place of the mouse
        self._text = CanvasText(napari_viewer)
        self._build()
        self._lay_out()
        self._connect()
        background(self, "Prepare the view", _prepare, self._on_loaded, quiet=True)

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.images = named(
            LayerChooser(
                self.viewer, lambda layer: is_volume(layer, _NOT_LOOKED_AT, _PARTS), _rank
            ),
            "images",
            "Image whose window and sides are shown and changed below",
        )
        self.help = help_button(self, "View", _HELP)
        self.window_panel = WindowPanel(self.viewer)
        self.letters = check_box(
            "Sides of the patient",
            "Write which side of the patient is at each edge of the image, and its window in a corner",
            self._on_letters,
            "letters",
        )
        self.neurological = button(
            f"Neurological ({CONVENTION_KEY})",
            "Off: radiological, the patient's right is on the left of the screen.\n"
            "On: neurological, the patient's right is on the right.",
            name="neurological",
        )
        self.neurological.setCheckable(True)
        self.planes = QButtonGroup(self)
        for axis, name in enumerate(AXIS_NAMES):
            plane = name.partition(" · ")[2]
            choice = button(plane.capitalize(), f"Show {plane} slices in the canvas")
            choice.setObjectName(f"plane_{plane}")
            choice.setCheckable(True)
            choice.setParent(self)  # a group owns none
            self.planes.addButton(choice, axis)
        self.linked = check_box(
            "Linked cuts",
            "The two other cuts through one cursor: click into any of the three to move it",
            self._on_linked,
            "linked",
        )
        self.views = LinkedViews(self.viewer, self._sides_of)
        self.readout = Readout()
        self._read = delay(self, _READ_MS, self._on_rest)
        self._write = QTimer(self)
        self._write.setInterval(0)

    def _lay_out(self) -> None:
        controls = QWidget()
        column(
            form(("Image", wrapped((self.images, 1), self.help))),
            self.window_panel,
            wrapped(self.letters, (self.neurological, 1)),
            wrapped(*((choice, 1) for choice in self.planes.buttons())),
            self.readout,
            self.linked,
            of=controls,
            margin=0,
        )
        parts = TwoParts(controls, self.views)
        parts.turned.connect(self.views.lie)
        column(parts, of=self, margin=4)

    def _connect(self) -> None:
        self.images.currentIndexChanged.connect(self._on_image_changed)
        self.window_panel.changed.connect(self._on_window_changed)
        self.neurological.toggled.connect(self._on_convention)
        self.planes.idClicked.connect(self._on_plane)
        self.views.hovered.connect(self._on_moved)
        self._write.timeout.connect(self._on_write)
        viewer, text = self.viewer, self._text
        listen(self, self._on_turned, viewer.dims.events.order, viewer.dims.events.ndisplay)
        listen(self, self._on_cursor, viewer.cursor.events.position)
        self._places = Following(self, self._on_placed)

        def leave() -> None:
            text.remove()
            viewer.scene.camera.orientation2d = ("down", "right")

        self.destroyed.connect(leave)
        bind_keys(
            viewer,
            self,
            {
                CONVENTION_KEY: (self.neurological, self.neurological.toggle),
                PLANE_KEY: (self.planes.buttons()[0], self._on_next_plane, "Next cut"),
            },
        )

    def _on_loaded(self, settings: tuple[bool, preferences.Convention]) -> None:
        self._loaded = True
        letters, convention = settings
        with signals_blocked(self.letters), signals_blocked(self.neurological):
            self.letters.setChecked(letters)
            self.neurological.setChecked(convention == "neurological")
        self._on_image_changed()

    @property
    def is_settled(self) -> bool:
        """Whether everything is shown as it is wanted."""
        waiting = self._write.isActive() or self._read.isActive()
        return super().is_settled and not waiting and self.views.is_settled

    # -- the image --------------------------------------------------------------------------------

    def _on_image_changed(self) -> None:
        layer = self.images.layer
        image = layer if isinstance(layer, Image) else None
        if not self._loaded or (image is self._image and self._directions is not None):
            return
        self._image = image
        places = [] if image is None else [getattr(image.events, name) for name in _PLACES]
        self._places.follow(*places)
        self._find_directions()
        self.window_panel.show_image(image)
        self._on_turned()
        self.views.show_image(image, self.linked.isChecked())
        self._on_rest()

    def _on_placed(self) -> None:
        self._find_directions()
        self._on_turned()

    def _find_directions(self) -> None:
        self._directions = None
        if self._image is not None:
            with suppress(InputError):  # a transform that cannot be inverted has no sides
                self._directions = patient_directions(self._image)

    # -- window and level -------------------------------------------------------------------------

    def _on_window_changed(self) -> None:
        window = self.window_panel.shown
        wanted = window is not None and self.letters.isChecked()
        self._text.want_line(str(window) if wanted else "")
        self._write.start()

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

    def _on_turned(self) -> None:
        """Letters and mirroring of the canvas, and which plane's button is pressed."""
        if not self._loaded:
            return
        dims = self.viewer.dims
        spare = dims.ndim - 3
        # two axes and less have no third one: everything below knows -1 as no axis of a volume
        cut, rows, columns = (*(-1,) * -spare, *(axis - spare for axis in dims.order))[-3:]
        flat = dims.ndisplay == 2 and min(cut, rows, columns) >= 0
        shown, mirrored = self._sides_of(rows, columns) if flat else (None, False)
        orientation = ("down", "left" if mirrored else "right")
        if tuple(map(str, self.viewer.scene.camera.orientation2d)) != orientation:
            self.viewer.scene.camera.orientation2d = orientation
        self._text.want_sides(shown)
        self._write.start()
        for choice in self.planes.buttons():
            choice.setEnabled(self._image is not None)
            if self.planes.id(choice) == cut:
                choice.setChecked(True)
        self.views.redraw()

    def _on_write(self) -> None:
        """One text per turn of the event loop."""
        if not self._text.step():
            self._write.stop()

    def _on_letters(self, wanted: bool) -> None:
        preferences.remember_letters(wanted)
        self._on_turned()
        self._on_window_changed()

    def _on_convention(self, neurological: bool) -> None:
        preferences.remember_convention("neurological" if neurological else "radiological")
        self._on_turned()

    def _on_plane(self, axis: int) -> None:
        if self._image is not None:
            here = self._image.world_to_data(self.viewer.dims.point[-3:])
            go_to_slice(self.viewer, self._image, axis, round(float(here[axis])))

    def _on_next_plane(self) -> None:
        self._on_plane((self.planes.checkedId() + 1) % len(AXIS_NAMES))

    def _on_linked(self, wanted: bool) -> None:
        self.views.show_image(self._image, wanted)

    # -- the cursor -------------------------------------------------------------------------------

    def _on_cursor(self) -> None:
        self._on_moved(tuple(self.viewer.cursor.position))

    def _on_moved(self, position: tuple[float, ...]) -> None:
        self._position = position
        if not self._read.isActive():
            self._read.start()

    def _on_rest(self) -> None:
        image, position = self._image, self._position
        known = image is not None and image in self.viewer.layers and len(position) >= 3
        flat = self.viewer.dims.ndisplay == 2
        reading = read_at(self.viewer, image, position) if known and flat else None
        self.readout.show_reading(reading)


def _prepare() -> tuple[bool, preferences.Convention]:
    """In the thread."""
    import scipy.spatial.transform  # noqa: F401

    return preferences.letters_wanted(), preferences.convention()


def _rank(layer: Layer) -> int:
    return 1 if tag(layer).get("role") == "image" else 0
