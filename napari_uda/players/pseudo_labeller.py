"""PseudoLabeller: labels for every target slice, made by the network itself at the start of each round.

Written from Zou et al., ECCV 2018 (CBST) and ICCV 2019 (CRST); the authors' code (CC BY-NC-SA 4.0) is not
used. CR-Dn are the decisions taken where paper, code and medical volumes differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from napari_uda.core.config import Config
from napari_uda.data.slices import in_parts
from napari_uda.data.spatial import move_nearest
from napari_uda.losses.pseudo_label import (
    IGNORED,
    class_thresholds,
    hard_labels,
    one_hot,
    soft_labels,
)
from napari_uda.players.slice_rows import make_room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_uda.core.runtime import Runtime
    from napari_uda.data.batches import Unlabelled
    from napari_uda.data.slices import SliceStore

_EVERY = 4
"""Pixels of which one is looked at for the thresholds, as in the released code."""


class PseudoLabelConfig(Config):
    """How target slices are labelled, and when anew."""

    rounds: int = Field(default=3, ge=1)
    """Rounds of equal length that the run's steps are divided into; each begins with new labels."""
    first_share: float = Field(default=0.2, gt=0, le=1)
    """Share of the pixels of each class, the surest ones, whose confidence a label must have in the first
    round."""
    share_step: float = Field(default=0.05, ge=0, le=1)
    """How much larger that share is in each further round."""
    largest_share: float = Field(default=0.5, gt=0, le=1)
    """The most that it becomes."""
    alpha: float = Field(default=0.0, ge=0)
    """Softness of the labels (LRENT, 0.25 in the paper): 0 makes hard ones."""
    flip: bool = False
    """Label by the mean of a slice and its mirror image, as in the paper; off because left and right organs
    differ (CR-D4)."""
    rare_share: float = Field(default=1e-3, ge=0, le=1)
    """A class of which fewer pixels are predicted before training is rare: slices with labels of it come
    more often. 0.02 does so for a thin myocardium; 0 for none (CR-D3)."""
    rare_chance: float = Field(default=0.8, ge=0, le=1)
    """Chance that a target slice is replaced by one with labels of a rare class, if there is one."""

    def round_at(self, runtime: Runtime) -> int:
        """The round, from 0, that the step which comes belongs to."""
        return runtime.step * self.rounds // runtime.steps


class PseudoLabeller(nn.Module):
    """Thresholds, labels and rare classes of the current round, all in buffers, so that resuming is exact.

    Args:
        config: how slices are labelled.
        num_classes: C, background included.
    """

    def __init__(self, config: PseudoLabelConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.round: Tensor
        self.labels: Tensor
        self.thresholds: Tensor
        self.rare: Tensor
        self.rare_slices: Tensor
        self.register_buffer("round", torch.tensor(-1))
        # one row per target slice once a round has begun: (n, H, W) uint8, or (n, C, H, W) float16 soft ones
        self.register_buffer("labels", torch.zeros(0, dtype=torch.uint8))
        self.register_buffer("thresholds", torch.ones(num_classes))
        self.register_buffer("rare", torch.zeros(num_classes, dtype=torch.bool))
        self.register_buffer("rare_slices", torch.zeros(0, dtype=torch.bool))

    @torch.no_grad()
    def begin_round(
        self, predict: Callable[[Tensor], Tensor], store: SliceStore, runtime: Runtime
    ) -> bool:
        """Label all target slices anew if a round begins with this step; whether one does.

        Every process labels all slices, so that all have the same labels.

        Args:
            predict: logits `(B, C, H, W)` of images; the caller puts the network in evaluation mode.
            store: the target's slices.
            runtime: says which step comes.
        """
        config = self.config
        number = config.round_at(runtime)
        if number == int(self.round):
            return False
        confidence, label, counts = self._survey(predict, store, runtime.device)
        if int(self.round) < 0:
            self.rare.copy_(counts < config.rare_share * counts.sum())
        share = min(config.first_share + number * config.share_step, config.largest_share)
        self.thresholds.copy_(class_thresholds(confidence, label, self.num_classes, share))
        parts = [
            soft_labels(p, self.thresholds, config.alpha).half()
            if config.alpha
            else hard_labels(p, self.thresholds)
            for p in self._probabilities(predict, store, runtime.device)
        ]
        self.labels = torch.cat(parts)
        self.rare_slices = self._has_rare()
        self.round.fill_(number)
        return True

    def of(self, target: Unlabelled) -> Tensor:
        """Labels of some slices, `(B, C, H, W)` float32: soft or one-hot, all 0 where a pixel is ignored.

        Raises:
            ValueError: before the first round, or for slices that do not say which they are.
        """
        if target.index is None or not len(self.labels):
            raise ValueError("pseudo-labels need `before_step` first, and slices with an index")
        label = self.labels[target.index]
        label = label.float() if self.config.alpha else one_hot(label, self.num_classes)
        return label if target.matrices is None else move_nearest(label, target.matrices)

    def shown(self, index: int | None, like: Tensor) -> Tensor:
        """The most probable label of each pixel of a slice, `(H, W)` uint8, `IGNORED` where there is none.

        Args:
            index: of the target slice; None for another slice, which has no labels.
            like: `(..., H, W)`, of the size of the slice.
        """
        if index is None or not len(self.labels):
            return torch.full(like.shape[-2:], IGNORED, dtype=torch.uint8, device=like.device)
        label = self.labels[index]
        if not self.config.alpha:
            return label
        return torch.where(label.sum(0) > 0, label.argmax(0), IGNORED).to(torch.uint8)

    def prefer_rare(
        self, indices: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> NDArray[np.int64]:
        """The slices of a batch, some replaced by slices with labels of rare classes (CR-D3)."""
        rare = self.rare_slices.nonzero().flatten().cpu().numpy()
        if not len(rare):
            return indices
        return np.array(
            [
                rng.choice(rare) if rng.random() < self.config.rare_chance else index
                for index, rng in zip(indices, generators, strict=True)
            ],
            dtype=np.int64,
        )

    def forget(self) -> None:
        """Drop what only training needs, so that a finished run does not hold labels of the target."""
        self.labels, self.rare_slices = self.labels[:0], self.rare_slices[:0]

    def _probabilities(
        self, predict: Callable[[Tensor], Tensor], store: SliceStore, device: torch.device
    ) -> Iterator[Tensor]:
        """Softmax `(B, C, H, W)` of all target slices, in their order."""
        for indices in in_parts(np.arange(len(store))):
            image = store.image(indices).to(device)
            probabilities = predict(image).float().softmax(1)
            if self.config.flip:
                mirrored = predict(image.flip(-1)).float().softmax(1).flip(-1)
                probabilities = (probabilities + mirrored) / 2
            yield probabilities

    def _survey(
        self, predict: Callable[[Tensor], Tensor], store: SliceStore, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Confidence and class of every 4th pixel, each `(M,)`, and `(C,)` pixels of each class."""
        found = []
        counts = torch.zeros(self.num_classes, dtype=torch.long, device=device)
        for probabilities in self._probabilities(predict, store, device):
            confidence, label = (values.flatten() for values in probabilities.max(1))
            counts += torch.stack([(label == k).sum() for k in range(self.num_classes)])
            found.append((confidence[::_EVERY], label[::_EVERY]))
        confidences, labels = zip(*found, strict=True)
        return torch.cat(confidences), torch.cat(labels), counts

    def _has_rare(self) -> Tensor:
        """`(n,)`, which slices have a label of a rare class."""
        if self.config.alpha:
            return (self.labels[:, self.rare] > 0).flatten(1).any(1)
        lookup = torch.zeros(IGNORED + 1, dtype=torch.bool, device=self.labels.device)
        lookup[: self.num_classes] = self.rare
        return lookup[self.labels.long()].flatten(1).any(1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        make_room(self, ("labels", "rare_slices"), state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)
