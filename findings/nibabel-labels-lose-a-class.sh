#!/usr/bin/env bash
# nibabel 5.4.2: a label map of floats that is saved as uint8 comes back without one of its labels.
#
# One would guess: whole numbers from 0 to 4 fit into uint8, so they are stored as 0 to 4, whatever type the array has.
# What happens: floats are stretched over the whole range of the integer type and the scale is noted in the header. The
#   file holds 0, 64, 127, 191 and 255; read again, the labels are 0, 1.004, 1.992, 2.996 and 4, and as integers 0, 1, 1,
#   2 and 4: label 2 became 1, label 3 became 2, and no label 3 is left. The same labels as int16 come back as they were.
# Seen (nibabel 5.4.2, NumPy 2.4.6, Python 3.11, Linux):
#   float32: stored 0 64 127 191 255, read 0.0000 1.0039 1.9922 2.9961 4.0000, as integers 0 1 1 2 4
#   int16: stored 0 1 2 3 4, read 0.0000 1.0000 2.0000 3.0000 4.0000, as integers 0 1 2 3 4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nibabel==5.4.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import nibabel
import numpy as np

print("nibabel", nibabel.__version__)
labels = np.arange(5).reshape(5, 1, 1)


def saved_and_read(dtype):
    nibabel.save(nibabel.Nifti1Image(labels.astype(dtype), np.eye(4), dtype=np.uint8), "labels.nii")
    image = nibabel.load("labels.nii")
    stored = image.dataobj.get_unscaled().ravel().tolist()
    read = image.get_fdata().ravel()
    integers = np.asarray(image.dataobj).astype(np.uint8).ravel().tolist()
    texts = [" ".join(map(str, stored)), " ".join(f"{v:.4f}" for v in read), " ".join(map(str, integers))]
    print(f"{dtype}: stored {texts[0]}, read {texts[1]}, as integers {texts[2]}")
    return stored, integers


floats = saved_and_read("float32")
assert floats == ([0, 64, 127, 191, 255], [0, 1, 1, 2, 4]), "labels of floats are stored otherwise now"
assert saved_and_read("int16") == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
PYTHON
