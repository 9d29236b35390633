"""Contrast with prototypes: the margin as the paper writes it and as it was released, and who is accepted."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uda.losses.contrastive import (
    contrast,
    mean_where,
    nearest_prototypes,
    prototype_cosines,
    with_margin,
)

RIGHT = torch.tensor([0.8, 0.3, 0.1, 0.0, -0.1]).view(1, 5, 1, 1)
"""Cosines of a pixel of class 0 that is nearest to its own prototype."""
OWN = torch.zeros(1, 1, 1, dtype=torch.long)


def loss(margin: float, *, legacy: bool = False, temperature: float = 1.0) -> float:
    return float(contrast(RIGHT, OWN, temperature, margin, legacy_margin=legacy))


@pytest.mark.parametrize(("margin", "expected"), [(0.0, 1.0849), (0.2, 1.1763), (0.4, 1.2909)])
def test_the_margin_changes_the_loss_of_a_right_pixel(margin: float, expected: float) -> None:
    assert loss(margin) == pytest.approx(expected, abs=1e-4)
    phi = math.cos(math.acos(0.8) + margin)
    others = sum(math.exp(value) for value in (0.3, 0.1, 0.0, -0.1))
    assert loss(margin) == pytest.approx(-math.log(math.exp(phi) / (math.exp(phi) + others)))


def test_in_the_released_form_it_cancels() -> None:
    assert [loss(m, legacy=True) for m in (0.0, 0.2, 0.4)] == pytest.approx([1.0849] * 3, abs=1e-4)
    wrong = torch.ones(1, 1, 1, dtype=torch.long)  # of a wrong pixel it does not
    without, with_it = (
        float(contrast(RIGHT, wrong, 1.0, m, legacy_margin=True)) for m in (0.0, 0.4)
    )
    assert without != pytest.approx(with_it, abs=1e-3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_without_a_margin_it_is_the_cross_entropy_with_prototypes(temperature: float) -> None:
    torch.manual_seed(0)
    cosines, label = torch.rand(2, 4, 3, 3) * 2 - 1, torch.randint(4, (2, 3, 3))
    expected = temperature * F.cross_entropy(cosines / temperature, label, reduction="none")
    for legacy in (False, True):
        found = contrast(cosines, label, temperature, 0.0, legacy_margin=legacy)
        torch.testing.assert_close(found, expected)


def test_the_margin_turns_the_angle() -> None:
    angles = torch.tensor([0.3, 1.0, 2.5, 3.0])
    found = with_margin(angles.cos(), 0.4)
    expected = torch.tensor([math.cos(0.7), math.cos(1.4), math.cos(2.9), 0.0])
    expected[3] = math.cos(3.0) - 0.4 * math.sin(0.4)  # 3.0 + 0.4 would be beyond pi
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def features() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    pixels = torch.randn(2, 6, 4, 4, requires_grad=True)
    prototypes = torch.randn(3, 6, requires_grad=True)
    return pixels, prototypes, torch.tensor([True, True, False])


def test_cosines_have_no_scale_and_prototypes_no_gradient() -> None:
    pixels, prototypes, known = features()
    cosines = prototype_cosines(pixels, prototypes, known)
    for index in range(2):
        expected = F.cosine_similarity(pixels, prototypes[index].view(1, 6, 1, 1), dim=1)
        torch.testing.assert_close(cosines[:, index], expected)
    torch.testing.assert_close(cosines, prototype_cosines(3 * pixels, 5 * prototypes, known))
    label = torch.zeros(2, 4, 4, dtype=torch.long)
    slopes = torch.autograd.grad(
        contrast(cosines, label, 1.0, 0.2).mean(), (pixels, prototypes), allow_unused=True
    )
    assert float(slopes[0].abs().sum()) > 0
    assert slopes[1] is None


def test_an_unknown_prototype_is_nobodys() -> None:
    pixels, prototypes, known = features()
    cosines = prototype_cosines(pixels, prototypes, known)
    assert 2 not in nearest_prototypes(cosines, 0.0)[0]
    label = torch.zeros(2, 4, 4, dtype=torch.long)
    two = contrast(cosines[:, :2], label, 1.0, 0.2)
    torch.testing.assert_close(contrast(cosines, label, 1.0, 0.2), two)


def test_a_gap_that_nobody_reaches_gives_no_loss() -> None:
    pixels, prototypes, known = features()
    cosines = prototype_cosines(pixels, prototypes, known | True)
    nearest, accepted = nearest_prototypes(cosines, 0.25)
    top = cosines.detach().sort(dim=1, descending=True).values
    assert torch.equal(nearest, cosines.argmax(1))
    assert torch.equal(accepted, top[:, 0] - top[:, 1] > 0.25)
    assert 0 < int(accepted.sum()) < accepted.numel()
    values = contrast(cosines, nearest, 1.0, 0.2)
    expected = float(values[accepted].detach().sum()) / (int(accepted.sum()) + 1e-4)
    assert mean_where(values, accepted).item() == pytest.approx(expected)
    nothing = mean_where(values, nearest_prototypes(cosines, 2.01)[1])
    (slope,) = torch.autograd.grad(nothing, pixels)
    assert (nothing.item(), float(slope.abs().max())) == (0, 0)
