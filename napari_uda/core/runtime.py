"""Runtime: device, precision and the one call that turns a method's terms into a step of some players."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from napari_uda.core import distributed
from napari_uda.core.seeds import generator

if TYPE_CHECKING:
    import numpy as np


class Runtime:
    """What a method's step may know of the machine and of the run.

    Attributes:
        device: where tensors live.
        seed: of the run.
        step: current training step, from 0.
        steps: steps of the whole run.

    Args:
        device: where tensors live.
        precision: of convolutions and matrix products: fp32 or bf16.
        clip_norm: largest norm of a player's gradient; 0 does not clip.
        seed: of the run.
        steps: steps of the whole run.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        precision: Literal["fp32", "bf16"] = "fp32",
        clip_norm: float = 0.0,
        seed: int = 0,
        steps: int = 1,
    ) -> None:
        self.device = device
        self.seed = seed
        self.steps = steps
        self.step = 0
        self._precision = precision
        self._clip_norm = clip_norm
        self._optimizers: dict[str, torch.optim.Optimizer] = {}

    def attach(self, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
        """Make the players known by name."""
        self._optimizers = dict(optimizers)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """bfloat16 for convolutions when the run asks for it; the loop enters it once per step."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            yield

    def sample_generators(self, stream: str, count: int) -> list[np.random.Generator]:
        """One random generator per sample of this rank's part of the batch.

        They depend on the seed, the step and the sample's place in the global batch, so neither
        resuming nor the number of ranks changes them.
        """
        first = distributed.rank() * count
        return [generator(self.seed, stream, self.step, first + i) for i in range(count)]

    def minimise(self, terms: Mapping[str, Tensor], *players: str) -> dict[str, Tensor]:
        """One optimiser step of the named players on the sum of `terms`.

        Gradients reach these players only, are averaged over ranks, clipped, and checked.

        Args:
            terms: name to weighted scalar, float32; a term that is off is absent.
            players: names from `Method.optimizers`.

        Returns:
            The terms as they were before the step, detached: what the step logs.

        Raises:
            FloatingPointError: if a term or a gradient is not finite; no weight has changed then.
        """
        optimizers = [self._optimizers[name] for name in players]
        parameters = [p for o in optimizers for g in o.param_groups for p in g["params"]]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss, *rest = terms.values()
        for term in rest:
            loss = loss + term
        with torch.autocast(self.device.type, enabled=False):  # backward has its forward's types
            loss.backward(inputs=parameters)  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if distributed.is_distributed():
            _average(gradients)
        # clipping to infinity changes nothing and still gives the norm, which finds every NaN at once
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm or math.inf)
        if not bool(torch.isfinite(norm)):
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            raise FloatingPointError(
                f"the loss of {' and '.join(players)} is {float(loss.detach()):g} with gradient norm "
                f"{float(norm):g} at step {self.step}; lower the learning rate or use precision fp32"
            )
        for optimizer in optimizers:
            optimizer.step()
        # autocast keeps the bfloat16 copies of weights until its outermost context ends
        torch.clear_autocast_cache()
        return {name: term.detach() for name, term in terms.items()}

    def forget(self, player: str) -> None:
        """Let a player's optimiser begin anew: momentum and other moving averages are dropped."""
        self._optimizers[player].state.clear()

    def set_learning_rates(self, factor: float) -> None:
        """Scale every group's initial learning rate by `factor`."""
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
                group["lr"] = group["initial_lr"] * factor


def _average(gradients: list[Tensor]) -> None:
    """Replace gradients by their mean over ranks, in one message."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= distributed.world_size()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
