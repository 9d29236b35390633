"""Cleaning: everything below a folder that killed commands left, those of training included."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from napari_uda.core.errors import InputError, refusal
from napari_uda.core.files import shown
from napari_uda.core.leftovers import Leftover, find_leftovers, is_own_name, remove_leftovers
from napari_uda.run.folder import RunFolder
from napari_uda.run.status import RunState, run_status


@dataclass(frozen=True)
class Cleaned:
    """What `clean` did.

    Attributes:
        removed: what is gone.
        kept: what is not, each with why.
    """

    removed: tuple[Path, ...]
    kept: tuple[Leftover, ...]


def clean(folder: Path) -> Cleaned:
    """Remove what killed commands left in a folder and in the folders below it; links are not followed.

    Hidden files and folders of this program go if their process is gone. Of runs that nobody trains the
    mapped slices (`cache`) go, too, and what version 0.1 left beside its checkpoints. Files that were on the
    way to their places are brought there.

    Raises:
        InputError: if there is no such folder or it cannot be read.
    """
    if not folder.is_dir():
        remedy = "give the folder in which a command was killed"
        raise InputError(f"{shown(folder)}: there is no such folder; {remedy}")
    removed: list[Path] = []
    kept: list[Leftover] = []
    try:
        os.listdir(folder)  # noqa: PTH208 - `walk` passes over a folder that cannot be read
        for parent, folders, _ in os.walk(folder):
            place = Path(parent)
            removed += remove_leftovers(place)
            removed += _clean_run(RunFolder(place))
            kept += find_leftovers(place)
            folders[:] = sorted(name for name in folders if not is_own_name(name))
    except OSError as error:
        raise InputError(refusal(error)) from error
    return Cleaned(tuple(removed), tuple(kept))


def _clean_run(run: RunFolder) -> list[Path]:
    """What only a trainer may remove while it trains."""
    if not run.config_file.is_file() or run.link_outside() is not None:
        return []
    left = run.torn_weights() + ([run.cache] if run.cache.is_dir() else [])
    if not left or run_status(run).state == RunState.RUNNING:
        return []
    run.remove_torn_weights()
    shutil.rmtree(run.cache, ignore_errors=True)
    return [path for path in left if not path.exists()]
