"""Strong views by pasting and masking: structures of one slice in another one, and patches that are hidden."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


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
    *,
    per_side: int = 8,
) -> Tensor:
    """Random square patches of a slice, of which a random share is hidden.

    Reference: masked image consistency (Hoyer et al., CVPR 2023) hides 0.7 in 16 patches per side; the share
    between two values is MAPSeg's (CVPR 2024).

    Args:
        size: H and W.
        share: smallest and largest share of patches that is hidden, from 0 to 1.
        generators: one per slice.
        per_side: patches along each side, at most one per pixel.

    Returns:
        `(B, H, W)` bool, True where hidden, on the CPU.
    """
    rows, columns = (np.arange(side) * per_side // side for side in size)
    masks = []
    for rng in generators:
        hidden = np.zeros(per_side**2, bool)
        hidden[: round(rng.uniform(*share) * per_side**2)] = True
        patches = rng.permutation(hidden).reshape(per_side, per_side)
        masks.append(patches[np.ix_(rows, columns)])
    return torch.from_numpy(np.stack(masks))
