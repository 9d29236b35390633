"""Which method to try first: what a benchmark measured of each, kept as `measured.csv`.

The file is the `table.csv` of `benchmarks/specs/choice.yaml`, in which each row is named by its method.
Without torch: whoever chooses a method need not wait for it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from napari_uda.core.csv_text import read_csv
from napari_uda.core.errors import InputError
from napari_uda.core.small_files import read_small

FILE = Path(__file__).with_name("measured.csv")
_COLUMN = "dice_percent_mean"


def read_measured(file: Path = FILE) -> dict[str, float]:
    """Mean Dice in per cent by method, the best first; empty where the table cannot be read."""
    try:
        lines = read_csv(read_small(file))
        found = {line["row"]: float(line[_COLUMN] or math.nan) for line in lines}
    except (OSError, InputError, ValueError, KeyError, csv.Error):
        return {}
    ranked = sorted(found.items(), key=lambda item: -item[1])
    return {name: dice for name, dice in ranked if math.isfinite(dice)}


@cache
def measured() -> Mapping[str, float]:
    """What came with the package."""
    return read_measured()
