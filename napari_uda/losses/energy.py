"""Free energy of a classifier seen as an energy model, per pixel, and two losses that lower it on the target.

Known from the abstracts of Liu et al., "Energy-constrained Self-Training for Unsupervised Domain Adaptation"
(ICPR 2020; arXiv 2101.00316 and 2208.12885): there is no public code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uda.core.distributed import all_sum, world_size
from napari_uda.core.errors import InputError

_LARGEST_MEAN_LOGIT = 50.0
_REFERENCE_MEMORY = 0.99


def free_energy(logits: Tensor, *, centred: bool = False) -> Tensor:
    """Energy `E = -log sum_k exp(u_k)` of every pixel; its derivative to u is `-softmax(u)`.

    A constant added to all logits lowers it and changes no prediction. Centred, `-log sum_k exp(u_k - mean u)`,
    it is at most `-log C`, such a constant does nothing, and its derivative is `1/C - softmax(u)`.

    Args:
        logits: `(B, C, H, W)`, any float.
        centred: take the mean over classes from the logits first (EB-D1).

    Returns:
        `(B, H, W)` float32.
    """
    values = logits.float()
    if centred:
        values = values - values.mean(1, keepdim=True)
    return -torch.logsumexp(values, dim=1)


def energy_hinge(energy: Tensor, reference: Tensor) -> Tensor:
    """Mean of `max(E - m, 0)`: 0 once target pixels have no more energy than those of the source.

    Args:
        energy: `(B, H, W)`, of the target.
        reference: scalar m, a constant.

    Returns:
        Scalar, float32, not negative.
    """
    return F.relu(energy - reference.detach()).mean()


def move_reference(reference: Tensor, known: Tensor, energy: Tensor) -> None:
    """Let a running mean of energies follow that of a batch, in place.

    Args:
        reference: scalar m; changed here.
        known: whether there is one yet; true from here on.
        energy: scalar, of the batch.
    """
    moved = reference.lerp(energy, 1 - _REFERENCE_MEMORY)
    reference.copy_(torch.where(known, moved, energy))
    known.fill_(True)


def bounded_mean_logit(logits: Tensor) -> Tensor:
    """Mean logit of all ranks, as long as the raw energy has not run away with it.

    Args:
        logits: `(B, C, H, W)`, any float.

    Raises:
        InputError: if its absolute value is above 50.
    """
    level = mean_of_all_ranks(logits.float())
    if abs(float(level)) > _LARGEST_MEAN_LOGIT:
        raise InputError(
            f"the mean logit of the target is {float(level):.1f}: the raw energy drifts; take energy_form "
            "centred_hinge, a smaller energy_weight or more weight_decay"
        )
    return level


def mean_of_all_ranks(values: Tensor) -> Tensor:
    """Mean over the pixels of all ranks, each of which has as many; without gradient."""
    return all_sum(values.detach().mean()) / world_size()
