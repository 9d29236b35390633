"""What the adapters share: finding files by their names and reading a pair of volumes."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from napari_uda.core.errors import InputError, reason
from napari_uda.core.files import shown
from napari_uda.data.labels import to_whole
from napari_uda.data.volume import Placement, Volume, read_volume

Key = TypeVar("Key", bound=Hashable)


def walk(source: Path) -> Iterator[Path]:
    """All files below `source` in order of name, without hidden files and folders; links to folders are not followed.

    Raises:
        InputError: a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{shown(error.filename or source)}: cannot be read ({reason(error)}); check the folder"
        ) from error

    for folder, folders, names in os.walk(source, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder) / name


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts `slice9` before `slice10`."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def by_case(files: Iterable[tuple[Key, Path]]) -> dict[Key, Path]:
    """The files by case.

    Raises:
        InputError: two files of one case.
    """
    found: dict[Key, Path] = {}
    for key, file in files:
        if key in found:
            raise InputError(
                f"{shown(file)}: was found twice, in {shown(found[key].parent)} and in {shown(file.parent)}; "
                "keep one copy of the release in SOURCE"
            )
        found[key] = file
    return found


def read_pair(image: Path, label: Path, placement: Placement) -> tuple[Volume, Volume]:
    """Image and label map of a case, each with its own geometry."""
    first, second = (read_volume(file, placement=placement) for file in (image, label))
    codes, wrong = to_whole(second.array, second.value_step)
    if wrong is not None:
        codes = second.array  # whoever knows the codes says which one is none
    return (
        replace(first, name=shown(image)),
        replace(second, array=codes, name=shown(label), value_step=0.0),
    )


def nothing_found(source: Path, expected: str) -> InputError:
    """What to say when a folder holds nothing of a layout."""
    return InputError(
        f"{shown(source)}: holds nothing of this layout; give the folder of the unpacked release, with {expected}"
    )


def no_label(image: Path, expected: str) -> InputError:
    """What to say when an image has no label map."""
    return InputError(
        f"{shown(image)}: its label map {expected} is missing; add it, or move the image out of SOURCE"
    )
