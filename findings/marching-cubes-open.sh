#!/usr/bin/env bash
# scikit-image 0.26.0: the surface of a mask is open at the border, has edges with four faces, and looks inward.
#
# One would guess: marching cubes of a mask of zeros and ones is a closed surface of triangles, of which every edge has
#   two, that looks outward and encloses about the volume of the voxels.
# What happens: it has a hole wherever the mask meets the border of the array. In the default way (`lewiner`) voxels that
#   touch along an edge alone get edges with four faces; the other way (`lorensen`) has none. Faces look inward unless
#   `gradient_direction="ascent"` is given, so that the volume by the divergence theorem is negative. A structure of 30
#   voxels has lost a third of its volume, since corners are cut; smoothing takes more.
# Seen (scikit-image 0.26.0, NumPy 2.4.6, Python 3.11, Linux):
#   mask at the border, edges by their number of faces: {1: 16, 2: 205}
#   ragged mask: {'lewiner': {2: 5949, 4: 18}, 'lorensen': {2: 4896}}
#   30 voxels, volume as it is and with ascent: -20.7 20.7
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-image==0.26.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes


def facts(mask, **options):
    points, faces, _, _ = marching_cubes(mask.astype(np.float32), 0.5, **options)
    edges = np.sort(np.concatenate([faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]), axis=1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    first, second, third = (points[faces[:, corner]] for corner in range(3))
    volume = np.einsum("ij,ij->", first, np.cross(second, third)) / 6
    return {int(k): int((counts == k).sum()) for k in np.unique(counts)}, round(float(volume), 1)


at_border = np.zeros((8, 8, 8), bool)
at_border[:4, 2:6, 2:6] = True
opened = facts(at_border)[0]
print("mask at the border, edges by their number of faces:", opened)

ragged = np.pad(np.random.default_rng(0).random((9, 10, 11)) < 0.5, 1)
ways = {way: facts(ragged, method=way)[0] for way in ("lewiner", "lorensen")}
print("ragged mask:", ways)

noise = gaussian_filter(np.random.default_rng(1).random((14, 14, 14)), 2)
small = np.pad(noise >= np.sort(noise.ravel())[-30], 1)
inward, outward = (facts(small, gradient_direction=one)[1] for one in ("descent", "ascent"))
print("30 voxels, volume as it is and with ascent:", inward, outward)

held = 1 in opened and 4 in ways["lewiner"] and set(ways["lorensen"]) == {2} and inward < 0 < outward < 27
raise SystemExit(0 if held else 1)
PYTHON
