"""Adversarial losses: one function for both players, in three modes."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

AdversarialMode = Literal["bce", "ls", "wgan"]

SOURCE_LABEL = 1.0
TARGET_LABEL = 0.0


def domain_loss(score: Tensor, is_source: bool, mode: AdversarialMode = "bce") -> Tensor:
    """How badly the scores say "source" (or "target").

    With y = 1 for source and 0 for target (SE-ASA Eq. (1); the authors' code has them swapped, which
    is equivalent), s the score and the mean over all scores:

    - `bce`: `-mean[y log sigmoid(s) + (1 - y) log(1 - sigmoid(s))]` (Goodfellow et al. 2014)
    - `ls`: `mean (s - y)^2` (Mao et al. 2017)
    - `wgan`: `-mean s` for source, `mean s` for target (Arjovsky et al. 2017); clip the weights.

    The discriminator minimises `domain_loss(D(source), True)` and `domain_loss(D(target), False)` on
    detached maps; the segmentor minimises `domain_loss(D(target), True)`: both players use the same
    constant, so the targets flip together.

    Args:
        score: any shape, any float; logits of a discriminator.
        is_source: what the scores should say.
        mode: which loss.

    Returns:
        Scalar, float32.

    Raises:
        ValueError: for an unknown mode.
    """
    values = score.float()
    wanted = SOURCE_LABEL if is_source else TARGET_LABEL
    if mode == "bce":
        return F.binary_cross_entropy_with_logits(values, torch.full_like(values, wanted))
    if mode == "ls":
        return (values - wanted).square().mean()
    if mode == "wgan":
        return -values.mean() if is_source else values.mean()
    raise ValueError(f"unknown adversarial loss {mode!r}; choose bce, ls or wgan")


def source_likeness(score: Tensor, mode: Literal["bce", "ls"] = "bce") -> Tensor:
    """How much a discriminator takes what it sees for the source: 1 surely, 0 undecided, -1 for the target.

    `2 p - 1` with the probability `p` that the loss gives a score its meaning by: `sigmoid(s)` for `bce`, the
    score itself, held in [0, 1], for `ls`.

    Args:
        score: any shape, any float.
        mode: the loss it learns by.

    Returns:
        The same shape, float32 in [-1, 1].
    """
    values = score.float()
    return 2 * (values.sigmoid() if mode == "bce" else values.clamp(0, 1)) - 1
