"""Volumes to slices and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_cases import SHAPE, SPACING_MM, all_orientations, blob_case, reoriented

from napari_uda.data.intensity import Intensity
from napari_uda.data.sizes import structure_sizes
from napari_uda.data.slices import (
    SliceGrid,
    SliceStore,
    choose_axis,
    choose_pixel_mm,
    fill_store,
    fit_window,
    resample_labels,
    resample_plane,
    window_labels,
    window_slices,
)
from napari_uda.data.volume import Volume

INTENSITY = Intensity(mode="window", bounds=(0.0, 400.0))
sides = st.integers(1, 40)
quick = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize(
    ("named", "spacings", "axis"),
    [
        ("auto", [(4.0, 1.0, 1.0)], 0),
        ("auto", [(1.0, 1.0, 3.0), (1.0, 1.0, 3.0), (9.0, 1.0, 1.0)], 2),  # medians 1, 1, 3
        ("auto", [(2.0, 2.0, 2.0)], 0),  # ties go to the first axis
        ("y", [(4.0, 1.0, 1.0)], 1),
        ("x", [(4.0, 1.0, 1.0)], 2),
    ],
)
def test_slices_are_cut_across_the_coarsest_median_spacing(named, spacings, axis) -> None:
    assert choose_axis(named, spacings) == axis


@pytest.mark.parametrize(
    ("shapes", "spacings", "size", "pixel_mm"),
    [
        # in the plane 100 x 80 voxels of 1.5 mm: 150 mm over 64 pixels = 2.34375, rounded up
        ([(9, 100, 80)], [(5.0, 1.5, 1.5)], 64, 2.35),
        # 150 mm over 128 pixels = 1.17 mm would invent detail: the voxels' 1.5 mm stay
        ([(9, 100, 80)], [(5.0, 1.5, 1.5)], 128, 1.5),
        # micro-CT: 20 and 12.3 micrometres are not rounded to 20 and 20
        ([(9, 100, 80)], [(0.04, 0.02, 0.02)], 128, 0.02),
        ([(9, 100, 80)], [(0.0246, 0.0123, 0.0123)], 128, 0.0123),
        # extents 100, 200 and 400 mm: the median slice fits, the largest is cropped
        ([(3, 100, 9), (3, 200, 9), (3, 400, 9)], [(5.0, 1.0, 1.0)] * 3, 100, 2.0),
    ],
)
def test_the_median_slice_just_fits_the_window(shapes, spacings, size, pixel_mm) -> None:
    assert choose_pixel_mm(0, shapes, spacings, size) == pytest.approx(pixel_mm)


def test_pixel_size_of_another_axis_uses_its_own_plane() -> None:
    # across x: the plane is z (10 x 4 mm) by y (60 x 2 mm); 120 mm over 40 pixels
    assert choose_pixel_mm(2, [(10, 60, 30)], [(4.0, 2.0, 1.0)], 40) == pytest.approx(3.0)


@quick
@given(shape=st.tuples(sides, sides, sides), axis=st.integers(0, 2))
def test_stack_undoes_cut(shape: tuple[int, int, int], axis: int) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    grid = SliceGrid(axis=axis, pixel_mm=1, size=8)
    slices = grid.cut(array)
    assert len(slices) == shape[axis]
    assert np.shares_memory(slices, array)
    np.testing.assert_array_equal(slices[0], array.take(0, axis))
    np.testing.assert_array_equal(grid.stack(slices), array)


@quick
@given(small=st.tuples(sides, sides), extra=st.tuples(sides, sides))
def test_fit_window_undoes_its_own_padding(small, extra) -> None:
    large = (small[0] + extra[0], small[1] + extra[1])
    image = torch.arange(small[0] * small[1], dtype=torch.float32).view(1, *small)
    padded = fit_window(image, large, -1.0)
    assert padded.shape == (1, *large)
    assert int((padded >= 0).sum()) == image.numel()  # everything else is the fill value
    assert torch.equal(fit_window(padded, small, 0.0), image)


@quick
@given(large=st.tuples(sides, sides), wanted=st.tuples(sides, sides))
def test_fit_window_keeps_the_middle_whatever_the_parity(large, wanted) -> None:
    index = torch.arange(large[0] * large[1], dtype=torch.float32).view(large)
    cropped = fit_window(index, wanted, -1.0)
    back = fit_window(cropped, large, -1.0)
    kept = back >= 0
    assert torch.equal(back[kept], index[kept])  # what was not cut lies where it lay
    assert int(kept.sum()) == min(large[0], wanted[0]) * min(large[1], wanted[1])


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_labels_come_back_exactly_from_a_multiple_of_their_resolution(factor: int) -> None:
    label = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (2, 7, 9), dtype=np.uint8))
    fine = resample_labels(label, (7 * factor, 9 * factor))
    assert fine.dtype == torch.uint8
    assert torch.equal(resample_labels(fine, (7, 9)), label)


@quick
@given(here=st.tuples(sides, sides), there=st.tuples(sides, sides))
def test_resampling_keeps_constants_and_the_field_of_view(here, there) -> None:
    image = torch.full((1, 2, *here), 0.37)
    moved = resample_plane(image, there)
    assert moved.shape == (1, 2, *there)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.37))
    assert resample_plane(image, here) is image


def test_resampling_keeps_a_linear_ramp_in_millimetres() -> None:
    # pixel centres of 12 pixels over a unit field of view lie at (i + 1/2) / 12
    ramp = ((torch.arange(12) + 0.5) / 12).expand(1, 1, 12, 12)
    finer = resample_plane(ramp, (12, 24))[0, 0, 0]
    expected = (torch.arange(24) + 0.5) / 24
    torch.testing.assert_close(finer[1:-1], expected[1:-1])  # the ends repeat the border


def _store(neighbours: int, folder: Path | None = None, *, with_labels: bool = True):
    grid = SliceGrid(axis=0, pixel_mm=2.0, size=32, neighbours=neighbours)
    cases = [blob_case(f"case_{i}", i, bright=True) for i in range(2)]
    items = [(image.name, image, label) for image, label in cases]
    counts = [SHAPE[0]] * 2
    return fill_store(items, counts, grid, INTENSITY, with_labels=with_labels, cache_folder=folder)


def test_neighbours_are_the_slices_beside_and_stop_at_the_volume() -> None:
    store = _store(5)
    drawn = store.image(np.array([0, 3, 5, 6, 11]))
    assert drawn.shape == (5, 5, 32, 32)
    expected = [
        [0, 0, 0, 1, 2],  # the first slice repeats
        [1, 2, 3, 4, 5],
        [3, 4, 5, 5, 5],  # slice 6 belongs to the next volume
        [6, 6, 6, 7, 8],
        [9, 10, 11, 11, 11],
    ]
    for planes, sample in zip(expected, drawn, strict=True):
        np.testing.assert_array_equal(sample.numpy(), store.images[planes].astype(np.float32))


def test_one_slice_volumes_repeat_themselves() -> None:
    image, label = blob_case("thin", 0, bright=True)
    thin = image.array[2:3]
    items = [("thin", type(image)(thin, image.affine, "thin"), None)]
    grid = SliceGrid(axis=0, pixel_mm=1.5, size=40, neighbours=3)
    store = fill_store(items, [1], grid, INTENSITY, with_labels=False)
    drawn = store.image(np.array([0]))
    assert torch.equal(drawn[:, 0], drawn[:, 1])
    assert torch.equal(drawn[:, 1], drawn[:, 2])
    assert label.array.shape == SHAPE


def test_mapped_slices_equal_those_in_memory(tmp_path: Path) -> None:
    memory, mapped = _store(3), _store(3, tmp_path / "cache")
    assert isinstance(mapped.images, np.memmap)
    assert isinstance(mapped.labels, np.memmap)
    assert not isinstance(memory.images, np.memmap)
    indices = np.array([7, 0, 11, 5])
    assert torch.equal(memory.image(indices), mapped.image(indices))
    assert torch.equal(memory.label(indices), mapped.label(indices))
    assert mapped.images.dtype == np.float16


def test_a_domain_without_labels_has_none_to_give() -> None:
    store = _store(1, with_labels=False)
    assert store.labels is None
    with pytest.raises(ValueError, match="without labels"):
        store.label(np.array([0]))


def test_slices_of_a_volume_by_hand() -> None:
    image, label = blob_case("case", 1, bright=True)
    grid = SliceGrid(axis=0, pixel_mm=1.5, size=48)
    slices, labels = window_slices(image, INTENSITY, grid), window_labels(label, grid)
    assert slices.shape == labels.shape == (6, 48, 48)
    # same pixel size: the 40 x 40 plane lies in the middle, 4 pixels of -1 and background around
    expected = np.clip(image.array.astype(np.float64) / 200 - 1, -1, 1)
    np.testing.assert_allclose(slices[:, 4:44, 4:44], expected, atol=1e-3)  # float16
    np.testing.assert_array_equal(labels[:, 4:44, 4:44], label.array)
    assert (slices[:, :4] == -1).all()
    assert (labels[:, :, 44:] == 0).all()


def test_any_orientation_gives_the_same_slices() -> None:
    image, label = blob_case("case", 2, bright=True)
    percentiles = Intensity(mode="percentile", bounds=(1.0, 99.0))
    grid = SliceGrid(axis=0, pixel_mm=1.9, size=32)
    expected = window_slices(image, percentiles, grid), window_labels(label, grid)
    assert image.spacing_mm == SPACING_MM
    for order, flips in all_orientations():
        turned, turned_label = (reoriented(v, order, flips) for v in (image, label))
        np.testing.assert_array_equal(window_slices(turned, percentiles, grid), expected[0])
        np.testing.assert_array_equal(window_labels(turned_label, grid), expected[1])


@pytest.mark.parametrize(("count", "largest"), [(6, 16), (16, 16), (17, 16), (36, 16), (5, 1)])
def test_parts_hold_every_slice_once_and_are_spread_over_the_whole(
    count: int, largest: int
) -> None:
    images = np.zeros((count, 8, 8), np.float16)
    store = SliceStore(images, None, np.zeros(count, np.int64), ("a",), 1)
    parts = store.parts(largest)
    assert sorted(np.concatenate(parts)) == list(range(count))
    sizes = {len(part) for part in parts}
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-count // largest)
    for part in parts:
        assert set(np.diff(part)) <= {len(parts)}


def test_a_sheared_slice_has_smaller_pixels() -> None:
    """Sagittal slices of a gantry tilted by 25 degrees: the sides of a pixel enclose 65 degrees."""
    tilt = np.radians(25)
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[1, 2] = 3 * np.tan(tilt)
    labels = np.zeros((12, 30, 6), np.uint8)
    labels[3:9, 8:20, 2:4] = 1
    image = Volume(labels.astype(np.int16), affine)
    true_mm3 = labels.sum() * 3.0
    for axis, share, gap in ((0, 1.0, 3.0), (1, 1.0, np.cos(tilt)), (2, np.cos(tilt), 1.0)):
        grid = SliceGrid(axis=axis, pixel_mm=0.5, size=96)
        assert grid.pixel_mm2(image) == pytest.approx(0.25 * share, rel=1e-12)
        items = [("a", image, Volume(labels, affine))]
        store = fill_store(items, [labels.shape[axis]], grid, INTENSITY, with_labels=True)
        assert store.slice_mm == pytest.approx((gap,), rel=1e-12)
        assert store.pixel_areas() == pytest.approx([0.25 * share] * len(store), rel=1e-12)
        assert store.labels is not None
        measured = (store.labels == 1).sum() * store.pixel_mm2[0] * store.slice_mm[0]
        assert measured == pytest.approx(true_mm3, rel=0.03)  # whole pixels at the edges
        size = structure_sizes(store.labels, ["a"], store.pixel_areas())["a"]
        whole = size.area_mm2 * size.slice_share * len(store) * store.slice_mm[0]
        assert whole == pytest.approx(measured, rel=1e-12)
