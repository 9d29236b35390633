"""Source only: the lower bound, trained on labelled source slices and never adapted."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch
from napari_uda.methods.base import Method, MethodConfig


class SourceOnlyConfig(MethodConfig):
    """Settings of source_only; with `--augment.intensity` it is the augmented lower bound."""

    name: Literal["source_only"] = "source_only"
    """Name of the method."""


class SourceOnly(Method[SourceOnlyConfig]):
    """Cross-entropy and Dice on the source. Its Dice on the target is what adaptation has to beat."""

    family = "bounds"
    paper = "lower bound"
    summary = "trains on the labelled source alone"
    needs = frozenset({"source"})
    learns_from_corrected = True

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        source = batch.labelled()
        output = self.segmentor(source.image)
        segmentation = self.supervised_loss(output, source.label)
        terms = {"segmentation": segmentation, **self.corrected_terms(batch)}
        return runtime.minimise(terms, "segmentor")
