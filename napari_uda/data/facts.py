"""DataFacts: what a run measured on its data, kept in the run and used again at prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, field_validator

from napari_uda.core.config import Config
from napari_uda.core.errors import InputError
from napari_uda.data.case_shapes import CaseShapes
from napari_uda.data.domain_statistics import DomainStatistics
from napari_uda.data.intensity import Intensity
from napari_uda.data.outcome import Outcome
from napari_uda.data.sizes import StructureSize
from napari_uda.data.slices import SliceGrid
from napari_uda.data.split import Split
from napari_uda.data.structure_statistics import StructureStatistics

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DataFacts(Config):
    """What a run measured on its data: stored as `data.json`, used again at prediction."""

    labels: dict[str, int]
    """Label value of each structure by name, without background."""
    grid: SliceGrid
    """How volumes become slices."""
    source_intensity: Intensity | None = None
    """How intensities of the labelled domain are mapped to [-1, 1]."""
    target_intensity: Intensity | None = None
    """How intensities of the target domain are mapped to [-1, 1]; None when the run saw no
    target."""
    source_range: tuple[float, float] | None = None
    """Raw intensities that map to -1 and 1 in a typical volume of the labelled domain."""
    target_range: tuple[float, float] | None = None
    """Raw intensities that map to -1 and 1 in a typical volume of the target domain."""
    source: Split | None = None
    """Labelled cases: those that train and those that are held out."""
    target: Split | None = None
    """Target cases; all of them train, and none of their labels is read."""
    source_modality: str = ""
    """Modality of the labelled domain."""
    target_modality: str = ""
    """Modality of the target domain."""
    source_contents: dict[str, str] = Field(default_factory=dict)
    """Checksum of each image of the labelled source and, after a space, of its labels where they were
    read, by case; a resumed run knows its data by them."""
    target_contents: dict[str, str] = Field(default_factory=dict)
    """The same of the target; labels are among them only where the method learns from them."""
    corrected_contents: dict[str, str] = Field(default_factory=dict)
    """The same of the corrected target cases that the run learns from, all of them with labels."""
    corrected_before: dict[str, str] = Field(default_factory=dict)
    """The same of those that the run it starts from has learnt from, in its turn or itself."""
    files: dict[str, str] = Field(default_factory=dict)
    """Checksum of each file that the method's settings name, by setting."""
    fingerprint: str = Field(default="")
    """In runs of version 0.1: hash of the case names and file sizes of both domains."""
    sizes: dict[str, StructureSize] = Field(default_factory=dict)
    """Size of each structure in the labelled training slices, or in those of the run that this one
    starts from; empty in runs of versions that did not store it."""
    source_statistics: DomainStatistics | None = None
    """What the labelled training images look like, or those of the run that this one starts from; None
    in runs of versions that did not store it."""
    target_statistics: DomainStatistics | None = None
    """The same of the target's images, whether the method trains on them or not."""
    structures: dict[str, StructureStatistics] = Field(default_factory=dict)
    """Volume and place of each structure in the labelled training volumes, taken over like `sizes`."""
    shapes: dict[str, CaseShapes] = Field(default_factory=dict)
    """Shape of each structure in the labelled training cases, taken over like `sizes`."""
    outcome: Outcome | None = None
    """Of a run that adapts to its target alone: what that changed, and whether it was given up; None before its
    end, and for other runs."""
    target_supervision: str = "none"
    """In words, which labels of the target the method was given, in this run or in the one that it
    starts from; "none" if it was given none."""

    @field_validator("labels")
    @classmethod
    def _usable(cls, labels: dict[str, int]) -> dict[str, int]:
        values = list(labels.values())
        if len(set(values)) < len(values) or not all(0 < value < 256 for value in values):
            shown = ", ".join(f"{name} {value}" for name, value in list(labels.items())[:8])
            raise ValueError(f"label values must be different and from 1 to 255 ({shown})")
        return labels

    @property
    def num_classes(self) -> int:
        """Classes of the network: the structures and background."""
        return len(self.labels) + 1

    @property
    def corrected_cases(self) -> dict[str, str]:
        """Corrected cases that the weights have seen, here or in a run before: checksums by case."""
        return {**self.corrected_before, **self.corrected_contents}

    @property
    def prediction_intensity(self) -> Intensity:
        """Mapping for volumes to be segmented: the target domain's when the run had one."""
        intensity = self.target_intensity or self.source_intensity
        if intensity is None:
            raise InputError("the run's data.json has no intensity mapping; train the run again")
        return intensity

    def class_of_value(self) -> NDArray[np.uint8]:
        """Table of 256 entries from label value to class; values of no structure become 0."""
        table = np.zeros(256, np.uint8)
        for index, value in enumerate(sorted(self.labels.values()), start=1):
            table[value] = index
        return table

    def value_of_class(self) -> NDArray[np.uint8]:
        """Table from class to label value."""
        return np.array([0, *sorted(self.labels.values())], np.uint8)

    def names(self) -> dict[int, str]:
        """Label value to structure name, by value."""
        return dict(sorted((value, name) for name, value in self.labels.items()))
