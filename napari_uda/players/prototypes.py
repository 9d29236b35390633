"""Prototypes as training keeps them: where they begin, and how each batch moves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_uda.data.slices import in_parts
from napari_uda.losses.prototype import class_means, resize_nearest, update_prototypes
from napari_uda.networks.normalisation import evaluating

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_uda.data.slices import SliceStore
    from napari_uda.networks.segmentor import Segmentor


@torch.no_grad()
def source_prototypes(
    segmentor: Segmentor, store: SliceStore, num_classes: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean feature of every class over the whole source by the network as it is now, each pixel counting alike.

    Args:
        segmentor: asked in evaluation mode.
        store: labelled slices; labels are taken at the size of the features.
        num_classes: C, background included.
        device: where the segmentor is.

    Returns:
        `(C, F)` float32, 0 for a class that there is not, and `(C,)` bool, which there are.
    """
    sums = torch.zeros(num_classes, segmentor.feature_channels, device=device)
    counts = torch.zeros(num_classes, device=device)
    with evaluating(segmentor):
        for indices in in_parts(np.arange(len(store))):
            features = segmentor(store.image(indices).to(device)).features
            size = (features.shape[2], features.shape[3])
            label = resize_nearest(store.label(indices).to(device), size)
            means, _ = class_means(features, label, num_classes)
            pixels = torch.stack([(label == k).sum() for k in range(num_classes)])
            sums += means * pixels[:, None]
            counts += pixels
    return sums / counts.clamp(min=1)[:, None], counts > 0


def mean_of_batches(found: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Prototypes of several batches, averaged; a class counts in the batches that contain it.

    Args:
        found: `class_means` of each batch.

    Returns:
        `(C, F)` float32, 0 for a class that there is not, and `(C,)` bool, which there are.
    """
    sums, counts = torch.zeros_like(found[0][0]), torch.zeros_like(found[0][1], dtype=torch.float)
    for means, present in found:
        sums += means * present[:, None]
        counts += present
    return sums / counts.clamp(min=1)[:, None], counts > 0


def move_prototypes(
    prototypes: Tensor,
    known: Tensor,
    features: Tensor,
    label: Tensor,
    momentum: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Let the classes of a batch move prototypes (`losses.prototype.update_prototypes`), in place.

    Args:
        prototypes: `(C, F)`, the numbers that the next step begins with; changed here.
        known: `(C,)` bool, the classes met so far, whose means are averaged with the old ones; changed here.
        features: `(B, F, h, w)`.
        label: `(B, H, W)` integers.
        momentum: share of the old prototypes in the new ones.
        mask: `(B, H, W)` bool, pixels that count; None counts all.

    Returns:
        `(C, F)`, the same prototypes with the gradient of this batch.
    """
    means, present = class_means(features, label, len(known), mask)
    old = torch.where(known[:, None], prototypes, means.detach())
    moved = update_prototypes(old, means, present, momentum)
    prototypes.copy_(moved.detach())
    known |= present
    return moved
