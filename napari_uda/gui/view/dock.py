"""Dock `View`: window and level, sides of the patient, linked cuts, and what lies under the cursor."""

import napari.viewer
from napari.layers import Image, Labels, Layer
from napari.utils.events import Event
from qtpy.QtWidgets import QButtonGroup, QSpinBox, QWidget
from superqt.utils import signals_blocked

from napari_uda.gui.kit.dock import AROUND, Dock, bind_keys
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layout import TwoParts, column, form, wrapped
from napari_uda.gui.kit.navigation import (
    AXIS_NAMES,
    go_to_slice,
    look_across,
)
from napari_uda.gui.kit.panel import Following, delay, listen
from napari_uda.gui.kit.seen import contains, is_looked_at, seen_at, title_of
from napari_uda.gui.kit.widgets import Foldable, button, check_box, label, named
from napari_uda.gui.view.linked_views import LinkedViews
from napari_uda.gui.view.measure import MeasurePanel
from napari_uda.gui.view.readout import Readout, read_at
from napari_uda.gui.view.surfaces import SurfacePanel
from napari_uda.gui.view.turned_volumes import TurnedNotice
from napari_uda.gui.view.window import WindowPanel

_READ_MS = 30
_HELP = (
    "Sets window and level of the chosen image, by preset, by number, or by dragging in the image.",
    "Writes the sides of the patient on the edges of the image, and what its colours stand for.",
    "Turns the canvas to axial, coronal or sagittal cuts; a number leads to a slice.",
    "The readout tells position, value, structure and entropy under the mouse.",
    "Measure has a ruler, areas with their values, and volumes and diameters of structures.",
    "Linked cuts shows the two other cuts through one cursor; click into any of the three to move it.",
    "3-D surfaces shows structures as closed surfaces, and their distance to the reference.",
)


class ViewDock(Dock):
    """Tools for looking at a volume; they change how layers are shown, never their values."""

    manual = ("View", _HELP)
    kept = (
        *("images", "letters", "canvas_legend", "neurological", "linked"),
        *("surface_distance", "surfaces"),
    )

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self.words = self.marks.words
        self._cursor: tuple[float, ...] = tuple(napari_viewer.cursor.position)
        self._mouse: tuple[float, ...] | None = None  # None before it moved
        self._in_canvas = False  # the mouse, else in a pane
        self._build()
        self._lay_out()
        self._connect()
        if self.marks.is_loaded:
            self._on_loaded()

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.images = named(
            LayerChooser(self.viewer, is_looked_at, _rank),
            "images",
            "Image whose window is shown and changed below: the uppermost visible one, or your choice",
        )
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
            checked=self.marks.legend.is_wanted,
        )
        self.neurological = button(
            "Neurological",
            "Off: radiological, the patient's right is on the left of the screen.\n"
            "On: neurological, the patient's right is on the right.",
            name="neurological",
        )
        self.neurological.setCheckable(True)
        self.planes = QButtonGroup(self)
        for axis, name in enumerate(AXIS_NAMES):
            plane = name.partition(" · ")[2]
            choice = button(
                plane.capitalize(),
                f"Show {plane} slices in the canvas; in 3-D, look from where these are seen",
            )
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
        self.views = LinkedViews(self.viewer, self.words, self.marks.sides_of, self.marks.title_of)
        self.surfaces = SurfacePanel(self.viewer)
        self.readout = Readout()
        self._read = delay(self, _READ_MS, self._on_rest)

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
        parts = TwoParts(controls, self.views, self.surfaces.status)
        parts.turned.connect(self.views.lie)
        column(parts, of=self).setContentsMargins(*AROUND)

    def _connect(self) -> None:
        self.images.currentIndexChanged.connect(self._on_choice)
        self.images.activated.connect(self._on_chosen_by_user)
        self.neurological.toggled.connect(self._on_convention)
        self.planes.idClicked.connect(self._on_plane)
        self.slice_number.valueChanged.connect(self._on_number)
        self.views.hovered.connect(self._on_hovered)
        viewer, marks = self.viewer, self.marks
        marks.loaded.connect(self._on_loaded)
        marks.looked.connect(self._on_looked)
        marks.changed.connect(self._on_other_image)
        marks.turned.connect(self._on_turned)
        listen(self, self._on_cursor, viewer.cursor.events.position)
        layers = viewer.layers.events
        listen(self, self._on_layers, layers.inserted, layers.removed, layers.reordered)
        self._eyes = Following(self, self._on_eye)
        bind_keys(
            viewer,
            self,
            (self.neurological, self.neurological.toggle),
            (self.planes.buttons()[0], self._on_next_plane),
        )

    def _on_loaded(self) -> None:
        with signals_blocked(self.letters), signals_blocked(self.neurological):
            self.letters.setChecked(self.marks.letters)
            self.neurological.setChecked(self.marks.neurological)
        self._on_layers()
        self._on_choice()
        self._on_other_image()
        self._on_turned()

    @property
    def is_settled(self) -> bool:
        """Whether everything is shown as it is wanted."""
        timers = (self._read, self._compare)
        waiting = any(timer.isActive() for timer in timers) or not self.measure.is_settled
        shown = self.views.is_settled and self.surfaces.is_settled and self.marks.is_settled
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

    def _on_eye(self, event: Event) -> None:
        """A layer is shown or hidden: a choice that is not seen any more gives way to what is."""
        layer = self.images.layer
        if layer is not None and event.source is layer and not layer.visible:
            self.images.release()
        else:
            self.images.refresh()
        self._compare.start()

    def _on_choice(self) -> None:
        """Another image whose window is shown."""
        if not self.marks.is_loaded:
            return
        layer = self.images.layer
        self.window_panel.show_image(layer if isinstance(layer, Image) else None)
        self._on_looked()

    def _on_chosen_by_user(self) -> None:
        """Who chooses an image wants to see it: the cross goes there when it lies elsewhere."""
        image, dims = self.images.layer, self.viewer.dims
        if isinstance(image, Image) and image.visible and not contains(image, dims.point):
            middle = image.data_to_world([size // 2 for size in image.data.shape])
            dims.set_point(range(dims.ndim - 3, dims.ndim), [float(part) for part in middle])

    def _on_looked(self) -> None:
        """What is on top at the cross was looked at."""
        self._describe()
        self._read_soon()
        self._show_number()

    def _on_other_image(self) -> None:
        """Another one is on top at the cross."""
        self.views.show_image(self.marks.image, self.linked.isChecked(), self.marks.seen.why)

    def _describe(self) -> None:
        """Say of which image what is below speaks, where that is not plain."""
        chosen, seen = self.images.layer, self.marks.image
        text = ""
        if chosen is not None and seen is not None and not _stands_for(seen, chosen):
            hidden = " (hidden)" if not chosen.visible else ""
            text = (
                f"Window and level are those of {chosen.name}{hidden}; on top at the cross lies "
                f"{seen.name}."
            )
        if self.about.text() != text:
            self.about.setText(text)
        self.about.setVisible(bool(text))

    # -- the slice --------------------------------------------------------------------------------

    def _show_number(self) -> None:
        """The slice on screen in the box, and in words beside it."""
        image, (axis, number, last) = self.marks.image, self.marks.shown_number()
        self.slice_number.setEnabled(axis is not None)
        if image is None or axis is None:
            self.slice_about.setText("")
            return
        with signals_blocked(self.slice_number):
            if self.slice_number.maximum() != last:
                self.slice_number.setRange(0, last)
            if number is not None and not self.slice_number.hasFocus():
                self.slice_number.setValue(number)
        _, index = self.marks.shown_slice()
        if index is None:
            self.slice_about.setText(f"of {last}: outside of {title_of(image)}")
        else:
            plane, where = self.marks.title_of(axis, index).split(", ")
            self.slice_about.setText(f"of {last}, {plane.split()[0]}, {where}")

    def _on_number(self, number: int) -> None:
        """Go to the slice that was typed."""
        self.marks.go_to_number(number)

    # -- sides of the patient ---------------------------------------------------------------------

    def _on_turned(self) -> None:
        """Which plane's button is pressed, and the panes."""
        cut, _, _ = self.marks.axes
        for choice in self.planes.buttons():
            choice.setEnabled(self.marks.image is not None or self.viewer.dims.ndisplay == 3)
            if self.planes.id(choice) == cut:
                choice.setChecked(True)
        self._show_number()
        self.views.redraw()

    def _on_letters(self, wanted: bool) -> None:
        self.marks.want_letters(wanted)

    def _on_legend(self, wanted: bool) -> None:
        self.marks.legend.want(wanted)

    def _on_convention(self, neurological: bool) -> None:
        self.marks.want_neurological(neurological)

    def _on_plane(self, axis: int) -> None:
        image = self.marks.image
        if self.viewer.dims.ndisplay == 3:
            look_across(self.viewer, axis, neurological=self.marks.neurological)
        elif image is not None:
            here = image.world_to_data(self.viewer.dims.point[-3:])
            go_to_slice(self.viewer, image, axis, round(float(here[axis])))

    def _on_next_plane(self) -> None:
        self._on_plane((self.planes.checkedId() + 1) % len(AXIS_NAMES))

    def _on_linked(self) -> None:
        self._on_other_image()

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
        if not self._read.isActive():
            self._read.start()

    def _on_rest(self) -> None:
        """Read under the mouse; at the cross before it moved."""
        viewer = self.viewer
        if self.marks.is_scrolled_through:
            self.marks.stale = True  # read when slices rest: labels that change are painted, too
            return
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


def _rank(layer: Layer) -> int:
    """What is seen first; among hidden ones, those that were read from a file."""
    return 2 if layer.visible else int(tag(layer).get("role") == "image")


def _stands_for(seen: Layer, chosen: Layer) -> bool:
    """Whether an image is another one or a copy, which is drawn as that one is."""
    return seen is chosen or tag(seen).get("of") == str(chosen.unique_id)
