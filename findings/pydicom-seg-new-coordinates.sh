#!/usr/bin/env bash
# pydicom-seg 0.4.1: a DICOM SEG states a frame of reference that nothing else lies in, and its first image gets it, too.
#
# One would guess: a segmentation lies in the coordinates of the images that it was drawn on, so it has their Frame of
#   Reference UID (0020,0052), by which programs tell whether positions of two files can be compared; the images stay.
# What happens: the library takes over the images' UID and then writes a new one over it. The element is the one of the
#   first image, so this image is changed in memory, and whoever saves it splits its series. Positions and the
#   references to the series are right. (With pydicom 3 the library cannot be imported.)
# Seen (pydicom-seg 0.4.1, pydicom 2.4.5, SimpleITK 2.5.7, Python 3.11, Linux):
#   the segmentation lies in the frame of reference of its images: False
#   it refers to the series of its images: True
#   its first frame lies at [0.0, 0.0, 2.0], as the image below it: True
#   the images still lie in their own: [False, True, True]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydicom-seg==0.4.1 pydicom==2.4.5 SimpleITK==2.5.7 numpy==1.26.4
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import pydicom
import pydicom_seg
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

print("pydicom-seg", version("pydicom-seg"), "pydicom", pydicom.__version__)
SIZE, FRAME, SERIES = 16, "1.2.3.5", "1.2.3.4"

images = []
for number in range(3):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.is_little_endian, image.is_implicit_VR = True, False
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number + 1}"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.3", SERIES, FRAME
    image.Modality, image.PatientID, image.PatientName = "CT", "P", "P"
    image.StudyDate = image.StudyTime = image.StudyID = image.PatientBirthDate = image.PatientSex = ""
    image.AccessionNumber = image.ReferringPhysicianName = image.PositionReferenceIndicator = ""
    image.InstanceNumber, image.SliceThickness = number + 1, 2
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 2 * number], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing = [2, 2]
    image.Rows = image.Columns = SIZE
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.PixelData = bytes(2 * SIZE * SIZE)
    images.append(image)

mask = np.zeros((3, SIZE, SIZE), np.uint8)
mask[1, 3:7, 2:9] = 1
drawn = sitk.GetImageFromArray(mask)
drawn.SetSpacing([2, 2, 2])


def code(value: str, scheme: str, meaning: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}


segment = {
    "labelID": 1, "SegmentLabel": "Liver", "SegmentDescription": "Liver", "SegmentAlgorithmType": "MANUAL",
    "SegmentedPropertyCategoryCodeSequence": code("123037004", "SCT", "Anatomical Structure"),
    "SegmentedPropertyTypeCodeSequence": code("10200004", "SCT", "Liver"),
    "recommendedDisplayRGBValue": [221, 130, 101],
}
about = {
    "ContentCreatorName": "R", "ClinicalTrialSeriesID": "1", "ClinicalTrialTimePointID": "1",
    "SeriesDescription": "Segmentation", "SeriesNumber": "300", "InstanceNumber": "1",
    "segmentAttributes": [[segment]],
}
template = pydicom_seg.template.from_dcmqi_metainfo(about)
found = pydicom_seg.MultiClassWriter(template=template).write(drawn, images)

same = found.FrameOfReferenceUID == FRAME
print("the segmentation lies in the frame of reference of its images:", same)
refers = found.ReferencedSeriesSequence[0].SeriesInstanceUID == SERIES
print("it refers to the series of its images:", refers)
plane = found.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
stored = [float(value) for value in plane.ImagePositionPatient]
placed = stored == [0, 0, 2]
print(f"its first frame lies at {stored}, as the image below it: {placed}")
kept = [image.FrameOfReferenceUID == FRAME for image in images]
print("the images still lie in their own:", kept)
raise SystemExit(0 if not same and refers and placed and kept == [False, True, True] else 1)
PYTHON
