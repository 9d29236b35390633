"""Segments: the named structures of a segmentation file, and which value each becomes in a label map."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import plain_name
from napari_uda.core.words import short_list
from napari_uda.data.labels import LARGEST

_NUMBERED = re.compile(
    r"(?:segment|label|structure|region|roi|class|value)?[ _-]*\d*", re.IGNORECASE
)
_MOST_NAMED = 8
_MOST_TEXT = 64


@dataclass(frozen=True)
class Segment:
    """One structure of a file."""

    value: int
    """Its label value or number in the file."""
    name: str
    colour: str = ""
    """`#RRGGBB`, or "" where the file gives none."""


def small_values(names: Mapping[str, int]) -> dict[str, int]:
    """Label values that fit into a byte: those up to 255 as they are, larger ones as the lowest free numbers.

    Args:
        names: structure name to value as files hold it; 0 is background and left out.

    Returns:
        Name to value 1 to 255, in order of the new values.

    Raises:
        InputError: more than 255 structures.
    """
    kept = {name: value for name, value in names.items() if value}
    if len(kept) > LARGEST:
        raise InputError(
            f"{len(kept)} structures are named, and {LARGEST} fit into a label map; name those that you need"
        )
    free = iter(sorted(set(range(1, LARGEST + 1)) - set(kept.values())))
    small = {
        name: value if value <= LARGEST else next(free)
        for name, value in sorted(kept.items(), key=lambda item: item[1])
    }
    return dict(sorted(small.items(), key=lambda item: item[1]))


def long_string(text: str) -> str:
    """A text as one value of DICOM: 64 characters at most, none that separates values."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text.replace("\\", "/"))
    return plain.strip()[:_MOST_TEXT]


def chosen_values(
    segments: Sequence[Segment], names: Mapping[str, int], file: str, warn: Callable[[str], object]
) -> dict[int, int]:
    """Which segments are taken, and the label value of each.

    Args:
        segments: what the file holds.
        names: structure name to value as for `small_values`; those segments are taken that have one of
            these names, however it is capitalised, or what DICOM has room for of it. Empty takes all, by their own values where they are 1 to
            255 and different, else numbered from 1.
        file: for messages.
        warn: is told what is left out.

    Returns:
        Index of a segment to its label value.

    Raises:
        InputError: none of the names is there, or more than 255 segments.
    """
    if not names:
        own = [segment.value for segment in segments]
        if len(segments) > LARGEST:
            raise InputError(
                f"{file}: holds {len(segments)} segments, and {LARGEST} fit into a label map; name those that you "
                "need in the labels of dataset.json"
            )
        if len(set(own)) == len(own) and all(1 <= value <= LARGEST for value in own):
            return dict(enumerate(own))
        return {index: index + 1 for index in range(len(segments))}
    small = small_values(names)
    by_name = {plain_name(name): value for name, value in small.items()}
    as_written = [plain_name(long_string(name)) for name in small]
    for name, value in zip(as_written, small.values(), strict=True):
        if as_written.count(name) == 1:
            by_name.setdefault(name, value)
    taken = {
        index: by_name[plain_name(segment.name)]
        for index, segment in enumerate(segments)
        if plain_name(segment.name) in by_name
    }
    if not taken and segments:
        taken = _taken_by_value(segments, names, small, file, warn)
    left = [
        segment.name or f"value {segment.value}"
        for index, segment in enumerate(segments)
        if index not in taken
    ]
    if left:
        warn(f"{file}: {_listed(left)} left out, since only {_listed(small)} are named as labels")
    return taken


def _taken_by_value(
    segments: Sequence[Segment],
    names: Mapping[str, int],
    small: Mapping[str, int],
    file: str,
    warn: Callable[[str], object],
) -> dict[int, int]:
    """Without a common name, values count where one side has no real names ("Segment_1")."""
    by_value = {value: small[name] for name, value in names.items() if value}
    taken = {
        index: by_value[segment.value]
        for index, segment in enumerate(segments)
        if segment.value in by_value
    }
    numbered = _are_numbered(names) or _are_numbered(segment.name for segment in segments)
    if not taken or not numbered:
        own = _listed(segment.name or f"value {segment.value}" for segment in segments)
        raise InputError(
            f"{file}: its segments ({own}) have none of the names {_listed(small)}; give them the same names, "
            "in the labels of dataset.json or in the file"
        )
    warn(
        f"{file}: its segments are matched by their values, since they share no names with {_listed(small)}"
    )
    return taken


def _are_numbered(names: Iterable[str]) -> bool:
    return all(_NUMBERED.fullmatch(name.strip()) for name in names)


def _listed(names: Iterable[str]) -> str:
    return short_list(names, _MOST_NAMED)
