#!/usr/bin/env bash
# rt-utils 1.2.7: outlines on pixels that are not square are written at the wrong place.
#
# One would guess: an outline of a mask lies in millimetres where the mask's pixels lie.
# What happens: the two numbers of Pixel Spacing are taken in the wrong order (the first is the distance of rows, so it
#   belongs to y). On pixels of 1.5 x 0.75 mm a structure is drawn twice as far along x and half as far along y. The
#   library reads its own files back with the same mistake, so a round trip looks right.
# Seen (rt-utils 1.2.7, pydicom 3.0.2, Python 3.11, Linux):
#   the mask lies at x 7.5 to 14.25 and y 6.0 to 10.5 mm
#   the outline lies at x 15.0 to 28.5 and y 3.0 to 5.25 mm
#   its own round trip gives the same mask: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rt-utils==1.2.7 pydicom==3.0.2
cd "$folder"
venv/bin/python - <<'PYTHON'
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from rt_utils import RTStructBuilder

print("rt-utils", version("rt-utils"), "pydicom", pydicom.__version__)
SIZE, BETWEEN_ROWS, BETWEEN_COLUMNS = 32, 1.5, 0.75

Path("ct").mkdir()
for number in range(3):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number + 1}"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.5"
    image.Modality, image.PatientID, image.PatientName = "CT", "P", "P"
    image.StudyDate = image.StudyTime = image.StudyID = image.PatientBirthDate = image.PatientSex = ""
    image.InstanceNumber, image.SliceThickness = number + 1, 2
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 2 * number], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing = [BETWEEN_ROWS, BETWEEN_COLUMNS]
    image.Rows = image.Columns = SIZE
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.PixelData = bytes(2 * SIZE * SIZE)
    image.save_as(f"ct/{number}.dcm", enforce_file_format=True)

mask = np.zeros((SIZE, SIZE, 3), bool)
mask[4:8, 10:20, 1] = True  # four rows, ten columns
builder = RTStructBuilder.create_new(dicom_series_path="ct")
builder.add_roi(mask=mask, name="structure")
builder.save("structures.dcm")

(contour,) = pydicom.dcmread("structures.dcm").ROIContourSequence[0].ContourSequence
x, y, _ = np.array(contour.ContourData, float).reshape(-1, 3).T
rows, columns = np.nonzero(mask[..., 1])
true_x, true_y = columns * BETWEEN_COLUMNS, rows * BETWEEN_ROWS
print(f"the mask lies at x {true_x.min()} to {true_x.max()} and y {true_y.min()} to {true_y.max()} mm")
print(f"the outline lies at x {x.min()} to {x.max()} and y {y.min()} to {y.max()} mm")
again = RTStructBuilder.create_from(dicom_series_path="ct", rt_struct_path="structures.dcm")
same = np.array_equal(again.get_roi_mask_by_name("structure"), mask)
print("its own round trip gives the same mask:", same)
wrong = np.isclose(x.max(), 2 * true_x.max()) and np.isclose(y.max(), true_y.max() / 2)
raise SystemExit(0 if wrong and same else 1)
PYTHON
