from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_uda.networks.generator import GatedGeneratorConfig, Generator, GeneratorConfig

KINDS = ("plain", "skips", "gated")


def _generator(kind: str, **settings: object) -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorConfig(kind=kind, width=4, blocks=1, **settings)).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(32, 32), (20, 44), (33, 30), (3, 5), (1, 1)])
def test_any_size_comes_back_in_the_range_of_images(kind: str, size: tuple[int, int]) -> None:
    with torch.no_grad():
        translated = _generator(kind)(torch.rand(2, 1, *size) * 2 - 1)
    assert translated.shape == (2, 1, *size)
    assert translated.abs().max() <= 1
    assert torch.isfinite(translated).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind: str) -> None:
    generator = _generator(kind).train()
    generator(torch.rand(2, 1, 32, 32)).square().mean().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_sizes_of_the_papers() -> None:
    """With three channels, as published: 11.4 million weights for CycleGAN, 11.2 for AttENT."""
    with torch.device("meta"):
        plain, gated = (Generator(GeneratorConfig(kind=kind), 3) for kind in ("plain", "gated"))
        assert plain(torch.empty(1, 3, 256, 256)).shape == (1, 3, 256, 256)
    millions = [sum(p.numel() for p in g.parameters()) / 1e6 for g in (plain, gated)]
    assert millions == pytest.approx([11.4, 11.2], abs=0.05)


def test_gates_of_the_paper() -> None:
    with torch.device("meta"):
        generator = Generator(GatedGeneratorConfig())
    shapes = [
        [tuple(m.weight.shape[:2]) for m in gate.modules() if isinstance(m, nn.Conv2d)]
        for gate in generator.gates
    ]
    assert shapes == [[(n // 2, n), (n // 2, n), (1, n // 2)] for n in (256, 128, 64)]
    assert len(generator.blocks) == 9


def test_attention_maps_lie_on_the_image() -> None:
    image = torch.rand(2, 1, 30, 44)
    with torch.no_grad():
        translated, maps = _generator("gated").with_attention(image)
        assert torch.equal(translated, _generator("gated")(image))
        assert _generator("skips").with_attention(image)[1] == {}
    assert list(maps) == ["attention_quarter", "attention_half", "attention_full"]
    for attention in maps.values():
        assert attention.shape == image.shape
        assert 0 <= attention.min() < attention.max() <= 1


def test_options_of_the_gates_change_the_translation() -> None:
    image = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        default = _generator("gated")(image)
        for option in ({"gate_factor": 1}, {"gate_norm": "batch"}):
            other = _generator("gated", **option).train()
            assert other(image).shape == image.shape
        assert not torch.allclose(_generator("gated", gate_factor=1)(image), default, atol=1e-4)


def test_enlarging_after_the_1x1_convolution_is_enlarging_before_it() -> None:
    generator = _generator("skips")
    features = torch.rand(1, 32, 4, 6)
    convolution, *rest = generator.double_first
    slow = nn.functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
    slow = nn.Sequential(convolution, *rest)(slow)
    fast = generator._double(generator.double_first, features)
    torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)


def test_an_image_is_translated_the_same_in_any_batch() -> None:
    images = torch.rand(3, 1, 16, 16)
    for norm in ("instance", "batch"):
        generator = _generator("gated", gate_norm=norm)
        with torch.no_grad():
            torch.testing.assert_close(
                generator(images)[1:2], generator(images[1:2]), atol=1e-5, rtol=1e-4
            )
