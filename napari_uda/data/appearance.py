"""Random appearance: source intensity augmentation (gamma, Bezier, GIN, IPA) and SE-ASA's colour views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_uda.core.precision import in_float32

if TYPE_CHECKING:
    from collections.abc import Sequence

IntensityAugmentation = Literal["none", "gamma", "bezier", "gin", "gin_ipa"]
_BEZIER_POINTS = 64
_GIN_PERCENTILES = (0.5, 99.5)
_MASK_KNOTS = (5, 9)
_MASK_CONTRAST = 3.0
_FLAT = 1e-4
"""Least spread that is stretched: an image of one value stays one value."""


@in_float32
def augment_intensity(
    image: Tensor, kind: IntensityAugmentation, generators: Sequence[np.random.Generator]
) -> Tensor:
    """Change intensities at random without moving anatomy: what makes "source only" an honest bound.

    Args:
        image: `(B, K, H, W)` float in [-1, 1].
        kind: none; gamma (gamma, contrast, brightness); bezier (monotone cubic map, half of them
            inverted; Zhou et al. 2019, SLAug); gin (random shallow convolutions); gin_ipa (two of them,
            blended from place to place). Both: Ouyang et al., TMI 2022.
        generators: one per sample.

    Returns:
        `(B, K, H, W)` float32 in [-1, 1].
    """
    if kind == "none":
        return image
    if kind == "gamma":
        return _gamma(image, generators)
    if kind == "bezier":
        return _bezier(image, generators)
    if kind == "gin":
        return _gin(image, generators)
    return _gin_ipa(image, generators)


def _per_sample(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device).view(-1, 1, 1, 1)


def _gamma(image: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    gamma = _per_sample([float(np.exp(g.uniform(-0.7, 0.7))) for g in generators], image)
    contrast = _per_sample([float(g.uniform(0.6, 1.4)) for g in generators], image)
    brightness = _per_sample([float(g.uniform(-0.2, 0.2)) for g in generators], image)
    grey = ((image.float() + 1) / 2).clamp(0, 1) ** gamma
    return ((grey - 0.5) * contrast + 0.5 + brightness).clamp(0, 1) * 2 - 1


def _bezier(image: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """Cubic Bezier map from [0, 1] to [0, 1] with two random control points, by table look-up."""
    time = np.linspace(0, 1, 4 * _BEZIER_POINTS)
    basis = np.stack([3 * time * (1 - time) ** 2, 3 * time**2 * (1 - time)])  # (2, T)
    knots = np.linspace(0, 1, _BEZIER_POINTS)
    tables = np.empty((len(generators), _BEZIER_POINTS), dtype=np.float32)
    for table, rng in zip(tables, generators, strict=True):
        points = rng.uniform(0, 1, size=(2, 2))  # (x, y) of the two inner control points
        x, y = points[:, 0] @ basis + time**3, points[:, 1] @ basis + time**3
        curve = np.interp(knots, np.maximum.accumulate(x), y)  # y as a function of x
        table[:] = 1 - curve if rng.random() < 0.5 else curve
    lookup = torch.from_numpy(tables).to(image.device)  # (B, 64): a table per sample
    place = ((image.float() + 1) / 2).clamp(0, 1) * (_BEZIER_POINTS - 1)
    left = place.floor().clamp(max=_BEZIER_POINTS - 2)
    flat = left.long().flatten(1)
    low, high = lookup.gather(1, flat), lookup.gather(1, flat + 1)
    mapped = torch.lerp(low, high, (place - left).flatten(1)).view_as(place)
    return mapped * 2 - 1


def _gin(image: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """Four random 1x1 or 3x3 convolutions with leaky ReLU, blended with the image.

    The paper works on z-scored images and restores their norm. Ours lie in [-1, 1], where the norm of
    a windowed CT is mostly air: the image is z-scored first, and the blend is stretched so that its
    0.5th and 99.5th percentile become -1 and 1, as a volume of unknown scale would be read.
    """
    batch, channels, height, width = image.shape
    layers, hidden = 4, 2
    flat = image.float().flatten(1)  # (B, K H W): each sample has its own mean and spread
    spread = flat.std(1, correction=0, keepdim=True).clamp_min(_FLAT)
    standardised = ((flat - flat.mean(1, keepdim=True)) / spread).view_as(image)
    current = standardised
    # Each sample draws a network of its own, from its own generator and on the CPU: what becomes of it
    # depends neither on the other samples of the batch nor on the device.
    weights = []
    for layer in range(layers):
        inputs = channels if layer == 0 else hidden
        outputs = channels if layer == layers - 1 else hidden
        kernels = np.zeros((batch, outputs, inputs, 3, 3), dtype=np.float32)
        shifts = np.empty((batch, outputs), dtype=np.float32)
        for kernel, shift, rng in zip(kernels, shifts, generators, strict=True):
            if rng.random() < 0.5:
                kernel[..., 1, 1] = rng.standard_normal((outputs, inputs))  # a 1x1 kernel, padded
            else:
                kernel[...] = rng.standard_normal(kernel.shape)
            shift[:] = rng.standard_normal(outputs)
        weights.append((kernels, shifts))
    for layer, (kernels, shifts) in enumerate(weights):
        outputs = kernels.shape[1]
        # The samples stand side by side as channels, (1, B inputs, H, W), and each is a group of the
        # convolution: one call sends every sample through its own network.
        grouped = torch.from_numpy(kernels.reshape(batch * outputs, -1, 3, 3)).to(image.device)
        bias = torch.from_numpy(shifts.reshape(-1)).to(image.device)
        current = F.conv2d(
            current.reshape(1, -1, height, width), grouped, bias, padding=1, groups=batch
        )
        if layer < layers - 1:
            current = F.leaky_relu(current)
        current = current.reshape(batch, outputs, height, width)
    blend = _per_sample([float(g.uniform(0, 1)) for g in generators], image)  # 1 keeps the image
    mixed = (blend * standardised + (1 - blend) * current).flatten(1)
    limits = torch.tensor(_GIN_PERCENTILES, device=image.device) / 100
    low, high = torch.quantile(mixed, limits, dim=1).unsqueeze(2)  # (B, 1) each
    stretched = (mixed - low) / (high - low).clamp_min(_FLAT) * 2 - 1
    augmented: Tensor = stretched.clamp(-1, 1).view_as(image)
    return augmented


def _gin_ipa(image: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """Two looks of GIN blended by a smooth random mask, so that contrast between places changes too.

    No map of grey values gives the right heart of a CT the brightness of the left one; this does. The
    paper draws the mask as cubic B-splines, we enlarge a few random numbers bicubically.
    """
    # A sample's generator is used for both halves of the doubled batch and goes on where it stopped, so
    # that the two looks differ.
    looks = _gin(torch.cat([image, image]), [*generators, *generators])  # (2 B, K, H, W)
    first, second = looks.chunk(2)
    return torch.lerp(first, second, _smooth_masks(image, generators))


def _smooth_masks(image: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """`(B, 1, H, W)` in (0, 1), half of it above 0.5; a few soft patches per side."""
    masks = []
    for rng in generators:
        side = int(rng.integers(*_MASK_KNOTS, endpoint=True))
        knots = torch.from_numpy(rng.standard_normal((1, 1, side, side), dtype=np.float32))
        noise = F.interpolate(knots, image.shape[2:], mode="bicubic", align_corners=True)
        masks.append((noise - noise.mean()) / noise.std())
    return torch.sigmoid(_MASK_CONTRAST * torch.cat(masks).to(image.device))


@in_float32
def jitter_and_blur(
    image: Tensor,
    generators: Sequence[np.random.Generator],
    *,
    strength: float = 0.9,
    blur_probability: float = 0.5,
    blur_sigma: tuple[float, float] = (0.1, 2.0),
) -> Tensor:
    """SE-ASA's random transform: brightness, contrast and Gaussian blur.

    Hue and saturation do nothing on grey images (SE-D8).

    Args:
        image: `(B, K, H, W)` float in [-1, 1].
        generators: one per sample.
        strength: brightness and contrast factors come from `1 - strength` to `1 + strength`.
        blur_probability: share of blurred samples, 0 switches blurring off.
        blur_sigma: smallest and largest standard deviation of the blur, in pixels.

    Returns:
        `(B, K, H, W)` float32 in [-1, 1], clipped (no wrap-around, SE-D8).
    """
    low = max(0.0, 1 - strength)
    brightness = _per_sample([float(g.uniform(low, 1 + strength)) for g in generators], image)
    contrast = _per_sample([float(g.uniform(low, 1 + strength)) for g in generators], image)
    sigmas = [
        float(g.uniform(*blur_sigma)) if g.random() < blur_probability else 0.0 for g in generators
    ]
    grey = (((image.float() + 1) / 2) * brightness).clamp(0, 1)
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    grey = ((grey - mean) * contrast + mean).clamp(0, 1)
    if any(sigmas):
        grey = gaussian_blur(grey, sigmas, max(blur_sigma))
    return grey * 2 - 1


def gaussian_blur(image: Tensor, sigmas: Sequence[float], largest: float) -> Tensor:
    """Separable blur with one width per sample (0 leaves the sample as it is).

    The kernel reaches three times the largest width that can be drawn, not that was drawn, so that a
    sample does not depend on its neighbours in the batch.
    """
    batch, channels, height, width = image.shape
    radius = min(max(1, int(np.ceil(3 * largest))), 11, height - 1, width - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    sigma = torch.tensor(sigmas, dtype=image.dtype, device=image.device).clamp_min(1e-3)
    kernel = torch.exp(-(offsets**2) / (2 * sigma[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)  # (B*K, taps)
    flat = image.reshape(1, batch * channels, height, width)
    padded = F.pad(flat, (radius, radius, radius, radius), mode="reflect")
    rows = F.conv2d(padded, kernel[:, None, :, None], groups=batch * channels)
    both = F.conv2d(rows, kernel[:, None, None, :], groups=batch * channels)
    return both.reshape(image.shape)
