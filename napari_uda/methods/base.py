"""Method: what every adaptation method is, and METHODS, found by scanning this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    Self,
    TypeVar,
    get_args,
    get_origin,
)

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn, optim

from napari_uda.core.config import Config
from napari_uda.core.errors import InputError
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.losses.segmentation import segmentation_loss
from napari_uda.networks.segmentor import Segmentor, SegmentorOutput
from napari_uda.uncertainty.reliability import ReliabilityConfig

if TYPE_CHECKING:
    from napari_uda.core.runtime import Runtime
    from napari_uda.training.load import TrainingData

Need = Literal["source", "target", "target_labels"]


class MethodConfig(Config):
    """Settings that every method has."""

    name: str
    """The method."""
    segmentor_optimizer: OptimizerConfig = OptimizerConfig()
    """Optimiser of the segmentor."""
    backbone_lr_multiplier: float = Field(default=1.0, gt=0)
    """Backbone learning rate over the nominal one; 3 mimics released code that lists weights 3 times."""
    lr_power: float = Field(default=0.9, ge=0)
    """Learning rates fall as (1 - step/steps) to this power; 0 keeps them constant."""
    aux_weight: float = Field(default=0.1, ge=0)
    """Weight of the supervised loss of the auxiliary head; 0 is off."""
    ce_weight: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy; 0 is off."""
    ce_class_weights: bool = True
    """Weigh cross-entropy by class rarity, as SE-ASA's code; off draws thin structures less thick."""
    dice_weight: float = Field(default=1.0, ge=0)
    """Weight of the soft Dice loss; 0 is off."""
    reliability: ReliabilityConfig = ReliabilityConfig()
    """The vote that calls a pixel reliable: in training where the method uses it, and in predict."""

    @property
    def target_supervision(self) -> str:
        """What these settings tell the method of the target's labels; kept in the run's facts."""
        return "none"

    @model_validator(mode="after")
    def _learns_from_labels(self) -> Self:
        if not self.ce_weight and not self.dice_weight:
            raise ValueError(
                "ce_weight and dice_weight are both 0, so nothing is learnt from labels; "
                "give one a weight above 0"
            )
        return self


def supervision_with_start(own: str, start: str) -> str:
    """What weights know of the target's labels that begin as those of another run on the same target.

    Args:
        own: `MethodConfig.target_supervision` of the run.
        start: the same of the run it starts from, with what that one began with.
    """
    if own != "none" or start == "none":
        return own
    before = "in the run it starts from, "
    return before + start.removeprefix(before)


@dataclass(frozen=True)
class Labelled:
    """Slices with labels: `image` (B, K, H, W) float32 in [-1, 1], `label` (B, H, W) int64."""

    image: Tensor
    label: Tensor


@dataclass(frozen=True)
class Unlabelled:
    """Slices of the target domain: `image` (B, K, H, W) float32 in [-1, 1]. There is no label field.

    `index` (B,) int64 says which of the target slices they are, for what a method keeps per slice.
    """

    image: Tensor
    index: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """What one step sees; a domain that the method does not need is None.

    `source` is the labelled domain: the source, or the target for `target_supervised`.
    """

    source: Labelled | None = None
    target: Unlabelled | None = None

    def labelled(self) -> Labelled:
        """The labelled slices, for methods whose `needs` promise them."""
        if self.source is None:
            raise ValueError("this batch has no labelled slices")
        return self.source

    def unlabelled(self) -> Unlabelled:
        """The target slices, for methods whose `needs` promise them."""
        if self.target is None:
            raise ValueError("this batch has no target slices")
        return self.target


C = TypeVar("C", bound=MethodConfig)


class Method(nn.Module, Generic[C]):
    """An adaptation method: its networks, its optimisers and its training step.

    Subclasses give the class attributes, `optimizers` and `step`. All state that a resumed run
    needs lives in parameters and buffers.
    """

    family: ClassVar[str]
    """bounds, output space, self-training, translation, source-free."""
    paper: ClassVar[str]
    """Short citation."""
    summary: ClassVar[str]
    """One sentence for the method table."""
    needs: ClassVar[frozenset[Need]]
    """Data without which the method cannot train."""
    needs_init: ClassVar[bool] = False
    """Whether it can only start from a trained run."""
    config_class: ClassVar[type[MethodConfig]]

    config: C
    segmentor: Segmentor

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Method and isinstance(get_args(base)[0], type):
                cls.config_class = get_args(base)[0]

    def __init__(self, config: C, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.segmentor = segmentor
        self.num_classes = num_classes
        bank = config.reliability.empty_bank(segmentor.in_channels)
        self.register_buffer("amplitude_bank", bank)
        self.amplitude_bank: Tensor

    def place(self, device: torch.device) -> Self:
        """Move to the device, convolution weights channels last: the fastest layout everywhere."""
        self.to(device)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        """Name of each player to its optimiser; called once, before the first step."""
        return {"segmentor": self.build_segmentor_optimizer()}

    def build_segmentor_optimizer(self) -> optim.Optimizer:
        """The segmentor's optimiser with its parameter groups."""
        settings = self.config.segmentor_optimizer
        return settings.build(
            self.segmentor.parameter_groups(settings.lr, self.config.backbone_lr_multiplier)
        )

    def supervised_loss(self, output: SegmentorOutput, label: Tensor) -> Tensor:
        """Cross-entropy and Dice of both heads with the config's weights (`losses.segmentation`)."""
        return segmentation_loss(
            output,
            label,
            aux_weight=self.config.aux_weight,
            ce_weight=self.config.ce_weight,
            ce_class_weights=self.config.ce_class_weights,
            dice_weight=self.config.dice_weight,
        )

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        """One training step: compute losses, call `runtime.minimise` once per player.

        Returns:
            Name to scalar, detached; a term whose weight is 0 is absent.
        """
        raise NotImplementedError

    def predict(self, image: Tensor) -> Tensor:
        """Logits of the main head.

        Args:
            image: `(B, K, H, W)` float in [-1, 1], sides multiples of `segmentor.stride`.

        Returns:
            `(B, C, H, W)`.
        """
        logits: Tensor = self.segmentor(image).logits
        return logits

    def predict_labelled(self, image: Tensor) -> Tensor:
        """Logits for slices of the labelled domain, for scores on held-out labelled cases.

        `predict`, unless that is made for the look of target slices alone.

        Args:
            image: as for `predict`.

        Returns:
            `(B, C, H, W)`.
        """
        return self.predict(image)

    def check_init(self, start: MethodConfig) -> None:
        """Refuse weights that fit these settings but mean something else.

        Args:
            start: method settings of the run that this one starts from.

        Raises:
            InputError: naming the setting that differs.
        """

    def loads_from_init(self, name: str) -> bool:
        """Whether the parameter or buffer `name` is taken from the run this one starts from."""
        return True

    def prepare(self, data: TrainingData, runtime: Runtime) -> None:
        """Called once before the first step of a new run, weights of `init` already loaded."""

    def refresh_due(self, step: int) -> bool:
        """Whether `refresh` is wanted before this step."""
        return False

    def refresh(self, data: TrainingData, runtime: Runtime) -> None:
        """Recompute what depends on the whole data set (pseudo-labels, prototypes)."""


class _Methods(Mapping[str, type[Method[Any]]]):
    """Name to method class; the folder is scanned at first use."""

    def __init__(self) -> None:
        self._found: dict[str, type[Method[Any]]] | None = None

    def _scan(self) -> dict[str, type[Method[Any]]]:
        if self._found is None:
            package = importlib.import_module("napari_uda.methods")
            found: dict[str, type[Method[Any]]] = {}
            for module_info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
                if module_info.name == "base":
                    continue
                module = importlib.import_module(f"napari_uda.methods.{module_info.name}")
                for value in vars(module).values():
                    if (
                        isinstance(value, type)
                        and issubclass(value, Method)
                        and value.__module__ == module.__name__
                    ):
                        name = value.config_class.model_fields["name"].default
                        if name in found:
                            raise TypeError(
                                f"method {name!r} is defined in {found[name].__module__} "
                                f"and in {module.__name__}"
                            )
                        found[name] = value
            self._found = found
        return self._found

    def __getitem__(self, name: str) -> type[Method[Any]]:
        return self._scan()[name]

    def __iter__(self) -> Any:
        return iter(self._scan())

    def __len__(self) -> int:
        return len(self._scan())


METHODS: Mapping[str, type[Method[Any]]] = _Methods()
"""Every method of this folder by name."""


def method_class(name: str) -> type[Method[Any]]:
    """The method called `name`; `-` and `_` are equal.

    Raises:
        InputError: if there is none, naming the ones there are.
    """
    return METHODS[method_name(name)]


def method_name(name: str) -> str:
    """The name as METHODS has it; `-` and `_` are equal.

    Raises:
        InputError: if there is none, naming the ones there are.
    """
    key = name.strip().replace("-", "_")
    if key not in METHODS:
        raise InputError(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    return key
