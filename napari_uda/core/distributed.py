"""What several processes share: who they are, and sums over all of them.

Losses whose value is not a plain mean over pixels (class weights, prototypes) and batch
normalisation sum over ranks with `all_sum`, so that two ranks compute exactly what one rank computes
with the doubled batch. On one rank everything here is the identity.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether more than one process trains together (under `torchrun`)."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if is_distributed() else 1


def rank() -> int:
    """Index of this process, 0 to `world_size() - 1`; rank 0 writes the files."""
    return dist.get_rank() if is_distributed() else 0


class _AllSum(torch.autograd.Function):
    """Sum over ranks whose backward sums the ranks' gradients, too."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def gather(tensor: Tensor) -> Tensor:
    """The tensors of all ranks joined along the first axis, in the order of ranks; no gradient.

    Args:
        tensor: `(B, ...)`, the same shape on every rank.

    Returns:
        `(world_size * B, ...)`, what one rank with the whole batch would hold; `tensor` on one rank.
    """
    if not is_distributed():
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


def all_sum(tensor: Tensor) -> Tensor:
    """Sum of `tensor` over all ranks, differentiable.

    The loss is computed on every rank and gradients are averaged afterwards (`Runtime.minimise`), so
    the backward of the sum is the sum of the ranks' gradients.

    Args:
        tensor: any shape, the same on every rank.

    Returns:
        The sum, same shape; `tensor` itself on one rank.
    """
    if not is_distributed():
        return tensor
    summed: Tensor = _AllSum.apply(tensor)  # type: ignore[no-untyped-call]
    return summed
