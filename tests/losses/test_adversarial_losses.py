from __future__ import annotations

import math

import pytest
import torch

from napari_uda.losses.adversarial import domain_loss, source_likeness

SCORE = torch.tensor([[-1.0, 2.0]])


def test_bce_by_hand() -> None:
    source = (math.log1p(math.exp(1)) + math.log1p(math.exp(-2))) / 2
    target = (math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2
    assert domain_loss(SCORE, True).item() == pytest.approx(source)
    assert domain_loss(SCORE, False).item() == pytest.approx(target)
    assert domain_loss(torch.zeros(3), True).item() == pytest.approx(math.log(2))


def test_ls_and_wgan_by_hand() -> None:
    assert domain_loss(SCORE, True, "ls").item() == pytest.approx((4 + 1) / 2)
    assert domain_loss(SCORE, False, "ls").item() == pytest.approx((1 + 4) / 2)
    assert domain_loss(SCORE, True, "wgan").item() == pytest.approx(-0.5)
    assert domain_loss(SCORE, False, "wgan").item() == pytest.approx(0.5)


@pytest.mark.parametrize("mode", ["bce", "ls", "wgan"])
def test_players_pull_the_target_score_in_opposite_directions(mode: str) -> None:
    score = torch.full((2, 1, 3, 3), 0.4, requires_grad=True)
    (segmentor,) = torch.autograd.grad(domain_loss(score, True, mode), score)
    (discriminator,) = torch.autograd.grad(domain_loss(score, False, mode), score)
    assert (segmentor < 0).all()  # descending raises the score: more like source
    assert (discriminator > 0).all()


def test_extreme_scores_stay_finite_in_float32() -> None:
    score = torch.tensor([-1e4, 1e4], dtype=torch.bfloat16, requires_grad=True)
    loss = domain_loss(score, True)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(5e3, rel=1e-2)
    assert score.grad is not None
    assert score.grad.tolist() == [-0.5, 0.0]


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown adversarial loss 'hinge'; choose bce"):
        domain_loss(SCORE, True, "hinge")


def test_likeness_to_the_source_by_hand() -> None:
    score = torch.tensor([-1e3, -1.0, 0.0, 0.5, 1.0, 1e3])
    sigmoid = 1 / (1 + math.exp(1))
    wanted = [-1, 2 * sigmoid - 1, 0, math.tanh(0.25), 1 - 2 * sigmoid, 1]
    torch.testing.assert_close(source_likeness(score), torch.tensor(wanted))
    wanted = [-1, -1, -1, 0, 1, 1]
    assert source_likeness(score, "ls").tolist() == wanted
