"""Send a folder as a hospital would: a tree of DICOM with one series broken, through check, predict, evaluate.

    python benchmarks/hospital.py [--patients 4] [--out DIR]

The MR volumes of sample_data become series of single slices in `patient/study/series`, beside a localizer and a
text file; the last patient's series lacks a slice. References are DICOM SEG, written by highdicom and not by this
product. The three commands are run as a user would, and their output is printed. Then the same volumes are
segmented from their NIfTI files. Exit code 1 unless

* every patient but the last was segmented, voxel for voxel as from NIfTI, and the last was named;
* every Dice against the DICOM SEG is that against the NIfTI labels.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import highdicom
import numpy as np
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import Volume, read_labels, read_volume

SAMPLES = Path(__file__).parents[1] / "sample_data"
TO_LPS = np.array([-1.0, -1.0, 1.0])


def slices_of(volume: Volume, patient: str, series: int, description: str) -> list[Dataset]:
    """A volume as single-frame MR images; rows follow y and columns x of its array."""
    study, series_uid, frame = generate_uid(), generate_uid(), generate_uid()
    edges = volume.affine[:3, :3] * TO_LPS[:, None]
    column_mm, row_mm, height_mm = np.linalg.norm(edges, axis=0)
    images = []
    for k, plane in enumerate(volume.array):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = MRImageStorage
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series_uid
        image.FrameOfReferenceUID = frame
        image.PatientID, image.PatientName = patient, f"Phantom^{patient}"
        image.PatientBirthDate = image.PatientSex = image.ReferringPhysicianName = ""
        image.StudyID, image.AccessionNumber, image.StudyDate, image.StudyTime = (
            "1",
            "",
            "20260105",
            "081500",
        )
        image.SeriesDate, image.SeriesTime = image.StudyDate, image.StudyTime
        image.Manufacturer, image.PositionReferenceIndicator = "phantom", ""
        image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", series, k + 1
        image.SeriesDescription, image.ImageType = description, ["ORIGINAL", "PRIMARY", "M"]
        place = volume.affine @ [0, 0, k, 1]
        image.ImagePositionPatient = [round(float(x), 5) for x in place[:3] * TO_LPS]
        directions = edges[:, :2] / [column_mm, row_mm]
        image.ImageOrientationPatient = [round(float(x), 6) for x in directions.T.ravel()]
        image.PixelSpacing = [round(float(row_mm), 5), round(float(column_mm), 5)]
        image.SliceThickness = round(float(height_mm), 5)
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = plane.shape
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.PixelData = plane.astype("<i2").tobytes()
        images.append(image)
    return images


def save(images: list[Dataset], folder: Path) -> None:
    """Write a series as scanners export it: names that say nothing of the order."""
    folder.mkdir(parents=True)
    order = np.random.default_rng(0).permutation(len(images))
    for number, image in zip(order, images, strict=True):
        image.save_as(folder / f"IM{number:04}", enforce_file_format=True)


def reference(images: list[Dataset], labels: np.ndarray, names: dict[str, int]) -> Dataset:
    """The labels as a DICOM SEG of the series, written by highdicom."""
    describe = [
        SegmentDescription(
            segment_number=value,
            segment_label=name,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Heart,
            algorithm_type="MANUAL",
        )
        for name, value in names.items()
    ]
    return Segmentation(
        source_images=images,
        pixel_array=labels.astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=describe,
        series_instance_uid=highdicom.UID(),
        series_number=100,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="somebody",
        manufacturer_model_name="else",
        software_versions="1",
        device_serial_number="1",
    )


def send(patients: int, out: Path) -> list[str]:
    """Write the tree of patients and their references; returns the patients' names, the broken one last."""
    samples = DataFolder.open(SAMPLES / "mr")
    names = []
    for case in samples.cases[:patients]:
        patient = case.name.replace("mr_", "PAT")
        volume = read_volume(case.image)
        images = slices_of(volume, patient, 4, "bSSFP 3D")
        localizer = slices_of(
            Volume(volume.array[::8, ::2, ::2], volume.affine @ np.diag([2, 2, 8, 1.0]), patient),
            patient, 1, "Localizer",
        )  # fmt: skip
        labels = read_labels(case.label) if case.label else None
        assert labels is not None
        (out / "labels").mkdir(parents=True, exist_ok=True)
        reference(images, labels.array, dict(samples.labels)).save_as(
            out / "labels" / f"{patient}.dcm"
        )
        if len(names) == patients - 1:
            del images[len(images) // 2]
        study = out / "images" / patient / "20260105_CARDIAC"
        save(localizer, study / "001_localizer")
        save(images, study / "004_bssfp")
        (out / "images" / patient / "export.txt").write_text("exported by the archive\n")
        names.append(patient)
    return names


def run(*arguments: str | Path) -> int:
    """Run a command of the product as in a shell, and print it with what it says."""
    print("\n$ napari-uda", *arguments, flush=True)
    done = subprocess.run([sys.executable, "-m", "napari_uda", *map(str, arguments)], check=False)
    print(f"(exit {done.returncode})", flush=True)
    return done.returncode


def dice(file: Path) -> dict[tuple[str, str], str]:
    """Dice by case and structure of a scores.csv."""
    with file.open(newline="", encoding="utf-8") as lines:
        return {(row["case"], row["name"]): row["dice"] for row in csv.DictReader(lines)}


def main() -> int:
    """Send the folder, run the commands, compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--patients", type=int, default=4, help="patients in the tree, 2 to 6")
    parser.add_argument("--out", type=Path, help="where to write; removed before")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp(prefix="hospital-"))
    shutil.rmtree(out, ignore_errors=True)
    *whole, broken = send(options.patients, out)
    print(
        "\n".join(sorted({str(f.parent.relative_to(out)) for f in out.rglob("*") if f.is_file()}))
    )

    series = ("--series", "bSSFP 3D")
    run("check", out / "images", *series)
    said = run("predict", SAMPLES / "model", out / "images", "--out", out / "predicted", *series)
    run("evaluate", out / "predicted", out / "labels", "--out", out / "scores")
    print(f"\nThe reference of {broken} is set aside, as that sentence asks for:")
    (out / "labels" / f"{broken}.dcm").rename(out / f"{broken}_unused.dcm")
    run("evaluate", out / "predicted", out / "labels", "--out", out / "scores")
    print("\nThe same from NIfTI:")
    run("predict", SAMPLES / "model", SAMPLES / "mr" / "images", "--out", out / "predicted_nifti")
    run(
        "evaluate",
        out / "predicted_nifti",
        SAMPLES / "mr" / "labels",
        "--out",
        out / "scores_nifti",
    )

    wrong = [] if said == 2 else [f"predict ended with {said} although {broken} is broken"]
    if list((out / "predicted").glob(f"*{broken}*")):
        wrong.append(f"{broken} was segmented although a slice is missing")
    for patient in whole:
        case = patient.replace("PAT", "mr_")
        ours = read_labels(out / "predicted" / f"{patient}_labels.nii.gz").array
        if not np.array_equal(
            ours, read_labels(out / "predicted_nifti" / f"{case}_labels.nii.gz").array
        ):
            wrong.append(f"{patient} was not segmented as from NIfTI")
    expected = dice(out / "scores_nifti" / "scores.csv")
    for (patient, name), value in (found := dice(out / "scores" / "scores.csv")).items():
        if value != expected[patient.replace("PAT", "mr_"), name]:
            wrong.append(f"{patient}, {name}: Dice {value} against DICOM SEG")
    if {patient for patient, _ in found} != set(whole):
        wrong.append(f"scored were {sorted({patient for patient, _ in found})}")
    print(
        "\n"
        + ("\n".join(wrong) if wrong else f"{len(whole)} patients as from NIfTI, {broken} named")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
