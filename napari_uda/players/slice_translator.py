"""SliceTranslator: what everything that translates slices offers, whatever its networks are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from napari_uda.losses.cycle import structure_dice
from napari_uda.networks.normalisation import batch_statistics_only
from napari_uda.networks.segmentor import Segmentor

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_uda.core.runtime import Runtime

Direction = Literal["target_to_source", "source_to_target"]


def middle_slice(image: Tensor) -> Tensor:
    """`(B, K, H, W)` -> `(B, 1, H, W)`, the middle one of neighbouring slices."""
    channel = image.shape[1] // 2
    return image[:, channel : channel + 1]


class SliceTranslator(nn.Module, ABC):
    """Gives slices the look of the other domain, in both directions.

    Args:
        structure_every: steps between two checks that anatomy stays in its place; 0 never checks.
    """

    def __init__(self, structure_every: int) -> None:
        super().__init__()
        self._structure_every = structure_every

    @property
    @abstractmethod
    def trained_steps(self) -> int:
        """Steps that the generators have learnt for, those of earlier runs included."""

    @property
    def is_gated(self) -> bool:
        """Whether `with_attention` gives the three maps of attention gates."""
        return False

    @abstractmethod
    def translate_slices(self, slices: Tensor, direction: Direction) -> Tensor:
        """`(B, 1, H, W)` float in [-1, 1] -> the same shape and range, float32, each slice by itself."""

    def translate(self, image: Tensor, direction: Direction) -> Tensor:
        """Give slices the look of the other domain.

        Args:
            image: `(B, K, H, W)` float in [-1, 1], K slices as channels.
            direction: target_to_source or source_to_target.

        Returns:
            The same shape, float32 in [-1, 1].
        """
        slices = image.flatten(0, 1)[:, None]  # (B K, 1, H, W): every slice by itself
        return self.translate_slices(slices, direction).view(image.shape)

    def with_attention(
        self, image: Tensor, direction: Direction
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Translated slices and the maps of attention gates on the way, which only some have.

        Args:
            image: `(B, 1, H, W)` float in [-1, 1].
            direction: target_to_source or source_to_target.
        """
        return self.translate_slices(image, direction), {}

    def structure_check(
        self,
        segmentor: Segmentor,
        predict: Callable[[Tensor], Tensor],
        image: Tensor,
        label: Tensor,
        runtime: Runtime,
    ) -> dict[str, Tensor]:
        """Has anatomy moved? Dice between labels and the segmentation of cycle-reconstructed slices.

        Every `structure_every` steps; neither gradients nor normalisation statistics are touched. A
        move that the way back undoes stays unseen.

        Args:
            segmentor: the network that learns from the labels.
            predict: source slices to logits, with that network and in the look that it learns.
            image: `(B, K, H, W)` source slices, float in [-1, 1].
            label: `(B, H, W)` int64, their labels.
            runtime: the run's.

        Returns:
            `structure_dice`, a scalar in [0, 1], or nothing when no check is due.
        """
        every = self._structure_every
        if not every or (runtime.step + 1) % every:
            return {}
        with torch.no_grad(), batch_statistics_only(segmentor):
            there = self.translate(image, "source_to_target")
            back = self.translate(there, "target_to_source")
            prediction = predict(back).argmax(1)
        return {"structure_dice": structure_dice(prediction, label, segmentor.num_classes)}
