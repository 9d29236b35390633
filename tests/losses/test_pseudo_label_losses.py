"""Thresholds per class, hard and soft labels, what is learnt from them, and the energy of logits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uda.losses.energy import energy_hinge, free_energy
from napari_uda.losses.pseudo_label import (
    IGNORED,
    class_thresholds,
    hard_labels,
    one_hot,
    pseudo_label_loss,
    soft_labels,
    uniform_divergence,
)


def predictions(seed: int = 0, classes: int = 4) -> Tensor:
    """Softmax `(3, C, 20, 20)` of which the last class wins nowhere."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(3, classes, 20, 20, generator=generator)
    logits[:, -1] -= 20
    return logits.softmax(1)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.3, 1.0])
def test_thresholds_are_those_of_a_sort_by_hand(share: float) -> None:
    confidence, label = (v.flatten() for v in predictions().max(1))
    thresholds = class_thresholds(confidence, label, 4, share)
    for index in range(3):
        found = sorted(confidence[label == index].tolist(), reverse=True)
        assert thresholds[index] == found[math.floor(len(found) * share) - 1]
        kept = sum(value >= thresholds[index] for value in found) / len(found)
        assert abs(kept - share) <= 1 / len(found)
    assert thresholds[3] == 1


def test_a_class_that_is_never_predicted_or_hardly_is_never_labelled() -> None:
    p = predictions()
    confidence, label = (v.flatten() for v in p.max(1))
    thresholds = class_thresholds(confidence, label, 4, 0.2)
    assert 3 not in hard_labels(p, thresholds)
    few = class_thresholds(torch.tensor([0.9, 0.8]), torch.tensor([0, 0]), 2, 0.4)
    assert few.tolist() == [1, 1]  # 0.4 of two pixels is none


def test_hard_labels_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1], [0.75, 0.25], [0.7, 0.3]]).T[None, :, :, None]  # (1, 2, 3, 1)
    label = hard_labels(p, torch.tensor([0.8, 0.3]))
    # 0.9 / 0.8 > 1; 0.75 / 0.8 and 0.25 / 0.3 < 1; 0.3 / 0.3 = 1 although class 0 is more probable
    assert label.flatten().tolist() == [0, IGNORED, 1]
    assert one_hot(label, 2)[0, :, :, 0].tolist() == [[1, 0, 0], [0, 0, 1]]


def test_all_pixels_are_kept_with_a_share_of_one() -> None:
    p = predictions()
    confidence, label = (v.flatten() for v in p.max(1))
    kept = hard_labels(p, class_thresholds(confidence, label, 4, 1.0))
    assert IGNORED not in kept
    logits = p.log()
    expected = F.cross_entropy(logits, kept.long())  # plain self-training
    assert pseudo_label_loss(logits, one_hot(kept, 4)) == pytest.approx(float(expected))


def test_soft_labels_minimise_their_cost() -> None:
    p, thresholds, alpha = predictions(), torch.tensor([0.5, 0.6, 0.7, 1.0]), 0.25
    soft = soft_labels(p, thresholds, alpha).double()
    kept = soft.sum(1) > 0
    assert 0 < int(kept.sum()) < kept.numel()
    probability = p.double().movedim(1, -1)[kept]
    label = soft.movedim(1, -1)[kept].requires_grad_()
    log_ratio = (probability / thresholds).log()
    cost = (label * (alpha * label.clamp_min(1e-45).log() - log_ratio)).sum(1)
    assert (cost < 0).all()
    (slope,) = torch.autograd.grad(cost.sum(), label)
    certain = label > 1e-12  # below, float32 has rounded
    # on the simplex of labels the slope is the same in every direction, at a minimum
    level = (label * slope).sum(1, keepdim=True)
    assert float(((slope - level).abs() * certain).detach().max()) < 1e-5
    worse = soft_labels(p, thresholds, 2 * alpha).double().movedim(1, -1)[kept]
    moved = (worse * (alpha * worse.clamp_min(1e-45).log() - log_ratio)).sum(1)
    assert (moved >= cost - 1e-6).all()


def test_losses_are_means_over_labelled_pixels() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]]).T[None, :, :, None].requires_grad_()
    label = one_hot(torch.tensor([0, 1, IGNORED])[None, :, None], 2)
    log_p = logits.detach().log_softmax(1)[0, :, :, 0]
    by_hand = -(log_p[0, 0] + log_p[1, 1]) / 2
    assert pseudo_label_loss(logits, label).item() == pytest.approx(float(by_hand))
    uniform = -(log_p[:, 0].mean() + log_p[:, 1].mean()) / 2
    assert uniform_divergence(logits, label).item() == pytest.approx(float(uniform))
    assert uniform_divergence(torch.zeros(1, 2, 3, 1), label) == pytest.approx(math.log(2))
    nothing = pseudo_label_loss(logits, torch.zeros_like(label))
    (slope,) = torch.autograd.grad(nothing, logits)
    assert (nothing.item(), float(slope.abs().max())) == (0, 0)


def test_the_slope_of_the_energy_is_the_negative_softmax() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(free_energy(logits).sum(), logits)
    torch.testing.assert_close(slope, -logits.detach().softmax(1))
    (slope,) = torch.autograd.grad(free_energy(logits, centred=True).sum(), logits)
    torch.testing.assert_close(slope, 1 / 3 - logits.detach().softmax(1))


def test_a_constant_moves_the_raw_energy_alone() -> None:
    logits = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(free_energy(logits + 7), free_energy(logits) - 7)
    centred = free_energy(logits, centred=True)
    torch.testing.assert_close(free_energy(logits + 7, centred=True), centred)
    assert float(centred.max()) <= -math.log(3)


def test_the_hinge_rests_below_the_reference() -> None:
    energy = torch.tensor([[[-3.0, -1.0]]], requires_grad=True)
    loss = energy_hinge(energy, torch.tensor(-2.0))
    (slope,) = torch.autograd.grad(loss, energy)
    assert (loss.item(), slope.flatten().tolist()) == (0.5, [0, 0.5])
