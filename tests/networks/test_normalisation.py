from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_uda.networks.normalisation import (
    BatchNorm2d,
    batch_statistics_only,
    normalisation,
    over_all_ranks,
    running_statistics,
    statistics_of_the_batch,
)


def test_is_batch_normalisation_on_one_rank() -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNorm2d(3), nn.BatchNorm2d(3)
    for _ in range(3):
        image = torch.randn(2, 3, 4, 4) * 2 + 1
        assert torch.equal(ours(image), theirs(image))
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


def test_views_use_their_statistics_and_leave_the_running_ones_bit_for_bit() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 1), BatchNorm2d(3), nn.BatchNorm2d(3))
    network(torch.randn(4, 1, 8, 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    view = 5 + 3 * torch.randn(4, 1, 8, 8)
    with batch_statistics_only(network):
        output = network(view)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    torch.testing.assert_close(output.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.std((0, 2, 3)), torch.ones(3), atol=1e-2, rtol=0)
    assert torch.equal(output, network(view))  # outside the same normalisation, but remembered
    assert int(network[1].num_batches_tracked) == 2


def test_views_give_gradients_to_the_affine_parameters() -> None:
    layer = BatchNorm2d(2)
    with batch_statistics_only(layer):
        layer(torch.randn(2, 2, 3, 3)).square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().min() > 0


def test_tracking_comes_back_after_an_error_and_evaluation_is_not_changed() -> None:
    layer = BatchNorm2d(1)
    layer(torch.randn(8, 1, 4, 4) + 2)
    layer.eval()
    image = torch.randn(1, 1, 4, 4)
    expected = layer(image)

    def fail_inside() -> None:
        with batch_statistics_only(layer):
            assert torch.equal(layer(image), expected)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert layer.track_running_stats


def test_names_of_normalisation() -> None:
    assert isinstance(normalisation("batch", 4), BatchNorm2d)
    instance = normalisation("instance", 4)
    assert isinstance(instance, nn.InstanceNorm2d)
    assert instance.affine
    first, second = torch.randn(2, 1, 4, 8, 8)
    both = instance(torch.cat([first, second]))
    torch.testing.assert_close(both[:1], instance(first))  # one image does not see the other


def test_foreign_batch_normalisation_is_replaced_with_its_state() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.BatchNorm2d(2, eps=0.1)))
    network(torch.randn(4, 1, 4, 4))
    image = torch.randn(1, 1, 4, 4)
    expected = network.eval()(image)
    over_all_ranks(network.train())
    assert isinstance(network[1][0], BatchNorm2d)
    assert torch.equal(network.eval()(image), expected)


def test_running_statistics_are_used_and_kept_in_training() -> None:
    torch.manual_seed(0)
    layer = BatchNorm2d(3)
    layer.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))  # type: ignore[union-attr]
    image = torch.randn(4, 3, 5, 5)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with running_statistics(layer):
        found = layer(image)
    assert layer.training
    assert all(torch.equal(before[n], v) for n, v in layer.state_dict().items())
    expected = (image - torch.tensor([1.0, 2.0, 3.0]).view(1, -1, 1, 1)) / (1 + layer.eps) ** 0.5
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("way", [running_statistics, batch_statistics_only])
def test_nothing_is_changed_when_it_is_not_wanted(way) -> None:
    layer, other = BatchNorm2d(3), BatchNorm2d(3)
    image = 2 + torch.randn(4, 3, 5, 5)
    with way(layer, when=False):
        found = layer(image)
    assert torch.equal(found, other(image))
    assert torch.equal(layer.running_mean, other.running_mean)
    assert layer.running_mean.abs().max() > 0.05


def test_statistics_of_the_batch_are_used_and_forgotten_in_evaluation() -> None:
    torch.manual_seed(0)
    layer = BatchNorm2d(2).eval()
    image = 5 + 3 * torch.randn(4, 2, 6, 6)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with statistics_of_the_batch(layer):
        found = layer(image)
    assert not layer.training
    assert layer.track_running_stats
    assert all(torch.equal(before[n], v) for n, v in layer.state_dict().items())
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        found.var((0, 2, 3), unbiased=False), torch.ones(2), atol=1e-4, rtol=0
    )
