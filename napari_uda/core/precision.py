"""Which device computes, how precisely, and what stays in float32 whatever the run's precision is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

from napari_uda.core import distributed
from napari_uda.core.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")


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


def in_float32(function: Callable[P, T]) -> Callable[P, T]:
    """A function of tensors whose products stay in float32 inside a step that computes in bfloat16.

    A step runs under autocast, which turns every convolution and matrix product into bfloat16. That is
    meant for networks; images, class means and spectra need more than three digits.
    """

    @functools.wraps(function)
    def exact(*args: P.args, **kwargs: P.kwargs) -> T:
        device = next((a.device.type for a in args if isinstance(a, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return exact
