"""Files of volumes: how they are named, shown in messages and written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from napari_uda.core.errors import InputError, reason
from napari_uda.core.leftovers import own_name, remove_leftovers

NIFTI_SUFFIXES = (".nii.gz", ".nii")
NIBABEL_SUFFIXES = (".nii.zst", ".mgz", ".mgh", ".hdr")
"""Files that are read, and not written: a `.hdr` stands for itself and its `.img`."""
SEG_NRRD_SUFFIX = ".seg.nrrd"
"""Segmentations of 3D Slicer."""
ITK_SUFFIXES = (SEG_NRRD_SUFFIX, ".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + NIBABEL_SUFFIXES + ITK_SUFFIXES
NNUNET_IMAGES = ("imagesTr", "imagesTs", "imagesVal")
FIRST_CHANNEL = "_0000"
"""What nnU-Net appends to the name of a case in the name of its first image."""
DICOM_SUFFIXES = (".dcm", ".ima")

_PREAMBLE = 128
_cleaned: set[Path] = set()  # folders in which this process has looked for what others left


def as_path(given: str | os.PathLike[str], remedy: str) -> Path:
    """What a script gives as a path.

    Raises:
        InputError: it is something else, such as an array; the sentence ends in `remedy`.
    """
    if not isinstance(given, (str, os.PathLike)):
        raise InputError(f"a {type(given).__name__} is no path; {remedy}")
    return Path(given)


def volume_suffix(path: str | os.PathLike[str]) -> str:
    """The lower-case suffix out of `VOLUME_SUFFIXES` that `path` ends in, or ""."""
    name = Path(path).name.lower()
    return next((suffix for suffix in VOLUME_SUFFIXES if name.endswith(suffix)), "")


def case_name(path: str | os.PathLike[str]) -> str:
    """The case a volume file holds: its file name without the suffix of its format."""
    name = Path(path).name or Path(path).resolve().name
    dicom = next((suffix for suffix in DICOM_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(volume_suffix(path) or dicom)]


def begins_as_dicom(file: Path) -> bool:
    """Whether a file begins as DICOM files do, with or without their preamble.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        start = stream.read(_PREAMBLE + 4)
    if start[_PREAMBLE:] == b"DICM":
        return True
    if len(start) < _PREAMBLE + 4:
        return False
    group, element = struct.unpack("<HH", start[:4])
    return group in (2, 8) and element <= 0x18  # identity comes first; nothing else begins so


def case_of_image(path: str | os.PathLike[str]) -> str:
    """The case an image belongs to: in nnU-Net's image folders without the number of its first channel."""
    name = case_name(path)
    return name.removesuffix(FIRST_CHANNEL) if Path(path).parent.name in NNUNET_IMAGES else name


def shown(path: str | os.PathLike[str]) -> str:
    """The file name as it stands in a message: one line, printable, no folders (they name patients)."""
    name = Path(path).name or Path(path).resolve().name
    return "".join(letter if letter.isprintable() else "?" for letter in name)


NO_TEXT = "its name holds bytes that are no UTF-8; rename it"
"""Why a file cannot be used whose name came from a system with another encoding; see `is_text`."""


def is_text(path: str | os.PathLike[str]) -> bool:
    """Whether the name of a file can be written into tables and reports."""
    return not any("\ud800" <= letter <= "\udfff" for letter in Path(path).name)


def check_is_text(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose name cannot be written into tables and reports.

    Raises:
        InputError: it holds bytes that are no UTF-8, as names from other systems do.
    """
    if not is_text(path):
        raise InputError(f"{shown(path)}: {NO_TEXT}")


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file; one that the system does not let us ask for counts as none."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a folder; one that the system does not let us ask for counts as none."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def temporary_path(folder: Path) -> Path:
    """A hidden path in a folder, for what is not yet whole; every one of this program comes from here.

    The name says whose it is. Before a process writes into a folder for the first time it removes what
    killed ones have left there.
    """
    if folder not in _cleaned:
        _cleaned.add(folder)
        remove_leftovers(folder)
    return folder / own_name()


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder for this process alone, in a folder that is there; it is gone at the end.

    Raises:
        OSError: it cannot be made.
    """
    folder = temporary_path(parent)
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class NotWrittenError(InputError):
    """A file or folder that could not be written: `cannot_write`.

    Attributes:
        error: what the system said.
    """

    def __init__(self, what: str, folder: Path, error: OSError) -> None:
        super().__init__(cannot_write(what, folder, error))
        self.error = error


@contextmanager
def written_as(what: str, folder: Path) -> Iterator[None]:
    """Say of whatever cannot be written in here that `what` could not: nobody knows the hidden places aside.

    Args:
        what: the file or the files that appear at the end, as they stand in the sentence.
        folder: where they appear.

    Raises:
        NotWrittenError: the folder cannot be written or the disk is full.
    """
    try:
        yield
    except NotWrittenError as error:
        raise NotWrittenError(what, folder, error.error) from error.error
    except OSError as error:
        raise NotWrittenError(what, folder, error) from error


@contextmanager
def atomic_file(path: str | os.PathLike[str], *, follow: bool = True) -> Iterator[BinaryIO]:
    """Open `path` for writing so that it appears whole or not at all.

    The bytes go to a hidden temporary file in the same folder, which is flushed to the disk and then
    renamed over `path`. On any failure the temporary file is removed and an older `path` stays as it
    was. Missing folders are created; permissions are those of any new file.

    Args:
        path: the file.
        follow: whether the file that a link at `path` leads to is written, or the link replaced by a file.

    Raises:
        NotWrittenError: the folder cannot be written or the disk is full.
    """
    target = Path(os.path.realpath(path))
    if not follow:
        given = Path(path)
        target = Path(os.path.realpath(given.parent)) / given.name
    temporary = temporary_path(target.parent)
    with written_as(shown(path), target.parent):
        make_folder(target.parent)
        try:
            with temporary.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        flush_folder(target.parent)


def cannot_write(what: str, folder: Path, error: OSError) -> str:
    """One sentence about a file that could not be written."""
    remedy = "free space there or choose a folder that can be written"
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY):
        remedy = "a file is in the way, so give another folder"
    return f"cannot write {what} to {folder}: {reason(error)}; {remedy}"


def check_new_folder(out: Path) -> None:
    """Refuse a place at which `whole_folder` could not make a folder.

    Raises:
        InputError: it is a file, is not empty or cannot be read.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{shown(out)}: is a file; give a new or empty folder")
    remove_leftovers(out)  # they would fill it, and nobody sees them
    try:
        filled = out.is_dir() and any(out.iterdir())
    except OSError as error:
        raise InputError(
            f"{shown(out)}: cannot be read ({reason(error)}); give another folder"
        ) from error
    if filled:
        raise InputError(f"{shown(out)}: is not empty; give a new or empty folder")


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A hidden folder that becomes `out` at the end, or is removed with all that is in it.

    Raises:
        NotWrittenError: it cannot be written or the disk is full.
    """
    staging = temporary_path(out.absolute().parent)
    made = [parent for parent in staging.parents if not parent.exists()]
    with written_as(shown(out), out.absolute().parent):
        try:
            staging.mkdir(parents=True)
            yield staging
            if out.exists():
                out.rmdir()  # empty, as checked; not every system renames onto an empty folder
            staging.rename(out)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            for parent in made:
                with suppress(OSError):
                    parent.rmdir()
            raise


def make_folder(folder: Path) -> None:
    """Make a folder that may be there.

    Raises:
        OSError: it cannot be made; a file in its place is no folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error


def flush_folder(folder: Path) -> None:
    """Ask the disk to keep the new directory entry; not every file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
