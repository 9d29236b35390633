"""Structure-wise appearance: every labelled structure gets a brightness, a contrast and patches of its own.

What another scanner or contrast agent changes is not one curve of grey values for the whole slice: it makes one
structure brighter than its neighbour, and parts of a structure (scar, lesion, what takes up contrast agent) brighter
or darker than the rest of it. Ideas: location-scale augmentation by class of SLAug (Su et al., AAAI 2023), semantic
random convolutions (a random change for each label; arXiv 2512.01510). The code is ours, and so are the patches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from napari_uda.core.config import Config
from napari_uda.core.precision import in_float32
from napari_uda.data.appearance import gaussian_blur

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PATCH_KNOTS = (6, 16)
"""Fewest and most random numbers along a side of the noise from which patches are cut."""
_PATCH_COVER = (0.1, 0.5)
"""Smallest and largest share of a structure that its patches cover."""
_PATCH_EDGE = 0.15
"""How soft the edge of a patch is, in standard deviations of the noise."""
_FAINTEST = 0.3
"""The faintest patch, as a share of the strongest."""


class StructureAppearanceConfig(Config):
    """Random changes of single labelled structures; a share of 0 switches all of them off."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Share of the labelled slices whose structures get a random look of their own; 0 switches it off."""
    gain: float = Field(default=0.5, ge=0, le=1)
    """Largest change of the contrast inside a structure: with 0.5, differences from its mean are scaled by
    0.5 to 1.5; 0 keeps them."""
    shift: float = Field(default=0.5, ge=0, le=2)
    """Largest change of the brightness of a structure to either side, where black is -1 and white 1; 0
    keeps it."""
    patches: float = Field(default=0.5, ge=0, le=1)
    """Probability that a structure has brighter or darker patches (as a scar, a lesion or contrast agent); 0
    draws none."""
    patch_shift: float = Field(default=1.0, ge=0, le=2)
    """How much brighter or darker the strongest patches are; 0 draws none."""
    border: float = Field(default=1.0, ge=0, le=3)
    """How soft the border between two structures is: standard deviation of a Gaussian in pixels; 0 keeps it
    hard."""

    @property
    def is_on(self) -> bool:
        """Whether anything is changed at all."""
        return bool(self.share) and any((self.gain, self.shift, self.patches and self.patch_shift))


class StructureLooks(NamedTuple):
    """What was drawn for the C structures of B slices; the background is class 0 and never changes.

    Attributes:
        gain: `(B, C)` factors on differences from the structure's mean.
        shift: `(B, C)` added to the whole structure.
        patch: `(B, C)` added inside its patches.
        cover: `(B, C)` share of the structure that patches cover, 0 for none.
        noise: `(B, H, W)` smooth random numbers, mean 0 and standard deviation 1.
    """

    gain: Tensor
    shift: Tensor
    patch: Tensor
    cover: Tensor
    noise: Tensor


def draw_looks(
    config: StructureAppearanceConfig,
    classes: int,
    size: tuple[int, int],
    generators: Sequence[np.random.Generator],
) -> StructureLooks:
    """Looks for the structures of some slices, on the CPU.

    All numbers are drawn whatever is switched on, so that a run without patches has the gains and shifts of
    one with patches.

    Args:
        config: how strong.
        classes: C, with the background.
        size: H, W.
        generators: one per slice.
    """
    drawn = np.zeros((4, len(generators), classes), np.float32)
    drawn[0] = 1
    fields = []
    for place, rng in enumerate(generators):
        changed = rng.random() < config.share
        gains, shifts = rng.uniform(-1, 1, (2, classes - 1))
        has, cover, strength = rng.uniform(0, 1, (3, classes - 1))
        signs = rng.choice((-1.0, 1.0), classes - 1)
        side = int(rng.integers(*_PATCH_KNOTS, endpoint=True))
        fields.append(_smooth_noise(rng.standard_normal((side, side), dtype=np.float32), size))
        if not changed:
            continue
        few, many = _PATCH_COVER
        drawn[0, place, 1:] = 1 + config.gain * gains
        drawn[1, place, 1:] = config.shift * shifts
        drawn[2, place, 1:] = config.patch_shift * signs * (_FAINTEST + (1 - _FAINTEST) * strength)
        drawn[3, place, 1:] = (has < config.patches) * (few + (many - few) * cover)
    gain, shift, patch, cover_of = torch.from_numpy(drawn)
    return StructureLooks(gain, shift, patch, cover_of, torch.stack(fields))


@in_float32
def change_structures(image: Tensor, label: Tensor, looks: StructureLooks, border: float) -> Tensor:
    """Give every structure its look: `x + sum_c w_c ((g_c - 1)(x - m_c) + s_c + a_c P_c)`.

    `w_c` is the structure's mask with soft borders, `m_c` its mean, `g_c`, `s_c`, `a_c` what was drawn and `P_c`
    in [0, 1] its patches, which lie where smooth noise is highest inside the structure. So the mean of a structure
    without patches moves by `s_c`, but for its border, and pixels farther from all structures than the border is
    soft stay as they are.

    Args:
        image: `(B, K, H, W)` float in [-1, 1]; all K slices are changed where the middle one has the structure.
        label: `(B, H, W)` int64, classes below C.
        looks: of the same slices.
        border: standard deviation of the soft borders in pixels; 0 for hard ones.

    Returns:
        `(B, K, H, W)` float32 in [-1, 1], clipped.
    """
    classes, image = looks.gain.shape[1], image.float()
    gain, shift, patch, cover = (
        each.to(image.device)[:, 1:, None, None]
        for each in (looks.gain, looks.shift, looks.patch, looks.cover)
    )  # (B, C - 1, 1, 1): the background has no look
    mask = F.one_hot(label, classes)[..., 1:].permute(0, 3, 1, 2).float()  # (B, C - 1, H, W)
    soft = gaussian_blur(mask, [border] * len(mask), border) if border else mask
    patches = _patches(mask, cover, looks.noise.to(image.device))
    pixels = mask.sum((2, 3)).clamp_min(1)  # (B, C - 1)
    means = torch.einsum("bkhw,bchw->bkc", image, mask) / pixels[:, None]  # (B, K, C - 1)
    # x - m_c differs between channels, so each of the sums over structures is taken by itself
    contrast = (soft * (gain - 1)).sum(1, keepdim=True) * image
    middle = torch.einsum("bkc,bchw->bkhw", means, soft * (gain - 1))
    moved = (soft * (shift + patch * patches)).sum(1, keepdim=True)
    return (image + contrast - middle + moved).clamp(-1, 1)


def augment_structures(
    image: Tensor,
    label: Tensor,
    config: StructureAppearanceConfig,
    classes: int,
    generators: Sequence[np.random.Generator],
) -> Tensor:
    """Change the appearance of labelled structures at random without moving anatomy.

    Args:
        image: `(B, K, H, W)` float in [-1, 1].
        label: `(B, H, W)` int64, classes below `classes`.
        config: how strong; nothing is changed where it is off.
        classes: C, with the background.
        generators: one per slice.

    Returns:
        `(B, K, H, W)` float32 in [-1, 1].
    """
    if not config.is_on:
        return image
    looks = draw_looks(config, classes, (image.shape[2], image.shape[3]), generators)
    return change_structures(image, label, looks, config.border)


def _smooth_noise(knots: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """`(H, W)` with mean 0 and standard deviation 1."""
    given = torch.from_numpy(knots)[None, None]
    noise = F.interpolate(given, size, mode="bicubic", align_corners=True)[0, 0]
    return (noise - noise.mean()) / noise.std()


def _patches(mask: Tensor, cover: Tensor, noise: Tensor) -> Tensor:
    """`(B, C, H, W)` in [0, 1]: the highest noise of each structure, as much of it as is to be covered."""
    inside = torch.where(mask > 0, noise[:, None], -torch.inf).flatten(2)  # (B, C, H W)
    ranked = inside.sort(dim=2, descending=True).values
    count = (cover[..., 0] * mask.sum((2, 3))[..., None]).ceil().long()  # (B, C, 1) pixels
    lowest = ranked.gather(2, (count - 1).clamp_min(0))[..., None]
    patches = torch.sigmoid((noise[:, None] - lowest) / _PATCH_EDGE)
    return torch.where(count[..., None] > 0, patches, 0.0)
