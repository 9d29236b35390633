"""Strong views by pasting and masking: structures of one slice in another one, and patches that are hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from napari_uda.core.config import Config
from napari_uda.data.appearance import IntensityAugmentation, augment_intensity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_uda.core.runtime import Runtime
    from napari_uda.data.batches import Labelled

_PER_SIDE = 8
"""Patches along each side of a slice."""


class StrongViewConfig(Config):
    """How strongly changed the slices are that a student sees."""

    student_intensity: IntensityAugmentation = "gin_ipa"
    """Random change of the grey values that the student sees of target slices."""
    mix: Literal["class_mix", "mask", "none"] = "class_mix"
    """What else the student sees: class_mix (half of the structures of a source slice are pasted in, with
    their labels), mask (random patches are hidden) or none."""
    mask_share: tuple[float, float] = (0.5, 0.7)
    """Smallest and largest share of the patches that mask hides."""


def strong_view(
    image: Tensor,
    label: Tensor,
    weight: Tensor,
    source: Labelled | None,
    config: StrongViewConfig,
    runtime: Runtime,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a student sees of target slices, and what it is to learn there.

    Args:
        image: `(B, K, H, W)` float in [-1, 1].
        label: `(B, H, W)` classes of the target slices.
        weight: how much each of them counts, `(B, H, W)`.
        source: slices of which structures are pasted in; without them none are.
        config: what is done.
        runtime: draws the random numbers of this step.

    Returns:
        Images as above; where they show the target, `(B, H, W)` bool; labels; and weights, 1 on what is pasted in.
    """
    count = len(image)
    own = torch.ones_like(label, dtype=torch.bool)
    if config.mix == "class_mix" and source is not None:
        generators = runtime.sample_generators("class-mix", count)
        own = ~half_of_the_structures(source.label, generators)
        image = torch.where(own[:, None], image, source.image)
        label = torch.where(own, label, source.label)
        weight = torch.where(own, weight, 1.0)
    generators = runtime.sample_generators("student", count)
    image = augment_intensity(image, config.student_intensity, generators)
    if config.mix == "mask":
        generators = runtime.sample_generators("mask", count)
        size = (image.shape[2], image.shape[3])
        hidden = hidden_patches(size, config.mask_share, generators).to(image.device)
        image = image.masked_fill(hidden[:, None], 0.0)
    return image, own, label, weight


def half_of_the_structures(label: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """Pixels of a random half, rounded up, of the structures in each slice; background is never among them.

    Reference: class-mix (Olsson et al., WACV 2021), as DACS (Tranheden et al., WACV 2021) pastes source into
    target; there background is a class like others, which would leave nothing around an organ (MT-D2).

    Args:
        label: `(B, H, W)` integers, 0 for background.
        generators: one per slice.

    Returns:
        `(B, H, W)` bool.
    """
    chosen = torch.zeros_like(label, dtype=torch.bool)
    for mask, plane, rng in zip(chosen, label, generators, strict=True):
        structures = plane.unique().cpu().numpy()
        structures = structures[structures > 0]
        for structure in rng.permutation(structures)[: -(-len(structures) // 2)]:
            mask |= plane == int(structure)
    return chosen


def hidden_patches(
    size: tuple[int, int],
    share: tuple[float, float],
    generators: Sequence[np.random.Generator],
) -> Tensor:
    """Random square patches of a slice, of which a random share is hidden.

    Reference: masked image consistency (Hoyer et al., CVPR 2023) hides 0.7 in 16 patches per side; the share
    between two values is MAPSeg's (CVPR 2024).

    Args:
        size: H and W, at least 8 each, for there are 8 patches per side.
        share: smallest and largest share of patches that is hidden, from 0 to 1.
        generators: one per slice.

    Returns:
        `(B, H, W)` bool, True where hidden, on the CPU.
    """
    rows, columns = (np.arange(side) * _PER_SIDE // side for side in size)
    masks = []
    for rng in generators:
        hidden = np.zeros(_PER_SIDE**2, bool)
        hidden[: round(rng.uniform(*share) * _PER_SIDE**2)] = True
        patches = rng.permutation(hidden).reshape(_PER_SIDE, _PER_SIDE)
        masks.append(patches[np.ix_(rows, columns)])
    return torch.from_numpy(np.stack(masks))
