"""Whether two volumes lie on one grid: 1 % of a voxel, and axes stored in another order."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from tiny_cases import all_orientations, reoriented, small_config

import napari_uda
from napari_uda.core.errors import InputError
from napari_uda.data.check import check_volume
from napari_uda.data.same_grid import on_grid_of
from napari_uda.data.volume import Volume, read_labels, write_volume
from napari_uda.evaluation import evaluate, evaluate_folders
from napari_uda.methods.registry import METHODS
from napari_uda.training.findings import tell
from napari_uda.training.load import load_training_data

SHAPE = (4, 5, 6)
AFFINE = np.diag([-0.75, -1.5, 4.0, 1.0])
AFFINE[:3, 3] = 12, 34, -56


def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)


def oblique() -> np.ndarray:
    """Turned by 45 degrees, where no order of axes is the closest one."""
    turn = np.eye(4)
    turn[:2, :2] = np.sqrt(0.5) * np.array([[1, -1], [1, 1]])
    return turn @ AFFINE


def shifted(mm: Sequence[float]) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += mm
    return affine


@pytest.mark.parametrize(("order", "flips"), all_orientations())
@pytest.mark.parametrize("affine", [AFFINE, oblique()], ids=["straight", "45 degrees"])
def test_the_same_voxels_in_any_order_are_put_in_order(order, flips, affine) -> None:
    image = Volume(np.zeros(SHAPE, np.int16), affine, "image")
    stored = reoriented(Volume(labels(), affine, "labels"), order, flips)
    said: list[str] = []
    found = on_grid_of(stored, image, said.append)
    np.testing.assert_array_equal(found.array, labels())
    np.testing.assert_array_equal(found.affine, image.affine)
    assert found.name == "labels"
    assert said == []


def test_a_flip_without_its_affine_is_another_grid() -> None:
    """LAS against RAS with the same origin: the mirror image, not the same voxels."""
    image = Volume(np.zeros(SHAPE), AFFINE, "image")
    mirrored = Volume(labels(), AFFINE @ np.diag([-1, 1, 1, 1.0]), "labels")
    with pytest.raises(
        InputError, match=r"^image and labels lie on different grids: .*axes LPS against RPS"
    ):
        on_grid_of(mirrored, image)


@pytest.mark.parametrize(
    ("mm", "said"),
    [
        ((0, 0, 0), ""),
        ((0.0009, 0, 0), ""),
        ((0, 0.005, 0), "up to 0.005 mm apart, 0.7% of a voxel"),
        ((0, 0, -0.0074), "up to 0.0074 mm apart, 1.0% of a voxel"),
    ],
)
def test_a_hundredth_of_the_smallest_side_is_let_pass_with_a_warning(mm, said) -> None:
    """The smallest side is 0.75 mm: 0.0075 mm is the limit."""
    image = Volume(np.zeros(SHAPE), AFFINE, "image")
    heard: list[str] = []
    found = on_grid_of(Volume(labels(), shifted(mm), "labels"), image, heard.append)
    np.testing.assert_array_equal(found.affine, AFFINE)
    assert len(heard) == bool(said)
    assert all(said in sentence for sentence in heard)
    if heard:
        assert heard[0].startswith("image and labels lie up to ")
        assert heard[0].endswith("; they are taken to lie on one grid")


def test_more_than_that_is_refused_with_the_distance() -> None:
    image = Volume(np.zeros(SHAPE), AFFINE, "image")
    with pytest.raises(InputError, match=r"voxels up to 0\.0076 mm apart; resample one onto"):
        on_grid_of(Volume(labels(), shifted((0.0076, 0, 0)), "labels"), image)
    with pytest.raises(InputError, match=r"shape \(z, y, x\) \(4, 5, 6\) against \(4, 5, 5\)"):
        on_grid_of(Volume(labels()[..., 1:], AFFINE, "labels"), image)


def test_tiny_voxels_are_held_to_a_hundredth_too() -> None:
    affine = np.diag([0.05, 0.05, 0.05, 1.0])
    image = Volume(np.zeros(SHAPE), affine, "image")
    moved = affine.copy()
    moved[0, 3] = 0.0006  # 1.2 % of a voxel, though less than a micrometre
    with pytest.raises(InputError, match=r"voxels up to 0\.0006 mm apart"):
        on_grid_of(Volume(labels(), moved, "labels"), image)


def test_a_flipped_grid_that_is_off_is_told_in_the_order_of_the_other() -> None:
    image = Volume(np.zeros(SHAPE), AFFINE, "image")
    moved = reoriented(
        Volume(labels(), shifted((0, 0, 2)), "labels"), (2, 0, 1), (True, False, True)
    )
    with pytest.raises(InputError) as caught:
        on_grid_of(moved, image)
    assert "voxels up to 2 mm apart" in str(caught.value)
    assert "origin (12, 34, -56) against (12, 34, -54) mm, axes LPS against " in str(caught.value)


# every door


def lps_and_ras(folder: Path) -> tuple[Path, Path]:
    """One label map as ITK-SNAP writes it (LPS) and as nibabel makes it (RAS), by other libraries."""
    folder.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(labels())
    image.SetSpacing((0.75, 1.5, 4.0))
    image.SetOrigin((-12, -34, -56))
    sitk.WriteImage(image, str(folder / "lps.nii.gz"))
    ras = nib.as_closest_canonical(nib.load(folder / "lps.nii.gz"))
    nib.save(ras, folder / "ras.nii.gz")
    assert nib.aff2axcodes(ras.affine) == ("R", "A", "S")
    assert nib.aff2axcodes(nib.load(folder / "lps.nii.gz").affine) == ("L", "P", "S")
    return folder / "lps.nii.gz", folder / "ras.nii.gz"


def test_scores_of_a_flipped_reference_are_perfect(tmp_path: Path) -> None:
    lps, ras = lps_and_ras(tmp_path)
    for first, second in itertools.permutations((lps, ras)):
        scores = evaluate(first, second)
        assert [row["dice"] for row in scores.rows] == [1.0, 1.0, 1.0]
        assert {row["assd_mm"] for row in scores.rows} == {0.0}


def test_folders_with_flipped_references_and_an_entropy_map(tmp_path: Path) -> None:
    lps, ras = lps_and_ras(tmp_path / "made")
    (tmp_path / "predictions").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "predictions" / "a_labels.nii.gz").write_bytes(lps.read_bytes())
    (tmp_path / "labels" / "a.nii.gz").write_bytes(ras.read_bytes())
    segmented = read_labels(lps)
    entropy = np.where(segmented.array == 1, 0.5, 0.0).astype(np.float32)
    turned = reoriented(segmented.with_array(entropy), (0, 1, 2), (False, True, True))
    write_volume(tmp_path / "predictions" / "a_entropy.nii.gz", turned)
    scores = evaluate_folders(tmp_path / "predictions", tmp_path / "labels")
    assert [row["dice"] for row in scores.rows] == [1.0, 1.0, 1.0]
    means = [row["mean_entropy"] for row in scores.slices if row["label"] == 1]
    assert set(means) == {0.5}
    assert {row["mean_entropy"] for row in scores.slices if row["label"] == 2} == {0.0}


def test_a_nudged_reference_is_scored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scores = evaluate(
        Volume(labels(), AFFINE, "a"), Volume(labels(), shifted((0.005, 0, 0)), "b"), case="a"
    )
    assert [row["dice"] for row in scores.rows] == [1.0, 1.0, 1.0]
    assert "a and b lie up to 0.005 mm apart, 0.7% of a voxel" in caplog.text


def test_the_data_check_warns_of_near_grids_and_refuses_far_ones() -> None:
    image = Volume(np.arange(120).reshape(SHAPE).astype(np.int16), AFFINE, "a")
    turned = reoriented(Volume(labels(), AFFINE, "a"), (1, 2, 0), (True, False, False))
    assert check_volume(image, turned, names={}).problems == ()
    near = check_volume(image, Volume(labels(), shifted((0.005, 0, 0))), names={}).problems
    assert [problem.fatal for problem in near] == [False]
    assert "0.7% of a voxel" in near[0].sentence
    far = check_volume(image, Volume(labels(), shifted((0.5, 0, 0))), names={})
    assert far.is_fatal


def test_training_reads_labels_stored_in_another_order(
    two_domains: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = two_domains
    shutil.copytree(source, tmp_path / "source")
    for file in (tmp_path / "source" / "labels").iterdir():
        write_volume(file, reoriented(read_labels(file), (0, 1, 2), (False, True, True)))
    stores = []
    for folder in (source, tmp_path / "source"):
        config = small_config("source_only", folder, target)
        data = load_training_data(config, METHODS["source_only"], cache=tmp_path / "cache")
        assert data.source is not None
        stores.append(data.source.labels)
    np.testing.assert_array_equal(stores[0], stores[1])
    assert "apart" not in caplog.text
    for file in (tmp_path / "source" / "labels").iterdir():
        volume = read_labels(file)
        write_volume(file, Volume(volume.array, volume.affine + np.diag([0, 0, 0.002, 0])))
    warn = partial(tell, findings="warn")
    load_training_data(config, METHODS["source_only"], cache=tmp_path / "cache", on_checked=warn)
    assert "of a voxel; they are taken to lie on one grid" in caplog.text
    for file in (tmp_path / "source" / "labels").iterdir():
        volume = read_labels(file)
        write_volume(file, Volume(volume.array, volume.affine + np.diag([0, 0, 0.5, 0])))
    with pytest.raises(InputError, match=r"do not lie on the image's grid: .* mm apart"):
        load_training_data(config, METHODS["source_only"], cache=tmp_path / "cache")


def test_no_other_door_decides_for_itself() -> None:
    """Whoever has two volumes asks `on_grid_of`; the sentence alone would miss axes in another order."""
    package = Path(napari_uda.__file__).parent
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "describe_grid_difference" in path.read_text(encoding="utf-8")
    }
    assert users == {"data/volume.py", "data/same_grid.py"}
