"""State with one row per target slice: buffers of a new module take stored ones of any length."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn


def make_room(
    module: nn.Module, names: Sequence[str], state_dict: Mapping[str, Tensor], prefix: str
) -> None:
    """Let buffers with one row per slice take stored ones: a new module does not know how many there are.

    Args:
        module: whose `_load_from_state_dict` this begins.
        names: of the buffers.
        state_dict: stored tensors.
        prefix: of the module's names among them.
    """
    for name in names:
        stored, own = state_dict.get(prefix + name), getattr(module, name)
        if stored is not None and stored.shape != own.shape:
            setattr(module, name, stored.new_zeros(stored.shape, device=own.device))
