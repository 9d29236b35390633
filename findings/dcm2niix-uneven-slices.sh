#!/usr/bin/env bash
# dcm2niix 1.0.20260724: a series of uneven slices becomes two NIfTI files, and the one of the plain name has slices in wrong places.
#
# One would guess: a series that a NIfTI file cannot hold, since its slices are not equally far apart, gives no file, or
#   one that is resampled. A head CT often has thin slices at the base of the skull and thick ones above.
# What happens: x.nii has all slices as far apart as the first two, and x_Eq_1.nii is the resampled one. Headers and the
#   .json beside x.nii say nothing of it; a line on the terminal does, and the exit code is 0. Whoever takes x.nii measures
#   the thick part in the millimetres of the thin one.
# Seen (dcm2niix 1.0.20260724, nibabel 5.4.2, pydicom 3.0.2, NumPy 2.4.6, Python 3.11, Linux):
#   slices at [0.0, 4.0, 8.0, 12.0, 17.5, 24.5, 31.5] mm
#   x.nii: at [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0] mm, the last one 7.5 mm off
#   x_Eq_1.nii: 3.9375 mm apart, up to 31.5 mm
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dcm2niix==1.0.20260724 nibabel==5.4.2 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import subprocess
from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

HEIGHTS = [0.0, 4.0, 8.0, 12.0, 17.5, 24.5, 31.5]
STUDY, SERIES, REFERENCE = generate_uid(), generate_uid(), generate_uid()

Path("ct").mkdir()
for number, height in enumerate(HEIGHTS):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = STUDY, SERIES, REFERENCE
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.PatientName = data.PatientID = "nobody"
    data.SeriesNumber, data.InstanceNumber, data.AcquisitionNumber = 2, number + 1, 1
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, height], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [2, 2], 4 if number < 4 else 7
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = 16, 16
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    data.PixelData = np.full((16, 16), 100 * number, "<i2").tobytes()
    data.save_as(f"ct/{number}.dcm", enforce_file_format=True)

Path("out").mkdir()
said = subprocess.run(
    ["venv/bin/dcm2niix", "-z", "n", "-f", "x", "-o", "out", "ct"], capture_output=True, text=True, check=True
)
made = sorted(path.name for path in Path("out").iterdir())
plain, even = (nibabel.load(f"out/{name}.nii") for name in ("x", "x_Eq_1"))
heights = (plain.affine[2, 3] + plain.affine[2, 2] * np.arange(plain.shape[2])).round(3).tolist()
top = float(even.affine[2, 3] + even.affine[2, 2] * (even.shape[2] - 1))
text = Path("out/x.json").read_text()
print(f"slices at {HEIGHTS} mm")
print(f"x.nii: at {heights} mm, the last one {HEIGHTS[-1] - heights[-1]:g} mm off")
print(f"x_Eq_1.nii: {float(even.affine[2, 2]):g} mm apart, up to {top:g} mm")
warning = next(line for line in said.stdout.splitlines() if "distance varies" in line)
print("on the terminal:", warning)

assert made == ["x.json", "x.nii", "x_Eq_1.nii"], made
assert heights == [0, 4, 8, 12, 16, 20, 24], "the plain file has its slices elsewhere now"
assert np.array_equal(np.asarray(plain.dataobj)[0, 0], np.arange(7) * 100)
assert not any(word in text.lower() for word in ("varies", "uneven", "equidistant")), "the .json says it now"
PYTHON
