"""RunConfig: everything a run depends on, as one typed tree.

It is not in `core.config` because it is built from the configs of networks and methods, which derive
from `core.config.Config`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SerializeAsAny, field_validator

from napari_uda.core.config import Config
from napari_uda.core.patterns import check_pattern
from napari_uda.data.batches import AugmentConfig
from napari_uda.data.intensity import IntensityConfig
from napari_uda.data.nifti import Placement
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
    corrected: Path | None = None
    """Data folder of target cases with corrected labels to learn from; they are never scored."""
    series: str = ""
    """Which DICOM volumes are read where a patient has several: a series number, or a part of a
    description; empty reads the only one."""
    labels: dict[str, int] = Field(default_factory=dict)
    """Label value of each structure by name; empty takes them from dataset.json, or else from the
    label maps."""
    source_intensity: IntensityConfig = IntensityConfig()
    """How intensities of the source domain are mapped to the range from -1 to 1."""
    target_intensity: IntensityConfig = IntensityConfig()
    """How intensities of the target domain are mapped to the range from -1 to 1."""
    axis: SliceAxis = "auto"
    """Axis across which slices are cut: z (axial slices), y (coronal), x (sagittal) or auto (the
    axis with the coarsest spacing)."""
    size: int = Field(default=256, ge=32, le=1024)
    """Side of the network's input in pixels, in training."""
    pixel_mm: float = Field(default=0.0, ge=0)
    """Pixel size in millimetres; 0 chooses it so that the median slice just fits into the input."""
    neighbours: int = Field(default=1, ge=1, le=9)
    """How many neighbouring slices the network gets as channels (an odd number); 1 gives it the
    slice alone."""
    validation_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the labelled patients that are kept out of training and scored while it runs; 0
    keeps none."""
    patient_pattern: str = ""
    """Regular expression that finds the patient in a case name; empty takes every case for a
    patient of its own."""
    placement: Placement = "auto"
    """Which of the two placements in NIfTI files is trusted where they disagree: sform, qform, or auto,
    which refuses such a file."""
    cache_gib: float = Field(default=4.0, ge=0)
    """Most memory in GiB for the slices of a domain; larger ones are kept in files on the disk
    while training. 0 always keeps them there."""

    @field_validator("patient_pattern")
    @classmethod
    def _regular(cls, value: str) -> str:
        check_pattern(value)
        return value

    @field_validator("neighbours")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the segmented slice is the middle one")
        return value


class RunConfig(Config):
    """All settings of a run; `config.yaml` in the run folder holds them with every value written out."""

    method: SerializeAsAny[MethodConfig]
    """The adaptation method and its settings."""
    data: DataConfig = DataConfig()
    """The volumes, and how they are cut into slices."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes of the training slices."""
    segmentor: SegmentorConfig = SegmentorConfig()
    """The segmentation network."""
    steps: int = Field(default=50_000, ge=1)
    """Number of training steps."""
    batch_size: int = Field(default=4, ge=1)
    """Slices of each domain in a step (and in each process, if several train together)."""
    seed: int = Field(default=0, ge=0)
    """Seed of all random numbers of the run."""
    init: Path | None = None
    """Run folder whose trained weights this run starts from; without it the weights start at
    random."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps, or auto (the first GPU when there is one)."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Number format of convolutions: fp32, bf16 (bfloat16; losses stay in float32) or auto (bf16
    where the device is made for it)."""
    clip_norm: float = Field(default=0.0, ge=0)
    """Largest norm of the gradient of each optimiser, to which larger ones are scaled down; 0
    switches clipping off."""
    deterministic: bool = False
    """Use deterministic GPU operations wherever they exist, which is slower; the CPU is
    deterministic anyway."""
    select: Literal["last", "source_validation", "consistency"] = "last"
    """Which weights predict: last, source_validation (the best on held-out labelled source cases) or
    consistency (the best there, minus half of the network's disagreement with itself on changed target
    slices)."""
    better_by: float = Field(
        default=0.4, ge=0, validation_alias=AliasChoices("better_by", "surer_by")
    )  # by the older name in runs of the days before this one
    """Of a run that adapts to its target alone: at the end it goes back to the weights that it starts from, unless
    its score without labels, which `select` ranks runs by, rises by at least this share; 0 keeps the trained
    weights."""
    save_every: int = Field(default=500, ge=1)
    """Steps between two checkpoints."""
    log_every: int = Field(default=10, ge=1)
    """Steps between two lines of metrics.jsonl, from which the curves are drawn."""
    preview_every: int = Field(default=0, ge=0)
    """Steps between two previews in the run's folder `previews`; 0 writes them on request only."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between two scores on held-out labelled cases; 0 never scores."""

    @field_validator("method", mode="before")
    @classmethod
    def _method_by_name(cls, value: Any) -> Any:
        """Build the config class that belongs to `name`, so that its own fields are kept."""
        if isinstance(value, dict):
            return method_class(str(value.get("name", ""))).config_class(**value)
        return value
