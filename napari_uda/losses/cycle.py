"""Losses and checks of image translation: how far images differ, and whether anatomy has moved."""

from __future__ import annotations

import torch
from torch import Tensor


def image_distance(image: Tensor, original: Tensor) -> Tensor:
    """Mean absolute difference, `mean |image - original|`.

    With `image` translated there and back it is one direction of the cycle loss, with `image` put
    through the generator of its own domain the identity loss. Reference: Zhu et al., ICCV 2017,
    Eq. (2) and sec. 5.2; AttENT Eq. (4).

    Args:
        image: any shape, any float.
        original: the same shape.

    Returns:
        Scalar, float32.
    """
    return (image.float() - original.float()).abs().mean()


def structure_dice(prediction: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Mean set Dice over the structures of a batch, `2 |A and B| / (|A| + |B|)`.

    A structure that neither has does not count; without any structure the two agree and it is 1.

    Args:
        prediction: `(B, H, W)` int64, classes.
        label: `(B, H, W)` int64, classes.
        num_classes: C, background (class 0, left out) included.

    Returns:
        Scalar in [0, 1], float32.
    """
    counts = [torch.bincount(x.flatten(), minlength=num_classes) for x in (prediction, label)]
    both = torch.bincount(label[prediction == label], minlength=num_classes)[1:]
    sizes = (counts[0] + counts[1])[1:]
    present = sizes > 0
    if not bool(present.any()):
        return torch.ones((), device=label.device)
    return (2 * both[present] / sizes[present]).mean()
