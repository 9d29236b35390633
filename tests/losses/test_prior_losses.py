from __future__ import annotations

import math

import pytest
import torch

from napari_uda.losses.entropy import entropy_map
from napari_uda.losses.prior import (
    FLOOR,
    Divergence,
    mean_log_ratio,
    predicted_log_ratio,
    ratio_divergence,
    renormalised,
    size_weights,
    tolerant_divergence,
    weighted_entropy,
)


def _logits(*pixels: list[float]) -> torch.Tensor:
    """Logits `(1, C, 1, W)` of one image, one pixel per list of probabilities."""
    return torch.tensor(pixels).log().T[None, :, None, :]


def _one_hot(*classes: int, count: int = 3) -> torch.Tensor:
    logits = torch.full((1, count, 1, len(classes)), -1e4)
    for place, index in enumerate(classes):
        logits[0, index, 0, place] = 1e4
    return logits


# --- weighted entropy -------------------------------------------------------------------------------


def test_weighted_entropy_by_hand() -> None:
    logits = _logits([0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3])
    weights = torch.tensor([0.2, 0.3, 0.5])
    first = 0.2 * 0.5 * math.log(2) + 0.8 * 0.25 * math.log(4)
    second = math.log(3) / 3
    expected = torch.tensor((first + second) / 2)
    torch.testing.assert_close(weighted_entropy(logits, weights), expected)


def test_pixels_that_do_not_count_add_nothing() -> None:
    logits, weights = torch.randn(2, 3, 4, 4, requires_grad=True), torch.tensor([0.2, 0.3, 0.5])
    some = torch.rand(2, 4, 4) > 0.5
    parts = [weighted_entropy(logits, weights, pixels) for pixels in (some, ~some)]
    torch.testing.assert_close(sum(parts), weighted_entropy(logits, weights))
    (gradient,) = torch.autograd.grad(parts[0], logits)
    assert not gradient.permute(0, 2, 3, 1)[~some].any()


def test_equal_weights_are_the_entropy() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 4, 4)
    expected = entropy_map(logits).mean() * math.log(5)
    torch.testing.assert_close(weighted_entropy(logits, torch.ones(5)), expected)


@pytest.mark.parametrize("value", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_everything_is_finite_at_one_hot(value: float, dtype: torch.dtype) -> None:
    logits = torch.zeros(2, 5, 2, 2).to(dtype)
    logits[:, 1] = value
    logits.requires_grad_()
    prior = torch.tensor([[0.0, 0.0, 0.2, 0.3, 0.5]])
    total = weighted_entropy(logits, torch.ones(5))
    for mode in ("mean", "maxnorm", "argmax"):
        ratio = predicted_log_ratio(logits, mode)
        for kind in ("adami", "adaent"):
            total = total + ratio_divergence(ratio, prior, kind).sum()
        total = total + ratio_divergence(mean_log_ratio(ratio), prior).sum()
    assert total.dtype == torch.float32
    assert total.isfinite()
    total.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# --- predicted ratio --------------------------------------------------------------------------------


def test_ratio_is_the_mean_probability() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 5, 6)
    expected = logits.softmax(1).mean((2, 3))
    torch.testing.assert_close(predicted_log_ratio(logits).exp(), expected)


def test_maxnorm_by_hand() -> None:
    # relative to the largest: (1, 0.5, 0.5) and (0.25, 1, 0); sums 1.25, 1.5, 0.5 of 3.25
    logits = _logits([0.5, 0.25, 0.25], [0.2, 0.8, 1e-30])
    expected = torch.tensor([[1.25, 1.5, 0.5]]) / 3.25
    torch.testing.assert_close(predicted_log_ratio(logits, "maxnorm").exp(), expected)


def test_mean_and_maxnorm_are_equal_for_one_hot() -> None:
    logits = _one_hot(0, 1, 1, 2)
    expected = torch.tensor([[0.25, 0.5, 0.25]])
    torch.testing.assert_close(predicted_log_ratio(logits, "mean").exp(), expected)
    torch.testing.assert_close(predicted_log_ratio(logits, "maxnorm").exp(), expected)


def test_argmax_counts_pixels_and_moves_as_the_mean_does() -> None:
    # half a pixel of doubt about class 2, which wins nowhere and counts as half a pixel
    logits = _logits(
        [0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.3, 0.5, 0.2]
    ).requires_grad_()
    ratio = predicted_log_ratio(logits, "argmax").exp()
    torch.testing.assert_close(ratio, torch.tensor([[0.75, 0.25, 0.125]]))
    weights = torch.tensor([[1.0, -2.0, 0.5]])
    (found,) = torch.autograd.grad((weights * ratio).sum(), logits)
    mean = predicted_log_ratio(logits, "mean").exp()
    (expected,) = torch.autograd.grad((weights * mean).sum(), logits)
    torch.testing.assert_close(found, expected)


def test_argmax_leaves_a_segmentation_of_the_expected_size_alone() -> None:
    """A little doubt everywhere is no size: `mean` would lower the structure, `argmax` has no reason to."""
    logits = _logits(*[[0.9, 0.1]] * 9, [0.1, 0.9]).requires_grad_()
    prior = torch.tensor([[0.9, 0.1]])
    for mode, at_rest in (("argmax", True), ("mean", False)):
        loss = ratio_divergence(predicted_log_ratio(logits, mode), prior).sum()  # type: ignore[arg-type]
        (slope,) = torch.autograd.grad(loss, logits)
        assert (slope.abs().max() < 1e-7) == at_rest


def test_ratios_sum_to_one() -> None:
    torch.manual_seed(0)
    for scale in (0.1, 10.0):
        for mode in ("mean", "maxnorm"):
            ratio = predicted_log_ratio(scale * torch.randn(2, 5, 8, 8), mode).exp()
            torch.testing.assert_close(ratio.sum(1), torch.ones(2))


def test_ratio_of_the_batch_is_the_mean_of_ratios() -> None:
    torch.manual_seed(0)
    ratio = torch.rand(3, 4).softmax(1)
    torch.testing.assert_close(mean_log_ratio(ratio.log()).exp(), ratio.mean(0, keepdim=True))


# --- divergence -------------------------------------------------------------------------------------


def test_divergences_by_hand() -> None:
    ratio, prior = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.5, 0.25, 0.25]])
    adami = 0.7 * math.log(1.4) + 0.2 * math.log(0.8) + 0.1 * math.log(0.4)
    adaent = -(0.5 * math.log(0.7) + 0.25 * math.log(0.2) + 0.25 * math.log(0.1))
    assert ratio_divergence(ratio.log(), prior, "adami").item() == pytest.approx(adami, rel=1e-5)
    assert ratio_divergence(ratio.log(), prior, "adaent").item() == pytest.approx(adaent, rel=1e-5)


def test_no_divergence_at_equality_and_some_elsewhere() -> None:
    torch.manual_seed(0)
    prior = torch.rand(6, 4).softmax(1)
    assert ratio_divergence(prior.log(), prior, "adami").abs().max() < 1e-6
    other = torch.rand(6, 4).softmax(1)
    assert (ratio_divergence(other.log(), prior, "adami") > 1e-4).all()
    # the cross-entropy is least at equality, where it is the prior's own entropy
    own = -(prior * prior.log()).sum(1)
    torch.testing.assert_close(ratio_divergence(prior.log(), prior, "adaent"), own)
    assert (ratio_divergence(other.log(), prior, "adaent") > own).all()


@pytest.mark.parametrize("kind", ["adami", "adaent"])
def test_gradients_to_the_ratio_are_those_of_the_paper(kind: str) -> None:
    ratio = torch.tensor([[0.7, 0.2, 0.1]], requires_grad=True)
    prior = torch.tensor([[0.5, 0.25, 0.25]])
    ratio_divergence(ratio.log(), prior, kind).sum().backward()  # type: ignore[arg-type]
    with torch.no_grad():
        expected = (ratio / prior).log() + 1 if kind == "adami" else -prior / ratio
    torch.testing.assert_close(ratio.grad, expected, atol=1e-5, rtol=1e-5)


def test_adami_pulls_gently_where_adaent_has_no_bound() -> None:
    pulls = {}
    for kind in ("adami", "adaent"):
        ratio = torch.tensor([[1 - 1e-6, 1e-6]], requires_grad=True)
        ratio_divergence(ratio.log(), torch.tensor([[0.5, 0.5]]), kind).sum().backward()  # type: ignore[arg-type]
        assert ratio.grad is not None
        pulls[kind] = ratio.grad[0, 1].abs().item()
    assert pulls["adami"] == pytest.approx(abs(math.log(2e-6) + 1), rel=1e-3)
    assert pulls["adaent"] == pytest.approx(0.5e6, rel=1e-3)


def test_absent_class_costs_its_ratio_times_the_floor() -> None:
    ratio = torch.tensor([[0.9, 0.1]])
    prior = torch.tensor([[1.0, 0.0]])
    for floor in (FLOOR, 1e-4):
        expected = 0.9 * math.log(0.9) + 0.1 * (math.log(0.1) - math.log(floor))
        found = ratio_divergence(ratio.log(), prior, "adami", floor=floor).item()
        assert found == pytest.approx(expected, rel=2e-3)
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    ratio_divergence(predicted_log_ratio(logits), prior).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, 1] > 0).all()  # descending makes the absent class rarer


def test_gradient_to_the_logits_by_finite_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, 2)
    prior = torch.tensor([[0.6, 0.3, 0.1], [0.8, 0.2, 0.0]])
    weights = torch.tensor([0.1, 0.4, 0.5])

    def loss(values: torch.Tensor, kind: str, mode: str) -> torch.Tensor:
        ratio = predicted_log_ratio(values, mode)  # type: ignore[arg-type]
        fit = ratio_divergence(ratio, prior, kind).mean()  # type: ignore[arg-type]
        return weighted_entropy(values, weights) + fit

    for kind in ("adami", "adaent"):
        for mode in ("mean", "maxnorm"):
            leaf = logits.clone().requires_grad_()
            loss(leaf, kind, mode).backward()
            assert leaf.grad is not None
            for place in ((0, 0, 0, 0), (0, 2, 1, 0), (1, 1, 0, 1), (1, 2, 1, 1)):
                step = torch.zeros_like(logits)
                step[place] = 1e-2
                slope = (loss(logits + step, kind, mode) - loss(logits - step, kind, mode)) / 2e-2
                assert leaf.grad[place].item() == pytest.approx(slope.item(), abs=2e-3), kind


def test_uniform_prior_makes_mutual_information() -> None:
    """KL(tau_hat || uniform) = ln K - H(tau_hat), so the whole loss is -I(X; Y) + ln K."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(1, 4, 6, 6)
    log_ratio = predicted_log_ratio(logits)
    uniform = torch.full((1, 4), 0.25)
    marginal = -(log_ratio.exp() * log_ratio).sum()
    found = ratio_divergence(log_ratio, uniform)[0]
    torch.testing.assert_close(found, math.log(4) - marginal, atol=1e-5, rtol=1e-5)


# --- priors and weights -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["adami", "adaent"])
def test_ratios_within_the_tolerance_are_left_alone(kind: Divergence) -> None:
    ratio = torch.tensor([[0.7, 0.2, 0.1], [0.9, 0.02, 0.08]])
    log_ratio = ratio.log().requires_grad_()
    prior = torch.tensor([[0.8, 0.1, 0.1]])
    loss = tolerant_divergence(log_ratio, prior, kind, tolerance=3.0)
    (gradient,) = torch.autograd.grad(loss.sum(), log_ratio)
    # only the 0.02 is below a third of its prior
    wanted = 0.1 / 3
    expected = 0.02 * math.log(0.02 / wanted) if kind == "adami" else 0.02 - wanted
    values = torch.tensor([[0.0, 0, 0], [0, expected, 0]])
    torch.testing.assert_close(gradient, values, atol=1e-6, rtol=1e-4)
    assert loss[0] == 0.0
    distance = 0.02 * math.log(0.02 / wanted) - 0.02 + wanted
    if kind == "adaent":
        distance = wanted * math.log(wanted / 0.02) - wanted + 0.02
    assert float(loss[1].detach()) == pytest.approx(distance, abs=1e-6)


def test_priors_are_renormalised() -> None:
    given = torch.tensor([[0.8, 0.205], [0.5, 0.5]])
    expected = torch.tensor([[0.8 / 1.005, 0.205 / 1.005], [0.5, 0.5]])
    torch.testing.assert_close(renormalised(given), expected)
    for wrong in ([0.0, 0.0], [1.2, -0.2]):
        with pytest.raises(ValueError, match="must not be negative, and not all of them 0"):
            renormalised(torch.tensor([wrong]))


def test_size_weights_by_hand() -> None:
    torch.testing.assert_close(size_weights([1.0, 2.0, 4.0]), torch.tensor([4.0, 2.0, 1.0]) / 7)
    weights = size_weights([60000, 2908, 3919, 3003, 3071])
    assert weights.sum().item() == pytest.approx(1)
    assert weights.argmax() == 1  # the smallest structure counts most
    # only the relation of sizes matters, so millimetres and pixels are the same
    torch.testing.assert_close(size_weights([2.0, 6.0]), size_weights([1.0, 3.0]))
    with pytest.raises(ValueError, match="above 0"):
        size_weights([1.0, 0.0])
