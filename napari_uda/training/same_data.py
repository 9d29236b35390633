"""Whether a run that goes on has the data that it began with, wherever the files lie by now."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_uda.core.errors import InputError, refusal
from napari_uda.core.small_files import open_plain
from napari_uda.data.findings import listed
from napari_uda.data.folder import DataFolder

if TYPE_CHECKING:
    from napari_uda.data.facts import DataFacts
    from napari_uda.methods.base import MethodConfig
    from napari_uda.run.run import Run

logger = logging.getLogger(__name__)

_LETTERS = 16


def files_of_method(settings: MethodConfig) -> dict[str, str]:
    """Checksum of every file that the settings of a method name, by setting; none of one that is gone.

    A run may go on without it: what it said is in the checkpoint.

    Raises:
        InputError: if one cannot be read.
    """
    found = {}
    for name, value in settings:
        if isinstance(value, Path):
            try:
                with open_plain(value) as file:
                    found[name] = hashlib.file_digest(file, "sha256").hexdigest()[:_LETTERS]  # type: ignore[arg-type]
            except FileNotFoundError:
                continue
            except OSError as error:
                raise InputError(refusal(error)) from error
    return found


def refuse_moved_folders(run: Run) -> None:
    """Say of a folder that is gone how a run that goes on is told the new place.

    Raises:
        InputError: naming the folders and the options.
    """
    data = run.config.data
    corrected = data.corrected if run.config.method.corrected_weight else None
    sides = {"source": data.source, "target": data.target, "corrected": corrected}
    gone = {side: path for side, path in sides.items() if path is not None and not path.exists()}
    if gone:
        places = " and ".join(f"{path} ({side})" for side, path in gone.items())
        options = " ".join(f"--data.{side} DIR" for side in gone)
        raise InputError(
            f"the data of {run.path} is no longer at {places}; name the place where it is now: "
            f"train --resume {run.path} {options}"
        )


def check_same_data(run: Run, known: DataFacts, now: DataFacts) -> None:
    """Refuse to go on with other images, labels or files than a run began with.

    Names of cases and checksums of content count, not folders, sizes or compression. A run of version 0.1
    knows names and sizes of files only; then these are compared, and the log says so.

    Args:
        run: the run, with the folders of today.
        known: what it has stored.
        now: what was read.

    Raises:
        InputError: naming what has changed.
    """
    if known.fingerprint and not (known.source_contents or known.target_contents):
        _check_sizes(run, known)
        return
    for side in ("source", "target", "corrected"):
        before: Mapping[str, str] = getattr(known, f"{side}_contents")
        change = _change(before, getattr(now, f"{side}_contents"), side)
        if change:
            raise InputError(
                f"the volumes of {run.path} are not those that it began with: {change}; restore them, name the "
                f"folder where they are now with --data.{side} DIR, or train a new run"
            )
    for name, checksum in known.files.items():
        if now.files.get(name, checksum) != checksum:
            option = f"--method.{name.replace('_', '-')}"
            raise InputError(
                f"the file of {option} is not the one that {run.path} began with; restore it, or name the "
                f"place where it is now with {option} FILE"
            )


def _change(before: Mapping[str, str], now: Mapping[str, str], side: str) -> str:
    """What differs, in words; "" when nothing does."""
    others = {
        "missing": [name for name in before if name not in now],
        "new": [name for name in now if name not in before],
    }
    both = [name for name in before if name in now]
    images, labels = (
        [name for name in both if _part(before[name], part) != _part(now[name], part)]
        for part in (0, 1)
    )
    words = [
        f"{listed(names)} of the {side} {'is' if len(names) == 1 else 'are'} {what}"
        for what, names in others.items()
        if names
    ]
    if images:
        words.append(f"the {side} has other voxels in the image of {listed(images)}")
    if labels:
        words.append(f"the {side} has other labels of {listed(labels)}")
    return ", ".join(words)


def _part(checksums: str, index: int) -> str:
    """The checksum of the image (0) or of the labels (1), "" without one."""
    parts = checksums.split()
    return parts[index] if index < len(parts) else ""


def _check_sizes(run: Run, known: DataFacts) -> None:
    """Compare names and sizes of files, which is all that older runs have stored."""
    data = run.config.data
    opened = [
        DataFolder.open(path, series=data.series, placement=data.placement)
        for path in (data.source, data.target)
        if path is not None
    ]
    # the labelled folder and the one that the target looks like, as that version chose them
    choices = [(opened[0], opened[-1]), (opened[0], None), (opened[-1], None), (None, opened[-1])]
    if known.fingerprint not in [_sizes_digest(*choice) for choice in choices]:
        raise InputError(
            f"the volumes of {run.path} are not those that it began with (names or sizes of files "
            "have changed); restore them, name the folders where they are now with --data.source DIR and "
            "--data.target DIR, or train a new run"
        )
    logger.warning(
        "the run was begun by a version that stored names and sizes of files, not checksums: these fit, "
        "and whether the voxels are the same is not known"
    )


def _sizes_digest(labelled: DataFolder | None, appearance: DataFolder | None) -> str:
    """Hash of names and sizes of files, as version 0.1 made it."""
    digest = hashlib.sha256()
    for folder in (labelled, appearance):
        for case in folder.cases if folder is not None else ():
            digest.update(f"{case.name}:{case.image.stat().st_size};".encode())
            if folder is labelled and case.label is not None:
                digest.update(f"{case.label.stat().st_size};".encode())
    return digest.hexdigest()[:_LETTERS]
