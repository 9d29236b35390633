from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_uda.networks.attention_gate import AttentionGate, BatchStatisticsNorm2d


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_gate_keeps_the_shape_and_stays_between_nothing_and_the_factor(norm, factor) -> None:
    torch.manual_seed(0)
    gate = AttentionGate(6, 4, 3, norm, factor)
    skip = torch.rand(2, 4, 8, 12)
    gated, attention = gate(torch.randn(2, 6, 8, 12), skip)
    assert gated.shape == skip.shape
    assert attention.shape == (2, 1, 8, 12)
    assert 0 < attention.min() < attention.max() < 1
    assert (gated > 0).all()
    assert (gated < factor * skip).all()
    torch.testing.assert_close(gated, factor * attention * skip)


def test_a_gate_that_does_not_know_is_the_identity() -> None:
    gate = AttentionGate(2, 2, 1)
    skip = torch.randn(1, 2, 4, 4)
    with torch.no_grad():
        gate.to_map[0].weight.zero_()
    gated, attention = gate(torch.randn(1, 2, 4, 4), skip)
    assert (attention == 0.5).all()
    torch.testing.assert_close(gated, skip)


def test_attention_by_hand() -> None:
    """One channel and unit weights: sigmoid(N(relu(N(g) + N(x))))."""
    gate = AttentionGate(1, 1, 1)
    with torch.no_grad():
        for layer in gate.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.fill_(1.0)
    g, x = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 6.0])  # each becomes -1, 1 when normalised
    _, attention = gate(g.view(1, 1, 1, 2), x.view(1, 1, 1, 2))
    expected = torch.tensor([-1.0, 1.0]).sigmoid()  # relu(-2, 2) = 0, 2, normalised -1, 1
    torch.testing.assert_close(attention.flatten(), expected, atol=1e-4, rtol=0)


def test_batch_statistics_are_those_of_training_for_one_image_and_never_remembered() -> None:
    norm = BatchStatisticsNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    images = torch.randn(2, 3, 5, 5) * torch.tensor([1.0, 4.0])[:, None, None, None]
    one = norm(images[:1])
    together = norm(images)
    assert not torch.allclose(together[:1], one, atol=0.05)  # statistics of both images
    norm.eval()
    torch.testing.assert_close(norm(images)[:1], one, atol=1e-5, rtol=1e-5)
    assert norm.running_mean is None
    assert set(norm.state_dict()) == {"weight", "bias"}
