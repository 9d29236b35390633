"""A convolution by rows is the convolution, forwards and backwards, and networks have the layout of their norm."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from napari_uda.networks.build import build_segmentor
from napari_uda.networks.discriminator import build_discriminator
from napari_uda.networks.generator import Generator, GeneratorConfig
from napari_uda.networks.layout import lay_out
from napari_uda.networks.normalisation import NormName
from napari_uda.networks.row_convolution import RowConvolution
from napari_uda.networks.segmentor import SegmentorConfig


@pytest.mark.parametrize("channels", [(1, 4), (4, 1), (5, 2), (2, 3)])
@pytest.mark.parametrize("padding", [0, 3])
def test_it_is_the_convolution(channels: tuple[int, int], padding: int) -> None:
    torch.manual_seed(0)
    ours = RowConvolution(*channels, (7, 5), padding=padding).double()
    plain = nn.Conv2d(*channels, (7, 5), padding=padding).double()
    plain.load_state_dict(ours.state_dict())
    image = torch.randn(2, channels[0], 9, 12, dtype=torch.float64)
    found = []
    for layer in (ours, plain):
        given = image.clone().requires_grad_()
        out = layer(given)
        out.square().sum().backward()
        found.append((out, given.grad, layer.weight.grad, layer.bias.grad))
    for own, expected in zip(*found, strict=True):
        torch.testing.assert_close(own, expected)


def test_under_autocast_rows_are_summed_in_float32() -> None:
    torch.manual_seed(0)
    layer = RowConvolution(16, 1, 7)
    image = torch.randn(1, 16, 20, 20)
    plain = nn.Conv2d(16, 1, 7)
    plain.load_state_dict(layer.state_dict())
    exact = plain(image)
    with torch.autocast("cpu", torch.bfloat16):
        by_rows, at_once = layer(image), plain(image)
    assert by_rows.dtype == torch.float32
    # seven roundings of parts that are smaller than the sum weigh about as much as one of the sum
    assert (by_rows - exact).std() < 1.5 * (at_once - exact).std()


@pytest.mark.parametrize(("norm", "last"), [("batch", True), ("instance", False)])
def test_a_segmentor_has_the_layout_of_its_norm(norm: NormName, last: bool) -> None:
    network = build_segmentor(SegmentorConfig(width=4, depth=2, norm=norm), 1, 2)
    wide = network.state_dict()["encoders.1.0.weight"]
    assert wide.is_contiguous() is not last
    features = network(torch.rand(2, 1, 16, 16)).features
    assert features.is_contiguous() is not last


def test_parts_of_a_method_have_layouts_of_their_own() -> None:
    parts = nn.ModuleDict(
        {
            "segmentor": build_segmentor(SegmentorConfig(width=4, depth=1), 1, 2),
            "generator": Generator(GeneratorConfig(width=4, blocks=1)),
            "images": build_discriminator("patch_in", 1, 4),
            "maps": build_discriminator("fc", 2, 4),
        }
    )
    values = copy.deepcopy(parts.state_dict())
    lay_out(parts)
    last = {
        name: all(p.is_contiguous(memory_format=torch.channels_last) for p in wide(part))
        for name, part in parts.items()
    }
    assert last == {"segmentor": True, "generator": False, "images": False, "maps": True}
    for name, value in parts.state_dict().items():
        assert torch.equal(value, values[name])


def wide(part: nn.Module) -> list[nn.Parameter]:
    """Weights of convolutions that look different in the two layouts."""
    return [p for p in part.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
