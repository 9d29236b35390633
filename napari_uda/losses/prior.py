"""Losses of source-free adaptation: weighted entropy, and predicted against expected class ratios.

Everything comes from log-softmax in float32; the logarithm of a probability is never taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uda.core.distributed import all_sum, world_size

RatioMode = Literal["mean", "maxnorm", "argmax"]
Divergence = Literal["adami", "adaent"]

FLOOR = 1e-10
"""Added inside the logarithms of ratios, as in the authors' code. It sets the strength of a tag: a
class that is said to be absent costs `-ln FLOOR` = 23 times its predicted ratio."""


def weighted_entropy(logits: Tensor, weights: Tensor, pixels: Tensor | None = None) -> Tensor:
    """Mean over pixels of `l(i) = -sum_k nu_k p_k(i) ln p_k(i)`.

    Args:
        logits: `(B, C, H, W)`, any float, finite.
        weights: `(C,)`, nu, not negative.
        pixels: `(B, H, W)` bool, those that count, all when left out; the mean is over all of them either way.

    Returns:
        Scalar, float32, in [0, max(nu) ln C]. Reference: Bateson et al., MedIA 2022, entropy term,
        divided by the number of pixels of the batch as in the authors' code.
    """
    log_probability = F.log_softmax(logits.float(), dim=1)
    information = -log_probability.exp() * log_probability
    entropy = (information * weights.to(information).view(1, -1, 1, 1)).sum(dim=1)
    return (entropy if pixels is None else entropy * pixels).mean()


def predicted_log_ratio(logits: Tensor, mode: RatioMode = "mean") -> Tensor:
    """Logarithm of the class ratio that an image is predicted to have, `ln tau_hat`.

    `mean` is the paper's, `tau_hat_k = 1/|Omega| sum_i p_k(i)`. `maxnorm` is what the released code
    computes (SF-D1): `r_k(i) = p_k(i) / max_j p_j(i)`, `tau_hat_k = sum_i r_k(i) / sum_{j,i} r_j(i)`.
    Uncertain pixels weigh more there; for one-hot predictions the two are equal. `argmax`, ours, is the share
    of pixels whose most probable class is k, and moves by the gradient of `mean`: a small structure's mean
    probability is mostly a little doubt in the many pixels of the rest, and lowering that sum to an expected
    size can erase a structure whose segmentation had that size. A class without a pixel counts as half of one.

    Args:
        logits: `(B, C, H, W)`, any float, finite.
        mode: which of the three.

    Returns:
        `(B, C)`, float32; `exp` of it sums to 1 over C (argmax: a little more where a class is missing).
    """
    log_probability = F.log_softmax(logits.float(), dim=1).flatten(2)  # (B, C, H W)
    if mode == "argmax":
        pixels = log_probability.shape[2]
        found = F.one_hot(log_probability.max(1).indices, log_probability.shape[1]).sum(1)  # (B, C)
        share = found.clamp_min(0.5) / pixels
        mean = log_probability.exp().mean(dim=2)
        # Counting has no gradient. The second term is 0, and its gradient is that of ln(share) if the
        # share moved as the mean does (straight-through).
        return share.log() + (mean - mean.detach()) / share
    if mode == "mean":
        # ln of the mean probability, without leaving logarithms: a ratio of 1e-12 keeps its digits
        return torch.logsumexp(log_probability, dim=2) - math.log(log_probability.shape[2])
    relative = log_probability - log_probability.amax(dim=1, keepdim=True)  # ln r_k(i)
    sums = torch.logsumexp(relative, dim=2)
    return sums - torch.logsumexp(sums, dim=1, keepdim=True)


def mean_log_ratio(log_ratio: Tensor) -> Tensor:
    """Logarithm of the class ratio of all images together, those of other processes included.

    Args:
        log_ratio: `(B, C)` from `predicted_log_ratio`.

    Returns:
        `(1, C)`, float32.
    """
    if world_size() == 1:
        return torch.logsumexp(log_ratio, dim=0, keepdim=True) - math.log(len(log_ratio))
    mean = mean_of_slices(log_ratio.exp())
    return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()  # of 0 it would be -inf


def mean_of_slices(ratios: Tensor) -> Tensor:
    """Mean `(1, C)` of class ratios `(B, C)`, over the slices of all processes."""
    return all_sum(ratios.mean(dim=0, keepdim=True)) / world_size()


def ratio_divergence(
    log_ratio: Tensor, prior: Tensor, kind: Divergence = "adami", *, floor: float = FLOOR
) -> Tensor:
    """How far predicted class ratios are from expected ones, per image.

    `adami` (MedIA 2022): `KL(tau_hat || tau_e) = sum_k tau_hat_k ln(tau_hat_k / tau_e,k)`. Its
    derivative to tau_hat_k is `ln(tau_hat_k / tau_e,k) + 1`, which grows slowly.
    `adaent` (MICCAI 2020): `KL(tau_e || tau_hat)` without its constant, `-sum_k tau_e,k ln tau_hat_k`
    as in the released code; the derivative `-tau_e,k / tau_hat_k` has no bound near 0.

    Args:
        log_ratio: `(B, C)`, ln tau_hat.
        prior: `(B, C)` or `(1, C)`, tau_e, rows that sum to 1 (see `renormalised`).
        kind: which direction.
        floor: added to every ratio inside a logarithm (SF-D6), above 0.

    Returns:
        `(B,)`, float32. adami is 0 where both are equal, and not negative but for rounding.
    """
    prior = prior.to(log_ratio)
    least = torch.full_like(log_ratio, math.log(floor))  # so that no logarithm is of 0
    log_predicted = torch.logaddexp(log_ratio, least)  # ln(tau_hat + floor)
    if kind == "adaent":
        return -(prior * log_predicted).sum(dim=1)
    return (log_ratio.exp() * (log_predicted - (prior + floor).log())).sum(dim=1)


def tolerant_divergence(
    log_ratio: Tensor, prior: Tensor, kind: Divergence, *, tolerance: float, floor: float = FLOOR
) -> Tensor:
    """Sizes as inequalities: a class whose ratio is within a factor of its prior has no gradient.

    At a factor of 1 it is `ratio_divergence`. Above, the divergence to `w = min(max(tau_hat, tau_e / t), t tau_e)`, in the form for ratios that need not sum to 1:
    `sum_k tau_hat_k ln(tau_hat_k / w_k) - tau_hat_k + w_k` for adami, the other direction for adaent. The
    constrained form of Bateson et al. (IPMI 2019) has hard penalties outside its bounds.

    Args:
        log_ratio: `(B, C)`, ln tau_hat.
        prior: `(B, C)` or `(1, C)`, tau_e.
        kind: as for `ratio_divergence`.
        tolerance: t, from 1.
        floor: as for `ratio_divergence`.

    Returns:
        `(B,)`, float32, not negative but for rounding; exactly 0 where all classes are within the factor.
    """
    if tolerance == 1:
        return ratio_divergence(log_ratio, prior, kind, floor=floor)
    ratio = log_ratio.exp()
    seen, prior = ratio.detach(), prior.to(log_ratio)
    wanted = torch.minimum(torch.maximum(seen, prior / tolerance), prior * tolerance)
    divergence = ratio_divergence(log_ratio, wanted, kind, floor=floor)
    rest = wanted - ratio if kind == "adami" else ratio - wanted + wanted * (wanted + floor).log()
    result: Tensor = (divergence + rest.sum(dim=1)) * (wanted != seen).any(dim=1)
    return result


def renormalised(ratios: Tensor) -> Tensor:
    """Rows of expected ratios that sum to 1 (SF-D5): one published prior sums to 1.005.

    Args:
        ratios: `(..., C)`, not negative, each row with something in it.

    Raises:
        ValueError: for a negative value or an empty row.
    """
    sums = ratios.sum(dim=-1, keepdim=True)
    if bool((ratios < 0).any()) or bool((sums <= 0).any()):
        raise ValueError("expected ratios must not be negative, and not all of them 0")
    return ratios / sums


def size_weights(sizes: Sequence[float] | Tensor) -> Tensor:
    """Class weights of the entropy, `nu_k = (1/s_k) / sum_j (1/s_j)`.

    Args:
        sizes: C mean sizes s in any unit, all above 0. Reference: MedIA 2022, sec. 3.1.6.

    Returns:
        `(C,)` float32 with sum 1.

    Raises:
        ValueError: for a size that is not above 0.
    """
    values = torch.as_tensor(sizes, dtype=torch.float64)
    if not bool((values > 0).all()):
        raise ValueError(f"sizes must be above 0, they are {values.tolist()}")
    inverse = 1 / values
    return (inverse / inverse.sum()).float()
