"""The vote of views, by hand and by property."""

from __future__ import annotations

import pytest
import torch

from napari_uda.core.seeds import generator
from napari_uda.data.fourier import grey_amplitude, mix_amplitude
from napari_uda.uncertainty.reliability import (
    ReliabilityConfig,
    fourier_views,
    random_views,
    vote,
)


def _agree(*counts: int, views: int) -> torch.Tensor:
    """`(views, 1, 1, len(counts))`: pixel p agrees in the first `counts[p]` views."""
    order = torch.arange(views).view(-1, 1, 1, 1)
    return order < torch.tensor(counts).view(1, 1, 1, -1)


def _generators(count: int) -> list:
    return [generator(0, "views", i) for i in range(count)]


def test_three_views_by_hand() -> None:
    # of 3 views 2 are a majority; pixel by pixel (random, Fourier):
    random = _agree(3, 2, 3, 1, 2, 0, 1, 0, views=3)
    fourier = _agree(3, 2, 1, 3, 0, 2, 1, 0, views=3)
    reliable, unreliable = vote(random, fourier)
    assert reliable.flatten().tolist() == [True, True] + [False] * 6
    assert unreliable.flatten().tolist() == [False, False] + [True] * 6


def test_fourier_views_alone_make_a_pixel_unreliable() -> None:
    reliable, unreliable = vote(_agree(3, views=3), _agree(1, views=3))
    assert not reliable.any()
    assert unreliable.all()


def test_which_views_agree_does_not_matter() -> None:
    agrees = torch.tensor([True, False, True]).view(3, 1, 1, 1)
    both = vote(agrees, agrees.roll(1, 0))
    assert both.reliable.all()
    assert not both.unreliable.any()


@pytest.mark.parametrize("views", [1, 3, 5, 15])
def test_odd_numbers_leave_nothing_undecided(views: int) -> None:
    draw = torch.Generator().manual_seed(views)
    random, fourier = (torch.rand(views, 2, 16, 16, generator=draw) > 0.5 for _ in range(2))
    reliable, unreliable = vote(random, fourier)
    assert torch.equal(unreliable, ~reliable)
    assert reliable.any()
    assert unreliable.any()


def test_even_numbers_leave_ties_undecided() -> None:
    # of 4 views 3 are a majority; 2 against 2 is neither
    random = _agree(4, 3, 2, 2, 2, 1, views=4)
    fourier = _agree(4, 3, 4, 2, 1, 4, views=4)
    reliable, unreliable = vote(random, fourier)
    assert reliable.flatten().tolist() == [True, True, False, False, False, False]
    assert unreliable.flatten().tolist() == [False, False, False, False, True, True]


def test_sets_of_different_size() -> None:
    reliable, unreliable = vote(_agree(3, 1, views=5), _agree(1, 1, views=1))
    assert reliable.flatten().tolist() == [True, False]
    assert unreliable.flatten().tolist() == [False, True]


def test_random_views_are_view_major_and_differ() -> None:
    image = torch.rand(2, 1, 16, 16) * 2 - 1
    config = ReliabilityConfig(views=3)
    views = random_views(image, config, _generators(2)).view(3, 2, 1, 16, 16)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert not torch.equal(views[first], views[second])
    # row n B + b is view n of slice b: slice 1 alone gives the same
    alone = random_views(image[1:], config, _generators(2)[1:])
    torch.testing.assert_close(views[:, 1], alone, atol=1e-6, rtol=0)


def test_fourier_views_take_amplitudes_of_the_bank() -> None:
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 16, 16, generator=draw) - 0.5
    bank = grey_amplitude(torch.rand(4, 1, 16, 16, generator=draw) - 0.5, 2)
    config = ReliabilityConfig(views=3)
    views = fourier_views(image, bank, config, _generators(2)).view(3, 2, 1, 16, 16)
    chosen = set()
    for view in views:
        for sample in range(2):
            possible = [
                mix_amplitude(image[sample : sample + 1], bank[m : m + 1], mu=0.8, half_width=2)[0]
                for m in range(4)
            ]
            matching = [m for m in range(4) if torch.allclose(view[sample], possible[m], atol=1e-6)]
            assert len(matching) == 1
            chosen.update(matching)
    assert len(chosen) > 1


def test_views_without_strength_are_the_slice_itself() -> None:
    image = torch.rand(2, 3, 16, 16) * 2 - 1
    off = ReliabilityConfig(jitter=0, blur_probability=0, fourier_mu=0)
    bank = grey_amplitude(torch.rand(5, 3, 16, 16), 2)
    expected = image.repeat(3, 1, 1, 1)
    for views in (
        random_views(image, off, _generators(2)),
        fourier_views(image, bank, off, _generators(2)),
    ):
        torch.testing.assert_close(views, expected, atol=1e-4, rtol=0)
