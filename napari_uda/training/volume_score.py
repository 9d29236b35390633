"""Score of a segmented volume that needs no label: `select` ranks runs by it, and the check for harm asks it to rise."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from napari_uda.data.slices import SliceStore, fill_store, in_parts
from napari_uda.evaluation.label_free import certainty, plausibility
from napari_uda.inference.fit_structures import USUAL
from napari_uda.losses.entropy import entropy_map
from napari_uda.training.validation import changed_grey_values

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_uda.data.facts import DataFacts
    from napari_uda.data.volume import Volume
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.methods.base import Method

Part = Literal["consistency", "certainty", "plausibility"]
PARTS: tuple[Part, ...] = ("consistency", "certainty", "plausibility")
"""What the score is made of."""
VIEWS = 3
"""How often the grey values of every slice are changed."""
_SLICES_AT_ONCE = 16


@dataclass(frozen=True)
class VolumeScore:
    """What is told of one volume that a network segmented; each in [0, 1], and more is better.

    Attributes:
        consistency: probability that slices in other grey values give a pixel the class that the slices themselves
            do, as a geometric mean over the pixels; that of the network which predicts, whatever the method.
        certainty: 1 less the mean entropy inside the structures.
        plausibility: whether the volumes of the structures are like those of the source's labels.
    """

    consistency: float
    certainty: float
    plausibility: float

    @property
    def score(self) -> float:
        """All of them: their product, with the root of the consistency, which networks differ in by how they were trained."""
        return math.sqrt(self.consistency) * self.certainty * self.plausibility


def mean_of(scores: Collection[VolumeScore], what: Part | Literal["score"]) -> float:
    """Mean over volumes of the score, or of a part of it."""
    return float(np.mean([getattr(one, what) for one in scores]))


def score_volume(loaded: LoadedRun, volume: Volume) -> VolumeScore:
    """Segment the slices of a volume, and changed ones, on the grid of the run."""
    facts = loaded.run.facts
    count = int(volume.canonical().array.shape[facts.grid.axis])
    item = (volume.name or "volume", volume, None)
    store = fill_store([item], [count], facts.grid, facts.prediction_intensity, with_labels=False)
    with torch.autocast(loaded.device.type, torch.bfloat16, enabled=loaded.bf16):
        return score_case(loaded.method, facts, store, 0, loaded.device)


def score_case(
    method: Method[Any], facts: DataFacts, store: SliceStore, case: int, device: torch.device
) -> VolumeScore:
    """Segment the slices of one case of a store, and changed ones.

    Args:
        method: in evaluation mode, on the device.
        facts: what is known of the source.
        store: slices on the run's grid; their labels, if there are any, are not read.
        case: index into its cases.
        device: where the method is.
    """
    rows = np.flatnonzero(store.case_of == case)
    found = [
        _segment(method, store.image(rows[part]).to(device), part)
        for part in in_parts(np.arange(len(rows)), _SLICES_AT_ONCE)
    ]
    labels, entropy = (np.concatenate([part[index] for part in found]) for index in (0, 1))
    inconsistency = sum(loss * len(part) for part, _, loss in found) / len(rows)
    voxel_ml = store.slice_mm[case] * store.pixel_mm2[case] / 1000
    sizes = np.bincount(labels.ravel(), minlength=facts.num_classes) * voxel_ml
    volumes_ml = {name: float(sizes[k]) for k, name in enumerate(facts.names().values(), start=1)}
    usual = {
        name: one.volume_ml for name, one in facts.structures.items() if one.case_share >= USUAL
    }
    return VolumeScore(
        consistency=math.exp(-inconsistency),
        certainty=certainty(labels, entropy),
        plausibility=plausibility(volumes_ml, usual),
    )


@torch.no_grad()
def _segment(
    method: Method[Any], image: Tensor, places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32], float]:
    """Classes and entropy `(B, H, W)` of slices at some places of a volume, and the loss of changed ones beside them."""
    logits = method.predict(image).float()
    labels = logits.argmax(1)
    # the changes are the same for every network, or their scores could not be compared
    changed = [changed_grey_values(image, places, number) for number in range(VIEWS)]
    losses = [F.cross_entropy(method.predict(one).float(), labels) for one in changed]
    entropy = entropy_map(logits).cpu().numpy()
    return labels.cpu().numpy(), entropy, float(torch.stack(losses).mean())
