"""A wide convolution from or to a single channel, computed by the rows of its kernel, which is several times faster."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RowConvolution(nn.Conv2d):
    """`torch.nn.Conv2d` of stride 1, whose rows are channels of a convolution with a kernel one pixel high.

    Processors and graphics cards multiply 16 or more channels at once, so that a 7x7 convolution to one channel
    leaves most of them idle, as its gradient from one channel does. Here each row of the kernel gives a channel
    of its own, and these are moved by a pixel each and summed up: the same products and sums, in another order.
    Weights, their names and their initialisation are those of `Conv2d`.

    A convolution to few channels comes back in float32 also under autocast: its rows are summed in float32.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Convolve `(B, in_channels, H, W)`."""
        if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            return super().forward(
                image
            )  # what is exported knows convolutions better, for any number of images
        above, beside = (int(p) for p in self.padding)
        padded = F.pad(image, (beside, beside, above, above)) if above or beside else image
        if self.in_channels < self.out_channels:
            return self._from_few(padded)
        return self._to_few(padded)

    def _from_few(self, image: Tensor) -> Tensor:
        height = self.weight.shape[2]
        left = image.shape[2] - height + 1
        # the image as each row of the kernel meets it, (B, k in, h, W)
        stacked = torch.cat([image[:, :, row : row + left] for row in range(height)], 1)
        weight = self.weight.transpose(1, 2).flatten(1, 2)[:, :, None]  # (out, k in, 1, k)
        return F.conv2d(stacked, weight, self.bias)

    def _to_few(self, image: Tensor) -> Tensor:
        outputs, _, height, _ = self.weight.shape
        weight = self.weight.transpose(1, 2).flatten(0, 1)[:, :, None]  # (out k, in, 1, k)
        by_row = F.conv2d(image, weight).contiguous()  # (B, out k, H, w)
        # a view of it in which row r of the kernel begins r pixels further down, (B, out, k, h, w)
        batch, channels, down, beside = by_row.stride()
        size = (len(image), outputs, height, by_row.shape[2] - height + 1, by_row.shape[3])
        moved = by_row.as_strided(size, (batch, height * channels, channels + down, down, beside))
        total = moved.sum(2, dtype=torch.promote_types(by_row.dtype, torch.float32))
        return total if self.bias is None else total + self.bias.view(outputs, 1, 1)
