"""OptimizerConfig: the settings of one player's optimiser; a player is what learns on a loss of its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import optim

from napari_uda.core.config import Config


class OptimizerConfig(Config):
    """The optimiser of one player."""

    kind: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    """Algorithm: sgd (with momentum), adam, adamw (adam with decoupled weight decay) or rmsprop."""
    lr: float = Field(default=2.5e-4, gt=0)
    """Learning rate at the first step; lr_power of the method says how it falls from there."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of sgd and rmsprop, or the first beta of adam and adamw."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Second beta of adam and adamw, decay of the mean square of rmsprop; sgd does not use it."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Weight decay; 0 switches it off."""

    def build(self, parameters: Any) -> optim.Optimizer:
        """The optimiser over parameters or parameter groups (each parameter listed once)."""
        if self.kind == "sgd":
            return optim.SGD(
                parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
            )
        if self.kind == "rmsprop":
            return optim.RMSprop(
                parameters,
                self.lr,
                self.beta2,
                weight_decay=self.weight_decay,
                momentum=self.momentum,
            )
        betas = (self.momentum, self.beta2)
        kind = optim.Adam if self.kind == "adam" else optim.AdamW
        return kind(parameters, lr=self.lr, betas=betas, weight_decay=self.weight_decay)
