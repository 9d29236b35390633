"""RunConfig: everything a run depends on, as one typed tree.

It stands beside `config.py` and not in it because it is built from the configs of networks and
methods, which themselves derive from `config.Config`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from napari_uda.core.config import Config
from napari_uda.data.batches import AugmentConfig
from napari_uda.data.intensity import IntensityConfig
from napari_uda.data.slices import SliceAxis
from napari_uda.methods.base import MethodConfig
from napari_uda.methods.registry import method_class
from napari_uda.networks.segmentor import SegmentorConfig


class DataConfig(Config):
    """Which volumes, and how they become slices."""

    source: Path | None = None
    """Data folder of the labelled source domain."""
    target: Path | None = None
    """Data folder of the target domain; its labels are read only by methods that need them, such as target_supervised."""
    labels: dict[str, int] = Field(default_factory=dict)
    """Structure names and values; empty takes them from dataset.json or from the labels."""
    source_intensity: IntensityConfig = IntensityConfig()
    """Intensity mapping of the source domain."""
    target_intensity: IntensityConfig = IntensityConfig()
    """Intensity mapping of the target domain."""
    axis: SliceAxis = "auto"
    """Axis to cut slices across (z: axial, y: coronal, x: sagittal); auto: the coarsest spacing."""
    size: int = Field(default=256, ge=32, le=1024)
    """Side of the network's input in pixels."""
    pixel_mm: float = Field(default=0.0, ge=0)
    """Pixel size in millimetres; 0 lets the median slice just fit the input."""
    neighbours: int = Field(default=1, ge=1, le=9)
    """Neighbouring slices given as channels (odd number); 1 gives the slice alone."""
    validation_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of labelled patients kept out of training for watching; 0 keeps none."""
    patient_pattern: str = ""
    """Regular expression that finds the patient in a case name; empty: every case is a patient."""
    cache_gib: float = Field(default=4.0, ge=0)
    """Slices of a domain beyond this size in GiB are memory-mapped on disk; 0 always maps."""

    @field_validator("patient_pattern")
    @classmethod
    def _regular(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from error
        return value

    @field_validator("neighbours")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the segmented slice is the middle one")
        return value


class RunConfig(Config):
    """All settings of a run; `config.yaml` in the run folder is this tree, resolved."""

    method: SerializeAsAny[MethodConfig]
    """The adaptation method and its settings."""
    data: DataConfig = DataConfig()
    """Volumes and slices."""
    augment: AugmentConfig = AugmentConfig()
    """Augmentation."""
    segmentor: SegmentorConfig = SegmentorConfig()
    """The segmentation network."""
    steps: int = Field(default=50_000, ge=1)
    """Training steps."""
    batch_size: int = Field(default=4, ge=1)
    """Slices per domain, step and process."""
    seed: int = Field(default=0, ge=0)
    """Seed of every random number of the run."""
    init: Path | None = None
    """Run folder whose weights this run starts from."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first GPU when there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """bf16 convolves in bfloat16 (losses stay in float32); auto does where the device is made for it."""
    clip_norm: float = Field(default=0.0, ge=0)
    """Largest gradient norm per player; 0 switches clipping off."""
    deterministic: bool = False
    """Use only deterministic GPU kernels (slower); the CPU is deterministic anyway."""
    select: Literal["last", "source_validation"] = "last"
    """Which weights predict: the last ones, or the best on held-out labelled source cases."""
    save_every: int = Field(default=500, ge=1)
    """Steps between checkpoints."""
    log_every: int = Field(default=10, ge=1)
    """Steps between lines of metrics.jsonl."""
    preview_every: int = Field(default=0, ge=0)
    """Steps between preview arrays in RUN/previews; 0 writes none."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between scores on held-out labelled cases; 0 never scores."""

    @field_validator("method", mode="before")
    @classmethod
    def _method_by_name(cls, value: Any) -> Any:
        """Build the config class that belongs to `name`, so that its own fields are kept."""
        if isinstance(value, dict):
            return method_class(str(value.get("name", ""))).config_class(**value)
        return value
