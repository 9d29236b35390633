#!/usr/bin/env bash
# seg-metrics 1.2.8: an organ that was missed altogether has a Hausdorff distance of 0, the best there is.
#
# One would guess: the distance from a reference to an empty prediction is infinite, undefined or an error.
# What happens: HD, HD95 and the mean surface distance are 0, as for a perfect prediction, so a network that finds
#   nothing has the best distances of all. Only the Dice shows it. The warning on the terminal speaks of precision and
#   recall.
# Seen (seg-metrics 1.2.8, NumPy 2.4.6, SimpleITK 2.5.7, Python 3.11, Linux):
#   perfect: dice 1.0, hd 0.0, hd95 0.0, msd 0.0
#   shifted by a voxel: dice 0.878, hd 1.0, hd95 1.0, msd 0.34
#   missed: dice 0.0, hd 0.0, hd95 0.0, msd 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet seg-metrics==1.2.8 numpy==2.4.6 SimpleITK==2.5.7
cd "$folder"
venv/bin/python - <<'PYTHON'
import numpy as np
from seg_metrics.seg_metrics import write_metrics

grid = np.indices((24, 24, 24))
NAMES = ("dice", "hd", "hd95", "msd")


def ball(z):
    return ((grid[0] - z) ** 2 + (grid[1] - 12) ** 2 + (grid[2] - 12) ** 2 <= 36).astype(np.uint8)


def scored(text, prediction):
    row = write_metrics(labels=[1], gdth_img=ball(12), pred_img=prediction, metrics=list(NAMES))[0]
    values = {name: round(float(row[name][0]), 3) for name in NAMES}
    print(f"{text}: {', '.join(f'{name} {value}' for name, value in values.items())}", flush=True)
    return values


perfect = scored("perfect", ball(12))
shifted = scored("shifted by a voxel", ball(13))
missed = scored("missed", np.zeros_like(ball(12)))
assert perfect == {"dice": 1, "hd": 0, "hd95": 0, "msd": 0}
assert shifted["hd"] == shifted["hd95"] == 1
assert missed == {"dice": 0, "hd": 0, "hd95": 0, "msd": 0}, "a missed organ is no longer at distance 0"
PYTHON
