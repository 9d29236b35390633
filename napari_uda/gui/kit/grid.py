"""Layers in the cells of napari's grid, and what was before."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari.experimental import link_layers
from napari.layers import Image, Layer

from napari_uda.gui.kit.canvas import make_current
from napari_uda.gui.kit.canvas_words import canvas_words
from napari_uda.gui.kit.geometry import METADATA, copied_geometry, tag
from napari_uda.gui.kit.hatching import HATCHED, hatching
from napari_uda.gui.kit.layer_order import as_helper, remove_with, set_visible

if TYPE_CHECKING:
    from napari.components import ViewerModel


_NEARLY = 0.85
_entered: WeakKeyDictionary[ViewerModel, Grid] = WeakKeyDictionary()


def entered(viewer: ViewerModel) -> Grid | None:
    """The grid that a viewer shows, whoever entered it."""
    return _entered.get(viewer)


class Grid:
    """Groups of layers in the cells of napari's grid, with one camera for all of them.

    The front layer of each cell says its name, and a small colour bar in that cell stands in for napari's: to
    draw that for the first time takes half a second. Other layers are hidden. `leave` restores the order and
    what was visible before, and removes the layers that were added for the grid alone.
    """

    def __init__(self, viewer: ViewerModel, cells: Sequence[Sequence[Layer]]) -> None:
        """Prepare; `enter` arranges.

        Args:
            viewer: the viewer that holds the layers.
            cells: the layers of each cell, all of the same number, from the back to the front; those
                that the viewer does not hold are added.
        """
        self._viewer = viewer
        self._shown = [layer for cell in cells for layer in cell]
        self._stride = len(cells[0])
        self._count, self._first = len(cells), cells[0][0]
        self._shape = self._best_shape()
        titled = [_titled(cell) for cell in cells]
        self._named = [layer for layer in titled if not layer.name_overlay.visible]
        self._words = canvas_words(viewer)
        self._bars: list[Image] = []
        self._added = [layer for layer in self._shown if layer not in viewer.layers]
        self._before = [(layer, layer.visible) for layer in viewer.layers]
        self._left = False

    def without(self) -> list[tuple[Layer, bool]]:
        """The viewer's layers in their order, and whether each is seen, once the grid is left."""
        layers = self._viewer.layers
        before = [(layer, seen) for layer, seen in self._before if layer in layers]
        known = {layer for layer, _ in before}
        return before + [(one, one.visible) for one in layers if one not in known]

    def enter(self) -> Iterator[None]:
        """Arrange in small parts, so that a dock can let the viewer draw in between; `leave` ends it."""
        _entered[self._viewer] = self
        steps = self._steps()
        # Python's search for circles among all objects there are would hold the window for 0.3 s in between
        gc.freeze()
        try:
            while not self._left and next(steps, self) is not self:
                yield
        finally:
            gc.unfreeze()

    def _steps(self) -> Iterator[None]:
        viewer = self._viewer
        active = viewer.layers.selection.active
        for layer in self._added:
            layer.visible = False  # not drawn over all the others meanwhile
            viewer.add_layer(layer)
            yield
        if active is not None and active in viewer.layers:
            viewer.layers.selection.active = active  # a new layer takes the selection
        # the user may have removed one in between
        _arrange(viewer, [layer for layer in self._shown if layer in viewer.layers])
        for layer in viewer.layers:
            if layer not in self._shown:
                set_visible(layer, False)
        yield
        grid = viewer.canvas.grid
        grid.stride, grid.shape = self._stride, self._shape  # no event builds cells yet
        grid.enabled = True
        yield
        for layer in self._shown:
            if layer in viewer.layers and not layer.visible:
                layer.visible = True
                self._take_bar(layer)
                yield
            self._take_bar(layer)
        self._on_size()  # a window that has just opened has grown meanwhile
        self._see_all()
        viewer.canvas.events.size.connect(self._on_size)
        for layer in self._named:
            layer.name_overlay.visible = True
            yield

    def _best_shape(self) -> tuple[int, int]:
        viewer = self._viewer
        return best_shape(self._count, viewer.canvas.size, _sides(viewer, self._first))

    def _on_size(self) -> None:
        """Another canvas: rows and columns that fill it, all of what they show in sight again."""
        shape = self._best_shape()
        if shape != self._shape and self._viewer.canvas.grid.enabled:
            self._shape = self._viewer.canvas.grid.shape = shape
            self._see_all()

    def _see_all(self) -> None:
        """Hidden layers may be larger or lie elsewhere."""
        alive = [layer for layer in self._shown if layer in self._viewer.layers]
        self._viewer.reset_view(layers=alive or None)

    def _take_bar(self, layer: Layer) -> None:
        if isinstance(layer, Image) and layer.colorbar.visible:
            layer.colorbar.visible = False
            self._bars.append(layer)
            self._words.show_bars(self._bars)

    def leave(self) -> None:
        """Back to one view."""
        self._left, viewer = True, self._viewer
        if entered(viewer) is self:
            del _entered[viewer]
        viewer.canvas.events.size.disconnect(self._on_size)
        for layer in self._named:
            layer.name_overlay.visible = False
        self._words.show_bars(())
        for layer in self._bars:
            layer.colorbar.visible = True
        kept = [(layer, visible) for layer, visible in self._before if layer in viewer.layers]
        grid = viewer.canvas.grid
        with viewer.layers.batched_update():  # the scene is sorted once, at the end
            grid.enabled = False
            grid.stride, grid.shape = 1, (-1, -1)
            for layer in self._added:
                if layer in viewer.layers:
                    viewer.layers.remove(layer)
            _arrange(viewer, [layer for layer, _ in kept])
            for layer, visible in kept:
                set_visible(layer, visible)
            make_current(viewer)
        # hidden patients may lie far off, and would make what is seen small
        viewer.reset_view(layers=[layer for layer, visible in kept if visible] or None)


class SideBySide(Grid):
    """Linked views: structures, entropy and reliability, each over the same image.

    napari's grid shows a layer once, so the second and third view get a copy of the image layer that
    shares its array and contrast. Stripes lie over the map of reliability, and as all cells have equally many
    layers, empty ones over the others.

    Attributes:
        image: the image layer.
        results: one layer per view.
    """

    def __init__(self, viewer: ViewerModel, image: Image, results: Sequence[Layer]) -> None:
        """Prepare; `enter` arranges.

        Args:
            viewer: the viewer that holds the layers.
            image: the image layer.
            results: one layer per view.
        """
        self.image, self.results = image, list(results)
        copies = [_copy(image) for _ in results[1:]]
        for copy in copies:
            remove_with(viewer, copy, image)
        images = [image, *copies]
        link_layers(images, ("contrast_limits", "gamma", "colormap"))
        cells: list[list[Layer]] = [list(cell) for cell in zip(images, results, strict=True)]
        if any(tag(result).get("role") in HATCHED for result in results):
            for cell, result in zip(cells, results, strict=True):
                cell.append(hatching(result, in_grid=True))
                for source in (result, image):
                    remove_with(viewer, cell[-1], source)
        super().__init__(viewer, cells)


def best_shape(count: int, canvas: tuple[int, int], sides: tuple[float, float]) -> tuple[int, int]:
    """Rows and columns that show panels as large as the canvas allows, or nearly so and with room for a legend.

    Args:
        count: number of panels.
        canvas: height and width of the canvas, in pixels.
        sides: height and width of what a panel shows, in millimetres.
    """

    def size(shape: tuple[int, int]) -> tuple[float, int]:
        rows, columns = shape
        pixels_per_mm = min(canvas[0] / rows / sides[0], canvas[1] / columns / sides[1])
        return pixels_per_mm, -rows * columns  # of two equals, the one with fewer empty cells

    def best(places: int) -> tuple[int, int]:
        return max(((rows, -(-places // rows)) for rows in range(1, places + 1)), key=size)

    full, roomy = best(count), best(count + 1)
    return roomy if size(roomy)[0] >= _NEARLY * size(full)[0] else full


def _sides(viewer: ViewerModel, layer: Layer) -> tuple[float, float]:
    """Height and width of a layer's slices as they are shown, in the viewer's units."""
    low, high = layer.extent.world
    spare = viewer.dims.ndim - layer.ndim  # -1 in a viewer without layers, which has two axes
    down, right = (max(0, axis - spare) for axis in viewer.dims.displayed[-2:])
    return float(high[down] - low[down]) or 1.0, float(high[right] - low[right]) or 1.0


def _titled(cell: Sequence[Layer]) -> Layer:
    """The layer that a cell is named after: the uppermost one that is no helper."""
    return next((layer for layer in reversed(cell) if not tag(layer).get("helper")), cell[-1])


def _arrange(viewer: ViewerModel, first: Sequence[Layer]) -> None:
    """Put layers at the bottom of the list in this order; every move makes napari sort its scene."""
    for index, layer in enumerate(first):
        if viewer.layers[index] is not layer:
            viewer.layers.move(viewer.layers.index(layer), index)


def _copy(image: Image) -> Layer:
    copy = Image(
        image.data,
        colormap=image.colormap,
        contrast_limits=image.contrast_limits,
        gamma=image.gamma,
        blending=image.blending,
        **copied_geometry(image),
        metadata={METADATA: {**tag(image), "role": "background"}},
    )
    return as_helper(copy, f"{image.name} again")
