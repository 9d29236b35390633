"""Several files of one folder that appear together: all of them new, or all of them as they were."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from napari_uda.core.files import flush_folder, make_folder, temporary_path, written_as
from napari_uda.core.leftovers import PLACES, SWAP, alone_in, discard_swap, own_name, stamp

_OLD = ".old"


def write_together(
    out: Path, what: str, files: Mapping[str, Callable[[Path], object]]
) -> list[Path]:
    """Write several files so that either all of them appear or none.

    They are first written whole into a hidden folder in `out`. Then that folder gets a name that says so, and
    they are renamed one by one. A kill before that name leaves the old files; after it, whatever writes into
    `out` next finishes the renaming. A link at one of the names is replaced, never followed.

    Args:
        out: the folder; it is created when missing.
        what: what they are, for messages.
        files: name to what writes it to the path that it is given.

    Returns:
        The files, which appear in the order in which they are named.

    Raises:
        NotWrittenError: the folder cannot be written or the disk is full; older files stay as they were.
    """
    aside = temporary_path(out)
    with written_as(what, out):
        try:
            make_folder(out)
            aside.mkdir()
            for name, write in files.items():
                write(aside / name)
            _swap(aside, list(files))
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return [out / name for name in files]


def _swap(aside: Path, names: Sequence[str]) -> None:
    folder = aside.parent
    for name in names:
        _to_disk(aside / name)
    swap = folder / own_name(SWAP)
    with alone_in(folder):
        (aside / _OLD).mkdir()
        for name in names:
            _keep(folder / name, aside / _OLD / name)
        stamps = {name: (stamp(folder / name), stamp(aside / name)) for name in names}
        (aside / PLACES).write_text(json.dumps(stamps), encoding="utf-8")
        _to_disk(aside / PLACES)
        flush_folder(aside)
        try:
            aside.rename(swap)
            flush_folder(folder)
            for name in names:
                (swap / name).replace(folder / name)
        except BaseException:
            _undo(swap, names)
            raise
        finally:
            flush_folder(folder)
            with suppress(OSError):  # what is done with is finished by nobody
                discard_swap(swap)


def _undo(swap: Path, names: Sequence[str]) -> None:
    """Put the old files back; killed in between, the new ones are brought to their places again."""
    for name in names:
        final, old = swap.parent / name, swap / _OLD / name
        if (swap / name).exists():
            continue  # it was not yet replaced
        with suppress(OSError):
            final.replace(swap / name)
            if os.path.lexists(old):
                old.replace(final)


def _keep(file: Path, name: Path) -> None:
    """Give an old file a second name, or a copy where the disk knows no second names."""
    if not os.path.lexists(file) or (file.is_dir() and not file.is_symlink()):
        return
    try:
        os.link(file, name, follow_symlinks=False)
    except (OSError, NotImplementedError, AttributeError):
        shutil.copy2(file, name, follow_symlinks=False)


def _to_disk(file: Path) -> None:
    with file.open("rb+") as stream:  # Windows flushes no file that is open for reading alone
        os.fsync(stream.fileno())
