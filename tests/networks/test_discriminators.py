from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_uda.losses.adversarial import domain_loss
from napari_uda.networks.critic import MASK_STAGES, Critic
from napari_uda.networks.discriminator import build_discriminator


@pytest.mark.parametrize(("name", "side"), [("fc", 8), ("patch_bn", 30), ("patch_in", 30)])
def test_scores_for_256(name: str, side: int) -> None:
    with torch.device("meta"):
        discriminator = build_discriminator(name, 5)
        scores = discriminator(torch.empty(2, 5, 256, 256))
        assert scores.shape == (2, 1, side, side)
        count = sum(p.numel() for p in discriminator.parameters())
    assert count / 1e6 == pytest.approx(2.77, abs=0.01)


def test_one_score_per_image() -> None:
    torch.manual_seed(0)
    patches = build_discriminator("patch_in", 1, 4)
    averaged = build_discriminator("patch_in_mean", 1, 4)
    averaged.load_state_dict(patches.state_dict())
    images = torch.rand(3, 1, 40, 48)
    assert averaged(images).shape == (3, 1)
    torch.testing.assert_close(averaged(images), patches(images).mean((2, 3)))
    with torch.device("meta"):
        assert build_discriminator("patch_in_mean", 1)(torch.empty(2, 1, 256, 256)).shape == (2, 1)


def test_layers_of_the_papers() -> None:
    fc, bn, instance = (build_discriminator(name, 5, 8) for name in ("fc", "patch_bn", "patch_in"))

    def convolutions(network: nn.Module) -> list[nn.Conv2d]:
        return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]

    for network in (fc, bn, instance):
        assert [c.out_channels for c in convolutions(network)] == [8, 16, 32, 64, 1]
        assert {c.kernel_size for c in convolutions(network)} == {(4, 4)}
        assert {c.padding for c in convolutions(network)} == {(1, 1)}
        slopes = {m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)}
        assert slopes == {0.2}
    assert [c.stride[0] for c in convolutions(fc)] == [2, 2, 2, 2, 2]
    assert all(c.bias is not None for c in convolutions(fc))
    for network in (bn, instance):
        assert [c.stride[0] for c in convolutions(network)] == [2, 2, 2, 1, 1]
        biased = [c.bias is not None for c in convolutions(network)]
        assert biased == [True, False, False, False, True]
    norms = [m for m in bn.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == [16, 32, 64]
    assert sum(isinstance(m, nn.InstanceNorm2d) for m in instance.modules()) == 3


def test_patch_weights_start_as_published() -> None:
    torch.manual_seed(0)
    discriminator = build_discriminator("patch_bn", 5)
    for layer in discriminator.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert layer.bias is None or layer.bias.abs().sum() == 0
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1.0, abs=0.01)
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.3)
            assert layer.bias.abs().sum() == 0


def test_learns_to_tell_two_constant_maps_apart() -> None:
    torch.manual_seed(0)
    discriminator = build_discriminator("fc", 2, 4)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    source, target = torch.zeros(2, 2, 32, 32), torch.ones(2, 2, 32, 32)
    for _ in range(30):
        optimiser.zero_grad()
        loss = domain_loss(discriminator(source), True) + domain_loss(discriminator(target), False)
        loss.backward()
        optimiser.step()
    assert discriminator(source).min() > 1
    assert discriminator(target).max() < -1


def test_wrong_name_and_small_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown discriminator 'patch'; choose fc"):
        build_discriminator("patch", 5)
    for name, side in (("fc", 32), ("patch_bn", 24)):
        discriminator = build_discriminator(name, 1, 2)
        assert discriminator(torch.rand(2, 1, side, side)).numel() > 0
        with pytest.raises(ValueError, match="too small"):
            discriminator(torch.rand(2, 1, side - 1, side))


def test_critic_learns_the_same_in_bfloat16_on_maps_smaller_than_a_stride() -> None:
    """96 pixels end in a 3 x 3 map and stride 4, where torch's own bfloat16 gradient is garbage."""
    torch.manual_seed(1)
    critic = Critic(4, 4, MASK_STAGES)
    critic.clip_weights(0.03)
    maps = 8 * torch.nn.functional.interpolate(torch.randn(4, 4, 6, 6), size=96, mode="bilinear")

    def gradient(bfloat16: bool) -> torch.Tensor:
        critic.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            score = critic(maps).float().mean()
        weights = sum(p.numel() for p in critic.parameters())
        used_before = [torch.full((weights // n,), float("nan")) for n in (1, 2, 2, 4)]
        del used_before  # the memory that gradients may be written to
        score.backward()
        return torch.cat([p.grad.flatten() for p in critic.parameters() if p.grad is not None])

    exact, rounded = gradient(False), gradient(True)
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.9
    assert rounded.norm() == pytest.approx(exact.norm(), rel=0.2)
