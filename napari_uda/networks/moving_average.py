"""A network that follows another one: the moving average of its weights and statistics."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def follow(follower: nn.Module, leader: nn.Module, share: float) -> None:
    """Move a network towards another of the same make: `follower <- share follower + (1 - share) leader`.

    Running statistics of batch normalisation follow as weights do; whole numbers are taken over.

    Args:
        follower: is changed in place.
        leader: is not.
        share: of the follower's own values; 0 makes it a copy.
    """
    values = leader.state_dict()
    for name, own in follower.state_dict().items():
        if own.is_floating_point():
            own.lerp_(values[name], 1 - share)
        else:
            own.copy_(values[name])
