#!/usr/bin/env bash
# napari 0.9.2: one layer without units moves the other layers against each other.
#
# One would guess: a layer without units is drawn in pixels, and layers with units stay where they are.
# What happens: layers in millimetres and micrometres are brought to one unit as long as every layer has one. Adding a
#   layer without takes the units away from the whole scene, and the plain numbers are used: 0.1 mm steps given as 100
#   micrometres become a hundred times as long as 1 mm steps. The viewer's model gives no warning.
# Seen (napari 0.9.2, Python 3.11, Linux), a 10 mm image and a 1 mm image in micrometres:
#   both with units: the scene is 10000 micrometer long
#   a third without: the scene is 1000 (no unit) long
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet napari==0.9.2 numpy==2.4.6
cd "$folder"
HOME=$folder NAPARI_CONFIG=$folder/napari.yaml venv/bin/python - <<'PYTHON'
import warnings

import napari
import numpy as np
from napari.components import ViewerModel

print("napari", napari.__version__)
pixels = np.zeros((11, 11))
viewer = ViewerModel()


def length():
    extent = viewer.layers.extent
    unit = "(no unit)" if extent.units is None else f"{extent.units[0]:D}"
    return f"{extent.world[1, 0] - extent.world[0, 0]:g} {unit}"


viewer.add_image(pixels, name="10 mm", scale=(1, 1), units=("mm", "mm"))
viewer.add_image(pixels, name="1 mm", scale=(100, 100), units=("um", "um"))
before = length()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    viewer.add_image(pixels, name="no units")
after = length()
print(f"both with units: the scene is {before} long")
print(f"a third without: the scene is {after} long")
assert before == "10000 micrometer"
assert after == "1000 (no unit)", "layers with units keep them now"
assert not [warning for warning in said if "unit" in str(warning.message).lower()], "it is warned of now"
PYTHON
