"""Edits of one structure of a label map as a whole: fill between slices, smooth, largest part, grow and shrink.

All distances are between centres of voxels in millimetres, so that coarse slices count as what they are. What
lies beyond the border of a volume is unknown: a structure that reaches it is not shrunk from there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_uda.core.errors import Cancelled, InputError

Tool = Literal["fill", "smooth", "largest", "grow", "shrink"]
TOOLS: tuple[Tool, ...] = get_args(Tool)
Mask: TypeAlias = NDArray[np.bool_]
LabelMap: TypeAlias = NDArray[np.unsignedinteger]

_SMOOTHED = 4.0
"""Standard deviations after which a Gaussian is taken for 0."""


@dataclass(frozen=True, eq=False)
class LabelEdit:
    """What a tool changes.

    Attributes:
        where: one array of voxel indices per axis.
        values: their labels from now on.
        before: those that they have.
    """

    where: tuple[NDArray[np.intp], ...]
    values: LabelMap
    before: LabelMap

    @property
    def size(self) -> int:
        """How many voxels change."""
        return int(self.values.size)


def edit_structure(
    labels: LabelMap,
    value: int,
    tool: Tool,
    spacing_mm: Sequence[float],
    *,
    mm: float = 0.0,
    axis: int = 0,
    index: int | None = None,
    painted: Collection[int] = (),
    overwrite: bool = False,
    name: str = "the structure",
    stop: threading.Event | None = None,
) -> LabelEdit:
    """What a tool makes of a structure; the labels stay as they are.

    Args:
        labels: 3-D label map.
        value: the structure.
        tool: one of `TOOLS`.
        spacing_mm: voxel size along the axes of `labels`.
        mm: how far to grow or shrink, or the standard deviation of the Gaussian that smooths.
        axis: across which slices lie.
        index: the slice to edit; None edits the volume. Filling takes the volume.
        painted: slices that were edited by hand; see `fill_between`.
        overwrite: whether voxels of other structures may become this one.
        name: of the structure, for what is said of it.
        stop: when set, the edit is given up.

    Raises:
        InputError: without the structure, with a distance that is none, or slices that hold nothing to fill.
        Cancelled: when `stop` was set.
    """
    if tool in ("smooth", "grow", "shrink") and not (np.isfinite(mm) and mm > 0):
        raise InputError(f"{mm:g} mm is no distance to {tool} by; give one above 0")
    region: tuple[slice, ...] = (slice(None),) * labels.ndim
    if index is not None and tool != "fill":
        region = (*region[:axis], slice(index, index + 1), *region[axis + 1 :])
    mask = labels[region] == value
    if not mask.any():
        where = "volume" if index is None else "slice"
        raise InputError(f"{name} is not in this {where}; paint it first")
    if tool == "fill":
        made = fill_between(mask, axis, spacing_mm, painted, stop)
        return _difference(labels, value, mask, made, (0,) * labels.ndim, overwrite)
    reach = {"grow": mm, "smooth": _SMOOTHED * mm}.get(tool, 0.0)
    box = _box(mask, [1 + int(np.ceil(reach / step)) for step in spacing_mm])
    part = labels[region][box]
    old = part == value
    if stop is not None and stop.is_set():
        raise Cancelled
    flat = index is not None  # a slice knows nothing of its neighbours
    made = _apply(
        tool,
        old.squeeze(axis) if flat else old,
        [step for at, step in enumerate(spacing_mm) if not flat or at != axis],
        mm,
        ((part == 0) | overwrite | old).squeeze(axis) if flat else (part == 0) | overwrite | old,
    )
    if stop is not None and stop.is_set():
        raise Cancelled
    start = [(whole.start or 0) + side.start for whole, side in zip(region, box, strict=True)]
    new = np.expand_dims(made, axis) if flat else made
    return _difference(part, value, old, new, start, overwrite)


def _apply(tool: Tool, mask: Mask, spacing_mm: Sequence[float], mm: float, free: Mask) -> Mask:
    tools: dict[str, Callable[[], Mask]] = {
        "smooth": lambda: smooth(mask, spacing_mm, mm, free),
        "largest": lambda: largest_part(mask),
        "grow": lambda: grow(mask, spacing_mm, mm),
        "shrink": lambda: shrink(mask, spacing_mm, mm),
    }
    return tools[tool]()


def grow(mask: Mask, spacing_mm: Sequence[float], mm: float) -> Mask:
    """All voxels at most `mm` from the structure."""
    if not mask.any():
        return mask.copy()
    found: Mask = ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= mm
    return found


def shrink(mask: Mask, spacing_mm: Sequence[float], mm: float) -> Mask:
    """The voxels of the structure that are more than `mm` from all others."""
    if mask.all():  # nothing is known of what surrounds it
        return mask.copy()
    found: Mask = ndimage.distance_transform_edt(mask, sampling=spacing_mm) > mm
    return found


def largest_part(mask: Mask) -> Mask:
    """The part of most voxels, which hang together by their faces; the first of equal ones."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask.copy()
    found: Mask = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return found


def keep_largest_parts(labels: NDArray[np.uint8]) -> None:
    """Leave of each structure its largest part alone (`largest_part`); the rest becomes 0, in place.

    Args:
        labels: `(Z, Y, X)`, 0 background.
    """
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            part = labels[box]
            mask = part == value
            part[mask & ~largest_part(mask)] = 0


def smooth(mask: Mask, spacing_mm: Sequence[float], mm: float, free: Mask | None = None) -> Mask:
    """The structure with a smoother border and as many voxels as before.

    Of the mask after a Gaussian those voxels are taken that have most of it, as many as there were: a fixed
    threshold would eat small structures.

    Args:
        mask: the structure.
        spacing_mm: voxel size.
        mm: standard deviation of the Gaussian.
        free: voxels that it may have; all when left out.
    """
    blurred = ndimage.gaussian_filter(
        mask.astype(np.float32),
        [mm / step for step in spacing_mm],
        mode="nearest",
        truncate=_SMOOTHED,
    )
    if free is not None:
        blurred[~free] = 0
    count = int(mask.sum())
    if not 0 < count < mask.size:
        return mask.copy()
    threshold = np.partition(blurred.ravel(), -count)[-count]
    above, at_least = blurred > threshold, blurred >= max(threshold, np.finfo(np.float32).tiny)
    close: Mask = min((above, at_least), key=lambda found: abs(int(found.sum()) - count))
    return close


def fill_between(
    mask: Mask,
    axis: int,
    spacing_mm: Sequence[float],
    painted: Collection[int] = (),
    stop: threading.Event | None = None,
) -> Mask:
    """The structure with its slices between given ones made from these, as a shape that goes over into the next.

    Between two slices, signed distances to their outlines are averaged by place (shape-based interpolation);
    the two shapes are laid over each other at their centres first, so that an oblique vessel does not vanish.

    Args:
        mask: the structure in a volume.
        axis: across which the slices lie.
        spacing_mm: voxel size.
        painted: slices edited by hand. Where two of them hold the structure, all between them is made anew;
            else gaps between the slices that hold it are filled.
        stop: when set, the edit is given up.

    Raises:
        InputError: if no two slices have others between them.
        Cancelled: when `stop` was set.
    """
    slices = np.moveaxis(mask, axis, 0)
    there = np.flatnonzero(slices.any(axis=(1, 2))).tolist()
    given = sorted(set(painted) & set(there))
    keys = given if len(given) > 1 else there
    gaps = [(first, last) for first, last in pairwise(keys) if last - first > 1]
    if not gaps:
        raise InputError(
            "there are no two slices of the structure with others between them; paint it on two slices first"
        )
    made = mask.copy()
    filled = np.moveaxis(made, axis, 0)
    in_plane = [step for at, step in enumerate(spacing_mm) if at != axis]
    for first, last in gaps:
        box = _box(slices[first] | slices[last], (2, 2))
        filled[first + 1 : last] = False
        ends = [slices[end][box] for end in (first, last)]
        for number in range(first + 1, last):
            if stop is not None and stop.is_set():
                raise Cancelled
            share = (number - first) / (last - first)
            filled[number][box] = _between(ends[0], ends[1], share, in_plane)
    return made


def _between(first: Mask, last: Mask, share: float, spacing_mm: Sequence[float]) -> Mask:
    """The shape on the way from one to the other, 0 at the first and 1 at the last."""
    centres = [np.array(ndimage.center_of_mass(shape)) for shape in (first, last)]
    centre = (1 - share) * centres[0] + share * centres[1]
    total = np.zeros(first.shape)
    for shape, own, weight in ((first, centres[0], 1 - share), (last, centres[1], share)):
        signed = signed_distance(shape, spacing_mm)
        if not np.allclose(centre, own, atol=1e-6):
            signed = ndimage.shift(signed, centre - own, order=1, mode="nearest")
        total += weight * signed
    found: Mask = total > 0
    return found


def signed_distance(mask: Mask, spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Distance to the next voxel on the other side of the outline, positive inside."""
    inside = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    found: NDArray[np.float64] = inside - outside
    return found


def _box(mask: Mask, margins: Sequence[int]) -> tuple[slice, ...]:
    """The box of a structure with some voxels more on all sides, as far as there are any."""
    box = []
    for at, (size, margin) in enumerate(zip(mask.shape, margins, strict=True)):
        others = tuple(other for other in range(mask.ndim) if other != at)
        found = np.flatnonzero(mask.any(axis=others))
        box.append(slice(max(0, int(found[0]) - margin), min(size, int(found[-1]) + 1 + margin)))
    return tuple(box)


def _difference(
    part: LabelMap,
    value: int,
    old: Mask,
    new: Mask,
    start: Sequence[int],
    overwrite: bool,
) -> LabelEdit:
    """The voxels of a part that change: left ones become background, and new ones were it, or may be taken."""
    joins = new & ~old
    if not overwrite:
        joins &= part == 0
    where = np.nonzero(joins | (old & ~new))
    values = np.where(joins[where], value, 0).astype(part.dtype)
    places = tuple(at + first for at, first in zip(where, start, strict=True))
    return LabelEdit(places, values, part[where])
