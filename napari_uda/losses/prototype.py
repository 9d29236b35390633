"""Prototypes: the mean feature of every class, their running average, and their distance."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_uda.core.distributed import all_sum
from napari_uda.core.precision import in_float32


def resize_nearest(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels or masks at the size of the features, by nearest neighbour.

    The pixel at row r comes from row `floor(r H / h)`, as in `torch.nn.functional.interpolate` with
    mode `nearest`, exactly and for every dtype.

    Args:
        label: `(B, H, W)`, any dtype.
        size: `(h, w)`.

    Returns:
        `(B, h, w)`, same dtype.
    """
    rows, columns = (
        torch.arange(wanted, device=label.device) * given // wanted
        for wanted, given in zip(size, label.shape[1:], strict=True)
    )
    return label[:, rows[:, None], columns]


@in_float32
def class_means(
    features: Tensor, label: Tensor, num_classes: int, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean feature of every class, over the pixels of all ranks.

    `mu^c = sum_j e_j [y_j = c] [j in R] / sum_j [y_j = c] [j in R]`. Reference: SE-ASA Eq. (7) without
    a mask for the source, Eq. (8) with the reliable pixels R as mask for the target (the released
    code leaves the mask out, our decision SE-D1).

    Args:
        features: `(B, F, h, w)`, any float; the sums are float32. Gradients flow into them.
        label: `(B, H, W)`, integers, taken at the size of the features (`resize_nearest`); values outside
            [0, num_classes) are counted nowhere.
        num_classes: C, background included.
        mask: `(B, H, W)` bool, pixels that count, as for label; None counts all.

    Returns:
        Means `(C, F)` float32, 0 for an absent class, and `(C,)` bool, which classes have at least
        one pixel that counts.
    """
    size = (features.shape[2], features.shape[3])
    values = torch.arange(num_classes, device=label.device)[:, None, None]
    belongs = resize_nearest(label, size).unsqueeze(1) == values  # (B, C, h, w)
    if mask is not None:
        belongs = belongs & resize_nearest(mask, size).bool().unsqueeze(1)
    membership = belongs.float().flatten(2)  # (B, C, hw)
    with torch.autocast(features.device.type, enabled=False):
        sums = torch.bmm(membership, features.float().flatten(2).transpose(1, 2)).sum(0)  # (C, F)
    sums = all_sum(sums)
    counts = all_sum(membership.sum((0, 2)))
    return sums / counts.clamp(min=1.0)[:, None], counts > 0


def update_prototypes(
    old: Tensor, means: Tensor, present: Tensor, momentum: float = 0.01
) -> Tensor:
    """Running prototypes: `P <- momentum sg[P] + (1 - momentum) mu`.

    The momentum weighs the old prototype, so the default follows the current batch almost wholly.
    Reference: SE-ASA Eq. (9), alpha = 0.01; which side alpha weighs is the authors' code's.

    Args:
        old: `(C, F)`, detached here.
        means: `(C, F)`, of `class_means`; carries the gradient.
        present: `(C,)` bool; an absent class keeps its old prototype and gives no gradient.
        momentum: alpha in [0, 1].

    Returns:
        `(C, F)` float32, attached to `means`; detach it before keeping it for the next step.
    """
    kept = old.detach()
    return torch.where(present[:, None], momentum * kept + (1.0 - momentum) * means, kept)


def prototype_distance(first: Tensor, second: Tensor, present: Tensor | None = None) -> Tensor:
    """Distance of two sets of prototypes: `sum_c mean_f (P1 - P2)^2`.

    Reference: SE-ASA Eq. (10); the mean over features instead of the squared norm is the authors'
    code's (our decision SE-D5: a weight of 1 goes with it).

    Args:
        first: `(C, F)`.
        second: `(C, F)`.
        present: `(C,)` bool, classes that count; None counts all.

    Returns:
        Scalar, float32; 0 without gradient when no class counts.
    """
    distances = (first.float() - second.float()).square().mean(dim=1)
    if present is not None:
        distances = torch.where(present, distances, torch.zeros_like(distances))
    return distances.sum()
