#!/usr/bin/env bash
# napari 0.9.2: a slice of `viewer.layers` is a second LayerList that listens to the layers, and what it connects stays.
#
# One would guess: `viewer.layers[:2]` is a short list to look at, as a slice of any list is.
# What happens: it is a LayerList of its own, whose making connects callbacks to events of each of its layers (data, extent,
#   locked, ...). They stay on the layers after the slice is deleted and collected, so code that takes a slice at every
#   change makes each later change of the layer slower. `list(viewer.layers)[:2]` connects nothing.
# Seen (napari 0.9.2, Python 3.11, Linux; no Qt and no display are needed):
#   callbacks on a layer's events: 0 more after list(viewer.layers)[:1], 5 more after viewer.layers[:1]
#   after del and gc.collect(): 5 more
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet napari==0.9.2 vispy==0.17.0 numpy==2.4.6
cd "$folder"
HOME=$folder NAPARI_CONFIG=$folder/napari.yaml venv/bin/python -W ignore - <<'PYTHON'
import gc

import napari
import numpy as np
from napari.components import ViewerModel

print("napari", napari.__version__)
viewer = ViewerModel()
layer = viewer.add_image(np.zeros((4, 8, 8)))


def callbacks():
    return sum(len(emitter.callbacks) for emitter in layer.events.emitters.values())


before = callbacks()
plain = list(viewer.layers)[:1]
of_list = callbacks() - before
part = viewer.layers[:1]
kind, of_slice = type(part).__name__, callbacks() - before
del part
gc.collect()
left = callbacks() - before
print(f"viewer.layers[:1] is a {kind}")
print(f"callbacks on the layer's events: {of_list} more after list(viewer.layers)[:1], {of_slice} more after viewer.layers[:1]")
print(f"after del and gc.collect(): {left} more")
assert plain == [layer]
assert (kind, of_list) == ("LayerList", 0)
assert of_slice > 0, "a slice connects nothing now"
assert left == of_slice, "what a slice connects goes with it now"
PYTHON
