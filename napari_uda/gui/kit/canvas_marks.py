"""What the canvas tells of itself while any dock is open: whose image, which slice and window, sides, colours."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_uda.core.errors import InputError
from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.canvas import FreeingInCanvas, canvas_is_gone, one_in_window
from napari_uda.gui.kit.canvas_legend import CanvasLegend
from napari_uda.gui.kit.canvas_words import Line, canvas_words
from napari_uda.gui.kit.geometry import Placement, placement, tag
from napari_uda.gui.kit.hatching import Hatching
from napari_uda.gui.kit.jobs import background, running
from napari_uda.gui.kit.large_in_3d import CoarseIn3D
from napari_uda.gui.kit.navigation import current_slice, go_to_slice
from napari_uda.gui.kit.panel import Following, Guarded, delay, listen
from napari_uda.gui.kit.seen import (
    Seen,
    preview_words,
    seen_at,
    shown_window,
    shows_surfaces,
    title_of,
)
from napari_uda.gui.kit.sides import Sides, is_left_to_right, patient_directions, sides
from napari_uda.gui.kit.slice_numbers import SliceNumbers

if TYPE_CHECKING:
    from napari.components import ViewerModel

_BEAT_MS = 50
_RESTING, _TELLING = 4, 10  # beats until slices rest, and until docks speak of those that do not
_SIDES = {
    "left": "middle_left",
    "right": "middle_right",
    "top": "top_center",
    "bottom": "bottom_center",
}
_LETTER_POINTS = 16.0
_LINE, _LINE_PLACE = "line", "bottom_left"
_DEPTH = "towards"
"""Of the viewer's first axis in 3-D: axes run to the feet, the back and the left, and napari, which lets the first run
away, would draw the patient as in a mirror."""
_PLACES = ("scale", "translate", "rotate", "shear", "affine")


def prepare_canvas(viewer: ViewerModel, dock: QWidget) -> CanvasMarks:
    """Mark the canvas while a dock is open, and let it draw our layers as they should be; each dock asks for it."""
    for kind in (FreeingInCanvas, CoarseIn3D, Hatching):
        one_in_window(viewer, kind)
    marks = one_in_window(viewer, CanvasMarks) or CanvasMarks(viewer, dock)
    marks.stay_for(dock)
    return marks


class CanvasMarks(Guarded, QObject):
    """One for a window, from its first dock to its last.

    Signals: `looked` when what is seen at the cross was looked at; in between, while slices are scrolled
    through, the line on the canvas alone follows. `changed` when that is another image, `turned` when the
    canvas shows another cut, or the same one from another side, `loaded` once the settings are there.

    Attributes:
        words: on the canvas.
        legend: of its colours.
        numbers: of slices, beside napari's sliders.
        letters: whether sides, slice and window are written.
        neurological: whether the patient's right is on the right of the screen.
        is_loaded: whether the settings are there; nothing is written before.
        seen: what is on top at the cross.
        lies: where the image lies; None where that is not known.
        stale: whether something came by while slices were scrolled through, to be looked at when they rest.
    """

    looked, changed, turned, loaded = Signal(), Signal(), Signal(), Signal()

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._docks: set[int] = set()
        self.words = canvas_words(viewer)
        self.legend = CanvasLegend(viewer, self.words, self)
        self.numbers = SliceNumbers(viewer, self)
        self.numbers.typed.connect(self._on_typed)
        self.letters, self.neurological, self.is_loaded = True, False, False
        self.seen = Seen(None)
        self.lies: Placement | None = None  # kept: to find it for every slice would be slow
        self._directions: NDArray[np.float64] | None = None  # of the viewer's axes in the patient
        self.stale = False
        self._beat = delay(self, _BEAT_MS, self._on_beat)
        self._beats = self._untold = 0  # since the last slice, and since docks spoke of one
        self._places = Following(self, self._on_placed)
        self._window = Following(self, self._on_look)
        self._eyes = Following(self, self._on_look)
        dims, layers = viewer.dims.events, viewer.layers.events
        listen(self, self._on_turned, dims.order, dims.ndisplay)
        listen(self, self._on_point, dims.point)
        listen(self, self._on_layers, layers.inserted, layers.removed, layers.reordered)
        listen(self, self._on_look, layers.renamed)
        background(self, "Prepare the canvas", _prepare, self._on_loaded, quiet=True)

    def stay_for(self, dock: QWidget) -> None:
        """Stay until this dock and the others that asked are gone."""
        number = id(dock)
        self._docks.add(number)
        # no method of this object: it may end before its docks do
        dock.destroyed.connect(lambda: self._let_go(number))

    def _let_go(self, number: int) -> None:
        self._docks.discard(number)
        if self._docks:
            return
        for name in (*_SIDES, _LINE):
            self.words.write(name, (), _LINE_PLACE)
        self.legend.leave()
        self.numbers.leave()
        if not canvas_is_gone(self._viewer):  # vispy would try to draw it
            self._viewer.scene.camera.orientation = ("away", "down", "right")
        with suppress(RuntimeError):  # the window ends, and has deleted it
            self.setParent(None)  # type: ignore[arg-type]  # the next dock finds it no more
            self.deleteLater()

    @property
    def image(self) -> Image | None:
        """The image on top at the cross."""
        return self.seen.image

    @property
    def is_scrolled_through(self) -> bool:
        """Whether slices follow each other faster than one reads."""
        return self._beat.isActive()

    @property
    def is_settled(self) -> bool:
        """Whether the canvas says what it should."""
        return not self.stale and not running(self) and self.legend.is_settled

    def _on_loaded(self, settings: tuple[bool, preferences.Convention]) -> None:
        self.letters, self.neurological = settings[0], settings[1] == "neurological"
        self.is_loaded = True
        self._on_layers()
        self.loaded.emit()

    # -- choices ----------------------------------------------------------------------------------

    def want_letters(self, wanted: bool) -> None:
        """Write sides, slice and window, or not; remembered."""
        preferences.remember_letters(wanted)
        self.letters = wanted
        self._on_turned()

    def want_neurological(self, wanted: bool) -> None:
        """Turn the patient's right to the right of the screen, or to the left; remembered."""
        preferences.remember_convention("neurological" if wanted else "radiological")
        self.neurological = wanted
        self._on_turned()

    # -- the image --------------------------------------------------------------------------------

    def _on_layers(self) -> None:
        """Others, or in another order."""
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        self._eyes.follow(
            *(
                getattr(one.events, name)
                for one in images
                for name in ("visible", "opacity", "metadata")
            )
        )
        self.look()

    def _on_point(self) -> None:
        """The first slice is spoken of at once; while more follow, docks do so some times a second, and at rest."""
        self._beats = 0
        if self.is_scrolled_through:
            self.stale = True
            self.write_line()
        else:
            self._untold = 0
            self._beat.start()
            self.look()

    def _on_beat(self) -> None:
        """Turns of the event loop are counted: a window that draws a slice for long does not rest meanwhile."""
        self._beats, self._untold = self._beats + 1, self._untold + 1
        rests = self._beats >= _RESTING
        if self.stale and (rests or self._untold >= _TELLING):
            self._untold = 0
            self.look()
        if not rests:
            self._beat.start()

    def _on_look(self) -> None:
        self.look()

    def look(self) -> None:
        """See what is on top at the cross."""
        self.stale = False
        if not self.is_loaded:
            return
        before, self.seen = self.seen, seen_at(self._viewer, self._viewer.dims.point)
        image = self.seen.image
        if image is not before.image or (image is None and self.seen.why != before.why):
            places = [] if image is None else [getattr(image.events, name) for name in _PLACES]
            self._window.follow(*([] if image is None else [image.events.contrast_limits]))
            self._places.follow(*places)
            self._on_placed()
            self.changed.emit()
        self.write_line()
        self.looked.emit()

    def _on_placed(self) -> None:
        self._directions = self.lies = None
        with suppress(InputError):  # a transform that cannot be inverted has no sides
            if self.image is not None:
                self.lies = placement(self.image)
                self._directions = patient_directions(self.image)
            elif self.seen.preview is not None and "directions" in tag(self.seen.preview):
                self._directions = patient_directions(self.seen.preview)
        self._on_turned()

    # -- slice and window -------------------------------------------------------------------------

    def write_line(self) -> None:
        """On the canvas, drawn together with the slice, and its number beside napari's slider."""
        lines = [Line(one) for one in self._lines()]
        self.words.write(_LINE, lines, _LINE_PLACE)
        axis, number, last = self.shown_number()
        spare = self._viewer.dims.ndim - 3
        self.numbers.show(None if axis is None else axis + spare, number, last)

    def _lines(self) -> list[str]:
        """Whose image, which slice of it, and its window."""
        image, viewer = self.image, self._viewer
        if not self.letters:
            return []
        if image is None:
            if self.seen.preview is not None:
                return [preview_words(self.seen.preview, viewer.dims.point)]
            others = not len(viewer.layers) or shows_surfaces(viewer)
            return [] if others else [self.seen.why]
        lines = [title_of(image)]
        axis, index = self.shown_slice()
        if axis is not None:
            title = "" if index is None else self.title_of(axis, index)
            lines.append(title or f"this slice lies outside of {title_of(image)}")
        return [*lines, str(shown_window(image))]

    def shown_slice(self) -> tuple[int | None, int | None]:
        """Axis of the volume that the canvas cuts across, and the slice; None for none."""
        dims = self._viewer.dims
        if self.image is None or dims.ndisplay != 2 or dims.ndim < 3:
            return None, None
        axis = dims.order[0] if dims.ndim == 3 else dims.order[-3] - (dims.ndim - 3)
        if axis < 0:
            return None, None
        return axis, current_slice(self._viewer, self.image, axis)

    def shown_number(self) -> tuple[int | None, int | None, int]:
        """The same axis, the number of the slice in the image's file, None for none, and that of the last one."""
        axis, index = self.shown_slice()
        if self.image is None or self.lies is None or axis is None:
            return None, None, 0
        shape = self.image.data.shape
        number = None if index is None else self.lies.to_file_slice(axis, index, shape)[1]
        return axis, number, shape[axis] - 1

    def _on_typed(self, number: str) -> None:
        if number.isdecimal():
            self.go_to_number(int(number))
        self.write_line()  # what was typed may be no slice

    def go_to_number(self, number: int) -> None:
        """Show the slice of this number, or the last one."""
        axis, _, last = self.shown_number()
        if self.image is not None and self.lies is not None and axis is not None:
            # turning a number round twice gives it back, so this is the layer's index as well
            index = self.lies.to_file_slice(axis, min(number, last), self.image.data.shape)[1]
            go_to_slice(self._viewer, self.image, axis, index)

    def title_of(self, axis: int, index: int) -> str:
        """What a slice of the image is called."""
        if self.image is None or self.lies is None:
            return ""
        return self.lies.slice_title(axis, index, self.image.data.shape)

    # -- sides of the patient ---------------------------------------------------------------------

    def sides_of(self, rows: int, columns: int) -> tuple[Sides | None, bool]:
        """Letters of a cut with these axes of the volume, and whether it is mirrored."""
        if self._directions is None:
            return None, False
        mirrored = self._is_mirrored(columns)
        shown = sides(self._directions, rows, columns, mirrored=mirrored)
        return (shown if self.letters else None), mirrored

    def _is_mirrored(self, columns: int) -> bool:
        """Whether the convention wants columns that run from left to right turned round."""
        if self._directions is None or not is_left_to_right(self._directions, columns):
            return False
        to_the_left = self._directions[columns, 0] < 0  # radiological as it is
        return bool(to_the_left == self.neurological)

    @property
    def axes(self) -> tuple[int, int, int]:
        """Of the volume: across the canvas's cut, downwards and to the right; -1 for one that it has not."""
        dims = self._viewer.dims
        spare = dims.ndim - 3
        cut, rows, columns = (*(-1,) * -spare, *(axis - spare for axis in dims.order))[-3:]
        return cut, rows, columns

    def _on_turned(self) -> None:
        """Letters, mirroring and slice of the canvas."""
        if not self.is_loaded:
            return
        _, rows, columns = axes = self.axes
        flat = self._viewer.dims.ndisplay == 2 and min(axes) >= 0
        flat = flat and (self.seen.preview is None or axes[0] == 0)  # not along several volumes
        shown, mirrored = self.sides_of(rows, columns) if flat else (None, False)
        camera = self._viewer.scene.camera
        orientation = (_DEPTH, "down", "left" if mirrored else "right")
        if tuple(map(str, camera.orientation)) != orientation:
            camera.orientation = orientation
        for side, place in _SIDES.items():
            letters = [] if shown is None else [Line(getattr(shown, side))]
            self.words.write(side, letters, place, _LETTER_POINTS, in_cells=True)
        self.write_line()
        self.turned.emit()


def _prepare() -> tuple[bool, preferences.Convention]:
    """In the thread."""
    # The package, whose module `transform` napari needs: a thread that asks for that module alone, while another
    # one imports the package, has its import refused as a deadlock.
    import scipy.spatial  # noqa: F401

    return preferences.letters_wanted(), preferences.convention()
