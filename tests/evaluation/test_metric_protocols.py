"""Protocols: their rules as data, the empty policy, and that a total miss never pays."""

from __future__ import annotations

import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.evaluation import PROTOCOLS, Protocol, Scores, evaluate
from napari_uda.evaluation.protocols import METRICS, get_protocol
from napari_uda.evaluation.surface import surface_distances

SPACING = (2.0, 0.5, 1.0)
SHAPE = (6, 8, 10)
DIAGONAL_MM = float(np.hypot.reduce(np.multiply(SHAPE, SPACING)))
DIAGONAL_VOXEL = float(np.hypot.reduce(SHAPE))
DISTANCES = METRICS[1:4] + METRICS[5:]


@pytest.fixture
def four_states():
    """Label 1 in both, 2 missed, 3 invented, 4 absent."""
    prediction, reference = np.zeros((2, *SHAPE), np.uint8)
    prediction[1:4, 2:5, 2:6] = reference[1:4, 2:5, 3:7] = 1
    reference[5, 6] = 2
    prediction[0, 0] = 3
    names = {0: "background", 1: "MYO", 2: "LAC", 3: "LVC", 4: "AA"}
    return prediction, reference, names


def rows(four_states, protocol):
    prediction, reference, names = four_states
    scores = evaluate(prediction, reference, spacing_mm=SPACING, names=names, protocol=protocol)
    return {row["name"]: row for row in scores.rows}


def test_states(four_states):
    found = rows(four_states, "recommended")
    assert {name: row["state"] for name, row in found.items()} == {
        "MYO": "both",
        "LAC": "missed",
        "LVC": "invented",
        "AA": "absent",
    }
    assert found["LAC"]["volume_reference_ml"] == 10 / 1000
    assert found["LAC"]["volume_prediction_ml"] == 0


def test_diagonal_policy(four_states):
    found = rows(four_states, "recommended")
    for name in ("LAC", "LVC"):
        row = found[name]
        assert (row["dice"], row["nsd"]) == (0, 0)
        for column in DISTANCES:
            expected = DIAGONAL_MM if column.endswith("_mm") else DIAGONAL_VOXEL
            assert row[column] == pytest.approx(expected)
    assert np.isnan([found["AA"][column] for column in METRICS]).all()


def test_one_voxel_policy(four_states):
    found = rows(four_states, "se_asa")
    assert [found["LAC"][column] for column in METRICS[5:]] == [1, 1, 1]
    assert found["LAC"]["assd_mm"] == pytest.approx(DIAGONAL_MM)
    assert PROTOCOLS["se_asa"].rewards_missing
    assert "REWARDS A TOTAL MISS" in PROTOCOLS["se_asa"].describe()


def test_nan_policy(four_states):
    found = rows(four_states, "sfda")
    assert np.isnan([found["LAC"][column] for column in DISTANCES]).all()
    assert found["LAC"]["dice"] == pytest.approx(0, abs=1e-8)
    assert found["AA"]["dice"] == 1


def test_sifa_is_the_mean_of_directed_means_in_voxels(four_states):
    prediction, reference, _ = four_states
    found = surface_distances(prediction == 1, reference == 1, (1.0, 1.0, 1.0))
    expected = (found.forward.mean() + found.backward.mean()) / 2
    assert rows(four_states, "sifa")["MYO"]["masd_voxel"] == pytest.approx(expected, abs=1e-12)
    assert PROTOCOLS["sifa"].ddof == 0


def test_attent_slice_by_hand():
    """Three slices of 1 x 4 pixels: shifted by one, missed, absent in both."""
    prediction, reference = np.zeros((2, 3, 1, 4), np.uint8)
    prediction[0, 0, :2] = 1  # pixels 0 1 against 1 2 3: directed (1 + 0) / 2 pixels
    reference[0, 0, 1:] = 1
    reference[1, 0, 0] = 1
    scores = evaluate(
        prediction, reference, spacing_mm=(5.0, 1.0, 2.0), protocol="attent_slice", case="a"
    )
    (row,) = scores.rows
    eps = 1e-5
    dices = [(2 + eps) / (5 + eps), eps / (1 + eps), 1.0]
    assert row["dice"] == pytest.approx(np.mean(dices), abs=1e-12)
    assert row["assd_voxel"] == pytest.approx(0.5)
    assert row["assd_mm"] == pytest.approx(1.0)
    assert row["state"] == "both"
    # MASD: back from 1 2 3 to 0 1 is (0 + 1 + 2) / 3, so (0.5 + 1) / 2
    assert row["masd_voxel"] == pytest.approx(0.75)
    assert row["nsd"] == pytest.approx(
        np.mean([4 / 5, 0])
    )  # within 2 mm; the missed slice counts 0
    (structure, _) = scores.summary()
    assert structure["dice"]["n"] == 3
    assert structure["dice"]["sd"] == pytest.approx(np.std(dices))
    assert structure["assd_voxel"]["n"] == 1


def test_attent_slice_averages_over_the_slices_of_all_cases():
    """One slice with Dice 1 and three with Dice 0 are a quarter, not a half."""
    right = np.ones((1, 2, 2), np.uint8)
    wrong = np.ones((3, 2, 2), np.uint8)
    parts = [
        evaluate(right, right, spacing_mm=SPACING, protocol="attent-slice", case="a"),
        evaluate(0 * wrong, wrong, spacing_mm=SPACING, protocol="attent-slice", case="b"),
    ]
    structure, _ = Scores.join(parts).summary()
    assert structure["dice"]["mean"] == pytest.approx(0.25, abs=1e-5)


def test_tolerance_per_structure():
    prediction, reference = np.zeros((2, 1, 1, 12), np.uint8)
    prediction[0, 0, [0, 6]] = reference[0, 0, [3, 9]] = (1, 2)  # three apart
    rules = Protocol(
        name="own", purpose="Test.", nsd_tolerance_mm=2.9, nsd_tolerances_mm={"AA": 3.0}
    )
    scores = evaluate(
        prediction, reference, spacing_mm=(1, 1, 1), names={1: "AA", 2: "MYO"}, protocol=rules
    )
    assert [row["nsd"] for row in scores.rows] == [1, 0]
    assert "2.9 mm, AA 3 mm" in rules.definitions()["nsd"]


def test_hd95_max_and_connectivity_are_options():
    rng = np.random.default_rng(0)
    prediction, reference = rng.integers(0, 2, (2, 6, 6, 6)).astype(np.uint8)
    rules = PROTOCOLS["recommended"].model_copy(update={"hd95_rule": "max", "connectivity": 3})
    (row,) = evaluate(prediction, reference, spacing_mm=SPACING, protocol=rules).rows
    expected = surface_distances(prediction > 0, reference > 0, SPACING, connectivity=3)
    assert row["hd95_mm"] == expected.hd95("max")
    assert "corner" in rules.describe()


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@pytest.mark.parametrize("seed", range(15))
def test_a_total_miss_never_improves_a_mean(protocol, seed):
    """Blank one structure in one case: no mean gets better, save under rules that say so."""
    rules = PROTOCOLS[protocol]
    rng = np.random.default_rng(seed)
    cases = rng.integers(0, 3, (3, 2, 4, 5, 6)).astype(np.uint8)
    cases[:, 1] |= 1
    before = cohort(cases, rules)
    cases[1, 0][cases[1, 0] == 1] = 0
    after = cohort(cases, rules)
    improved = []
    for old, new in zip(before.summary(), after.summary(), strict=True):
        for column in METRICS:
            sign = 1 if column in ("dice", "nsd") else -1
            if sign * (new[column]["mean"] - old[column]["mean"]) > 1e-12:
                improved.append(column)
        assert new["n_missing"] >= old["n_missing"]
    assert after.summary()[0]["n_missing"] == 1
    if not rules.rewards_missing:
        assert improved == []
        assert after.summary()[0]["assd_mm"]["n"] == 3


def cohort(cases, rules):
    return Scores.join(
        [
            evaluate(*pair, spacing_mm=SPACING, names={1: "a", 2: "b"}, protocol=rules, case=str(i))
            for i, pair in enumerate(cases)
        ]
    )


def test_which_protocols_can_reward_a_miss():
    rewarding = {name for name, rules in PROTOCOLS.items() if rules.rewards_missing}
    assert rewarding == {"se_asa", "sfda", "attent_slice"}


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_says_its_rules(name):
    rules = PROTOCOLS[name]
    words = rules.describe()
    assert rules.purpose in words
    assert f"ddof {rules.ddof}" in words
    assert rules.empty_policy in words
    assert set(rules.definitions()) == set(METRICS)
    assert set(rules.headline) <= set(METRICS)
    assert Protocol(**rules.model_dump(mode="json")) == rules


def test_unknown_protocol():
    with pytest.raises(InputError, match=r"unknown protocol 'sifar'; did you mean sifa\?"):
        get_protocol("sifar")
    assert get_protocol("attent-slice") is PROTOCOLS["attent_slice"]
