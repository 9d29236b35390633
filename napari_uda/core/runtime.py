"""Runtime: device, precision and the one call that turns a loss into a step of some players."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from napari_uda.core import distributed
from napari_uda.core.errors import InputError
from napari_uda.core.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from napari_uda.run.config import RunConfig


def choose_device(name: str) -> torch.device:
    """The device called `name`; auto takes the first GPU when there is one.

    Raises:
        InputError: if torch does not see that device.
    """
    if name == "auto":
        index = distributed.rank() % max(1, torch.cuda.device_count())
        return torch.device(f"cuda:{index}" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here; choose auto or cpu") from error
    return device


def choose_precision(name: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """bf16 when asked for, or when `auto` meets a device with bfloat16 arithmetic of its own."""
    if name != "auto":
        return "bf16" if name == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
    return "bf16" if able else "fp32"


class Runtime:
    """What a method's step may know of the machine.

    Attributes:
        device: where tensors live.
        step: current training step, from 0.
        steps: steps of the whole run.
    """

    def __init__(self, config: RunConfig) -> None:
        self.device = choose_device(config.device)
        self.seed = config.seed
        self.steps = config.steps
        self.step = 0
        self._precision = choose_precision(config.precision, self.device)
        self._clip_norm = config.clip_norm
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        if config.deterministic and self.device.type == "cuda":
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False

    def attach(self, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
        """Make the players known by name."""
        self._optimizers = dict(optimizers)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """bfloat16 for convolutions when the run asks for it."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            yield

    def sample_generators(self, stream: str, count: int) -> list[np.random.Generator]:
        """One random generator per sample of this rank's part of the batch.

        They depend on the seed, the step and the sample's place in the global batch, so neither
        resuming nor the number of ranks changes them.
        """
        first = distributed.rank() * count
        return [generator(self.seed, stream, self.step, first + i) for i in range(count)]

    def minimise(self, loss: Tensor, *players: str) -> None:
        """One optimiser step of the named players on `loss`.

        Gradients reach these players only, are averaged over ranks, clipped, and checked.

        Args:
            loss: scalar, float32.
            players: names from `Method.optimizers`.

        Raises:
            FloatingPointError: if loss or gradients are not finite; no weight has changed then.
        """
        optimizers = [self._optimizers[name] for name in players]
        parameters = [p for o in optimizers for g in o.param_groups for p in g["params"]]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if distributed.is_distributed():
            _average(gradients)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm or math.inf)
        if not bool(torch.isfinite(norm)):
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            raise FloatingPointError(
                f"loss of {' and '.join(players)} is {float(loss.detach()):g} with gradient norm "
                f"{float(norm):g} at step {self.step}; lower the learning rate or use precision fp32"
            )
        for optimizer in optimizers:
            optimizer.step()

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
