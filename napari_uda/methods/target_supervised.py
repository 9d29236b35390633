"""Target supervised: the upper bound, trained on the labels of the target that adaptation must not see."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch
from napari_uda.methods.base import Method, MethodConfig


class TargetSupervisedConfig(MethodConfig):
    """Settings of target_supervised."""

    name: Literal["target_supervised"] = "target_supervised"
    """Name of the method."""

    @property
    def target_supervision(self) -> str:
        return "all: trained on them"


class TargetSupervised(Method[TargetSupervisedConfig]):
    """Cross-entropy and Dice on the target, the only method that reads target labels.

    Its batches are labelled slices of `data.target`; the trainer puts them where other methods find
    the source.
    """

    family = "bounds"
    paper = "upper bound"
    summary = "trains on the target with its labels"
    needs = frozenset({"target_labels"})
    learns_from_corrected = True

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        target = batch.labelled()
        output = self.segmentor(target.image)
        segmentation = self.supervised_loss(output, target.label)
        terms = {"segmentation": segmentation, **self.corrected_terms(batch)}
        return runtime.minimise(terms, "segmentor")
