"""Calibration: by hand, against MONAI, and at its edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_uda.core.errors import InputError
from napari_uda.evaluation.calibration import (
    StructureCalibration,
    calibrate,
    calibrate_structures,
    error_auroc,
    joined,
)


def test_bins_by_hand() -> None:
    """Two bins: 0.2, 0.4 (one of two right), 0.5, 0.9, 1.0 (two of three right)."""
    confidence = np.array([0.2, 0.4, 0.5, 0.9, 1.0])
    wrong = np.array([True, False, False, True, False])
    found = calibrate(confidence, wrong, bins=2)
    assert (found.voxels, found.errors) == (5, 2)
    assert found.width.counts.tolist() == [2, 3]  # 0.5 belongs to the bin it starts
    np.testing.assert_allclose(found.width.confidence, [0.3, 0.8])
    np.testing.assert_allclose(found.width.accuracy, [1 / 2, 2 / 3])
    np.testing.assert_allclose(found.width.ece(), 2 / 5 * 0.2 + 3 / 5 * (0.8 - 2 / 3))
    np.testing.assert_allclose(found.width.ace(), (0.2 + 0.8 - 2 / 3) / 2)
    np.testing.assert_allclose(found.width.mce(), 0.2)
    # right: 0.4, 0.5, 1.0; wrong: 0.2 is below all three, 0.9 below one of them
    assert found.auroc == pytest.approx(4 / 6)


def test_diagrams_of_cases_are_joined_as_if_they_were_one() -> None:
    """The second bin is empty in one case, the third in both."""
    confidence, wrong = np.array([0.1, 0.2, 0.5, 0.3, 0.25]), np.array([1, 0, 1, 0, 0], bool)
    parts = [
        calibrate(confidence[part], wrong[part], bins=3).width for part in (slice(3), slice(3, 5))
    ]
    found, whole = joined(parts), calibrate(confidence, wrong, bins=3).width
    assert found.counts.tolist() == whole.counts.tolist() == [4, 1, 0]
    np.testing.assert_allclose(found.confidence, whole.confidence)
    np.testing.assert_allclose(found.accuracy, whole.accuracy)
    np.testing.assert_allclose(found.ece(), whole.ece())


def test_bins_of_equal_mass_hold_as_many_voxels_each() -> None:
    confidence = np.linspace(0, 1, 31) ** 4
    found = calibrate(confidence, np.zeros(31, bool), bins=3).mass
    assert found.counts.tolist() == [10, 10, 11]
    np.testing.assert_allclose(found.edges, [0, (1 / 3) ** 4, (2 / 3) ** 4, 1])
    np.testing.assert_allclose(found.accuracy, 1)


def test_ties_stay_in_one_bin() -> None:
    found = calibrate(np.full(10, 0.75), np.arange(10) < 4, bins=5)
    assert sorted(found.mass.counts.tolist()) == [0, 0, 0, 0, 10]
    assert found.mass.ece() == pytest.approx(0.15)
    assert found.auroc == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(3))
def test_ece_and_auroc_agree_with_monai(seed: int) -> None:
    from monai.metrics.calibration import calibration_binning
    from monai.metrics.rocauc import compute_roc_auc

    random = np.random.default_rng(seed)
    confidence = random.integers(0, 98, 400).astype(np.float32) / 97  # many ties, none at an edge
    wrong = random.random(400) > confidence
    found = calibrate(confidence, wrong)
    mean, accuracy, counts = calibration_binning(
        torch.from_numpy(confidence)[None, None],
        torch.from_numpy(~wrong)[None, None].float(),
        num_bins=15,
    )
    assert found.width.counts.tolist() == counts[0, 0].int().tolist()
    np.testing.assert_allclose(found.width.confidence, mean[0, 0], rtol=1e-5)
    np.testing.assert_allclose(found.width.accuracy, accuracy[0, 0], rtol=1e-5)
    expected = compute_roc_auc(torch.from_numpy(1 - confidence), torch.from_numpy(wrong).int())
    assert found.auroc == pytest.approx(float(expected))
    assert error_auroc(1 - confidence, wrong) == pytest.approx(float(expected))


def test_auroc_of_perfect_and_inverted_entropy() -> None:
    wrong = np.array([[True, False], [False, False]])
    assert error_auroc(wrong.astype(float), wrong) == 1
    assert error_auroc(1 - wrong.astype(float), wrong) == 0
    assert np.isnan(error_auroc(np.ones((2, 2)), np.zeros((2, 2), bool)))
    assert np.isnan(error_auroc(np.ones((2, 2)), np.ones((2, 2), bool)))


def test_nothing_to_calibrate() -> None:
    found = calibrate(np.zeros(0), np.zeros(0, bool))
    assert found.voxels == 0
    assert np.isnan([found.width.ece(), found.mass.ace(), found.width.mce(), found.auroc]).all()


def _structures() -> list[StructureCalibration]:
    """A cube of 6 voxels' side, one slice of it missed; entropy 0.5 where it was missed."""
    reference = np.zeros((20, 30, 30), np.uint8)
    reference[7:13, 12:18, 12:18] = 2
    prediction = reference.copy()
    prediction[7] = 0
    entropy = np.where(prediction != reference, 0.5, 0.0).astype(np.float32)
    return calibrate_structures(
        prediction, reference, entropy, (2.0, 1.0, 1.0), {2: "LVC"}, band_mm=2.0
    )


def test_structures_on_a_phantom() -> None:
    everything, cube = _structures()
    assert [(one.label, one.name) for one in (everything, cube)] == [(0, "all"), (2, "LVC")]
    for one in (everything, cube):
        assert (one.whole.voxels, one.whole.errors) == (20 * 30 * 30, 36)
        assert one.whole.auroc == 1
        # the 36 missed voxels are half certain and never right; all others certain and right
        assert one.whole.width.ece() == pytest.approx(36 * 0.5 / 18000)
        assert one.whole.width.mce() == pytest.approx(0.5)
        assert one.band.errors == 36


def test_band_reaches_two_millimetres() -> None:
    """One slice (2 mm) above and below, two voxels sideways, and the cube but its core."""
    *_, cube = _structures()
    reference = np.zeros((20, 30, 30), bool)
    reference[7:13, 12:18, 12:18] = True
    points = np.argwhere(reference) * [2, 1, 1]
    every = np.argwhere(np.ones_like(reference)) * [2, 1, 1]
    surface = points[
        ((points[:, 0] == 14) | (points[:, 0] == 16) | (points[:, 0] == 24))
        | np.isin(points[:, 1], (12, 17))
        | np.isin(points[:, 2], (12, 17))
    ]  # 16: the top slice of the prediction
    distance = np.sqrt(((every[:, None] - surface[None]) ** 2).sum(-1)).min(1)
    assert cube.band.voxels == int((distance <= 2).sum())


def test_structure_that_is_nowhere() -> None:
    empty = np.zeros((2, 3, 3), np.uint8)
    everything, one = calibrate_structures(
        empty, empty, np.zeros((2, 3, 3)), (1.0, 1.0, 1.0), {1: "MYO"}
    )
    assert (one.band.voxels, one.whole.voxels, one.whole.errors) == (0, 18, 0)
    assert everything.whole.width.ece() == 0


def test_input_is_checked() -> None:
    labels = np.zeros((1, 2, 2), np.uint8)
    with pytest.raises(InputError, match="reaches from 0 to 3"):
        calibrate_structures(labels, labels, np.full((1, 2, 2), 3.0), (1, 1, 1), {})
    with pytest.raises(InputError, match="differ in shape"):
        calibrate_structures(labels, labels, np.zeros((1, 2, 3)), (1, 1, 1), {})
    with pytest.raises(InputError, match="between 0 and 1"):
        calibrate(np.array([1.5]), np.array([True]))
    with pytest.raises(InputError, match="one value of each per voxel"):
        calibrate(np.zeros(3), np.zeros(2, bool))
