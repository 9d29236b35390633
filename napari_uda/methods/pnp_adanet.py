"""PnP-AdaNet: early layers for the target that learn to feed the source's late ones (Dou et al. 2018, 2019).

PN-Dn are the decisions taken where paper and released code differ. The released code is under the MIT
licence; none of it is used here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn, optim

from napari_uda.core.errors import InputError
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch, TrainingData
from napari_uda.losses.adversarial import domain_loss
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.critic import FEATURE_STAGES, MASK_STAGES, Critic, stacked_features
from napari_uda.networks.dropout import dropping, set_dropout
from napari_uda.networks.normalisation import running_statistics
from napari_uda.networks.segmentor import Segmentor, SegmentorOutput

Seen = tuple[list[Tensor], SegmentorOutput]
"""What early and late layers make of slices."""


class PnPAdaNetConfig(MethodConfig):
    """Settings of pnp_adanet, which starts from a run of source_only."""

    name: Literal["pnp_adanet"] = "pnp_adanet"
    """Name of the method."""
    segmentor_optimizer: OptimizerConfig = OptimizerConfig(
        kind="rmsprop", lr=3e-4, momentum=0, beta2=0.9, weight_decay=2e-7
    )
    """Optimiser of the target's early layers."""
    critic_optimizer: OptimizerConfig = OptimizerConfig(
        kind="rmsprop", lr=3e-4, momentum=0, beta2=0.9, weight_decay=5e-6
    )
    """Optimiser of both critics."""
    feature_weight: float = Field(default=2e-3, ge=0)
    """Weight of the loss by which target features pass for source ones; 0 leaves that critic out."""
    mask_weight: float = Field(default=6e-4, ge=0)
    """Weight of the loss by which target logits pass for source ones; 0 leaves that critic out."""
    warmup_steps: int = Field(default=20_000, ge=0)
    """How many of the run's first steps train the critic of features alone (stage 1)."""
    critic_steps: int = Field(default=20, ge=1)
    """Stage 2: how many steps of the critics come before each step of the target's early layers."""
    critic_growth: int = Field(default=300, ge=0)
    """Stage 2: after how many steps of the early layers the critics get one more; 0 for never."""
    joint: bool = False
    """Train critics and early layers in every step, without stage 1; off alternates, as published."""
    critic_width: int = Field(default=64, ge=4, le=512)
    """Channels of the first layer of the critic of features; that of masks has a quarter."""
    critic_stages: int = Field(default=5, ge=1, le=5)
    """How many stages of each critic are used, from the first on; 5 are made for 256 pixels."""
    clip: float = Field(default=0.03, gt=0)
    """Largest absolute weight of a critic's convolutions."""
    dropout: float = Field(default=0.25, ge=0, lt=1)
    """Share of values that are dropped behind convolutions of the critics, and of the segmentor as
    far as it has such layers (drn)."""

    @model_validator(mode="after")
    def _adapts(self) -> Self:
        if not self.feature_weight and not self.mask_weight:
            raise ValueError(
                "feature_weight and mask_weight are both 0, so nothing is adapted; give one a weight above 0"
            )
        return self


class PnPAdaNet(Method[PnPAdaNetConfig]):
    """Critics tell source from target features and masks, and the target's early layers mislead them.

    Nothing of the source's network moves, and no label is used after the run of `source_only` that this one
    starts from. A step of the run is one step of the critics or one of the early layers, each on fresh slices
    (PN-D1). The network is any that can be split, `drn` being nearest to the paper's (PN-D2); the critics'
    own losses are not weighed against each other (PN-D3); rates fall by a power (PN-D4).
    """

    family = "output space"
    paper = "Dou et al., IEEE Access 2019"
    summary = "adapts the early layers to the target against critics of features and masks"
    needs = frozenset({"source", "target"})
    needs_init = True
    unused = ("aux_weight", "backbone_lr_multiplier")

    copied: Tensor

    def __init__(self, config: PnPAdaNetConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor.requires_grad_(False), num_classes)
        self.early = copy.deepcopy(segmentor.early_layers()).requires_grad_(True)
        # 1 once the early layers are those of a source model, so that a continued run keeps its own
        self.register_buffer("copied", torch.zeros((), dtype=torch.int64))
        stages, width = config.critic_stages, config.critic_width
        with torch.no_grad(), running_statistics(self.early):
            image = torch.zeros(1, segmentor.in_channels, *[2 * max(segmentor.stride, 16)] * 2)
            channels = stacked_features(*self._see(image, self.early)).shape[1]
        # both draw their first weights, so that leaving one out does not change the other
        critics = {
            "features": Critic(channels, width, FEATURE_STAGES[:stages]),
            "masks": Critic(num_classes, max(1, width // 4), MASK_STAGES[:stages]),
        }
        weights = {"features": config.feature_weight, "masks": config.mask_weight}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.discriminators = nn.ModuleDict({name: critics[name] for name in self.weights})
        for critic in critics.values():
            critic.clip_weights(config.clip)
        set_dropout(config.dropout, self)

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        return {
            "early": self.config.segmentor_optimizer.build(self.early.parameters()),
            **{
                f"critic_{name}": self.config.critic_optimizer.build(critic.parameters())
                for name, critic in self.discriminators.items()
            },
        }

    def before_step(self, data: TrainingData, runtime: Runtime) -> None:
        """Begin with the source's early layers.

        Raises:
            InputError: if no step is left for the early layers.
        """
        if runtime.step:
            return
        if not self.copied:
            self.early.load_state_dict(self.segmentor.early_layers().state_dict())
            self.copied.fill_(1)
        config = self.config
        if runtime.steps <= config.warmup_steps + config.critic_steps and not config.joint:
            raise InputError(
                f"{runtime.steps} steps are {config.warmup_steps} of warmup and less than one round of "
                f"{config.critic_steps + 1}; give more --steps or fewer warmup_steps"
            )

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        joint, turn = self.config.joint, self._turn(runtime.step)
        x_s, x_t = batch.labelled().image, batch.unlabelled().image
        logs: dict[str, Tensor] = {}
        if joint or turn != "early":
            with running_statistics(self.early):
                with torch.no_grad(), self._dropping("source", x_s, runtime):
                    source = self._see(x_s, self.segmentor.early_layers())
                with torch.no_grad(), self._dropping("target", x_t, runtime):
                    target = self._see(x_t, self.early)
            for name in self.weights:
                if name == "features" or turn != "warmup" or joint:
                    logs |= self._learn_to_tell(name, source, target, runtime)
        if joint or turn == "early":
            with self._dropping("fooling", x_t, runtime):
                seen = self._see(x_t, self.early)
            terms = {}
            for name, weight in self.weights.items():
                score = self._score(name, seen, "fooling", runtime)
                terms[f"adversarial_{name}"] = weight * domain_loss(score, True, "wgan")
            logs |= runtime.minimise(terms, "early")
        return logs

    def _turn(self, step: int) -> Literal["warmup", "critics", "early"]:
        """Whose step it is: k of the critics and one of the early layers, k growing with the latter."""
        config = self.config
        step -= config.warmup_steps
        if step < 0:
            return "warmup"
        critic_steps, rounds = config.critic_steps, config.critic_growth
        while rounds and step >= rounds * (critic_steps + 1):
            step -= rounds * (critic_steps + 1)
            critic_steps += 1
        return "early" if step % (critic_steps + 1) == critic_steps else "critics"

    def _see(self, image: Tensor, early: nn.Module) -> Seen:
        """What the early layers and the late ones, which are the source's and stay so, make of slices."""
        with running_statistics(self.segmentor):
            levels = self.segmentor.encode(image, early)
            return levels, self.segmentor.decode(levels, image.shape[2:])

    def _score(self, name: str, seen: Seen, stream: str, runtime: Runtime) -> Tensor:
        """What a critic says of slices, `(B, 1)`."""
        maps = stacked_features(*seen) if name == "features" else seen[1].logits
        draws = runtime.sample_generators(f"critic-{name}-{stream}", len(maps))
        with dropping(draws, self.discriminators):
            score: Tensor = self.discriminators[name](maps)
        return score

    def _learn_to_tell(
        self, name: str, source: Seen, target: Seen, runtime: Runtime
    ) -> dict[str, Tensor]:
        """One step of a critic, `-(E D(source) - E D(target))`, after which its weights are clipped."""
        of_source = domain_loss(self._score(name, source, "source", runtime), True, "wgan")
        of_target = domain_loss(self._score(name, target, "target", runtime), False, "wgan")
        player, critic = f"critic_{name}", self.discriminators[name]
        logs = runtime.minimise({player: of_source + of_target}, player)
        assert isinstance(critic, Critic)
        critic.clip_weights(self.config.clip)
        return logs

    def _dropping(self, of: str, image: Tensor, runtime: Runtime) -> AbstractContextManager[None]:
        """Dropout of what slices pass in the segmentor, as far as it has any."""
        draws = runtime.sample_generators(f"dropout-{of}", len(image))
        return dropping(draws, self.segmentor, self.early)

    def predict(self, image: Tensor) -> Tensor:
        """Logits of target slices: the target's early layers, then the source's late ones."""
        levels = self.segmentor.encode(image, self.early)
        return self.segmentor.decode(levels, image.shape[2:]).logits

    def predict_labelled(self, image: Tensor) -> Tensor:
        """Logits of source slices, by the source's network as it was."""
        return super().predict(image)
