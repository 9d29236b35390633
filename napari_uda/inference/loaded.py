"""A run with its weights in memory: read once, used for as many volumes as there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch

from napari_uda.run.run import Run

if TYPE_CHECKING:
    import os

    from napari_uda.methods.base import Method


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run whose network stands ready on a device.

    Attributes:
        run: the run.
        method: its trained method, in evaluation mode.
        device: where the weights are.
        bf16: whether the run's precision means bfloat16 there.
    """

    run: Run
    method: Method[Any]
    device: torch.device
    bf16: bool

    @classmethod
    def load(cls, run: Run | str | os.PathLike[str], device: str = "auto") -> Self:
        """Read the weights of a run.

        Args:
            run: run folder, or an opened run.
            device: cpu, cuda, ...; auto takes the first GPU when there is one.

        Raises:
            InputError: for a folder that is no trained run, or a device that torch does not see.
        """
        from napari_uda.core.runtime import choose_device, choose_precision

        opened = run if isinstance(run, Run) else Run.open(run)
        where = choose_device(device)
        method = opened.load_method().place(where)
        bf16 = choose_precision(opened.config.precision, where) == "bf16"
        return cls(opened, method, where, bf16)

    @staticmethod
    def of(run: LoadedRun | Run | str | os.PathLike[str], device: str = "auto") -> LoadedRun:
        """The run as it is when its weights are in memory already, else loaded onto `device`."""
        return run if isinstance(run, LoadedRun) else LoadedRun.load(run, device)
