#!/usr/bin/env bash
# rt-utils 1.2.7: of an image that is no square, the part of a structure beyond the shorter side is lost.
#
# One would guess: a structure is read as a mask of the image's rows and columns, whole or with an error.
# What happens: the two numbers are exchanged in the size of the mask, but not in the drawing. An image of 20 rows and 32
#   columns gives masks of 32 rows and 20 columns; what lies in columns 20 to 31 is cut off without a word.
# Seen (rt-utils 1.2.7, pydicom 3.0.2, Python 3.11, Linux):
#   the image has 20 rows and 32 columns, the mask that is read 32 and 20
#   structure left: 24 pixels drawn, 24 read
#   structure middle: 24 pixels drawn, 12 read
#   structure right: 24 pixels drawn, 0 read
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
ROWS, COLUMNS = 20, 32
LEFT = {"left": 4, "middle": 17, "right": 24}
"""The first column of each structure, which has four rows and six columns."""

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
    image.PixelSpacing = [1, 1]
    image.Rows, image.Columns = ROWS, COLUMNS
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.PixelData = bytes(2 * ROWS * COLUMNS)
    image.save_as(f"ct/{number}.dcm", enforce_file_format=True)

builder = RTStructBuilder.create_new(dicom_series_path="ct")
for name, column in LEFT.items():
    mask = np.zeros((ROWS, COLUMNS, 3), bool)
    mask[8:12, column : column + 6, 1] = True
    builder.add_roi(mask=mask, name=name)
builder.save("structures.dcm")

again = RTStructBuilder.create_from(dicom_series_path="ct", rt_struct_path="structures.dcm")
masks = {name: again.get_roi_mask_by_name(name) for name in LEFT}
shape = masks["left"].shape
print(f"the image has {ROWS} rows and {COLUMNS} columns, the mask that is read {shape[0]} and {shape[1]}")
read = {name: int(mask.sum()) for name, mask in masks.items()}
for name, count in read.items():
    print(f"structure {name}: 24 pixels drawn, {count} read")
as_described = shape[:2] == (COLUMNS, ROWS) and read["left"] == 24 and read["right"] == 0
raise SystemExit(0 if as_described else 1)
PYTHON
