"""Contrast of features with class prototypes, with a margin on the angle to the right one.

Written from Liu et al., IEEE JBHI 2022 (MPSCL), and a description of the authors' code, which has no licence.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uda.core.distributed import all_sum
from napari_uda.core.precision import in_float32

_NO_CLASS = -1e4
"""Stands for the cosine with a prototype that is not known: it is nobody's neighbour."""


@in_float32
def prototype_cosines(features: Tensor, prototypes: Tensor, known: Tensor) -> Tensor:
    """Cosine of every pixel's feature with every prototype.

    Args:
        features: `(B, F, h, w)`, any float; gradients flow into them.
        prototypes: `(C, F)`; detached here.
        known: `(C,)` bool, prototypes that there are.

    Returns:
        `(B, C, h, w)` float32 in [-1, 1], and far below for prototypes that are not known.
    """
    directions = F.normalize(prototypes.detach().float(), dim=1)
    pixels = F.normalize(features.float(), dim=1)
    cosines = torch.einsum("bfhw,cf->bchw", pixels, directions)
    return cosines.masked_fill(~known.view(-1, 1, 1), _NO_CLASS)


def cosines_of_prototypes(prototypes: Tensor, known: Tensor) -> Tensor:
    """Cosine of every prototype with every other.

    Args:
        prototypes: `(C, F)`.
        known: `(C,)` bool, prototypes that there are.

    Returns:
        `(C, C)` float32 in [-1, 1], and far below where one of the two is not known.
    """
    cosines = prototype_cosines(prototypes[:, :, None, None], prototypes, known)[:, :, 0, 0]
    return cosines.masked_fill(~known[:, None], _NO_CLASS)


def with_margin(cosines: Tensor, margin: float) -> Tensor:
    """Cosines of angles that are larger by the margin: `cos(theta + m)`, and `cos - m sin m` beyond pi - m.

    Args:
        cosines: any shape, in [-1, 1].
        margin: m in radians, from 0.

    Returns:
        The same shape. `sin theta` is held above 0.01, so that its gradient is finite.
    """
    sines = (1 - cosines.square()).clamp(1e-4, 1.0).sqrt()
    turned = cosines * math.cos(margin) - sines * math.sin(margin)
    beyond = cosines - margin * math.sin(margin)
    return torch.where(cosines > math.cos(math.pi - margin), turned, beyond) if margin else cosines


def contrast(
    cosines: Tensor,
    label: Tensor,
    temperature: float,
    margin: float,
    *,
    legacy_margin: bool = False,
) -> Tensor:
    """Per pixel `-tau log(e^(phi/tau) / (e^(phi/tau) + sum_{k != y} e^(cos_k/tau)))`, phi with the margin.

    As the paper writes it, by one log-sum-exp. The authors' code takes two maxima from the exponents, that of
    the cosines with the margin from phi and that of those without it from the others, so that for a pixel
    whose own prototype is the nearest the margin cancels (MP-D1): `legacy_margin` does the same. The code also
    adds 1e-4 to the ratio; with temperatures of 1 and more the ratio is never that small, so we do not.

    Args:
        cosines: `(B, C, h, w)` of `prototype_cosines`.
        label: `(B, h, w)` integers in [0, C), y.
        temperature: tau, above 0; the loss is scaled by it, as by tau over a base temperature of 1.
        margin: m in radians.
        legacy_margin: reproduce the authors' code.

    Returns:
        `(B, h, w)` float32, at least 0.
    """
    own = label.long().unsqueeze(1)
    turned = with_margin(cosines.gather(1, own), margin)  # (B, 1, h, w)
    logits = cosines.scatter(1, own, turned) / temperature
    if legacy_margin:
        largest = cosines.amax(1, keepdim=True)
        # phi rises with the cosine, so the largest phi is that of the largest cosine
        logits = logits - (largest / temperature).detach()
        shifted = (turned - with_margin(largest, margin).detach()) / temperature
        logits = logits.scatter(1, own, shifted)
    return -temperature * F.log_softmax(logits, dim=1).gather(1, own)[:, 0]


@torch.no_grad()
def nearest_prototypes(cosines: Tensor, gap: float) -> tuple[Tensor, Tensor]:
    """The nearest prototype of every pixel, and where it is nearer than the second by more than `gap`.

    Args:
        cosines: `(B, C, h, w)`, C at least 2.
        gap: difference of the two largest cosines.

    Returns:
        `(B, h, w)` int64 classes, and `(B, h, w)` bool.
    """
    values, classes = cosines.topk(2, dim=1)
    return classes[:, 0], values[:, 0] - values[:, 1] > gap


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of `(B, h, w)` values in a mask over its pixels and 1e-4, on all ranks; 0 for an empty mask."""
    chosen = mask.float()
    return all_sum((values * chosen).sum()) / (all_sum(chosen.sum()) + 1e-4)
