"""What the canvas shows as panels of a picture: the slices of visible layers, by the cells of napari's grid.

The slices are copied at once; colours are computed where the picture is drawn, in a worker thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtWidgets import QToolButton

from napari_uda.core.colours import hexadecimal, readable
from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import full_name
from napari_uda.evaluation.figures import ColourBar, Panel, PanelGrid
from napari_uda.gui.kit.colormaps import RELIABILITY_NAMES
from napari_uda.gui.kit.export_picture import picture_button
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layer_order import HELPER
from napari_uda.gui.kit.layers import structure_names

if TYPE_CHECKING:
    from napari.components import ViewerModel

_GREYS = ("gray", "gray_r", "grey")
_MOST_BARS = 2
_SHADES = 256


@dataclass(frozen=True, eq=False)
class _Plane:
    """The slice of one layer on the pixels of its cell, and how it is coloured."""

    values: NDArray[Any]
    inside: NDArray[np.bool_]
    name: str
    colormap: Any
    limits: tuple[float, float] | None
    gamma: float
    opacity: float
    additive: bool
    contour: int
    names: dict[int, str]

    def rgba(self) -> NDArray[np.float64]:
        """`(H, W, 4)` in [0, 1]."""
        if self.limits is None:
            colours = np.array(self.colormap.map(self.values), float)
            if self.contour:
                colours[..., 3] *= _edges(self.values, self.contour)
        else:
            low, high = self.limits
            share = np.clip((self.values.astype(float) - low) / max(high - low, 1e-12), 0, 1)
            mapped = self.colormap.map((share**self.gamma).ravel())
            colours = np.array(mapped, float).reshape(*share.shape, 4)
        colours[..., 3] *= self.opacity * self.inside
        return colours


def panels_button(viewer: ViewerModel) -> QToolButton:
    """A button that exports the slices that the canvas shows, side by side as they are there."""
    what = "the slices on the canvas, with titles, legend and colour bar,"
    return picture_button(
        lambda: canvas_panels(viewer), what, "panels", "export_panels", short=True
    )


def canvas_panels(viewer: ViewerModel) -> Callable[[], PanelGrid] | None:
    """What makes panels of the layers that are seen; None without any.

    Raises:
        InputError: while the canvas shows three dimensions.
    """
    if viewer.dims.ndisplay != 2:
        raise InputError(
            "A picture of panels is drawn from slices; switch the canvas to 2D, or take napari's screenshot"
        )
    grid = viewer.canvas.grid
    indices = [list(found) for _, found in grid.iter_viewboxes(viewer.layers)]
    if not grid.enabled:
        indices = [list(range(len(viewer.layers)))]
    drawn = [[viewer.layers[index] for index in sorted(found)] for found in indices]
    cells = [found for cell in drawn if (found := [one for one in cell if _is_drawn(one)])]
    if not cells:
        return None
    axes = int(viewer.dims.order[-2]), int(viewer.dims.order[-1])
    point = np.asarray(viewer.dims.point, float)
    planes = [[_plane(layer, cell[0], axes, point) for layer in cell] for cell in cells]
    steps = [cell[0].scale[[axis - (len(point) - cell[0].ndim) for axis in axes]] for cell in cells]
    aspects = [float(abs(rows / columns)) for rows, columns in steps]
    return lambda: _drawn(planes, aspects)


def _is_drawn(layer: Layer) -> bool:
    known = isinstance(layer, (Image, Labels)) and not getattr(layer, "rgb", False)
    return bool(layer.visible and known)


def _plane(layer: Layer, base: Layer, axes: tuple[int, int], point: NDArray[np.float64]) -> _Plane:
    """The slice of `layer` at a point of the world, on the pixels of the slice of `base` (nearest)."""
    before = len(point) - layer.ndim
    index: list[Any] = []
    seen = True
    inside = []
    for axis in range(layer.ndim):
        size = layer.data.shape[axis]
        if axis + before in axes:
            world = _world(base, axis + before, len(point))
            place = np.rint((world - layer.translate[axis]) / layer.scale[axis]).astype(int)
            inside.append((place >= 0) & (place < size))
            index.append(np.clip(place, 0, size - 1))
        else:
            here = round((point[axis + before] - layer.translate[axis]) / layer.scale[axis])
            seen = seen and 0 <= here < size
            index.append(min(max(int(here), 0), size - 1))
    fixed = tuple(one if isinstance(one, int) else slice(None) for one in index)
    rows, columns = (one for one in index if not isinstance(one, int))
    values = np.asarray(layer.data[fixed])[np.ix_(rows, columns)]
    covered = inside[0][:, None] & inside[1][None, :] & seen
    if axes[0] > axes[1]:
        values, covered = values.T, covered.T
    labels = isinstance(layer, Labels)
    role = tag(layer).get("role")
    names: dict[int, str] = {}
    if labels:
        names = dict(RELIABILITY_NAMES) if role == "reliability" else structure_names(layer)
    return _Plane(
        values.copy(),
        covered,
        layer.name,
        layer.colormap,
        None if labels else (float(layer.contrast_limits[0]), float(layer.contrast_limits[1])),
        1.0 if labels else float(layer.gamma),
        float(layer.opacity),
        str(layer.blending) == "additive",
        int(layer.contour) if labels else 0,
        names,
    )


def _world(base: Layer, axis: int, ndim: int) -> NDArray[np.float64]:
    own = axis - (ndim - base.ndim)
    places = np.arange(base.data.shape[own])
    return np.asarray(base.translate[own] + base.scale[own] * places, float)


def _drawn(cells: Sequence[Sequence[_Plane]], aspects: Sequence[float]) -> PanelGrid:
    panels = []
    legend: dict[str, str] = {}
    bars: dict[tuple[str, tuple[float, float]], ColourBar] = {}
    for planes, aspect in zip(cells, aspects, strict=True):
        picture = np.zeros((*planes[0].values.shape, 3))
        for plane in planes:
            colours = plane.rgba()
            alpha = colours[..., 3:]
            kept = picture if plane.additive else picture * (1 - alpha)
            picture = np.clip(kept + colours[..., :3] * alpha, 0, 1)
            legend |= _legend(plane)
            if plane.limits is not None and str(plane.colormap.name) not in _GREYS:
                key = (str(plane.colormap.name), plane.limits)
                bars.setdefault(key, _bar(plane, plane.limits))
        rgb = np.asarray(np.rint(picture * 255), np.uint8)
        names = [plane.name for plane in planes if not plane.name.startswith(HELPER)]
        panels.append(Panel((names or [planes[-1].name])[-1], rgb, aspect))
    return PanelGrid(panels, legend, list(bars.values())[:_MOST_BARS])


def _legend(plane: _Plane) -> dict[str, str]:
    """Names of the labels that are seen in a slice, and their colours."""
    present = {int(value) for value in np.unique(plane.values[plane.inside]) if value}
    found = {}
    for value, name in sorted(plane.names.items()):
        if value in present:
            rgba = np.asarray(plane.colormap.map(np.array([[value]])), float).reshape(-1)
            if rgba[3] > 0:
                found[full_name(name)] = readable(hexadecimal(rgba[:3]), "#FFFFFF", 1.1)
    return found


def _bar(plane: _Plane, limits: tuple[float, float]) -> ColourBar:
    colours = np.array(plane.colormap.map(np.linspace(0, 1, _SHADES) ** plane.gamma), float)
    colours[:, :3] *= colours[:, 3:]  # over the black of a canvas, as it is seen there
    colours[:, 3] = 1
    return ColourBar(plane.name, colours, *limits)


def _edges(values: NDArray[Any], thick: int) -> NDArray[np.bool_]:
    """Pixels of labels within `thick` pixels of another value."""
    padded = np.pad(values, thick, mode="edge")
    height, width = values.shape
    found = np.zeros(values.shape, bool)
    for step in range(1, thick + 1):
        for down, right in ((step, 0), (-step, 0), (0, step), (0, -step)):
            rows, columns = thick + down, thick + right
            found |= padded[rows : rows + height, columns : columns + width] != values
    return found
