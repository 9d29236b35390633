from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from napari_uda.core.errors import InputError
from napari_uda.losses.segmentation import segmentation_loss
from napari_uda.networks.build import build_segmentor
from napari_uda.networks.segmentor import SegmentorConfig
from napari_uda.networks.unet import UNet


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_shapes_on_every_depth(depth: int, norm: str) -> None:
    network = build_segmentor(SegmentorConfig(width=4, depth=depth, norm=norm), 3, 5)
    output = network(torch.rand(2, 3, 48, 32))
    assert output.logits.shape == (2, 5, 48, 32)
    assert output.aux_logits is not None
    assert output.aux_logits.shape == (2, 5, 48, 32)
    assert output.features.shape == (2, network.feature_channels, 24, 16)
    assert network.stride == 2**depth


def test_width_stops_growing_at_eight_times() -> None:
    network = UNet(1, 2, width=2, depth=5)
    widths = [encoder[0].out_channels for encoder in network.encoders]
    assert widths == [2, 4, 8, 16, 16, 16]


def test_every_parameter_once_and_every_one_gets_a_gradient() -> None:
    torch.manual_seed(0)
    network = UNet(1, 3, width=4, depth=3)
    (group,) = network.parameter_groups(0.1)
    listed = [id(p) for p in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in network.parameters()}
    segmentation_loss(network(torch.rand(2, 1, 32, 32)), torch.randint(3, (2, 32, 32))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_auxiliary_head_does_not_see_the_last_decoders() -> None:
    network = UNet(1, 3, width=4, depth=3)
    output = network(torch.rand(1, 1, 16, 16))
    assert output.aux_logits is not None
    output.aux_logits.sum().backward()
    assert all(p.grad is None for level in (0, 1) for p in network.decoders[level].parameters())
    assert all(p.grad is not None for p in network.decoders[2].parameters())


def test_channels_last_and_bfloat16_agree_with_float32() -> None:
    torch.manual_seed(0)
    network = UNet(1, 4, width=4, depth=2).eval()
    image = torch.rand(2, 1, 16, 16)
    expected = network(image).logits
    last = network.to(memory_format=torch.channels_last)
    strided = image.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last(strided).logits, expected, atol=1e-6, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = last(strided).logits
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_built_networks_are_channels_last() -> None:
    network = build_segmentor(SegmentorConfig(width=4, depth=2), 1, 2)
    weights = [p for p in network.parameters() if p.ndim == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    features = network(torch.rand(2, 1, 16, 16)).features
    assert features.is_contiguous(memory_format=torch.channels_last)


def test_images_that_do_not_fit_are_named() -> None:
    network = UNet(1, 2, width=2, depth=3)
    with pytest.raises(ValueError, match=r"20 x 16 pixels.*multiples of 8; pad"):
        network(torch.rand(1, 1, 20, 16))
    with pytest.raises(ValueError, match=r"\(1, 3, 16, 16\).*\(B, 1, H, W\)"):
        network(torch.rand(1, 3, 16, 16))


def test_fits_a_bright_square_in_a_few_steps() -> None:
    torch.manual_seed(0)
    network = UNet(1, 2, width=4, depth=2)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    label = torch.zeros(4, 16, 16, dtype=torch.uint8)
    for index in range(4):
        label[index, 2 + index : 9 + index, 3:10] = 1
    image = label[:, None].float() + 0.2 * torch.randn(4, 1, 16, 16)
    for _ in range(40):
        optimiser.zero_grad()
        segmentation_loss(network(image), label).backward()
        optimiser.step()
    prediction = network(image).logits.argmax(dim=1)
    assert (prediction == label).float().mean() > 0.98


def test_names_and_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="unknown network 'unte'; choose unet"):
        build_segmentor(SegmentorConfig(name="unte"), 1, 2)
    with pytest.raises(InputError, match="only deeplabv2_resnet101 reads"):
        build_segmentor(SegmentorConfig(weights=Path("w.pth")), 1, 2)
    with pytest.raises(InputError, match="1 class is not enough"):
        build_segmentor(SegmentorConfig(), 1, 1)


@pytest.mark.parametrize(
    ("name", "stride"), [("UNet", 4), ("AttentionUnet", 4), ("BasicUNet", 32), ("SegResNet", 32)]
)
def test_monai_networks_by_name(name: str, stride: int) -> None:
    pytest.importorskip("monai")
    config = SegmentorConfig(name=f"monai:{name}", width=8, depth=2)
    network = build_segmentor(config, 3, 4)
    assert network.stride == stride
    output = network(torch.rand(2, 3, 32, 64))
    assert output.logits.shape == (2, 4, 32, 64)
    assert output.aux_logits is None
    assert output.features.shape[1] == network.feature_channels == 4
    foreign = [layer for layer in network.modules() if type(layer) is nn.BatchNorm2d]
    assert not foreign
    (group,) = network.parameter_groups(1.0)
    assert len(group["params"]) == len(list(network.parameters()))


def test_monai_refusals_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("monai")
    with pytest.raises(InputError, match="MONAI has no network 'NoNet'"):
        build_segmentor(SegmentorConfig(name="monai:NoNet"), 1, 2)
    with pytest.raises(InputError, match="monai:UNETR cannot be built"):
        build_segmentor(SegmentorConfig(name="monai:UNETR"), 1, 2)
    monkeypatch.setitem(__import__("sys").modules, "monai.networks.nets", None)
    with pytest.raises(InputError, match=r"pip install napari_uda\[monai\]"):
        build_segmentor(SegmentorConfig(name="monai:UNet"), 1, 2)


def test_logits_start_neither_at_zero_nor_sure() -> None:
    """Small structures are learnt late when all logits start near 0: the heads must not be tiny."""
    torch.manual_seed(0)
    network = UNet(1, 5, width=16, depth=4).train()
    output = network(torch.randn(4, 1, 64, 64))
    assert output.aux_logits is not None
    for logits in (output.logits, output.aux_logits):
        assert 0.2 < logits.std().item() < 3
