"""Agreement with brute force, MedPy and MONAI on random masks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from napari_uda.evaluation import nearest
from napari_uda.evaluation.overlap import dice
from napari_uda.evaluation.surface import border, surface_distances

SPACINGS = [(1.0, 1.0, 1.0), (2.5, 0.7, 0.9), (5.0, 1.0, 1.0), (0.4, 1.3, 3.1)]


def masks(seed, shape, smooth=1.2, level=0.1):
    """Two similar blobs with rough borders, both touching edges of the array now and then."""
    rng = np.random.default_rng(seed)
    base = ndimage.gaussian_filter(rng.standard_normal(shape), 2 * smooth)
    fields = (
        base + 0.5 * ndimage.gaussian_filter(rng.standard_normal(shape), smooth) for _ in range(2)
    )
    a, b = (field / field.std() > level for field in fields)
    a.flat[0] = b.flat[-1] = True  # never empty
    return a, b


def brute_border(mask):
    """Voxels with a face neighbour outside, one voxel at a time."""
    result = np.zeros_like(mask)
    for index in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                there = index.copy()
                there[axis] += step
                inside = 0 <= there[axis] < mask.shape[axis]
                if not inside or not mask[tuple(there)]:
                    result[tuple(index)] = True
    return result


@pytest.mark.parametrize("seed", range(200))
def test_brute_force(seed):
    """Every metric from an n x m matrix of distances, in 2-D and 3-D."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 8, 2 + seed % 2))
    spacing = tuple(rng.uniform(0.3, 4, len(shape)))
    a, b = (rng.random(shape) < rng.uniform(0.1, 0.9) for _ in range(2))
    a.flat[0] = b.flat[-1] = True
    edges = [brute_border(mask) for mask in (a, b)]
    assert np.array_equal(border(a), edges[0])
    matrix = cdist(*(np.argwhere(edge) * spacing for edge in edges))
    forward, backward = matrix.min(axis=1), matrix.min(axis=0)
    joined = np.concatenate((forward, backward))
    ours = surface_distances(a, b, spacing)
    assert ours.forward == pytest.approx(forward, abs=1e-9)
    assert ours.assd() == pytest.approx(joined.mean(), abs=1e-9)
    assert ours.masd() == pytest.approx((forward.mean() + backward.mean()) / 2, abs=1e-9)
    assert ours.hd95() == pytest.approx(np.percentile(joined, 95), abs=1e-9)
    assert ours.hausdorff() == pytest.approx(joined.max(), abs=1e-9)
    assert ours.nsd(1.234) == pytest.approx((joined <= 1.234).mean(), abs=1e-9)
    assert dice(a, b) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("shift", [0, 14])
def test_search_of_near_offsets_is_exact(spacing, shift):
    """Large enough for the offsets to be tried first, near and far from each other."""
    a, b = masks(1, (40, 44, 48))
    b = np.roll(b, shift, axis=1)
    assert np.count_nonzero(border(a)) > 2000
    ours = surface_distances(a, b, spacing)
    expected = ndimage.distance_transform_edt(~border(b), sampling=spacing)[border(a)]
    assert ours.forward == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "spacing",
    [(1.0, 1.0, 1.0), (1.5, 0.8, 0.8), (0.8, 0.8, 2.5), (0.7, 2.0, 0.7), (0.5, 1.2, 1.2)],
)
@pytest.mark.parametrize("shift", [(-18, 12, 20), (14, 20, -18)])
def test_search_of_planes_is_exact(spacing, shift, monkeypatch):
    """Masks that lie apart on a grid of which two axes are spaced alike: nothing is left for the tree."""
    monkeypatch.setattr(nearest, "_ask_tree", None)
    a, b = (np.pad(mask, 10) for mask in masks(1, (40, 44, 48)))
    b = np.roll(b, shift, axis=(0, 1, 2))
    a[0, 0, 0] = b[-1, -1, -1] = True  # the corners, which have no neighbour on one side
    ours = surface_distances(a, b, spacing)
    for found, mask, other in ((ours.forward, a, b), (ours.backward, b, a)):
        expected = ndimage.distance_transform_edt(~border(other), sampling=spacing)[border(mask)]
        assert found == pytest.approx(expected, abs=1e-9)


def test_borders_of_a_large_mask_and_distances_from_afar():
    """Larger than a strip of the border's search; most voxels are asked of the tree."""
    a, b = np.zeros((2, 70, 80, 110), bool)
    small, _ = masks(3, (32, 34, 36))
    a[:32, :34, :36] = b[38:, 46:, 74:] = small
    eroded = ndimage.binary_erosion(a)
    assert np.array_equal(border(a), a & ~eroded)
    spacing = (2.5, 0.7, 0.9)
    ours = surface_distances(a, b, spacing)
    expected = ndimage.distance_transform_edt(~border(b), sampling=spacing)[border(a)]
    assert ours.forward == pytest.approx(expected, abs=1e-9)
    assert ours.forward.min() > 16


@pytest.mark.parametrize("axis", range(3))
def test_distances_inside_slices(axis):
    """Distances along a slice axis equal those of every slice on its own."""
    a, b = masks(2, (30, 40, 50))
    np.moveaxis(b, axis, 0)[7] = False  # a slice with one side only
    spacing = (3.0, 0.8, 1.1)
    ours = surface_distances(a, b, spacing, slice_axis=axis)
    flat = tuple(step for other, step in enumerate(spacing) if other != axis)
    expected = np.full(a.shape, np.nan)
    for index in range(a.shape[axis]):
        planes = [np.moveaxis(mask, axis, 0)[index] for mask in (a, b)]
        alone = surface_distances(*planes, flat)
        np.moveaxis(expected, axis, 0)[index][border(planes[0])] = alone.forward
    assert np.isnan(ours.forward).any()
    assert ours.forward == pytest.approx(expected[border(a, axis)], abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore")
def test_medpy(seed, spacing):
    binary = pytest.importorskip("medpy.metric.binary")
    a, b = masks(seed, (18, 21, 24))
    ours = surface_distances(a, b, spacing)
    assert dice(a, b) == pytest.approx(binary.dc(a, b), abs=1e-6)
    assert ours.assd() == pytest.approx(binary.assd(a, b, voxelspacing=spacing), abs=1e-6)
    assert ours.directed() == pytest.approx(binary.asd(a, b, voxelspacing=spacing), abs=1e-6)
    old_rule = [binary.asd(x, y, voxelspacing=spacing) for x, y in ((a, b), (b, a))]
    assert ours.masd() == pytest.approx(np.mean(old_rule), abs=1e-6)
    assert ours.hd95() == pytest.approx(binary.hd95(a, b, voxelspacing=spacing), abs=1e-6)
    assert ours.hausdorff() == pytest.approx(binary.hd(a, b, voxelspacing=spacing), abs=1e-6)
    thick = surface_distances(a, b, spacing, connectivity=2)
    expected = binary.assd(a, b, voxelspacing=spacing, connectivity=2)
    assert thick.assd() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore")
def test_monai(seed, spacing):
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    a, b = masks(seed, (18, 21, 24))
    ours = surface_distances(a, b, spacing)
    pair = [torch.from_numpy(mask)[None, None] for mask in (a, b)]
    options = {"include_background": True, "spacing": spacing}

    def monai(function, **more):
        return float(function(*pair, **options, **more).squeeze())

    theirs = monai(metrics.compute_average_surface_distance, symmetric=True)
    assert ours.assd() == pytest.approx(theirs, abs=1e-6)
    theirs = monai(metrics.compute_average_surface_distance, symmetric=False)
    assert ours.directed() == pytest.approx(theirs, abs=1e-6)
    theirs = monai(metrics.compute_hausdorff_distance, percentile=95)
    # MONAI interpolates between two ranks in float32: the fraction of a rank is exact to 1e-4 only
    assert ours.hd95("max") == pytest.approx(theirs, abs=1e-4)
    joined = (np.sort(values) for values in (ours.forward, ours.backward))
    brackets = [values[int(0.95 * (values.size - 1)) :][:2] for values in joined]
    assert (
        max(low for low, _ in brackets) - 1e-6 <= theirs <= max(high for _, high in brackets) + 1e-6
    )
    theirs = monai(metrics.compute_hausdorff_distance)
    assert ours.hausdorff() == pytest.approx(theirs, abs=1e-6)
    theirs = monai(metrics.compute_surface_dice, class_thresholds=[1.0501])
    assert ours.nsd(1.0501) == pytest.approx(theirs, abs=1e-6)
    theirs = float(metrics.compute_dice(*pair).squeeze())
    assert dice(a, b) == pytest.approx(theirs, abs=1e-6)
