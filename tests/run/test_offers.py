"""What the files and folders hold that a user opens, told without a window."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import planes, write_frames, write_slices
from segmentation_files import write_image, write_rtstruct, write_seg

from napari_uda.core.errors import InputError
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.run.offers import NoImageError, Offer, find_offers, read_offer
from napari_uda.run.roles import case_of_labels, read_shown

SQUARE = [(-6.5, -8.0, 3.0), (-3.5, -8.0, 3.0), (-3.5, -5.0, 3.0), (-6.5, -5.0, 3.0)]


def write_nifti(path: Path, *, labels: bool = False) -> Path:
    values = np.arange(60).reshape(3, 4, 5)
    array = (values % 3).astype(np.uint8) if labels else values.astype(np.int16)
    write_volume(path, Volume(array, np.diag([1.0, 1, 2, 1])))
    return path


def parts_of(offer: Offer) -> list[tuple[str, str]]:
    """Name of the file and role of what an offer reads."""
    read = read_offer(offer)
    return [(part.path.name, one.role) for part, one in zip(offer.parts, read, strict=True)]


def test_a_slice_stands_for_its_series_alone(tmp_path: Path) -> None:
    write_slices(tmp_path, planes(3), [0.0, 3, 6], SeriesInstanceUID="1.2.1", SeriesNumber=1)
    write_slices(tmp_path, planes(4), [0.0, 3, 6, 9], SeriesInstanceUID="1.2.2", SeriesNumber=2)
    found = find_offers([tmp_path / "1.2.2_001.dcm"])
    assert not found.is_choice
    (offer,) = found.offers
    (read,) = read_offer(offer)
    assert read.volume.array.shape == (4, 4, 6)
    assert read.volume.name == f"{tmp_path.name}_2"
    assert read.role == "image"


def test_several_series_are_a_choice_with_what_tells_them_apart(tmp_path: Path) -> None:
    ct = {"SeriesDescription": "Abdomen 3 mm", "SeriesNumber": 2, "SeriesDate": "20260131"}
    write_slices(tmp_path / "a", planes(3), [0.0, 3, 6], SeriesInstanceUID="1.2.1", **ct)
    mr = {"SeriesDescription": "T2", "Modality": "MR", "SeriesNumber": 7}
    write_slices(tmp_path / "a", planes(2), [0.0, 3], SeriesInstanceUID="1.2.2", **mr)
    write_frames(tmp_path / "b" / "IM1", planes(5), [3.0 * height for height in range(5)])
    found = find_offers([tmp_path])
    assert found.is_choice
    told = [(one.description, one.modality, one.slices, one.size, one.date) for one in found.offers]
    assert told[:2] == [
        ("Abdomen 3 mm", "CT", "3", "4 x 6", "2026-01-31"),
        ("T2", "MR", "2", "4 x 6", ""),
    ]
    assert told[2][2:4] == ("5", "4 x 6")
    shapes = [read_offer(one)[0].volume.array.shape for one in found.offers]
    assert shapes == [(3, 4, 6), (2, 4, 6), (5, 4, 6)]
    names = [one.name for one in found.offers]
    assert names[:2] == ["a_Abdomen_3_mm", "a_T2"]
    assert len(set(names)) == 3


def test_contours_bring_the_image_that_they_were_drawn_on(tmp_path: Path) -> None:
    write_image(tmp_path / "p1" / "CT")
    other = {"SeriesInstanceUID": "1.2.3.77"}
    write_slices(tmp_path / "p1" / "scout", planes(2), [0.0, 3], **other)
    drawn = write_rtstruct(tmp_path / "p1" / "RS" / "rs.dcm", [("Liver", [SQUARE])], [(1, 2, 3)])
    found = find_offers([drawn])
    (offer,) = found.offers
    image, structures = read_offer(offer)
    assert (image.role, structures.role) == ("image", "reference")
    assert image.volume.array.shape == structures.volume.array.shape == (5, 4, 6)
    assert image.volume.name == structures.volume.name == "CT"
    assert structures.names == {1: "Liver"}
    assert structures.colours == {1: "#010203"}
    assert structures.volume.array[1].any()
    assert not structures.volume.array[0].any()


def test_contours_far_from_their_image_ask_for_its_folder(tmp_path: Path) -> None:
    image = write_image(tmp_path / "archive" / "deep" / "CT")
    drawn = write_rtstruct(tmp_path / "inbox" / "new" / "rs.dcm", [("Liver", [SQUARE])])
    (tmp_path / "inbox" / "new" / "notes.txt").write_text("none")
    with pytest.raises(NoImageError, match=r"rs.dcm: holds contours .* is not beside it; choose"):
        find_offers([drawn])
    (offer,) = find_offers([drawn], [tmp_path / "archive"]).offers
    assert offer.parts[0].path == image
    with pytest.raises(NoImageError, match="is not beside it nor in inbox; choose the folder"):
        find_offers([drawn], [tmp_path / "inbox"])


def test_a_case_folder_is_opened_in_one_go(tmp_path: Path) -> None:
    write_nifti(tmp_path / "p1.nii.gz")
    for name in ("p1_seg", "p1_labels", "p1_reliability"):
        write_nifti(tmp_path / f"{name}.nii.gz", labels=True)
    found = find_offers([tmp_path])
    assert not found.is_choice
    (offer,) = found.offers
    assert parts_of(offer) == [
        ("p1.nii.gz", "image"),
        ("p1_labels.nii.gz", "prediction"),
        ("p1_reliability.nii.gz", "reliability"),
        ("p1_seg.nii.gz", "reference"),
    ]
    assert [one.volume.name for one in read_offer(offer)] == [
        "p1",
        "p1_labels",
        "p1_reliability",
        "p1",
    ]


def test_two_images_and_a_label_map_are_one_case(tmp_path: Path) -> None:
    for name in ("t1", "t2"):
        write_nifti(tmp_path / "p7" / f"{name}.nii.gz")
    write_nifti(tmp_path / "p7" / "label.nii.gz", labels=True)
    (offer,) = find_offers([tmp_path / "p7"]).offers
    assert [role for _, role in parts_of(offer)] == ["image", "image", "reference"]


def test_several_cases_are_a_choice_with_their_labels(tmp_path: Path) -> None:
    for case in ("a", "b"):
        write_nifti(tmp_path / f"{case}.nii.gz")
        write_nifti(tmp_path / f"{case}_seg.nii.gz", labels=True)
    found = find_offers([tmp_path])
    assert found.is_choice
    assert [(one.name, one.slices, one.size) for one in found.offers] == [
        ("a", "3", "4 x 5"),
        ("b", "3", "4 x 5"),
    ]
    assert parts_of(found.offers[1]) == [("b.nii.gz", "image"), ("b_seg.nii.gz", "reference")]


def test_a_data_folder_offers_its_first_case(tmp_path: Path) -> None:
    for case in ("c1", "c2"):
        write_nifti(tmp_path / "images" / f"{case}.nii.gz")
    write_nifti(tmp_path / "labels" / "c1.nii.gz", labels=True)
    write_nifti(tmp_path / "predictions" / "c1_labels.nii.gz", labels=True)
    write_dataset_json(tmp_path, {"MYO": 1, "LV": 2}, "MR")
    found = find_offers([tmp_path])
    assert found.data_folder == tmp_path
    assert not found.is_choice
    (offer,) = found.offers
    assert [role for _, role in parts_of(offer)] == ["image", "reference", "prediction"]
    assert read_offer(offer)[1].names == {1: "MYO", 2: "LV"}


def test_segments_of_a_tree_go_with_their_series(tmp_path: Path) -> None:
    image = write_image(tmp_path / "p1" / "CT")
    labels = np.zeros((5, 4, 6), np.uint8)
    labels[2, 1, 1:4] = 1
    write_seg(tmp_path / "p1" / "SEG" / "1.dcm", image, labels, {1: "Spleen"})
    (offer,) = find_offers([tmp_path / "p1"]).offers
    _, structures = read_offer(offer)
    assert structures.names == {1: "Spleen"}
    assert structures.volume.array.shape == read_volume(image).array.shape


def test_a_description_colours_a_label_map(tmp_path: Path) -> None:
    file = write_nifti(tmp_path / "p1_seg.nii.gz", labels=True)
    lines = '1 255 0 0 1 1 1 "Liver"\n2 0 128 255 1 1 1 "Left kidney"\n'
    file.with_name("p1_seg.label").write_text(lines)
    (one,) = read_offer(find_offers([file]).offers[0])
    assert one.names == {1: "Liver", 2: "Left kidney"}
    assert one.colours == {1: "#FF0000", 2: "#0080FF"}


def test_either_half_of_a_pair_may_be_chosen(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    nib.save(nib.Nifti1Pair(values, np.diag([1.0, 1, 2, 1])), tmp_path / "a.img")
    for name in ("a.img", "a.hdr"):
        (offer,) = find_offers([tmp_path / name]).offers
        (read,) = read_offer(offer)
        assert read.volume.array.shape == (3, 4, 5)
        assert read.volume.name == "a"


def test_what_cannot_be_opened_is_told_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.docx").write_text("none")
    with pytest.raises(InputError, match="empty: holds no volume that can be opened; choose"):
        find_offers([tmp_path / "empty"])
    with pytest.raises(InputError, match="gone: there is no such file or folder; check the path"):
        find_offers([tmp_path / "gone"])
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(InputError, match=r"a.txt: holds no DICOM image; give a volume file"):
        find_offers([tmp_path / "a.txt"])
    damaged = tmp_path / "damaged.nii.gz"
    shutil.copy(tmp_path / "a.txt", damaged)
    with pytest.raises(InputError, match=r"damaged\.nii\.gz"):
        read_offer(find_offers([damaged]).offers[0])


def test_series_of_a_patient_carry_the_patients_name(tmp_path: Path) -> None:
    for number in ("01", "02"):
        uid = {"SeriesInstanceUID": f"1.{int(number)}"}
        write_slices(tmp_path / "p7" / "study" / number, planes(2), [0.0, 3], **uid)
    assert [offer.name for offer in find_offers([tmp_path / "p7"]).offers] == ["p7_01", "p7_02"]
    write_slices(tmp_path / "p8" / "CT", planes(2), [0.0, 3])
    names = [offer.name for offer in find_offers([tmp_path]).offers]
    assert names == ["p7_study_01", "p7_study_02", "p8"]


def test_labels_of_people_are_no_predictions(tmp_path: Path) -> None:
    for name in ("t2_labels", "t2_labels_edited", "t2_seg"):
        file = write_nifti(tmp_path / f"{name}.nii.gz", labels=True)
        assert read_shown(file).role == "reference"
        assert case_of_labels(file) == "t2"
    file = tmp_path / "labels" / "heart_seg.nii.gz"
    write_nifti(file, labels=True)
    assert case_of_labels(file) == "heart_seg"  # its image is called like that
    (tmp_path / "t2.json").write_text('{"EchoTime": 0.1}')  # what BIDS puts beside an image
    assert read_shown(tmp_path / "t2_labels.nii.gz").role == "reference"
    (tmp_path / "t2.json").write_text('{"program": "napari_uda 0.1.0"}')
    assert read_shown(tmp_path / "t2_labels.nii.gz").role == "prediction"
