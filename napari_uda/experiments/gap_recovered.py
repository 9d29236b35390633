"""The share of the gap that a run's row recovers, as the table of its benchmark says.

Without numpy and torch: whoever chooses a model need not wait for it.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from napari_uda.core.csv_text import read_csv
from napari_uda.core.small_files import read_small
from napari_uda.core.words import number_of

_MOST_BYTES = 50_000_000  # of a table


def share_of_gap(run: Path) -> str:
    """One line, or "" for a run of no benchmark, or of one whose tables do not tell.

    A run of a benchmark lies in `OUT/runs/<key>`; `OUT/cells.csv` names its row and data set, and
    `OUT/table.csv` the share. It is that of the row: the mean of all its seeds, on the volumes that the
    benchmark scores.
    """
    run = run.resolve()
    out = run.parent.parent
    if run.parent.name != "runs":
        return ""
    cells = [line for line in _lines(out / "cells.csv") if line.get("run") == f"runs/{run.name}"]
    for line in _lines(out / "table.csv"):
        if not any(all(line.get(k) == cell.get(k) for k in ("row", "data")) for cell in cells):
            continue
        try:
            percent = float(line.get("gap_recovered_percent") or math.nan)
        except ValueError:
            continue
        if math.isfinite(percent):
            seeds = (line.get("seeds") or "").split()
            return (
                f"Recovers {percent:.0f} % of the gap in mean Dice (row {line['row']} of benchmark "
                f"{out.name}, {line['data']}, {line.get('n_volumes', '')} volumes, "
                f"{number_of(len(seeds), 'seed')})"
            )
    return ""


def _lines(file: Path) -> list[dict[str, str]]:
    """The lines of a table; none when it cannot be read."""
    try:
        return read_csv(read_small(file, most_bytes=_MOST_BYTES))
    except (OSError, ValueError, csv.Error):
        return []
