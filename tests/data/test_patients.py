from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from dicom_files import echo, image_dataset, planes, save, write_frames, write_slices

from napari_uda.core.errors import InputError
from napari_uda.data.folder import DataFolder, find_cases, find_volumes
from napari_uda.data.patients import Case, find_labels, find_patients
from napari_uda.data.volume import Volume, write_volume


def write_nifti(path: Path, value: int = 1) -> Path:
    write_volume(path, Volume(np.full((2, 3, 4), value, np.int16), np.diag([1.0, 1, 2, 1])))
    return path


def write_series(folder: Path, number: int, description: str, uid: str, count: int = 3) -> Path:
    tags = {"SeriesNumber": number, "SeriesDescription": description, "SeriesInstanceUID": uid}
    return write_slices(folder, planes(count), [5.0 * n for n in range(count)], **tags)


def names(cases: tuple[Case, ...]) -> list[str]:
    return [case.name for case in cases]


def test_label_maps_of_bids_are_no_images(tmp_path: Path) -> None:
    for patient in ("sub-01", "sub-02"):
        write_nifti(tmp_path / patient / "anat" / f"{patient}_T1w.nii.gz")
        for kind in ("dseg", "label-L_mask", "label-L_probseg"):
            below = tmp_path / "derivatives" / "manual" / patient / "anat"
            write_nifti(below / f"{patient}_T1w_{kind}.nii.gz")
    found = find_patients(tmp_path)
    assert names(found.cases) == ["sub-01", "sub-02"]
    below = "derivatives/manual/sub-01/anat/sub-01_T1w_dseg.nii.gz (named as a label map)"
    assert below in found.passed_over


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """A mixture: a tree of DICOM, patients with NIfTI, a file, and what cannot be used."""
    root = tmp_path / "hospital"
    write_series(root / "p1" / "study" / "s1", 3, "T2 TSE", "1.2.1")
    write_nifti(root / "p2" / "image.nii.gz", 2)
    write_nifti(root / "p2" / "label.nii.gz", 1)
    write_series(root / "p3" / "s1", 1, "T1 VIBE", "1.2.31")
    write_series(root / "p3" / "s2", 2, "T2 TSE", "1.2.32", count=4)
    write_nifti(root / "p4.nii.gz", 4)
    (root / "p5").mkdir()
    (root / "p6").mkdir()
    (root / "p6" / "scan.mnc").write_bytes(b"x" * 200)
    (root / "p6" / "readme.txt").write_text("x" * 200)
    (root / ".hidden").mkdir()
    write_nifti(root / ".hidden" / "a.nii.gz")
    write_nifti(root / "p7" / "ct.nii.gz", 7)
    write_nifti(root / "p7" / "segmentations" / "liver.nii.gz", 1)
    return root


def test_a_mixed_tree_is_read_case_by_case(hospital: Path) -> None:
    found = find_patients(hospital)
    assert found.cases == (
        Case("p4", hospital / "p4.nii.gz"),
        Case("p1", hospital / "p1" / "study" / "s1"),
        Case("p2", hospital / "p2" / "image.nii.gz", hospital / "p2" / "label.nii.gz"),
        Case("p3_s1", hospital / "p3" / "s1"),
        Case("p3_s2", hospital / "p3" / "s2"),
        Case("p7", hospital / "p7" / "ct.nii.gz", hospital / "p7" / "segmentations"),
    )
    shapes = {case.name: case.read_image().array.shape for case in found.cases}
    assert shapes == {
        "p4": (2, 3, 4), "p1": (3, 4, 6), "p2": (2, 3, 4), "p3_s1": (3, 4, 6), "p3_s2": (4, 4, 6),
        "p7": (2, 3, 4),
    }  # fmt: skip
    assert [case.read_image().name for case in found.cases] == names(found.cases)
    assert found.notes() == "passed over p5 (holds no volume), p6/scan.mnc (of an unknown type)"


def test_a_series_is_chosen_for_all_patients(hospital: Path) -> None:
    found = find_patients(hospital, "t2 tse")
    assert names(found.cases) == ["p4", "p1", "p2", "p3", "p7"]
    chosen = {case.name: case for case in found.cases}
    assert chosen["p3"].image == hospital / "p3" / "s2"
    assert chosen["p3"].series == "t2 tse"
    assert chosen["p2"].series == ""
    assert chosen["p3"].read_image().array.shape == (4, 4, 6)
    assert "p3/s1 (no series 't2 tse')" in found.passed_over


def test_a_series_that_nobody_has_is_refused_with_what_is_there(tmp_path: Path) -> None:
    write_series(tmp_path / "d" / "p1", 1, "T1 VIBE", "1.2.31")
    write_series(tmp_path / "d" / "p2", 7, "T2 TSE", "1.2.32")
    with pytest.raises(InputError) as caught:
        find_cases([tmp_path / "d"], "FLAIR")
    assert str(caught.value) == (
        "d: holds no DICOM volume 'FLAIR'; choose one of these: p1 holds '1' T1 VIBE (CT, 3 x 4 x 6); "
        "p2 holds '7' T2 TSE (CT, 3 x 4 x 6)"
    )


def test_several_series_in_one_folder_are_chosen_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "d" / "p1"
    write_series(folder, 1, "T1 VIBE", "1.2.31")
    write_series(folder, 2, "T2 TSE", "1.2.32", count=4)
    write_nifti(tmp_path / "d" / "p2" / "image.nii.gz")
    cases = find_cases([tmp_path / "d"])[0].cases
    assert names(cases) == ["p1", "p2"]
    with pytest.raises(InputError, match=r"^p1: holds 2 DICOM volumes; choose one with --series"):
        cases[0].read_image()
    cases = find_cases([tmp_path / "d"], "T2")[0].cases
    assert cases[0].read_image().array.shape == (4, 4, 6)
    assert names(cases) == ["p1", "p2"]


def test_files_of_many_frames_are_cases(tmp_path: Path) -> None:
    for number, name in enumerate(("a.dcm", "b.dcm", "IM3")):
        tags = {"SeriesInstanceUID": f"1.2.{number}", "SeriesDescription": name}
        write_frames(tmp_path / "d" / name, planes(3), [0.0, 3.0, 6.0], **tags)
    cases = find_cases([tmp_path / "d"])[0].cases
    assert sorted(names(cases)) == ["IM3", "a", "b"]
    assert all(case.read_image().array.shape == (3, 4, 6) for case in cases)
    (case,) = find_cases([tmp_path / "d" / "a.dcm"])[0].cases
    assert case.name == case.read_image().name == "a"


def test_files_of_many_frames_that_share_a_series_are_one_volume(tmp_path: Path) -> None:
    """Concatenations: a long file that the scanner has split."""
    write_frames(tmp_path / "p" / "1.dcm", planes(2), [0.0, 3.0])
    write_frames(tmp_path / "p" / "2.dcm", planes(3), [6.0, 9.0, 12.0])
    (case,) = find_cases([tmp_path / "p"])[0].cases
    assert case.name == "p"
    volume = case.read_image()
    np.testing.assert_array_equal(volume.array, planes(3)[[0, 1, 0, 1, 2]])
    assert volume.spacing_mm[0] == 3.0


def test_echoes_of_a_file_are_chosen_below_a_folder(tmp_path: Path) -> None:
    each = [echo(t) for t in (1, 2) * 2]
    write_frames(tmp_path / "d" / "p1" / "a.dcm", planes(4), [0.0, 0.0, 3.0, 3.0], each)
    write_frames(tmp_path / "d" / "p2" / "a.dcm", planes(4), [0.0, 0.0, 3.0, 3.0], each)
    cases = find_cases([tmp_path / "d"], "echo time 2")[0].cases
    assert names(cases) == ["p1", "p2"]
    for case in cases:
        np.testing.assert_array_equal(case.read_image().array, planes(4)[1::2])


def test_errors_name_the_patient(tmp_path: Path) -> None:
    (tmp_path / "d" / "p1").mkdir(parents=True)
    (tmp_path / "d" / "p1" / "image.nii.gz").write_bytes(b"x")
    write_nifti(tmp_path / "d" / "p2" / "image.nii.gz")
    with pytest.raises(InputError, match=r"^p1: image\.nii\.gz: "):
        find_cases([tmp_path / "d"])[0].cases[0].read_image()


def test_names_stay_apart(tmp_path: Path) -> None:
    """One patient alone is named by its volumes; two that are given together by their folders, too."""
    for patient in ("p1", "p2"):
        for kind in ("t1", "t2"):
            write_nifti(tmp_path / patient / f"{kind}.nii.gz")
    assert names(find_cases([tmp_path / "p1"])[0].cases) == ["t1", "t2"]
    both = find_cases([tmp_path / "p1", tmp_path / "p2"])
    assert [names(found.cases) for found in both] == [["p1_t1", "p1_t2"], ["p2_t1", "p2_t2"]]
    for patient in ("p3", "p4"):
        write_nifti(tmp_path / patient / "image.nii.gz")
    single = find_cases([tmp_path / "p3", tmp_path / "p4"])
    assert [names(found.cases) for found in single] == [["p3"], ["p4"]]
    everything = names(find_cases([tmp_path])[0].cases)
    assert everything == ["p1_t1", "p1_t2", "p2_t1", "p2_t2", "p3", "p4"]


def test_a_chain_of_folders_is_no_name(tmp_path: Path) -> None:
    write_nifti(tmp_path / "d" / "export" / "p1" / "image.nii.gz")
    write_nifti(tmp_path / "d" / "export" / "p2" / "image.nii.gz")
    assert names(find_cases([tmp_path / "d"])[0].cases) == ["p1", "p2"]
    assert names(find_cases([tmp_path / "d" / "export" / "p1"])[0].cases) == ["image"]


def test_a_patients_folder_alone_is_the_case(tmp_path: Path) -> None:
    """What programs call folders within a patient's is no case: of each patient there would be one."""
    for patient in ("p1", "p2"):
        write_series(tmp_path / patient / "CT", 3, "CT", f"1.2.{patient[1]}")
    write_series(tmp_path / "p3" / "study" / "SE000001", 3, "CT", "1.2.3")
    write_series(tmp_path / "p4" / "1.2.840.113619.2", 3, "CT", "1.2.4")
    for kind in ("CT", "MR"):
        write_series(tmp_path / "p5" / kind, 3, kind, f"1.2.5.{ord(kind[0])}")
    alone = {
        patient: names(find_cases([tmp_path / patient])[0].cases)
        for patient in ("p1", "p3", "p4", "p5")
    }
    assert alone == {"p1": ["p1"], "p3": ["p3"], "p4": ["p4"], "p5": ["p5_CT", "p5_MR"]}
    both = find_cases([tmp_path / "p1", tmp_path / "p2"])
    assert [names(found.cases) for found in both] == [["p1"], ["p2"]]
    assert names(find_cases([tmp_path])[0].cases) == ["p1", "p2", "p3", "p4", "p5_CT", "p5_MR"]
    shutil.copytree(tmp_path / "p1", tmp_path / "inbox" / "q1")  # one patient alone keeps its name
    assert names(find_cases([tmp_path / "inbox"])[0].cases) == ["q1"]


def test_links_that_go_round_end(tmp_path: Path) -> None:
    write_nifti(tmp_path / "d" / "p1" / "image.nii.gz")
    (tmp_path / "d" / "p1" / "up").symlink_to(tmp_path / "d")
    assert find_volumes([tmp_path / "d"]) == [tmp_path / "d" / "p1" / "image.nii.gz"]


def test_labels_of_patients_are_found(tmp_path: Path) -> None:
    """In a folder of label maps the only volume, elsewhere what is named so."""
    for root in ("labels", "scans"):
        write_nifti(tmp_path / root / "p1" / "anything.nii.gz")
        write_nifti(tmp_path / root / "p2" / "image.nii.gz")
        write_nifti(tmp_path / root / "p2" / "image_seg.nii.gz")
        write_nifti(tmp_path / root / "p3.nii.gz")
    labels, scans = (dict(find_labels(tmp_path / root)) for root in ("labels", "scans"))
    assert labels["p1"] == tmp_path / "labels" / "p1" / "anything.nii.gz"
    assert scans["p1"] == tmp_path / "scans" / "p1"
    assert scans["p2"] == tmp_path / "scans" / "p2" / "image_seg.nii.gz"
    assert list(labels) == list(scans) == ["p1", "p2", "p3"]


# data folders


def test_a_data_folder_of_patients(hospital: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    hospital.rename(data / "images")
    write_nifti(data / "labels" / "p1.nii.gz")
    write_nifti(data / "labels" / "p7" / "anything.nii.gz")
    folder = DataFolder.open(data, series="T2")
    assert names(folder.cases) == ["p1", "p2", "p3", "p4", "p7"]
    labels = {case.name: case.label for case in folder.cases}
    assert labels == {
        "p1": data / "labels" / "p1.nii.gz", "p2": data / "images" / "p2" / "label.nii.gz",
        "p3": None, "p4": None, "p7": data / "labels" / "p7" / "anything.nii.gz",
    }  # fmt: skip
    assert "p5 (holds no volume)" in folder.passed_over


def test_dicom_images_state_their_modality(tmp_path: Path) -> None:
    for patient, modality in (("a", "CT"), ("b", "CT"), ("c", "MR")):
        write_slices(tmp_path / "ct" / patient, planes(2), [0.0, 5.0], Modality=modality)
    assert DataFolder.open(tmp_path / "ct").modality == ""  # they differ
    shutil.rmtree(tmp_path / "ct" / "c")
    assert DataFolder.open(tmp_path / "ct").modality == "CT"
    shutil.copytree(tmp_path / "ct", tmp_path / "named" / "images")
    (tmp_path / "named" / "dataset.json").write_text('{"labels": {}, "modality": "MR"}')
    assert DataFolder.open(tmp_path / "named").modality == "MR"  # what a person wrote goes first
    write_nifti(tmp_path / "ct" / "d.nii.gz")
    assert DataFolder.open(tmp_path / "ct").modality == ""  # this one says nothing


def test_a_socket_is_no_slice(tmp_path: Path) -> None:
    """Nor is a pipe, which would be waited for without an end; a socket refuses to be opened."""
    write_slices(tmp_path / "d" / "p1", planes(2), [0.0, 5.0], Modality="CT")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(os.path.relpath(tmp_path / "d" / "p1" / "0.dcm"))  # its name may not be long
        folder = DataFolder.open(tmp_path / "d")
    assert folder.modality == "CT"
    assert folder.passed_over == ("p1/0.dcm (a pipe, a socket or a device)",)


def test_folders_of_patients_are_a_data_folder(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        write_nifti(tmp_path / "d" / patient / "image.nii.gz")
        write_nifti(tmp_path / "d" / patient / "seg.nii.gz")
    folder = DataFolder.open(tmp_path / "d")
    assert [(case.name, case.label) for case in folder.cases] == [
        ("p1", tmp_path / "d" / "p1" / "seg.nii.gz"),
        ("p2", tmp_path / "d" / "p2" / "seg.nii.gz"),
    ]
    assert folder.label_folder == tmp_path / "d"
    write_nifti(tmp_path / "d" / "p3.nii.gz")
    write_nifti(tmp_path / "d" / "p3_seg.nii.gz")
    mixed = DataFolder.open(tmp_path / "d").cases
    assert [(case.name, case.label) for case in mixed] == [
        ("p1", tmp_path / "d" / "p1" / "seg.nii.gz"),
        ("p2", tmp_path / "d" / "p2" / "seg.nii.gz"),
        ("p3", tmp_path / "d" / "p3_seg.nii.gz"),
    ]
    write_nifti(tmp_path / "flat" / "p3.nii.gz")
    with pytest.raises(InputError, match="is no data folder, it holds neither images nor imagesTr"):
        DataFolder.open(tmp_path / "flat")


def test_label_maps_beside_the_image_of_a_patient_are_no_images(tmp_path: Path) -> None:
    for name in ("image", "label"):
        write_nifti(tmp_path / "p1" / f"{name}.nii.gz")
    for name in ("a", "a_seg", "b", "b-mask", "brain_mask", "seg"):
        write_nifti(tmp_path / "scans" / f"{name}.nii.gz")
        write_nifti(tmp_path / "d" / "images" / f"{name}.nii.gz")
    found = find_cases([tmp_path / "p1", tmp_path / "scans", tmp_path / "d"])
    assert names(found[0].cases) == ["image"]
    assert found[0].cases[0].label == tmp_path / "p1" / "label.nii.gz"
    assert [case.image.name for case in found[1].cases] == [
        "a.nii.gz", "b.nii.gz", "brain_mask.nii.gz", "seg.nii.gz",
    ]  # fmt: skip
    assert len(found[2].cases) == 6  # all that lies in images is one


def test_a_folder_of_data_folders_is_none(tmp_path: Path) -> None:
    for domain in ("ct", "mr"):
        write_nifti(tmp_path / domain / "images" / "a.nii.gz")
    with pytest.raises(InputError, match=r"holds 2 of them \(ct, mr\); name one of them$"):
        DataFolder.open(tmp_path)


def test_the_directory_of_a_disc_and_reports_are_no_patients(tmp_path: Path) -> None:
    """As hospitals write discs: DICOMDIR on top, a dose report as a series of its own."""
    series = write_series(tmp_path / "d" / "p1" / "DICOM" / "s1", 1, "T2 TSE", "1.2.1")
    directory = pydicom.dcmread(pydicom.data.get_testdata_file("DICOMDIR"))
    directory.save_as(tmp_path / "d" / "p1" / "DICOMDIR")
    report = image_dataset(planes(1)[0], "1.2.840.10008.5.1.4.1.1.88.67", SOPInstanceUID="1.2.9")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    save(report, tmp_path / "d" / "p1" / "DICOM" / "s2" / "1.dcm")
    (found,) = find_cases([tmp_path / "d"])
    assert found.cases == (Case("p1", series),)
    assert found.notes() == ("passed over p1/DICOM/s2 (no image (X-Ray Radiation Dose SR Storage))")
    assert names(DataFolder.open(tmp_path / "d").cases) == ["p1"]


def test_a_prediction_is_not_taken_for_the_labels_of_its_image(tmp_path: Path) -> None:
    image = write_nifti(tmp_path / "p1" / "x.nii.gz")
    labels = write_nifti(tmp_path / "p1" / "x_labels.nii.gz")
    (tmp_path / "p1" / "x.json").write_text('{"EchoTime": 0.1}')
    assert find_patients(tmp_path).cases == (Case("p1", image, labels),)
    (tmp_path / "p1" / "x.json").write_text('{"program": "napari_uda 0.1.0"}')
    found = find_patients(tmp_path)
    assert found.cases == (Case("p1", image),)
    assert found.notes() == "passed over p1/x_labels.nii.gz (a result of napari_uda)"
    # what a person corrected is labels, whoever predicted them
    edited = write_nifti(tmp_path / "p1" / "x_seg.nii.gz")
    assert find_patients(tmp_path).cases == (Case("p1", image, edited),)


def test_results_of_ours_are_no_images(tmp_path: Path) -> None:
    """A folder of predictions is given where images belong: nothing of it is segmented."""
    for kind in ("labels", "entropy", "reliability"):
        write_nifti(tmp_path / "results" / f"x_{kind}.nii.gz")
    (tmp_path / "results" / "x.json").write_text('{"program": "napari_uda 0.1.0"}')
    image = write_nifti(tmp_path / "results" / "y_entropy.nii.gz")  # of somebody else
    (found,) = find_cases([tmp_path / "results"])
    assert found.cases == (Case("y_entropy", image),)
    assert found.notes() == (
        "passed over x_entropy.nii.gz (a result of napari_uda), x_labels.nii.gz (a result of napari_uda), "
        "x_reliability.nii.gz (a result of napari_uda)"
    )
    image.unlink()
    with pytest.raises(InputError, match="results: holds results of napari_uda and no image; give"):
        find_cases([tmp_path / "results"])
