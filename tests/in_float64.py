"""Training in float64, for comparisons in which rounding must not stand in the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch


@contextmanager
def in_float64() -> Iterator[None]:
    """Networks, slices and losses in float64, where the package says float32; nothing else is changed."""
    from_numpy = torch.from_numpy

    def widened(array: object) -> torch.Tensor:
        tensor = from_numpy(array)
        return tensor.double() if tensor.dtype == torch.float32 else tensor

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with (
            patch.object(torch.Tensor, "float", torch.Tensor.double),
            patch.object(torch, "from_numpy", widened),
        ):
            yield
    finally:
        torch.set_default_dtype(usual)
