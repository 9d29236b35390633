"""A slice has one name: plane, index in the file, and millimetres with the side of the patient."""

from __future__ import annotations

import numpy as np

from napari_uda.data.slice_position import patient_axis, slice_name

SHAPE = (5, 7, 9)


def test_position_is_that_of_the_middle_of_the_slice() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = (-10, 5, -20)
    assert slice_name(affine, SHAPE, 2, 6) == "axial slice 6, S 4.0 mm"
    assert slice_name(affine, SHAPE, 2, 0) == "axial slice 0, I 20.0 mm"
    assert slice_name(affine, SHAPE, 0, 0) == "sagittal slice 0, L 10.0 mm"


def test_axes_of_the_file_are_named_by_where_they_run_in_the_patient() -> None:
    affine = np.array([[0, 0, 2.0, 0], [-3.0, 0, 0, 9], [0, 4.0, 0, 0], [0, 0, 0, 1]])
    assert [patient_axis(affine, axis) for axis in range(3)] == [1, 2, 0]
    assert slice_name(affine, SHAPE, 0, 2) == "coronal slice 2, A 3.0 mm"


def test_an_oblique_volume_is_named_where_its_middle_lies() -> None:
    turn = np.deg2rad(20)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    expected = 3 * np.sin(turn) + 2 * np.cos(turn)  # row 3 is the middle one of seven
    assert slice_name(affine, SHAPE, 2, 2) == f"axial slice 2, S {expected:.1f} mm"
