"""Scores whose predictions were made anew since: told by the checksum of the file that was scored."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path

from napari_uda.core.errors import InputError
from napari_uda.core.small_files import file_sha256, read_json

OUTDATED = "scored before this prediction; napari-uda evaluate scores it again"
MOST_BYTES = 50_000_000  # a line per case and structure


def outdated_cases(table: Path, predictions: Path | Mapping[str, Path]) -> frozenset[str]:
    """Cases of a table of scores whose prediction is not the one that was scored.

    Tables from before checksums were kept tell nothing of it. Reads the predictions: for a worker thread.

    Args:
        table: `scores.csv` or the `scores.json` beside it.
        predictions: their folder, or case to file.
    """
    try:
        stored = read_json(table.with_suffix(".json"), most_bytes=MOST_BYTES)["cases"]
        scored = {str(one["case"]): str(one.get("prediction_sha256") or "") for one in stored}
    except (InputError, OSError, KeyError, TypeError, ValueError):
        return frozenset()
    if isinstance(predictions, Path):
        predictions = {
            case: file
            for case in scored
            for file in predictions.glob(f"{glob.escape(case)}_labels.*")
        }
    there = {case: predictions[case] for case in scored if scored[case] and case in predictions}
    return frozenset(case for case, file in there.items() if _differs(file, scored[case]))


def _differs(file: Path, sha256: str) -> bool:
    try:
        return file_sha256(file) != sha256
    except InputError:
        return False
