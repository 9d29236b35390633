"""The mean feature of every class over the whole source, by the network as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_uda.data.slices import in_parts
from napari_uda.losses.prototype import class_means, resize_nearest
from napari_uda.networks.normalisation import evaluating

if TYPE_CHECKING:
    from napari_uda.data.slices import SliceStore
    from napari_uda.networks.segmentor import Segmentor


@torch.no_grad()
def source_prototypes(
    segmentor: Segmentor, store: SliceStore, num_classes: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean feature of every class, each pixel counting alike; labels at the size of the features.

    Args:
        segmentor: asked in evaluation mode.
        store: labelled slices.
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
