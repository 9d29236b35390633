"""Dock `View`: window and level, sides of the patient, linked cuts, and what lies under the cursor."""

from contextlib import suppress

import napari.viewer
import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.events import Event
from qtpy.QtWidgets import QButtonGroup, QSpinBox, QWidget
from superqt.utils import signals_blocked

from napari_uda.core.errors import InputError
from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.canvas import free_in_canvas
from napari_uda.gui.kit.canvas_words import Line, canvas_words
from napari_uda.gui.kit.dock import AROUND, Dock, bind_keys, share_place
from napari_uda.gui.kit.geometry import Placement, placement, tag
from napari_uda.gui.kit.hatching import hatch_maps
from napari_uda.gui.kit.help import help_button
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.large_in_3d import guard_3d
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layout import TwoParts, column, form, wrapped
from napari_uda.gui.kit.navigation import (
    AXIS_NAMES,
    current_slice,
    go_to_slice,
)
from napari_uda.gui.kit.open_bar import OpenBar
from napari_uda.gui.kit.panel import Following, delay, listen
from napari_uda.gui.kit.widgets import Foldable, button, check_box, label, named
from napari_uda.gui.view.canvas_legend import CanvasLegend
from napari_uda.gui.view.linked_views import LinkedViews
from napari_uda.gui.view.measure import MeasurePanel
from napari_uda.gui.view.readout import Readout, read_at
from napari_uda.gui.view.seen import Seen, contains, is_looked_at, seen_at, title_of
from napari_uda.gui.view.sides import Sides, is_left_to_right, patient_directions, sides
from napari_uda.gui.view.surfaces import SurfacePanel, shows_surfaces
from napari_uda.gui.view.turned_volumes import TurnedNotice
from napari_uda.gui.view.window import WindowPanel, window_of

CONVENTION_KEY, PLANE_KEY = "N", "J"
_READ_MS = 30
_SCROLL_MS = 200  # slices that follow each other faster are scrolled through
_WORDS_MS = 300
_SIDES = {
    "left": "middle_left",
    "right": "middle_right",
    "top": "top_center",
    "bottom": "bottom_center",
}
_LETTER_POINTS = 16.0
_LINE, _LINE_PLACE = "line", "bottom_left"
_PLACES = ("scale", "translate", "rotate", "shear", "affine")
_HELP = (
    "Sets window and level of the chosen image, by preset, by number, or by dragging in the image.",
    "Writes the sides of the patient on the edges of the image, and what its colours stand for.",
    "Turns the canvas to axial, coronal or sagittal cuts; a number leads to a slice.",
    "The readout tells position, value, structure and entropy under the mouse.",
    "Measure has a ruler, areas with their values, and volumes and diameters of structures.",
    "Linked cuts shows the two other cuts through one cursor; click into any of the three to move it.",
    "3-D surfaces shows structures as closed surfaces, and their distance to the reference.",
)
_NO_IMAGE = Seen(None)


class ViewDock(Dock):
    """Tools for looking at a volume; they change how layers are shown, never their values."""

    kept = (
        *("images", "letters", "canvas_legend", "neurological", "linked"),
        *("surface_distance", "surfaces"),
    )

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        share_place(self)
        free_in_canvas(napari_viewer)
        guard_3d(napari_viewer)
        hatch_maps(napari_viewer)
        self._loaded = False  # the settings
        self._seen = _NO_IMAGE  # at the cross
        self._image: Image | None = None  # the one that is seen
        self._lies: Placement | None = None  # kept: to find it for every slice would be slow
        self._directions: np.ndarray | None = None  # of the viewer's axes in the patient
        self._cursor: tuple[float, ...] = tuple(napari_viewer.cursor.position)
        self._mouse: tuple[float, ...] | None = None  # None before it moved
        self._in_canvas = False  # the mouse, else in a pane
        self.words = canvas_words(napari_viewer)
        self._legend = CanvasLegend(napari_viewer, self.words, self)
        self._build()
        self._lay_out()
        self._connect()
        background(self, "Prepare the view", _prepare, self._on_loaded, quiet=True)

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.open_bar = OpenBar(self.viewer, self)
        self.images = named(
            LayerChooser(self.viewer, is_looked_at, _rank),
            "images",
            "Image whose window is shown and changed below: the uppermost visible one, or your choice",
        )
        self.help = help_button(self, "View", _HELP)
        self.about = label(name="about_image")
        self.turned = TurnedNotice(self.viewer)
        self._compare = delay(self, 0, self.turned.look)
        self.window_panel = WindowPanel(self.viewer)
        self.letters = check_box(
            "Sides of the patient",
            "Write which side of the patient is at each edge of the image, and its window in a corner",
            self._on_letters,
            "letters",
        )
        self.legend = check_box(
            "Legend",
            "Write what the colours on the canvas stand for into its corner",
            self._on_legend,
            "canvas_legend",
            checked=True,
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
        self.slice_number = named(
            QSpinBox(),
            "slice_number",
            "Number of the slice in the file, from 0; type another one to go there",
        )
        self.slice_number.setKeyboardTracking(False)
        self.slice_about = label(name="slice_about")
        self.measure = MeasurePanel(self.viewer)
        self.measuring = Foldable("Measure", self.measure, "measure")
        self.linked = check_box(
            "Linked cuts",
            "The two other cuts through one cursor: click into any of the three to move it",
            self._on_linked,
            "linked",
        )
        self.views = LinkedViews(self.viewer, self.words, self._sides_of, self._title_of)
        self.surfaces = SurfacePanel(self.viewer)
        self.readout = Readout()
        self._read = delay(self, _READ_MS, self._on_rest)
        self._scroll = delay(self, _SCROLL_MS, self._on_scrolled)
        self._words = delay(self, _WORDS_MS, self._on_look)
        self._stale = False  # a slice came by that is not spoken of

    def _lay_out(self) -> None:
        self.open_bar.add(self.help)
        controls = QWidget()
        column(
            self.open_bar,
            form(("Image", self.images)),
            self.about,
            self.turned,
            self.window_panel,
            wrapped(self.letters, (self.legend, 1), (self.neurological, 1)),
            wrapped(*((choice, 1) for choice in self.planes.buttons())),
            wrapped(self.slice_number, (self.slice_about, 1)),
            self.readout,
            self.measuring,
            self.linked,
            self.surfaces,
            of=controls,
            margin=0,
        )
        parts = TwoParts(controls, self.views)
        parts.turned.connect(self.views.lie)
        column(parts, of=self).setContentsMargins(*AROUND)

    def _connect(self) -> None:
        self.images.currentIndexChanged.connect(self._on_choice)
        self.images.activated.connect(self._on_chosen_by_user)
        self.neurological.toggled.connect(self._on_convention)
        self.planes.idClicked.connect(self._on_plane)
        self.slice_number.valueChanged.connect(self._on_number)
        self.views.hovered.connect(self._on_hovered)
        viewer, words = self.viewer, self.words
        listen(self, self._on_turned, viewer.dims.events.order, viewer.dims.events.ndisplay)
        listen(self, self._on_cursor, viewer.cursor.events.position)
        layers = viewer.layers.events
        listen(self, self._on_layers, layers.inserted, layers.removed, layers.reordered)
        listen(self, self._on_point, viewer.dims.events.point)
        listen(self, self._on_look, layers.renamed)
        self._places = Following(self, self._on_placed)
        self._window = Following(self, self._on_window_changed)
        self._eyes = Following(self, self._on_eye)

        def leave() -> None:
            for name in (*_SIDES, _LINE):
                words.write(name, (), _SIDES.get(name, _LINE_PLACE))
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
        self._legend.want(self.legend.isChecked())
        letters, convention = settings
        with signals_blocked(self.letters), signals_blocked(self.neurological):
            self.letters.setChecked(letters)
            self.neurological.setChecked(convention == "neurological")
        self._on_layers()
        self._on_choice()

    @property
    def is_settled(self) -> bool:
        """Whether everything is shown as it is wanted."""
        timers = (self._read, self._compare)
        waiting = (
            self._stale or any(timer.isActive() for timer in timers) or not self.measure.is_settled
        )
        shown = self.views.is_settled and self.surfaces.is_settled and self._legend.is_settled
        return super().is_settled and not waiting and shown

    def put_back(self) -> None:
        """Leave the surfaces."""
        self.surfaces.put_back()

    # -- the image --------------------------------------------------------------------------------

    def _on_layers(self) -> None:
        """Others, or in another order."""
        shown = [layer for layer in self.viewer.layers if isinstance(layer, (Image, Labels))]
        self._eyes.follow(
            *(event for one in shown for event in (one.events.visible, one.events.opacity))
        )
        self._compare.start()
        self._on_look()

    def _on_eye(self, event: Event) -> None:
        """A layer is shown or hidden: a choice that is not seen any more gives way to what is."""
        layer = self.images.layer
        if layer is not None and event.source is layer and not layer.visible:
            self.images.release()
        else:
            self.images.refresh()
        self._compare.start()
        self._on_look()

    def _on_choice(self) -> None:
        """Another image whose window is shown."""
        if not self._loaded:
            return
        layer = self.images.layer
        self.window_panel.show_image(layer if isinstance(layer, Image) else None)
        self._on_look()

    def _on_chosen_by_user(self) -> None:
        """Who chooses an image wants to see it: the cross goes there when it lies elsewhere."""
        image, dims = self.images.layer, self.viewer.dims
        if isinstance(image, Image) and image.visible and not contains(image, dims.point):
            middle = image.data_to_world([size // 2 for size in image.data.shape])
            dims.set_point(range(dims.ndim - 3, dims.ndim), [float(part) for part in middle])

    def _on_point(self) -> None:
        """The first slice is spoken of at once; while more follow, the dock does so some times a second, and at rest."""
        if self._scroll.isActive():
            self._stale = True
            self._write_line()
            if not self._words.isActive():
                self._words.start()
        else:
            self._on_look()
        self._scroll.start()

    def _on_scrolled(self) -> None:
        self._words.stop()
        if self._stale:
            self._on_look()

    def _on_look(self) -> None:
        """See what is on top at the cross."""
        self._stale = False
        if not self._loaded:
            return
        before, self._seen = self._seen, seen_at(self.viewer, self.viewer.dims.point)
        image = self._image = self._seen.image
        if image is not before.image or (image is None and self._seen.why != before.why):
            places = [] if image is None else [getattr(image.events, name) for name in _PLACES]
            self._window.follow(*([] if image is None else [image.events.contrast_limits]))
            self._places.follow(*places)
            self._find_directions()
            self._on_turned()
            self._show_views()
        self._describe()
        self._read.start()
        self._say()

    def _show_views(self) -> None:
        self.views.show_image(self._image, self.linked.isChecked(), self._seen.why)

    def _describe(self) -> None:
        """Say of which image what is below speaks, where that is not plain."""
        chosen, seen = self.images.layer, self._image
        text = ""
        if chosen is not None and seen is not None and chosen is not seen:
            hidden = " (hidden)" if not chosen.visible else ""
            text = (
                f"Window and level are those of {chosen.name}{hidden}; on top at the cross lies "
                f"{seen.name}."
            )
        if self.about.text() != text:
            self.about.setText(text)
        self.about.setVisible(bool(text))

    def _on_placed(self) -> None:
        self._find_directions()
        self._on_turned()

    def _find_directions(self) -> None:
        self._directions = self._lies = None
        if self._image is not None:
            with suppress(InputError):  # a transform that cannot be inverted has no sides
                self._lies = placement(self._image)
                self._directions = patient_directions(self._image)

    # -- window and level -------------------------------------------------------------------------

    def _on_window_changed(self) -> None:
        self._say()

    def _say(self) -> None:
        """Image, slice and window in words."""
        self._show_number(*self._write_line())

    def _write_line(self) -> tuple[int | None, int | None, str]:
        """On the canvas, drawn together with the slice; its axis, its index and what it is called."""
        image = self._image
        axis, index = (None, None) if image is None else self._shown_slice(image)
        title = "" if axis is None or index is None else self._title_of(axis, index)
        self.words.write(_LINE, [Line(one) for one in self._lines(axis, title)], _LINE_PLACE)
        return axis, index, title

    def _title_of(self, axis: int, index: int) -> str:
        """What a slice of the image is called."""
        if self._image is None or self._lies is None:
            return ""
        return self._lies.slice_title(axis, index, self._image.data.shape)

    def _lines(self, axis: int | None, title: str) -> list[str]:
        """Whose image, which slice of it, and its window."""
        image = self._image
        if not self.letters.isChecked():
            return []
        if image is None:
            others = not len(self.viewer.layers) or shows_surfaces(self.viewer)
            return [] if others else [self._seen.why]
        lines = [title_of(image)]
        if axis is not None:
            lines.append(title or f"this slice lies outside of {title_of(image)}")
        return [*lines, str(window_of(image))]

    def _shown_slice(self, image: Image) -> tuple[int | None, int | None]:
        """Axis of the volume that the canvas cuts across, and the slice; None for none."""
        dims = self.viewer.dims
        if dims.ndisplay != 2 or dims.ndim < 3:
            return None, None
        axis = dims.order[0] if dims.ndim == 3 else dims.order[-3] - (dims.ndim - 3)
        if axis < 0:
            return None, None
        return axis, current_slice(self.viewer, image, axis)

    def _show_number(self, axis: int | None, index: int | None, title: str) -> None:
        """The slice on screen in the box, and in words beside it."""
        self.slice_number.setEnabled(axis is not None)
        if self._image is None or self._lies is None or axis is None:
            self.slice_about.setText("")
            return
        shape = self._image.data.shape
        with signals_blocked(self.slice_number):
            if self.slice_number.maximum() != shape[axis] - 1:
                self.slice_number.setRange(0, shape[axis] - 1)
            if index is not None and not self.slice_number.hasFocus():
                self.slice_number.setValue(self._lies.to_file_slice(axis, index, shape)[1])
        if index is None:
            where = f"outside of {title_of(self._image)}"
            self.slice_about.setText(f"of {shape[axis] - 1}: {where}")
        else:
            plane, where = title.split(", ")
            self.slice_about.setText(f"of {shape[axis] - 1}, {plane.split()[0]}, {where}")

    def _on_number(self, number: int) -> None:
        """Go to the slice that was typed."""
        image, lies = self._image, self._lies
        axis = None if image is None else self._shown_slice(image)[0]
        if image is not None and lies is not None and axis is not None:
            # turning a number round twice gives it back, so this is the layer's index as well
            index = lies.to_file_slice(axis, number, image.data.shape)[1]
            go_to_slice(self.viewer, image, axis, index)

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
        """Letters, mirroring and slice of the canvas, and which plane's button is pressed."""
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
        for side, place in _SIDES.items():
            letters = [] if shown is None else [Line(getattr(shown, side))]
            self.words.write(side, letters, place, _LETTER_POINTS, in_cells=True)
        self._say()
        for choice in self.planes.buttons():
            choice.setEnabled(self._image is not None)
            if self.planes.id(choice) == cut:
                choice.setChecked(True)
        self.views.redraw()

    def _on_letters(self, wanted: bool) -> None:
        preferences.remember_letters(wanted)
        self._on_turned()
        self._on_window_changed()

    def _on_legend(self, wanted: bool) -> None:
        self._legend.want(wanted)

    def _on_convention(self, neurological: bool) -> None:
        preferences.remember_convention("neurological" if neurological else "radiological")
        self._on_turned()

    def _on_plane(self, axis: int) -> None:
        if self._image is not None:
            here = self._image.world_to_data(self.viewer.dims.point[-3:])
            go_to_slice(self.viewer, self._image, axis, round(float(here[axis])))

    def _on_next_plane(self) -> None:
        self._on_plane((self.planes.checkedId() + 1) % len(AXIS_NAMES))

    def _on_linked(self) -> None:
        self._show_views()

    # -- the cursor -------------------------------------------------------------------------------

    def _on_cursor(self) -> None:
        """The mouse moved in the canvas, or napari carries its place on to another slice."""
        before, now = self._cursor, tuple(self.viewer.cursor.position)
        self._cursor = now
        displayed = self.viewer.dims.displayed
        known = len(before) == len(now) and max(displayed) < len(now)
        if known and any(now[axis] != before[axis] for axis in displayed):
            self._mouse, self._in_canvas = now, True
        elif self._in_canvas and known:
            self._mouse = now
        else:
            self._mouse = None
        self._read_soon()

    def _on_hovered(self, position: tuple[float, ...]) -> None:
        self._mouse, self._in_canvas = position, False
        self._read_soon()

    def _read_soon(self) -> None:
        if self._scroll.isActive():
            self._stale = True  # read at rest: labels that change are painted, too
        elif not self._read.isActive():
            self._read.start()

    def _on_rest(self) -> None:
        """Read under the mouse; at the cross before it moved."""
        viewer = self.viewer
        if viewer.dims.ndisplay != 2:
            self.readout.show_reading(None, "Nothing is read in 3-D; show slices to read.")
            return
        position = viewer.dims.point if self._mouse is None else self._mouse
        in_grid = viewer.canvas.grid.enabled and self._in_canvas
        cell = viewer.cursor.viewbox if in_grid and self._mouse is not None else None
        seen = seen_at(viewer, position, cell)
        reading = None
        if seen.image is not None and seen.inside:
            reading = read_at(viewer, seen.image, position)
        note = "at the cross" if self._mouse is None else ""
        self.readout.show_reading(reading, seen.why or note)


def _prepare() -> tuple[bool, preferences.Convention]:
    """In the thread."""
    import scipy.spatial.transform  # noqa: F401

    return preferences.letters_wanted(), preferences.convention()


def _rank(layer: Layer) -> int:
    """What is seen first; among hidden ones, those that were read from a file."""
    return 2 if layer.visible else int(tag(layer).get("role") == "image")
