"""What is odd in a domain or between two: each rule with numbers made by hand, and what it must not say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uda.data.check import check_folder, check_folders, check_volume
from napari_uda.data.contents import content_digest
from napari_uda.data.findings import (
    CaseReport,
    DomainReport,
    compare_domains,
    far_orientations,
    modality_problems,
)
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import Volume, write_volume

LPS = np.diag([-1.0, -1.0, 4.0, 1.0])


def case(name: str, axes: Iterable[Iterable[float]], code: str = "LPS") -> CaseReport:
    directions = tuple(tuple(float(part) for part in axis) for axis in axes)
    return CaseReport(name, (4, 8, 8), (4, 1, 1), code, (0, 9), axes=directions)


def turned(degrees: float) -> np.ndarray:
    """Axes of an axial volume, turned about the line from left to right."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[-1, 0, 0], [0, -c, -s], [0, -s, c]])


def test_a_volume_that_is_stored_upside_down_among_others_is_told() -> None:
    upright = [case(f"case_{i}", turned(0)) for i in range(4)]
    odd = case("case_4", turned(180), "LAI")
    (problem,) = far_orientations([*upright, odd])
    assert problem.file == "case_4"
    assert not problem.fatal
    assert problem.sentence == (
        "case_4: stored as LAI, most others as LPS; look whether head, front and left are where the header "
        "puts them"
    )


def test_oblique_volumes_near_45_degrees_are_one_orientation() -> None:
    """Their codes differ (LPS, LIP and so on), their axes hardly do."""
    oblique = [case(f"case_{i}", turned(angle)) for i, angle in enumerate((35, 40, 44, 46, 50, 55))]
    assert far_orientations(oblique) == []


def test_two_orientations_of_equal_right_and_two_cases_are_not_told() -> None:
    half = [
        case("a", turned(0)),
        case("b", turned(0)),
        case("c", turned(180)),
        case("d", turned(180)),
    ]
    assert far_orientations(half) == []
    assert far_orientations([half[0], half[2]]) == []


# -- Hounsfield units -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modality", "lows", "said"),
    [
        (
            "CT",
            (-1024, -1024, 0, 0),
            "c, d: no value is below 0 as in the other CT images, and air has -1000 HU",
        ),
        (
            "",
            (-1024, -1000, 24, -1024),
            "c: no value is below 24 as in the other CT images, and air has -1000 HU",
        ),
        (
            "CT",
            (0, 7),
            "the images are said to be CT, but no value is below 0, and air has -1000 HU",
        ),
        ("CT", (-1024, -1000), ""),
        ("MR", (-1024, -1000, 0), ""),
        ("", (0, 0, -1024), ""),  # most are no CT
        ("", (0, 0, 0), ""),
    ],
)
def test_images_that_lack_the_air_of_ct_are_named(
    modality: str, lows: tuple[float, ...], said: str
) -> None:
    cases = [
        replace(case(name, np.eye(3)), intensity_range=(low, 900.0))
        for name, low in zip("abcd", lows, strict=False)
    ]
    found = [problem.sentence for problem in modality_problems(modality, cases)]
    assert found == ([f"{said}; check that the values are Hounsfield units"] if said else [])


def put(root: Path, name: str, grey: np.ndarray, labels: np.ndarray | None = None) -> None:
    write_volume(root / "images" / f"{name}.nii.gz", Volume(grey, LPS, name))
    if labels is not None:
        write_volume(root / "labels" / f"{name}.nii.gz", Volume(labels, LPS, name))


def grey(seed: int, shape: tuple[int, int, int] = (6, 20, 16)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, shape).astype(np.int16)


def box() -> np.ndarray:
    """Label 1 in 4 slices of 4 mm, 10 rows of 1 mm and 6 columns of 1 mm."""
    labels = np.zeros((6, 20, 16), np.uint8)
    labels[1:5, 5:15, 5:11] = 1
    return labels


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "ct"
    for index in range(3):
        put(root, f"ct_{index}", grey(index), box())
    write_dataset_json(root, {"LV": 1}, "MR")
    return root


def between(source: Path, target: Path) -> list[str]:
    return [problem.sentence for problem in check_folders(source, target)["target"].problems]


def test_structures_span_what_their_box_spans(source: Path) -> None:
    report = check_folder(source, labelled=True)
    assert {case.structures_mm for case in report.cases} == {(16.0, 10.0, 6.0)}
    assert report.cases[0].view_mm == (24.0, 20.0, 16.0)
    other = check_folder(source, labelled=True, names={"nothing": 7})
    assert other.cases[0].structures_mm is None  # what has no name is background


def test_a_sound_pair_is_not_told_of(source: Path, tmp_path: Path) -> None:
    for index in range(3):
        put(tmp_path / "mr", f"mr_{index}", grey(10 + index))
    assert between(source, tmp_path / "mr") == []
    write_dataset_json(tmp_path / "mr", {"LV": 1, "RV": 2}, "MR")  # more than the source knows
    assert between(source, tmp_path / "mr") == []


def test_a_target_that_is_too_small_for_the_structures_is_told(
    source: Path, tmp_path: Path
) -> None:
    """3 slices of 4 mm where the structures span 16: less than 0.8 of it, and so are all of them."""
    for index in range(3):
        put(tmp_path / "mr", f"mr_{index}", grey(10 + index, (3, 20, 16)))
    assert between(source, tmp_path / "mr") == [
        "3 of 3 volumes of the target (mr_0, mr_1, mr_2) have a field of view too small for what the structures "
        "of the source span: at most 12 mm from foot to head for 16 mm; check the headers, or leave out what "
        "does not show the structures"
    ]


def test_one_volume_with_some_slices_less_is_as_it_comes_one_with_few_is_told(
    source: Path, tmp_path: Path
) -> None:
    for index, slices in enumerate((6, 6, 3, 1)):
        put(tmp_path / "mr", f"mr_{index}", grey(10 + index, (slices, 20, 16)))
    (sentence,) = between(source, tmp_path / "mr")
    assert sentence.startswith("1 of 4 volumes of the target (mr_3) have a field")


def test_no_target_label_is_read_to_judge_the_target(source: Path, tmp_path: Path) -> None:
    put(tmp_path / "mr", "mr_0", grey(10), box())
    (tmp_path / "mr" / "labels" / "mr_0.nii.gz").write_bytes(b"unreadable")
    report = check_folders(source, tmp_path / "mr")["target"]
    assert report.problems == ()
    assert report.structures == ()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            {"left_ventricle": 1},
            "label 1 is LV in the source and left_ventricle in the target; give",
        ),
        (
            {"LV": 2},
            "LV is label 1 in the source and label 2 in the target, and predictions have the",
        ),
        (
            {"LV": 2, "RV": 1},
            "LV is label 1 in the source and label 2 in the target, and predictions",
        ),
        (
            {"RV": 2},
            "LV (label 1) of the source is not among the structures of the target (RV); check",
        ),
    ],
)
def test_other_names_in_the_two_dataset_json_are_told(
    names: dict[str, int], said: str, source: Path, tmp_path: Path
) -> None:
    put(tmp_path / "mr", "mr_0", grey(10))
    write_dataset_json(tmp_path / "mr", names, "MR")
    (sentence,) = between(source, tmp_path / "mr")
    assert sentence.startswith(said)


def test_names_of_the_settings_are_compared_with_those_of_the_target(
    source: Path, tmp_path: Path
) -> None:
    put(tmp_path / "mr", "mr_0", grey(10))
    write_dataset_json(tmp_path / "mr", {"heart": 1}, "MR")
    reports = check_folders(source, tmp_path / "mr", names={"background": 0, "heart": 1})
    assert reports["target"].problems == ()


def test_images_in_both_domains_are_told(source: Path, tmp_path: Path) -> None:
    put(tmp_path / "mr", "mr_0", grey(10))
    put(tmp_path / "mr", "mr_1", grey(2))  # that of ct_2
    assert between(source, tmp_path / "mr") == [
        "1 of 2 images of the target are images of the source, too (mr_1); remove them from one of the two"
    ]
    put(tmp_path / "mr", "mr_0", grey(0))
    (sentence,) = between(source, tmp_path / "mr")
    assert sentence.startswith("every image of the target is one of the source")


def test_one_image_under_two_names_is_told(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        put(tmp_path, name, grey(seed))
    (problem,) = check_folder(tmp_path, labelled=False).problems
    assert problem.sentence == "a, c are the same image; remove all but one of them"


def test_constant_images_are_told_once_each_and_not_as_doubles(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path, name, np.full((3, 4, 5), 7, np.int16))
    assert [problem.sentence for problem in check_folder(tmp_path, labelled=False).problems] == [
        "a: every voxel is 7; check whether the image is empty",
        "b: every voxel is 7; check whether the image is empty",
    ]


def test_layers_are_compared_as_folders_are() -> None:
    first = check_volume(Volume(grey(0), LPS, "a"), Volume(box(), LPS, "a"), names={"LV": 1})
    small = check_volume(Volume(grey(1, (2, 20, 16)), LPS, "b"), None, names={})
    (problem,) = compare_domains(first, small, is_same=False)
    assert "(b) have a field of view too small for what" in problem.sentence
    assert compare_domains(DomainReport("a"), DomainReport("b"), is_same=False) == []


def test_a_checksum_is_of_content_not_of_files(tmp_path: Path) -> None:
    volume = Volume(grey(0), LPS, "a")
    known = content_digest(volume)
    assert len(known) == 16
    assert content_digest(replace(volume, name="b", array=volume.array.astype(">i2"))) == known
    assert content_digest(replace(volume, array=np.asfortranarray(volume.array))) == known
    moved = volume.affine.copy()
    moved[0, 3] += 1
    other = volume.array.copy()
    other[0, 0, 0] += 1
    assert content_digest(replace(volume, affine=moved)) != known
    assert content_digest(replace(volume, array=other)) != known
    assert content_digest(replace(volume, array=volume.array.astype(np.float32))) != known
