"""Edits on disk as they are made: what was painted outlives the viewer, however it ended.

A journal is a folder: the labels as they were (`labels.nii.gz`), what they are (`about.json`, written last)
and the strokes (`strokes.bin`). A stroke is a length, a checksum and compressed voxel numbers and values;
it is on the disk before the next one is taken. A stroke cut off by a kill is left out when reading.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import shutil
import struct
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil
from numpy.typing import NDArray
from platformdirs import user_data_path

from napari_uda.core.errors import InputError, reason
from napari_uda.core.files import atomic_file, is_folder
from napari_uda.core.small_files import read_json
from napari_uda.data.volume import Volume, read_labels, write_volume

logger = logging.getLogger(__name__)

_HEAD = struct.Struct("<II")  # bytes of the content, its CRC-32
_ABOUT, _LABELS, _STROKES = "about.json", "labels.nii.gz", "strokes.bin"
_JOURNAL = re.compile(r"[0-9a-f]{32}")
_SECONDS_OF_A_DAY = 24 * 3600
_in_use: set[Path] = set()  # journals that this process writes


@dataclass(frozen=True)
class About:
    """What was edited.

    Attributes:
        case: name of the case.
        run: name of the run that predicted it; empty when unknown.
        name: name of the edited layer.
        names: label value to structure name.
        begun: local date and time, ISO 8601.
    """

    case: str
    run: str
    name: str
    names: dict[int, str]
    begun: str = ""


class EditJournal:
    """Writes the strokes of one layer; for one worker thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Go on with a journal that is there; `begin` makes a new one."""
        self.folder = folder
        self._stream: BinaryIO | None = None
        _in_use.add(folder)

    @classmethod
    def begin(cls, labels: Volume, about: About, parent: Path | None = None) -> EditJournal:
        """Keep the labels as they are before the first stroke.

        Args:
            labels: unedited, uint8, on the grid of their file.
            about: what they are.
            parent: folder of journals; default `journal_folder()`.

        Raises:
            InputError: if the disk is full or cannot be written.
        """
        folder = (parent or journal_folder()) / uuid.uuid4().hex
        journal = cls(folder)
        try:
            write_volume(folder / _LABELS, labels.in_one_place())
            journal._say(about)
        except InputError:
            journal.discard()
            raise
        return journal

    def append(self, voxels: NDArray[np.integer], values: NDArray[np.integer]) -> None:
        """Add a stroke; it is on the disk when this returns.

        Args:
            voxels: `(n,)` indices into the raveled volume.
            values: `(n,)` labels from now on, 0 to 255.

        Raises:
            InputError: if the disk is full or cannot be written; the journal then ends with the stroke
                before, and can take this one when there is space again.
        """
        content = zlib.compress(
            voxels.astype("<i8").tobytes() + values.astype(np.uint8).tobytes(), 1
        )
        end = 0
        try:
            if self._stream is None:
                self._stream = (self.folder / _STROKES).open("ab")
            end = self._stream.tell()
            self._stream.write(_HEAD.pack(len(content), zlib.crc32(content)) + content)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            self._take_back(end)
            raise InputError(
                f"{self.folder} takes no more ({reason(error)}); free space there, or save them with "
                "Save edits…"
            ) from error

    def _take_back(self, end: int) -> None:
        """Leave no half stroke: what follows one is not read."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        with suppress(OSError):  # it writes what is left in its buffer
            stream.close()
        with suppress(OSError):
            os.truncate(self.folder / _STROKES, end)

    def close(self) -> None:
        """Stop writing; the journal stays and is offered again."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        _in_use.discard(self.folder)

    def discard(self) -> None:
        """Stop writing and remove the journal: its edits were saved, or are not wanted."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _say(self, about: About) -> None:
        """Write what the journal is, and whose: this makes it valid."""
        begun = about.begun or datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        process = psutil.Process()
        content = {
            **vars(about),
            "begun": begun,
            "process": process.pid,
            "process_began": process.create_time(),
        }
        with atomic_file(self.folder / _ABOUT) as stream:
            stream.write(json.dumps(content, indent=2).encode())


@dataclass(frozen=True)
class Leftover:
    """A journal whose viewer is gone.

    Attributes:
        folder: of the journal.
        about: what was edited.
        strokes: how many whole strokes it holds.
    """

    folder: Path
    about: About
    strokes: int

    def read(self) -> tuple[Volume, Volume]:
        """The labels as they were, and as edited.

        Raises:
            InputError: if the unedited labels cannot be read.
        """
        before = read_labels(self.folder / _LABELS)
        edited = before.array.astype(np.uint8, order="C")  # a copy
        flat = edited.reshape(-1)
        for voxels, values in _strokes(self.folder):
            if voxels.size and voxels.min() >= 0 and voxels.max() < flat.size:
                flat[voxels] = values
        name = self.about.case
        return replace(before, name=name), replace(before, array=edited, name=name)

    def adopt(self) -> EditJournal:
        """Go on writing this journal from this process."""
        journal = EditJournal(self.folder)
        _cut_off_half_stroke(self.folder)
        journal._say(self.about)
        return journal

    def discard(self) -> None:
        """Remove the journal."""
        shutil.rmtree(self.folder, ignore_errors=True)


def leftovers(parent: Path | None = None) -> list[Leftover]:
    """Journals with strokes that no living viewer writes, the oldest first."""
    folder = parent or journal_folder()
    _remove_unbegun(folder)
    found = []
    for file in sorted(folder.glob(f"*/{_ABOUT}")) if is_folder(folder) else ():
        if file.parent in _in_use:
            continue
        try:
            content = read_json(file)
            about = About(
                case=str(content["case"]),
                run=str(content["run"]),
                name=str(content["name"]),
                names={int(value): str(name) for value, name in content["names"].items()},
                begun=str(content["begun"]),
            )
            if _is_alive(int(content["process"]), float(content["process_began"])):
                continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s is no journal of edits; it is left alone", file.parent)
            continue
        strokes = sum(1 for _ in _records(file.parent))
        if strokes:
            found.append(Leftover(file.parent, about, strokes))
        elif not (file.parent / _STROKES).exists():  # killed before anything was painted
            shutil.rmtree(file.parent, ignore_errors=True)
    return sorted(found, key=lambda one: one.about.begun)


def _remove_unbegun(folder: Path) -> None:
    """Remove journals whose viewer was killed before it said whose they are: nothing was painted yet.

    A living one says so within seconds; they stay for a day.
    """
    with suppress(OSError):
        for journal in folder.iterdir():
            said = any((journal / name).exists() for name in (_ABOUT, _STROKES))
            if (
                said
                or journal in _in_use
                or journal.is_symlink()
                or not _JOURNAL.fullmatch(journal.name)
            ):
                continue
            if time.time() - journal.stat().st_mtime > _SECONDS_OF_A_DAY:
                shutil.rmtree(journal, ignore_errors=True)


def journal_folder() -> Path:
    """Where journals are kept: the user's own data folder."""
    return user_data_path("napari_uda", appauthor=False) / "edits"


def _is_alive(process: int, began: float) -> bool:
    """Whether that process still runs, and is not this one, which knows its own journals."""
    if process == os.getpid():
        return False
    try:
        return bool(abs(psutil.Process(process).create_time() - began) < 1)
    except psutil.Error:
        return False


def _strokes(folder: Path) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Whole strokes, in order; reading ends where one is broken."""
    for content, _ in _records(folder):
        try:
            plain = zlib.decompress(content)
        except zlib.error:
            return
        count = len(plain) // 9
        voxels = np.frombuffer(plain, "<i8", count).astype(np.int64)
        yield voxels, np.frombuffer(plain, np.uint8, count, offset=8 * count)


def _records(folder: Path) -> Iterator[tuple[bytes, int]]:
    """Content of every whole record, and where it ends in the file."""
    try:
        data = (folder / _STROKES).read_bytes()
    except OSError:
        return
    position = 0
    while position + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        content = data[position : position + length]
        position += length
        if len(content) < length or zlib.crc32(content) != check:
            return
        yield content, position


def _cut_off_half_stroke(folder: Path) -> None:
    """New strokes must follow a whole one."""
    end = max((position for _, position in _records(folder)), default=0)
    file = folder / _STROKES
    if file.exists() and file.stat().st_size > end:
        os.truncate(file, end)
