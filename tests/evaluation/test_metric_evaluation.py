"""Scores that follow edits: exactly those of scoring anew."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.evaluation.evaluation import Evaluation, changed_box
from napari_uda.evaluation.inputs import Pair
from napari_uda.evaluation.protocols import PROTOCOLS
from napari_uda.evaluation.scores import Scores

SHAPE = (7, 20, 22)
NAMES = {1: "MYO", 2: "LVC"}


def case(names: dict[int, str] | None = None) -> Pair:
    """A ring around a ball, off by a voxel, with an oblique affine and an entropy map."""
    z, y, x = np.indices(SHAPE)
    radius = np.hypot(y - 9, x - 10) + 0.7 * np.abs(z - 3)
    reference = np.select([radius < 4, radius < 7], [2, 1], 0).astype(np.uint8)
    affine = np.diag([-1.2, -1.2, 4.0, 1.0])
    affine[:3, 3] = 3, -5, 20
    return Pair(
        case="case_0",
        prediction=np.roll(reference, 1, axis=2),
        reference=reference,
        spacing_mm=(4.0, 1.2, 1.2),
        affine=affine,
        names=NAMES if names is None else names,
        entropy=np.random.default_rng(0).random(SHAPE, np.float32),
    )


def edit(
    prediction: np.ndarray, where: tuple[slice, slice, slice], value: int
) -> tuple[tuple[slice, slice, slice], set[int]]:
    """Paint in place, and say what was touched."""
    before = prediction.copy()
    prediction[where] = value
    changed = np.nonzero(before != prediction)
    return changed_box(changed), {*before[changed].tolist(), value}


def assert_equal(found: Scores, expected: Scores) -> None:
    for name in ("rows", "slices", "samples"):
        rows, others = getattr(found, name), getattr(expected, name)
        assert len(rows) == len(others)
        for row, other in zip(rows, others, strict=True):
            assert row.keys() == other.keys()
            for column, value in row.items():
                if isinstance(value, str):
                    assert value == other[column]
                else:
                    assert value == pytest.approx(other[column], rel=1e-9, nan_ok=True), column
    assert found.grids == expected.grids


def strokes() -> Iterator[tuple[tuple[slice, slice, slice], int]]:
    yield (slice(3, 4), slice(2, 7), slice(3, 9)), 1  # paint in one slice
    yield (slice(0, 1), slice(0, 2), slice(20, 22)), 2  # in a corner, away from everything
    yield (slice(2, 6), slice(5, 12), slice(6, 12)), 0  # erase through slices
    yield (slice(4, 5), slice(0, 20), slice(0, 22)), 2  # fill a slice
    yield (slice(0, 7), slice(0, 20), slice(0, 22)), 0  # erase everything


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_edits_give_the_scores_of_scoring_anew(protocol: str) -> None:
    pair, rules = case(), PROTOCOLS[protocol]
    evaluation = Evaluation(pair, rules, (0, 1, 2))
    for where, value in strokes():
        box, labels = edit(evaluation.prediction, where, value)
        evaluation.rescore_slices(box, labels)
        evaluation.rescore_volume(labels)
        assert_equal(evaluation.scores, Evaluation(pair, rules, (0, 1, 2)).scores)


def test_label_without_a_name_comes_and_goes() -> None:
    evaluation = Evaluation(case(names={}), PROTOCOLS["recommended"], (0,))
    before = evaluation.scores
    for value, labels in ((9, [1, 2, 9]), (0, [1, 2])):
        box, touched = edit(evaluation.prediction, (slice(1, 2), slice(0, 2), slice(0, 2)), value)
        evaluation.rescore_slices(box, touched)
        evaluation.rescore_volume(touched)
        assert [row["label"] for row in evaluation.scores.rows] == labels
    assert_equal(evaluation.scores, before)


def test_tables_given_before_an_edit_stay_as_they_were() -> None:
    evaluation = Evaluation(case(), PROTOCOLS["recommended"], (0,))
    before = evaluation.scores
    dice = [row["dice"] for row in before.slices]
    box, labels = edit(evaluation.prediction, (slice(3, 4), slice(2, 7), slice(3, 9)), 1)
    evaluation.rescore_slices(box, labels)
    assert [row["dice"] for row in before.slices] == pytest.approx(dice, nan_ok=True)
    after = [row["dice"] for row in evaluation.scores.slices]
    different = [i for i, (a, b) in enumerate(zip(dice, after, strict=True)) if a != b]
    assert [i for i in different if not np.isnan(dice[i])] == [3]  # slice 3 of MYO alone


def test_slices_of_one_axis_are_scored_alone() -> None:
    pair, rules = case(), PROTOCOLS["recommended"]
    evaluation = Evaluation(pair, rules, (0, 1, 2))
    before = evaluation.scores
    box, labels = edit(evaluation.prediction, (slice(3, 4), slice(2, 7), slice(3, 9)), 1)
    evaluation.rescore_slices(box, labels, [0])
    fresh = Evaluation(pair, rules, (0, 1, 2)).scores
    assert fresh.slices != before.slices
    for axis, wanted in (("z", fresh), ("y", before), ("x", before)):
        found, expected = (
            [row["dice"] for row in scores.slices if row["axis"] == axis]
            for scores in (evaluation.scores, wanted)
        )
        assert found == pytest.approx(expected, nan_ok=True)


def test_value_that_is_no_label_is_refused() -> None:
    pair = case()
    wrong = Pair(**{**vars(pair), "prediction": pair.prediction.astype(np.int32) * 300})
    with pytest.raises(InputError, match="prediction: value 300 is not a label"):
        Evaluation(wrong, PROTOCOLS["recommended"], (0,))
