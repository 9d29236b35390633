"""The files in which the voxels of a MetaImage or NRRD header lie: named, looked at and measured before ITK reads them.

A header comes from anyone, and ITK opens whatever it names. So it may name plain files in its own folder
only, and may declare no more voxels than they can hold.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.data.grid import MAX_SIDE
from napari_uda.data.gzip_stream import STREAM_ERRORS, unpacked_bytes

_HEADER_BYTES = 2**18
_MOST_PER_BYTE = 1032  # what DEFLATE can reach at most; text takes more room than voxels
_PLAIN_ENCODINGS = ("", "raw")
_META_DIRECTIONS = {b"TransformMatrix", b"Rotation", b"Orientation", b"AnatomicalOrientation"}
_NRRD_PATIENT = {
    b"right-anterior-superior", b"left-anterior-superior", b"left-posterior-superior", b"ras", b"las", b"lps",
    b"rast", b"last", b"lpst",
}  # fmt: skip
_PATTERN = re.compile(r"[^%]*%0?\d{0,2}d[^%]*")
"""Names with a number in them, in the one form that such headers are written in."""


def voxel_files(path: Path) -> tuple[list[Path], int]:
    """The header and the files that it names, and how many bytes of voxels they can hold at most.

    Args:
        path: a `.nrrd`, `.nhdr`, `.mha` or `.mhd` file.

    Raises:
        InputError: if the header names a file outside of its own folder, one that is no plain file or is
            missing, or files in a form that is not known.
        OSError: if the header cannot be read.
    """
    with path.open("rb") as file:
        lines = file.read(_HEADER_BYTES).splitlines()
    is_meta = path.name.lower().endswith((".mha", ".mhd"))
    names, is_packed = (_meta_files if is_meta else _nrrd_files)(lines, shown(path))
    files = [path, *(_plain_file(path, name) for name in names)]
    if is_meta:
        _check_count(len(names), lines, shown(path))
    total = sum(file.stat().st_size for file in files)
    return files, total * _MOST_PER_BYTE if is_packed else total


def check_declared(declared: int, most: int, name: str) -> None:
    """Refuse a header that declares more bytes of voxels than there can be.

    Raises:
        InputError: with both numbers.
    """
    if declared > most:
        raise InputError(
            f"{name}: is truncated or its header is wrong (at most {most} of the declared {declared} bytes are "
            "there); copy or export the file again"
        )


def check_packed(path: Path, declared: int, name: str) -> None:
    """Refuse compressed voxels that are damaged, of which ITK makes noise, or fewer than declared.

    Args:
        path: a `.nrrd`, `.nhdr`, `.mha` or `.mhd` file that ITK knows.
        declared: bytes of voxels by its header.
        name: for messages.

    Raises:
        InputError: saying what is wrong with them.
        OSError: a file cannot be read.
    """
    parts = _packed_parts(path)
    try:
        given = sum(unpacked_bytes(file, declared, start) for file, start in parts)
    except STREAM_ERRORS as error:
        raise InputError(
            f"{name}: its compressed data is damaged ({error}); copy the file again"
        ) from error
    if parts and given < declared:
        raise InputError(
            f"{name}: is truncated or its header is wrong (its compressed data holds {given} of the declared {declared} "
            "bytes); copy or export the file again"
        )


def says_orientation(path: Path) -> bool:
    """Whether a header says where in the patient its axes lead, which ITK takes for LPS otherwise.

    Args:
        path: a `.nrrd`, `.nhdr`, `.mha` or `.mhd` file.
    """
    with path.open("rb") as file:
        lines = file.read(_HEADER_BYTES).splitlines()
    if path.name.lower().endswith((".mha", ".mhd")):
        return any(re.split(rb"[:=]", line)[0].strip() in _META_DIRECTIONS for line in lines)
    for line in lines:
        key, _, value = line.partition(b":")
        if not line.strip():
            break
        if key.strip().lower() == b"space":
            return value.strip().lower().removesuffix(b"-time") in _NRRD_PATIENT
    return False


def _packed_parts(path: Path) -> list[tuple[Path, int]]:
    """The files whose voxels are gzip or zlib data, and where it begins in each; none where it is neither."""
    is_meta = path.name.lower().endswith((".mha", ".mhd"))
    fields: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        while line := file.readline(_HEADER_BYTES):
            key, *after = re.split(rb"[:=]", line, maxsplit=1)
            fields[key.strip().lower()] = b"".join(after).strip().lower()
            if key.strip() == b"ElementDataFile" or (not line.strip() and not is_meta):
                break
        end = file.tell()
    if is_meta:
        is_packed = fields.get(b"compresseddata") == b"true"
    else:
        is_packed = fields.get(b"encoding") in (b"gzip", b"gz")
    skips = (fields.get(key, b"0") for key in (b"line skip", b"byte skip"))
    if not is_packed or any(skip != b"0" for skip in skips):
        return []
    files, _ = voxel_files(path)
    return [(file, 0) for file in files[1:]] or [(path, end)]


def _meta_files(lines: list[bytes], name: str) -> tuple[list[str], bool]:
    """Files that a MetaImage header names, and whether they are packed."""
    is_packed = False
    for index, line in enumerate(lines):
        key, *after = re.split(rb"[:=]", line, maxsplit=1)
        text = b"".join(after).strip().decode(errors="replace")
        if key.strip() == b"CompressedData":
            is_packed = text.lower() == "true"
        elif key.strip() == b"ElementDataFile":
            if text.lower() == "local":
                return [], is_packed
            return list(_names(text, lines[index + 1 :], name)), is_packed
    return [], is_packed


def _check_count(count: int, lines: list[bytes], name: str) -> None:
    """Refuse fewer or more data files than a MetaImage has slices: ITK makes up the voxels of missing ones."""
    fields = dict(
        re.split(rb"\s*[:=]\s*", line.strip(), maxsplit=1) for line in lines if b"=" in line
    )
    sizes = fields.get(b"DimSize", b"").split()
    words = fields.get(b"ElementDataFile", b"").split()
    if not words or (words[0].upper() != b"LIST" and b"%" not in words[0]):
        return
    axes = re.match(rb"\d", words[1]) if words[0].upper() == b"LIST" and len(words) > 1 else None
    if axes and int(axes.group()) != len(sizes) - 1:
        raise InputError(
            f"{name}: names its data files by '{b' '.join(words).decode(errors='replace')[:60]}', which is not known; "
            "list one file for every slice"
        )
    needed = int(sizes[-1]) if sizes and sizes[-1].isdigit() else 0
    if count != needed:
        raise InputError(
            f"{name}: names {count} data files and declares {needed} slices (DimSize); add the missing files or correct "
            "its header"
        )


def _nrrd_files(lines: list[bytes], name: str) -> tuple[list[str], bool]:
    """Files that a NRRD header names, none where the voxels follow it, and whether they are packed."""
    encoding, files = "", list[str]()
    for index, line in enumerate(lines):
        if not line.strip():
            break
        key, _, value = line.partition(b":")
        text = value.strip().decode(errors="replace")
        if key.strip().lower() == b"encoding":
            encoding = text.lower()
        elif key.strip().lower() in (b"data file", b"datafile"):
            files = list(_names(text, lines[index + 1 :], name))
            if text.upper().startswith("LIST"):  # the names are the rest of the header
                break
    return files, encoding not in _PLAIN_ENCODINGS


def _names(text: str, after: list[bytes], name: str) -> Iterator[str]:
    """File names of a field: one, a list that follows, or a pattern with the numbers that go into it."""
    words = text.split()
    if words and words[0].upper() == "LIST":
        yield from (line.strip().decode(errors="replace") for line in after if line.strip())
    elif "%" in text:
        numbers = [int(word) for word in words[1:] if re.fullmatch(r"-?\d{1,9}", word)]
        if not _PATTERN.fullmatch(words[0]) or len(numbers) < 2:
            raise InputError(
                f"{name}: names its data files by the pattern {text[:60]!r}, which is not known; list the files"
            )
        first, last, step = [*numbers, 1][:3]
        series = range(first, last + (1 if step > 0 else -1), step or 1)
        if len(series) > MAX_SIDE:
            raise InputError(
                f"{name}: names {len(series)} data files, more than {MAX_SIDE}; correct its header"
            )
        yield from (words[0] % number for number in series)
    else:
        yield text


def _plain_file(header: Path, name: str) -> Path:
    """The file of a name, in the folder of the header or below it."""
    parts = PureWindowsPath(name)  # knows both kinds of separators, and drives
    if not name or parts.anchor or ".." in parts.parts:
        raise InputError(
            f"{shown(header)}: names the data file {name[:80]!r} outside of its own folder, which is not followed; "
            "put the file beside it and correct the name"
        )
    file = header.parent.joinpath(*parts.parts)
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(
            f"{shown(header)}: its data file {name[:80]!r} is not there; put it beside the header"
        ) from error
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{shown(header)}: its data file {name[:80]!r} is no plain file; give one that is"
        )
    return file
