#!/usr/bin/env bash
# napari 0.9.2: its own reader claims .nii.gz and DICOM, comes first, and cannot read them.
#
# One would guess: viewer.open(path) takes the reader of a plugin that claims the file's name, or asks; and what napari's
#   own reader claims it can read.
# What happens: viewer.open takes napari's own reader unless plugin= is given, whatever the preferences and the plugins say.
#   Its manifest lists *.nii.gz, *.nii, *.nrrd, *.mha and *.dcm, and imageio, which it hands them to, has nothing for them
#   in a plain installation: OSError "Could not find a backend". With plugin=None, as File > Open has it, the table of
#   preferred readers counts, and without an entry the user is asked, napari's own reader chosen beforehand.
# Seen (napari 0.9.2, Python 3.11, Linux):
#   readers that claim a.nii.gz: ['napari']
#   viewer.open(a.nii.gz): OSError, Could not find a backend to open
#   the plugin that is used where none is named: napari
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet napari==0.9.2 numpy==2.4.6 nibabel==5.4.2
cd "$folder"
HOME=$folder NAPARI_CONFIG=$folder/napari.yaml venv/bin/python - <<'PYTHON'
import inspect

import napari
import nibabel as nib
import numpy as np
from napari.components import ViewerModel
from npe2 import PluginManager

print("napari", napari.__version__)
nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), "a.nii.gz")
viewer = ViewerModel()
plugins = PluginManager.instance()
plugins.discover()
claiming = sorted({reader.plugin_name for reader in plugins.iter_compatible_readers(["a.nii.gz"])})
print("readers that claim a.nii.gz:", claiming)
try:
    viewer.open("a.nii.gz")
except OSError as error:
    said = str(error).partition(" `")[0]
    print(f"viewer.open(a.nii.gz): {type(error).__name__}, {said}")
else:
    raise SystemExit("napari reads .nii.gz now")
default = inspect.signature(viewer.open).parameters["plugin"].default
print("the plugin that is used where none is named:", default)
assert claiming == ["napari"], "other readers claim it now"
assert said.startswith("Could not find a backend"), said
assert default == "napari", "another reader is used now"
PYTHON
