"""LinkedViews: the two cuts that napari's canvas does not show, all three at one cursor.

The cursor is the viewer's own point (`dims.point`): sliders, keys and other plugins move it as well. The
panes draw themselves: two more canvases of napari would take 0.3 s each to open and copy every layer.

While slices of the canvas are scrolled through, both panes go on showing the same slices: their crosses alone
move. A pane is drawn anew when its slice or the look of a layer changes, one pane per turn of the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QSplitter

from napari_uda.gui.kit.canvas_words import CanvasWords
from napari_uda.gui.kit.clicks import is_click
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.panel import Following, Panel, delay, listen
from napari_uda.gui.kit.sides import Sides
from napari_uda.gui.view.slice_pane import SlicePane
from napari_uda.gui.view.slice_picture import layers_on_grid, slice_picture, spacing_of

_REDRAW_MS = 15
_LOOKS = ("visible", "opacity", "colormap", "contrast_limits", "gamma", "data", "labels_update")


class LinkedViews(Panel):
    """Two panes. `hovered(object)` tells the world position under the mouse in one of them."""

    hovered = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        words: CanvasWords,
        sides_of: Callable[[int, int], tuple[Sides | None, bool]],
        title_of: Callable[[int, int], str],
    ) -> None:
        """Build.

        Args:
            viewer: whose cursor and layers.
            words: on its canvas, where the cursor is marked.
            sides_of: gives, for the axes of the volume that run downwards and across, the letters at
                the edges and whether the slice is mirrored.
            title_of: what a slice of the volume is called, by its axis and index.
        """
        super().__init__()
        self._viewer, self._words = viewer, words
        self._sides_of, self._title_of = sides_of, title_of
        self._image: Image | None = None
        self._on = False
        self._axes = (1, 2)  # of the volume, across which the panes cut
        self._numbers: tuple[int, int] | None = (
            None  # of the slices in the panes; None: not all well
        )
        self._waiting: list[int] = []  # panes that are still to be drawn
        self._drawing = delay(self, _REDRAW_MS, self._on_draw)
        self._turn = delay(self, 0, self._on_turn)
        self._looks = Following(self, self._on_changed)
        self.panes = (SlicePane(), SlicePane())
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.setChildrenCollapsible(False)
        for number, pane in enumerate(self.panes):
            pane.setObjectName(f"pane_{number}")
            pane.pointed.connect(partial(self._on_pointed, number))
            pane.hovered.connect(partial(self._on_hovered, number))
            pane.scrolled.connect(partial(self._on_scrolled, number))
            self.splitter.addWidget(pane)
        column(self.splitter, of=self, margin=0)
        self.splitter.setVisible(False)
        dims, layers = viewer.dims.events, viewer.layers.events
        listen(self, self._on_point, dims.point)
        listen(self, self._on_changed, dims.order, dims.ndisplay)
        listen(self, self._on_layers_changed, layers.inserted, layers.removed, layers.reordered)
        click = self._click  # one object, to be found again
        viewer.mouse_drag_callbacks.append(click)

        def leave() -> None:
            viewer.mouse_drag_callbacks.remove(click)
            words.show_cross(False)

        self.destroyed.connect(leave)

    @property
    def is_settled(self) -> bool:
        """Whether the panes show what they should."""
        return not self._drawing.isActive() and not self._turn.isActive()

    # -- what is shown ----------------------------------------------------------------------------

    def lie(self, wide: bool) -> None:
        """Put the panes side by side, or one above the other."""
        self.splitter.setOrientation(Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical)

    def show_image(self, image: Image | None, on: bool, why: str = "") -> None:
        """Show the cuts through a volume and whatever lies voxel on voxel with it.

        Args:
            image: 3-D; None shows a sentence instead.
            on: whether the views are wanted at all.
            why: the sentence without an image.
        """
        self._image, self._on = image, on and image is not None
        self._numbers = None
        self.splitter.setVisible(on)
        self._words.show_cross(self._on)
        if not self._on:
            for pane in self.panes:
                pane.clear(why)
        self._on_layers_changed()

    def _on_layers_changed(self) -> None:
        layers = self._viewer.layers if self._on else ()
        shown = [layer for layer in layers if isinstance(layer, (Image, Labels))]
        self._looks.follow(*(event for layer in shown for event in _looks(layer)))
        self._on_changed()

    def _on_changed(self) -> None:
        if self._on and not self._drawing.isActive():
            self._drawing.start()

    def _on_point(self) -> None:
        """The cursor moved: where the panes show the same slices as before, their crosses move alone."""
        image = self._image
        if not self._on or image is None or image not in self._viewer.layers:
            return
        exact, index = self._exact(image), self._index(image)
        same = self._numbers == tuple(round(index[axis]) for axis in self._axes)
        if same and not self._drawing.isActive() and not _outside_mm(image, exact, index):
            for pane, axis in zip(self.panes, self._axes, strict=True):
                rows, columns = (other for other in range(3) if other != axis)
                pane.set_cross(index[rows], index[columns])
        else:
            self._on_changed()

    def redraw(self) -> None:
        """Draw soon."""
        self._on_changed()

    def _on_draw(self) -> None:
        """Draw both panes, one per turn; one that waits already comes first, and is drawn once."""
        self._waiting += [number for number in (0, 1) if number not in self._waiting]
        self._turn.start()

    def _on_turn(self) -> None:
        image = self._image
        if not self._on or image is None or image not in self._viewer.layers:
            return
        self._draw_pane(self._waiting.pop(0), image)
        if self._waiting:
            self._turn.start()

    def _draw_pane(self, pane_number: int, image: Image) -> None:
        shown = self._viewer.dims.order[-3] - (self._viewer.dims.ndim - 3)
        others = [axis for axis in range(3) if axis != shown]
        self._axes = others[0], others[1]
        exact, index = self._exact(image), self._index(image)
        apart = _outside_mm(image, exact, index)
        whole = round(index[self._axes[0]]), round(index[self._axes[1]])
        self._numbers = None if apart else whole
        note = f"The cross lies {apart:.0f} mm outside: click here to move it in." if apart else ""
        layers = layers_on_grid(self._viewer.layers, image)
        note = note or _left_out(self._viewer.layers, layers)
        spacing = spacing_of(image)
        pane, axis, number = self.panes[pane_number], self._axes[pane_number], whole[pane_number]
        rows, columns = (other for other in range(3) if other != axis)
        letters, mirrored = self._sides_of(rows, columns)
        pane.show_slice(
            slice_picture(layers, axis, number),
            (spacing[rows], spacing[columns]),
            mirrored=mirrored,
            sides=letters,
            title=self._title_of(axis, number),
            note=note,
        )
        if apart:
            pane.hide_cross()
        else:
            pane.set_cross(index[rows], index[columns])

    def _exact(self, image: Image) -> NDArray[np.float64]:
        """The cursor in the image's voxels, wherever it is."""
        point = np.asarray(self._viewer.dims.point[-3:], float)
        return np.asarray(image.world_to_data(point), float)

    def _index(self, image: Image) -> NDArray[np.float64]:
        """The cursor in the image's voxels, inside the volume."""
        return np.clip(self._exact(image), 0, np.asarray(image.data.shape) - 1)

    # -- moving the cursor ------------------------------------------------------------------------

    def _world(self, number: int, down: float, across: float) -> NDArray[np.float64] | None:
        """Where a pixel of a pane lies in the viewer."""
        image = self._image
        if image is None or not self._on:
            return None
        index = self._index(image)
        axis = self._axes[number]
        rows, columns = (other for other in range(3) if other != axis)
        index[rows], index[columns] = down, across
        return np.asarray(image.data_to_world(index), float)

    def _go(self, world: NDArray[np.float64]) -> None:
        dims = self._viewer.dims
        dims.set_point(range(dims.ndim - 3, dims.ndim), [float(part) for part in world])

    def _on_pointed(self, number: int, down: float, across: float) -> None:
        world = self._world(number, down, across)
        if world is not None:
            self._go(world)

    def _on_hovered(self, number: int, down: float, across: float) -> None:
        world = self._world(number, down, across)
        if world is not None:
            self.hovered.emit(tuple(float(part) for part in world))

    def _on_scrolled(self, number: int, slices: int) -> None:
        if self._image is None or not self._on:
            return
        index, axis = self._index(self._image), self._axes[number]
        index[axis] = np.clip(index[axis] + slices, 0, self._image.data.shape[axis] - 1)
        self._go(np.asarray(self._image.data_to_world(index), float))

    def _click(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        """In napari's canvas: a click without a drag moves the cursor there."""
        active = viewer.layers.selection.active
        edits = isinstance(active, Labels) and str(active.mode) != "pan_zoom"
        if not self._on or event.button != 1 or edits or viewer.dims.ndisplay != 2:
            return
        if (yield from is_click(event)):
            self._go(np.asarray(event.position[-3:], float))


def _outside_mm(image: Image, exact: NDArray[np.float64], index: NDArray[np.float64]) -> float:
    """How far a place lies from the volume's nearest voxel; 0 in one of its voxels."""
    if np.abs(exact - index).max() <= 0.5:
        return 0.0
    return float(np.linalg.norm((exact - index) * spacing_of(image)))


def _left_out(layers: Iterable[Layer], drawn: Sequence[Layer]) -> str:
    """The sentence about structures that lie on another grid than the image."""
    names = [
        f"'{layer.name}'"
        for layer in layers
        if isinstance(layer, Labels) and layer.visible and all(layer is not one for one in drawn)
    ]
    return f"Left out, on another grid: {', '.join(names)}." if names else ""


def _looks(layer: Layer) -> list[Any]:
    """The events after which a layer looks otherwise."""
    return [event for name in _LOOKS if (event := getattr(layer.events, name, None)) is not None]
