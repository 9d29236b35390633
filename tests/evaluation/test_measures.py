"""Volume, diameters and intensities of structures and outlines: by hand, by property and beside scikit-image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import napari_uda as uda
from napari_uda.core.errors import InputError
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.intensity_unit import intensity_unit
from napari_uda.data.regions import length_mm, measure_region
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.evaluation.measures import measure_structures

AFFINE = np.diag([-1.0, -2.0, 3.0, 1.0])


def test_one_voxel_and_a_box_by_hand() -> None:
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[2, 3, 4] = 1
    labels[0:2, 1:4, 2:7] = 200  # 2 x 3 x 5 voxels: 6 mm, 6 mm and 5 mm
    image = np.zeros(labels.shape)
    image[2, 3, 4] = -7
    image[0, 1:4, 2:7], image[1, 1:4, 2:7] = 10, 30
    one, box = uda.measure(Volume(labels, AFFINE), Volume(image, AFFINE), names={200: "box"})
    assert (one.name, one.voxels, one.volume_ml) == ("label 1", 1, pytest.approx(0.006))
    assert one.largest_diameter_mm == pytest.approx(np.sqrt(1 + 4 + 9))
    assert one.in_plane_diameter_mm == pytest.approx(np.sqrt(5))
    assert (one.plane, one.slice) == ("axial", 2)
    assert (one.mean, one.standard_deviation, one.unit) == (-7, 0, "grey value")
    assert (box.label, box.name, box.voxels) == (200, "box", 30)
    assert box.volume_ml == pytest.approx(30 * 6 / 1000)
    assert box.largest_diameter_mm == pytest.approx(np.sqrt(36 + 36 + 25))
    assert box.in_plane_diameter_mm == pytest.approx(np.sqrt(36 + 25))
    assert (box.mean, box.standard_deviation) == (20, 10)


def test_without_an_image_and_without_labels() -> None:
    labels = np.zeros((2, 2, 2), np.uint8)
    assert uda.measure(Volume(labels, AFFINE)) == []
    labels[0, 0, 0] = 1
    (one,) = uda.measure(Volume(labels, AFFINE))
    assert (one.mean, one.standard_deviation, one.unit) == (None, None, "")


def test_all_corners_compared_agree_with_the_hulls() -> None:
    random = np.random.default_rng(0)
    affine = np.array([[2, 0.3, 0, 0], [0, 1, 0.6, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])  # sheared
    for _ in range(5):
        mask = random.random((4, 5, 6)) > 0.8
        mask[1, 1, 1] = True
        corners = np.unique(
            [place + step for place in np.argwhere(mask) for step in np.ndindex(2, 2, 2)], axis=0
        )
        places = corners[:, ::-1] @ affine[:3, :3].T
        apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
        (found,) = measure_structures(Volume(mask.astype(np.uint8), affine))
        assert found.largest_diameter_mm == pytest.approx(apart.max())
        assert found.volume_ml == pytest.approx(mask.sum() * 6 / 1000)
        flat = 0.0
        for plane in mask:
            edges = [place + step for place in np.argwhere(plane) for step in np.ndindex(2, 2)]
            if edges:
                where = np.array(edges)[:, ::-1] @ affine[:3, :2].T
                flat = max(flat, np.linalg.norm(where[:, None] - where[None], axis=-1).max())
        assert found.in_plane_diameter_mm == pytest.approx(flat)


def test_turning_and_reordering_the_file_changes_nothing() -> None:
    labels = np.zeros((5, 9, 11), np.uint8)
    z, y, x = np.indices(labels.shape)
    labels[((z - 2) / 2) ** 2 + ((y - 4) / 4) ** 2 + ((x - 5) / 5) ** 2 <= 1] = 1
    (before,) = measure_structures(Volume(labels, AFFINE))
    (after,) = measure_structures(Volume(labels, AFFINE).canonical())
    angle = 0.4
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    (turned,) = measure_structures(Volume(labels, turn @ AFFINE))
    for one in (after, turned):
        assert one.volume_ml == pytest.approx(before.volume_ml)
        assert one.largest_diameter_mm == pytest.approx(before.largest_diameter_mm)
        assert one.in_plane_diameter_mm == pytest.approx(before.in_plane_diameter_mm)
    assert before.slice == 2  # the widest


def test_beside_scikit_image() -> None:
    measure = pytest.importorskip("skimage.measure")
    random = np.random.default_rng(1)
    labels = np.kron(random.integers(0, 4, (3, 5, 5)), np.ones((2, 4, 4))).astype(np.uint8)
    image = random.normal(50, 20, labels.shape)
    found = measure_structures(Volume(labels, np.eye(4)), Volume(image, np.eye(4)))
    for ours, theirs in zip(found, measure.regionprops(labels, image), strict=True):
        assert ours.voxels == theirs.area
        assert ours.mean == pytest.approx(theirs.intensity_mean)
        assert ours.standard_deviation == pytest.approx(image[labels == ours.label].std())
        # theirs runs through the middles of the edges, ours through the corners: less than a voxel more
        assert 0 <= ours.largest_diameter_mm - theirs.feret_diameter_max < np.sqrt(3)


def test_another_grid_is_refused() -> None:
    labels = Volume(np.ones((2, 2, 2), np.uint8), AFFINE)
    with pytest.raises(InputError):
        uda.measure(labels, Volume(np.ones((2, 2, 3)), AFFINE))


def test_files_and_the_unit_of_their_source(tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 1:3, 1:4] = 1
    for modality in ("CT", "MR"):
        folder = tmp_path / modality
        write_volume(folder / "images" / "a.nii.gz", Volume(labels * 40.0, AFFINE))
        write_volume(folder / "labels" / "a.nii.gz", Volume(labels, AFFINE))
        write_dataset_json(folder, {"liver": 1}, modality)
        (one,) = uda.measure(folder / "labels" / "a.nii.gz", folder / "images" / "a.nii.gz")
        assert (one.mean, one.unit) == (40, "HU" if modality == "CT" else "grey value")
    alone = tmp_path / "alone.nii.gz"
    write_volume(alone, Volume(labels - 1000.0, AFFINE))  # looks like a CT, and nothing says so
    assert intensity_unit(read_volume(alone)) == "grey value"


def test_what_predict_wrote_is_called_by_its_record(tmp_path: Path) -> None:
    labels = np.zeros((2, 3, 4), np.uint8)
    labels[1, 1, 1:3] = 2
    write_volume(tmp_path / "mr_1_labels.nii.gz", Volume(labels, AFFINE))
    record = {"structures": [{"value": 2, "name": "LVC", "colour": "#DA5800"}]}
    (tmp_path / "mr_1.json").write_text(json.dumps(record))
    (one,) = uda.measure(tmp_path / "mr_1_labels.nii.gz")
    assert (one.label, one.name, one.voxels) == (2, "LVC", 2)
    (own,) = uda.measure(tmp_path / "mr_1_labels.nii.gz", names={2: "cavity"})
    assert own.name == "cavity"


def test_outlines_by_hand() -> None:
    plane = np.arange(100.0).reshape(10, 10)
    corners = np.array(
        [[1.5, 2.5], [1.5, 5.5], [3.5, 5.5], [3.5, 2.5]]
    )  # rows 2 and 3, columns 3 to 5
    found = measure_region(plane, corners, "rectangle", 1.5)
    assert (found.area_mm2, found.pixels) == (9, 6)
    inside = plane[2:4, 3:6]
    assert (found.mean, found.smallest, found.largest) == (inside.mean(), 23, 35)
    assert found.standard_deviation == pytest.approx(inside.std())
    triangle = measure_region(plane, np.array([[0, 0], [0, 4.0], [4.0, 0]]), "polygon", 2.0)
    assert triangle.area_mm2 == 16
    box = np.array([[2.0, 2], [2, 8], [6, 8], [6, 2]])  # half axes 2 and 3 about (4, 5)
    ellipse = measure_region(plane, box, "ellipse", 0.5)
    assert ellipse.area_mm2 == pytest.approx(np.pi * 2 * 3 * 0.5)
    rows, columns = np.indices(plane.shape)
    mask = ((rows - 4) / 2) ** 2 + ((columns - 5) / 3) ** 2 <= 1
    assert (ellipse.pixels, ellipse.mean) == (mask.sum(), plane[mask].mean())
    nothing = measure_region(plane, corners + 50, "rectangle", 1.5)
    assert (nothing.area_mm2, nothing.pixels, nothing.mean) == (9, 0, None)


def test_a_line_is_as_long_as_the_affine_says() -> None:
    assert length_mm(AFFINE, (0, 0, 0), (3, 0, 0)) == 3
    assert length_mm(AFFINE, (0, 0, 0), (3, 2, 0)) == 5
    assert length_mm(AFFINE, (1, 1, 1), (1, 1, 5)) == 12
    turn = np.eye(4)
    turn[:2, :2] = [[0.6, -0.8], [0.8, 0.6]]
    assert length_mm(turn @ AFFINE, (0, 0, 0), (3, 2, 4)) == pytest.approx(13)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.full((2, 3, 4), 0.5), "volume: value 0.5 is not a label; give whole numbers from 0 on"),
        (np.full((2, 3, 4), np.nan), "volume: value nan is not a label"),
        (np.full((2, 3, 4), -1), "volume: value -1 is not a label"),
        (np.full((2, 3, 4), 1j), "volume: holds values of type complex128, which are no labels"),
    ],
)
def test_values_from_memory_that_are_no_labels_are_refused(
    values: np.ndarray, sentence: str
) -> None:
    with pytest.raises(InputError, match=f"^{sentence}"):
        uda.measure(Volume(values, AFFINE))
    (whole,) = uda.measure(Volume(np.full((2, 3, 4), 300.0), AFFINE))
    assert (whole.label, whole.voxels) == (300, 24)
