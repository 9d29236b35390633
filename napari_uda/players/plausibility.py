"""PlausibilityGate: which structures of each target case look like those of the source's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_uda.core.errors import InputError
from napari_uda.core.seeds import generator
from napari_uda.data.appearance import IntensityAugmentation, augment_intensity
from napari_uda.data.case_shapes import cases_of, is_plausible, shape_features
from napari_uda.data.slices import in_parts
from napari_uda.players.slice_rows import make_room

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_uda.core.runtime import Runtime
    from napari_uda.data.batches import TrainingData, Unlabelled

_VIEWS: tuple[IntensityAugmentation, ...] = ("none", "gamma", "gamma")
"""What is done to the grey values of a case in each view."""
_LARGEST_CHANGE = 0.5


class PlausibilityGate(nn.Module):
    """Says of each target slice which classes of its labels can be believed, in a buffer, so that resuming is exact.

    A structure is believed if its size, place, roundness and number of parts are within three standard
    deviations of the source's, and its size stays within a half over views of other grey values (MT-D4).

    Args:
        num_classes: C, background included.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.believed: Tensor
        # one row per target slice once they were looked at
        self.register_buffer("believed", torch.ones(0, num_classes, dtype=torch.bool))

    def judge(
        self, predict: Callable[[Tensor], Tensor], data: TrainingData, runtime: Runtime
    ) -> None:
        """Look at the predictions of every target case.

        Every process judges all cases, so that all believe the same.

        Args:
            predict: logits `(B, C, H, W)` of images; the caller puts the network in evaluation mode.
            data: the target's slices, and what is known of the source.
            runtime: says which step comes.

        Raises:
            InputError: if the run that this one starts from does not know the shapes of its structures.
        """
        store, facts = data.target, data.facts
        if store is None:
            raise ValueError("there are no target slices to judge")
        if not facts.shapes:
            raise InputError(
                "plausibility_every compares with the shapes of the source's structures, which the run given "
                "with --init has not stored (an older version made it); train it anew, or give 0"
            )
        shapes = [facts.shapes[name] for name in facts.names().values()]
        believed = np.ones((len(store), self.num_classes), bool)
        for rows, spacing_mm in cases_of(store, facts.grid):
            parts = [
                self._views(predict, store.image(indices), indices, runtime)
                for indices in in_parts(np.arange(rows.start, rows.stop))
            ]
            labels = np.concatenate(parts, axis=1)  # (views, N, H, W)
            sizes = np.array([np.bincount(v.ravel(), minlength=self.num_classes) for v in labels])
            change = (sizes.max(0) - sizes.min(0)) / sizes.mean(0).clip(min=1)
            features = shape_features(labels[0], self.num_classes, spacing_mm)
            believed[rows] = is_plausible(features, shapes) & (change <= _LARGEST_CHANGE)
        believed[:, 0] = True
        self.believed = torch.from_numpy(believed).to(runtime.device)

    def weights(self, target: Unlabelled, label: Tensor) -> Tensor:
        """1 where a label `(B, H, W)` can be believed, else 0; 1 everywhere before anything was judged."""
        if target.index is None or not len(self.believed):
            return torch.ones(label.shape, device=label.device)
        rows = self.believed[target.index][:, :, None, None].expand(-1, -1, *label.shape[1:])
        return rows.gather(1, label[:, None])[:, 0].float()

    def forget(self) -> None:
        """Drop what only training needs."""
        self.believed = self.believed[:0]

    @torch.no_grad()
    def _views(
        self,
        predict: Callable[[Tensor], Tensor],
        image: Tensor,
        indices: NDArray[np.int64],
        runtime: Runtime,
    ) -> NDArray[np.uint8]:
        """Classes `(views, B, H, W)` of some slices, as they are and with other grey values."""
        found = []
        for number, kind in enumerate(_VIEWS):
            stream = f"judge-{number}"
            numbers = [generator(runtime.seed, stream, runtime.step, int(i)) for i in indices]
            seen = augment_intensity(image.to(runtime.device), kind, numbers)
            found.append(predict(seen).argmax(1).to(torch.uint8).cpu().numpy())
        return np.stack(found)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        make_room(self, ("believed",), state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)
