"""Views of a slice and their vote, as prediction has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_cases import blob_case, reoriented

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.inference.slice_views import SliceViews, slice_views
from napari_uda.run.run import Run

Domains = tuple[Path, Path]


@pytest.fixture(scope="module")
def loaded(tiny_run: Run) -> LoadedRun:
    """The tiny run with a head that is loud enough for views to disagree."""
    found = LoadedRun.load(tiny_run, "cpu")
    torch.manual_seed(0)
    torch.nn.init.normal_(found.method.segmentor.head.weight, std=1.0)
    return found


@pytest.mark.parametrize("index", [0, 3])
def test_the_vote_is_the_one_of_predict(loaded: LoadedRun, index: int) -> None:
    volume = blob_case("c", 5, bright=False)[0]
    prediction = predict(loaded, volume)
    views = slice_views(loaded, volume, index)
    reliability = prediction.reliability[index]
    assert 0.02 < (reliability == 2).mean() < 0.98  # else nothing is compared
    np.testing.assert_array_equal(views.reliable, reliability == 1)
    np.testing.assert_array_equal(views.unreliable, reliability == 2)  # three views: no ties
    np.testing.assert_array_equal(views.labels, prediction.labels[index])


def test_slices_count_in_the_canonical_order(loaded: LoadedRun) -> None:
    volume = blob_case("c", 5, bright=False)[0]
    turned = reoriented(volume, (2, 0, 1), (True, True, False))
    for index in (0, 5):
        one, other = (slice_views(loaded, v, index) for v in (volume, turned))
        for name in ("image", "labels", "random_vote"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_views_are_of_the_slice_and_differ_from_it(loaded: LoadedRun, tiny_run: Run) -> None:
    volume = blob_case("c", 5, bright=False)[0]
    views = slice_views(loaded, volume, 2)
    assert repr(views).startswith("<SliceViews of 40 x 40 pixels: ")
    intensity = tiny_run.facts.prediction_intensity
    np.testing.assert_array_equal(views.image, intensity.apply(volume.array)[2])
    assert views.random.shape == views.fourier.shape == (3, 40, 40)
    for kind in (views.random, views.fourier):
        assert kind.dtype == np.float32
        assert np.abs(kind).max() <= 1
        assert len({view.tobytes() for view in kind}) == 3
        assert (np.abs(kind - views.image).mean(axis=(1, 2)) > 0.01).all()


def test_masks_by_hand() -> None:
    """Rows: random vote agrees, disagrees, tie; columns the same of the Fourier vote."""
    votes = np.array([1, 2, 0], np.uint8)
    random, fourier = np.meshgrid(votes, votes, indexing="ij")
    blank = np.zeros((3, 3), np.float32)
    views = SliceViews(blank, blank[None], blank[None], blank.astype(np.uint8), random, fourier)
    assert views.reliable.tolist() == [[True, False, False], [False] * 3, [False] * 3]
    assert views.unreliable.tolist() == [[False, True, False], [True] * 3, [False, True, False]]


def test_slices_and_sizes_that_are_not_there(loaded: LoadedRun) -> None:
    volume = blob_case("c", 5, bright=False)[0]
    for index in (-1, 6):
        with pytest.raises(InputError, match=rf"c: has no slice {index}; choose 0 to 5"):
            slice_views(loaded, volume, index)
    narrow = Volume(volume.array[:, :, :3], volume.affine, "narrow")
    with pytest.raises(InputError, match=r"narrow: its slices have 32 x 2 pixels"):
        slice_views(loaded, narrow, 0)
