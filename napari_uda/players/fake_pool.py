"""FakePool: translated images of earlier steps, shown to a discriminator beside fresh ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_uda.core import distributed
from napari_uda.core.precision import in_float32


class FakePool(nn.Module):
    """The last translated images, with which about every other query is answered.

    Until `size` images are stored an image is stored and returned. Then, with probability 1/2, a stored
    image at a random place is returned and replaced by the new one; otherwise the new one is returned
    and not stored. Reference: Shrivastava et al., CVPR 2017, sec. 2.3; Zhu et al., ICCV 2017, sec. 4.

    The pool is a buffer, so that it belongs to the checkpoint: a resumed run goes on with the images it
    had. It grows from empty and takes whatever number a checkpoint holds. Images are stored in float16,
    as the training slices are. All ranks hold the same pool, that of one rank with the whole batch.

    Args:
        size: most images stored; 0 returns every image as it is.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(0, 1, 1, 1, dtype=torch.float16))
        self.images: Tensor

    @in_float32
    @torch.no_grad()
    def query(self, fakes: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """Exchange fresh images for a mixture of fresh and earlier ones.

        Args:
            fakes: `(B, K, H, W)`, this rank's images.
            generators: one per image.

        Returns:
            The same shape, float32, without gradient.
        """
        fresh = fakes.detach().float()
        if not self.size:
            return fresh
        # Every rank plays through the exchange of the whole batch, with the draws of all ranks, so that
        # their pools stay the same; then each takes its own answers.
        draws = [(g.random(), g.integers(self.size)) for g in generators]
        chances = distributed.gather(torch.tensor(draws, dtype=torch.float32, device=fresh.device))
        answers = self._exchange(distributed.gather(fresh), chances.tolist())
        first = distributed.rank() * len(fresh)
        return answers[first : first + len(fresh)]

    def _exchange(self, fresh: Tensor, chances: Sequence[Sequence[float]]) -> Tensor:
        if not len(self.images):
            self.images = fresh.new_zeros((0, *fresh.shape[1:]), dtype=self.images.dtype)
        answers = []
        for image, (chance, place) in zip(fresh, chances, strict=True):
            if len(self.images) < self.size:
                self.images = torch.cat([self.images, image[None].to(self.images.dtype)])
                answers.append(image)
            elif chance < 0.5:
                answers.append(self.images[int(place)].float())
                self.images[int(place)] = image.to(self.images.dtype)
            else:
                answers.append(image)
        return torch.stack(answers)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state.get(f"{prefix}images")
        if stored is not None:  # a pool of any filling fits
            self.images = self.images.new_empty(stored.shape)
        super()._load_from_state_dict(state, prefix, *rest)
