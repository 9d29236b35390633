"""The data check: what it reports of sound data, and one sentence for each kind of broken file."""

from __future__ import annotations

import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_uda.core.errors import Cancelled
from napari_uda.data.check import check_folder, check_folders, check_volume, is_same_folder
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import Volume, write_volume

SHAPE = (4, 6, 5)  # of the file: z, y, x
LPS = np.diag([-1.5, -2.0, 8.0, 1.0])  # x to the left, y to the back, z to the head


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, SHAPE).astype(np.int16)


def labels() -> np.ndarray:
    """12 voxels of 1, 3 of 2."""
    array = np.zeros(SHAPE, np.uint8)
    array[1, :4, :3] = 1
    array[2, 0, :3] = 2
    return array


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three sound cases."""
    root = tmp_path / "mr"
    for index in range(3):
        put(root, f"case_{index}", image(index), labels())
    write_dataset_json(root, {"MYO": 1, "LVC": 2}, "MR")
    return root


def put(
    root: Path,
    case: str,
    grey: np.ndarray,
    label: np.ndarray | None = None,
    affine: np.ndarray = LPS,
    label_affine: np.ndarray | None = None,
) -> None:
    write_volume(root / "images" / f"{case}.nii.gz", Volume(grey, affine, case))
    if label is not None:
        where = affine if label_affine is None else label_affine
        write_volume(root / "labels" / f"{case}.nii.gz", Volume(label, where, case))


def sentences(folder: Path, *, labelled: bool = True, fatal: bool) -> list[str]:
    report = check_folder(folder, labelled=labelled)
    return [problem.sentence for problem in report.problems if problem.fatal == fatal]


def test_sound_folder_is_described(folder: Path) -> None:
    report = check_folder(folder, labelled=True)
    assert (report.name, report.modality) == ("mr", "MR")
    assert (report.case_count, report.label_count) == (3, 3)
    assert report.problems == ()
    assert not report.is_fatal
    first = report.cases[0]
    assert (first.name, first.shape, first.spacing_mm) == ("case_0", (4, 6, 5), (8.0, 2.0, 1.5))
    assert first.orientation == "LPS"
    assert first.intensity_range == (image(0).min(), image(0).max())
    assert first.voxels == {0: 4 * 6 * 5 - 15, 1: 12, 2: 3}
    assert [(s.name, s.value, s.voxels, s.cases) for s in report.structures] == [
        ("MYO", 1, 36, 3),
        ("LVC", 2, 9, 3),
    ]
    assert report.orientations() == {"LPS": 3}


def test_histogram_counts_every_voxel_of_small_volumes(folder: Path) -> None:
    report = check_folder(folder, labelled=True)
    pooled = np.concatenate([image(seed).ravel() for seed in range(3)])
    assert report.histogram.sum() == pooled.size
    low, high = np.percentile(pooled, (0.1, 99.9))
    np.testing.assert_allclose(report.edges[[0, -1]], [low, high], rtol=1e-6)
    middle = (low + high) / 2
    np.testing.assert_array_equal(report.histogram[:32].sum(), (pooled < middle).sum())


def test_orientation_is_the_files_and_sizes_are_the_bodys(tmp_path: Path) -> None:
    """A coronal file: its x to the left, y to the head, z to the front."""
    coronal = np.zeros((4, 4))
    coronal[0, 0], coronal[2, 1], coronal[1, 2], coronal[3, 3] = -1, 3, 2, 1
    put(tmp_path, "a", image(), affine=coronal)
    (case,) = check_folder(tmp_path, labelled=False).cases
    assert case.orientation == "LSA"
    assert case.shape == (6, 4, 5)
    assert case.spacing_mm == (3.0, 2.0, 1.0)


def test_labels_that_training_does_not_read_are_not_opened(folder: Path) -> None:
    (folder / "labels" / "case_1.nii.gz").write_bytes(b"broken")
    report = check_folder(folder, labelled=False)
    assert report.problems == ()
    assert report.structures == ()
    assert report.label_count == 3
    assert all(case.voxels is None for case in report.cases)


def test_unreadable_files_are_named_and_the_others_read(folder: Path) -> None:
    (folder / "images" / "case_1.nii.gz").write_bytes(b"broken")
    (folder / "labels" / "case_2.nii.gz").write_bytes(b"broken")
    report = check_folder(folder, labelled=True)
    assert report.is_fatal
    assert [problem.file for problem in report.problems] == [
        "case_1.nii.gz",
        "labels/case_2.nii.gz",
    ]
    assert report.case_count == 3
    assert [case.name for case in report.cases] == ["case_0", "case_2"]
    assert report.structures[0].cases == 1


def test_folder_that_is_none_is_one_fatal_problem(tmp_path: Path) -> None:
    report = check_folder(tmp_path / "nowhere", labelled=True)
    ((problem,), cases) = report.problems, report.cases
    assert problem.fatal
    assert "there is no such folder" in problem.sentence
    assert cases == ()
    assert report.histogram.size == 0


def test_labels_off_the_grid_are_fatal(folder: Path) -> None:
    shifted = LPS.copy()
    shifted[0, 3] = 5
    put(folder, "case_1", image(1), labels(), label_affine=shifted)
    (sentence,) = sentences(folder, fatal=True)
    assert sentence.startswith("labels of case_1 do not lie on the image's grid: ")
    assert "voxels up to 5 mm apart" in sentence


def test_domain_without_labels_is_fatal_only_where_they_are_needed(tmp_path: Path) -> None:
    put(tmp_path, "a", image())
    assert sentences(tmp_path, fatal=True) == [
        f"{tmp_path.name} has no label maps; put them into its subfolder labels"
    ]
    assert sentences(tmp_path, labelled=False, fatal=True) == []


def test_cases_without_labels_are_named(folder: Path) -> None:
    put(folder, "case_9", image(9))
    assert sentences(folder, fatal=False) == [
        "1 of 4 cases have no labels and are left out: case_9"
    ]
    assert sentences(folder, fatal=True) == []


def test_background_only_is_fatal(tmp_path: Path) -> None:
    put(tmp_path, "a", image(), np.zeros(SHAPE, np.uint8))
    assert sentences(tmp_path, fatal=True) == [
        "the label maps hold background only; give label maps with structures"
    ]
    assert sentences(tmp_path, fatal=False) == [
        "a: its label map holds background only; check whether it is the right file"
    ]


def test_values_without_name_and_names_without_voxels_are_told(folder: Path) -> None:
    write_dataset_json(folder, {"MYO": 1, "RVC": 3}, "MR")
    assert sentences(folder, fatal=False) == [
        "label 2 (9 voxels in 3 cases) has no name and is taken for background; "
        "name it in dataset.json or in data.labels",
        "no case has RVC (label 3); check names and values",
    ]


def test_names_of_the_settings_replace_those_of_the_folder(folder: Path) -> None:
    report = check_folder(folder, labelled=True, names={"heart": 1, "cavity": 2})
    assert [one.name for one in report.structures] == ["heart", "cavity"]
    assert report.problems == ()


def test_labels_without_any_names_are_called_by_their_values(tmp_path: Path) -> None:
    put(tmp_path, "a", image(), labels())
    report = check_folder(tmp_path, labelled=True)
    assert [one.name for one in report.structures] == ["label_1", "label_2"]
    assert report.problems == ()


def test_odd_spacing_is_told(folder: Path) -> None:
    put(folder, "case_3", image(), labels(), affine=np.diag([-1.5, -2.0, 20.0, 1.0]))
    assert sentences(folder, fatal=False) == [
        "case_3: its voxels are 20 x 2 x 1.5 mm, those of most others 8 x 2 x 1.5 mm; check its header"
    ]


def test_constant_image_and_ct_without_air_are_told(tmp_path: Path) -> None:
    put(tmp_path, "a", np.full(SHAPE, 7, np.int16))
    write_dataset_json(tmp_path, {}, "CT")
    report = check_folder(tmp_path, labelled=False)
    assert [problem.sentence for problem in report.problems] == [
        "a: every voxel is 7; check whether the image is empty",
        "the images are said to be CT, but no value is below 7, and air has -1000 HU; "
        "check that the values are Hounsfield units",
    ]
    assert report.histogram.sum() == np.prod(SHAPE)
    put(tmp_path, "b", image() - 1000)
    assert len(check_folder(tmp_path, labelled=False).problems) == 1


def test_progress_counts_cases_and_stop_ends_the_check(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_folder(folder, labelled=True, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    stop = threading.Event()

    def stop_after_one(done: int, total: int) -> None:
        seen.append((done, total))
        stop.set()

    seen.clear()
    with pytest.raises(Cancelled):
        check_folder(folder, labelled=True, on_progress=stop_after_one, stop=stop)
    assert seen == [(1, 3)]


def test_volumes_in_memory_are_checked_the_same_way(folder: Path) -> None:
    grey, label = Volume(image(), LPS, "layer"), Volume(labels(), LPS, "layer")
    report = check_volume(grey, label, names={"MYO": 1, "LVC": 2}, modality="MR")
    assert (report.name, report.case_count, report.label_count) == ("layer", 1, 1)
    assert [(s.name, s.voxels) for s in report.structures] == [("MYO", 12), ("LVC", 3)]
    assert report.problems == ()
    moved = Volume(labels(), np.diag([-1.5, -2.0, 7.0, 1.0]), "layer")
    assert check_volume(grey, moved, names={"MYO": 1, "LVC": 2}).is_fatal
    torn = Volume(np.where(image() > 98, np.nan, image()), LPS, "layer")
    report = check_volume(torn, None, names={})
    assert [problem.sentence for problem in report.problems] == [
        "layer: some of its voxels are NaN or infinite; replace them"
    ]
    assert report.is_fatal


def test_one_folder_for_both_domains_is_told(folder: Path, tmp_path: Path) -> None:
    again = folder.parent / "." / folder.name
    assert is_same_folder(folder, again)
    assert not is_same_folder(folder, tmp_path)
    assert not is_same_folder(folder, tmp_path / "missing")
    (problem,) = check_folders(folder, again)["target"].problems
    assert not problem.fatal
    assert "source and target are the same images" in problem.sentence


def test_what_reading_warns_of_is_a_finding(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), None)
    image.header["pixdim"][1:4] = 1, 1, 2
    image.header["sform_code"] = image.header["qform_code"] = 0
    (tmp_path / "images").mkdir()
    nib.save(image, tmp_path / "images" / "a.nii.gz")
    (tmp_path / "labels").mkdir()
    nib.save(image, tmp_path / "labels" / "a.nii.gz")
    report = check_folder(tmp_path, labelled=True, names={})
    guesses = [one for one in report.problems if "its orientation is a guess" in one.sentence]
    assert [one.file for one in guesses] == ["a.nii.gz", "labels/a.nii.gz"]
    assert not any(one.fatal for one in guesses)
