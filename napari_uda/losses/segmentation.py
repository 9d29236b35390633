"""Supervised segmentation: class-weighted cross-entropy and soft Dice, on one or two heads.

Everything is computed in float32 from log-softmax; sums that are not plain means run over all ranks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uda.core.distributed import all_sum
from napari_uda.networks.segmentor import SegmentorOutput

DICE_EPSILON = 1e-5


@torch.no_grad()
def class_weights(label: Tensor, num_classes: int) -> Tensor:
    """Weights that favour rare classes: `w_c = 1 - (n_c + 1) / N`.

    `n_c` counts the pixels of class c among the `N` of the batch, over all ranks. Reference: SE-ASA
    (Feng et al., AAAI 2023), the authors' code; the paper prints only "cross-entropy" (Eq. 11).

    Args:
        label: `(B, H, W)`, integers in [0, num_classes).
        num_classes: C, background included.

    Returns:
        `(C,)` float32, constants. In a batch of one single class its weight is -1 / N; the weighted
        mean divides it out again.
    """
    counts = all_sum(_class_counts(label, num_classes))
    return 1.0 - (counts + 1) / counts.sum()


@torch.no_grad()
def pixel_weights(label: Tensor, num_classes: int) -> Tensor:
    """`class_weights` of every pixel's class, scaled to a mean of 1 over the batch of all ranks.

    Args:
        label: `(B, H, W)`, integers in [0, num_classes).
        num_classes: C, background included.

    Returns:
        `(B, H, W)` float32, constants; ones when the batch holds a single class.
    """
    weights = class_weights(label, num_classes).clamp(min=0)
    counts = all_sum(_class_counts(label, num_classes)).float()
    mean = (weights * counts).sum() / counts.sum()
    if mean <= 0:
        return torch.ones_like(label, dtype=torch.float32)
    return weights[label] / mean


def weighted_cross_entropy(logits: Tensor, label: Tensor, weights: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy, weighted mean: `sum_j w_{y_j} (-log p_{y_j}) / sum_j w_{y_j}`.

    Numerator and denominator are sums over all ranks, so every rank returns the same value.

    Args:
        logits: `(B, C, H, W)`, any float.
        label: `(B, H, W)`, integers in [0, C).
        weights: `(C,)`, constants; None weighs all classes the same.

    Returns:
        Scalar, float32, at least 0. Reference: SE-ASA Eq. (11), first term.
    """
    return _cross_entropy(_log_probabilities(logits), label, weights)


def soft_dice_loss(logits: Tensor, label: Tensor) -> Tensor:
    """One minus soft Dice per image, background included, averaged over images and classes.

    `1 - 1/(B C) sum_{b,c} 2 sum_j p g / (sum_j p^2 + sum_j g^2 + 1e-5)`. A class that an image does
    not have contributes the constant 1 and no gradient. Reference: SE-ASA Eq. (11), second term; the
    sums over pixels are per image as in the authors' code (SIFA sums over the batch).

    Args:
        logits: `(B, C, H, W)`, any float.
        label: `(B, H, W)`, integers in [0, C).

    Returns:
        Scalar in [0, 1], float32.
    """
    return _dice(_log_probabilities(logits), label)


def segmentation_loss(
    output: SegmentorOutput,
    label: Tensor,
    *,
    aux_weight: float = 0.1,
    ce_weight: float = 1.0,
    ce_class_weights: bool = True,
    dice_weight: float = 1.0,
) -> Tensor:
    """Cross-entropy and Dice of the main head, plus `aux_weight` times those of the auxiliary head.

    `L_seg = CE_w(u) + Dice(u) + 0.1 [CE_w(u_aux) + Dice(u_aux)]`. Reference: SE-ASA Eq. (11); the
    auxiliary weight is the authors' code's. A term of weight 0 is not computed.

    Args:
        output: of the segmentor; `aux_logits` None leaves the auxiliary terms out.
        label: `(B, H, W)`, integers in [0, C).
        aux_weight: of the auxiliary head.
        ce_weight: of both cross-entropies.
        ce_class_weights: weigh each pixel by the rarity of its class (`class_weights`).
        dice_weight: of both Dice terms.

    Returns:
        Scalar, float32.
    """
    weights = None
    if ce_weight and ce_class_weights:
        weights = class_weights(label, output.logits.shape[1])
    heads = [(1.0, output.logits)]
    if output.aux_logits is not None and aux_weight:
        heads.append((aux_weight, output.aux_logits))
    loss = output.logits.new_zeros((), dtype=torch.float32)
    for head_weight, logits in heads:
        log_probabilities = _log_probabilities(logits)
        if ce_weight:
            cross_entropy = _cross_entropy(log_probabilities, label, weights)
            loss = loss + head_weight * ce_weight * cross_entropy
        if dice_weight:
            loss = loss + head_weight * dice_weight * _dice(log_probabilities, label)
    return loss


def _log_probabilities(logits: Tensor) -> Tensor:
    return F.log_softmax(logits.float(), dim=1)


def _class_counts(label: Tensor, num_classes: int) -> Tensor:
    """`(C,)` int64 pixel counts; no scatter, so the same on every run and every device."""
    return torch.stack([(label == value).sum() for value in range(num_classes)])


def _cross_entropy(log_probabilities: Tensor, label: Tensor, weights: Tensor | None) -> Tensor:
    target = label.long()
    pixels = F.nll_loss(log_probabilities, target, weight=weights, reduction="none")  # (B, H, W)
    counts = _class_counts(label, log_probabilities.shape[1])
    mass = counts.sum().float() if weights is None else (counts * weights).sum()
    # not a mean of the ranks' means: ranks hold different numbers of rare pixels
    total = all_sum(mass)
    return all_sum(pixels.sum()) / torch.where(total == 0, 1.0, total)


def _dice(log_probabilities: Tensor, label: Tensor) -> Tensor:
    probabilities = log_probabilities.exp()
    values = torch.arange(probabilities.shape[1], device=label.device)[:, None, None]
    truth = (label.unsqueeze(1) == values).float()  # (B, C, H, W)
    overlap = (probabilities * truth).sum((2, 3))  # (B, C)
    size = probabilities.square().sum((2, 3)) + truth.sum((2, 3))
    return 1.0 - (2.0 * overlap / (size + DICE_EPSILON)).mean()
