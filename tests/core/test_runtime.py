"""One call that turns a loss into a step of some players."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from tiny_cases import changed, snapshot
from torch import Tensor, nn, optim

from napari_uda.core.errors import InputError
from napari_uda.core.precision import choose_device, choose_precision, in_float32
from napari_uda.core.runtime import Runtime
from napari_uda.core.schedule import poly
from napari_uda.core.seeds import generator


class Game(nn.Module):
    """Two players whose outputs are multiplied, so that every loss reaches both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 2), nn.Linear(2, 1)

    def forward(self) -> Tensor:
        score: Tensor = self.second(self.first(torch.tensor([[1.0, -2.0, 0.5]]))).sum()
        return score


def _start(lr: float = 0.1, **settings: Any) -> tuple[Game, Runtime]:
    game = Game()
    runtime = Runtime(torch.device("cpu"), **settings)
    players = {"first": game.first, "second": game.second}
    runtime.attach({n: optim.SGD(p.parameters(), lr=lr) for n, p in players.items()})
    return game, runtime


@pytest.mark.parametrize("player", ["first", "second"])
def test_gradients_reach_the_named_player_only(player: str) -> None:
    game, runtime = _start()
    before = snapshot(game)
    runtime.minimise({"loss": game().square()}, player)
    assert changed(before, game) == {f"{player}.weight", f"{player}.bias"}
    other = game.second if player == "first" else game.first
    assert all(parameter.grad is None for parameter in other.parameters())


def test_several_players_move_on_one_loss() -> None:
    game, runtime = _start()
    before, loss = snapshot(game), game().square()
    runtime.minimise({"loss": loss}, "first", "second")
    assert changed(before, game) == set(before)
    assert float(game().square().detach()) < float(loss.detach())


def test_a_step_by_hand_and_no_gradient_left_over() -> None:
    game, runtime = _start(lr=0.5)
    for _ in range(2):  # the second step must not see the first one's gradient
        weight = game.second.weight.detach().clone()
        hidden = game.first(torch.tensor([[1.0, -2.0, 0.5]])).detach()
        runtime.minimise({"loss": 3 * game()}, "second")
        torch.testing.assert_close(game.second.weight, weight - 0.5 * 3 * hidden)


def test_a_gradient_left_by_the_other_player_is_dropped() -> None:
    game, runtime = _start(lr=0.5)
    game().square().backward()
    before = game.second.bias.detach().clone()
    runtime.minimise({"loss": game()}, "second")  # the gradient of the bias is 1
    torch.testing.assert_close(game.second.bias, before - 0.5)


@pytest.mark.parametrize(("limit", "moved"), [(0.0, 500.0), (1e4, 500.0), (2.0, 2.0)])
def test_clipping_bounds_the_norm_over_all_players(limit: float, moved: float) -> None:
    game, runtime = _start(lr=1.0, clip_norm=limit)
    before = snapshot(game)
    loss = 500 * (game.first.bias[0] * 0.6 + game.second.bias[0] * 0.8)  # gradient norm 500
    runtime.minimise({"loss": loss}, "first", "second")
    steps = [(before[n] - t).flatten() for n, t in snapshot(game).items()]
    assert float(torch.cat(steps).norm()) == pytest.approx(moved, rel=1e-4)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda loss: loss * float("nan"),
        lambda loss: loss * float("inf"),
        lambda loss: (loss - loss.detach()).sqrt(),  # a finite loss, 0, with an infinite gradient
    ],
)
def test_what_is_not_finite_raises_and_changes_nothing(spoil) -> None:
    game, runtime = _start()
    optimizers = {n: optim.Adam(p.parameters()) for n, p in game.named_children()}
    runtime.attach(optimizers)
    runtime.step = 17
    before = snapshot(game)
    with pytest.raises(FloatingPointError, match=r"loss of first and second is .* at step 17"):
        runtime.minimise({"loss": spoil(game())}, "first", "second")
    assert not changed(before, game)
    for optimizer in optimizers.values():
        assert not optimizer.state
    assert all(parameter.grad is None for parameter in game.parameters())


def test_poly_by_hand() -> None:
    assert poly(0, 100, 0.9) == 1
    assert poly(50, 100, 1.0) == 0.5
    assert poly(75, 100, 2.0) == 0.0625
    assert poly(50, 100, 0.9) == pytest.approx(math.exp(0.9 * math.log(0.5)))
    assert [poly(step, 10, 0) for step in (0, 5, 10, 99)] == [1, 1, 1, 1]
    assert poly(100, 100, 0.9) == poly(200, 100, 0.9) == 0


def test_learning_rates_scale_from_the_initial_ones() -> None:
    game, runtime = _start()
    groups = [
        {"params": game.first.parameters(), "lr": 0.1},
        {"params": game.second.parameters(), "lr": 1.0},
    ]
    optimizer = optim.SGD(groups)
    runtime.attach({"both": optimizer})
    for factor in (1.0, 0.5, 0.25):  # not cumulative
        runtime.set_learning_rates(factor)
        assert [group["lr"] for group in optimizer.param_groups] == [0.1 * factor, factor]


def test_random_numbers_of_a_sample_depend_on_seed_stream_step_and_place() -> None:
    _, runtime = _start(seed=5)
    runtime.step = 9
    drawn = [g.random() for g in runtime.sample_generators("views", 3)]
    assert drawn == [generator(5, "views", 9, i).random() for i in range(3)]
    assert drawn[:2] == [g.random() for g in runtime.sample_generators("views", 2)]
    runtime.step = 10
    assert not set(drawn) & {g.random() for g in runtime.sample_generators("views", 3)}


def test_bfloat16_is_for_convolutions_when_asked_for() -> None:
    image, kernel = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 3, 3)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        _, runtime = _start(precision=precision)
        with runtime.autocast():
            assert nn.functional.conv2d(image, kernel).dtype == dtype
    assert choose_precision("bf16", torch.device("cpu")) == "bf16"
    assert choose_precision("fp32", torch.device("cuda")) == "fp32"


def test_an_unknown_device_is_refused() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("toaster", "cuda:99"):
        with pytest.raises(InputError, match=f"device '{name}' cannot be used here"):
            choose_device(name)


def test_terms_come_back_as_they_were_before_the_step() -> None:
    game, runtime = _start()
    first, second = game().square(), 2 * game()
    logs = runtime.minimise({"first": first, "second": second}, "first")
    assert list(logs) == ["first", "second"]
    assert torch.equal(logs["first"], first.detach())
    assert not any(term.requires_grad for term in logs.values())


def test_the_sum_of_the_terms_is_what_a_step_lowers() -> None:
    whole, parts = _start()[0], _start()[0]
    for game, terms in (
        (whole, {"all": 5 * whole()}),
        (parts, {"a": 2 * parts(), "b": 3 * parts()}),
    ):
        runtime = Runtime(torch.device("cpu"))
        runtime.attach({"first": optim.SGD(game.first.parameters(), lr=0.1)})
        runtime.minimise(terms, "first")
    torch.testing.assert_close(whole.first.weight, parts.first.weight)


def test_a_second_forward_in_bfloat16_sees_the_weights_of_the_first_update() -> None:
    """Autocast keeps its bfloat16 copies of weights: without clearing them the second step is stale."""
    game, runtime = _start(lr=0.5, precision="bf16")
    image = torch.tensor([[1.0, -2.0, 0.5]])
    seen = []
    with runtime.autocast():
        for _ in range(2):
            loss = game.first(image).float().sum()
            seen.append(float(loss.detach()))
            runtime.minimise({"loss": loss}, "first")
            fresh = copy.deepcopy(game.first)  # has no copies in autocast's cache
            assert torch.equal(game.first(image), fresh(image))
    # every output falls by 0.5 times the squared length of (image, 1), which is 6.25
    assert seen[1] == pytest.approx(seen[0] - 2 * 0.5 * 6.25, abs=0.1)


def test_backward_leaves_autocast() -> None:
    """Gradients arrive in float32 and are those of the same step outside of autocast."""
    game, runtime = _start(precision="bf16")
    with runtime.autocast():
        runtime.minimise({"loss": game().float().square()}, "first")
    other, plain = _start(precision="bf16")
    with plain.autocast():
        loss = other().float().square()
    plain.minimise({"loss": loss}, "first")
    assert game.first.weight.dtype == torch.float32
    assert torch.equal(game.first.weight, other.first.weight)


def test_products_that_must_be_exact_stay_in_float32() -> None:
    matrix = torch.rand(4, 4)

    @in_float32
    def product(values: Tensor) -> Tensor:
        return values @ values

    with torch.autocast("cpu", torch.bfloat16):
        assert (matrix @ matrix).dtype == torch.bfloat16
        exact = product(matrix)
    assert exact.dtype == torch.float32
    torch.testing.assert_close(exact.double(), matrix.double() @ matrix.double())
