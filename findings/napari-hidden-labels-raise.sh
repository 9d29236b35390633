#!/usr/bin/env bash
# napari 0.9.2: setting voxels of hidden labels in 3-D writes them, and then raises IndexError.
#
# One would guess: `Labels.data_setitem` works on labels that are hidden as on those that are seen, and a call that raises
#   has changed nothing.
# What happens: hidden layers are not sliced again when the view turns to 3-D, so the picture of the slice is still flat,
#   while the places of the voxels are those of 3-D. Voxels and history are written first, then painting them into that
#   picture raises. So a script stops half way, or does it twice; undo takes it back as if nothing had happened.
# Seen (napari 0.9.2, Python 3.11, Linux; no Qt and no display are needed):
#   labels that are seen, in 3-D: no error, 3 voxels set
#   labels that were hidden before: IndexError, 3 voxels set
#   after undo: 0 voxels set
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet napari==0.9.2 vispy==0.17.0 numpy==2.4.6
cd "$folder"
HOME=$folder NAPARI_CONFIG=$folder/napari.yaml venv/bin/python -W ignore - <<'PYTHON'
import napari
import numpy as np
from napari.components import ViewerModel

print("napari", napari.__version__)
VOXELS = (np.array([1, 3, 3]), np.array([2, 4, 4]), np.array([3, 5, 6]))


def edit(hidden):
    viewer = ViewerModel()
    layer = viewer.add_labels(np.zeros((6, 20, 20), np.uint8))
    layer.visible = not hidden
    viewer.dims.ndisplay = 3
    try:
        layer.data_setitem(VOXELS, np.array([1, 2, 3], np.uint8))
    except IndexError as error:
        return layer, type(error).__name__
    return layer, "no error"


seen, said = edit(hidden=False)
print(f"labels that are seen, in 3-D: {said}, {np.count_nonzero(seen.data)} voxels set")
assert (said, np.count_nonzero(seen.data)) == ("no error", 3)
hidden, said = edit(hidden=True)
set_ = np.count_nonzero(hidden.data)
print(f"labels that were hidden before: {said}, {set_} voxels set")
hidden.undo()
print(f"after undo: {np.count_nonzero(hidden.data)} voxels set")
assert (said, set_) == ("IndexError", 3), "hidden labels are set otherwise now"
assert not hidden.data.any()
PYTHON
