#!/usr/bin/env bash
# SimpleITK 2.5.7: a CT series with a tilted gantry is read as an upright box, without a word.
#
# One would guess: slices that shift sideways from one to the next are placed where their positions say, or the reader
#   says that it cannot do so. The same volume as NIfTI behaves in the same way.
# What happens: the series reader keeps the distance between slices and drops their shift: the last of six slices is
#   2.5 mm away from the position in its own file, and nothing is printed. The same geometry as a NIfTI file is refused
#   with an error ("only supports orthonormal direction cosines"), while nibabel reads it as it is.
# Seen (SimpleITK 2.5.7, nibabel 5.4.2, NumPy 2.4.6, Python 3.11, Linux):
#   position in the last DICOM file: (0.0, 2.5, 10.0)
#   position of that slice in the volume: (0.0, 0.0, 10.308)
#   the volume's axes: (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
#   the same as NIfTI, last slice: nibabel (0.0, 2.5, 10.0), SimpleITK RuntimeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import contextlib
import os
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

SLICES, STEP_MM = 6, (0.0, 0.5, 2.0)  # 14 degrees
print("SimpleITK", sitk.Version.VersionString(), "nibabel", nibabel.__version__)


@contextlib.contextmanager
def heard(lines):
    """What the reader writes to the terminal, from C++ as well."""
    kept = os.dup(2)
    with open("said.txt", "wb") as file:
        os.dup2(file.fileno(), 2)
    yield
    os.dup2(kept, 2)
    lines.append(Path("said.txt").read_text())


def rounded(numbers):
    return tuple(round(float(number), 3) for number in numbers)


Path("series").mkdir()
writer = sitk.ImageFileWriter()
writer.KeepOriginalImageUIDOn()
for index in range(SLICES):
    plane = sitk.GetImageFromArray(np.full((1, 4, 4), index, np.int16))
    position = "\\".join(str(index * step) for step in STEP_MM)
    tags = {
        "0008|0016": "1.2.840.10008.5.1.4.1.1.2", "0008|0018": f"1.2.3.4.{index + 1}", "0008|0060": "CT",
        "0020|000d": "1.2.3", "0020|000e": "1.2.3.4", "0020|0013": str(index + 1),
        "0020|0032": position, "0020|0037": "1\\0\\0\\0\\1\\0",
    }
    for tag, value in tags.items():
        plane.SetMetaData(tag, value)
    writer.SetFileName(f"series/{index}.dcm")
    writer.Execute(plane)

said = []
reader = sitk.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames("series"))
with heard(said):
    volume = reader.Execute()
in_the_file = rounded(sitk.ReadImage("series/5.dcm").GetOrigin())
in_the_volume = rounded(volume.TransformIndexToPhysicalPoint((0, 0, SLICES - 1)))
axes = rounded(volume.GetDirection())
print("position in the last DICOM file:", in_the_file)
print("position of that slice in the volume:", in_the_volume)
print("the volume's axes:", axes)

affine = np.eye(4)
affine[:3, 2] = STEP_MM
nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, SLICES), np.int16), affine), "tilted.nii")
by_nibabel = rounded(nibabel.load("tilted.nii").affine @ (0, 0, SLICES - 1, 1))[:3]
try:
    sitk.ReadImage("tilted.nii")
    by_simpleitk = "reads it"
except RuntimeError as error:
    assert "orthonormal" in str(error)
    by_simpleitk = "RuntimeError"
print(f"the same as NIfTI, last slice: nibabel {by_nibabel}, SimpleITK {by_simpleitk}")

assert in_the_file == (0, 2.5, 10)
assert in_the_volume == (0, 0, 10.308), "the series reader keeps the shift now"
assert axes == (1, 0, 0, 0, 1, 0, 0, 0, 1)
assert said == [""], "the series reader says something now"
assert by_nibabel == (0, 2.5, 10)
assert by_simpleitk == "RuntimeError"
PYTHON
