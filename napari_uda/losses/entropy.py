"""Entropy of predictions: maps, and losses that lower it, or lower it in some pixels and raise it in others.

Everything that is learnt from comes from log-softmax in float32; the logarithm of a probability is taken
only of maps that are looked at.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-12
"""Below any probability that matters: its share of the entropy is under 3e-11."""


def self_information(logits: Tensor) -> Tensor:
    """Weighted self-information of softmax predictions, `I_c = -p_c log p_c / log C`.

    Args:
        logits: `(B, C, H, W)`, any float, finite.

    Returns:
        `(B, C, H, W)` in [0, 1], float32; its sum over C is the normalised entropy.

    Raises:
        ValueError: if C < 2. Reference: Vu et al., CVPR 2019, sec. 3.2; the value of the authors'
            `prob_2_entropy`, which adds 1e-30 to p instead.
    """
    return _information(logits) / math.log(_num_classes(logits))


def entropy_map(logits: Tensor) -> Tensor:
    """Normalised entropy per pixel, `E = -sum_c p_c log p_c / log C`.

    Args:
        logits: `(B, C, H, W)`, any float, finite.

    Returns:
        `(B, H, W)` in [0, 1], float32: 0 for certainty, 1 for a uniform prediction.

    Raises:
        ValueError: if C < 2.
    """
    return self_information(logits).sum(dim=1).clamp(0.0, 1.0)


def entropy_of_probabilities(probabilities: Tensor) -> Tensor:
    """Normalised entropy of pixels whose logits are not known, `E = -sum_c p_c log p_c / log C`.

    For maps that were interpolated after the softmax; without a use for its gradient.

    Args:
        probabilities: `(B, C, H, W)`, float, not negative, sum 1 over C.

    Returns:
        `(B, H, W)` in [0, 1], float32.

    Raises:
        ValueError: if C < 2.
    """
    p = probabilities.float()
    entropy = -(p * p.clamp_min(_TINY).log()).sum(dim=1) / math.log(_num_classes(p))
    return entropy.clamp(0.0, 1.0)


def minimum_entropy_loss(logits: Tensor) -> Tensor:
    """Mean normalised entropy of all pixels, the MinEnt loss.

    Args:
        logits: `(B, C, H, W)`, any float, finite.

    Returns:
        Scalar in [0, 1], float32. Reference: Vu et al., CVPR 2019, Eq. (2) and (3), divided by the
        number of pixels as in the authors' code.

    Raises:
        ValueError: if C < 2.
    """
    return self_information(logits).sum(dim=1).mean()


def selective_entropy(
    logits_reliable: Tensor, logits_unreliable: Tensor, reliable: Tensor, unreliable: Tensor
) -> tuple[Tensor, Tensor]:
    """Selective entropy constraint: lower the entropy of reliable pixels, raise it elsewhere.

    `L_sent = 1/(B H W) [sum_{j in R} H(q+_j) - sum_{j in U} H(q-_j)]`, `H(q) = -sum_c q_c ln q_c`
    (natural logarithm, not divided by ln C). Reference: SE-ASA Eq. (6), read from the authors' code,
    which follows SENTRY (Prabhu et al., ICCV 2021). The two terms come apart so that each can have a
    weight of its own; their plain sum is `L_sent`.

    Args:
        logits_reliable: `(B, C, H, W)`, logits of q+, any float, finite.
        logits_unreliable: `(B, C, H, W)`, logits of q-; may be the same tensor.
        reliable: `(B, H, W)`, R: bool, or float weights that are 0 outside R.
        unreliable: `(B, H, W)`, U: the same.

    Returns:
        The term of R, in [0, ln C], and the term of U, in [-ln C, 0] (it carries its minus sign);
        scalars, float32. An empty set gives 0 and a gradient of 0.
    """
    agreeing = _information(logits_reliable).sum(dim=1)
    same = logits_unreliable is logits_reliable
    disagreeing = agreeing if same else _information(logits_unreliable).sum(dim=1)
    lowered, raised = (agreeing * reliable).mean(), (disagreeing * unreliable).mean()
    return lowered, -raised


def logits_of_last_view(view_logits: Tensor, chosen: Tensor, fallback: Tensor) -> Tensor:
    """Per pixel the logits of the last view in which `chosen` holds, else those of `fallback`: q+ and q-.

    A pixel is unreliable through Fourier views alone when no random view contradicts it; the released code
    of SE-ASA then takes a constant, we take the slice's own prediction (SE-D2).

    Args:
        view_logits: `(N, B, C, H, W)`.
        chosen: `(N, B, H, W)` bool.
        fallback: `(B, C, H, W)`.

    Returns:
        `(B, C, H, W)`, of the views' dtype.
    """
    order = torch.arange(1, len(chosen) + 1, device=chosen.device).view(-1, 1, 1, 1)
    last = (chosen * order).amax(0)  # (B, H, W), 0 where no view is chosen
    index = (last - 1).clamp(min=0)[None, :, None].expand(1, *view_logits.shape[1:])
    picked = view_logits.gather(0, index)[0]
    return torch.where(last[:, None] > 0, picked, fallback.to(picked.dtype))


def _information(logits: Tensor) -> Tensor:
    log_probabilities = F.log_softmax(logits.float(), dim=1)
    return -log_probabilities.exp() * log_probabilities


def _num_classes(logits: Tensor) -> int:
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"entropy needs at least 2 classes, the logits have {classes}")
    return classes
