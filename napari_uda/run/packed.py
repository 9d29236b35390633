"""Packed runs: a plain zip archive of what predicts, read with care wherever a run folder is.

The weights in it are stored as they are, so that a file of it is never larger than the archive; whatever else lies
in an archive from elsewhere is refused.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from napari_uda.core.errors import InputError
from napari_uda.core.files import cannot_write, is_file, shown, temporary_folder
from napari_uda.core.small_files import MOST_BYTES, file_sha256, open_plain, read_yaml

ENDING = ".zip"
CARD_FILE = "card.yaml"
"""What the owner of a run says of it, and in a packed run all that is known of it."""
SMALL_FILES = ("config.yaml", "data.json", "environment.json", CARD_FILE)
"""Files of a packed run beside its weights."""
ON_THE_WAY = "get the file once more from where it came from"
_WEIGHTS = ("checkpoints/last.safetensors", "checkpoints/best.safetensors")  # one of them
_until_exit = ExitStack()
_unpacked: dict[tuple[str, int, int], Path] = {}  # by path, bytes and time of change


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a file that is named as packed runs are."""
    return Path(path).suffix.lower() == ENDING and is_file(path)


def unpacked(file: Path) -> Path:
    """The run folder in a packed run, for this process: hidden, not to be written to, and gone at its end.

    Raises:
        InputError: if the file is no packed run or damaged, or there is no room for it.
    """
    try:
        facts = file.stat()
        key = (os.path.realpath(file), facts.st_size, facts.st_mtime_ns)
        if key not in _unpacked:
            if not _unpacked:
                atexit.register(_until_exit.close)
            aside = _until_exit.enter_context(temporary_folder(Path(tempfile.gettempdir())))
            folder = aside / file.stem
            folder.mkdir()
            extract(file, folder)
            _unpacked[key] = folder
    except OSError as error:
        raise InputError(cannot_write(shown(file), Path(tempfile.gettempdir()), error)) from error
    return _unpacked[key]


def extract(file: Path, folder: Path) -> None:
    """Write the files of a packed run into an empty folder, and compare its weights with its card.

    Raises:
        InputError: if the file is no packed run or damaged.
        OSError: if the folder cannot be written.
    """
    with _opened(file) as archive:
        members = _members(file, archive)
        (folder / "checkpoints").mkdir()
        for member in members:
            with archive.open(member) as packed, (folder / member.filename).open("wb") as stream:
                shutil.copyfileobj(packed, stream)
    try:
        card = read_yaml(folder / CARD_FILE)
        said = card.get("weights_sha256") if isinstance(card, dict) else None
    except InputError as error:
        raise InputError(f"{shown(file)} is damaged ({error}); {ON_THE_WAY}") from error
    weights = next(folder / name for name in _WEIGHTS if (folder / name).exists())
    if file_sha256(weights) != said:
        raise InputError(
            f"{shown(file)} is damaged: its weights do not fit the checksum of its card; {ON_THE_WAY}"
        )


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with open_plain(file) as stream, zipfile.ZipFile(stream) as archive:
            yield archive
    except FileNotFoundError as error:
        raise InputError(f"{shown(file)} does not exist; give a file that pack wrote") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f"{shown(file)} is no packed run or damaged; {ON_THE_WAY}") from error


def _members(file: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """What is to be written.

    Raises:
        InputError: if anything is missing, there twice, or nothing that `pack` writes.
    """
    found = archive.infolist()
    names = sorted(member.filename for member in found)
    if names not in [sorted((*SMALL_FILES, weights)) for weights in _WEIGHTS]:
        raise InputError(
            f"{shown(file)} holds other files than a packed run; give one that pack wrote"
        )
    for member in found:
        stored = member.compress_type == zipfile.ZIP_STORED
        too_large = member.file_size > MOST_BYTES and not stored
        if too_large or member.flag_bits & 1 or (member.filename in _WEIGHTS and not stored):
            raise InputError(
                f"{shown(file)}: {member.filename} is not packed as pack does; {ON_THE_WAY}"
            )
    return found
