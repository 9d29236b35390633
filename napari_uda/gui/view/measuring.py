"""What the shapes of the measurements layer measure, each on the image it lies on. Knows no widget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_uda.data.grid import Lattice
from napari_uda.data.intensity_unit import unit_of
from napari_uda.data.plane import plane_of
from napari_uda.data.regions import RegionMeasure, Shape, length_mm, measure_region
from napari_uda.gui.kit.canvas_words import Mark
from napari_uda.gui.kit.geometry import Placement, placement, tag
from napari_uda.gui.kit.seen import seen_at, title_of
from napari_uda.gui.kit.sides import file_index

_REGIONS: tuple[Shape, ...] = ("rectangle", "ellipse", "polygon")
_LINES = ("line", "path")
COLUMNS = (
    "measure", "length_mm", "area_mm2", "mean", "standard_deviation", "smallest", "largest", "pixels",
    "unit", "image", "slice",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Drawn:
    """A shape and the image below it, taken on the GUI thread.

    `corners` are `(n, 3)` indices of the image.
    """

    title: str
    kind: str
    corners: NDArray[np.float64]
    data: Any
    image: str
    lies: Placement | None
    read_from: Any
    axis: int


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    title: str
    image: str = ""
    unit: str = ""
    length_mm: float | None = None
    region: RegionMeasure | None = None
    slice: str = ""
    problem: str = ""

    @property
    def words(self) -> str:
        """The numbers as they stand beside the shape."""
        if self.problem:
            return self.problem
        if self.length_mm is not None:
            return f"{self.length_mm:.1f} mm"
        found = self.region
        if found is None or found.mean is None:
            return "" if found is None else f"{found.area_mm2:.1f} mm², no pixel inside"
        unit = f" {self.unit}" if self.unit == "HU" else ""
        mean, deviation = mean_and_deviation(found.mean, found.standard_deviation)
        return f"{found.area_mm2:.1f} mm², {mean} ± {deviation}{unit}"

    @property
    def cells(self) -> list[object]:
        """Numbers and texts of `COLUMNS`; "" for what does not apply."""
        found = self.region or RegionMeasure(0, 0)
        numbers: list[float | None] = [self.length_mm, None, None, None, None, None, None]
        if self.region is not None:
            numbers[1:] = [
                found.area_mm2, found.mean, found.standard_deviation, found.smallest, found.largest,
                found.pixels,
            ]  # fmt: skip
        texts = ["" if number is None else number for number in numbers]
        return [self.title, *texts, self.unit, self.image, self.slice]


def mean_and_deviation(mean: float | None, deviation: float | None) -> tuple[str, str]:
    """Both to the same decimal place, with which the deviation has three digits; "" and "" for None.

    Where nothing deviates the mean has four digits.
    """
    if mean is None or deviation is None:
        return "", ""
    size, digits = (abs(deviation), 3) if deviation else (abs(mean), 4)
    first = math.floor(math.log10(size)) if size else 0
    places = max(0, digits - 1 - first)
    return f"{mean:.{places}f}", f"{deviation:.{places}f}"


def marks(layer: Shapes, found: Sequence[Measured]) -> list[Mark]:
    """The numbers as words of the canvas, above the shapes of the layer."""
    return [
        Mark(one.words, tuple(tuple(map(float, layer.data_to_world(end))) for end in corners))  # type: ignore[misc]
        for one, corners in zip(found, layer.data, strict=False)
        if one.words
    ]


def drawn_shapes(viewer: ViewerModel, layer: Shapes) -> list[Drawn]:
    """The shapes with what is needed to measure them in a thread."""
    found = []
    for number, (corners, kind) in enumerate(
        zip(layer.data, layer.shape_type, strict=True), start=1
    ):
        title = f"{'ruler' if kind in _LINES else kind} {number}"
        world = np.array([layer.data_to_world(corner) for corner in corners], float)
        image = seen_at(viewer, world.mean(axis=0)).image
        if image is None:
            found.append(Drawn(title, kind, world, None, "", None, None, 0))
            continue
        index = np.array([image.world_to_data(place) for place in world], float)
        found.append(
            Drawn(
                title,
                kind,
                index,
                image.data,
                title_of(image),
                placement(image),
                tag(image).get("file"),
                _axis(index, image),
            )
        )
    return found


def measured(shapes: Sequence[Drawn]) -> list[Measured]:
    """The numbers; for a thread."""
    return [_measured(one) for one in shapes]


def _axis(index: NDArray[np.float64], image: Image) -> int:
    """The axis of the image across which a shape lies: along which its corners differ least."""
    return int(np.ptp(index, axis=0).argmin())


def _measured(shape: Drawn) -> Measured:
    if shape.lies is None:
        return Measured(shape.title, problem="no image there")
    lies, size = shape.lies, tuple(shape.data.shape)
    if shape.kind in _LINES:
        places = [file_index(corner, lies.orientation, size) for corner in shape.corners]
        parts = pairwise(places)
        length = sum((length_mm(lies.affine, first, last) for first, last in parts), 0.0)
        return Measured(shape.title, shape.image, length_mm=length, slice=_slices(shape))
    if shape.kind not in _REGIONS:
        return Measured(shape.title, problem="no outline")
    across = shape.corners[:, shape.axis]
    number = round(float(across.mean()))
    if np.ptp(across) > 0.5 or not 0 <= number < size[shape.axis]:
        return Measured(shape.title, shape.image, problem="not on one slice of the image")
    plane = plane_of(shape.data, shape.axis, number)
    file_axis, _ = lies.to_file_slice(shape.axis, number, size)
    pixel_mm2 = Lattice.of(lies.affine).slice_across(file_axis).cell
    corners = np.delete(shape.corners, shape.axis, axis=1)
    region = measure_region(np.asarray(plane), corners, shape.kind, pixel_mm2)
    unit = unit_of(shape.read_from)
    return Measured(shape.title, shape.image, unit, region=region, slice=_slices(shape))


def _slices(shape: Drawn) -> str:
    """The slice a shape lies on; both for a line from one slice to another."""
    assert shape.lies is not None
    size = tuple(shape.data.shape)
    ends = (shape.corners[0, shape.axis], shape.corners[-1, shape.axis])
    numbers = list(
        dict.fromkeys(int(np.clip(round(float(end)), 0, size[shape.axis] - 1)) for end in ends)
    )
    return " to ".join(shape.lies.slice_title(shape.axis, number, size) for number in numbers)
