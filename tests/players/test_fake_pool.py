from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from napari_uda.players.fake_pool import FakePool


class Dice:
    """A generator of numbers given beforehand: a chance and a place."""

    def __init__(self, chance: float, place: int) -> None:
        self.numbers: Iterator[float] = iter((chance, place))

    def random(self) -> float:
        return next(self.numbers)

    def integers(self, high: int) -> float:
        return next(self.numbers)


def _image(value: float) -> torch.Tensor:
    return torch.full((1, 1, 2, 2), value)


def _query(pool: FakePool, value: float, chance: float, place: int = 0) -> float:
    draws: Any = [Dice(chance, place)]
    (answer,) = pool.query(_image(value), draws).unique().tolist()
    return float(answer)


def test_fresh_images_until_the_pool_is_full() -> None:
    pool = FakePool(50)
    for number in range(50):
        assert _query(pool, number, chance=0.0) == number
    assert pool.images[:, 0, 0, 0].tolist() == list(range(50))
    assert _query(pool, 99.0, chance=0.0, place=7) == 7


def test_then_half_of_the_queries_swap() -> None:
    pool = FakePool(2)
    for value in (1.0, 2.0):
        _query(pool, value, chance=0.9)
    assert _query(pool, 3.0, chance=0.49, place=1) == 2  # swapped
    assert _query(pool, 4.0, chance=0.5, place=0) == 4  # shown, not stored
    assert pool.images[:, 0, 0, 0].tolist() == [1, 3]
    generators = [np.random.default_rng(seed) for seed in range(200)]
    fresh = torch.arange(10.0, 210.0).view(-1, 1, 1, 1)
    shown = pool.query(fresh.expand(-1, 1, 2, 2), generators)
    swapped = (shown[:, 0, 0, 0] != fresh.flatten()).float().mean()
    assert 0.35 < swapped < 0.65


def test_a_batch_goes_through_one_by_one() -> None:
    pool = FakePool(1)
    fresh = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    draws: Any = [Dice(0.0, 0) for _ in range(3)]
    assert pool.query(fresh, draws)[:, 0, 0, 0].tolist() == [1, 1, 2]
    assert pool.images[:, 0, 0, 0].tolist() == [3]


def test_a_pool_without_room_shows_what_it_is_given() -> None:
    pool = FakePool(0)
    fakes = torch.rand(2, 1, 4, 4, requires_grad=True)
    shown = pool.query(fakes, [])
    assert torch.equal(shown, fakes)
    assert not shown.requires_grad
    assert pool.images.numel() == 0


def test_a_pool_of_any_filling_is_stored_and_loaded() -> None:
    for stored in (0, 1, 3):
        pool, other = FakePool(3), FakePool(3)
        for number in range(stored):
            _query(pool, number, chance=0.9)
        other.load_state_dict(pool.state_dict())
        assert torch.equal(other.images, pool.images)
        assert _query(other, 9.0, chance=0.1) == _query(pool, 9.0, chance=0.1)
