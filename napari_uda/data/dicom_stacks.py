"""Which DICOM frames make up a volume, what the volumes of a folder are called, and where their voxels lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.core.words import short_list
from napari_uda.data.dicom_headers import MARKS, Frame, Header
from napari_uda.data.grid import LPS_TO_RAS, Affine, check_affine

_SAME_MM = 0.03  # frames nearer than this along the normal are images of one position
_SAME_DIRECTION = 1e-3  # of a cosine
_SAME_SPACING = 1e-4  # of the spacing
_JITTER_MM = (
    0.08  # positions written to 0.1 mm are off by 0.05 mm, and the line through them a little
)
_JITTER_SHARE = 0.02  # of the distance of slices
_MOST_JITTER_SHARE = 0.15
_MOST_MARKS = 3
_MOST_LISTED = 12
_UNITS = {mark.name: mark.unit for mark in MARKS} | {"repetition": "", "thickness": " mm"}


@dataclass(frozen=True, eq=False)
class Stack:
    """The frames of one volume, and how they are told from the others of their folder."""

    key: str
    """Short and unique among the volumes of the folder: the series number, with a part where it is split."""
    frames: tuple[Frame, ...]
    """Ordered along the normal of the planes."""
    differs: str
    """What sets it apart from other images of its series, or ""."""
    problems: tuple[Header, ...] = ()
    """Files of its series that no volume can be made of."""

    @property
    def title(self) -> str:
        """The description of the series, and what sets the volume apart."""
        return ", ".join(filter(None, (self.frames[0].header.description, self.differs)))

    def described(self) -> str:
        """Key, title, modality, size and date, as in a list to choose from."""
        header = self.frames[0].header
        size = " x ".join(str(side) for side in (len(self.frames), *header.shape))
        facts = ", ".join(filter(None, (header.modality, size, header.date)))
        return " ".join(filter(None, (f"'{self.key}'", self.title, f"({facts})")))


def stacks_of(headers: Iterable[Header]) -> list[Stack]:
    """The volumes that files hold, ordered by series number.

    A series is split where size, orientation or pixel spacing differ; where several images share a
    position, by what sets these apart: echo time, b-value, image type, time and so on, or the order of
    images alone; and into slabs of slices of one thickness where these are not spaced alike.

    Args:
        headers: of the files of a folder.
    """
    series: dict[str, list[Header]] = {}
    for header in headers:
        series.setdefault(header.series, []).append(header)
    found: list[tuple[str, list[Stack]]] = []
    for members in series.values():
        frames = [frame for header in members for frame in header.frames]
        problems = tuple(header for header in members if header.problem)
        parts = [
            Stack("", tuple(_ordered(part)), differs, problems) for part, differs in _parted(frames)
        ]
        if parts:
            found.append((members[0].number, parts))
    found.sort(key=lambda one: (int(one[0]) if one[0].isdecimal() else 10**9, one[0]))
    numbers = [number for number, _ in found]
    if not all(numbers) or len(set(numbers)) < len(numbers):
        numbers = [str(place + 1) for place in range(len(found))]
    return [
        Stack(
            number if len(parts) == 1 else f"{number}.{place + 1}",
            part.frames,
            part.differs,
            part.problems,
        )
        for number, (_, parts) in zip(numbers, found, strict=True)
        for place, part in enumerate(parts)
    ]


def chosen_stack(stacks: Sequence[Stack], wanted: str, name: str) -> Stack:
    """The volume that a user asks for.

    Args:
        stacks: the volumes of a folder, one at least.
        wanted: a key, a Series Instance UID or a part of a title; "" for the only one.
        name: what the folder is called in messages.

    Raises:
        InputError: none fits, or several do; the sentence lists them.
    """
    fitting = fitting_stacks(stacks, wanted) if wanted else list(stacks)
    if len(fitting) == 1:
        return fitting[0]
    listed = listed_stacks(fitting or stacks)
    if not fitting:
        raise InputError(f"{name}: holds no DICOM volume {wanted!r}; choose one of these: {listed}")
    what = f"{len(fitting)} DICOM volumes" + (f" that fit {wanted!r}" if wanted else "")
    raise InputError(
        f"{name}: holds {what}; choose one with --series by its number or a part of its name: {listed}"
    )


def listed_stacks(stacks: Sequence[Stack]) -> str:
    """The first of them described, and how many more there are."""
    described = (stack.described() for stack in stacks)
    return short_list(described, _MOST_LISTED, between="; ", last="; and ")


def fitting_stacks(stacks: Sequence[Stack], wanted: str) -> list[Stack]:
    """The volumes that a text means: by key, else by Series Instance UID, title or part of a title."""
    title = wanted.casefold()
    tests: tuple[Callable[[Stack], bool], ...] = (
        lambda stack: stack.key == wanted,
        lambda stack: stack.frames[0].header.series == wanted,
        lambda stack: stack.title.casefold() == title,
        lambda stack: title in stack.title.casefold(),
    )
    fitting: list[Stack] = []
    for test in tests:
        fitting = fitting or [stack for stack in stacks if test(stack)]
    return fitting


def stack_affine(frames: Sequence[Frame], name: str) -> Affine:
    """The place of a volume's voxels, checked slice by slice.

    Args:
        frames: ordered along their normal, of one orientation and pixel spacing.
        name: what the volume is called in messages.

    Returns:
        (4, 4) from voxel indices (x, y, z, 1) to RAS+ millimetres; sheared where the slices shift evenly
        (a tilted gantry).

    Raises:
        InputError: slices share a position, are missing, or lie beside the line of the others.
    """
    across, down, normal = _directions(frames[0])
    if abs(float(across @ down)) > 0.01:
        raise InputError(
            f"{name}: its rows and columns are not at right angles (0020,0037); export the series again"
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * frames[0].spacing[1], down * frames[0].spacing[0]
    affine[:3, 3] = frames[0].position
    if len(frames) > 1:
        affine[:3, 2] = _step(np.array([frame.position for frame in frames]), normal, name, frames)
    elif frames[0].thickness:
        affine[:3, 2] = normal * frames[0].thickness
    else:
        raise InputError(
            f"{name}: is a single slice whose thickness is not stated (0018,0050); export it with its thickness"
        )
    affine[:3] *= LPS_TO_RAS[:, None]
    check_affine(affine, name)
    return affine


def check_one_grid(frames: Sequence[Frame], name: str) -> None:
    """Refuse slices that differ in size, orientation or pixel spacing.

    Raises:
        InputError: naming the first that does.
    """
    for frame in frames:
        if not _same_grid(frames[0], frame):
            pair = (frames[0], frame)
            words = [_grid_words(one, pair) for one in pair]
            raise InputError(
                f"{name}: {_named(frame)} and {_named(frames[0])} differ ({words[1]} against {words[0]}); "
                "keep slices of one kind"
            )


def order_of(frames: Sequence[Frame]) -> list[int]:
    """Places of the frames in the order in which they follow each other along the first one's normal."""
    return [int(place) for place in np.argsort(_heights(frames), kind="stable")]


def _ordered(frames: Sequence[Frame]) -> list[Frame]:
    return [frames[place] for place in order_of(frames)]


def _directions(frame: Frame) -> tuple[NDArray[np.float64], ...]:
    """Unit vectors along a row, along a column and across the plane."""
    across, down = np.reshape(frame.orientation, (2, 3)) / np.maximum(
        np.linalg.norm(np.reshape(frame.orientation, (2, 3)), axis=1, keepdims=True), 1e-9
    )
    normal = np.cross(across, down)
    return across, down, normal / max(float(np.linalg.norm(normal)), 1e-9)


def _heights(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """How far along the normal of the first plane each frame lies."""
    positions = np.array([frame.position for frame in frames], np.float64)
    return np.asarray(positions @ _directions(frames[0])[2])


def _step(
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    name: str,
    frames: Sequence[Frame],
) -> NDArray[np.float64]:
    """Vector from a slice to the next, checked to be the same all along."""
    count = len(positions)
    gaps = np.diff(positions @ normal)
    if gaps.min() < _SAME_MM:
        place = int(gaps.argmin())
        pair = " and ".join(_named(frame) for frame in frames[place : place + 2])
        raise InputError(
            f"{name}: {int((gaps < _SAME_MM).sum()) + 1} or more of its {count} DICOM slices share a position, and "
            f"nothing known tells them apart ({pair}); keep one per position"
        )
    step = (positions[-1] - positions[0]) / (count - 1)
    apart = float(step @ normal)
    most = max(_JITTER_SHARE * apart, min(_JITTER_MM, _MOST_JITTER_SHARE * apart))
    places = np.arange(count) - (count - 1) / 2
    centred = positions - positions.mean(axis=0)
    off = centred - np.outer(places, places @ centred / (places @ places))  # from the best line
    along = off @ normal
    if np.abs(along).max() > most:
        raise InputError(
            f"{name}: its DICOM slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart (mostly "
            f"{np.median(gaps):.4g} mm), so slices are missing or unevenly spaced; add the missing slices or "
            "resample the series"
        )
    beside = np.linalg.norm(off - along[:, None] * normal, axis=1)
    if beside.max() > most:
        jumps = np.linalg.norm(np.diff(positions, axis=0) - np.outer(gaps, normal), axis=1)
        place = int(np.abs(jumps - np.median(jumps)).argmax()) + 1
        raise InputError(
            f"{name}: its DICOM slices do not lie on one line: {_named(frames[place])} is shifted by "
            f"{jumps[place - 1]:.4g} mm in its plane against the slice before it; export the series again, or "
            "resample it"
        )
    return np.asarray(step)


def _named(frame: Frame) -> str:
    several = len(frame.header.frames) > 1
    return (f"frame {frame.index + 1} of " if several else "") + shown(frame.header.file)


def _parted(frames: list[Frame]) -> list[tuple[list[Frame], str]]:
    """A series' frames as volumes, with what sets each apart."""
    grids: list[list[Frame]] = []
    for frame in frames:
        for grid in grids:
            if _same_grid(grid[0], frame):
                grid.append(frame)
                break
        else:
            grids.append([frame])
    parted = []
    for grid in grids:
        how = _grid_words(grid[0], [other[0] for other in grids])
        parted += [
            (part, ", ".join(filter(None, (how, differs)))) for part, differs in _split(grid)
        ]
    return parted


def _same_grid(a: Frame, b: Frame) -> bool:
    return bool(
        a.header.shape == b.header.shape
        and np.allclose(a.orientation, b.orientation, rtol=0, atol=_SAME_DIRECTION)
        and np.allclose(a.spacing, b.spacing, rtol=_SAME_SPACING, atol=0)
    )


def _grid_words(frame: Frame, others: Sequence[Frame]) -> str:
    """How a grid differs from the other grids of its series."""
    words = []
    if any(not np.allclose(frame.orientation, o.orientation, atol=_SAME_DIRECTION) for o in others):
        words.append(_plane(frame))
    if any(frame.header.shape != other.header.shape for other in others):
        words.append(f"{frame.header.shape[0]} x {frame.header.shape[1]} pixels")
    if any(not np.allclose(frame.spacing, other.spacing, rtol=_SAME_SPACING) for other in others):
        words.append(f"pixels of {frame.spacing[0]:g} x {frame.spacing[1]:g} mm")
    return ", ".join(words)


def _plane(frame: Frame) -> str:
    normal = np.abs(_directions(frame)[2])
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return name if normal.max() > 1 - _SAME_DIRECTION else f"oblique {name}"


def _split(frames: list[Frame]) -> list[tuple[list[Frame], str]]:
    """Frames of one grid, split until no two of a part share a position; whole where nothing helps."""
    place = _places(frames)
    most = int(np.bincount(place).max())
    if most == 1:
        return _split_uneven(frames)
    values = {mark.name: _values(frames, place, mark.name, mark.ranked) for mark in MARKS}
    telling = [name for name, column in values.items() if _varies_within(column, place)]
    for count in range(1, _MOST_MARKS + 1):
        for names in combinations(telling, count):
            keys = list(zip(*(values[name] for name in names), strict=True))
            pairs = set(zip(keys, place, strict=True))
            if len(pairs) == len(frames) and len(set(keys)) == most:
                return _described_parts(frames, keys, values, names)
    repetition = _repetitions(frames, place)
    if repetition is None:
        return [(frames, "")]
    return _parts_by("repetition", repetition, frames)


def _repetitions(frames: Sequence[Frame], place: NDArray[np.intp]) -> list[int] | None:
    """Which repetition of the volume each frame belongs to, from 1, by the order of the images alone.

    None unless that order is sure: one volume after the other, or all repetitions of a position after
    those of the one before it.
    """
    orders = [(frame.header.image_number, frame.index) for frame in frames]
    counts = np.bincount(place)
    if len(set(orders)) < len(frames) or counts.min() < counts.max():
        return None
    in_order = sorted(range(len(frames)), key=orders.__getitem__)
    repetition = np.zeros(len(frames), np.intp)
    seen = np.zeros(len(counts), np.intp)
    for index in in_order:
        seen[place[index]] += 1
        repetition[index] = seen[place[index]]
    by_volume = (np.diff(repetition[in_order]) >= 0).all()
    by_position = np.count_nonzero(np.diff(place[in_order])) == len(counts) - 1
    return list(repetition.tolist()) if by_volume or by_position else None


def _split_uneven(frames: list[Frame]) -> list[tuple[list[Frame], str]]:
    """Slices that do not follow each other evenly: parallel stacks of one file, or slabs of thin and of thick slices."""
    if _even(frames):
        return [(frames, "")]
    stacks = [frame.marks.get("stack") for frame in frames]
    if len(set(stacks)) > 1:
        return _parts_by("stack", stacks, frames)
    slabs = _parts_by("thickness", [frame.thickness for frame in frames], frames)
    return slabs if all(_even(slab) for slab, _ in slabs) else [(frames, "")]


def _even(frames: Sequence[Frame]) -> bool:
    gaps = np.diff(np.sort(_heights(frames)))
    return len(gaps) == 0 or bool(gaps.max() - gaps.min() <= 2 * _JITTER_MM)


def _parts_by(
    name: str, column: Sequence[object], frames: Sequence[Frame]
) -> list[tuple[list[Frame], str]]:
    return _described_parts(frames, [(value,) for value in column], {name: list(column)}, (name,))


def _places(frames: Sequence[Frame]) -> NDArray[np.intp]:
    """The number of each frame's position, counted along the normal."""
    heights = _heights(frames)
    order = np.argsort(heights, kind="stable")
    new = np.diff(heights[order], prepend=heights[order[0]]) >= _SAME_MM
    places = np.empty(len(frames), np.intp)
    places[order] = np.cumsum(new)
    return places


def _values(
    frames: Sequence[Frame], place: NDArray[np.intp], name: str, ranked: bool
) -> list[object]:
    """What each frame says about a mark; of a ranked one the number of the value at its position."""
    values: list[object] = [frame.marks.get(name) for frame in frames]
    if not ranked:
        return values
    sortable = [(str(type(value)), value) for value in values]
    ranks: list[object] = [None] * len(frames)
    for number in range(int(place.max()) + 1):
        members = list(np.flatnonzero(place == number))
        ordered = sorted({sortable[index] for index in members})
        for index in members:
            ranks[index] = ordered.index(sortable[index]) + 1
    return ranks


def _varies_within(column: Sequence[object], place: NDArray[np.intp]) -> bool:
    """Whether images of one position differ in it."""
    return len(set(zip(column, place, strict=True))) > int(place.max()) + 1


def _described_parts(
    frames: Sequence[Frame],
    keys: Sequence[tuple[object, ...]],
    values: dict[str, list[object]],
    chosen: tuple[str, ...],
) -> list[tuple[list[Frame], str]]:
    """The parts in the order of their values, each with up to three things that set it apart."""
    members: dict[tuple[object, ...], list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    named = list(chosen)
    for name, column in values.items():
        constant = all(len({column[index] for index in part}) == 1 for part in members.values())
        if name not in named and constant and len(set(column)) > 1 and len(named) < _MOST_MARKS:
            named.append(name)
    named.sort(key=list(values).index)

    def order(part: list[int]) -> list[tuple[bool, bool, object]]:
        """Numbers before texts, and nothing before both, mark by mark."""
        own = [values[name][part[0]] for name in named]
        return [(isinstance(value, str), value is not None, value) for value in own]

    return [
        (
            [frames[index] for index in part],
            ", ".join(_words(name, values[name], part[0]) for name in named),
        )
        for part in sorted(members.values(), key=order)
    ]


def _words(name: str, column: Sequence[object], index: int) -> str:
    """One mark of one part: "echo time 2.3 ms"."""
    value = column[index]
    if value is None:
        return f"{name} none"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if name == "image type":
        text = _own_words(text, {str(other) for other in column})
    return f"{name} {text}{_UNITS[name]}"


def _own_words(text: str, others: set[str]) -> str:
    """The words of an image type that not all of them have."""
    common = set.intersection(*(set(other.split()) for other in others))
    return " ".join(word for word in text.split() if word not in common) or text
