"""Files that name and colour label values: label descriptions of ITK-SNAP, colour tables of 3D Slicer and FreeSurfer."""

from __future__ import annotations

import os
import re
from pathlib import Path

from napari_uda.core.errors import InputError
from napari_uda.core.files import case_name, shown, volume_suffix
from napari_uda.core.small_files import read_small
from napari_uda.data.patients import LABEL_FOLDERS
from napari_uda.data.segments import Segment

_SUFFIXES = (".label", ".lbl", ".ctbl", ".txt")
_ITK_SNAP = re.compile(
    r"\s*(?P<value>\d{1,9})\s+(?P<red>\d{1,3})\s+(?P<green>\d{1,3})\s+(?P<blue>\d{1,3})\s+[\d.eE+-]+\s+[01]\s+[01]\s+"
    r'"(?P<name>.*)"\s*'
)
_TABLE = re.compile(
    r"\s*(?P<value>\d{1,9})\s+(?P<name>\S.*?)\s+(?P<red>\d{1,3})\s+(?P<green>\d{1,3})\s+(?P<blue>\d{1,3})\s+\d{1,3}\s*"
)
_UNNAMED = ("", "(none)")


def read_descriptions(file: Path) -> list[Segment]:
    """The labels that a file describes, background left out; [] when it is a text of another kind.

    In both formats a line describes a label: `1 255 0 0 1 1 1 "liver"` (ITK-SNAP), or
    `1 liver 255 0 0 255` (3D Slicer, FreeSurfer). Lines that begin with # are comments.

    Args:
        file: a text file.
    """
    try:
        lines = read_small(file).splitlines()
    except (InputError, OSError):
        return []
    rows = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for form in (_ITK_SNAP, _TABLE):
        found = [form.fullmatch(row) for row in rows]
        if found and all(found):
            return [
                Segment(int(match["value"]), match["name"].strip(), _colour(match))
                for match in found
                if match is not None
                and int(match["value"])
                and match["name"].strip() not in _UNNAMED
            ]
    return []


def descriptions_beside(label: Path) -> list[Segment]:
    """The labels that a file beside a label map describes, [] without one.

    That is a file with the label map's own name (`p1.label`, `p1.ctbl`, `p1.txt`), or else the one in its folder,
    or else, for a folder of label maps, the one in the folder above.

    Args:
        label: the label map.

    Raises:
        InputError: two files that describe labels differently.
    """
    return own_description(label) or descriptions_in(label.parent)


def own_description(label: Path) -> list[Segment]:
    """The labels that the file with the label map's own name describes, [] without one."""
    for suffix in _SUFFIXES:
        file = label.with_name(case_name(label) + suffix)
        if file.is_file() and (found := read_descriptions(file)):
            return found
    return []


def descriptions_in(folder: Path) -> list[Segment]:
    """The labels that the one description of a folder names, as `descriptions_beside`."""
    folders = [folder]
    if folder.name.lower() in LABEL_FOLDERS:
        folders.append(folder.parent)
    for place in folders:
        names = sorted(entry.name for entry in os.scandir(place)) if place.is_dir() else []
        texts = [name for name in names if name.lower().endswith(_SUFFIXES) and name[0] != "."]
        cases = {case_name(name) for name in names if volume_suffix(name)} if texts else set()
        named = {
            entry: described
            for entry in map(place.joinpath, texts)
            if entry.stem not in cases and (described := read_descriptions(entry))
        }
        files = list(named)
        if any(named[file] != named[files[0]] for file in files):
            raise InputError(
                f"{shown(place)}: {', '.join(map(shown, files[:3]))} describe labels differently; keep one of them, or "
                "name the labels in dataset.json"
            )
        if files:
            return named[files[0]]
    return []


def _colour(match: re.Match[str]) -> str:
    shades = [min(255, int(match[part])) for part in ("red", "green", "blue")]
    return "#{:02X}{:02X}{:02X}".format(*shades)
