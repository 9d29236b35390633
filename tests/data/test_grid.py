"""Lengths, areas and volumes on grids whose axes need not be at right angles, against closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from napari_uda.data.grid import Lattice
from napari_uda.data.volume import Volume

TILT = math.radians(25)
DX, DY, H = 0.7, 0.8, 3.0
"""Pixels of 0.7 x 0.8 mm, slices 3 mm apart along their normal."""


def tilted(angle: float = TILT) -> np.ndarray:
    """A gantry tilted about x: every slice lies 3 mm higher and `3 tan(angle)` further back."""
    affine = np.diag([-DX, -DY, H, 1.0])
    affine[1, 2] = -H * math.tan(angle)
    affine[:3, 3] = 5, -7, 100
    return affine


def turned(affine: np.ndarray) -> np.ndarray:
    """The same grid, lying askew in space."""
    a, b = 0.4, -0.7
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    moved = affine.copy()
    moved[:3] = about_z @ about_x @ affine[:3]
    return moved


@pytest.mark.parametrize("place", [lambda affine: affine, turned], ids=["straight", "askew"])
def test_tilted_gantry_of_25_degrees(place) -> None:
    lattice = Lattice.of(place(tilted()))
    assert not lattice.is_right_angled
    assert lattice.spacing_mm == pytest.approx((H / math.cos(TILT), DY, DX), rel=1e-12)
    # a voxel is base times height, 1.68 mm3; the product of its sides is 1 / cos(25 degrees) as much
    assert lattice.cell == pytest.approx(DX * DY * H, rel=1e-12)
    assert math.prod(lattice.spacing_mm) / lattice.cell == pytest.approx(1.10338, rel=1e-5)
    assert lattice.voxel_ml == pytest.approx(DX * DY * H / 1000, rel=1e-12)
    # slices lie 3 mm apart; columns of voxels along y lie closer than 0.8 mm
    assert lattice.gaps_mm == pytest.approx((H, DY * math.cos(TILT), DX), rel=1e-12)
    # axial pixels are right-angled, sagittal ones parallelograms of base y and height z
    areas = [lattice.slice_across(axis).cell for axis in range(3)]
    assert areas == pytest.approx((DX * DY, DX * H / math.cos(TILT), DY * H), rel=1e-12)
    for axis in range(3):
        assert areas[axis] * lattice.gaps_mm[axis] == pytest.approx(lattice.cell, rel=1e-12)


def test_every_step_has_its_true_length() -> None:
    affine = turned(tilted())
    lattice = Lattice.of(affine)
    for z, y, x in itertools.product(range(-2, 3), repeat=3):
        true = np.linalg.norm(affine[:3, :3] @ (x, y, z))
        assert np.linalg.norm(np.array([z, y, x]) @ lattice.matrix) == pytest.approx(true, abs=1e-9)


def test_cell_is_the_determinant_for_any_shear() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        affine = np.eye(4)
        affine[:3, :3] = np.diag((1, 2, 3)) + random.uniform(-0.6, 0.6, (3, 3))
        lattice = Lattice.of(affine)
        assert lattice.cell == pytest.approx(abs(np.linalg.det(affine[:3, :3])), rel=1e-9)


def test_right_angled_grids_keep_their_spacing_to_the_last_bit() -> None:
    affine = np.diag([-0.7, -0.8, 3.0, 1.0])
    assert Lattice.of(affine) == Lattice.right_angled((3.0, 0.8, 0.7))
    # a rotation that float32 rounded, as NIfTI stores it, is still one
    rounded = turned(affine).astype(np.float32).astype(np.float64)
    lattice = Lattice.of(rounded)
    assert lattice.is_right_angled
    assert lattice.spacing_mm == Volume(np.zeros((1, 1, 1)), rounded).spacing_mm
    assert lattice.gaps_mm == lattice.spacing_mm


def test_diagonal_reaches_from_edge_to_edge() -> None:
    assert Lattice.right_angled((3, 4)).diagonal_mm((1, 1)) == 5
    # a square of 1 mm, sheared by 45 degrees: diagonals of 1 and sqrt(5) mm
    affine = np.eye(4)
    affine[0, 1] = 1
    assert Lattice.of(affine).slice_across(0).diagonal_mm((1, 1)) == pytest.approx(math.sqrt(5))
