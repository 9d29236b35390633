"""Tools on one structure: right values by hand, by definition and by property."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.label_edits import (
    TOOLS,
    Tool,
    edit_structure,
    fill_between,
    grow,
    largest_part,
    shrink,
    smooth,
)

COARSE = (4.0, 1.0, 1.0)


def ball(shape: tuple[int, ...], centre: tuple[float, ...], mm: float) -> NDArray[np.bool_]:
    """Voxels at most so many mm from a point, given in voxels, on the coarse grid."""
    places = np.indices(shape).astype(float)
    apart = [(at - c) * step for at, c, step in zip(places, centre, COARSE, strict=True)]
    return np.sqrt(np.sum(np.square(apart), axis=0)) <= mm


def blob(seed: int, shape: tuple[int, ...] = (7, 16, 16)) -> NDArray[np.bool_]:
    """Some voxels that hang together more or less, away from the border."""
    mask = np.zeros(shape, bool)
    inner = tuple(slice(2, side - 2) for side in shape)
    mask[inner] = np.random.default_rng(seed).random(mask[inner].shape) < 0.3
    return mask


def edited(labels: NDArray[np.uint8], tool: Tool, **options: object) -> NDArray[np.uint8]:
    """The labels after a tool, structure 1."""
    edit = edit_structure(labels, 1, tool, COARSE, **options)  # type: ignore[arg-type]
    new = labels.copy()
    new[edit.where] = edit.values
    assert edit.size == int((new != labels).sum())  # nothing is listed that stays
    return new


# --- grow and shrink ------------------------------------------------------------------------------


def test_a_voxel_grown_by_3_mm_stays_in_its_slice_of_4_mm() -> None:
    mask = np.zeros((3, 9, 9), bool)
    mask[1, 4, 4] = True
    grown = grow(mask, COARSE, 3)
    rows = [1, 5, 5, 7, 5, 5, 1]  # x² + y² <= 9, counted on paper
    assert grown[1].sum(axis=1)[1:8].tolist() == rows
    assert not grown[[0, 2]].any()
    further = grow(mask, COARSE, 4)
    assert further[[0, 2]].sum(axis=(1, 2)).tolist() == [1, 1]  # the voxel above, and the one below


def test_a_ball_grows_by_the_definition_of_distance() -> None:
    mask = ball((7, 21, 21), (3, 10, 10), 5)
    inside = np.argwhere(mask) * COARSE
    everywhere = np.indices(mask.shape).reshape(3, -1).T * COARSE
    nearest = np.array([np.min(np.sum((inside - at) ** 2, axis=1)) for at in everywhere])
    assert np.array_equal(grow(mask, COARSE, 3), (nearest <= 9).reshape(mask.shape))


def test_shrinking_is_growing_of_the_others() -> None:
    mask = ball((7, 21, 21), (3, 10, 10), 8)
    assert np.array_equal(shrink(mask, COARSE, 2), ~grow(~mask, COARSE, 2))
    assert shrink(np.ones((2, 3, 4), bool), COARSE, 5).all()
    assert not shrink(mask, COARSE, 30).any()
    cut = np.zeros((3, 9, 9), bool)
    cut[:, :5] = True  # it may go on beyond the border, so it is shrunk from one side
    assert shrink(cut, COARSE, 2)[:, :3].all()
    assert not shrink(cut, COARSE, 2)[:, 3:].any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mm", [1.0, 2.5, 4.0])
def test_growing_then_shrinking_contains_and_the_other_way_is_contained(
    seed: int, mm: float
) -> None:
    mask = np.pad(blob(seed), 6)
    closed = shrink(grow(mask, COARSE, mm), COARSE, mm)
    opened = grow(shrink(mask, COARSE, mm), COARSE, mm)
    assert (closed >= mask).all()
    assert (opened <= mask).all()


# --- largest part ---------------------------------------------------------------------------------


def test_the_larger_of_two_parts_stays() -> None:
    mask = np.zeros((4, 8, 8), bool)
    mask[0:2, 1:3, 1:3] = True  # 8 voxels
    mask[2:4, 4:7, 4:6] = True  # 12
    mask[2, 3, 3] = True  # touches both by a corner, which does not hold
    kept = largest_part(mask)
    assert kept.sum() == 12
    assert kept[2:4, 4:7, 4:6].all()
    assert np.array_equal(largest_part(kept), kept)
    labels = mask.astype(np.uint8)
    labels[3, 0, 0] = 2
    assert edited(labels, "largest")[3, 0, 0] == 2
    only = edited(labels, "largest", axis=0, index=0)  # one part there: nothing changes
    assert np.array_equal(only, labels)


# --- smooth ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mm", [1.0, 2.0, 5.0])
def test_smoothing_keeps_the_volume_and_rounds(mm: float) -> None:
    mask = ball((9, 32, 32), (4, 16, 16), 9)
    rough = mask.copy()
    rough[4, 16, 25:31] = True  # a thorn
    rough[4, 10, 10] = False  # a hole
    result = smooth(rough, COARSE, mm)
    assert abs(int(result.sum()) - int(rough.sum())) <= 0.02 * rough.sum()
    assert not result[4, 16, 29:].any()
    assert result[4, 10, 10]
    single = np.zeros((3, 9, 9), bool)
    single[1, 4, 4:6] = True
    assert smooth(single, COARSE, mm).sum() == pytest.approx(2, abs=2)
    assert smooth(single, COARSE, mm).any()  # a threshold of a half would leave nothing


def test_smoothing_takes_no_voxel_of_another_structure() -> None:
    labels = ball((5, 24, 24), (2, 11, 11), 7).astype(np.uint8)
    labels[:, :, 14:] = np.where(labels[:, :, 14:] == 0, 2, labels[:, :, 14:])
    before = int((labels == 1).sum())
    new = edited(labels, "smooth", mm=2.0)
    assert ((new == 2) == (labels == 2)).all()
    assert abs(int((new == 1).sum()) - before) <= 0.03 * before


# --- fill between slices --------------------------------------------------------------------------


def square(side: int, shift: int = 0, size: int = 20) -> NDArray[np.bool_]:
    """A square round the middle of a slice."""
    plane = np.zeros((size, size), bool)
    first = (size - side) // 2
    plane[first : first + side, first + shift : first + side + shift] = True
    return plane


def test_between_squares_of_4_and_8_pixels_lies_one_of_6() -> None:
    mask = np.zeros((3, 20, 20), bool)
    mask[0], mask[2] = square(4), square(8)
    assert np.array_equal(fill_between(mask, 0, (4, 1, 1))[1], square(6))
    turned = fill_between(np.moveaxis(mask, 0, 2), 2, (1, 1, 4))
    assert np.array_equal(turned[:, :, 1], square(6))
    long = np.zeros((5, 20, 20), bool)
    long[0], long[4] = square(4), square(8)
    filled = fill_between(long, 0, (4, 1, 1))
    # a quarter of the way 0.75 * -1 + 0.25 * 2 < 0 in the ring round the small one: it is not reached yet
    for plane, side in zip(filled, (4, 4, 6, 8, 8), strict=True):
        assert np.array_equal(plane, square(side))


def test_what_moves_is_in_between_and_not_nowhere() -> None:
    mask = np.zeros((5, 20, 20), bool)
    mask[0], mask[4] = square(4, -4), square(4, 4)  # they do not overlap
    for plane, shift in zip(fill_between(mask, 0, COARSE), (-4, -2, 0, 2, 4), strict=True):
        assert np.array_equal(plane, square(4, shift))


def test_distances_in_the_slice_are_in_millimetres() -> None:
    """Rows of 3 mm: an oblong of 2 x 6 pixels is a square of 6 mm, and so is what lies between two of them."""
    mask = np.zeros((3, 12, 24), bool)
    mask[0, 5:7, 9:15] = True  # 6 x 6 mm
    mask[2, 3:9, 3:21] = True  # 18 x 18 mm
    rows, columns = np.nonzero(fill_between(mask, 0, (5, 3, 1))[1])
    assert (np.ptp(rows) + 1) * 3 == pytest.approx(np.ptp(columns) + 1, abs=3)
    assert 6 < np.ptp(columns) + 1 < 18


def test_painted_slices_are_kept_and_what_is_between_them_is_made_anew() -> None:
    mask = np.stack([square(6)] * 7)
    mask[1], mask[5] = square(10), square(2)
    filled = fill_between(mask, 0, COARSE, painted=(1, 5))
    areas = filled.sum(axis=(1, 2)).tolist()
    assert areas[0] == areas[6] == 36  # outside of the painted ones nothing changes
    assert (areas[1], areas[5]) == (100, 4)
    assert areas[1:6] == sorted(areas[1:6], reverse=True)
    with pytest.raises(InputError, match="paint it on two slices first"):
        fill_between(mask, 0, COARSE, painted=(3,))  # one is none, and there is no gap
    mask[2:5] = False
    assert fill_between(mask, 0, COARSE, painted=(3,))[3].any()  # gaps, where nothing was painted


def test_filling_goes_round_other_structures_unless_it_may_take_them() -> None:
    labels = np.zeros((3, 20, 20), np.uint8)
    labels[0][square(6)] = labels[2][square(6)] = 1
    labels[1, 9, 9] = 2
    assert (edited(labels, "fill")[1] == 1).sum() == 35
    assert edited(labels, "fill")[1, 9, 9] == 2
    assert (edited(labels, "fill", overwrite=True)[1] == 1).sum() == 36


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["smooth", "largest", "grow", "shrink"])
def test_a_slice_is_edited_by_itself(tool: Tool) -> None:
    labels = np.pad(blob(3), 3).astype(np.uint8)
    for axis, index in ((0, 5), (1, 9), (2, 10)):
        new = edited(labels, tool, mm=1.5, axis=axis, index=index)
        others = [at for at in range(labels.shape[axis]) if at != index]
        assert np.array_equal(new.take(others, axis), labels.take(others, axis))
        assert not np.array_equal(new.take(index, axis), labels.take(index, axis))
    plane = labels[5] == 1
    wanted = {"grow": grow(plane, (1, 1), 1.5), "shrink": shrink(plane, (1, 1), 1.5)}
    if tool in wanted:
        assert np.array_equal(edited(labels, tool, mm=1.5, index=5)[5] == 1, wanted[tool])


def test_the_part_that_is_looked_at_does_not_change_the_result() -> None:
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[3:6, 10:18, 20:33] = blob(1, (3 + 4, 8 + 4, 13 + 4))[2:-2, 2:-2, 2:-2]
    mask = labels == 1
    assert np.array_equal(edited(labels, "grow", mm=5) == 1, grow(mask, COARSE, 5))
    assert np.array_equal(edited(labels, "shrink", mm=1) == 1, shrink(mask, COARSE, 1))
    assert np.array_equal(edited(labels, "smooth", mm=2) == 1, smooth(mask, COARSE, 2))


@pytest.mark.parametrize("tool", TOOLS)
def test_other_structures_stay_and_cancel_gives_up(tool: Tool) -> None:
    labels = np.zeros((5, 20, 20), np.uint8)
    labels[1][square(8)] = labels[3][square(8)] = 1
    labels[:, :, :8] = 2
    assert ((edited(labels, tool, mm=3) == 2) == (labels == 2)).all()
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        edit_structure(labels, 1, tool, COARSE, mm=3, stop=stop)


def test_growing_may_take_others_when_it_is_asked_to() -> None:
    labels = np.zeros((1, 9, 9), np.uint8)
    labels[0, 4, 4], labels[0, 4, 5] = 1, 2
    assert edited(labels, "grow", mm=1)[0, 4, 5] == 2
    assert edited(labels, "grow", mm=1, overwrite=True)[0, 4, 5] == 1


def test_what_cannot_be_edited_is_said() -> None:
    labels = np.zeros((3, 5, 5), np.uint8)
    labels[0, 2, 2] = 1
    with pytest.raises(InputError, match="not in this volume; paint it first"):
        edit_structure(labels, 3, "grow", COARSE, mm=1)
    with pytest.raises(InputError, match="not in this slice; paint it first"):
        edit_structure(labels, 1, "grow", COARSE, mm=1, index=2)
    for mm in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match=r"is no distance to shrink by; give one above 0"):
            edit_structure(labels, 1, "shrink", COARSE, mm=mm)
