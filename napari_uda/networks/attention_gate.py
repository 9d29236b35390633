"""Attention gate: learns which part of a skip connection may pass."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from napari_uda.networks.normalisation import BatchNorm2d

GateNorm = Literal["instance", "batch"]
GateFactor = Literal[1, 2]


class BatchStatisticsNorm2d(BatchNorm2d):
    """Batch normalisation that never uses running statistics (AT-D5).

    In training it normalises over the batch of all ranks, in evaluation over each image by itself: at
    the paper's batch size of 1 the two are the same, and an image's result does not depend on which
    images come with it. The authors' code trains on one image and then evaluates with running
    statistics, so that its generators translate otherwise than they were trained to.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, track_running_stats=False)

    def forward(self, image: Tensor) -> Tensor:
        """Normalise `image` `(B, C, H, W)`; same shape and dtype come back."""
        if self.training:
            return super().forward(image)
        return F.instance_norm(image, weight=self.weight, bias=self.bias, eps=self.eps)


class AttentionGate(nn.Module):
    """Gate on a skip connection: `factor * a * skip` with an attention map `a` in (0, 1).

    `a = sigmoid(N(w * relu(N(W_g g) + N(W_x x))))`, all convolutions 1x1, N a normalisation.
    Reference: AttENT Eq. (1), after Oktay et al., MIDL 2018. The authors' code doubles the product,
    the paper does not print it (AT-D6): with 2 the gate starts near the identity, since `a` starts
    around 0.5. Convolutions have no bias: the normalisation would remove it.

    Args:
        gate_channels: channels of g, the features that the skip connection is joined to.
        skip_channels: channels of x, the skip connection.
        inner_channels: channels in which the two are compared.
        norm: instance (without affine parameters, our default) or batch (batch statistics, AT-D5).
        factor: 2 (the code) or 1 (the paper's equation).
    """

    def __init__(
        self,
        gate_channels: int,
        skip_channels: int,
        inner_channels: int,
        norm: GateNorm = "instance",
        factor: GateFactor = 2,
    ) -> None:
        super().__init__()
        self.factor = factor
        self.from_gate = _pointwise(gate_channels, inner_channels, norm)
        self.from_skip = _pointwise(skip_channels, inner_channels, norm)
        self.to_map = _pointwise(inner_channels, 1, norm)

    def forward(self, gate: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Let the attended part of a skip connection pass.

        Args:
            gate: `(B, gate_channels, H, W)`.
            skip: `(B, skip_channels, H, W)`, the same H and W.

        Returns:
            The gated skip `(B, skip_channels, H, W)`, between 0 and `factor` times `skip`, and the
            attention map `(B, 1, H, W)` in [0, 1].
        """
        attention = self.to_map(F.relu(self.from_gate(gate) + self.from_skip(skip))).sigmoid()
        return self.factor * attention * skip, attention


def _pointwise(before: int, after: int, norm: GateNorm) -> nn.Sequential:
    layer = nn.InstanceNorm2d(after) if norm == "instance" else BatchStatisticsNorm2d(after)
    return nn.Sequential(nn.Conv2d(before, after, 1, bias=False), layer)
