"""What pictures are drawn with: cases and rows, slices as radiologists see them, figures without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_uda.core.colours import rgb
from napari_uda.core.files import atomic_file
from napari_uda.core.structure_colours import structure_colour
from napari_uda.data.folder import Case
from napari_uda.data.plane import plane_of
from napari_uda.data.volume import Placement, read_labels, read_volume
from napari_uda.evaluation.slice_picture import as_seen
from napari_uda.experiments.fingerprints import scored_cases
from napari_uda.experiments.results import DataResults, RowResults
from napari_uda.experiments.spec import Pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

TILE_INCHES = 1.7
"""Side of one slice in a figure."""
_OPACITY = 0.55
_DOTS_PER_INCH = 150


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice of a case as it is drawn: rows from top to bottom, columns from left to right.

    Attributes:
        image: grey values.
        reference: labels.
        aspect: height over width of a pixel.
        index: of the slice in the canonical volume.
        axis: canonical axis that it was cut across.
        placement: what the case is read by; its results hold the same two placements.
    """

    image: NDArray[np.float32]
    reference: NDArray[np.uint8]
    aspect: float
    index: int
    axis: int
    placement: Placement = "auto"

    def take(self, file: Path, *, labels: bool) -> NDArray[Any]:
        """The same slice of another volume on the same grid."""
        read = read_labels if labels else read_volume
        volume = read(file, placement=self.placement).canonical()
        return _plane(volume.array, self.axis, self.index)


def choose_slice(case: Case, axis: int | None = None) -> Slice:
    """The slice with most labelled voxels.

    Args:
        case: with labels.
        axis: canonical axis to cut across; None takes the coarsest one (z among equals).
    """
    assert case.label is not None
    image, label = case.read_image().canonical(), case.read_labels().canonical()
    spacing = image.spacing_mm
    axis = int(np.argmax(spacing)) if axis is None else axis
    others = tuple(a for a in range(3) if a != axis)
    index = int(np.argmax((label.array > 0).sum(axis=others)))
    return Slice(
        image=_plane(image.array, axis, index).astype(np.float32),
        reference=_plane(label.array, axis, index),
        aspect=spacing[others[0]] / spacing[others[1]],
        index=index,
        axis=axis,
        placement=case.placement,
    )


def _plane(array: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    return as_seen(plane_of(array, axis, index))


def drawn_cases(found: DataResults, wanted: Pictures) -> list[Case]:
    """The cases to draw: those named that this data set scores, or the first ones."""
    assert found.data.score is not None
    cases = {
        case.name: case
        for case in scored_cases(found.data.score, series=found.series, placement=found.placement)
    }
    named = [cases[name] for name in wanted.cases if name in cases]
    return named or list(cases.values())[: wanted.count]


def drawn_rows(found: DataResults, wanted: Pictures) -> list[tuple[str, Path]]:
    """Rows to draw with the predictions of their first finished seed."""
    rows: list[RowResults] = [row for row in found.rows if row.predictions]
    if wanted.rows:
        order = {name: index for index, name in enumerate(wanted.rows)}
        rows = sorted((r for r in rows if r.name in order), key=lambda row: order[row.name])
    return [(row.name, row.predictions[min(row.predictions)]) for row in rows]


def structure_colours(found: DataResults) -> dict[int, str]:
    """Colour by label value."""
    return {value: structure_colour(name, value) for value, name in _names(found).items()}


def _names(found: DataResults) -> dict[int, str]:
    """Label value to name of the structures in the table; those without a name are called by value."""
    prefix = "label_"
    unnamed = {int(n.removeprefix(prefix)): n for n in found.structures if n.startswith(prefix)}
    named = {**unnamed, **found.data.names()}
    return {value: name for value, name in sorted(named.items()) if name in found.structures}


def show_slice(
    tile: Any,
    cut: Slice,
    labels: NDArray[Any] | None,
    colours: Mapping[int, str],
    *,
    window: tuple[float, float] | None = None,
) -> None:
    """Draw a slice and labels over it.

    Args:
        tile: axes of the figure.
        cut: the slice.
        labels: `(H, W)`, or None.
        colours: by label value.
        window: grey values that are black and white; None takes percentiles of the slice.
    """
    low, high = window or np.percentile(cut.image, (1, 99.5))
    tile.imshow(cut.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=cut.aspect)
    if labels is not None:
        tile.imshow(overlay(labels, colours), aspect=cut.aspect, interpolation="nearest")
    tile.set(xticks=[], yticks=[])


def overlay(labels: NDArray[Any], colours: Mapping[int, str]) -> NDArray[np.float32]:
    """Labels `(H, W)` as `(H, W, 4)` colours in [0, 1]; values without a colour are transparent."""
    shown = np.zeros((*labels.shape, 4), np.float32)
    for value, colour in colours.items():
        shown[labels == value] = (*rgb(colour), _OPACITY)
    return shown


def write_titles(tiles: Any, titles: Sequence[str]) -> None:
    """A title above each tile."""
    for tile, title in zip(tiles, titles, strict=True):
        tile.set_title(title.replace(" + ", "\n+ "), fontsize=7)


def write_legend(
    figure: Figure, found: DataResults, others: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Colours of the structures below the tiles, and of `others` by name."""
    from matplotlib.patches import Patch

    colours = structure_colours(found)
    entries = {name: colours[value] for value, name in _names(found).items()} | dict(others)
    handles = [Patch(color=colour, label=name) for name, colour in entries.items()]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=7)


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")


def save_figure(figure: Figure, out: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    with atomic_file(out) as file:
        figure.savefig(file, format="png", metadata={"Software": "napari_uda"})
    return out
