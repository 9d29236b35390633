#!/usr/bin/env bash
# surface-distance 0.1: distances lie between voxels' corners, and are shorter than those between border voxels.
#
# One would guess: two single voxels 3 mm apart have an average surface distance of 3 mm, and no part of their surfaces
#   lies within 2 mm of the other.
# What happens: surfaces run between the voxels and are weighted by area. The nearer sides of the two voxels are 2 mm
#   apart and the farther ones 3, so the average is 2.5 mm and half of the surface is within 2 mm. For a ball that is
#   shifted by one voxel the average is 0.27 mm, less than half of the 0.60 mm between border voxels, which is what
#   MedPy calls `assd` and most papers print.
# Seen (surface-distance 0.1, NumPy 1.26.4, SciPy 1.15.3, Python 3.11, Linux):
#   two voxels 3 mm apart: average (2.5, 2.5) mm, surface Dice at 2 mm 0.5
#   a ball shifted by 1 mm: average 0.2663 mm; between border voxels 0.5966 mm
# NumPy 1.26.4 because this release stops with an AttributeError on an empty mask under NumPy 2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet surface-distance==0.1 numpy==1.26.4 scipy==1.15.3
cd "$folder"
venv/bin/python - <<'PYTHON'
import numpy as np
import surface_distance
from scipy.ndimage import binary_erosion, distance_transform_edt

SPACING_MM = (1, 1, 1)


def average(first, second):
    found = surface_distance.compute_surface_distances(first, second, SPACING_MM)
    return found, [round(float(mm), 4) for mm in surface_distance.compute_average_surface_distance(found)]


def between_border_voxels(first, second):
    borders = [mask & ~binary_erosion(mask) for mask in (first, second)]
    there = distance_transform_edt(~borders[1])[borders[0]]
    back = distance_transform_edt(~borders[0])[borders[1]]
    return round(float(np.concatenate([there, back]).mean()), 4)


one, other = np.zeros((2, 9, 9, 9), bool)
one[2, 4, 4] = other[5, 4, 4] = True
found, voxels_mm = average(one, other)
within = surface_distance.compute_surface_dice_at_tolerance(found, 2)
print(f"two voxels 3 mm apart: average {tuple(voxels_mm)} mm, surface Dice at 2 mm {within}")
assert voxels_mm == [2.5, 2.5], "expected 2.5 mm"
assert within == 0.5
assert between_border_voxels(one, other) == 3

grid = np.indices((64, 64, 64))
ball, shifted = ((grid[0] - z) ** 2 + (grid[1] - 31) ** 2 + (grid[2] - 31) ** 2 <= 400 for z in (31, 32))
_, balls_mm = average(ball, shifted)
borders_mm = between_border_voxels(ball, shifted)
print(f"a ball shifted by 1 mm: average {balls_mm[0]} mm; between border voxels {borders_mm} mm")
assert balls_mm == [0.2663, 0.2663]
assert borders_mm == 0.5966
PYTHON
