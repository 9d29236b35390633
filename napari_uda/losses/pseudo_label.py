"""Pseudo-labels of the target: one threshold per class, hard and soft labels, and what is learnt from them.

A threshold per class is the whole point: with a single one the labels of small structures vanish. Written
from Zou et al., ECCV 2018 (CBST) and ICCV 2019 (CRST); the authors' code (CC BY-NC-SA 4.0) is not used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uda.core.distributed import all_sum, gather

IGNORED = 255
"""Hard label of a pixel that is not learnt from."""


def class_thresholds(confidence: Tensor, label: Tensor, num_classes: int, share: float) -> Tensor:
    """Of every class the confidence that its surest `share` of pixels reach.

    `lambda_k` is the value at place `floor(n_k share) - 1` of the `n_k` confidences of the pixels that are
    predicted k, sorted from the surest on.

    Args:
        confidence: `(M,)`, largest probability of each pixel.
        label: `(M,)`, its class.
        num_classes: C, background included.
        share: q in (0, 1].

    Returns:
        `(C,)` float32; 1 for a class of which not even one pixel belongs to the share.
    """
    thresholds = torch.ones(num_classes, device=confidence.device)
    for index in range(num_classes):
        of_class = confidence[label == index]
        # in whole numbers but for rounding: of 10 pixels a share of 0.3 is 3, not floor(2.999...)
        kept = int(len(of_class) * share + 1e-9)
        if kept:
            thresholds[index] = of_class.float().topk(kept).values[-1]
    return thresholds


def surest_of_each_class(
    confidence: Tensor, label: Tensor, num_classes: int, share: float
) -> Tensor:
    """Which pixels are among the surest `share` of their class (`class_thresholds`), in the batches of all ranks.

    Args:
        confidence: `(B, H, W)`, largest probability of each pixel.
        label: `(B, H, W)`, its class.
        num_classes: C, background included.
        share: q in (0, 1].

    Returns:
        `(B, H, W)` bool.
    """
    everywhere, labels = (gather(values).flatten() for values in (confidence, label))
    return confidence >= class_thresholds(everywhere, labels, num_classes, share)[label]


def hard_labels(probabilities: Tensor, thresholds: Tensor) -> Tensor:
    """Classes by probability over threshold: `argmax_k p_k / lambda_k`, ignored where the largest is below 1.

    Args:
        probabilities: `(B, C, H, W)`.
        thresholds: `(C,)`, above 0. Reference: CBST.

    Returns:
        `(B, H, W)` uint8, `IGNORED` where no class is sure.
    """
    largest, label = (probabilities.float() / thresholds.view(-1, 1, 1)).max(1)
    return torch.where(largest < 1, IGNORED, label).to(torch.uint8)


def soft_labels(probabilities: Tensor, thresholds: Tensor, alpha: float) -> Tensor:
    """Labels that stay unsure: `y_k` proportional to `(p_k / lambda_k)^(1 / alpha)` (LRENT).

    They minimise `-sum_k y_k log(p_k / lambda_k) + alpha sum_k y_k log y_k`; a pixel is kept where that is
    below 0, so that labelling it costs less than to leave it out.

    Args:
        probabilities: `(B, C, H, W)`.
        thresholds: `(C,)`, above 0.
        alpha: weight of the label's negative entropy, above 0. Reference: CRST, its regulariser of labels.

    Returns:
        `(B, C, H, W)` float32, sum 1 over C; all 0 where the pixel is ignored.
    """
    # not the logarithm of 0, whatever a softmax gives
    log_ratio = probabilities.float().clamp_min(1e-30).log() - thresholds.log().view(-1, 1, 1)
    log_label = F.log_softmax(log_ratio / alpha, dim=1)
    label = log_label.exp()
    cost = (label * (alpha * log_label - log_ratio)).sum(1, keepdim=True)
    return torch.where(cost < 0, label, torch.zeros_like(label))


def one_hot(label: Tensor, num_classes: int) -> Tensor:
    """Hard labels `(B, H, W)` as `(B, C, H, W)` float32, all 0 where they are `IGNORED`."""
    values = torch.arange(num_classes, device=label.device)[:, None, None]
    return (label.unsqueeze(1) == values).float()


def pseudo_label_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of kept pixels: `sum_i -sum_k y_k log p_k / V`, V the kept pixels of all ranks.

    Args:
        logits: `(B, C, H, W)`, any float.
        label: `(B, C, H, W)`, from `one_hot` or `soft_labels`.

    Returns:
        Scalar, float32; 0 without gradient where nothing is kept.
    """
    return _over_kept(-(label * _log_probabilities(logits)).sum(1), label)


def uniform_divergence(logits: Tensor, label: Tensor) -> Tensor:
    """How far predictions of kept pixels are from uniform: mean of `(1/C) sum_k -log p_k` (MRKLD).

    It keeps the network from being surer of its own labels than they deserve.

    Args:
        logits: `(B, C, H, W)`, any float.
        label: `(B, C, H, W)`, says which pixels are kept. Reference: CRST, its regulariser of models.

    Returns:
        Scalar, float32, at least ln C where something is kept, else 0.
    """
    return _over_kept(-_log_probabilities(logits).mean(1), label)


def _log_probabilities(logits: Tensor) -> Tensor:
    return F.log_softmax(logits.float(), dim=1)


def _over_kept(values: Tensor, label: Tensor) -> Tensor:
    """Mean of `(B, H, W)` values over pixels that have a label, on all ranks."""
    kept = (label.sum(1) > 0).float()
    # not a mean of the ranks' means: ranks keep different numbers of pixels
    return all_sum((values * kept).sum()) / all_sum(kept.sum()).clamp(min=1.0)


def weighted_pixel_loss(logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Mean over all pixels of the cross-entropy times a weight; 0 where all weights are.

    Args:
        logits: `(B, C, H, W)`, any float.
        label: `(B, H, W)` integers in [0, C).
        weight: `(B, H, W)` in [0, 1], a constant. Reference: DACS and MIC, where it is the share of sure
            pixels of the slice, so that slices of which the teacher is unsure teach little.

    Returns:
        Scalar, float32.
    """
    pixels = F.nll_loss(_log_probabilities(logits), label.long(), reduction="none")
    return (pixels * weight).mean()


def soft_cross_entropy(logits: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over all pixels of `-sum_k q_k log p_k`, maybe times a weight, q the teacher's softmax.

    Args:
        logits: `(B, C, H, W)`, any float.
        teacher: `(B, C, H, W)` logits, detached here.
        weight: `(B, H, W)`, a constant; 1 everywhere when left out.

    Returns:
        Scalar, float32.
    """
    target = teacher.detach().float().softmax(1)
    pixels = -(target * _log_probabilities(logits)).sum(1)
    return (pixels if weight is None else pixels * weight).mean()
