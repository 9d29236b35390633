"""What a CT or an MR scanner makes of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from napari_uda.phantom.scene import Anatomy, Scene
from napari_uda.phantom.shapes import Field, smooth_noise
from napari_uda.phantom.tissues import Look, looks

Modality = Literal["ct", "mr"]


def render(
    scene: Scene, anatomy: Anatomy, modality: Modality, random: np.random.Generator
) -> NDArray[np.int16]:
    """Image of `scene`, `(Z, Y, X)` int16: Hounsfield units (CT) or arbitrary units from 0 (MR)."""
    table = looks(anatomy, modality, random)
    if modality == "ct":
        return _render_ct(scene, table, random)
    return _render_mr(scene, table, random, cardiac=anatomy == "cardiac")


def _compose(scene: Scene, table: dict[str, Look], random: np.random.Generator) -> Field:
    """Noise-free signal: every layer laid over the ones before by its coverage."""
    grain = smooth_noise(random, scene.shape, scene.spacing_mm, 5.0)
    patchy = smooth_noise(random, scene.shape, scene.spacing_mm, 22.0)
    texture = 0.8 * grain + 0.6 * patchy
    image = np.full(scene.shape, table["air"].value, np.float32)
    for tissue, box, share in scene.layers:
        look, below = table[tissue], image[box]
        own = np.float32(look.value) + np.float32(look.texture) * texture[box]
        below += share * (own - below)
    return image


def _render_ct(
    scene: Scene, table: dict[str, Look], random: np.random.Generator
) -> NDArray[np.int16]:
    image = _compose(scene, table, random)
    image = gaussian_filter(image, (0.35, 0.45, 0.45), truncate=3.0)
    noise = random.standard_normal(scene.shape, dtype=np.float32)
    # Filtered backprojection takes the lowest frequencies out of the noise, the kernel the highest.
    fine = gaussian_filter1d(gaussian_filter1d(noise, 0.75, axis=1), 0.75, axis=2)
    coarse = gaussian_filter1d(gaussian_filter1d(noise, 2.6, axis=1), 2.6, axis=2)
    noise = fine - np.float32(0.8) * coarse
    noise *= np.float32(random.uniform(11, 20)) / noise.std()
    image += noise * (np.float32(0.35) + np.float32(0.65) * (image > -900))
    return _stored(image, -1024, 3071)


def _stored(image: Field, lowest: int, highest: int) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(image), lowest, highest), np.int16)


@dataclass(frozen=True)
class _Coil:
    bias: float
    noise: float
    ghost: float


def _render_mr(
    scene: Scene, table: dict[str, Look], random: np.random.Generator, *, cardiac: bool
) -> NDArray[np.int16]:
    coil = _Coil(
        bias=float(random.uniform(0.14, 0.24)),
        noise=float(random.uniform(16, 26)),
        ghost=float(random.uniform(0.03, 0.06)),
    )
    image = np.maximum(_compose(scene, table, random), 0)
    if cardiac:
        image *= _banding(scene, random)
    image *= np.exp(coil.bias * smooth_noise(random, scene.shape, scene.spacing_mm, 170.0))
    image = gaussian_filter(image, (0.3, 0.55, 0.55), truncate=3.0)
    image = _ghosts(image, coil.ghost, random)
    real, imaginary = random.standard_normal((2, *scene.shape), dtype=np.float32)
    image = np.hypot(image + coil.noise * real, coil.noise * imaginary)
    image *= np.float32(random.uniform(0.5, 1.6))
    return _stored(image, 0, 32767)


def _banding(scene: Scene, random: np.random.Generator) -> Field:
    """Dark bands of bSSFP where the field is off by half the inverse repetition time."""
    phase = 1.1 * smooth_noise(random, scene.shape, scene.spacing_mm, 110.0)
    apart = np.abs(np.abs(phase) - np.float32(2.2))
    return np.asarray(1 - 0.7 * np.exp(-((apart / 0.16) ** 2)), np.float32)


def _ghosts(image: Field, strength: float, random: np.random.Generator) -> Field:
    """Copies shifted along the phase direction (rows), as pulsation and breathing leave them."""
    result = image.copy()
    period = float(random.uniform(0.17, 0.34))
    for order in (1, 2):
        shift = round(order * period * image.shape[1])
        for step in (shift, -shift):
            result += np.float32(strength / order**2) * np.roll(image, step, axis=1)
    return result
