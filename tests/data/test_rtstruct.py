"""RTSTRUCT: closed forms (a square of 10 mm at 1 mm), holes, and the polygons of another library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from segmentation_files import write_image, write_rtstruct

from napari_uda.core.errors import InputError
from napari_uda.data.contours import filled
from napari_uda.data.segmentation import read_segmentation
from napari_uda.data.volume import Volume, read_labels, read_volume

SHAPE = (4, 14, 16)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def grid(spacing: float = 1.0, **others: str) -> Volume:
    """Voxel (z, y, x) has its centre at (x, y, 3 z) LPS, in units of the spacing in the plane."""
    affine = LPS @ np.diag([spacing, spacing, 3.0, 1.0])
    return Volume(np.zeros(SHAPE, np.uint8), affine, **others)


def square(low: float, high: float, z: float = 3.0) -> list[list[float]]:
    return [[low, low, z], [high, low, z], [high, high, z], [low, high, z]]


def filled_square(first: int, last: int, z: int = 1) -> np.ndarray:
    expected = np.zeros(SHAPE, np.uint8)
    expected[z, first : last + 1, first : last + 1] = 1
    return expected


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("start", [0.0, 0.5, 0.3, 1.0, 2.996, 3.004])
def test_a_square_of_10_mm_has_100_voxels_of_1_mm(
    tmp_path: Path, start: float, direction: int
) -> None:
    corners = square(start, start + 10)[::direction]
    file = write_rtstruct(tmp_path / "rs.dcm", [("Liver", [corners])])
    found = read_labels(file, grid=grid()).array
    first = int(np.ceil(start - 0.01))
    assert (found == filled_square(first, first + 9)).all()
    assert np.count_nonzero(found) == 100


def test_neighbours_share_no_voxel_and_leave_none_out(tmp_path: Path) -> None:
    left = [[0, 0, 3], [5, 0, 3], [5, 10, 3], [0, 10, 3]]
    right = [[5, 0, 3], [10, 0, 3], [10, 10, 3], [5, 10, 3]]
    file = write_rtstruct(tmp_path / "rs.dcm", [("a", [left]), ("b", [right])])
    found = read_labels(file, grid=grid()).array
    assert np.bincount(found.ravel())[1:].tolist() == [50, 50]


def test_holes_are_contours_of_their_own_or_keyholes(tmp_path: Path) -> None:
    outer, hole, island = square(0.5, 10.5), square(2.5, 8.5), square(4.5, 6.5)
    expected = filled_square(1, 10) - filled_square(3, 8) + filled_square(5, 6)
    file = write_rtstruct(tmp_path / "rs.dcm", [("Rim", [outer, hole, island])])
    assert (read_labels(file, grid=grid()).array == expected).all()
    xor = {"kind": "CLOSEDPLANAR_XOR"}
    file = write_rtstruct(tmp_path / "rs.dcm", [("Rim", [hole, island, outer])], **xor)
    assert (read_labels(file, grid=grid()).array == expected).all()
    keyhole = [*outer, outer[0], hole[0], *hole[:0:-1], hole[0], outer[0]]
    file = write_rtstruct(tmp_path / "rs.dcm", [("Rim", [keyhole])])
    found = read_labels(file, grid=grid()).array
    assert (found == filled_square(1, 10) - filled_square(3, 8)).all()
    file = write_rtstruct(tmp_path / "rs.dcm", [("Twice", [outer, outer])])
    assert (read_labels(file, grid=grid()).array == filled_square(1, 10)).all()


def test_names_colours_and_choice(tmp_path: Path) -> None:
    body, liver = square(0, 12), square(3, 6)
    colours = [(0, 255, 0), (221, 130, 101)]
    file = write_rtstruct(tmp_path / "rs.dcm", [("BODY", [body]), ("Liver", [liver])], colours)
    with pytest.raises(InputError, match="BODY and Liver overlap in 9 voxels"):
        read_labels(file, grid=grid())
    found = read_segmentation(file, grid=grid(), names={"liver": 7})
    assert (found.labels.array == 7 * filled_square(3, 5)).all()
    assert (found.names, found.colours) == ({7: "liver"}, {7: "#DD8265"})
    apart = write_rtstruct(
        tmp_path / "two.dcm", [("a", [square(0, 2)]), ("none", []), ("b", [square(4, 6)])]
    )
    found = read_segmentation(apart, grid=grid())
    assert found.names == {1: "a", 3: "b"}
    assert np.bincount(found.labels.array.ravel())[1:].tolist() == [4, 0, 4]


def test_slices_may_be_stored_along_any_axis(tmp_path: Path) -> None:
    file = write_rtstruct(tmp_path / "rs.dcm", [("a", [square(1, 6), square(2, 5, 6.0)])])
    expected = Volume(filled_square(1, 5) + filled_square(2, 4, 2), grid().affine)
    for codes in ((1, 2, 0), (2, 0, 1), (0, 2, 1)):
        order = list(codes)
        affine = np.eye(4)
        affine[:3, :3] = expected.affine[:3, order]
        array = expected.array.transpose([2 - order[2 - axis] for axis in range(3)])
        image = Volume(np.zeros(array.shape, np.uint8), affine)
        assert (read_labels(file, grid=image).array == array).all()
    oblique = np.eye(4)
    oblique[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    corners = (np.array(square(1.5, 6.5)) * (-1, -1, 1)) @ oblique[:3, :3].T * (-1, -1, 1)
    file = write_rtstruct(tmp_path / "rs.dcm", [("a", [corners.tolist()])])
    image = Volume(np.zeros(SHAPE, np.uint8), oblique @ grid().affine)
    assert (read_labels(file, grid=image).array == filled_square(2, 6)).all()


def test_coordinates_that_are_made_up_do_not_matter_on_the_image_itself(tmp_path: Path) -> None:
    image = read_volume(write_image(tmp_path / "ct"))
    corners = [[-5.875, -8.25, 3], [-3.625, -8.25, 3], [-3.625, -5.25, 3], [-5.875, -5.25, 3]]
    file = write_rtstruct(tmp_path / "rs.dcm", [("Liver", [corners])], frame_of_reference="1.2.77")
    found = read_labels(file, grid=image)
    assert (found.array.sum(), found.frame_of_reference) == (6, image.frame_of_reference)
    write_rtstruct(file, [("Liver", [corners])], frame_of_reference="1.2.77", drawn_on="1.2.3.2")
    with pytest.raises(InputError, match=r"another frame of reference than ct.*examination"):
        read_labels(file, grid=image)


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    def refused(contours: list[list[list[float]]], image: Volume | None) -> str:
        file = write_rtstruct(tmp_path / "rs.dcm", [("Liver", contours)])
        with pytest.raises(InputError) as caught:
            read_labels(file, grid=image)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "become voxels on the grid of their image only" in refused([square(1, 6)], None)
    assert "Liver has contours between the slices of the image, up to 33% of a slice" in refused(
        [square(1, 6, 4.0)], grid()
    )
    other = grid(name="p2", frame_of_reference="1.2.77")
    assert "another frame of reference than p2" in refused([square(1, 6)], other)
    assert "Liver reaches 4 mm beyond the outermost voxels" in refused([square(6, 17)], grid())
    assert "beyond" in refused([square(1, 6, 12.0)], grid())
    tilted = [[1, 1, 3], [6, 1, 3], [6, 6, 6], [1, 6, 6]]
    assert "do not lie in the slices of the image" in refused([tilted], grid())
    thin = Volume(np.zeros((10, 14, 16), np.uint8), LPS)
    every = [square(1, 6, 3.0 * z) for z in range(3)]
    assert "has contours on one of 3 slices of the image only" in refused(every, thin)
    points = write_rtstruct(tmp_path / "points.dcm", [("Liver", [[[1, 1, 3]]])], kind="POINT")
    with pytest.raises(InputError, match="holds no closed contour"):
        read_labels(points, grid=grid())
    (tmp_path / "rs.dcm").write_bytes((tmp_path / "rs.dcm").read_bytes()[:-40])
    with pytest.raises(InputError):
        read_labels(tmp_path / "rs.dcm", grid=grid())


def test_filling_agrees_with_matplotlib_where_no_centre_lies_on_a_contour() -> None:
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[:30, :40]
    centres = np.stack([columns.ravel(), rows.ravel()], 1)
    for _ in range(20):
        angles = np.sort(random.uniform(0, 2 * np.pi, 12))
        radii = random.uniform(4, 14, 12)
        corners = np.stack([20 + radii * np.cos(angles), 15 + radii * np.sin(angles)], 1)
        theirs = Polygon(corners).contains_points(centres).reshape(30, 40)
        ours = filled([corners], (30, 40))
        assert np.count_nonzero(ours != theirs) <= 1  # corners within 1 % of a centre line move
        part = filled([corners], (10, 12), (8, 9))
        assert (part == ours[8:18, 9:21]).all()


def test_structures_without_any_contour_are_background(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A prediction that found nothing."""
    file = write_rtstruct(tmp_path / "rs.dcm", [("Liver", []), ("Spleen", [])])
    found = read_segmentation(file, grid=grid())
    assert not found.labels.array.any()
    assert found.names == {1: "Liver", 2: "Spleen"}
    assert "holds no contour of any, so all of it is background" in caplog.text
    with pytest.raises(InputError, match="have none of the names kidney"):
        read_labels(file, grid=grid(), names={"kidney": 1})
