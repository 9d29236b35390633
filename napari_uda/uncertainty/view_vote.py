"""ViewVote: segments changed views of a slice, and says where they contradict the slice itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from napari_uda.core.errors import InputError
from napari_uda.core.seeds import generator
from napari_uda.data.classes import likeliest
from napari_uda.data.fourier import grey_amplitude
from napari_uda.uncertainty.reliability import (
    Reliability,
    ReliabilityConfig,
    fourier_views,
    random_views,
    vote,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ViewAgreement:
    """Views of some slices, and whether they are segmented as the slices themselves.

    Attributes:
        random: `(N * B, K, h, w)` random transforms, view-major, float in [-1, 1].
        fourier: the same with source amplitudes.
        agrees_random: `(N, B, h, w)` bool, view by view: same class as the slice itself?
        agrees_fourier: the same for the Fourier views.
    """

    random: Tensor
    fourier: Tensor
    agrees_random: Tensor
    agrees_fourier: Tensor

    def reliability(self) -> Reliability:
        """The majority of both sets (`reliability.vote`)."""
        return vote(self.agrees_random, self.agrees_fourier)


@dataclass(frozen=True, eq=False)
class ViewVote:
    """The vote of a trained run: its settings and the source spectra that its Fourier views take.

    Attributes:
        settings: views and strengths.
        amplitude_bank: `(bank_size, K, 2b+1, 2b+1)` amplitudes of un-augmented source slices.
    """

    settings: ReliabilityConfig
    amplitude_bank: Tensor

    @classmethod
    def of_source(cls, settings: ReliabilityConfig, slices: Tensor) -> Self:
        """The vote with the spectra of these source slices, `(bank_size, K, H, W)` in [-1, 1]."""
        return cls(settings, grey_amplitude(slices, settings.fourier_half_width))

    def to(self, device: torch.device) -> ViewVote:
        """The same with its spectra on a device."""
        return ViewVote(self.settings, self.amplitude_bank.to(device))

    def check_slices(self, shape: tuple[int, int], case: str) -> None:
        """Refuse slices with fewer pixels than the Fourier window of the views.

        Raises:
            InputError: naming both sizes.
        """
        bins = 2 * self.settings.fourier_half_width + 1
        if min(shape) < bins:
            raise InputError(
                f"{case or 'volume'}: its slices have {shape[0]} x {shape[1]} pixels where the vote on "
                f"reliability needs {bins} x {bins}; give a larger volume or leave the vote out"
            )

    def compare(
        self,
        predict: Callable[[Tensor], Tensor],
        image: Tensor,
        logits: Tensor,
        indices: NDArray[np.int64],
    ) -> ViewAgreement:
        """Make the views of slices and segment them.

        Fourier bins count from the slice's own size: where it is not the training window's, the mixed
        window covers slightly other wavelengths.

        Args:
            predict: `(B, K, h, w)` of any size to logits of the same size.
            image: `(B, K, h, w)` in [-1, 1].
            logits: `(B, C, h, w)`, what `predict` gave for the slices themselves.
            indices: `(B,)`, place of each slice in its volume; its random numbers depend on that alone,
                so that the vote does not depend on how slices are batched.
        """
        settings, label = self.settings, likeliest(logits)
        generators = [generator(0, "views", int(index)) for index in indices]
        fourier = fourier_views(image, self.amplitude_bank, settings, generators)
        random = random_views(image, settings, generators)
        # view by view, (B, K, h, w) each: a vote needs no more memory than a prediction
        agrees_random, agrees_fourier = (
            torch.stack([likeliest(predict(view)) == label for view in views.chunk(settings.views)])
            for views in (random, fourier)
        )
        return ViewAgreement(random, fourier, agrees_random, agrees_fourier)
