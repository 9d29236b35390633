from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from napari_uda.core.errors import InputError
from napari_uda.networks.build import build_segmentor
from napari_uda.networks.deeplab import AtrousHead, DeepLabV2
from napari_uda.networks.normalisation import BatchNorm2d
from napari_uda.networks.resnet import Bottleneck, ResNet, load_imagenet
from napari_uda.networks.segmentor import SegmentorConfig

SHALLOW = (1, 1, 1, 1)


@pytest.fixture(scope="module")
def full_size() -> DeepLabV2:
    """ResNet-101 without memory: shapes and counts need no numbers."""
    with torch.device("meta"):
        return DeepLabV2(1, 5)


def test_sizes_and_channels_for_256(full_size: DeepLabV2) -> None:
    shapes: dict[str, torch.Size] = {}
    handles = [
        getattr(full_size.backbone, name).register_forward_hook(
            lambda _module, _inputs, output, name=name: shapes.update({name: output.shape})
        )
        for name in ("maxpool", "layer1", "layer2", "layer3", "layer4")
    ]
    output = full_size(torch.empty(2, 1, 256, 256, device="meta"))
    for handle in handles:
        handle.remove()
    assert shapes == {
        "maxpool": (2, 64, 65, 65),
        "layer1": (2, 256, 65, 65),
        "layer2": (2, 512, 33, 33),
        "layer3": (2, 1024, 33, 33),
        "layer4": (2, 2048, 33, 33),
    }
    assert output.logits.shape == (2, 5, 256, 256)
    assert output.aux_logits is not None
    assert output.aux_logits.shape == (2, 5, 256, 256)
    assert output.features.shape == (2, full_size.feature_channels, 33, 33)


def test_convolution_parameters_are_42_9_million(full_size: DeepLabV2) -> None:
    convolutions = [layer for layer in full_size.modules() if isinstance(layer, nn.Conv2d)]
    count = sum(p.numel() for layer in convolutions for p in layer.parameters())
    # 42 394 816 in ResNet-101 without its classifier, 4 (9 C F + C) in each head
    heads = sum(4 * (9 * 5 * channels + 5) for channels in (1024, 2048))
    assert count == 42_394_816 + heads
    assert round(count / 1e6, 1) == 42.9
    assert sum(p.numel() for p in full_size.parameters() if p.requires_grad) == count


def test_parameters_once_frozen_left_out_heads_ten_times(full_size: DeepLabV2) -> None:
    backbone, heads = full_size.parameter_groups(2.5e-4)
    listed = [id(p) for group in (backbone, heads) for p in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in full_size.parameters() if p.requires_grad}
    assert heads["lr"] == pytest.approx(2.5e-3)
    assert backbone["lr"] == 2.5e-4
    assert len(heads["params"]) == 2 * 4 * 2  # two heads, four branches, weight and bias
    tripled, still_ten = full_size.parameter_groups(1.0, backbone_multiplier=3.0)
    assert (tripled["lr"], still_ten["lr"]) == (3.0, 10.0)


def test_normalisation_affine_is_frozen_but_statistics_move() -> None:
    network = DeepLabV2(1, 3, backbone=ResNet(blocks=SHALLOW))
    layers = [layer for layer in network.modules() if isinstance(layer, BatchNorm2d)]
    assert layers
    assert not any(p.requires_grad for layer in layers for p in layer.parameters())
    network(torch.rand(1, 1, 40, 48))
    assert all(layer.num_batches_tracked == 1 for layer in layers)
    assert all(layer.running_mean.abs().sum() > 0 for layer in layers)


def test_any_size_comes_back_and_gradients_reach_the_stem() -> None:
    network = DeepLabV2(3, 3, backbone=ResNet(blocks=SHALLOW))
    output = network(torch.rand(1, 3, 37, 50) * 2 - 1)
    assert output.logits.shape == (1, 3, 37, 50)
    output.logits.square().mean().backward()
    assert network.backbone.conv1.weight.grad is not None
    assert network.backbone.conv1.weight.grad.abs().sum() > 0


def test_strides_sit_where_the_layout_says() -> None:
    caffe, torchvision = (Bottleneck(8, 4, 2, 1, layout) for layout in ("caffe", "torchvision"))
    assert (caffe.conv1.stride, caffe.conv2.stride) == ((2, 2), (1, 1))
    assert (torchvision.conv1.stride, torchvision.conv2.stride) == ((1, 1), (2, 2))
    image = torch.rand(1, 8, 9, 9)
    assert caffe(image).shape == torchvision(image).shape == (1, 16, 5, 5)


def test_stages_are_dilated_one_one_two_four(full_size: DeepLabV2) -> None:
    stages = (getattr(full_size.backbone, f"layer{index}") for index in range(1, 5))
    assert [{block.conv2.dilation[0] for block in stage} for stage in stages] == [
        {1},
        {1},
        {2},
        {4},
    ]


def test_head_is_the_sum_of_four_rates() -> None:
    head = AtrousHead(2, 1)
    with torch.no_grad():
        for branch in head.branches:
            branch.weight.fill_(1.0)
            branch.bias.fill_(0.5)
    image = torch.zeros(1, 2, 1, 60)
    image[..., 30] = 1.0
    scores = head(image)[0, 0, 0]
    assert scores[30] == 4 * (2 + 0.5)  # the centre of all four branches sees both channels
    for rate in (6, 12, 18, 24):
        assert scores[30 + rate] == scores[30 - rate] == 2 + 4 * 0.5
    assert scores[31] == 4 * 0.5


def test_caffe_preprocessing_repeats_grey_and_subtracts_bgr_means() -> None:
    network = DeepLabV2(1, 2, backbone=ResNet(blocks=SHALLOW))
    scaled = network.preprocess(torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3))
    expected = torch.tensor([[0.0, 127.5, 255.0]]) - torch.tensor(
        [[104.00698793], [116.66876762], [122.67891434]]
    )
    torch.testing.assert_close(scaled[0, :, 0], expected)


def test_torchvision_preprocessing_is_rgb_mean_and_std_of_unit_images() -> None:
    network = DeepLabV2(3, 2, "torchvision", ResNet("torchvision", SHALLOW))
    neighbours = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)  # 0, 0.5, 1 in unit range
    scaled = network.preprocess(neighbours).flatten()
    expected = [(0 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(scaled, torch.tensor(expected))


@pytest.mark.parametrize("prefix", ["", "Scale.", "module.backbone."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_load_with_any_prefix(tmp_path: Path, prefix: str, suffix: str) -> None:
    torch.manual_seed(0)
    given = ResNet(blocks=SHALLOW)
    given.bn1.running_var.fill_(7.0)
    tensors = {
        f"{prefix}{name}": value
        for name, value in given.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    tensors[f"{prefix}layer5.conv2d_list.0.weight"] = torch.zeros(2, 2)
    tensors[f"{prefix}fc.weight"] = torch.zeros(3, 2)
    path = tmp_path / f"imagenet{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": tensors} if prefix == "" else tensors, path)
    else:
        save_file(tensors, path)
    taken = ResNet(blocks=SHALLOW)
    load_imagenet(taken, path)
    for name, value in given.state_dict().items():
        assert torch.equal(taken.state_dict()[name], value), name


def test_weights_that_do_not_fit_are_refused_in_one_sentence(tmp_path: Path) -> None:
    network = ResNet(blocks=SHALLOW)
    with pytest.raises(InputError, match="no such weights file"):
        load_imagenet(network, tmp_path / "absent.pth")
    text = tmp_path / "text.pth"
    text.write_text("not weights")
    with pytest.raises(InputError, match="cannot be read"):
        load_imagenet(network, text)
    tensors = network.state_dict()
    tensors.pop("layer2.0.conv1.weight")
    torch.save(tensors, tmp_path / "missing.pth")
    with pytest.raises(InputError, match=r"1 of \d+ ResNet-101 tensors .* layer2.0.conv1.weight"):
        load_imagenet(network, tmp_path / "missing.pth")
    tensors = network.state_dict()
    tensors["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(tensors, tmp_path / "grey.pth")
    with pytest.raises(InputError, match=r"\(64, 1, 7, 7\) and ResNet-101 needs \(64, 3, 7, 7\)"):
        load_imagenet(network, tmp_path / "grey.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="no named tensors"):
        load_imagenet(network, tmp_path / "list.pth")


class Trap:
    """An object a weights file must not be able to create."""


def test_a_file_with_objects_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Trap()}, tmp_path / "objects.pth")
    with pytest.raises(InputError, match="tensors only"):
        load_imagenet(ResNet(blocks=SHALLOW), tmp_path / "objects.pth")


def test_build_by_name_reads_weights_only_when_pretrained(tmp_path: Path) -> None:
    config = SegmentorConfig(name="deeplabv2_resnet101", weights=tmp_path / "absent.pth")
    with torch.device("meta"):
        network = build_segmentor(config, 3, 5, pretrained=False)
    assert isinstance(network, DeepLabV2)
    assert network.stride == 1
    with torch.device("meta"), pytest.raises(InputError, match=r"absent\.pth"):
        build_segmentor(config, 3, 5)
    with torch.device("meta"), pytest.raises(InputError, match="1 slice or 3"):
        build_segmentor(config, 5, 5, pretrained=False)


def test_logits_are_enlarged_with_aligned_corners() -> None:
    torch.manual_seed(0)
    network = DeepLabV2(1, 3, backbone=ResNet(blocks=SHALLOW)).eval()
    with torch.no_grad():
        output = network(torch.rand(1, 1, 41, 41))
        small = network.head(output.features)
    assert small.shape == (1, 3, 6, 6)  # 40 / 5: every eighth pixel is one of the small map
    torch.testing.assert_close(output.logits[..., ::8, ::8], small)
