"""Scores on a grid whose axes are not at right angles: a gantry tilted by 25 degrees."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_uda.data.grid import Lattice
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.volume import Volume, write_volume
from napari_uda.evaluation import evaluate, evaluate_folders, evaluate_slice
from napari_uda.evaluation.calibration import calibrate_structures
from napari_uda.evaluation.surface import border, within

TILT = math.radians(25)
DX, DY, H = 0.7, 0.8, 3.0
SHIFT = H * math.tan(TILT)


def affine() -> np.ndarray:
    matrix = np.diag([DX, DY, H, 1.0])
    matrix[1, 2] = SHIFT
    return matrix


def places(mask: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Millimetres of the voxels of a mask."""
    return np.argwhere(mask)[:, ::-1] @ grid[:3, :3].T


def brute_force(a: np.ndarray, b: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every border voxel to the nearest of the other mask, all pairs tried."""
    ours, theirs = places(border(a), grid), places(border(b), grid)
    pairs = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    return pairs.min(1), pairs.min(0)


def blobs(shape=(9, 24, 22)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    fields = ndimage.gaussian_filter(random.standard_normal((2, *shape)), (0, 1.5, 2, 2))
    fields[1] += 1.5 * fields[0]
    return fields[0] > 0.02, fields[1] > 0.02


def test_two_voxels_by_hand() -> None:
    """One voxel each, one slice and one row apart: (z, y) steps of (3, 1.399) and 0.8 mm."""
    prediction, reference = np.zeros((2, 5, 6, 6), np.uint8)
    prediction[2, 2, 2] = 1
    reference[3, 1, 2] = 1
    (row,) = evaluate(Volume(prediction, affine()), Volume(reference, affine())).rows
    true = math.hypot(H, SHIFT - DY)
    assert true == pytest.approx(3.0593, abs=1e-4)  # by the sides alone it would be 3.4052
    for column in ("assd_mm", "masd_mm", "hd95_mm"):
        assert row[column] == pytest.approx(true, rel=1e-12)
    assert row["assd_voxel"] == pytest.approx(math.sqrt(2))
    assert row["volume_prediction_ml"] == pytest.approx(DX * DY * H / 1000, rel=1e-12)
    assert row["volume_reference_ml"] == pytest.approx(DX * DY * H / 1000, rel=1e-12)


@pytest.mark.parametrize("shape", [(9, 24, 22), (24, 60, 56)], ids=["tree", "near offsets"])
def test_distances_are_those_of_all_pairs(shape) -> None:
    a, b = blobs(shape)
    (row,) = evaluate(Volume(a, affine()), Volume(b, affine())).rows
    if shape[0] > 9:  # all pairs of the large one would not fit into memory: distances to a tree
        ours, theirs = places(border(a), affine()), places(border(b), affine())
        forward, backward = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
        assert len(ours) > 2000
    else:
        forward, backward = brute_force(a, b, affine())
    both = np.concatenate((forward, backward))
    assert row["assd_mm"] == pytest.approx(both.mean(), rel=1e-9)
    assert row["masd_mm"] == pytest.approx((forward.mean() + backward.mean()) / 2, rel=1e-9)
    assert row["hd95_mm"] == pytest.approx(np.percentile(both, 95), rel=1e-9)
    assert row["nsd"] == pytest.approx((both <= 2 * (1 + 1e-9)).mean(), rel=1e-9)
    straight = evaluate(a, b, spacing_mm=(H / math.cos(TILT), DY, DX)).rows[0]
    assert straight["assd_mm"] != pytest.approx(row["assd_mm"], rel=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_have_their_own_areas_and_distances(axis) -> None:
    a, b = blobs()
    scores = evaluate(Volume(a, affine()), Volume(b, affine()), axes=("zyx"[axis],))
    area = (DX * DY, DX * H / math.cos(TILT), DY * H)[axis]
    index = a.shape[axis] // 2
    row = next(row for row in scores.slices if row["slice"] == index)
    ours, theirs = (np.take(mask, [index], axis) for mask in (a, b))
    assert row["area_prediction_mm2"] == pytest.approx(ours.sum() * area, rel=1e-12)
    assert row["area_reference_mm2"] == pytest.approx(theirs.sum() * area, rel=1e-12)
    outlines = [border(mask, slice_axis=axis) for mask in (ours, theirs)]
    points = [places(mask, affine()) for mask in outlines]
    pairs = np.linalg.norm(points[0][:, None] - points[1][None], axis=2)
    assert row["assd_mm"] == pytest.approx(
        np.concatenate((pairs.min(1), pairs.min(0))).mean(), rel=1e-9
    )
    single = evaluate_slice(
        Volume(a, affine()), Volume(b, affine()), "zyx"[axis], index, names={1: "label_1"}
    )
    assert single[0]["assd_mm"] == pytest.approx(row["assd_mm"], rel=1e-12)
    assert single[0]["area_prediction_mm2"] == row["area_prediction_mm2"]
    # a volume is the sum of its slices' areas times their distance
    total = sum(row["area_prediction_mm2"] for row in scores.slices)
    gap = (H, DY * math.cos(TILT), DX)[axis]
    assert total * gap / 1000 == pytest.approx(scores.rows[0]["volume_prediction_ml"], rel=1e-9)


def test_a_missed_structure_costs_the_true_diagonal() -> None:
    prediction, reference = np.zeros((2, 4, 10, 10), np.uint8)
    reference[1, 2, 3] = 1
    (row,) = evaluate(
        Volume(prediction, affine()), Volume(reference, affine()), protocol="recommended"
    ).rows
    longest = math.sqrt((10 * DX) ** 2 + (10 * DY + 4 * SHIFT) ** 2 + (4 * H) ** 2)
    if not math.isnan(row["hd95_mm"]):
        assert row["hd95_mm"] == pytest.approx(longest, rel=1e-12)
    assert Lattice.of(affine()).diagonal_mm((4, 10, 10)) == pytest.approx(longest, rel=1e-12)


def test_a_band_around_borders_is_measured_in_millimetres() -> None:
    a, _ = blobs()
    reach = 3.2
    found = within(border(a), reach, Lattice.of(affine()))
    everywhere = places(np.ones(a.shape, bool), affine())
    edge = places(border(a), affine())
    nearest = np.array([np.linalg.norm(edge - place, axis=1).min() for place in everywhere])
    np.testing.assert_array_equal(found.ravel(), nearest <= reach * (1 + 1e-9))
    assert not np.array_equal(found, within(border(a), reach, (H / math.cos(TILT), DY, DX)))


def test_calibration_counts_the_voxels_of_that_band() -> None:
    """A lone voxel: the band holds exactly the voxels within 5 mm of it, also beyond ceil(5 / side)."""
    labels, empty = np.zeros((2, 9, 31, 31), np.uint8)
    labels[4, 15, 15] = 1
    entropy = np.full(labels.shape, 0.5, np.float32)
    (_, own) = calibrate_structures(labels, empty, entropy, Lattice.of(affine()), {1: "a"})
    everywhere = places(np.ones(labels.shape, bool), affine())
    here = places(labels > 0, affine())[0]
    expected = (np.linalg.norm(everywhere - here, axis=1) <= 5.0 * (1 + 1e-9)).sum()
    band = next(value for value in vars(own).values() if hasattr(value, "voxels"))
    assert band.voxels == expected


def test_folders_of_sheared_files(tmp_path) -> None:
    a, b = (mask.astype(np.uint8) for mask in blobs())
    write_volume(tmp_path / "predictions" / "p_labels.nii.gz", Volume(a, affine()))
    write_volume(tmp_path / "labels" / "p.nii.gz", Volume(b, affine()))
    scores = evaluate_folders(tmp_path / "predictions", tmp_path / "labels")
    expected = int(a.sum()) * DX * DY * H / 1000
    assert scores.rows[0]["volume_prediction_ml"] == pytest.approx(expected, rel=1e-6)


def test_predicted_volumes_use_the_determinant() -> None:
    from napari_uda.inference.predict import Prediction

    labels = blobs()[0].astype(np.uint8)
    empty = np.zeros(labels.shape, np.float32)
    prediction = Prediction(
        labels, empty, labels, {1: "liver"}, Volume(labels, affine()), "case", ModelOrigin("run")
    )
    expected = int(labels.sum()) * DX * DY * H / 1000
    assert prediction.volumes_ml() == {"liver": pytest.approx(expected, rel=1e-12)}
    same = SimpleNamespace(**vars(prediction))
    scores = evaluate(same, Volume(labels, affine()))
    assert scores.rows[0]["volume_prediction_ml"] == pytest.approx(expected, rel=1e-12)
