#!/usr/bin/env bash
# Units of length: a volume whose voxels are 20 micrometres wide is 20 or 0.02 mm wide, by reader and by format.
#
# One would guess: a reader that gives millimetres heeds the field in which a file says that its lengths are not.
# What happens: SimpleITK heeds xyzt_units of NIfTI and ignores `space units` of NRRD and `DistanceUnits` of MetaImage
#   (of the second it keeps the text, of the first nothing). nibabel ignores xyzt_units: its affine and its zooms are
#   the numbers as stored. So one file has volumes that differ by 10^9, and a volume changes its size when it is copied
#   from NIfTI to NRRD and back.
# Seen (nibabel 5.4.2, SimpleITK 2.5.7, NumPy 2.4.6, Python 3.11, Linux), first voxel side in millimetres:
#   NIfTI, xyzt_units micron: 20 by nibabel, 0.02 by SimpleITK
#   NRRD, space units "um": 20 by SimpleITK
#   MetaImage, DistanceUnits um: 20 by SimpleITK
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

print("nibabel", nibabel.__version__, "SimpleITK", sitk.Version.VersionString())
voxels = np.zeros((4, 5, 6), np.int16)


def by_simpleitk(name):
    return round(sitk.ReadImage(name).GetSpacing()[0], 9)


image = nibabel.Nifti1Image(voxels, np.diag([20.0, 20.0, 20.0, 1.0]))
image.header.set_xyzt_units("micron")
image.to_filename("volume.nii")
read = nibabel.load("volume.nii")
assert read.header.get_xyzt_units()[0] == "micron"
nifti = [float(read.affine[0, 0]), by_simpleitk("volume.nii")]
print(f"NIfTI, xyzt_units micron: {nifti[0]:g} by nibabel, {nifti[1]:g} by SimpleITK")

made = sitk.GetImageFromArray(voxels)
made.SetSpacing((20, 20, 20))
others = []
for name, place, line in (
    ("volume.nrrd", b"\nspace origin:", b'\nspace units: "um" "um" "um"'),
    ("volume.mha", b"\nElementType", b"\nDistanceUnits = um"),
):
    sitk.WriteImage(made, name)
    content = Path(name).read_bytes()
    assert content.count(place) == 1
    Path(name).write_bytes(content.replace(place, line + place))
    others.append(by_simpleitk(name))
print(f'NRRD, space units "um": {others[0]:g} by SimpleITK')
print(f"MetaImage, DistanceUnits um: {others[1]:g} by SimpleITK")
assert (nifti, others) == ([20.0, 0.02], [20.0, 20.0]), "one of the readers heeds another unit now"
PYTHON
