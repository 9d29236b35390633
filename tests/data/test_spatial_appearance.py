"""Random moves and random appearance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_uda.core.seeds import generator
from napari_uda.data.appearance import augment_intensity, jitter_and_blur
from napari_uda.data.spatial import SpatialConfig, move, random_affine_matrices

KINDS = ("gamma", "bezier", "gin", "gin_ipa")
IDENTITY = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])


def _generators(count: int, step: int = 0) -> list[np.random.Generator]:
    return [generator(0, "test", step, i) for i in range(count)]


def _images(batch: int = 4, channels: int = 1, seed: int = 0) -> Tensor:
    noise = torch.rand(batch, channels, 24, 20, generator=torch.Generator().manual_seed(seed))
    return noise * 2 - 1


# --- moves ----------------------------------------------------------------------------------------


def test_no_freedom_gives_identity_matrices() -> None:
    off = SpatialConfig(rotation_deg=0, scale=0, shear=0, shift=0)
    assert not off.is_on
    matrices = random_affine_matrices(off, _generators(3))
    assert torch.equal(matrices, IDENTITY.expand(3, 2, 3))


@pytest.mark.parametrize("field", ["rotation_deg", "scale", "shear", "shift"])
def test_each_freedom_switches_moving_on(field: str) -> None:
    config = SpatialConfig(**{"rotation_deg": 0, "scale": 0, "shear": 0, "shift": 0, field: 0.5})
    assert config.is_on
    assert not torch.equal(random_affine_matrices(config, _generators(1)), IDENTITY)


def test_matrices_stay_within_their_bounds() -> None:
    config = SpatialConfig(rotation_deg=20, scale=0.25, shear=0, shift=0.1)
    matrices = random_affine_matrices(config, _generators(200)).double().numpy()
    assert np.abs(matrices[:, :, 2]).max() <= 0.2  # a tenth of a side of length 2
    sizes = np.linalg.norm(matrices[:, :, :2], axis=1)  # columns: inverse zooms
    assert sizes.min() >= 1 / 1.25 - 1e-6
    assert sizes.max() <= 1.25 + 1e-6
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert np.abs(angles).max() <= 20 + 1e-4
    assert np.abs(angles).max() > 18
    assert angles.min() < 0 < angles.max()


def test_identity_moves_nothing() -> None:
    image, label = _images(2), torch.randint(0, 3, (2, 24, 20))
    moved, moved_label = move(image, label, IDENTITY.expand(2, 2, 3))
    torch.testing.assert_close(moved, image, atol=1e-5, rtol=0)
    assert moved_label is not None
    assert torch.equal(moved_label, label)
    assert moved_label.dtype == torch.int64


def test_a_quarter_turn_by_hand() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    quarter = torch.tensor([[[0.0, -1, 0], [1, 0, 0]]])  # output (x, y) reads input (-y, x)
    moved, label = move(image, image[:, 0].long(), quarter)
    expected = torch.rot90(image, 1, (2, 3))  # row r, column c reads row c, column 3 - r
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)
    assert label is not None
    assert torch.equal(label, expected[:, 0].long())


def test_image_and_label_move_together() -> None:
    label = torch.zeros(6, 32, 32, dtype=torch.int64)
    label[:, 8:20, 12:26] = 1
    label[:, 10:16, 14:20] = 2
    image = label[:, None].float() - 1
    matrices = random_affine_matrices(SpatialConfig(), _generators(6))
    moved, moved_label = move(image, label, matrices)
    assert moved_label is not None
    assert set(moved_label.unique().tolist()) == {0, 1, 2}
    differs = (moved[:, 0].add(1).round().long() != moved_label).float().mean()
    assert differs < 0.06  # bilinear against nearest: on the borders only
    assert (moved_label != label).float().mean() > 0.02
    alone, _ = move(image, None, matrices)
    assert torch.equal(alone, moved)


def test_moves_of_a_sample_do_not_depend_on_the_batch() -> None:
    image, label = _images(4), torch.randint(0, 3, (4, 24, 20))
    together, labels = move(image, label, random_affine_matrices(SpatialConfig(), _generators(4)))
    for i in range(4):
        one = slice(i, i + 1)
        matrix = random_affine_matrices(SpatialConfig(), _generators(4)[one])
        alone, alone_label = move(image[one], label[one], matrix)
        torch.testing.assert_close(together[one], alone)
        assert labels is not None
        assert alone_label is not None
        assert torch.equal(labels[one], alone_label)


# --- appearance -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_images_stay_images(kind, channels: int) -> None:
    image = _images(5, channels)
    augmented = augment_intensity(image, kind, _generators(5))
    assert augmented.shape == image.shape
    assert augmented.dtype == torch.float32
    assert torch.isfinite(augmented).all()
    assert augmented.min() >= -1
    assert augmented.max() <= 1
    assert ((augmented - image).flatten(1).abs().mean(1) > 0.01).all()  # every sample changed


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_images_stay_finite(kind) -> None:
    for value in (-1.0, 0.0, 1.0):
        flat = torch.full((3, 1, 16, 16), value)
        augmented = augment_intensity(flat, kind, _generators(3))
        assert torch.isfinite(augmented).all()
        assert augmented.abs().max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_appearance_depends_on_the_samples_generator_alone(kind) -> None:
    image = _images(4)
    together = augment_intensity(image, kind, _generators(4))
    assert torch.equal(together, augment_intensity(image, kind, _generators(4)))
    for i in range(4):
        alone = augment_intensity(image[i : i + 1], kind, _generators(4)[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)
    other = augment_intensity(image, kind, _generators(4, step=1))
    assert ((other - together).flatten(1).abs().mean(1) > 1e-3).all()


def test_no_augmentation_returns_the_image_itself() -> None:
    image = _images()
    assert augment_intensity(image, "none", _generators(4)) is image


@pytest.mark.parametrize("kind", ["gamma", "bezier"])
def test_intensity_maps_are_monotone_and_move_no_pixel(kind) -> None:
    """A point-wise map: equal grey values stay equal and their order stays (or turns round)."""
    ramp = torch.linspace(-1, 1, 400).view(1, 1, 20, 20)
    directions = set()
    for step in range(12):
        mapped = augment_intensity(ramp, kind, _generators(1, step)).flatten().diff()
        assert (mapped >= -1e-6).all() or (mapped <= 1e-6).all()
        directions.add(bool(mapped.sum() > 0))
    assert directions == ({True} if kind == "gamma" else {True, False})


def test_gin_fills_the_range_and_does_not_see_the_scale_of_its_input() -> None:
    """A windowed CT is mostly air at -1: what counts is the image about its mean."""
    image = _images(8)
    augmented = augment_intensity(image, "gin", _generators(8))
    for end in (-1, 1):
        share = (augmented == end).flatten(1).float().mean(1)  # what lies beyond a 0.5 percentile
        torch.testing.assert_close(share, torch.full((8,), 0.005), atol=0.002, rtol=0)
    rescaled = augment_intensity(0.3 * image - 0.7, "gin", _generators(8))
    torch.testing.assert_close(rescaled, augmented, atol=1e-3, rtol=0)


def test_ipa_shows_one_tissue_in_two_brightnesses() -> None:
    """A map of grey values, convolved or not, keeps equal places equal; the smooth mask does not."""
    stripes = (torch.arange(64) % 8 < 4).float() * 2 - 1
    image = stripes.expand(16, 1, 64, 64)
    spread = {}
    for kind in ("gin", "gin_ipa"):
        inner = augment_intensity(image, kind, _generators(16))[..., 9:57, 9:57]  # off the border
        rows = inner[:, 0, :, ::8]  # the same place of every stripe
        spread[kind] = rows.flatten(1).std(1)
    assert spread["gin"].max() < 1e-3
    assert spread["gin_ipa"].median() > 0.1


# --- SE-ASA's views -------------------------------------------------------------------------------


def test_no_strength_and_no_blur_is_the_identity() -> None:
    image = _images()
    view = jitter_and_blur(image, _generators(4), strength=0, blur_probability=0)
    torch.testing.assert_close(view, image, atol=1e-6, rtol=0)


def test_jitter_by_hand() -> None:
    """Brightness factor first, clipped, then contrast about the mean, clipped; never wrapped."""
    image = _images(3)
    view = jitter_and_blur(image, _generators(3), strength=0.9, blur_probability=0)
    for sample, (rng, given) in enumerate(zip(_generators(3), image, strict=True)):
        brightness, contrast = rng.uniform(0.1, 1.9), rng.uniform(0.1, 1.9)
        grey = np.clip((given.numpy() + 1) / 2 * brightness, 0, 1)
        grey = np.clip((grey - grey.mean()) * contrast + grey.mean(), 0, 1)
        np.testing.assert_allclose(view[sample], grey * 2 - 1, atol=1e-5)


def test_blur_keeps_the_mean_and_lowers_the_contrast() -> None:
    image = torch.zeros(2, 1, 64, 64)
    image[:, :, 28:36, 28:36] = 0.9  # far from the border, so that nothing is mirrored
    view = jitter_and_blur(
        image, _generators(2), strength=0, blur_probability=1, blur_sigma=(1.5, 2.0)
    )
    torch.testing.assert_close(view.mean((1, 2, 3)), image.mean((1, 2, 3)), atol=1e-5, rtol=0)
    assert (view.std((1, 2, 3)) < 0.95 * image.std((1, 2, 3))).all()
    flat = torch.full((2, 1, 16, 16), 0.3)
    blurred = jitter_and_blur(flat, _generators(2), strength=0, blur_probability=1)
    torch.testing.assert_close(blurred, flat, atol=1e-5, rtol=0)  # up to the border


def test_blur_is_gaussian() -> None:
    impulse = torch.full((1, 1, 31, 31), -1.0)
    impulse[..., 15, 15] = 1
    view = jitter_and_blur(
        impulse, _generators(1), strength=0, blur_probability=1, blur_sigma=(1.2, 1.2)
    )
    weights = np.exp(-(np.arange(-15, 16) ** 2) / (2 * 1.2**2))
    weights /= weights.sum()
    np.testing.assert_allclose((view[0, 0] + 1) / 2, np.outer(weights, weights), atol=1e-3)


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_a_view_does_not_depend_on_its_batch(probability: float) -> None:
    image = _images(6, 3)
    together = jitter_and_blur(image, _generators(6), blur_probability=probability)
    for i in range(6):
        alone = jitter_and_blur(
            image[i : i + 1], _generators(6)[i : i + 1], blur_probability=probability
        )
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=0)


def test_views_of_thin_images_work() -> None:
    image = _images(2)[:, :, :3, :2]
    view = jitter_and_blur(image, _generators(2), blur_probability=1)
    assert view.shape == image.shape
    assert torch.isfinite(view).all()
