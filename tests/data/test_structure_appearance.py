"""Structure-wise appearance: what a structure's mean, contrast, border and patches become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_cases import small_config
from torch import Tensor

from napari_uda.core.seeds import generator
from napari_uda.data.batches import AugmentConfig, Batch
from napari_uda.data.structure_appearance import (
    StructureAppearanceConfig,
    StructureLooks,
    augment_structures,
    change_structures,
    draw_looks,
)
from napari_uda.methods.registry import METHODS
from napari_uda.training.load import load_training_data

ON = StructureAppearanceConfig(share=1)
REACH = 3  # pixels over which a border of one pixel is soft


def _generators(count: int, step: int = 0) -> list[np.random.Generator]:
    return [generator(0, "test", step, i) for i in range(count)]


def _slices(batch: int = 3, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Noise of little contrast, and two squares that touch: structure 1 and structure 2."""
    label = torch.zeros(batch, 48, 40, dtype=torch.int64)
    label[:, 8:40, 6:20], label[:, 8:40, 20:34] = 1, 2
    noise = torch.rand(batch, channels, 48, 40, generator=torch.Generator().manual_seed(0))
    return 0.2 * noise - 0.1, label


def _looks(gain: float = 1, shift: float = 0, patch: float = 0, cover: float = 0) -> StructureLooks:
    """The same look of structure 1 in three slices; structure 2 keeps its own."""
    drawn = draw_looks(ON, 3, (48, 40), _generators(3))
    one = torch.tensor([[0.0, 1, 0]] * 3)
    return StructureLooks(1 + (gain - 1) * one, shift * one, patch * one, cover * one, drawn.noise)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", [0.0, 1.0])
def test_a_structure_moves_by_its_shift_and_its_contrast_by_its_gain(
    channels: int, border: float
) -> None:
    image, label = _slices(channels=channels)
    changed = change_structures(image, label, _looks(gain=1.5, shift=0.4), border)
    inner = (..., slice(11, 37), slice(9, 17))  # farther from the border than it is soft
    mean = image[..., 8:40, 6:20].mean((2, 3), keepdim=True)
    expected = 1.5 * (image[inner] - mean) + mean + 0.4
    torch.testing.assert_close(changed[inner], expected)
    if not border:
        whole = changed[..., 8:40, 6:20].mean((2, 3), keepdim=True)
        torch.testing.assert_close(whole, mean + 0.4)
    far = (..., slice(None), slice(20 + REACH, None))  # structure 2 and the background beyond it
    assert torch.equal(changed[far], image[far])
    assert torch.equal(changed[..., :2], image[..., :2])
    assert torch.equal(changed[..., :5, :], image[..., :5, :])


def test_borders_are_soft_by_so_many_pixels() -> None:
    label = _slices()[1]
    changed = change_structures(torch.zeros(3, 1, 48, 40), label, _looks(shift=0.4), 1.0)
    profile = changed[0, 0, 24, 14:27]  # from inside structure 1 into structure 2
    assert (profile.diff() <= 0).all()
    assert profile.diff().abs().max() < 0.4 * 0.45  # at once it would be 0.4
    torch.testing.assert_close(profile[[0, 2, -4, -1]], torch.tensor([0.4, 0.4, 0.0, 0.0]))
    torch.testing.assert_close(profile[5:7].mean(), torch.tensor(0.2))  # half way at the border


@pytest.mark.parametrize("amount", [0.8, -0.5])
def test_patches_cover_a_share_of_their_structure_and_stay_inside(amount: float) -> None:
    label = _slices()[1]
    zero = torch.zeros(3, 1, 48, 40)
    changed = change_structures(zero, label, _looks(patch=amount, cover=0.25), 0.0)[:, 0]
    assert not changed[label != 1].any()
    strong = (changed / amount).where(label == 1, torch.tensor(0.0)) >= 0.5
    assert ((changed / amount) <= 1 + 1e-6).all()
    torch.testing.assert_close(strong.sum((1, 2)), torch.full((3,), 112))  # a quarter of 32 x 14
    # a smooth shape: few of its pixels have no neighbour inside it
    padded = torch.nn.functional.pad(strong, (1, 1, 1, 1)).int()
    neighbours = (
        padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    )
    assert (neighbours[strong] >= 2).float().mean() > 0.9
    none = change_structures(zero, label, _looks(patch=amount, cover=0), 1.0)
    assert torch.equal(none, zero)


def test_looks_stay_within_their_bounds_and_reach_them() -> None:
    config = StructureAppearanceConfig(share=0.5, gain=0.4, shift=0.7, patches=0.3, patch_shift=0.9)
    looks = draw_looks(config, 4, (16, 16), _generators(400))
    assert torch.equal(looks.gain[:, 0], torch.ones(400))  # the background
    assert not looks.shift[:, 0].any()
    assert not looks.cover[:, 0].any()
    changed = looks.shift.any(1)
    assert 0.4 < changed.float().mean() < 0.6
    assert torch.equal(looks.gain[~changed], torch.ones_like(looks.gain[~changed]))
    assert not looks.cover[~changed].any()
    own = looks.gain[changed, 1:], looks.shift[changed, 1:], looks.patch[changed, 1:]
    for values, least, most in zip(own, (0.6, -0.7, -0.9), (1.4, 0.7, 0.9), strict=True):
        spread = most - least
        assert least <= values.min() < least + 0.05 * spread
        assert most - 0.05 * spread < values.max() <= most
    assert own[2].abs().min() >= 0.3 * 0.9
    patched = looks.cover[changed, 1:] > 0
    assert 0.2 < patched.float().mean() < 0.4
    # what is switched off takes no random number from what is not
    plain = draw_looks(config.model_copy(update={"patches": 0.0}), 4, (16, 16), _generators(400))
    assert torch.equal(plain.gain, looks.gain)
    assert torch.equal(plain.shift, looks.shift)
    assert not plain.cover.any()


def test_a_slice_depends_on_its_own_numbers_alone() -> None:
    image, label = _slices()
    together = augment_structures(image, label, ON, 3, _generators(3))
    assert together.min() >= -1
    assert together.max() <= 1
    assert ((together - image).flatten(1).abs().mean(1) > 0.01).all()
    assert torch.equal(together, augment_structures(image, label, ON, 3, _generators(3)))
    for i in range(3):
        one = slice(i, i + 1)
        alone = augment_structures(image[one], label[one], ON, 3, _generators(3)[one])
        torch.testing.assert_close(alone, together[one])
    empty = augment_structures(image, torch.zeros_like(label), ON, 3, _generators(3))
    assert torch.equal(empty, image)


@pytest.mark.parametrize("off", [{"share": 0}, {"gain": 0, "shift": 0, "patches": 0}])
def test_zero_is_off(off: dict[str, float]) -> None:
    config = ON.model_copy(update=off)
    image, label = _slices()
    assert not config.is_on
    assert augment_structures(image, label, config, 3, _generators(3)) is image


def test_labelled_slices_alone_change_and_all_else_is_drawn_as_without(
    two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    config = small_config("advent", *two_domains)
    data = load_training_data(config, METHODS["advent"], cache=tmp_path)

    def batch(share: float, intensity: str) -> Batch:
        augment = {"structures": {"share": share}, "intensity": intensity}
        own = replace(data, augment=AugmentConfig.model_validate(augment))
        return own.batch(3, torch.device("cpu"))

    plain, changed = batch(0, "none"), batch(1, "none")
    assert torch.equal(changed.labelled().label, plain.labelled().label)
    assert torch.equal(changed.unlabelled().image, plain.unlabelled().image)
    assert not torch.equal(changed.labelled().image, plain.labelled().image)
    assert torch.equal(batch(1, "none").labelled().image, changed.labelled().image)
    # on top of the change of the whole slice, which is drawn as it would be without
    both, without = batch(1, "gin_ipa").labelled(), batch(0, "gin_ipa").labelled().image
    far = torch.nn.functional.max_pool2d((both.label > 0).float()[:, None], 7, 1, 3) == 0
    assert far.any()
    assert torch.equal(both.image[far], without[far])
    assert not torch.equal(both.image, without)
