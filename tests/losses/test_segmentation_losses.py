from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from napari_uda.losses.segmentation import (
    class_weights,
    pixel_weights,
    segmentation_loss,
    soft_dice_loss,
    weighted_cross_entropy,
)
from napari_uda.networks.segmentor import SegmentorOutput

LABEL = torch.tensor([[[0, 0, 0], [1, 1, 2]]])  # N = 6, n = (3, 2, 1)


def _logits(probabilities: list[float]) -> torch.Tensor:
    """Logits `(1, C, 2, 3)` with the same probabilities everywhere."""
    return torch.tensor(probabilities).log().view(1, -1, 1, 1).expand(1, -1, 2, 3)


def test_class_weights_by_hand() -> None:
    weights = class_weights(LABEL, 4)
    # 1 - (n + 1) / 6 for n = 3, 2, 1, 0
    torch.testing.assert_close(weights, torch.tensor([2 / 6, 3 / 6, 4 / 6, 5 / 6]))
    assert weights.dtype == torch.float32
    torch.testing.assert_close(class_weights(LABEL.to(torch.uint8), 4), weights)


def test_weighted_cross_entropy_by_hand() -> None:
    logits = _logits([0.5, 0.3, 0.2])
    weights = torch.tensor([2 / 6, 3 / 6, 4 / 6])
    # weighted mean over 3, 2 and 1 pixels: masses 1, 1 and 2/3
    expected = -(1 * math.log(0.5) + 1 * math.log(0.3) + 2 / 3 * math.log(0.2)) / (8 / 3)
    assert weighted_cross_entropy(logits, LABEL, weights).item() == pytest.approx(expected)
    plain = -(3 * math.log(0.5) + 2 * math.log(0.3) + math.log(0.2)) / 6
    assert weighted_cross_entropy(logits, LABEL).item() == pytest.approx(plain)


def test_weighted_cross_entropy_is_torch_s() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(3, 5, 7, 6), torch.randint(5, (3, 7, 6))
    weights = class_weights(label, 5)
    torch.testing.assert_close(
        weighted_cross_entropy(logits, label, weights), F.cross_entropy(logits, label, weights)
    )
    torch.testing.assert_close(
        weighted_cross_entropy(logits, label), F.cross_entropy(logits, label)
    )


def test_one_single_class_gives_the_plain_mean() -> None:
    label = torch.zeros(1, 2, 3, dtype=torch.int64)
    weights = class_weights(label, 2)
    assert weights[0].item() == pytest.approx(-1 / 6)
    loss = weighted_cross_entropy(_logits([0.25, 0.75]), label, weights)
    assert loss.item() == pytest.approx(-math.log(0.25))


def test_zero_weights_give_zero_instead_of_nan() -> None:
    loss = weighted_cross_entropy(_logits([0.5, 0.3, 0.2]), LABEL, torch.zeros(3))
    assert loss.item() == 0


def test_dice_by_hand() -> None:
    probabilities = [0.5, 0.3, 0.2]
    # class c: 2 p n / (6 p^2 + n), n = (3, 2, 1)
    scores = [2 * p * n / (6 * p * p + n) for p, n in zip(probabilities, (3, 2, 1), strict=True)]
    expected = 1 - sum(scores) / 3
    assert soft_dice_loss(_logits(probabilities), LABEL).item() == pytest.approx(expected, abs=1e-5)


def test_dice_is_averaged_per_image() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    label[1] = 0
    single = [soft_dice_loss(logits[i : i + 1], label[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(soft_dice_loss(logits, label), (single[0] + single[1]) / 2)


def test_dice_of_a_perfect_and_of_a_wrong_prediction() -> None:
    truth = F.one_hot(LABEL, 3).permute(0, 3, 1, 2).float()
    assert soft_dice_loss(1e4 * truth, LABEL).item() == pytest.approx(0, abs=1e-5)
    assert soft_dice_loss(1e4 * truth.roll(1, dims=1), LABEL).item() == pytest.approx(1)


def test_absent_class_is_a_constant_in_dice() -> None:
    torch.manual_seed(0)
    three = torch.randn(1, 3, 2, 3, requires_grad=True)
    four = torch.cat([three, torch.full((1, 1, 2, 3), -1e4)], dim=1)
    # class 3 is absent: its score is 0, so the mean score of C = 4 is 3/4 of that of C = 3
    with_absent, without = soft_dice_loss(four, LABEL), soft_dice_loss(three, LABEL)
    torch.testing.assert_close(1 - with_absent, 0.75 * (1 - without))
    (gradient,) = torch.autograd.grad(with_absent, three)
    (expected,) = torch.autograd.grad(without, three)
    torch.testing.assert_close(gradient, 0.75 * expected)


def test_segmentation_loss_is_the_weighted_sum_of_its_terms() -> None:
    torch.manual_seed(0)
    main, aux = torch.randn(2, 1, 3, 2, 3)
    output = SegmentorOutput(main, aux, main)
    weights = class_weights(LABEL, 3)

    def terms(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return weighted_cross_entropy(logits, LABEL, weights), soft_dice_loss(logits, LABEL)

    (ce, dice), (aux_ce, aux_dice) = terms(main), terms(aux)
    close = torch.testing.assert_close
    close(segmentation_loss(output, LABEL), ce + dice + 0.1 * (aux_ce + aux_dice))
    close(segmentation_loss(output, LABEL, aux_weight=0), ce + dice)
    close(segmentation_loss(output._replace(aux_logits=None), LABEL), ce + dice)
    close(segmentation_loss(output, LABEL, ce_weight=0, dice_weight=2), 2 * dice + 0.2 * aux_dice)
    close(segmentation_loss(output, LABEL, dice_weight=0, aux_weight=1), ce + aux_ce)
    plain = F.cross_entropy(main, LABEL) + 0.1 * F.cross_entropy(aux, LABEL)
    close(segmentation_loss(output, LABEL, dice_weight=0, ce_class_weights=False), plain)


def test_a_head_of_weight_zero_gets_no_gradient() -> None:
    main = torch.randn(1, 3, 2, 3, requires_grad=True)
    aux = torch.randn(1, 3, 2, 3, requires_grad=True)
    segmentation_loss(SegmentorOutput(main, aux, main), LABEL, aux_weight=0).backward()
    assert main.grad is not None
    assert aux.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_and_float32_at_extreme_logits(dtype: torch.dtype) -> None:
    logits = torch.full((1, 3, 2, 3), -1e4).to(dtype)
    logits[:, 2] = 1e4  # certain, and wrong everywhere but in one pixel
    logits.requires_grad_()
    loss = segmentation_loss(SegmentorOutput(logits, None, logits), LABEL)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0  # the worst errors still teach


def test_gradients_by_finite_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 2, 3)
    output = SegmentorOutput(logits.requires_grad_(), None, logits)
    segmentation_loss(output, LABEL).backward()
    assert logits.grad is not None
    step = 1e-2
    for index in ((0, 0, 0, 0), (0, 2, 1, 2), (0, 1, 0, 1)):
        with torch.no_grad():
            change = torch.zeros_like(logits)
            change[index] = step
            up, down = (
                segmentation_loss(SegmentorOutput(logits + sign * change, None, logits), LABEL)
                for sign in (1, -1)
            )
        slope = (up - down).item() / (2 * step)
        assert logits.grad[index].item() == pytest.approx(slope, rel=1e-2, abs=1e-4)


def test_pixel_weights_are_class_weights_with_mean_one() -> None:
    label = torch.tensor([[[0, 0, 0], [0, 0, 0], [0, 1, 1]]])  # 7 and 2 of 9 pixels
    weights = pixel_weights(label, 3)
    rare, common = weights[0, 2, 1], weights[0, 0, 0]
    # w_0 = 1 - 8/9, w_1 = 1 - 3/9: a pixel of the rare class counts six times as much
    torch.testing.assert_close(rare / common, torch.tensor(6.0))
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))


def test_pixel_weights_of_a_single_class_are_one() -> None:
    assert torch.equal(
        pixel_weights(torch.zeros(1, 4, 4, dtype=torch.long), 3), torch.ones(1, 4, 4)
    )
