"""What computes a network in prediction."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_uda.core.errors import InputError
from napari_uda.inference import backend
from napari_uda.inference.backend import prepare_network, with_folded_norms
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.methods.registry import METHODS
from napari_uda.networks.normalisation import BatchNorm2d
from napari_uda.networks.unet import UNet

CPU = torch.device("cpu")
SAMPLE = Path(__file__).parents[2] / "sample_data"
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _trained(**settings: Any) -> Any:
    """A method whose batch normalisation has seen other statistics than it begins with."""
    kind = METHODS["source_only"]
    network = UNet(1, 3, width=4, depth=2)
    generator = torch.Generator().manual_seed(3)
    for part in network.modules():
        if isinstance(part, BatchNorm2d):
            part.running_mean.normal_(generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(part.weight, 0.5, 2, generator=generator)
            nn.init.normal_(part.bias, generator=generator)
    return kind(kind.config_class(**settings), network, 3).eval()


def _noise(height: int = 20, width: int = 28) -> Tensor:
    return torch.rand((3, 1, height, width), generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_folded_norms_give_the_same_and_the_method_is_left_as_it_was() -> None:
    method = _trained()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    folded = with_folded_norms(method)
    assert not [part for part in folded.modules() if isinstance(part, nn.BatchNorm2d)]
    expected = method.predict(_noise()).detach()
    assert expected.std() > 0.1
    torch.testing.assert_close(folded.predict(_noise()), expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert all(parameter.requires_grad for parameter in method.parameters())


def test_without_openvino_auto_takes_torch_and_asking_for_it_says_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "_is_installed", lambda: False)
    network = prepare_network(_trained(), "auto", CPU, bf16=False, checksum="")
    assert network(_noise()).shape == (3, 3, 20, 28)
    with pytest.raises(InputError, match=r"not installed.*napari_uda\[fast\].*--backend torch"):
        prepare_network(_trained(), "openvino", CPU, bf16=False, checksum="")


def test_a_method_that_normalises_slices_together_keeps_its_own_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "_is_installed", lambda: True)
    kind = METHODS["sfda"]
    method = kind(kind.config_class(batch_norm="batch"), UNet(1, 3, width=4, depth=2), 3).eval()
    assert prepare_network(method, "auto", CPU, bf16=False, checksum="") == method.predict
    with pytest.raises(InputError, match="together"):
        prepare_network(method, "openvino", CPU, bf16=False, checksum="")


@needs_openvino
def test_openvino_gives_the_same_for_every_size_and_keeps_what_it_exported(cache: Path) -> None:
    method = _trained()
    network = prepare_network(method, "openvino", CPU, bf16=False, checksum="a")
    for size in ((20, 28), (32, 16)):
        expected = method.predict(_noise(*size)).detach().softmax(1)
        found = network(_noise(*size)).softmax(1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    kept = sorted((cache / "napari_uda/networks").iterdir())
    assert [folder.name.partition("-")[2] for folder in kept] == ["1x20x28", "1x32x16"]

    # what is kept is read again, and other weights have a network of their own
    (kept[0] / "network.xml").touch()
    again = prepare_network(method, "openvino", CPU, bf16=False, checksum="a")
    torch.testing.assert_close(again(_noise()), network(_noise()))
    prepare_network(_trained(), "openvino", CPU, bf16=False, checksum="b")(_noise())
    assert len(list((cache / "napari_uda/networks").iterdir())) == 3


@needs_openvino
def test_what_has_no_checksum_is_not_kept(cache: Path) -> None:
    method = _trained()
    found = prepare_network(method, "openvino", CPU, bf16=False, checksum="")(_noise())
    torch.testing.assert_close(found, method.predict(_noise()).detach(), rtol=1e-3, atol=1e-3)
    assert not (cache / "napari_uda/networks").exists()


@needs_openvino
def test_a_damaged_file_in_the_cache_is_as_good_as_none(cache: Path) -> None:
    method = _trained()
    prepare_network(method, "openvino", CPU, bf16=False, checksum="a")(_noise())
    (kept,) = (cache / "napari_uda/networks").glob("*/network.xml")
    kept.write_text("<net", encoding="utf-8")
    found = prepare_network(method, "openvino", CPU, bf16=False, checksum="a")(_noise())
    torch.testing.assert_close(found, method.predict(_noise()).detach(), rtol=1e-3, atol=1e-3)


@needs_openvino
@pytest.mark.parametrize("name", ["attent", "cyclegan"])
def test_slices_that_are_translated_first_come_back_in_any_number(name: str) -> None:
    kind = METHODS[name]
    translator = {"generator": {"width": 4, "blocks": 1}, "discriminator_width": 4}
    given: dict[str, Any] = {"translator": translator}
    if name == "cyclegan":
        given["segment"] = "translated_target"
    method = kind(kind.config_class(**given), UNet(1, 3, width=4, depth=2), 3).eval()
    network = prepare_network(method, "openvino", CPU, bf16=False, checksum=name)
    for count in (1, 2, 3):
        image = _noise(40, 32)[:count]
        expected = method.predict(image).detach().softmax(1)
        torch.testing.assert_close(network(image).softmax(1), expected, rtol=0, atol=1e-4)


@needs_openvino
def test_what_openvino_computes_otherwise_is_left_to_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backend, "_CLOSE", -1.0)  # nothing is close enough
    method = _trained()
    network = prepare_network(method, "auto", CPU, bf16=False, checksum="a")
    with caplog.at_level(logging.WARNING):
        found = network(_noise())
    torch.testing.assert_close(found, method.predict(_noise()).detach(), rtol=1e-4, atol=1e-4)
    assert "so torch does" in caplog.text
    with pytest.raises(InputError, match=r"cannot compute this network.*--backend torch"):
        prepare_network(method, "openvino", CPU, bf16=False, checksum="a")(_noise())


@pytest.mark.parametrize("name", ["torch", pytest.param("openvino", marks=needs_openvino)])
def test_a_trained_model_finds_the_same_with_every_backend(name: Any) -> None:
    image = SAMPLE / "mr/images/mr_001.nii.gz"
    plain = predict(LoadedRun.load(SAMPLE / "model", "cpu"), image, reliability=False)
    fast = predict(SAMPLE / "model", image, device="cpu", backend=name, reliability=False)
    assert np.unique(plain.labels).size == 5
    assert (fast.labels == plain.labels).mean() > 0.999
    assert np.abs(fast.entropy - plain.entropy).mean() < 0.01
