"""How far a loss reaches: a tensor whose gradient is scaled on its way back."""

from __future__ import annotations

from torch import Tensor


def scaled_gradient(values: Tensor, weight: float) -> Tensor:
    """The same values, bit for bit, whose gradient is `weight` times what comes back; 0 detaches them.

    Args:
        values: any shape, any float.
        weight: at least 0.
    """
    fixed = values.detach()
    return fixed + weight * (values - fixed) if weight else fixed
