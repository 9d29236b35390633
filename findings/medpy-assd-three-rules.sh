#!/usr/bin/env bash
# MedPy: `assd` of the same two masks has two values and an error between them, depending on the release.
#
# One would guess: the average symmetric surface distance of two masks is one number, whatever the release of MedPy.
# What happens: up to 0.4.0 it is the mean of the two directed means, from 0.5.2 on the mean over all border voxels of
#   both masks. 0.5.0 and 0.5.1 raise a ValueError unless both borders happen to have equally many voxels. The
#   docstring is the same in all of them. The two rules agree only where both borders have equally many voxels or the
#   directed means are equal; the more the borders differ, the further they are apart.
# Seen (NumPy 1.23.5, SciPy 1.10.1, Python 3.11, Linux), a ball of radius 12 against itself and a ball of radius 4:
#   MedPy 0.4.0: assd 0.791163
#   MedPy 0.5.0: assd ValueError
#   MedPy 0.5.1: assd ValueError
#   MedPy 0.5.2: assd 0.827051
#   mean of the two directed means: 0.791163
# NumPy 1.23.5 is the newest that MedPy 0.4.0 can use (it needs `numpy.bool`), and needs Python 3.11 or older.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet setuptools==80.9.0 wheel==0.45.1 numpy==1.23.5 scipy==1.10.1
cd "$folder"
cat >score.py <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from medpy import metric

grid = np.indices((64, 64, 64))


def ball(z, radius):
    return (grid[0] - z) ** 2 + (grid[1] - 32) ** 2 + (grid[2] - 32) ** 2 <= radius**2


reference = ball(24, 12)
prediction = reference | ball(54, 4)
try:
    seen = f"{metric.assd(prediction, reference):.6f}"
except ValueError:
    seen = "ValueError"
print(f"MedPy {version('medpy')}: assd {seen}")
assert seen == sys.argv[1], f"expected {sys.argv[1]}"
mean = (metric.asd(prediction, reference) + metric.asd(reference, prediction)) / 2
assert f"{mean:.6f}" == "0.791163"
PYTHON
while read -r release expected; do
    venv/bin/pip install --quiet --no-deps "medpy==$release"
    PYTHONWARNINGS=ignore venv/bin/python score.py "$expected"
done <<'TABLE'
0.4.0 0.791163
0.5.0 ValueError
0.5.1 ValueError
0.5.2 0.827051
TABLE
echo "mean of the two directed means: 0.791163"
