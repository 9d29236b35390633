"""Random in-plane affine moves of images with their labels, drawn per sample, applied on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from napari_uda.core.config import Config
from napari_uda.core.precision import in_float32

if TYPE_CHECKING:
    from collections.abc import Sequence


class SpatialConfig(Config):
    """Random affine moves in the slice plane; 0 everywhere switches them off."""

    rotation_deg: float = Field(default=15.0, ge=0, le=180)
    """Largest rotation in degrees, to either side; 0 switches rotation off."""
    scale: float = Field(default=0.15, ge=0, lt=1)
    """Largest change of size: with 0.15, height and width are each scaled by 1/1.15 to 1.15; 0
    switches scaling off."""
    shear: float = Field(default=0.05, ge=0, le=0.5)
    """Largest shear to either side, as the tangent of its angle; 0 switches shear off."""
    shift: float = Field(default=0.05, ge=0, le=0.5)
    """Largest shift along each axis, as a share of the slice's side; 0 switches shifts off."""

    @property
    def is_on(self) -> bool:
        """Whether anything is moved at all."""
        return any((self.rotation_deg, self.scale, self.shear, self.shift))


def random_affine_matrices(
    config: SpatialConfig, generators: Sequence[np.random.Generator]
) -> Tensor:
    """One matrix per sample, from output to input coordinates in [-1, 1] (`affine_grid`'s).

    Returns:
        `(B, 2, 3)` float32 on the CPU.
    """
    matrices = np.empty((len(generators), 2, 3), dtype=np.float32)
    for matrix, rng in zip(matrices, generators, strict=True):
        angle = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg))
        zoom = np.exp(rng.uniform(-1, 1, size=2) * np.log1p(config.scale))
        shear = rng.uniform(-config.shear, config.shear)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix[:, :2] = rotation @ np.array([[1, shear], [0, 1]]) @ np.diag(1 / zoom)
        matrix[:, 2] = rng.uniform(-2 * config.shift, 2 * config.shift, size=2)
    return torch.from_numpy(matrices)


@in_float32
def move(image: Tensor, label: Tensor | None, matrices: Tensor) -> tuple[Tensor, Tensor | None]:
    """Apply one affine move per sample; what comes from outside mirrors the border.

    Args:
        image: `(B, K, H, W)` float.
        label: `(B, H, W)` int64, or None.
        matrices: `(B, 2, 3)` from `random_affine_matrices`.

    Returns:
        The moved image (bilinear) and label (nearest), same shapes and types.
    """
    grid = F.affine_grid(matrices.to(image.device), list(image.shape), align_corners=False)
    moved = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
    return moved, None if label is None else _nearest(label[:, None], grid)[:, 0].long()


@in_float32
def move_nearest(values: Tensor, matrices: Tensor) -> Tensor:
    """What is known per pixel of slices, moved as `move` moves their labels.

    Args:
        values: `(B, C, H, W)`, any type whose values float32 holds exactly.
        matrices: `(B, 2, 3)` from `random_affine_matrices`.

    Returns:
        `(B, C, H, W)` float32.
    """
    grid = F.affine_grid(matrices.to(values.device), list(values.shape), align_corners=False)
    return _nearest(values, grid)


def _nearest(values: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(
        values.float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
    )
