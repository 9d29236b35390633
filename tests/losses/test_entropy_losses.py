from __future__ import annotations

import math

import pytest
import torch

from napari_uda.losses.entropy import (
    entropy_map,
    entropy_of_probabilities,
    minimum_entropy_loss,
    selective_entropy,
    self_information,
)


def _logits(*probabilities: list[float]) -> torch.Tensor:
    """Logits `(1, C, 1, W)`, one pixel per list."""
    return torch.tensor(probabilities).log().T[None, :, None, :]


def test_self_information_by_hand() -> None:
    information = self_information(_logits([0.5, 0.25, 0.25]))[0, :, 0, 0]
    # -p ln p / ln 3 = 0.5 ln 2 / ln 3 in every channel (0.25 ln 4 = 0.5 ln 2)
    torch.testing.assert_close(information, torch.full((3,), 0.5 * math.log(2) / math.log(3)))


def test_uniform_is_one_and_one_hot_is_zero() -> None:
    uniform = torch.zeros(1, 5, 4, 4)
    torch.testing.assert_close(entropy_map(uniform), torch.ones(1, 4, 4))
    torch.testing.assert_close(self_information(uniform).sum(1), torch.ones(1, 4, 4))
    certain = torch.zeros(1, 5, 4, 4)
    certain[:, 3] = 1e4
    assert entropy_map(certain).abs().max() == 0
    two_of_four = torch.tensor([1e4, 1e4, 0, 0]).view(1, 4, 1, 1)
    assert entropy_map(two_of_four).item() == pytest.approx(0.5)  # ln 2 / ln 4


def test_range_and_invariance() -> None:
    torch.manual_seed(0)
    for scale in (0.1, 1.0, 30.0):
        logits = scale * torch.randn(2, 5, 8, 8)
        entropy = entropy_map(logits)
        assert entropy.min() >= 0
        assert entropy.max() <= 1
        assert self_information(logits).sum(1).max() <= 1 + 1e-6
        torch.testing.assert_close(entropy_map(logits + 7), entropy, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(entropy_map(logits.flip(1)), entropy)


@pytest.mark.parametrize("value", [1e4, -1e4, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_is_finite_at_one_hot(value: float, dtype: torch.dtype) -> None:
    logits = torch.zeros(1, 5, 2, 2).to(dtype)
    logits[:, 1] = value
    logits.requires_grad_()
    information = self_information(logits)
    (information.sum() + minimum_entropy_loss(logits)).backward()
    assert information.dtype == torch.float32
    assert information.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_minimum_entropy_is_the_mean_and_descending_sharpens() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 3, 3, requires_grad=True)
    loss = minimum_entropy_loss(logits)
    torch.testing.assert_close(loss, entropy_map(logits).mean())
    loss.backward()
    assert logits.grad is not None
    assert minimum_entropy_loss(logits - 10 * logits.grad) < loss


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 classes, the logits have 1"):
        self_information(torch.zeros(1, 1, 2, 2))


def test_selective_entropy_by_hand() -> None:
    half = [0.5, 0.5, 1e-30]
    certain = [1.0, 1e-30, 1e-30]
    uniform = [1 / 3] * 3
    agreeing = _logits(half, certain, uniform, uniform)
    disagreeing = _logits(certain, certain, uniform, half)
    reliable = torch.tensor([[[True, True, False, False]]])
    lowered, raised = selective_entropy(agreeing, disagreeing, reliable, ~reliable)
    # natural logarithm, divided by all 4 pixels: (ln 2 + 0) / 4 and -(ln 3 + ln 2) / 4
    assert lowered.item() == pytest.approx(math.log(2) / 4)
    assert raised.item() == pytest.approx(-(math.log(3) + math.log(2)) / 4)


def test_selective_entropy_gradient_by_finite_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 2, 3)
    reliable = torch.tensor([[[True, True, False], [False, True, False]]])
    unreliable = torch.tensor([[[False, False, True], [True, False, False]]])  # one pixel in none
    logits.requires_grad_()
    lowered, raised = selective_entropy(logits, logits, reliable, unreliable)
    (gradient,) = torch.autograd.grad(lowered + raised, logits)
    step = 1e-2
    for index in ((0, 1, 0, 0), (0, 2, 0, 2), (0, 0, 1, 0)):
        with torch.no_grad():
            change = torch.zeros_like(logits)
            change[index] = step
            up, down = (
                sum(
                    selective_entropy(
                        logits + s * change, logits + s * change, reliable, unreliable
                    )
                )
                for s in (1, -1)
            )
        assert gradient[index].item() == pytest.approx((up - down).item() / (2 * step), abs=2e-4)
    assert gradient[0, :, 1, 2].abs().max() == 0  # the pixel in neither set
    with torch.no_grad():
        before, after = entropy_map(logits), entropy_map(logits - 0.5 * gradient)
    assert (after[reliable] < before[reliable]).all()
    assert (after[unreliable] > before[unreliable]).all()


def test_empty_sets_give_zero_and_no_gradient() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    nothing = torch.zeros(1, 2, 2, dtype=torch.bool)
    lowered, raised = selective_entropy(logits, logits, nothing, nothing)
    assert lowered.item() == 0
    assert raised.item() == 0
    (gradient,) = torch.autograd.grad(lowered + raised, logits)
    assert gradient.abs().max() == 0


def test_terms_keep_to_their_own_logits() -> None:
    agreeing = torch.randn(1, 3, 2, 2, requires_grad=True)
    disagreeing = torch.randn(1, 3, 2, 2, requires_grad=True)
    reliable = torch.tensor([[[True, False], [True, False]]])
    lowered, raised = selective_entropy(agreeing, disagreeing, reliable, ~reliable)
    (lowered + raised).backward()
    assert agreeing.grad is not None
    assert disagreeing.grad is not None
    assert agreeing.grad[:, :, :, 1].abs().max() == 0
    assert disagreeing.grad[:, :, :, 0].abs().max() == 0
    assert agreeing.grad[:, :, :, 0].abs().max() > 0
    assert disagreeing.grad[:, :, :, 1].abs().max() > 0


def test_entropy_of_probabilities_is_that_of_their_logits() -> None:
    logits = 5 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    found = entropy_of_probabilities(logits.softmax(1))
    torch.testing.assert_close(found, entropy_map(logits), atol=1e-6, rtol=0)
    certain = torch.eye(3).T[None, :, None, :]  # probabilities of exactly 0 and 1
    assert entropy_of_probabilities(certain).abs().max() == 0
    assert entropy_of_probabilities(torch.full((1, 3, 1, 1), 1 / 3)).item() == pytest.approx(1)
