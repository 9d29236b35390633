"""Error maps and regions of error."""

from __future__ import annotations

import numpy as np
import pytest

from napari_uda.evaluation.disagreement import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    OTHER_STRUCTURE,
    Region,
    disagreements,
    error_map,
)


def test_every_pair_of_labels() -> None:
    prediction, reference = (np.array([pair]).T for pair in zip(*PAIRS, strict=True))
    for label, kinds in WANTED.items():
        np.testing.assert_array_equal(
            error_map(prediction.astype(np.uint8), reference.astype(np.uint8), label).ravel(), kinds
        )


PAIRS = [(0, 0), (1, 1), (1, 0), (0, 1), (1, 2), (2, 1), (2, 2)]
WANTED = {
    0: [0, 0, FALSE_POSITIVE, FALSE_NEGATIVE, OTHER_STRUCTURE, OTHER_STRUCTURE, 0],
    1: [0, 0, FALSE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE, FALSE_NEGATIVE, 0],
    2: [0, 0, 0, 0, FALSE_NEGATIVE, FALSE_POSITIVE, 0],
}


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    """12 missed voxels of label 1, 5 invented ones, and 2 of label 2 called 1."""
    reference = np.zeros((8, 12, 12), np.uint8)
    reference[2:6, 3:9, 3:9] = 1
    reference[7, 0, :4] = 2
    prediction = reference.copy()
    prediction[3, 3:6, 3:7] = 0
    prediction[0, 10, 5:10] = 1
    prediction[7, 0, :2] = 1
    return prediction, reference


def test_regions_come_by_size(maps: tuple[np.ndarray, np.ndarray]) -> None:
    found = disagreements(*maps, 0)
    assert [(region.kind, region.voxels) for region in found] == [
        (FALSE_NEGATIVE, 12),
        (FALSE_POSITIVE, 5),
        (OTHER_STRUCTURE, 2),
    ]
    assert found[0].position[0:2] == (3, 4)
    assert found[1] == Region(FALSE_POSITIVE, 5, (0, 10, 7))


def test_regions_of_one_structure(maps: tuple[np.ndarray, np.ndarray]) -> None:
    assert [(one.kind, one.voxels) for one in disagreements(*maps, 2)] == [(FALSE_NEGATIVE, 2)]
    assert [one.voxels for one in disagreements(*maps, 1)] == [12, 5, 2]
    assert disagreements(*maps, 7) == []


def test_position_lies_in_its_region() -> None:
    """The centre of a ring is not part of it."""
    reference = np.zeros((3, 9, 9), np.uint8)
    reference[1] = 1
    reference[1, 2:7, 2:7] = 0
    (region,) = disagreements(np.zeros_like(reference), reference, 1)
    assert reference[region.position] == 1


def test_nothing_to_find() -> None:
    empty = np.zeros((2, 3, 3), np.uint8)
    assert disagreements(empty, empty, 0) == []
    assert disagreements(empty + 1, empty + 1, 0) == []
