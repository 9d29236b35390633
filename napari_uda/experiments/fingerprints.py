"""Fingerprints: hashes of content, by which equal files and data folders are known wherever they lie."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from napari_uda.core.errors import InputError
from napari_uda.data.folder import Case, DataFolder
from napari_uda.data.volume import Placement
from napari_uda.experiments.spec import DataSet

_HASH_LETTERS = 16


def scored_cases(folder: Path, *, series: str = "", placement: Placement = "auto") -> list[Case]:
    """The labelled cases of a data folder.

    Args:
        folder: the data folder.
        placement: which of sform and qform is trusted where a NIfTI file has both.
        series: which DICOM volumes are read where a patient has several.

    Raises:
        InputError: if there is none.
    """
    opened = DataFolder.open(folder, series=series, placement=placement)
    cases = [case for case in opened.cases if case.label is not None]
    if not cases:
        raise InputError(
            f"{folder} has no label maps to score on; name another folder, or {opened.where_labels_go}"
        )
    return cases


def data_fingerprint(folder: Path, labels: bool) -> str:
    """Hash of names and content of a data folder's images, and of its labels when asked for."""
    opened = DataFolder.open(folder)
    parts = [f"{opened.modality}"]
    if labels:
        parts.append(json.dumps(opened.stored_labels))
    for case in opened.cases:
        parts.append(f"{case.name}:{content_hash(case.image)}")
        if labels and case.label is not None:
            parts.append(content_hash(case.label))
    return digest("\n".join(parts).encode())


def labels_fingerprint(folder: Path) -> str:
    """Hash of the labels that are scored on, and of their names."""
    parts = [json.dumps(DataFolder.open(folder).stored_labels)]
    for case in scored_cases(folder):
        assert case.label is not None
        parts.append(f"{case.name}:{content_hash(case.label)}")
    return digest("\n".join(parts).encode())


def split_fingerprint(data: DataSet) -> str:
    """Hash of which cases train and which are scored, by content: the split of a table's caption."""
    assert data.score is not None
    parts = [
        data_fingerprint(data.source, True),
        data_fingerprint(data.target, False),
        data_fingerprint(data.score, False),
        labels_fingerprint(data.score),
    ]
    return digest("\n".join(parts).encode())[:8]


_CONTENT: dict[tuple[str, int, int], str] = {}
"""Hashes of files by path, size and time of change: a benchmark asks for the same ones again and again."""


def content_hash(path: Path) -> str:
    """Hash of a file, or of all files of a folder with their names."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        named = [f"{file.relative_to(path).as_posix()}:{content_hash(file)}" for file in files]
        return digest("\n".join(named).encode())
    try:
        status = path.stat()
        known = (str(path), status.st_size, status.st_mtime_ns)
        if known not in _CONTENT:
            with path.open("rb") as file:
                _CONTENT[known] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    return _CONTENT[known]


def digest(content: bytes) -> str:
    """The first letters of a SHA-256: short enough for a folder's name."""
    return hashlib.sha256(content).hexdigest()[:_HASH_LETTERS]
