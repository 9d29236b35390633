"""Networks by name are tried before they are trained: no map of classes, no run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tiny_cases import assert_same_tensors, small_config, snapshot
from torch import nn

from napari_uda.core.errors import InputError
from napari_uda.networks.build import build_segmentor
from napari_uda.networks.segmentor import SegmentorConfig
from napari_uda.networks.trial import try_network
from napari_uda.run.config import RunConfig
from napari_uda.run.run import Run
from napari_uda.training.checks import check_network
from napari_uda.training.loop import train_run


def with_network(name: str, folder: Path, **settings: object) -> RunConfig:
    return small_config("source_only", folder, folder, segmentor={"name": name}, **settings)


@pytest.mark.parametrize("name", ["monai:UNet", "monai:SwinUNETR", "unet"])
def test_networks_with_a_map_of_classes_pass_and_stay_as_they_are(
    name: str, tmp_path: Path
) -> None:
    pytest.importorskip("monai")
    check_network(with_network(name, tmp_path, data={"size": 64}))
    network = build_segmentor(SegmentorConfig(name=name, width=4, depth=2), 3, 4)
    before, state = snapshot(network), torch.get_rng_state()
    try_network(network, name, 64)
    assert_same_tensors(before, network.state_dict())
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "monai:DenseNet121",
            r"gives no map of classes: for 1 image of 1 x 64 x 64 its output is \(1, 2\)",
        ),
        ("monai:AHNet", r"fails on 1 image of 1 x 64 x 64 \(Given input size"),
        ("monai:UNETR", "cannot be built from channels"),
    ],
)
def test_others_are_refused_before_training(name: str, said: str, tmp_path: Path) -> None:
    pytest.importorskip("monai")
    with pytest.raises(InputError, match=f"network {name} {said}.* choose for instance"):
        check_network(with_network(name, tmp_path, data={"size": 64}))


def test_what_a_network_imports_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("monai")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InputError, match=r"TorchVisionFCModel needs a package .*torchvision"):
        build_segmentor(SegmentorConfig(name="monai:TorchVisionFCModel"), 1, 2)


def test_training_refuses_a_network_without_a_map(
    two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    """Here the other checks have let it pass: the forward is that of the network that is trained."""
    pytest.importorskip("monai")
    settings = {"segmentor": {"name": "monai:DenseNet121"}, "steps": 1}
    run = Run.create(tmp_path / "run", small_config("source_only", *two_domains, **settings))
    with pytest.raises(InputError, match=r"output is \(1, 3\), and \(1, 3, 32, 32\) is needed"):
        next(train_run(run))


def test_layers_that_need_numbers_are_tried_with_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On the device without memory they fail; a real forward decides."""
    nets = pytest.importorskip("monai.networks.nets")

    class Picky(nn.Module):
        def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
            super().__init__()
            self.layer = nn.Conv2d(in_channels, out_channels, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.layer(image) * float(image.mean() + 1)

    monkeypatch.setattr(nets, "Picky", Picky, raising=False)
    check_network(with_network("monai:Picky", tmp_path))


@pytest.mark.parametrize(
    ("norm", "size", "batch", "depth", "said"),
    [
        (
            "instance",
            32,
            4,
            5,
            "instance normalisation cannot work with; choose --data.size 64 or a",
        ),
        ("instance", 64, 4, 5, ""),
        ("instance", 32, 4, 4, ""),
        (
            "batch",
            32,
            1,
            5,
            "over one slice cannot work with; choose --data.size 64, a --batch-size of 2",
        ),
        ("batch", 32, 2, 5, ""),
    ],
)
def test_a_single_pixel_cannot_be_normalised(
    norm: str, size: int, batch: int, depth: int, said: str, tmp_path: Path
) -> None:
    segmentor = {"width": 2, "depth": depth, "norm": norm}
    config = small_config(
        *("source_only", tmp_path, tmp_path),
        data={"size": size}, segmentor=segmentor, batch_size=batch,
    )  # fmt: skip
    if said:
        with pytest.raises(InputError, match=said):
            check_network(config)
        return
    check_network(config)
    network = build_segmentor(config.segmentor, 1, 2)
    network(torch.zeros(batch, 1, size, size))  # in training mode, as training does
