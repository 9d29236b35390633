"""Method: what every adaptation method is, and what it says of itself to all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn, optim

from napari_uda.core.config import Config
from napari_uda.core.errors import InputError
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.words import number_of
from napari_uda.data.batches import Batch
from napari_uda.losses.segmentation import segmentation_loss
from napari_uda.networks.layout import lay_out
from napari_uda.networks.normalisation import batch_norms
from napari_uda.networks.segmentor import Segmentor, SegmentorOutput
from napari_uda.players.slice_translator import Direction, SliceTranslator, middle_slice
from napari_uda.players.translator import TranslatorConfig
from napari_uda.uncertainty.reliability import ReliabilityConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_uda.core.runtime import Runtime
    from napari_uda.data.batches import TrainingData

Need = Literal["source", "target", "target_labels"]
Family = Literal["bounds", "output space", "self-training", "translation", "source-free"]

_OF_SUPERVISION = ("method.ce_", "method.dice_weight", "method.corrected_weight")
_OF_LEARNING = (
    "steps",
    "clip_norm",
    "augment.",
    "method.segmentor_optimizer.",
    "method.backbone_lr_multiplier",
    "method.lr_power",
)


class MethodConfig(Config):
    """Settings that every method has."""

    name: str
    """Name of the method."""
    segmentor_optimizer: OptimizerConfig = OptimizerConfig()
    """Optimiser of the segmentation network."""
    backbone_lr_multiplier: float = Field(default=1.0, gt=0)
    """Factor on the learning rate of the network's backbone; 3 imitates released code that lists
    backbone weights three times."""
    lr_power: float = Field(default=0.9, ge=0)
    """Learning rates fall as (1 - step/steps) to this power; 0 keeps them constant."""
    aux_weight: float = Field(default=0.1, ge=0)
    """Weight of the auxiliary head's supervised loss, the main head's being 1; 0 switches it
    off."""
    ce_weight: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy; 0 switches it off."""
    ce_class_weights: bool = True
    """Weigh rare classes more in the cross-entropy, as in SE-ASA's code; switched off, thin
    structures come out less thick."""
    dice_weight: float = Field(default=1.0, ge=0)
    """Weight of the soft Dice loss; 0 switches it off."""
    corrected_weight: float = Field(default=1.0, ge=0)
    """Weight of the supervised loss on corrected target cases (data.corrected); 0 switches it off, and
    they are not even read."""
    reliability: ReliabilityConfig = ReliabilityConfig()
    """The vote that calls a pixel reliable, in prediction and, where the method uses it, in
    training."""

    @property
    def target_supervision(self) -> str:
        """Which labels of the target these settings give the method, in words; kept in the run's facts."""
        return "none"

    @property
    def needs_start(self) -> bool:
        """Whether these settings can only start from a trained run, where the method can do without."""
        return False

    @model_validator(mode="after")
    def _learns_from_labels(self) -> Self:
        if not self.ce_weight and not self.dice_weight:
            raise ValueError(
                "ce_weight and dice_weight are both 0, so nothing is learnt from labels; "
                "give one a weight above 0"
            )
        return self


class TranslatingConfig(MethodConfig):
    """Settings of a method with generators, which `translate` and previews can then use."""

    translator: TranslatorConfig = TranslatorConfig()
    """The generators, their discriminators and what they learn from."""


def supervision_with_corrected(own: str, cases: int) -> str:
    """Which labels of the target a run is given that also learns from corrected cases.

    Args:
        own: `MethodConfig.target_supervision` of the run.
        cases: corrected cases with labels; 0 for none.
    """
    if not cases:
        return own
    corrected = f"corrected ({number_of(cases, 'case')})"
    return corrected if own == "none" else f"{own}; {corrected}"


def supervision_with_start(own: str, start: str) -> str:
    """Which labels of the target a run has used that starts from another run on the same target.

    Args:
        own: `MethodConfig.target_supervision` of the run.
        start: the same of the run it starts from, with what that one began with.
    """
    if start == "none":
        return own
    before = "in the run it starts from, "
    earlier = before + start.removeprefix(before)
    return earlier if own == "none" else f"{own}; {earlier}"


C = TypeVar("C", bound=MethodConfig)


class Method(nn.Module, Generic[C]):
    """An adaptation method: its networks, its optimisers and its training step.

    Subclasses give the class attributes, `optimizers` and `step`. All state that a resumed run
    needs lives in parameters and buffers.
    """

    family: ClassVar[Family]
    """What it adapts, or how: the heading under which tables and pickers list it."""
    paper: ClassVar[str]
    """Short citation of the paper."""
    summary: ClassVar[str]
    """One sentence for the method table."""
    needs: ClassVar[frozenset[Need]]
    """Data without which the method cannot train."""
    needs_init: ClassVar[bool] = False
    """Whether it can only start from a trained run."""
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings worth a row of their own where methods are chosen, by what they are called there: those with which it
    needs other data, or learns in another way."""
    learns_from_corrected: ClassVar[bool] = False
    """Whether `step` minimises `corrected_terms` too, which every method with a supervised loss does."""
    unused: ClassVar[tuple[str, ...]] = ()
    """Settings that every method has and that do nothing in this one, besides those that follow from the above."""
    needs_batch_norm: ClassVar[bool] = False
    """Whether it adapts batch normalisation, so that the network must have some."""
    learns: ClassVar[bool] = True
    """Whether its steps change anything: without, all is done before the first one, and a run has one."""
    for_a_volume: ClassVar[Mapping[str, Any]] = {}
    """What `adapt` needs to know of a source-free method, where a run has tens of steps on the slices of one
    volume: the parts of a run's settings that are other than in a long training, as in a recipe:
    `{"steps": 60, "method": {"segmentor_optimizer": {"lr": 2e-4}}}`. `surer_by` is the share by which entropy inside
    the structures has to fall for the result to be taken."""
    translates: ClassVar[bool] = False
    """Whether it has generators: follows from its settings being a `TranslatingConfig`, or is said."""
    when_continued: ClassVar[Mapping[str, Any]] = {}
    """Settings of a run that goes on from a run of this method: stages at its beginning are over, and
    whole networks are taken along."""
    config_class: ClassVar[type[MethodConfig]]

    config: C
    segmentor: Segmentor
    translator: SliceTranslator | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in vars(cls).get("__orig_bases__", ()):
            if get_origin(base) is Method and isinstance(get_args(base)[0], type):
                if "config_class" not in vars(cls):  # or the class names one of several itself
                    cls.config_class = get_args(base)[0]
                if "translates" not in vars(cls):
                    cls.translates = issubclass(cls.config_class, TranslatingConfig)

    def __init__(self, config: C, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.segmentor = segmentor
        self.num_classes = num_classes
        self.translator = None
        if self.needs_batch_norm and not batch_norms(segmentor):
            raise InputError(
                f"{config.name} changes batch normalisation, and this network has none; choose another "
                "method, or a network with norm batch"
            )

    def place(self, device: torch.device) -> Self:
        """Move to the device, each network's weights in the layout that is fastest there."""
        self.to(device)
        lay_out(self)
        return self

    @classmethod
    def needs_with(cls, config: MethodConfig) -> frozenset[Need]:
        """Data without which it cannot train with these settings."""
        return cls.needs

    @classmethod
    def unused_settings(cls) -> tuple[str, ...]:
        """Beginnings of the paths of settings of a run that do nothing: forms and help leave them out."""
        found = tuple(f"method.{name}" for name in cls.unused)
        found += () if cls.learns_from_corrected else _OF_SUPERVISION
        return found + (() if cls.learns else _OF_LEARNING)

    @classmethod
    def needs_start_with(cls, config: MethodConfig) -> bool:
        """Whether it can only start from a trained run with these settings."""
        return cls.needs_init or config.needs_start

    @property
    def segments_each_alone(self) -> bool:
        """Whether, in evaluation mode, the labels of a slice do not depend on the slices beside it in a batch."""
        return True

    @property
    def learner(self) -> Segmentor:
        """The network that the supervised loss trains: the segmentor, which predicts, unless another one."""
        return self.segmentor

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        """Name of each player to its optimiser; called once, before the first step."""
        return {"segmentor": self.build_segmentor_optimizer()}

    def build_segmentor_optimizer(self) -> optim.Optimizer:
        """The segmentor's optimiser with its parameter groups."""
        settings = self.config.segmentor_optimizer
        return settings.build(
            self.learner.parameter_groups(settings.lr, self.config.backbone_lr_multiplier)
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

    def corrected_terms(self, batch: Batch) -> dict[str, Tensor]:
        """The supervised loss on corrected target slices by its name; empty in a run without any.

        A term of the segmentor's own step, so that nothing else of the method sees these slices. They go
        through the network by themselves: what is computed from the other slices stays the same.
        """
        corrected, weight = batch.corrected, self.config.corrected_weight
        if corrected is None or not weight:
            return {}
        with torch.no_grad():
            seen = self.of_target(corrected.image)
        return {"corrected": weight * self.supervised_loss(self.learner(seen), corrected.label)}

    def of_target(self, image: Tensor) -> Tensor:
        """What the segmentor is given of target slices: these, unless they get another look first.

        Args:
            image: `(B, K, H, W)`.

        Returns:
            The same shape.
        """
        return image

    def over_heads(self, output: SegmentorOutput, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """A loss of the main head's logits plus, where there is an auxiliary head, `aux_weight` times its.

        The published networks of source-free methods have one head; a second one is adapted as it was
        trained.
        """
        total = loss(output.logits)
        if output.aux_logits is not None and self.config.aux_weight:
            total = total + self.config.aux_weight * loss(output.aux_logits)
        return total

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        """One training step: name the terms, and call `runtime.minimise` once per player.

        It runs under autocast, which `minimise` leaves for backward passes; what has to be exact in it is
        wrapped by `core.precision.in_float32`.

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

    def consistency_loss(self, image: Tensor, changed: Tensor) -> Tensor:
        """Cross-entropy of what is said of changed target slices with the classes of the slices themselves.

        A score of a network without labels: `select: consistency` chooses weights by it.

        Args:
            image: `(B, K, H, W)` target slices; the method is in evaluation mode.
            changed: the same slices in other grey values.

        Returns:
            Scalar, mean over all pixels.
        """
        return F.cross_entropy(self.predict(changed).float(), self.predict(image).argmax(1))

    def check_init(self, start: MethodConfig) -> None:
        """Refuse weights that fit these settings but mean something else.

        Args:
            start: method settings of the run that this one starts from.

        Raises:
            InputError: naming the setting that differs.
        """
        own = self.config
        if isinstance(own, TranslatingConfig) and isinstance(start, TranslatingConfig):
            own.translator.check_start(start.translator)

    def loads_from_init(self, name: str) -> bool:
        """Whether the parameter or buffer `name` is taken from the run this one starts from."""
        return True

    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Called before every step, to look at the whole data set when that is due.

        For what one batch does not tell: pseudo-labels, prototypes, sizes; and, at step 0, for settings
        that do not fit the run. `runtime.step` says which step comes, and a resumed run calls it only for
        the steps that are left. The weights of `init` are loaded by then.

        Raises:
            InputError: for settings or data that the method cannot train with.
        """

    def choose_slices(
        self,
        domain: Literal["source", "target"],
        indices: NDArray[np.int64],
        generators: Sequence[np.random.Generator],
    ) -> NDArray[np.int64]:
        """Which slices a step sees: those whose turn it is, unless others serve better.

        Called after `before_step`.

        Args:
            domain: the labelled one or the target.
            indices: `(B,)` of the slices whose turn it is.
            generators: random numbers for each place of the batch.

        Returns:
            `(B,)`, indices of slices of the same domain.
        """
        return indices

    def preview_maps(
        self, image: Tensor, domain: Literal["source", "target"], index: int
    ) -> dict[str, Tensor]:
        """What a method shows of a slice while it trains, besides what all methods show.

        A name says what kind of map it is, and its title: `labels.pseudo-labels` is uint8 classes, 255 where a
        pixel has none; `grey.second image` is grey values in [-1, 1]. Every slice has the same maps.

        Without an override those with generators show slices that were translated there and back.

        Args:
            image: `(1, K, H, W)`.
            domain: the labelled one or the target.
            index: of the slice among those of its domain.

        Returns:
            `(H, W)` each, by name.
        """
        if self.translator is None:
            return {}
        ways: tuple[Direction, Direction] = ("source_to_target", "target_to_source")
        shown = middle_slice(image)
        for way in ways if domain == "source" else ways[::-1]:
            shown = self.translator.translate(shown, way)
        return {"grey.there and back": shown[0, 0]}

    def after_last_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Called once, after the last step of the run, to look at the whole data set with the final weights.

        A run that is stopped before ends without it, so a method must be of use without it, too.
        """
