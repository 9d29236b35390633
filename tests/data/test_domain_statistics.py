"""What images of a domain look like, and where labelled structures lie, with numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_cases import all_orientations, reoriented

from napari_uda.data.domain_statistics import (
    PICTURE_SHAPE,
    DomainStatistics,
    cell_means,
    correlation,
    domain_statistics,
    measure_volume,
    uprightness,
)
from napari_uda.data.intensity import Intensity
from napari_uda.data.slices import SliceGrid, SliceStore
from napari_uda.data.structure_statistics import StructureStatistics, centres, structure_statistics
from napari_uda.data.volume import Volume

WINDOW = Intensity(mode="window", bounds=(0.0, 200.0))


def _volume(array: np.ndarray, spacing_mm: tuple[float, float, float] = (3.0, 2.0, 1.0)) -> Volume:
    return Volume(array, np.diag([*reversed(spacing_mm), 1.0]), "case")


def test_cells_are_means_of_boxes() -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    means = cell_means(array, (1, 3, 2))
    # the first box holds 0 1 of the lower plane and 12 13 of the upper one
    np.testing.assert_allclose(means[0], [[6.5, 8.5], [10.5, 12.5], [14.5, 16.5]])


def test_cells_share_voxels_where_there_are_too_few() -> None:
    assert cell_means(np.array([[[1.0, 2.0]]]), (2, 1, 4)).tolist() == [[[1, 1, 2, 2]]] * 2


def test_a_volume_is_measured_before_and_after_its_mapping() -> None:
    array = np.zeros((6, 24, 48), np.int16)
    array[:, :, 24:] = 150  # 1 %: 0, 99 %: 150; mapped to -1 and 0.5
    measured = measure_volume(_volume(array), WINDOW)
    assert measured.extent_mm == (18.0, 48.0, 48.0)
    assert measured.spacing_mm == pytest.approx((3.0, 2.0, 1.0))
    assert (measured.grey[0], measured.grey[2]) == (0, 150)
    assert (measured.profile[0], measured.profile[-1]) == (-1, 0.5)
    np.testing.assert_allclose(measured.picture[:, :, :6], -1)
    np.testing.assert_allclose(measured.picture[:, :, 6:], 0.5)


def test_the_order_of_axes_in_a_file_changes_nothing() -> None:
    array = np.random.default_rng(0).integers(0, 200, (6, 24, 36)).astype(np.int16)
    volume = _volume(array)
    expected = measure_volume(volume, WINDOW)
    for order, flips in all_orientations():
        measured = measure_volume(reoriented(volume, order, flips), WINDOW)
        np.testing.assert_allclose(measured.picture, expected.picture)
        assert measured.extent_mm == pytest.approx(expected.extent_mm)
        np.testing.assert_allclose(measured.profile, expected.profile)


def test_likeness_and_uprightness_by_hand() -> None:
    ramp = np.broadcast_to(np.arange(12.0), PICTURE_SHAPE)
    assert correlation(ramp, 3 * ramp - 7) == pytest.approx(1)
    assert correlation(ramp, -ramp) == pytest.approx(-1)
    assert correlation(ramp, np.zeros(PICTURE_SHAPE)) == 0
    # a ramp is nothing but its odd part along x, and has none along the other axes
    assert uprightness(ramp, ramp) == pytest.approx((0, 0, 1))
    assert uprightness(np.flip(ramp, 2), ramp) == pytest.approx((0, 0, -1))


def _images(count: int) -> list[np.ndarray]:
    """Ramps from left to right with some noise."""
    rng = np.random.default_rng(1)
    ramp = np.broadcast_to(np.linspace(0, 200, 24), (6, 24, 24))
    return [(ramp + rng.normal(0, 5, ramp.shape)).astype(np.int16) for _ in range(count)]


def test_a_domain_keeps_ranges_and_how_far_images_are_apart() -> None:
    volumes = [
        _volume(array, (3.0, 2.0, mm)) for array, mm in zip(_images(3), (1, 2, 4), strict=True)
    ]
    found = domain_statistics([measure_volume(volume, WINDOW) for volume in volumes])
    assert found.volumes == 3
    assert found.spacing_mm == ((3, 3), (2, 2), (1, 4))
    assert found.extent_mm == ((18, 18), (48, 48), (24, 96))
    assert found.likeness is not None
    assert found.likeness[0] > 0.98
    assert found.upright is not None
    assert found.upright[2][0] > 0.9  # along x a flip would show
    assert abs(found.upright[0][0]) < 0.1  # along z there is only noise
    read = DomainStatistics.model_validate_json(found.model_dump_json())
    assert read == found
    expected = np.mean([measure_volume(v, WINDOW).picture for v in volumes], axis=0)
    np.testing.assert_allclose(read.mean_picture(), expected, atol=0.5 / 127)


def test_one_image_and_two_say_less_of_spread() -> None:
    measured = [measure_volume(_volume(array), WINDOW) for array in _images(2)]
    one, two = domain_statistics(measured[:1]), domain_statistics(measured)
    assert (one.likeness, one.upright) == (None, None)
    assert two.likeness is not None
    assert two.upright is None
    assert one.profile_distance(measured[0].profile) < 0.1
    assert min(one.profile_spread) > 0  # so that a second image does not stand out


@pytest.mark.parametrize(("picture", "problem"), [("AAAA", "3 cells"), ("not base64", "base64")])
def test_a_damaged_picture_is_refused(picture: str, problem: str) -> None:
    stored = domain_statistics([measure_volume(_volume(_images(1)[0]), WINDOW)]).model_dump()
    with pytest.raises(ValidationError, match=problem):
        DomainStatistics.model_validate(stored | {"picture": picture})


def test_spreads_of_zero_are_refused() -> None:
    stored = domain_statistics([measure_volume(_volume(_images(1)[0]), WINDOW)]).model_dump()
    with pytest.raises(ValidationError, match="profile_spread holds a number that is not above 0"):
        DomainStatistics.model_validate(stored | {"profile_spread": (0.0,) * 9})


def test_ranges_that_go_down_are_refused() -> None:
    found = domain_statistics([measure_volume(_volume(_images(1)[0]), WINDOW)])
    content = found.model_dump()
    content["extent_mm"] = [(300.0, 1.0)] * 3
    with pytest.raises(
        ValidationError, match="extent_mm holds a range whose first number is above"
    ):
        DomainStatistics.model_validate(content)


def test_spreads_that_no_training_gives_are_bounded() -> None:
    found = domain_statistics([measure_volume(_volume(_images(1)[0]), WINDOW)])
    tiny = found.model_copy(update={"profile_spread": (1e-300,) * 9})
    assert tiny.profile_distance(np.array(found.profile) + 0.03) == pytest.approx(1)


def test_centres_are_mean_indices() -> None:
    classes = np.zeros((2, 3, 4), np.uint8)
    classes[0, 0, 1] = classes[1, 2, 3] = 1
    voxels, indices = centres(classes, 3)
    assert voxels.tolist() == [22, 2, 0]
    assert indices[1].tolist() == [0.5, 1, 2]
    assert np.isnan(indices[2]).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_structures_have_volumes_and_places_in_millimetres(axis: int) -> None:
    # two cases of 2 and 4 slices of 8 x 8 pixels of 2 mm; slices 5 mm and 10 mm apart
    labels = np.zeros((6, 8, 8), np.uint8)
    labels[0, 4:6, 0:2] = 1  # 4 pixels of 20 mm3 in the first slice of two
    labels[2:6, 4:6, 4:6] = 1  # 16 voxels of 40 mm3, centred in the four slices
    labels[3, 0, 0] = 2  # in the second case only
    store = SliceStore(
        np.zeros(labels.shape, np.float16), labels, np.array([0, 0, 1, 1, 1, 1]), ("a", "b"), 1,
        slice_mm=(5.0, 10.0), pixel_mm2=(4.0, 4.0),
    )  # fmt: skip
    grid = SliceGrid(axis=axis, pixel_mm=2, size=8)
    found = structure_statistics(store, grid, ["one", "two", "three"])
    assert found["one"].case_share == 1
    assert found["one"].volume_ml == (0.08, 0.64)
    assert found["two"] == StructureStatistics(
        case_share=0.5,
        volume_ml=(0.04, 0.04),
        # slice 1 of 0 to 3, and a corner of the plane: -0.5 slices and -3.5 pixels from the middle
        centre_mm=tuple(np.insert([-7.0, -7.0], axis, -5.0).tolist()),
    )
    assert found["three"].case_share == 0
    # case a: -2.5 mm, 2 mm, -6 mm; case b: 0, 2 mm, 2 mm
    assert found["one"].centre_mm == tuple(np.insert([2.0, -2.0], axis, -1.25).tolist())
    assert found["one"].centre_spread_mm == tuple(np.insert([0.0, 4.0], axis, 1.25).tolist())
