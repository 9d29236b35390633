#!/usr/bin/env bash
# SimpleITK 2.5.7: the first slice of a DICOM series decides the voxel type of all, and one file of many frames its scale.
#
# One would guess: every slice has the values that its own slope and intercept say; where they need another type, the
#   volume gets one that holds them. PET scanners give each slice its own slope, and some MR scanners do.
# What happens: the series reader keeps the type of the first slice and casts the others into it: fractions are cut,
#   large values wrap, and nothing is printed. Each file read by itself is right. In an enhanced file of many frames the
#   first frame's slope scales all of them, frames stay in file order, and a slice stored MONOCHROME1 comes out inverted.
# Seen (SimpleITK 2.5.7, pydicom 3.0.2, NumPy 2.4.6, Python 3.11, Linux):
#   the same 1770 with slopes 1, 0.01, 100: series [1770, 17, -19608] int16, one by one [1770.0, 17.7, 177000.0]
#   the same 1770 stored MONOCHROME1: [-1771]
#   frames 500, 510, 520 with slopes 1, 2, 3 at heights 6, 0, 3: [500, 510, 520], 1 mm apart
#   (right: 1020 at height 0, 1560 at 3, 500 at 6; 3 mm apart)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import contextlib
import os
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

print("SimpleITK", sitk.Version.VersionString(), "pydicom", pydicom.__version__)
STUDY, SERIES, REFERENCE = generate_uid(), generate_uid(), generate_uid()


@contextlib.contextmanager
def heard(lines):
    """What the reader writes to the terminal, from C++ as well."""
    kept = os.dup(2)
    with open("said.txt", "wb") as file:
        os.dup2(file.fileno(), 2)
    yield
    os.dup2(kept, 2)
    lines.append(Path("said.txt").read_text())


def image(pixels, kind, modality):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = STUDY, SERIES, REFERENCE
    data.Modality, data.ImageType = modality, ["ORIGINAL", "PRIMARY"]
    data.PatientName = data.PatientID = "nobody"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PixelData = pixels.astype("<i2").tobytes()
    return data


def item(**values):
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def values(volume):
    array = sitk.GetArrayFromImage(volume)
    return [round(float(value), 4) for value in array.reshape(array.shape[-3], -1)[:, 0]]


Path("pet").mkdir()
for number, slope in enumerate((1, 0.01, 100)):
    data = image(np.full((8, 8), 1770), PositronEmissionTomographyImageStorage, "PT")
    data.InstanceNumber = number + 1
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 5 * number], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [2, 2], 5
    data.RescaleSlope, data.RescaleIntercept, data.Units = slope, 0, "BQML"
    data.save_as(f"pet/{number}.dcm", enforce_file_format=True)
said = []
with heard(said):
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames("pet")
    series = sitk.ReadImage(names)
alone = [values(sitk.ReadImage(name))[0] for name in names]
as_series, kind = [int(value) for value in values(series)], sitk.GetArrayFromImage(series).dtype
print("the same 1770 with slopes 1, 0.01, 100: series", as_series, f"{kind}, one by one", alone)

data = pydicom.dcmread("pet/0.dcm")
data.PhotometricInterpretation = "MONOCHROME1"
data.save_as("dark.dcm")
dark = [int(value) for value in values(sitk.ReadImage("dark.dcm"))]
print("the same 1770 stored MONOCHROME1:", dark)

frames = np.stack([np.full((8, 8), value) for value in (500, 510, 520)])
data = image(frames, EnhancedMRImageStorage, "MR")
organisation = generate_uid()
data.NumberOfFrames = 3
data.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organisation)]
data.DimensionIndexSequence = [
    item(DimensionOrganizationUID=organisation, DimensionIndexPointer=0x00209057, FunctionalGroupPointer=0x00209111)
]
data.SharedFunctionalGroupsSequence = [
    item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[2, 2], SliceThickness=3)],
    )
]
data.PerFrameFunctionalGroupsSequence = [
    item(
        FrameContentSequence=[item(StackID="1", InStackPositionNumber=place, DimensionIndexValues=[place])],
        PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 3 * (place - 1)])],
        PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="US")],
    )
    for slope, place in ((1, 3), (2, 1), (3, 2))
]
data.save_as("enhanced.dcm", enforce_file_format=True)
with heard(said):
    volume = sitk.ReadImage("enhanced.dcm")
enhanced, apart = [int(value) for value in values(volume)], volume.GetSpacing()[2]
print(f"frames 500, 510, 520 with slopes 1, 2, 3 at heights 6, 0, 3: {enhanced}, {apart:g} mm apart")

assert alone == [1770, 17.7, 177000]
assert as_series == [1770, 17, -19608], "the series reader heeds each slice's slope now"
assert dark == [-1771], "MONOCHROME1 is read as it is stored now"
assert enhanced == [500, 510, 520], "the frames are ordered or scaled by their own headers now"
assert said == ["", ""], "the reader says something now"
PYTHON
